; A multiboot kernel for four processors and pc-testdev: local APICs in both modes, their timers, interprocessor interrupts by every
; kind of destination, and the I/O APIC, after the Intel SDM, volume 3, chapter 11 (APIC) and the 82093AA data sheet. Prints "ok NAME"
; or "FAIL NAME: FOUND" for each check, and leaves by isa-debug-exit at port 0xf4.
%include "flat.inc"

%define PORT_EXIT 0xf4
%define PORT_LINES 0x2000
%define IOAPIC 0xfec00000
%define CPUS 4
%define KVM_EOI_EN 0x4b564d04
%define STACKS 0x300000                 ; a page for each processor
%define TRAMPOLINE 0x7000
%define RUN 0xe0                        ; vector that runs [function] on the processor that gets it
%define SELF 0x40000                    ; ICR shorthands
%define ALL 0x80000
%define OTHERS 0xc0000
%define LOGICAL 0x800

%macro SAY 1
    push esi
    mov esi, %%text
    call print
    pop esi
    jmp %%after
%%text: db %1, 0
%%after:
%endmacro

%macro REPORT 1                         ; name; ZF says whether it is right, [found] what it was
    je %%right
    SAY "FAIL "
    SAY %1
    call print_found
    mov byte [failed], 1
    jmp %%after_all
%%right:
    SAY "ok "
    SAY %1
    SAY 10
%%after_all:
%endmacro

%macro EQUAL 3                          ; name, value, wanted
    mov eax, %2
    mov [found], eax
    cmp eax, %3
    REPORT %1
%endmacro

%macro ICR 2                            ; destination (bits 31:24 of the high half), low half
    mov dword [APIC + 0x310], (%1) << 24
    mov dword [APIC + 0x300], %2
%endmacro

%macro ARRIVES 4                        ; name, processor, vector, how often since CLEAR
    mov ebx, counts + (%2) * 1024 + (%3) * 4
    mov edx, %4
    call await
    REPORT %1
%endmacro

%macro CLEAR 0
    call clear_counts
%endmacro

%macro GP 2+                            ; name, instruction: raises #GP
    mov dword [resume], %%after
    mov dword [faults], 0
    %2
%%after:
    mov dword [resume], 0
    EQUAL %1, [faults], 1
%endmacro

%macro WRITE_MSR 3                      ; index, high, low
    mov ecx, %1
    mov edx, %2
    mov eax, %3
    wrmsr
%endmacro

%macro ON_OTHERS 1                      ; runs a function on all other processors, in xAPIC mode
    mov dword [function], %1
    mov dword [functions_run], 0
    ICR 0, OTHERS | RUN
    mov ebx, functions_run
    mov edx, CPUS - 1
    call await
    REPORT {"the other processors run a function"}
%endmacro

%macro REDIRECT 3                       ; I/O APIC input, high, low half of its entry
    mov dword [IOAPIC], 0x10 + 2 * (%1) + 1
    mov dword [IOAPIC + 0x10], %2
    mov dword [IOAPIC], 0x10 + 2 * (%1)
    mov dword [IOAPIC + 0x10], %3
%endmacro

%macro LINE 2                           ; I/O APIC input, level
    mov dx, PORT_LINES + %1
    mov eax, %2
    out dx, eax
%endmacro

entry:
    mov esp, STACKS + 0x1000 - 16
    LOAD_SEGMENTS
    mov edi, idt
    mov eax, stubs
    mov ecx, 256
.gate:
    mov [edi], ax
    mov word [edi + 2], 0x08
    mov word [edi + 4], 0x8e00
    mov edx, eax
    shr edx, 16
    mov [edi + 6], dx
    add eax, 16
    add edi, 8
    loop .gate
    lidt [idt_pointer]
    mov al, 0xff                        ; 8259s: nothing
    out 0x21, al
    out 0xa1, al
    mov dword [APIC + 0xf0], 0x1ff
    sti

    ; Identity.
    mov eax, [APIC + 0x20]
    EQUAL "the bootstrap processor's APIC has ID 0", eax, 0
    mov eax, [APIC + 0x30]
    and eax, 0xf0
    EQUAL "an integrated APIC", eax, 0x10

    ; Interrupts to oneself.
    CLEAR
    ICR 0, SELF | 0x41
    ARRIVES "an interrupt to oneself by shorthand", 0, 0x41, 1
    ICR 0, 0x42
    ARRIVES "an interrupt to oneself by its ID", 0, 0x42, 1
    EQUAL "ICR's delivery status is idle", [APIC + 0x300], 0x42

    ; Task priority.
    CLEAR
    mov dword [APIC + 0x80], 0x50
    ICR 0, SELF | 0x45
    ARRIVES "the task priority holds its class", 0, 0x45, 0
    EQUAL "PPR is TPR", [APIC + 0xa0], 0x50
    mov eax, [APIC + 0x220]
    and eax, 1 << 5
    EQUAL "the request is in IRR", eax, 1 << 5
    ICR 0, SELF | 0x61
    ARRIVES "a higher class passes", 0, 0x61, 1
    mov dword [APIC + 0x80], 0x40
    ARRIVES "the same class does not", 0, 0x45, 0
    mov dword [APIC + 0x80], 0
    ARRIVES "with the priority lowered it arrives", 0, 0x45, 1

    ; Order and nesting.
    CLEAR
    cli
    ICR 0, SELF | 0x51
    ICR 0, SELF | 0x71
    ICR 0, SELF | 0x61
    sti
    ARRIVES "three together", 0, 0x51, 1
    EQUAL "the highest vector first", [order], 0x716151
    CLEAR
    mov byte [keep], 1
    ICR 0, SELF | 0x61
    ARRIVES "one that is not ended", 0, 0x61, 1
    mov eax, [APIC + 0x130]
    EQUAL "is in ISR", eax, 1 << 1
    EQUAL "and is the processor's priority", [APIC + 0xa0], 0x60
    ICR 0, SELF | 0x6f
    ARRIVES "its class waits", 0, 0x6f, 0
    ICR 0, SELF | 0x72
    ARRIVES "a higher class interrupts it", 0, 0x72, 1
    mov dword [APIC + 0xb0], 0
    EQUAL "its end is that of the highest", [APIC + 0xa0], 0x60
    mov byte [keep], 0
    mov dword [APIC + 0xb0], 0
    ARRIVES "then what waits arrives", 0, 0x6f, 1
    EQUAL "in the end nothing is in service", [APIC + 0x130], 0

    ; Timer.
    CLEAR
    mov dword [APIC + 0x3e0], 0xb
    mov dword [APIC + 0x320], 0x53
    mov dword [APIC + 0x380], 100000
    ARRIVES "the timer, once", 0, 0x53, 1
    EQUAL "its count is 0", [APIC + 0x390], 0
    mov dword [APIC + 0x320], 0x20054
    mov dword [APIC + 0x380], 100000
    mov ebx, counts + 0x54 * 4
    mov edx, 5
    call await_at_least
    REPORT "the timer, again and again"
    mov dword [APIC + 0x320], 0x30054
    mov ecx, 1000                       ; one that was requested before comes now
    loop $
    CLEAR
    ARRIVES "masked it is silent", 0, 0x54, 0
    mov dword [APIC + 0x380], 0
    mov eax, 1
    cpuid
    test ecx, 1 << 24
    jz .no_deadline
    mov dword [APIC + 0x320], 0x40055
    mov ecx, 0x6e0
    rdtsc
    add eax, 1000000
    adc edx, 0
    wrmsr
    ARRIVES "the TSC deadline", 0, 0x55, 1
    mov ecx, 0x6e0
    rdmsr
    or eax, edx
    EQUAL "is 0 when it has passed", eax, 0
    WRITE_MSR 0x6e0, 0, 1
    ARRIVES "a deadline in the past comes at once", 0, 0x55, 2
    mov ecx, 0x6e0
    rdtsc
    add edx, 0x100
    wrmsr
    rdmsr
    shr edx, 8
    setnz al
    movzx eax, al
    EQUAL "a deadline reads back", eax, 1
    WRITE_MSR 0x6e0, 0, 0
    ARRIVES "and is disarmed by 0", 0, 0x55, 2
    mov dword [APIC + 0x380], 1000
    EQUAL "the initial count is ignored meanwhile", [APIC + 0x390], 0
.no_deadline:
    mov dword [APIC + 0x320], 0x10000

    ; Errors.
    mov dword [APIC + 0x280], 0
    ICR 0, SELF | 5
    mov dword [APIC + 0x280], 0
    mov eax, [APIC + 0x280]
    and eax, 1 << 5
    EQUAL "an illegal vector is an error", eax, 1 << 5
    mov dword [APIC + 0x280], 0
    EQUAL "which is shown once", [APIC + 0x280], 0

    ; Other processors.
    mov esi, trampoline
    mov edi, TRAMPOLINE
    mov ecx, trampoline_end - trampoline
    rep movsb
    ICR 0, OTHERS | 0x4500
    ICR 0, OTHERS | 0x4600 | TRAMPOLINE >> 12
    mov ebx, started
    mov edx, CPUS - 1
    call await
    REPORT "INIT and SIPI to all others start them"
    CLEAR
    ICR 0, OTHERS | 0x43
    call each_got_43
    REPORT "all but oneself"
    ICR 0, ALL | 0x44
    ARRIVES "all: oneself", 0, 0x44, 1
    ARRIVES "all: the last", 3, 0x44, 1
    ICR 2, 0x46
    ARRIVES "a physical destination", 2, 0x46, 1
    ARRIVES "nobody else", 1, 0x46, 0
    ICR 0xff, 0x47
    ARRIVES "the broadcast destination: oneself", 0, 0x47, 1
    ARRIVES "the broadcast destination: another", 1, 0x47, 1
    ICR 0x77, 0x48
    ARRIVES "nobody has this ID", 0, 0x48, 0

    ; Logical destinations.
    mov dword [function], set_flat
    call set_flat
    ON_OTHERS set_flat
    CLEAR
    ICR 0b0101, LOGICAL | 0x49
    ARRIVES "flat: processor 2 is meant", 2, 0x49, 1
    ARRIVES "flat: processor 0 is meant", 0, 0x49, 1
    ARRIVES "flat: processor 1 is not", 1, 0x49, 0
    ICR 0b1110, LOGICAL | 0x100 | 0x4a
    call one_got_4a
    REPORT "lowest priority: exactly one"
    call set_cluster
    ON_OTHERS set_cluster
    CLEAR
    ICR 0x13, LOGICAL | 0x4b
    ARRIVES "cluster: processor 0", 0, 0x4b, 1
    ARRIVES "cluster: processor 1", 1, 0x4b, 1
    ARRIVES "cluster: not the other one", 2, 0x4b, 0
    ICR 0x22, LOGICAL | 0x4c
    ARRIVES "cluster: processor 3", 3, 0x4c, 1
    ARRIVES "cluster: processor 2 is not meant", 2, 0x4c, 0
    ICR 1, 0x400
    ARRIVES "an NMI", 1, 2, 1
    ICR 0, 0x400
    ARRIVES "an NMI to oneself", 0, 2, 1

    ; I/O APIC.
    mov dword [IOAPIC], 1
    mov eax, [IOAPIC + 0x10]
    shr eax, 16
    and eax, 0xff
    EQUAL "the I/O APIC has 24 inputs", eax, 23
    CLEAR
    REDIRECT 10, 0, 0x62
    LINE 10, 1
    ARRIVES "an edge", 0, 0x62, 1
    LINE 10, 1
    ARRIVES "no edge, no interrupt", 0, 0x62, 1
    LINE 10, 0
    LINE 10, 1
    ARRIVES "the next edge", 0, 0x62, 2
    LINE 10, 0
    REDIRECT 10, 0, 0x10063
    LINE 10, 1
    ARRIVES "a masked edge is not delivered", 0, 0x63, 0
    LINE 10, 0
    REDIRECT 11, 0, 0x8064
    mov dword [lower_after], 3
    LINE 11, 1
    ARRIVES "a level comes again until the line falls", 0, 0x64, 3
    mov byte [keep], 1
    LINE 11, 1
    ARRIVES "a level that is not ended", 0, 0x64, 4
    mov dword [IOAPIC], 0x10 + 2 * 11
    mov eax, [IOAPIC + 0x10]
    and eax, 1 << 14
    EQUAL "has remote IRR set", eax, 1 << 14
    mov eax, [APIC + 0x1b0]
    and eax, 1 << 4
    EQUAL "and its bit in TMR", eax, 1 << 4
    LINE 11, 0
    mov byte [keep], 0
    mov dword [APIC + 0xb0], 0
    mov eax, [IOAPIC + 0x10]
    and eax, 1 << 14
    EQUAL "its end clears remote IRR", eax, 0
    ARRIVES "and as the line is down that was all", 0, 0x64, 4
    REDIRECT 11, 0, 0x18064
    LINE 11, 1
    ARRIVES "a masked level waits", 0, 0x64, 4
    mov dword [lower_after], 1
    REDIRECT 11, 0, 0x8064
    ARRIVES "and comes when it is unmasked", 0, 0x64, 5
    REDIRECT 12, 2 << 24, 0x65
    LINE 12, 1
    ARRIVES "to another processor", 2, 0x65, 1
    LINE 12, 0
    REDIRECT 12, 0x11 << 24, 0x866
    LINE 12, 1
    ARRIVES "to a logical destination", 0, 0x66, 1
    LINE 12, 0

    ; KVM's paravirtual end of interrupt (Linux Documentation/virt/kvm/x86/msr.rst), where it is offered.
    mov eax, 0x40000000
    cpuid
    cmp ebx, "KVMK"
    jne .no_eoi_bit
    mov eax, 0x40000001
    cpuid
    test eax, 1 << 6
    jz .no_eoi_bit
    mov ecx, KVM_EOI_EN
    mov eax, eoi_bit + 3
    xor edx, edx
    GP "EOI bit: its address has a reserved bit", wrmsr
    WRITE_MSR KVM_EOI_EN, 0, eoi_bit + 1
    rdmsr
    EQUAL "EOI bit: the register reads back", eax, eoi_bit + 1
    CLEAR
    ICR 0, SELF | 0x51
    ARRIVES "EOI bit: an interrupt", 0, 0x51, 1
    EQUAL "EOI bit: which is not in service any more", [APIC + 0x120], 0
    ICR 0, SELF | 0x51
    ARRIVES "EOI bit: another", 0, 0x51, 2
    mov byte [keep], 1
    ICR 0, SELF | 0x61
    ARRIVES "EOI bit: one that is not ended", 0, 0x61, 1
    EQUAL "EOI bit: is the processor's priority", [APIC + 0xa0], 0x60
    ICR 0, SELF | 0x51
    ARRIVES "EOI bit: a lower class waits", 0, 0x51, 2
    mov byte [keep], 0
    call end_interrupt
    ARRIVES "EOI bit: and comes behind its end", 0, 0x51, 3
    CLEAR
    mov edi, 1
.more_by_bit:
    ICR 0, SELF | 0x52
    mov ebx, counts + 0x52 * 4
    mov edx, edi
    call await
    jne .more_by_bit_done
    inc edi
    cmp edi, 1001
    jne .more_by_bit
.more_by_bit_done:
    EQUAL "EOI bit: a thousand, one after the other", [counts + 0x52 * 4], 1000
    EQUAL "EOI bit: nothing is in service", [APIC + 0x120], 0
    WRITE_MSR KVM_EOI_EN, 0, 0
    EQUAL "EOI bit: it is clear in the end", [eoi_bit], 0
.no_eoi_bit:

    ; x2APIC.
    mov eax, 1
    cpuid
    test ecx, 1 << 21
    jz finish
    CLEAR
    ON_OTHERS enable_x2apic
    call enable_x2apic
    mov ecx, 0x802
    rdmsr
    EQUAL "x2APIC: the ID", eax, 0
    mov ecx, 0x80d
    rdmsr
    EQUAL "x2APIC: the logical ID follows from it", eax, 1
    CLEAR
    WRITE_MSR 0x83f, 0, 0x41
    ARRIVES "x2APIC: SELF IPI", 0, 0x41, 1
    WRITE_MSR 0x830, 2, 0x42
    ARRIVES "x2APIC: a physical destination", 2, 0x42, 1
    ARRIVES "x2APIC: nobody else", 1, 0x42, 0
    WRITE_MSR 0x830, 0b1010, LOGICAL | 0x43
    ARRIVES "x2APIC: logical, processor 1", 1, 0x43, 1
    ARRIVES "x2APIC: logical, processor 3", 3, 0x43, 1
    ARRIVES "x2APIC: logical, not processor 2", 2, 0x43, 0
    WRITE_MSR 0x830, 0x10001, LOGICAL | 0x44
    ARRIVES "x2APIC: another cluster", 0, 0x44, 0
    WRITE_MSR 0x830, ~0, 0x45
    ARRIVES "x2APIC: the broadcast destination", 3, 0x45, 1
    WRITE_MSR 0x830, 0, OTHERS | 0x46
    ARRIVES "x2APIC: all but oneself", 2, 0x46, 1
    ARRIVES "x2APIC: not oneself", 0, 0x46, 0
    WRITE_MSR 0x808, 0, 0x50
    WRITE_MSR 0x83f, 0, 0x47
    ARRIVES "x2APIC: the task priority holds", 0, 0x47, 0
    mov ecx, 0x80a
    rdmsr
    EQUAL "x2APIC: PPR", eax, 0x50
    WRITE_MSR 0x808, 0, 0
    ARRIVES "x2APIC: and lets go", 0, 0x47, 1
    mov ecx, 0x830
    rdmsr
    EQUAL "x2APIC: ICR's low half", eax, OTHERS | 0x46
    mov ecx, 0x802
    xor edx, edx
    GP "x2APIC: the ID is read-only", wrmsr
    mov ecx, 0x80b
    GP "x2APIC: EOI is write-only", rdmsr
    mov eax, 1
    GP "x2APIC: EOI takes 0 only", wrmsr
    mov ecx, 0x83f
    GP "x2APIC: SELF IPI is write-only", rdmsr
    mov ecx, 0x80e
    GP "x2APIC: there is no DFR", rdmsr
    mov ecx, 0x831
    GP "x2APIC: there is no second ICR", rdmsr
    mov ecx, 0x808
    mov eax, 0x150
    xor edx, edx
    GP "x2APIC: reserved bits of TPR", wrmsr
    mov ecx, 0x808                      ; where it took them
    xor eax, eax
    xor edx, edx
    wrmsr
    mov ecx, 0x1b
    rdmsr
    and eax, ~(1 << 10)
    GP "from x2APIC to xAPIC directly", wrmsr
    rdmsr
    and eax, ~(1 << 11)
    or eax, 1 << 10
    GP "x2APIC without an enabled APIC", wrmsr
    cli
    rdmsr
    and eax, ~(3 << 10)
    wrmsr
    or eax, 1 << 11
    wrmsr
    mov dword [APIC + 0xf0], 0x1ff
    sti
    CLEAR
    ICR 0, SELF | 0x41
    ARRIVES "xAPIC again, by way of off", 0, 0x41, 1

finish:
    movzx eax, byte [failed]
    mov dx, PORT_EXIT
    out dx, al
    jmp $

; [ebx] becomes edx, for which a processor without hardware to run on may take long, and stays there for a little: ZF.
await:
    mov ecx, 200000000
.more:
    pause
    cmp [ebx], edx
    je .there
    dec ecx
    jnz .more
    jmp .compare
.there:
    mov ecx, 3000
.stay:
    pause
    dec ecx
    jnz .stay
.compare:
    mov ecx, [ebx]
    mov [found], ecx
    cmp ecx, edx
    ret

await_at_least:
    mov ecx, 200000000
.more:
    pause
    cmp [ebx], edx
    jae .there
    dec ecx
    jnz .more
.there:
    cmp ecx, 1
    sbb eax, eax
    cmp eax, 0
    ret

each_got_43:
    mov edi, 1
.next:
    mov ebx, edi
    shl ebx, 10
    add ebx, counts + 0x43 * 4
    mov edx, 1
    call await
    jne .done
    inc edi
    cmp edi, CPUS
    jne .next
    cmp dword [counts + 0x43 * 4], 0
.done:
    ret

one_got_4a:
    mov edx, 200000000
.more:
    call sum_of_4a
    jnz .there
    pause
    dec edx
    jnz .more
.there:
    mov ecx, 300000
.stay:
    pause
    loop .stay
    call sum_of_4a
    cmp eax, 1
    ret
sum_of_4a:
    mov eax, [counts + 0x4a * 4]
    add eax, [counts + 1024 + 0x4a * 4]
    add eax, [counts + 2048 + 0x4a * 4]
    add eax, [counts + 3072 + 0x4a * 4]
    ret

; The first processor's may be ended by the bit. Both change eax, ecx and edx.
end_interrupt:
    btr dword [eoi_bit], 0
    jnc end_by_register
    ret
end_by_register:
    mov ecx, 0x1b
    rdmsr
    test eax, 1 << 10
    jnz .x2apic
    mov dword [APIC + 0xb0], 0
    ret
.x2apic:
    WRITE_MSR 0x80b, 0, 0
    ret

; ": " and [found] in hexadecimal, and a new line.
print_found:
    pushad
    mov edx, [found]
    xor edi, edi
.digit:
    rol edx, 4
    mov eax, edx
    and eax, 15
    mov al, [digits + eax]
    mov [found_text + 2 + edi], al
    inc edi
    cmp edi, 8
    jne .digit
    mov esi, found_text
    call print
    popad
    ret

clear_counts:
    pushad
    mov edi, counts
    mov ecx, CPUS * 256
    xor eax, eax
    rep stosd
    mov [order], eax
    popad
    ret

; Functions that run on one processor after the other; ebx is its number when they run for an interrupt.
set_flat:
    call number
    mov dword [APIC + 0xe0], ~0
    mov eax, 1 << 24
    mov cl, bl
    shl eax, cl
    mov [APIC + 0xd0], eax
    ret
set_cluster:
    call number
    mov dword [APIC + 0xe0], 0x0fffffff
    mov eax, [clusters + ebx * 4]
    mov [APIC + 0xd0], eax
    ret
enable_x2apic:
    mov ecx, 0x1b
    rdmsr
    or eax, 1 << 10
    wrmsr
    ret

; The processor's number, by its stack.
number:
    mov ebx, esp
    sub ebx, STACKS
    shr ebx, 12
    ret

align 16
stubs:
%assign v 0
%rep 256
    align 16
%if !(v == 8 || (v >= 10 && v <= 14) || v == 17)
    push dword 0
%endif
    push dword v
    jmp near interrupt
%assign v v + 1
%endrep

interrupt:
    pushad
    call number
    mov eax, [esp + 32]
    mov ecx, ebx
    shl ecx, 10
    inc dword [counts + ecx + eax * 4]
    cmp eax, 13
    je .fault
    cmp eax, 2
    je .done
    cmp eax, 32
    jb .broken
    cmp eax, 0xff
    je .done
    test ebx, ebx
    jnz .not_first
    shl dword [order], 8
    or [order], al
.not_first:
    cmp eax, RUN
    jne .no_function
    call [function]
    lock inc dword [functions_run]
.no_function:
    cmp eax, 0x64
    jne .no_level
    cmp dword [lower_after], 0
    je .no_level
    dec dword [lower_after]
    jnz .no_level
    LINE 11, 0
.no_level:
    call number
    test ebx, ebx
    jnz .end
    cmp byte [keep], 0
    jne .done
    call end_interrupt
    jmp .done
.end:
    call end_by_register
.done:
    popad
    add esp, 8
    iret
.fault:
    mov eax, [resume]
    test eax, eax
    jz .broken
    mov [esp + 40], eax
    inc dword [faults]
    jmp .done
.broken:
    SAY "FAIL an exception nobody asked for"
    SAY 10
    mov al, 1
    mov dx, PORT_EXIT
    out dx, al
    jmp $

bits 16
trampoline:
    cli
    xor ax, ax
    mov ds, ax
    lgdt [TRAMPOLINE + trampoline_gdt - trampoline]
    mov eax, cr0
    or eax, 1
    mov cr0, eax
    jmp dword 0x08:other
trampoline_gdt:
    dw 23
    dd gdt
trampoline_end:
bits 32
other:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov eax, [APIC + 0x20]
    shr eax, 24
    inc eax
    shl eax, 12
    lea esp, [STACKS + eax - 16]
    lidt [idt_pointer]
    mov dword [APIC + 0xf0], 0x1ff
    lock inc dword [started]
    sti
.sleep:
    hlt
    jmp .sleep

digits: db "0123456789abcdef"
found_text: db ": ________", 10, 0
clusters: dd 0x11 << 24, 0x12 << 24, 0x21 << 24, 0x22 << 24
file_end:

absolute STORAGE
idt:           resb 0x800
counts:        resd CPUS * 256
order:         resd 1
found:         resd 1
eoi_bit:       resd 1                   ; of KVM_EOI_EN
function:      resd 1
functions_run: resd 1
started:       resd 1
resume:        resd 1
faults:        resd 1
lower_after:   resd 1
keep:          resb 1
failed:        resb 1
bss_end:

; A multiboot kernel that is saved and restored: two timers interrupt it, and it checks without end that registers of every kind
; keep their values and that no clock goes backwards. Each 64 ticks of the PIT it prints '.'; what is wrong is named, once, in a line
; that begins with "bad". With a command line that ends in "slow" the timers are: for engines on which a thousand interrupts a second
; leave no time for anything else, a '.' for each 4 ticks.
%include "flat.inc"

%define PIT_HZ 1193182
%define VECTOR_PIT 0x20
%define VECTOR_APIC 0x30
%define VECTOR_SPURIOUS 0xff
%define PORT_PM_TIMER 0x608

%macro set_msr 3                        ; index, high, low
    mov ecx, %1
    mov edx, %2
    mov eax, %3
    wrmsr
%endmacro

%macro check_msr 4                      ; index, high, low, name
    mov ecx, %1
    rdmsr
    mov esi, %4
    cmp edx, %2
    jne bad
    cmp eax, %3
    jne bad
%endmacro

entry:
    mov esp, stack_end
    LOAD_SEGMENTS
    mov byte [slow], 0
    mov byte [dot_shift], 6
    mov edi, [ebx + 16]                 ; the command line (Multiboot Specification 3.3)
.next:
    inc edi
    cmp byte [edi], 0
    jne .next
    cmp dword [edi - 4], "slow"
    jne .fast
    mov byte [slow], 1
    mov byte [dot_shift], 2
.fast:
    call find_features
    GATE VECTOR_PIT, on_pit
    GATE VECTOR_APIC, on_apic
    GATE VECTOR_SPURIOUS, on_spurious
    lidt [idt_pointer]
    call set_registers
    call start_timers
    mov esi, greeting
    call print
    sti
again:
    call check_registers
    call check_clocks
    mov eax, [pit_ticks]
    mov cl, [dot_shift]
    shr eax, cl
    cmp eax, [printed]
    je again
    mov [printed], eax
    mov esi, dot
    call print
    mov eax, [apic_ticks]               ; both timers go on
    mov esi, name_apic
    cmp eax, [apic_seen]
    je bad
    mov [apic_seen], eax
    jmp again

; CR4.OSXSAVE with AVX in XCR0, and CR4.PKE, where there are such things.
find_features:
    mov eax, cr4
    or eax, 1 << 9 | 1 << 3             ; OSFXSR, DE
    mov cr4, eax
    mov eax, 1
    xor ecx, ecx
    cpuid
    mov eax, 1 << 26 | 1 << 28          ; XSAVE, AVX
    and ecx, eax
    cmp ecx, eax
    jne .no_avx
    mov eax, cr4
    or eax, 1 << 18
    mov cr4, eax
    xor ecx, ecx
    xor edx, edx
    mov eax, 7
    xsetbv
    mov byte [has_avx], 1
.no_avx:
    xor eax, eax
    cpuid
    cmp eax, 7
    jb .done
    mov eax, 7
    xor ecx, ecx
    cpuid
    test ecx, 1 << 3                    ; PKU
    jz .done
    mov eax, cr4
    or eax, 1 << 22
    mov cr4, eax
    mov byte [has_pku], 1
.done:
    ret

set_registers:
    fninit
    fldpi
    fld1
    movups xmm0, [pattern]
    movups xmm7, [pattern + 16]
    ldmxcsr [mxcsr]
    cmp byte [has_avx], 0
    je .no_avx
    vmovups ymm1, [pattern]
    vmovups ymm6, [pattern + 8]
.no_avx:
    cmp byte [has_pku], 0
    je .no_pku
    xor ecx, ecx
    xor edx, edx
    mov eax, 0x5555aaa0
    db 0x0f, 0x01, 0xef            ; WRPKRU, which NASM knows in 64-bit mode only
.no_pku:
    mov eax, 0x12345678                 ; breakpoints that are off
    mov dr0, eax
    not eax
    mov dr3, eax
    mov eax, 0xdff00400
    mov dr7, eax
    set_msr 0x174, 0, 0x08              ; IA32_SYSENTER_CS
    set_msr 0x175, 0, 0x87654321        ; IA32_SYSENTER_ESP
    set_msr 0xc0000102, 0x7fff, 0x1234  ; IA32_KERNEL_GS_BASE
    set_msr 0xc0000081, 0x00130008, 0   ; IA32_STAR
    set_msr 0x277, 0x00070406, 0x00070106
    ret

check_registers:
    mov esi, name_x87
    fld st1
    fldpi
    fcomip st0, st1
    fstp st0
    jne bad
    movups xmm2, [pattern]
    pcmpeqb xmm2, xmm0
    pmovmskb eax, xmm2
    mov esi, name_xmm
    cmp eax, 0xffff
    jne bad
    movups xmm2, [pattern + 16]
    pcmpeqb xmm2, xmm7
    pmovmskb eax, xmm2
    cmp eax, 0xffff
    jne bad
    mov esi, name_mxcsr
    stmxcsr [scratch]
    mov eax, [scratch]
    cmp eax, [mxcsr]
    jne bad
    cmp byte [has_avx], 0
    je .no_avx
    mov esi, name_ymm
    vextractf128 xmm2, ymm1, 1
    vmovups xmm3, [pattern + 16]
    vpcmpeqb xmm2, xmm2, xmm3
    vpmovmskb eax, xmm2
    cmp eax, 0xffff
    jne bad
    vextractf128 xmm2, ymm6, 1
    vmovups xmm3, [pattern + 24]
    vpcmpeqb xmm2, xmm2, xmm3
    vpmovmskb eax, xmm2
    cmp eax, 0xffff
    jne bad
.no_avx:
    cmp byte [has_pku], 0
    je .no_pku
    mov esi, name_pkru
    xor ecx, ecx
    db 0x0f, 0x01, 0xee            ; RDPKRU
    cmp eax, 0x5555aaa0
    jne bad
.no_pku:
    mov esi, name_debug
    mov eax, dr0
    cmp eax, 0x12345678
    jne bad
    not eax
    mov ebx, dr3
    cmp eax, ebx
    jne bad
    mov eax, dr7
    cmp eax, 0xdff00400
    jne bad
    check_msr 0x174, 0, 0x08, name_msr
    check_msr 0x175, 0, 0x87654321, name_msr
    check_msr 0xc0000102, 0x7fff, 0x1234, name_msr
    check_msr 0xc0000081, 0x00130008, 0, name_msr
    check_msr 0x277, 0x00070406, 0x00070106, name_msr
    ret

; The TSC and the power-management timer (24 bits) never go back.
check_clocks:
    rdtsc
    mov esi, name_tsc
    cmp edx, [last_tsc + 4]
    jb bad
    ja .later
    cmp eax, [last_tsc]
    jb bad
.later:
    mov [last_tsc], eax
    mov [last_tsc + 4], edx
    mov dx, PORT_PM_TIMER
    in eax, dx
    mov ebx, eax
    sub eax, [last_pm]
    and eax, 0xffffff
    mov [last_pm], ebx
    cmp byte [pm_known], 0
    mov byte [pm_known], 1
    je .done
    mov esi, name_pm                    ; two seconds are half of it
    cmp eax, 0x800000
    ja bad
.done:
    ret

start_timers:
    mov al, 0x11                        ; 8259: vectors from 20H on, IRQ 0 open
    out 0x20, al
    mov al, VECTOR_PIT
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 1
    out 0x21, al
    mov al, 0xfe
    out 0x21, al
    mov ebx, PIT_HZ / 1000
    mov edx, 3000000
    cmp byte [slow], 0
    je .fast
    mov ebx, 0xffff
    mov edx, 60000000
.fast:
    mov al, 0x34                        ; PIT, mode 2
    out 0x43, al
    mov al, bl
    out 0x40, al
    mov al, bh
    out 0x40, al
    mov dword [APIC + 0xf0], 0x100 | VECTOR_SPURIOUS
    mov dword [APIC + 0x350], 0x700     ; LINT0: the 8259
    mov dword [APIC + 0x3e0], 0xb       ; divide by 1
    mov dword [APIC + 0x320], 0x20000 | VECTOR_APIC
    mov [APIC + 0x380], edx
    ret

on_pit:
    push eax
    inc dword [pit_ticks]
    mov al, 0x20
    out 0x20, al
    pop eax
    iret
on_apic:
    inc dword [apic_ticks]
    mov dword [APIC + 0xb0], 0
on_spurious:
    iret

bad:
    cli
    mov ebx, esi
    mov esi, complaint
    call print
    mov esi, ebx
    call print
    hlt
    jmp $ - 1

mxcsr:      dd 0x3f80                   ; rounds down
pattern:    db 1, 2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47
            db 0xff, 0x80, 0x55, 0xaa, 0x11, 0x22, 0x33, 0x44, 0x66, 0x77, 0x88, 0x99, 0xbb, 0xcc, 0xdd, 0xee
            db 0xf0, 0x0f, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc
greeting:   db "saved: runs", 10, 0
dot:        db ".", 0
complaint:  db 10, "bad ", 0
name_x87:   db "x87", 10, 0
name_xmm:   db "XMM", 10, 0
name_ymm:   db "YMM", 10, 0
name_mxcsr: db "MXCSR", 10, 0
name_pkru:  db "PKRU", 10, 0
name_debug: db "debug register", 10, 0
name_msr:   db "MSR", 10, 0
name_tsc:   db "TSC", 10, 0
name_pm:    db "PM timer", 10, 0
name_apic:  db "APIC timer", 10, 0
file_end:

absolute STORAGE
idt:        resb 0x800
scratch:    resd 1
last_tsc:   resq 1
last_pm:    resd 1
pit_ticks:  resd 1
apic_ticks: resd 1
apic_seen:  resd 1
printed:    resd 1
pm_known:   resb 1
has_avx:    resb 1
has_pku:    resb 1
slow:       resb 1
dot_shift:  resb 1
alignb 16
            resb 0x1000
stack_end:
bss_end:

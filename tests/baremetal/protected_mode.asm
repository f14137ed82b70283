; 32-bit protected mode: descriptor checks, segment limits, call gates, task switches, virtual-8086 mode, SYSENTER, I/O permission,
; debug exceptions. (Intel SDM volume 3, chapters 5 to 7, 17 and 20.)
%include "common.inc"
%include "protected.inc"

%define CODE0 0x08
%define DATA0 0x10
%define CODE3 (0x18 | 3)
%define DATA3 (0x20 | 3)
%define TSS_MAIN 0x28
%define TSS_TASK 0x30
%define TASK_GATE 0x38
%define CALL_GATE (0x40 | 3)
%define SMALL 0x48          ; 4 KiB, expand-up
%define DOWN 0x50           ; expand-down above 4 KiB
%define ABSENT 0x58
%define READ_ONLY 0x60
%define EXECUTE_ONLY 0x68
%define LDT_SELECTOR 0x70
%define CODE16 0x78
%define DATA16 0x80
%define TSS_16 0x88
%define TSS_DOUBLE 0x90
%define IDT 0x20000
%define USER_STACK 0x30000
%define KERNEL_STACK 0x70000

    START
    mov esp, KERNEL_STACK
    SET_IDT 0x8e00
    mov dword [IDT + 8 * 8], TSS_DOUBLE << 16      ; task gates
    mov dword [IDT + 8 * 8 + 4], 0x8500
    mov dword [IDT + 0x50 * 8], TSS_TASK << 16
    mov dword [IDT + 0x50 * 8 + 4], 0x8500
    mov byte [IDT + 0x40 * 8 + 5], 0xee             ; INT 0x40 from CPL 3
    mov ax, TSS_MAIN
    ltr ax
    jmp main

    STUBS
caught:
    mov [ss:seen_eax], eax
    mov ax, DATA0
    mov ds, ax
    mov es, ax
    pop dword [seen_vector]
    pop dword [seen_error]
    pop dword [seen_eip]
    pop dword [seen_cs]
    pop dword [seen_flags]
    pop dword [seen_esp]
    pop dword [seen_ss]
    mov eax, cr2
    mov [seen_cr2], eax
    mov eax, [seen_eax]
    mov ss, [kernel_ss]
    mov esp, [resume_esp]
    push dword [resume]
    mov dword [resume], unexpected
    ret
unexpected:
    PRINT "FAIL an exception that nothing expects", 10
    EXIT 1

; FAULTS name, vector, error, instruction...: at CPL 0.
%macro FAULTS 4+
    mov dword [seen_vector], -1
    mov dword [resume], %%after
    mov [resume_esp], esp
%%at:
    %4
%%after:
    CHECK_EQ {%1, ": vector"}, dword [seen_vector], %2
    CHECK_EQ {%1, ": error code"}, dword [seen_error], %3
    CHECK_EQ {%1, ": saved eip"}, dword [seen_eip], %%at
%endmacro

; USER name, vector, error, label: runs `label` at CPL 3 until it is interrupted.
%macro USER 4
    mov dword [seen_vector], -1
    mov dword [resume], %%after
    mov [resume_esp], esp
    push dword DATA3
    push dword USER_STACK
    push dword 2
    push dword CODE3
    push dword %4
    iretd
%%after:
    CHECK_EQ {%1, ": vector"}, dword [seen_vector], %2
    CHECK_EQ {%1, ": error code"}, dword [seen_error], %3
%endmacro

main:
    ; --- Descriptors and limits
    mov ax, SMALL
    mov fs, ax
    mov eax, [fs:0xffc]
    FAULTS "beyond an expand-up limit", 13, 0, mov eax, [fs:0xffd]
    FAULTS "wrap-around of an offset", 13, 0, mov ax, [fs:0xffffffff]
    mov ax, DOWN
    mov fs, ax
    mov eax, [fs:0x1000]
    FAULTS "below an expand-down limit", 13, 0, mov eax, [fs:0xfff]
    mov ax, READ_ONLY
    mov fs, ax
    mov eax, [fs:0]
    FAULTS "write to a read-only segment", 13, 0, mov [fs:0], eax
    mov ax, EXECUTE_ONLY
    FAULTS "load of an execute-only segment", 13, EXECUTE_ONLY, mov fs, ax
    mov ax, ABSENT
    FAULTS "load of an absent segment", 11, ABSENT, mov fs, ax
    FAULTS "load of an absent stack segment", 12, ABSENT, mov ss, ax
    mov ax, 0x7f8
    FAULTS "selector beyond the table", 13, 0x7f8, mov fs, ax
    xor ax, ax
    mov fs, ax
    FAULTS "null segment", 13, 0, mov al, [fs:0]
    FAULTS "null SS", 13, 0, mov ss, ax
    FAULTS "far jump to data", 13, DATA0, jmp DATA0:0
    FAULTS "far call to data, absent as well", 13, ABSENT, call ABSENT:0
    mov bx, SMALL
    lsl eax, ebx
    CHECK_CC "LSL finds the segment", z
    CHECK_EQ "LSL", eax, 0xfff
    lar eax, ebx
    CHECK_EQ "LAR", eax, 0x00409300
    verw bx
    CHECK_CC "VERW of a writable segment", z
    mov bx, READ_ONLY
    verw bx
    CHECK_CC "VERW of a read-only segment", nz
    mov ax, LDT_SELECTOR
    lldt ax
    mov ax, 4
    mov fs, ax
    CHECK_EQ "segment from the LDT", dword [fs:0], 0x11223344
    FAULTS "LDT limit", 13, 0xc, mov fs, [selector_c]

    xor eax, eax
    mov fs, ax

    ; --- A stack fault that cannot be delivered on that stack: double fault, whose gate is a task gate
    LEFT_OUT "stack fault without a stack", .stack_left_out
    mov [saved_esp], esp
    mov ax, SMALL
    mov dword [seen_vector], -1
    mov dword [resume], .small_done
    mov ss, ax
    mov esp, 2
    push ecx
    mov ss, [kernel_ss]
.small_done:
    mov esp, [saved_esp]
    CHECK_EQ "stack fault without a stack: double fault task", dword [seen_vector], 0x108
.stack_left_out:

    ; --- Call gate from CPL 3 with two parameters
    USER "call gate ends in int 0x40", 0x40, 0, user_call_gate
    CHECK_EQ "the gate's code saw the parameters", dword [gate_sum], 0x1111
    CHECK_EQ "RETF n released them", dword [seen_esp], USER_STACK
    CHECK_EQ "back at CPL 3", dword [seen_cs], CODE3
    USER "hlt at CPL 3", 13, 0, user_hlt
    USER "DS of level 0 was cleared on the way out", 13, 0, user_ds
    USER "int without DPL 3", 13, 0x41 * 8 + 2, user_int41
    USER "I/O map denies", 13, 0, user_in_denied
    USER "I/O map allows", 0x40, 0, user_in_allowed

    ; --- SYSENTER
    mov ecx, 0x174
    mov eax, CODE0
    xor edx, edx
    wrmsr
    mov ecx, 0x175
    mov eax, KERNEL_STACK - 0x800
    wrmsr
    mov ecx, 0x176
    mov eax, sysenter_entry
    wrmsr
    USER "sysenter and sysexit", 0x40, 0, user_sysenter
    CHECK_EQ "sysenter ran", dword [sysenters], 1

    ; --- Task switches
    mov dword [resume_esp], esp
    call TSS_TASK:0
    CHECK_EQ "called task ran", dword [task_runs], 1
    CHECK_EQ "its back link", word [task_tss], TSS_MAIN
    pushfd
    pop eax
    test eax, 1 << 14
    CHECK_CC "NT is clear after the return", z
    call TASK_GATE:0
    CHECK_EQ "through a task gate", dword [task_runs], 2
    int 0x50
    CHECK_EQ "through a task gate in the IDT", dword [task_runs], 3
    jmp TSS_TASK:0
after_task_jump:
    CHECK_EQ "by JMP there and back", dword [task_runs], 4
    mov al, [gdt + TSS_TASK + 5]
    CHECK_EQ "the task left by JMP is not busy", al, 0x89
    mov eax, cr0
    test al, 8
    CHECK_CC "TS is set by a task switch", nz
    clts
    FAULTS "jump to the busy task", 13, TSS_MAIN, jmp TSS_MAIN:0
    mov byte [gdt + TSS_TASK], 0x66
    FAULTS "task state too short", 10, TSS_TASK, call TSS_TASK:0
    mov byte [gdt + TSS_TASK], 0x67
    and byte [gdt + TSS_TASK + 5], 0x7f
    FAULTS "task state not present", 11, TSS_TASK, call TSS_TASK:0
    or byte [gdt + TSS_TASK + 5], 0x80
    ; The T bit traps before the new task's first instruction; NT then leads back.
    or byte [task_tss + 0x64], 1
    mov dword [task_tss + 0x20], task_code
    mov dword [seen_vector], -1
    mov dword [resume], .in_task
    mov dword [resume_esp], KERNEL_STACK - 0x2800
    call TSS_TASK:0
    jmp .task_left
.in_task:
    str ax
    mov [trapped_task], ax
    pushfd
    or dword [esp], 1 << 14
    popfd
    iretd
.task_left:
    CHECK_EQ "T bit: vector", dword [seen_vector], 1
    CHECK_EQ "T bit: in the new task", dword [seen_eip], task_code
    CHECK_EQ "T bit: its task register", word [trapped_task], TSS_TASK
    test dword [seen_flags], 1 << 14
    CHECK_CC "T bit: NT is set", nz
    mov eax, dr6
    and eax, 0xf00f
    CHECK_EQ "T bit: DR6.BT", eax, 0x8000
    mov eax, 0xffff0ff0
    mov dr6, eax
    and byte [task_tss + 0x64], 0xfe
    LEFT_OUT "16-bit task", .no_task16
    call TSS_16:0
    CHECK_EQ "16-bit task", dword [task16_runs], 1
.no_task16:

    ; --- Virtual-8086 mode
    mov esi, vm_code
    mov edi, 0x50000
    mov ecx, vm_end - vm_code
    cld
    rep movsb
%macro VM86 5                   ; name, vector, error, offset, flags
    mov dword [seen_vector], -1
    mov dword [resume], %%after
    mov [resume_esp], esp
    push dword 0x5004           ; GS FS DS ES
    push dword 0x5003
    push dword 0x5000
    push dword 0x5001
    push dword 0x5000           ; SS:ESP
    push dword 0x8000
    push dword %5 | 1 << 17
    push dword 0x5000
    push dword %4
    iretd
%%after:
    CHECK_EQ {%1, ": vector"}, dword [seen_vector], %2
    CHECK_EQ {%1, ": error code"}, dword [seen_error], %3
    CHECK_EQ {%1, ": from virtual-8086 mode"}, dword [seen_cs], 0x5000
    test dword [seen_flags], 1 << 17
    CHECK_CC {%1, ": VM in the saved flags"}, nz
%endmacro
    mov byte [IDT + 0x42 * 8 + 5], 0xee
    VM86 "cli at IOPL 0", 13, 0, vm_cli - vm_code, 2
    VM86 "int 0x42 at IOPL 0", 13, 0, vm_int - vm_code, 2
    VM86 "int 0x42 at IOPL 3", 0x42, 0, vm_int - vm_code, 0x3002
    VM86 "hlt", 13, 0, vm_hlt - vm_code, 0x3002
    VM86 "16-bit addressing and segments", 0x42, 0, vm_work - vm_code, 0x3002
    CHECK_EQ "what it computed", word [0x51234], 0x5000 + 0x5001
    VM86 "lar is no instruction there", 6, 0, vm_lar - vm_code, 0x3002

    ; --- Debug exceptions
    mov dword [seen_vector], -1
    mov dword [resume], .stepped
    mov [resume_esp], esp
    xor ecx, ecx
    pushfd
    or dword [esp], 0x100
    popfd
    inc ecx
.step_eip:
    inc ecx
.stepped:
    CHECK_EQ "single step: vector", dword [seen_vector], 1
    CHECK_EQ "single step: after the instruction that follows POPF", dword [seen_eip], .step_eip
    mov eax, dr6
    and eax, 0xf00f
    CHECK_EQ "single step: DR6.BS", eax, 0x4000
    test dword [seen_flags], 0x100
    CHECK_CC "single step: TF in the saved flags", nz
    xor eax, eax
    mov dr6, eax
    mov eax, .break_here
    mov dr0, eax
    mov eax, 0x402
    mov dr7, eax
    mov dword [seen_vector], -1
    mov dword [resume], .broke
    nop
.break_here:
    nop
.broke:
    CHECK_EQ "instruction breakpoint: vector", dword [seen_vector], 1
    CHECK_EQ "instruction breakpoint: a fault", dword [seen_eip], .break_here
    mov eax, dr6
    and eax, 0xf00f
    CHECK_EQ "instruction breakpoint: DR6", eax, 1
    mov eax, watched
    mov dr1, eax
    mov eax, 0x00d00408             ; G1, 4 bytes, write
    mov dr7, eax
    mov dword [seen_vector], -1
    mov dword [resume], .watched
    mov eax, [watched]
    mov byte [watched + 3], 5
.after_watch:
    nop
.watched:
    CHECK_EQ "data breakpoint: vector", dword [seen_vector], 1
    CHECK_EQ "data breakpoint: a trap", dword [seen_eip], .after_watch
    CHECK_EQ "data breakpoint: the store happened", byte [watched + 3], 5
    mov eax, dr6
    and eax, 0xf00f
    CHECK_EQ "data breakpoint: DR6", eax, 2
    mov eax, 0x2400                 ; general detect
    mov dr7, eax
    FAULTS "general detect", 1, 0, mov eax, dr0
    xor eax, eax
    mov dr7, eax

    ; --- Overflow, bounds
    mov al, 0x7f
    mov dword [seen_vector], -1
    mov dword [resume], .into
    mov [resume_esp], esp
    inc al
    into
.into_eip:
.into:
    CHECK_EQ "INTO is a trap", dword [seen_eip], .into_eip
    CHECK_EQ "INTO: vector", dword [seen_vector], 4
    mov eax, 11
    FAULTS "BOUND", 5, 0, bound eax, [bounds]
    mov eax, 10
    bound eax, [bounds]

    ; --- Interrupt shadows
    mov dword [seen_vector], -1
    mov dword [resume], .irq
    mov [resume_esp], esp
    mov al, 0x60
    out PORT_INTERRUPT, al
    xor ecx, ecx
    sti
    inc ecx
.irq_eip:
    inc ecx
.irq:
    CHECK_EQ "interrupt after STI: vector", dword [seen_vector], 0x60
    CHECK_EQ "one instruction ran in the shadow", ecx, 1
    CHECK_EQ "its saved eip", dword [seen_eip], .irq_eip
    mov dword [seen_vector], -1
    out PORT_INTERRUPT, al
    sti
    cli
    nop
    CHECK_EQ "STI, CLI lets nothing through", dword [seen_vector], -1
    mov dword [resume], .nmi
    out PORT_NMI, al
    nop
    nop
.nmi:
    CHECK_EQ "NMI comes through", dword [seen_vector], 2
    EXIT 0

; --- The other tasks
task_code:
    inc dword [task_runs]
    cmp dword [task_runs], 4
    je .jumped
    iretd
    jmp task_code
.jumped:
    jmp TSS_MAIN:0

double_fault_task:
    mov dword [seen_vector], 0x108
    add esp, 4                  ; the error code
    ; The broken task is not returned to: continue in its place.
    mov eax, [resume]
    mov [main_tss + 0x20], eax
    mov dword [main_tss + 0x38], KERNEL_STACK - 0x1000
    mov word [main_tss + 0x50], DATA0
    iretd
    jmp double_fault_task

    bits 16
task16_code:
    inc dword [task16_runs]
    iret
    bits 32

gate_code:
    mov eax, [esp + 8]
    add eax, [esp + 12]
    mov [ss:gate_sum], eax
    retf 8

sysenter_entry:
    mov ax, DATA0
    mov ds, ax
    inc dword [sysenters]
    mov edx, after_sysexit
    mov ecx, USER_STACK
    sysexit

user_call_gate:
    push dword 0x1000
    push dword 0x111
    call CALL_GATE:0
    int 0x40
user_hlt:
    hlt
user_ds:
    mov al, [0]
user_int41:
    int 0x41
user_in_denied:
    mov dx, 0x3f9
    in al, dx
user_in_allowed:
    mov dx, 0x80
    in al, dx
    int 0x40
user_sysenter:
    sysenter
after_sysexit:
    int 0x40

    bits 16
vm_code:
vm_cli: cli
vm_int: int 0x42
vm_hlt: hlt
vm_lar: lar ax, bx
vm_work:
    mov ax, ds
    mov bx, es
    add ax, bx
    mov [0x1234], ax
    int 0x42
vm_end:
    bits 32

    align 8
%macro DESCRIPTOR 3             ; base, limit, access and flags (0xF00AA: flags F, access AA)
    dw (%2) & 0xffff, (%1) & 0xffff
    db ((%1) >> 16) & 0xff, (%3) & 0xff, (((%2) >> 16) & 0xf) | (((%3) >> 8) & 0xf) << 4, ((%1) >> 24) & 0xff
%endmacro
; Addresses in this file are below 64 KiB, so that the assembler can place them in descriptors.
%define HERE(label) (label - $$ + 0x7c00)
gdt:
    dq 0
    DESCRIPTOR 0, 0xfffff, 0xc9b
    DESCRIPTOR 0, 0xfffff, 0xc93
    DESCRIPTOR 0, 0xfffff, 0xcfb
    DESCRIPTOR 0, 0xfffff, 0xcf3
    DESCRIPTOR HERE(main_tss), io_map_end - main_tss - 1, 0x089
    DESCRIPTOR HERE(task_tss), 0x67, 0x089
    dw 0, TSS_TASK, 0x8500, 0
    dw HERE(gate_code), CODE0, 0xec02, 0
    DESCRIPTOR 0, 0xfff, 0x493
    DESCRIPTOR 0, 0xfff, 0x497
    DESCRIPTOR 0, 0xfffff, 0xc13
    DESCRIPTOR 0, 0xfffff, 0xc91
    DESCRIPTOR 0, 0xfffff, 0xc99
    DESCRIPTOR HERE(ldt), 7, 0x082
    DESCRIPTOR 0, 0xffff, 0x09b
    DESCRIPTOR 0, 0xffff, 0x093
    DESCRIPTOR HERE(tss16), 0x2b, 0x081
    DESCRIPTOR HERE(double_fault_tss), 0x67, 0x089   
gdt_end:
ldt:
    DESCRIPTOR HERE(ldt_data), 0xf, 0x493
ldt_data: dd 0x11223344, 0, 0, 0
gdt_pointer:
    dw gdt_end - gdt - 1
    dd gdt
idt_pointer:
    dw 256 * 8 - 1
    dd IDT
    align 4
main_tss:
    dd 0, KERNEL_STACK - 0x400, DATA0
    times 0x66 - ($ - main_tss) db 0
    dw io_map - main_tss
io_map:
    times 0x3f8 / 8 db 0
    db 2
    times 8 db 0
    db 0xff
io_map_end:
    align 4
task_tss:
    dd 0, KERNEL_STACK - 0x400, DATA0, 0, 0, 0, 0, 0
    dd task_code, 2
    dd 0, 0, 0, 0, KERNEL_STACK - 0x2000, 0, 0, 0
    dd DATA0, CODE0, DATA0, DATA0, 0, 0
    dd 0, 0x680000
double_fault_tss:
    dd 0, KERNEL_STACK - 0x400, DATA0, 0, 0, 0, 0, 0
    dd double_fault_task, 2
    dd 0, 0, 0, 0, KERNEL_STACK - 0x3000, 0, 0, 0
    dd DATA0, CODE0, DATA0, DATA0, 0, 0
    dd 0, 0x680000
tss16:
    dw 0, 0, 0, 0, 0, 0, 0, task16_code, 2
    dw 0, 0, 0, 0, 0x6000, 0, 0, 0
    dw DATA0, CODE16, DATA16, DATA0, 0
    align 4
bounds: dd 5, 10
selector_c: dw 0xc
    align 4
watched: dd 0
kernel_ss: dd DATA0
resume: dd unexpected
resume_esp: dd 0
saved_esp: dd 0
seen_vector: dd 0
seen_error: dd 0
seen_eip: dd 0
seen_cs: dd 0
seen_flags: dd 0
seen_esp: dd 0
seen_ss: dd 0
seen_eax: dd 0
seen_cr2: dd 0
gate_sum: dd 0
sysenters: dd 0
task_runs: dd 0
trapped_task: dd 0
task16_runs: dd 0

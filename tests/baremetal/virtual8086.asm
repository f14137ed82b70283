; Virtual-8086 mode extensions and protected-mode virtual interrupts (CR4.VME and PVI): VIF and VIP, the interrupt redirection bit
; map. (Intel SDM volume 3, 20.3 and 20.4; volume 2 CLI, STI, PUSHF, POPF, IRET, INT n.)
%include "common.inc"
%include "protected.inc"

%define CODE0 0x08
%define DATA0 0x10
%define CODE3 (0x18 | 3)
%define DATA3 (0x20 | 3)
%define TSS 0x28
%define IDT 0x20000
%define TASK 0x50000                    ; the 8086 program and its segments
%define VM (1 << 17)
%define VIF (1 << 19)
%define VIP (1 << 20)

    START
    mov esp, 0x70000
    SET_IDT 0xee00
    mov ax, TSS
    ltr ax
    cld
    mov esi, vm_code
    mov edi, TASK
    mov ecx, vm_end - vm_code
    rep movsb
    mov dword [0x43 * 4], 0x5000 << 16 | (vm_handler - vm_code)
    jmp main

    STUBS
caught:
    mov bp, DATA0
    mov ds, bp
    mov es, bp
    pop dword [seen_vector]
    pop dword [seen_error]
    pop dword [seen_eip]
    pop dword [seen_cs]
    pop dword [seen_flags]
    mov [seen_ax], ax
    mov esp, [resume_esp]
    jmp [resume]

; V8086 name, vector, error, label, flags: runs `label` in virtual-8086 mode until something interrupts it.
%macro V8086 5
    mov dword [resume], %%after
    mov [resume_esp], esp
    push dword 0
    push dword 0
    push dword TASK >> 4
    push dword TASK >> 4
    push dword TASK >> 4
    push dword 0x8000
    push dword (%5) | VM | 2
    push dword TASK >> 4
    push dword %4 - vm_code
    iretd
%%after:
    CHECK_EQ {%1, ": vector"}, dword [seen_vector], %2
    CHECK_EQ {%1, ": error code"}, dword [seen_error], %3
%endmacro
%macro CHECK_FLAGS 3                    ; name, mask, value
    mov eax, [seen_flags]
    and eax, %2
    CHECK_EQ {%1}, eax, %3
%endmacro

main:
    mov eax, 1
    cpuid
    bt edx, 1
    NEEDS_CC "VME", c
    V8086 "cli without VME", 13, 0, vm_cli, 0
    V8086 "int without VME", 13, 0, vm_int44, 0
    mov eax, cr4
    or eax, 1
    mov cr4, eax

    V8086 "cli clears VIF", 6, 0, vm_cli, VIF | 0x200
    CHECK_FLAGS "and leaves IF", VIF | 0x200, 0x200
    V8086 "sti sets VIF", 6, 0, vm_sti, 0
    CHECK_FLAGS "and leaves IF clear", VIF | 0x200, VIF
    V8086 "sti with VIP", 13, 0, vm_sti, VIP
    V8086 "cli at IOPL 3", 6, 0, vm_cli, 0x3200 | VIF
    CHECK_FLAGS "clears IF", VIF | 0x200, VIF
    V8086 "pushf shows VIF as IF", 6, 0, vm_pushf, VIF
    and word [seen_ax], 0x3200
    CHECK_EQ "and IOPL 3", word [seen_ax], 0x3200
    V8086 "pushf without VIF", 6, 0, vm_pushf, 0x200
    and word [seen_ax], 0x3200
    CHECK_EQ "shows IF clear", word [seen_ax], 0x3000
    V8086 "pushfd", 13, 0, vm_pushfd, VIF
    V8086 "popf sets VIF", 6, 0, vm_popf_if, 0
    CHECK_FLAGS "not IF, nor IOPL", VIF | 0x3200, VIF
    V8086 "popf of IF with VIP", 13, 0, vm_popf_if, VIP
    V8086 "popf of TF", 13, 0, vm_popf_tf, 0
    V8086 "iret sets VIF", 6, 0, vm_iret, 0
    CHECK_FLAGS "and returns", VIF | 0x3200, VIF
    V8086 "int n through the task's own table", 6, 0, vm_int43, VIF | 0x200
    CHECK_EQ "its handler ran", word [TASK + 0x1000], 0x4343
    CHECK_FLAGS "with VIF clear", VIF | 0x200, 0x200
    and word [TASK + 0x1002], 0x3200
    CHECK_EQ "on an image with IF as VIF, IOPL 3", word [TASK + 0x1002], 0x3200
    or byte [redirection + 0x43 / 8], 1 << (0x43 % 8)
    V8086 "int n that the map keeps", 13, 0, vm_int43, 0
    V8086 "int n that the map keeps, IOPL 3", 0x43, 0, vm_int43, 0x3000

    ; Protected-mode virtual interrupts.
    mov dword [resume], .no_pvi
    call user_cli
.no_pvi:
    CHECK_EQ "cli at CPL 3 without PVI", dword [seen_vector], 13
    mov eax, cr4
    or eax, 2
    mov cr4, eax
    mov dword [resume], .pvi
    call user_cli
.pvi:
    CHECK_EQ "cli and sti at CPL 3", dword [seen_vector], 0x44
    CHECK_FLAGS "change VIF", VIF | 0x200, VIF
    EXIT 0

user_cli:
    mov [resume_esp], esp
    push dword DATA3
    push dword 0x30000
    push dword 2
    push dword CODE3
    push dword user_code
    iretd
user_code:
    cli
    sti
    int 0x44

    bits 16
vm_code:
vm_cli: cli
    ud2
vm_int44: int 0x44
vm_sti: sti
    ud2
vm_pushf: pushf
    pop ax
    ud2
vm_pushfd: pushfd
vm_popf_if: push word 0x200
    popf
    ud2
vm_popf_tf: push word 0x100
    popf
    ud2
vm_iret: push word 0x200
    push cs
    push word vm_returned - vm_code
    iret
vm_returned: ud2
vm_int43: int 0x43
    ud2
vm_handler:
    mov word [0x1000], 0x4343
    pop ax
    pop bx
    pop word [0x1002]
    ud2
vm_end:
    bits 32

    align 8
gdt:
    dq 0
    dq 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff
    dw tss_end - tss - 1, tss - $$ + 0x7c00
    dd 0x8900
gdt_end:
gdt_pointer:
    dw gdt_end - gdt - 1
    dd gdt
idt_pointer:
    dw 256 * 8 - 1
    dd IDT
    align 4
tss:
    dd 0, 0x68000, DATA0
    times 0x66 - ($ - tss) db 0
    dw io_map - tss
redirection:
    times 32 db 0
io_map:
    times 0x2000 db 0
    db 0xff
tss_end:
    align 4
resume: dd 0
resume_esp: dd 0
seen_vector: dd 0
seen_error: dd 0
seen_eip: dd 0
seen_cs: dd 0
seen_flags: dd 0
seen_ax: dd 0

; Five-level paging: CR4.LA57, 57-bit linear addresses, canonical checks by paging mode and by processor.
; (Intel SDM volume 3, 4.5 and 3.3.7.1; volume 2, MOV to control registers.)
%include "long.inc"

%define PML5 0x15000
%define HIGH_ALIAS (1 << 48)            ; PML5 entry 1 maps what entry 0 does

%macro WRITE_MSR 2                      ; index, 64-bit constant
    mov ecx, %1
    mov rax, %2
    mov rdx, rax
    shr rdx, 32
    wrmsr
%endmacro

main64:
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ecx, 16
    NEEDS_CC "LA57", c
    mov eax, 0x80000008
    cpuid
    CHECK_EQ "57 linear address bits", ah, 57
    mov rax, cr4
    bts rax, 12
    FAULTS "LA57 cannot change in IA-32e mode", 13, 0, -1, mov cr4, rax
    mov r8, HIGH_ALIAS
    FAULTS "48-bit mode: not canonical", 13, 0, -1, mov al, [r8]
    WRITE_MSR 0xc0000082, HIGH_ALIAS
    rdmsr
    CHECK_EQ "an MSR takes what the processor's width allows", edx, 0x10000

    mov rdi, PML5
    xor eax, eax
    mov ecx, 0x1000 / 4
    cld
    rep stosd
    mov qword [PML5], PML4 | 7
    mov qword [PML5 + 8], PML4 | 7
    push qword COMPAT_CS
    mov rax, leave_long_mode
    push rax
    retfq
    bits 32
leave_long_mode:
    mov eax, cr0
    btr eax, 31
    mov cr0, eax
    mov eax, cr4
    bts eax, 12
    mov cr4, eax
    mov eax, PML5
    mov cr3, eax
    mov eax, cr0
    bts eax, 31
    mov cr0, eax
    jmp KERNEL_CS:five_levels
    bits 64
five_levels:
    mov byte [PAGES], 0x5a
    mov r8, HIGH_ALIAS + PAGES
    CHECK_EQ "bit 48 is translated", byte [r8], 0x5a
    mov byte [r8], 0xa5
    CHECK_EQ "and written through", byte [PAGES], 0xa5
    mov r8, 2 << 48
    FAULTS "PML5 entry not present", 14, 0, 2 << 48, mov al, [r8]
    mov r8, 1 << 56
    FAULTS "57-bit mode: not canonical", 13, 0, -1, mov al, [r8]
    FAULTS "57-bit mode: branch to a non-canonical address", 13, 0, -1, jmp r8
    mov r8, 0x00ffffffffffffff
    FAULTS "57-bit mode: access across the boundary", 13, 0, -1, mov ax, [r8]
    mov r8, 0xff00000000000000
    FAULTS "57-bit mode: the upper half begins", 14, 0, 0xff00000000000000, mov al, [r8]
    mov rax, there
    mov rcx, HIGH_ALIAS
    add rax, rcx
    jmp rax
there:
    lea rax, [rel there]
    shr rax, 48
    CHECK_EQ "code runs above bit 48", eax, 1
    mov rax, back
    jmp rax
back:
    or qword [PML5 + 8], 0x80
    mov rax, cr3
    mov cr3, rax
    mov r8, HIGH_ALIAS + PAGES
    FAULTS "PML5 entries have no PS bit", 14, 9, HIGH_ALIAS + PAGES, mov al, [r8]
    mov rax, cr4
    btr rax, 12
    FAULTS "nor can LA57 go in IA-32e mode", 13, 0, -1, mov cr4, rax
    EXIT 0

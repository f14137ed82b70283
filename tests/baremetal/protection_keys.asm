; Protection keys for user pages: CR4.PKE, PKRU, RDPKRU and WRPKRU, bit 5 of the page-fault error code, XSAVE component 9.
; (Intel SDM volume 3, 4.6.2; volume 1, 13.5.7.)
%include "long.inc"

%define CR4_PKE (1 << 22)
%define AREA (PAGES + 0x2000)

%macro WRITE_PKRU 1
    mov eax, %1
    xor ecx, ecx
    xor edx, edx
    wrpkru
%endmacro
%macro CHECK_LEAF7_ECX 3                ; name, bit, condition
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ecx, %2
    CHECK_CC {%1}, %3
%endmacro

main64:
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ecx, 3
    NEEDS_CC "PKU", c
    CHECK_LEAF7_ECX "OSPKE is clear", 4, nc
    xor ecx, ecx
    FAULTS "RDPKRU without CR4.PKE", 6, 0, -1, rdpkru
    FAULTS "WRPKRU without CR4.PKE", 6, 0, -1, wrpkru
    mov rax, cr4
    or rax, CR4_PKE
    mov cr4, rax
    CHECK_LEAF7_ECX "OSPKE follows CR4.PKE", 4, c
    mov edx, 1
    xor ecx, ecx
    rdpkru
    or rax, rdx
    CHECK_EQ "PKRU is zero, and so is RDX", rax, 0
    mov ecx, 1
    FAULTS "RDPKRU with ECX", 13, 0, -1, rdpkru
    FAULTS "WRPKRU with ECX", 13, 0, -1, wrpkru
    xor ecx, ecx
    mov edx, 1
    FAULTS "WRPKRU with EDX", 13, 0, -1, wrpkru

    cld
    mov rsi, user_code
    mov rdi, USER
    mov ecx, user_end - user_code
    rep movsb
    mov rax, 1 << 59                    ; key 1 for the user page
    or [PD + 2 * 8], rax
    mov rax, 2 << 59                    ; key 2 for a supervisor page: no effect
    or [PT + 1 * 8], rax
    invlpg [USER]
    invlpg [PAGES + 0x1000]
    mov al, [USER + 0x1000]
    WRITE_PKRU 1 << 2                   ; AD1
    FAULTS "access disabled: supervisor read", 14, 0x21, USER + 0x1000, mov al, [USER + 0x1000]
    FAULTS "access disabled: supervisor write", 14, 0x23, USER + 0x1000, mov [USER + 0x1000], al
    USER_FAULTS "access disabled: user read, and code still runs", 14, 0x25, USER + (user_read - user_code)
    WRITE_PKRU 1 << 3                   ; WD1
    mov al, [USER + 0x1000]
    FAULTS "write disabled: supervisor write", 14, 0x23, USER + 0x1000, mov [USER + 0x1000], al
    USER_FAULTS "write disabled: user write", 14, 0x27, USER + (user_write - user_code)
    USER_FAULTS "write disabled: user read", 6, 0, USER + (user_read - user_code)
    mov rax, cr0
    btr rax, 16
    mov cr0, rax
    mov byte [USER + 0x1000], 0x77
    bts rax, 16
    mov cr0, rax
    CHECK_EQ "write disabled, but WP is clear", byte [USER + 0x1000], 0x77
    WRITE_PKRU 3 << 4
    mov byte [PAGES + 0x1000], 1
    CHECK_EQ "supervisor pages have no keys", byte [PAGES + 0x1000], 1

    ; XSAVE component 9.
    mov rax, cr4
    bts rax, 18
    mov cr4, rax
    xor ecx, ecx
    mov eax, 0x203
    xor edx, edx
    xsetbv
    mov eax, 0xd
    mov ecx, 9
    cpuid
    CHECK_EQ "component 9: size", eax, 8
    mov r9d, ebx
    WRITE_PKRU 1 << 2
    mov eax, 0x200
    xor edx, edx
    xsave [AREA]
    CHECK_EQ "XSAVE: PKRU is in use", qword [AREA + 512], 0x200
    CHECK_EQ "XSAVE: PKRU", dword [AREA + r9], 4
    WRITE_PKRU 0
    mov al, [USER + 0x1000]
    mov eax, 0x200
    xrstor [AREA]
    xor ecx, ecx
    rdpkru
    CHECK_EQ "XRSTOR: PKRU", eax, 4
    FAULTS "and its effect at once", 14, 0x21, USER + 0x1000, mov al, [USER + 0x1000]
    mov rax, cr4
    btr rax, 22
    mov cr4, rax
    mov al, [USER + 0x1000]
    CHECK_EQ "CR4.PKE clear: no keys", al, 0x77
    EXIT 0

user_code:
user_read: mov al, [USER + 0x1000]
    ud2
user_write: mov [USER + 0x1000], al
    ud2
user_end:

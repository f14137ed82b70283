; Long mode: paging rights and error codes, accessed and dirty bits, canonical addresses, user mode, system calls, the interrupt stack
; table, compatibility mode, SMEP and SMAP where offered.
%include "long.inc"

main64:
    FAULTS "not present, read", 14, 0, 0x40000000, mov al, [0x40000000]
    FAULTS "not present, write", 14, 2, 0x40001234, mov [0x40001234], al
    mov rbx, 0x8000000000000000
    FAULTS "non-canonical address", 13, 0, -1, mov al, [rbx]
    mov rbp, rbx
    FAULTS "non-canonical stack address", 12, 0, -1, mov al, [rbp]
    FAULTS "jump to a non-canonical address", 13, 0, -1, jmp rbx
    mov [far_address], rbx
    FAULTS "call to a non-canonical address", 13, 0, -1, call [far_address]
    CHECK_EQ "it pushes nothing", qword [seen_rsp], rsp
    push rbx
    FAULTS "return to a non-canonical address", 13, 0, -1, ret 8
    CHECK_EQ "it pops nothing", qword [seen_rsp], rsp
    pop rax
    ; An access that straddles the end of the canonical addresses is not a page fault of its first page.
    mov r8, 0x7fffffffffff
    FAULTS "read across the canonical boundary", 13, 0, -1, mov ecx, [r8]
    FAULTS "write across the canonical boundary", 13, 0, -1, mov [r8], ecx
    FAULTS "locked access across the canonical boundary", 13, 0, -1, lock inc dword [r8]
    mov rbp, r8
    FAULTS "stack access across the canonical boundary", 12, 0, -1, mov ecx, [rbp]
    FAULTS "the byte below the boundary is a page fault", 14, 0, 0x7fffffffffff, mov cl, [r8]
    FAULTS "ud2", 6, 0, -1, ud2
    FAULTS "invalid selector", 13, 0x78, -1, mov ds, [selector78]
    xor edx, edx
    xor ecx, ecx
    FAULTS "divide by zero", 0, 0, -1, div ecx
    LEFT_OUT "reserved bit of cr4", .cr4_done
    FAULTS "reserved bit of cr4", 13, 0, -1, mov cr4, rbx
.cr4_done:
    mov ecx, 0x12345678
    FAULTS "unknown MSR", 13, 0, -1, rdmsr
    ; Accessed and dirty bits of a 4 KiB page: set by the access that needs them, not before.
    and qword [PT + 1 * 8], ~0x60
    invlpg [PAGES + 0x1000]
    mov al, [PAGES + 0x1000]
    mov rax, [PT + 1 * 8]
    and eax, 0x60
    CHECK_EQ "a read sets A only", eax, 0x20
    mov byte [PAGES + 0x1000], 1
    mov rax, [PT + 1 * 8]
    and eax, 0x60
    CHECK_EQ "a write sets D", eax, 0x60

    ; Write protection applies to the supervisor (CR0.WP), and a change of WP at once.
    and qword [PT + 2 * 8], ~2
    invlpg [PAGES + 0x2000]
    FAULTS "write to a read-only page", 14, 3, PAGES + 0x2008, mov [PAGES + 0x2008], al
    FAULTS "read-modify-write faults as a write", 14, 3, PAGES + 0x2008, inc byte [PAGES + 0x2008]
    mov rax, cr0
    btr rax, 16
    mov cr0, rax
    mov byte [PAGES + 0x2008], 7
    CHECK_EQ "WP clear lets the supervisor write", byte [PAGES + 0x2008], 7
    bts rax, 16
    mov cr0, rax
    FAULTS "WP set again", 14, 3, PAGES + 0x2008, mov [PAGES + 0x2008], al

    ; Reserved bits and no-execute.
    mov rax, 1 << 51
    or [PT + 3 * 8], rax
    invlpg [PAGES + 0x3000]
    FAULTS "reserved bit in a page-table entry", 14, 9, PAGES + 0x3000, mov al, [PAGES + 0x3000]
    mov rax, 1 << 63
    or [PT + 4 * 8], rax
    invlpg [PAGES + 0x4000]
    mov byte [PAGES + 0x4000], 0xc3
    mov qword [seen_vector], -1
    mov qword [resume], nx_done
    mov [resume_rsp], rsp
    mov rax, PAGES + 0x4000
    call rax
nx_done:
    CHECK_EQ "no-execute page: vector", qword [seen_vector], 14
    CHECK_EQ "no-execute page: error code", qword [seen_error], 0x11
    CHECK_EQ "no-execute page: rip", qword [seen_rip], PAGES + 0x4000

    ; An access that crosses into a missing page faults there and changes nothing.
    and qword [PT + 6 * 8], ~1
    invlpg [PAGES + 0x6000]
    mov qword [PAGES + 0x5ff8], 0
    mov rax, -1
    FAULTS "write across a missing page", 14, 2, PAGES + 0x6000, mov [PAGES + 0x5ffc], rax
    CHECK_EQ "nothing of it is written", qword [PAGES + 0x5ff8], 0

    ; User mode.
    cld
    mov rsi, user_code
    mov rdi, USER
    mov ecx, user_end - user_code
    rep movsb
    USER_FAULTS "user reads a supervisor page", 14, 5, USER + (user_read - user_code)
    USER_FAULTS "user writes a supervisor page", 14, 7, USER + (user_write - user_code)
    USER_FAULTS "user executes hlt", 13, 0, USER + (user_hlt - user_code)
    USER_FAULTS "user reads cr0", 13, 0, USER + (user_cr0 - user_code)
    USER_FAULTS "user in", 13, 0, USER + (user_in - user_code)
    USER_FAULTS "user int 0x80 needs DPL 3", 13, 0x80 * 8 + 2, USER + (user_int - user_code)
    mov byte [IDT + 0x80 * 16 + 5], 0xee
    USER_FAULTS "user int 0x80 with DPL 3", 0x80, 0, USER + (user_int - user_code)
    CHECK_EQ "its saved rip is the next instruction", qword [seen_rip], USER + (user_int - user_code) + 2

    ; SYSCALL and SYSRET.
    mov ecx, 0xc0000081             ; STAR: kernel 0x08, user 0x18 - 16 (SYSRET adds 16 and 8)
    xor eax, eax
    mov edx, 0x000b0008
    wrmsr
    mov ecx, 0xc0000082             ; LSTAR
    mov rax, system_call
    mov rdx, rax
    shr rdx, 32
    wrmsr
    mov ecx, 0xc0000084             ; FMASK: IF
    mov eax, 0x200
    xor edx, edx
    wrmsr
    mov qword [syscalls], 0
    USER_FAULTS "syscall, sysret, then ud2", 6, 0, USER + (user_syscall - user_code)
    CHECK_EQ "the system call ran", qword [syscalls], 1

    ; The interrupt stack table replaces the stack even without a privilege change.
    mov byte [IDT + 6 * 16 + 4], 1
    mov qword [resume], ist_done
    mov [resume_rsp], rsp
    mov qword [0x66000 - 8], 0
    ud2
ist_done:
    mov byte [IDT + 6 * 16 + 4], 0
    CHECK_EQ "IST1 holds the saved SS", qword [0x66000 - 8], KERNEL_DS

    ; Compatibility mode: 32-bit code in long mode, addresses wrap at 4 GiB.
    mov eax, KERNEL_DS              ; the returns to user mode left DS null (Intel SDM vol. 2, IRET)
    mov ds, eax
    push qword COMPAT_CS
    mov rax, compatibility
    push rax
    retfq
    bits 32
compatibility:
    mov eax, 0x12345678
    push eax
    pop ebx
    dec eax                         ; 0x48: a REX prefix in 64-bit mode
    cmp eax, 0x12345677
    jne .wrong
    mov dword [PAGES], 0x55
    mov ecx, PAGES - 0x1000
    mov edx, [ecx + 0x1000]
    jmp KERNEL_CS:back_in_64
.wrong:
    EXIT 2
    bits 64
back_in_64:
    CHECK_EQ "compatibility mode ran as 32-bit code", edx, 0x55
    EXIT 0

system_call:
    inc qword [syscalls]
    o64 sysret

selector78: dw 0x78
    align 8
syscalls: dq 0
far_address: dq 0

user_code:
user_read: mov al, [0x7c00]
    ud2
user_write: mov [0x7c00], al
    ud2
user_hlt: hlt
user_cr0: mov rax, cr0
user_in: in al, 0x80
user_int: int 0x80
user_syscall: syscall
    ud2
user_end:

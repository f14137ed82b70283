; What is no instruction, or too long for one, and fetches across pages: LOCK's table, 15 bytes, CR2 of the second page.
; (Intel SDM volume 2, 2.1.1, "LOCK"; volume 3, 6.15 "#GP".)
%include "long.inc"

%define NEXT_TO_LAST (PAGES + 0x5000)
%define MISSING (PAGES + 0x6000)

%macro LOCK_FAULTS 2                    ; name, bytes of a locked instruction
    FAULTS %1, 6, 0, -1, db 0xf0, %2
%endmacro

main64:
    mov rbx, PAGES
    LOCK_FAULTS "lock mov [rbx], eax", {0x89, 0x03}
    LOCK_FAULTS "lock add eax, [rbx]", {0x03, 0x03}
    LOCK_FAULTS "lock add eax, ebx", {0x01, 0xd8}
    LOCK_FAULTS "lock cmp [rbx], eax", {0x39, 0x03}
    LOCK_FAULTS "lock cmp dword [rbx], 1", {0x83, 0x3b, 0x01}
    LOCK_FAULTS "lock test [rbx], eax", {0x85, 0x03}
    LOCK_FAULTS "lock bt [rbx], eax", {0x0f, 0xa3, 0x03}
    LOCK_FAULTS "lock bts eax, ebx", {0x0f, 0xab, 0xd8}
    LOCK_FAULTS "lock inc eax", {0xff, 0xc0}
    LOCK_FAULTS "lock nop", {0x90}
    LOCK_FAULTS "lock shl dword [rbx], 1", {0xd1, 0x23}
    LOCK_FAULTS "lock push [rbx]", {0xff, 0x33}
    LOCK_FAULTS "lock lea eax, [rbx]", {0x8d, 0x03}
    LOCK_FAULTS "lock jmp", {0xeb, 0x00}
    LOCK_FAULTS "lock cmpxchg eax, ebx", {0x0f, 0xb1, 0xd8}
    LOCK_FAULTS "lock mul dword [rbx]", {0xf7, 0x23}
    ; Those that may be locked.
    mov dword [PAGES], 0x10
    mov eax, 1
    lock add [rbx], eax
    lock or dword [rbx], 0x20
    lock adc dword [rbx], 0
    lock sbb dword [rbx], 0
    lock bts dword [rbx], 31
    lock btr dword [rbx], 4
    lock btc dword [rbx], 0
    lock inc dword [rbx]
    lock neg dword [rbx]
    lock not dword [rbx]
    lock xadd [rbx], eax
    mov ecx, 0x1234
    xchg ecx, [rbx]
    CHECK_EQ "locked arithmetic", ecx, 0x80000021
    CHECK_EQ "and the exchange", dword [rbx], 0x1234

    ; Fifteen bytes and no more.
    FAULTS "16 bytes", 13, 0, -1, db 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90
    db 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90

    ; CMPXCHG16B wants its alignment.
    FAULTS "misaligned CMPXCHG16B", 13, 0, -1, lock cmpxchg16b [rbx + 8]
    xor eax, eax
    xor edx, edx
    mov qword [rbx + 0x10], 0
    mov qword [rbx + 0x18], 0
    mov rcx, 0x2222
    push rbx
    mov r8, rbx
    mov ebx, 0x1111
    lock cmpxchg16b [r8 + 0x10]
    pop rbx
    CHECK_CC "CMPXCHG16B: equal", z
    CHECK_EQ "CMPXCHG16B: low", qword [rbx + 0x10], 0x1111
    CHECK_EQ "CMPXCHG16B: high", qword [rbx + 0x18], 0x2222

    ; An instruction that begins on the last bytes before a page that is not there.
    and qword [PT + 6 * 8], ~1
    invlpg [MISSING]
    mov word [NEXT_TO_LAST + 0xffe], 0xb848     ; mov rax, imm64
    mov qword [seen_vector], -1
    mov qword [resume], .crossed
    mov [resume_rsp], rsp
    mov rax, NEXT_TO_LAST + 0xffe
    jmp rax
.crossed:
    CHECK_EQ "fetch across pages: vector", qword [seen_vector], 14
    CHECK_EQ "fetch across pages: error code", qword [seen_error], 0x10
    CHECK_EQ "fetch across pages: CR2", qword [seen_cr2], MISSING
    CHECK_EQ "fetch across pages: rip", qword [seen_rip], NEXT_TO_LAST + 0xffe
    ; One that ends there is fine, and the next fetch faults.
    mov word [NEXT_TO_LAST + 0xffe], 0xc3ff     ; inc ebx
    mov qword [seen_vector], -1
    mov qword [resume], .after
    xor ebx, ebx
    mov rax, NEXT_TO_LAST + 0xffe
    jmp rax
.after:
    CHECK_EQ "fetch of the next page: rip", qword [seen_rip], MISSING
    CHECK_EQ "the instruction before it ran", ebx, 1
    EXIT 0

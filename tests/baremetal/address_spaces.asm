; PCIDs: which translations every form of invalidation ends, and that none is used in another address space (Intel SDM volume 3,
; 4.10.1, 4.10.4.1; INVPCID in volume 2). Two sets of tables differ in some pages of PAGES; code at CPL 3 looks at them.
%include "long.inc"

%define TABLES_A PML4
%define TABLES_B 0x30000
%define PT_B 0x34000
%define NO_FLUSH (1 << 63)
%define CR4_PGE (1 << 7)
%define CR4_PCIDE (1 << 17)

; Page n of PAGES becomes page m in the tables at `pt`, with flags.
%macro MAP 4                            ; pt, n, m, flags
    mov qword [%1 + 8 * %2], PAGES + 0x1000 * %3 + %4
%endmacro
%macro SPACE 1                          ; value for CR3
    mov rax, %1
    mov cr3, rax
%endmacro
; The code at `address` at CPL 3 ends with UD2 and RAX = want.
%macro USER_SEES 3                      ; name, address, want
    mov rax, %2
    call run_user
    CHECK_EQ {%1}, qword [seen_rax], %3
%endmacro
%macro SEES 2                           ; name, want
    USER_SEES {%1}, USER, %2
%endmacro
%macro INVALIDATE 3                     ; type, PCID, address
    mov qword [descriptor], %2
    mov qword [descriptor + 8], %3
    mov eax, %1
    invpcid rax, [descriptor]
%endmacro
; In space A: page 1 of space B becomes page m, and the instructions end what B had.
%macro CHANGES 3+                       ; name, m, instructions
    SPACE TABLES_A + 1 + NO_FLUSH
    MAP PT_B, 1, %2, 7
    %3
    SPACE TABLES_B + 2 + NO_FLUSH
    SEES {%1}, 0x11 * %2
%endmacro

main64:
    mov eax, 1
    cpuid
    bt ecx, 17
    NEEDS_CC "PCID", c
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ebx, 10
    NEEDS_CC "INVPCID", c
    cld
    mov rsi, user_code
    mov rdi, USER
    mov ecx, user_end - user_code
    rep movsb
    mov rsi, TABLES_A
    mov rdi, TABLES_B
    mov ecx, 0x5000 / 8
    rep movsq
    mov qword [TABLES_B], TABLES_B + 0x1000 + 7
    mov qword [TABLES_B + 0x1000], TABLES_B + 0x2000 + 7
    mov qword [TABLES_B + 0x2000 + 3 * 8], PT_B + 7
    mov qword [PAGES + 0x1008], 0x11
    mov qword [PAGES + 0x2008], 0x22
    mov qword [PAGES + 0x3008], 0x33
    ; "mov eax, n" and "ud2" in pages 4 and 5.
    mov dword [PAGES + 0x4000], 0x000044b8
    mov dword [PAGES + 0x4004], 0x000b0f00
    mov dword [PAGES + 0x5000], 0x000055b8
    mov dword [PAGES + 0x5004], 0x000b0f00
    MAP PT, 1, 1, 7
    MAP PT_B, 1, 2, 7
    MAP PT, 8, 4, 7
    MAP PT_B, 8, 5, 7

    ; Without PCIDs every load of CR3 ends everything that is not global.
    SPACE TABLES_A
    SEES "no PCIDs: A", 0x11
    SPACE TABLES_B
    SEES "no PCIDs: B", 0x22
    SPACE TABLES_A
    MAP PT_B, 1, 3, 7
    SPACE TABLES_B
    SEES "no PCIDs: B has changed", 0x33
    MAP PT_B, 1, 2, 7

    SPACE TABLES_A
    mov rax, cr4
    or rax, CR4_PCIDE
    mov cr4, rax
    SPACE TABLES_A + 1
    SEES "PCID 1", 0x11
    SPACE TABLES_B + 2
    SEES "PCID 2", 0x22
    mov ebx, 3
.alternate:
    SPACE TABLES_A + 1 + NO_FLUSH
    SEES "PCID 1 again", 0x11
    USER_SEES "its code", PAGES + 0x8000, 0x44
    SPACE TABLES_B + 2 + NO_FLUSH
    SEES "PCID 2 again", 0x22
    USER_SEES "its code", PAGES + 0x8000, 0x55
    dec ebx
    jnz .alternate

    CHANGES "INVPCID of an address", 3, INVALIDATE 0, 2, PAGES + 0x1000
    CHANGES "INVPCID of a context", 2, INVALIDATE 1, 2, 0
    CHANGES "INVPCID of everything", 3, INVALIDATE 2, 0, 0
    CHANGES "INVPCID of everything but global pages", 2, INVALIDATE 3, 0, 0
    CHANGES "CR3 without bit 63", 3, SPACE TABLES_B + 2
    CHANGES "CR3 without bit 63, other tables with that PCID", 2, SPACE TABLES_A + 2
    CHANGES "CR4.PGE", 3, call toggle_pge
    SPACE TABLES_B + 2 + NO_FLUSH
    MAP PT_B, 1, 2, 7
    invlpg [PAGES + 0x1000]
    SEES "INVLPG", 0x22
    SPACE TABLES_A + 1 + NO_FLUSH
    SEES "the other PCID still has its own", 0x11

    ; A page that goes, and one that becomes read-only.
    SPACE TABLES_A + 1 + NO_FLUSH
    MAP PT_B, 1, 2, 6
    INVALIDATE 1, 2, 0
    SPACE TABLES_B + 2 + NO_FLUSH
    USER_FAULTS "a page that is gone", 14, 4, USER
    MAP PT_B, 1, 2, 7
    USER_FAULTS "a store", 6, 0, USER + (user_write - user_code)
    SPACE TABLES_A + 1 + NO_FLUSH
    MAP PT_B, 1, 2, 5
    INVALIDATE 0, 2, PAGES + 0x1000
    SPACE TABLES_B + 2 + NO_FLUSH
    USER_FAULTS "a store to a page that is read-only now", 14, 7, USER + (user_write - user_code)

    ; The dirty bit is set again after it was cleared.
    SPACE TABLES_A + 1 + NO_FLUSH
    MAP PT_B, 1, 2, 7
    INVALIDATE 1, 2, 0
    SPACE TABLES_B + 2 + NO_FLUSH
    USER_FAULTS "a store", 6, 0, USER + (user_write - user_code)
    bt qword [PT_B + 8], 6
    CHECK_CC "the dirty bit", c

    ; Code that another address space writes over.
    SPACE TABLES_B + 2 + NO_FLUSH
    USER_SEES "code", PAGES + 0x8000, 0x55
    SPACE TABLES_A + 1 + NO_FLUSH
    mov byte [PAGES + 0x5001], 0x66
    SPACE TABLES_B + 2 + NO_FLUSH
    USER_SEES "code that has been written over", PAGES + 0x8000, 0x66

    ; Global pages: INVLPG ends them for every PCID.
    mov rax, cr4
    or rax, CR4_PGE
    mov cr4, rax
    MAP PT, 1, 1, 0x107
    MAP PT_B, 1, 1, 0x107
    INVALIDATE 2, 0, 0
    SPACE TABLES_A + 1 + NO_FLUSH
    SEES "a global page", 0x11
    SPACE TABLES_B + 2 + NO_FLUSH
    SEES "a global page, PCID 2", 0x11
    MAP PT, 1, 3, 0x107
    MAP PT_B, 1, 3, 0x107
    SPACE TABLES_A + 1 + NO_FLUSH
    invlpg [PAGES + 0x1000]
    SEES "INVLPG of a global page", 0x33
    SPACE TABLES_B + 2 + NO_FLUSH
    SEES "INVLPG of a global page, seen with another PCID", 0x33

    ; More address spaces than are likely to be kept.
    MAP PT, 1, 1, 7
    MAP PT_B, 1, 2, 7
    INVALIDATE 2, 0, 0
    mov r12d, 2
.rounds:
    mov r13d, 1
.many:
    mov rax, TABLES_A + NO_FLUSH
    mov rcx, TABLES_B + NO_FLUSH
    mov r14d, 0x11
    mov edx, 0x22
    test r13d, 1
    cmovnz rax, rcx
    cmovnz r14d, edx
    or rax, r13
    mov cr3, rax
    mov rax, USER
    call run_user
    cmp [seen_rax], r14
    jne .wrong
    inc r13d
    cmp r13d, 40
    jne .many
    dec r12d
    jnz .rounds
    ; Clearing CR4.PCIDE ends everything.
    SPACE TABLES_B + 2 + NO_FLUSH
    MAP PT_B, 1, 2, 7
    INVALIDATE 2, 0, 0
    SEES "PCID 2", 0x22
    MAP PT_B, 1, 3, 7
    mov rax, cr4
    btr rax, 17
    mov cr4, rax
    SEES "CR4.PCIDE clear", 0x33
    EXIT 0
.wrong:
    PRINT "FAIL one of many PCIDs", 10
    EXIT 1

; Runs the code at RAX at CPL 3 until an exception. Keeps RBX and R12 to R15 (which that code does not change).
run_user:
    mov qword [seen_rax], -1
    mov qword [resume], .after
    mov [resume_rsp], rsp
    push qword USER_DS
    push qword USER + 0x100000
    push qword 2
    push qword USER_CS
    push rax
    iretq
.after:
    ret

toggle_pge:
    mov rax, cr4
    xor rax, CR4_PGE
    mov cr4, rax
    xor rax, CR4_PGE
    mov cr4, rax
    ret

    align 16
descriptor: dq 0, 0

user_code:
    mov rax, [PAGES + 0x1008]
    ud2
user_write:
    mov [PAGES + 0x1010], rax
    ud2
user_end:

; Secure virtual machine: 32-bit guests, with legacy and PAE paging under nested paging, and task switches. (AMD APM volume 2, 15.7.2,
; 15.14.1, 15.25.)
%include "svm.inc"

%define GUEST_TABLES 0x820000           ; guest-physical, one to one: a page directory, then a page table
%define GUEST_PT 0x821000
%define WINDOW 0x40000000               ; linear, of the 4 KiB page MOVED
%define ABSENT 0x80000000
%define MAIN_TSS 0x28
%define TASK_TSS 0x30
%define ABSENT_TSS 0x38
%define TASK_GATE 0x40
%define SHORT_TSS 0x48
%define GUEST_IDT 0x822000
%define SAVED 0x823000                  ; the host's own, by VMSAVE
%define G_CODE 0x08
%define G_DATA 0x10

main64:
    BEGIN_SVM
    call make_nested_tables
    ; A 32-bit guest without paging.
    mov rdx, 0xffffffff0c930000 | G_DATA
    mov V(0x400), rdx
    mov V(0x420), rdx
    mov V(0x430), rdx
    mov rdx, 0xffffffff0c9b0000 | G_CODE
    mov V(0x410), rdx
    mov V4(0x464), guest_gdt_end - guest_gdt - 1
    mov V(0x468), guest_gdt
    mov V4(0x484), 256 * 8 - 1
    mov V(0x488), GUEST_IDT
    mov V(0x4d0), 0x1000
    mov V(0x548), 0
    mov V(0x550), 0
    mov V(0x558), 0x11
    mov V(0x90), 1
    mov V(0xb0), NESTED_PML4
    EXITS "protected mode without paging", guest_direct, 0x81, guest_direct.call
    CHECK_EQ "its addresses are guest-physical", dword [MOVED_TO + 0x10], 0x11223344

; --- Legacy paging in nested pages
    mov rdi, GUEST_TABLES
    xor eax, eax
    mov ecx, 0x4000 / 8
    rep stosq
    mov dword [GUEST_TABLES], 0x87
    mov dword [GUEST_TABLES + 4], 0x400087
    mov dword [GUEST_TABLES + 8], 0x800087
    mov dword [GUEST_TABLES + (WINDOW >> 22) * 4], GUEST_PT | 7
    mov dword [GUEST_PT], MOVED | 3
    mov dword [GUEST_PT + 4], MOVED | 1
    mov V(0x548), 0x10
    mov V(0x550), GUEST_TABLES
    mov eax, 0x80010011
    mov V(0x558), rax
    EXITS "legacy paging", guest_window, 0x81, guest_window.call
    CHECK_EQ "legacy paging: both translations", dword [MOVED_TO + 0x20], 0x55667788
    CHECK_EQ "legacy paging: read back", ebx, 0x55667788
    mov eax, [GUEST_PT]
    CHECK_EQ "legacy paging: A and D", eax, MOVED | 0x63
    mov eax, [GUEST_TABLES + (WINDOW >> 22) * 4]
    CHECK_EQ "legacy paging: A in the directory", eax, GUEST_PT | 0x27
    bts V4(0x08), 14
    EXITS "legacy paging: a read-only page", guest_read_only, 0x4e, guest_read_only.at
    CHECK_EQ "legacy paging: error code", V(INFO1), 3
    CHECK_EQ "legacy paging: address", V(INFO2), WINDOW + 0x1000
    EXITS "legacy paging: not present", guest_absent, 0x4e, guest_absent.at
    CHECK_EQ "legacy paging: not present: error code", V(INFO1), 0
    mov dword [GUEST_PT], HOLE | 3
    EXITS "legacy paging: an absent nested page", guest_window, 0x400, guest_window.at
    mov rax, 1 << 32 | 6
    CHECK_EQ "legacy paging: nested: information", V(INFO1), rax
    CHECK_EQ "legacy paging: nested: guest-physical address", V(INFO2), HOLE + 0x20
    mov dword [GUEST_TABLES + (WINDOW >> 22) * 4], HOLE | 7
    EXITS "legacy paging: an absent nested page of a table", guest_window, 0x400, guest_window.at
    mov rax, 1 << 33 | 6
    CHECK_EQ "legacy paging: table: information", V(INFO1), rax
    CHECK_EQ "legacy paging: table: guest-physical address", V(INFO2), HOLE
    ; Without nested paging the same tables are the host's addresses.
    mov V(0x90), 0
    mov dword [GUEST_TABLES + (WINDOW >> 22) * 4], GUEST_PT | 7
    mov dword [GUEST_PT], MOVED | 3
    EXITS "legacy paging alone", guest_window, 0x81, guest_window.call
    CHECK_EQ "legacy paging alone: one translation", dword [MOVED + 0x20], 0x55667788

; --- PAE
    mov rdi, GUEST_TABLES
    xor eax, eax
    mov ecx, 0x4000 / 8
    rep stosq
    mov qword [MOVED_TO + 0x40], GUEST_TABLES | 1           ; PDPTEs: at MOVED + 0x40 for the guest
    mov qword [MOVED_TO + 0x48], GUEST_PT | 1
    mov qword [MOVED_TO + 0x50], 3      ; a reserved bit
    mov qword [MOVED_TO + 0x58], 0
    mov rdi, GUEST_TABLES
    mov eax, 0x87
.leaf:
    mov [rdi], rax
    add eax, 0x200000
    add rdi, 8
    cmp rdi, GUEST_TABLES + 16 * 8
    jb .leaf
    mov qword [GUEST_PT], MOVED | 0x83
    mov V(0x548), 0x20
    mov V(0x550), MOVED_TO + 0x40
    RUN guest_window
    CHECK_EQ "PAE: a reserved bit in a PDPTE is refused", V(EXIT_CODE), -1
    mov V(0x90), 1
    mov V(0x550), MOVED + 0x40
    mov dword [MOVED_TO + 0x20], 0
    EXITS "PAE: with nested paging it is not, until it is used", guest_window, 0x81, guest_window.call
    CHECK_EQ "PAE: both translations", dword [MOVED_TO + 0x20], 0x55667788
    mov rax, [GUEST_PT]
    and eax, 0x60
    CHECK_EQ "PAE: A and D", eax, 0x60
    EXITS "PAE: a reserved bit in a PDPTE", guest_absent, 0x4e, guest_absent.at
    CHECK_EQ "PAE: error code", V(INFO1), 9
    mov eax, ABSENT
    CHECK_EQ "PAE: address", V(INFO2), rax
    CHECK_EQ "PAE: PDPTEs take no A", qword [MOVED_TO + 0x40], GUEST_TABLES | 1
    mov qword [MOVED_TO + 0x48], 0
    EXITS "PAE: PDPTEs are read at each walk", guest_window, 0x4e, guest_window.at
    CHECK_EQ "PAE: not present: error code", V(INFO1), 2
    mov qword [MOVED_TO + 0x48], HOLE | 1
    EXITS "PAE: an absent nested page of a table", guest_window, 0x400, guest_window.at
    mov rax, 1 << 33 | 6
    CHECK_EQ "PAE: table: information", V(INFO1), rax
    CHECK_EQ "PAE: table: guest-physical address", V(INFO2), HOLE
    btr V4(0x08), 14

; --- Task switches
    mov V(0x90), 0
    mov V(0x548), 0
    mov V(0x550), 0
    mov V(0x558), 0x11
    mov dword [GUEST_IDT + 0x50 * 8], TASK_TSS << 16
    mov dword [GUEST_IDT + 0x50 * 8 + 4], 0x8500
    mov dword [GUEST_IDT + 13 * 8], TASK_TSS << 16
    mov dword [GUEST_IDT + 13 * 8 + 4], 0x8500
    mov V(0x490), MAIN_TSS | 0x8b << 16
    mov V4(0x494), 0x67
    mov V(0x498), guest_tss
    mov rax, SAVED
    vmsave
    mov rax, VMCB
    vmload
    bts V4(0x0c), 29
    EXITS "task: CALL", guest_call_task, 0x7d, guest_call_task
    CHECK_EQ "task: CALL: selector", V(INFO1), TASK_TSS
    CHECK_EQ "task: CALL: information", V(INFO2), 0
    CHECK_EQ "task: CALL: no event", V(INT_INFO), 0
    EXITS "task: JMP through a task gate", guest_jump_gate, 0x7d, guest_jump_gate
    CHECK_EQ "task: JMP: selector", V(INFO1), TASK_TSS
    mov rax, 1 << 38
    CHECK_EQ "task: JMP: information", V(INFO2), rax
    EXITS "task: IRET", guest_task_return, 0x7d, guest_task_return.at
    CHECK_EQ "task: IRET: selector", V(INFO1), 0x50
    mov rax, 1 << 36
    CHECK_EQ "task: IRET: information", V(INFO2), rax
    EXITS "task: INT n", guest_int, 0x7d, guest_int
    mov eax, 0x80000450
    CHECK_EQ "task: INT n: the event", V(INT_INFO), rax
    CHECK_EQ "task: INT n: selector", V(INFO1), TASK_TSS
    EXITS "task: an exception", guest_fault, 0x7d, guest_fault.at
    mov rax, 0x11000 << 32 | 0xfff8       ; an error code, and RF
    CHECK_EQ "task: an exception: error code", V(INFO2), rax
    mov rax, 0xfff8 << 32 | 0x80000b0d
    CHECK_EQ "task: an exception: the event", V(INT_INFO), rax
    bts V4(0x08), 11
    bts V4(0x08), 10
    EXITS "task: not present comes first", guest_call_absent, 0x4b, guest_call_absent
    CHECK_EQ "task: not present: error code", V(INFO1), ABSENT_TSS
    EXITS "task: too short comes first", guest_call_short, 0x4a, guest_call_short
    CHECK_EQ "task: too short: error code", V(INFO1), SHORT_TSS
    ; A fault in the delivery of INT n.
    bts V4(0x08), 13
    EXITS "INT n without a gate", guest_int_60, 0x4d, guest_int_60
    mov eax, 0x80000460
    CHECK_EQ "INT n without a gate: the event", V(INT_INFO), rax
    mov rax, SAVED
    vmload
    stgi
    EXIT 0

    NESTED_TABLES

; --- Guests
    bits 32
guest_direct:
    mov dword [MOVED + 0x10], 0x11223344
.call:
    vmmcall
guest_window:
    mov eax, 0x55667788
.at:
    mov [WINDOW + 0x20], eax
    mov ebx, [WINDOW + 0x20]
.call:
    vmmcall
guest_read_only:
.at:
    mov [WINDOW + 0x1000], eax
    vmmcall
guest_absent:
.at:
    mov eax, [ABSENT]
    vmmcall
guest_call_task:
    call TASK_TSS:0
    vmmcall
guest_jump_gate:
    jmp TASK_GATE:0
    vmmcall
guest_task_return:
    pushfd
    or dword [esp], 1 << 14
    popfd
.at:
    iretd
    vmmcall
guest_int:
    int 0x50
    vmmcall
guest_fault:
    mov ax, 0xfff8
.at:
    mov ds, ax
    vmmcall
guest_call_absent:
    call ABSENT_TSS:0
    vmmcall
guest_call_short:
    call SHORT_TSS:0
    vmmcall
guest_int_60:
    int 0x60
    vmmcall

    align 8
guest_gdt:
    dq 0
    dq 0x00cf9b000000ffff
    dq 0x00cf93000000ffff
    dq 0, 0
    dw 0x67, guest_tss, 0x8b00, 0       ; MAIN_TSS
    dw 0x67, guest_tss, 0x8900, 0       ; TASK_TSS
    dw 0x67, guest_tss, 0x0900, 0       ; ABSENT_TSS
    dw 0, TASK_TSS, 0x8500, 0           ; TASK_GATE
    dw 0x66, guest_tss, 0x8900, 0       ; SHORT_TSS
    dw 0x67, guest_tss, 0x8b00, 0       ; where IRET goes: busy
guest_gdt_end:
guest_tss:
    dd 0x50
    times 25 dd 0

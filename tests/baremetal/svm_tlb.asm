; Secure virtual machine: what outlives VMRUN and #VMEXIT in the TLB, by ASID, and what ends it. (AMD APM volume 2, 15.16, 15.25.)
%include "svm.inc"

%define WINDOW (PAGES + 0x10000)        ; linear, of the host and its guests, which share the tables
%define ENTRY (PT + 0x10 * 8)
%define ONE (PAGES + 0x20000)
%define TWO (PAGES + 0x21000)
%define THREE (PAGES + 0x22000)
%define TLB_CONTROL byte [VMCB + 0x5c]
%define ASID V4(0x58)

%macro MAPS 1
    mov qword [ENTRY], %1 | 3
%endmacro
; Runs the guest that reads WINDOW.
%macro SEES 2
    RUN guest_read
    CHECK_EQ %1, rbx, %2
%endmacro

main64:
    BEGIN_SVM
    mov TLB_CONTROL, 0
    mov qword [ONE], 1
    mov qword [TWO], 2
    mov qword [THREE], 3
    MAPS ONE
    invlpg [WINDOW]
    SEES "a guest reads", 1
    mov rax, [WINDOW]
    CHECK_EQ "so does the host", rax, 1
    MAPS TWO
    mov rax, [WINDOW]
    CHECK_EQ "the host's translation outlives its guest", rax, 1
    SEES "the guest's outlives the host", 1
    mov rax, cr3
    mov cr3, rax
    mov rax, [WINDOW]
    CHECK_EQ "MOV CR3 ends the host's", rax, 2
    SEES "which is not the guest's", 1
    mov ASID, 2
    SEES "another ASID has none", 2
    MAPS ONE
    SEES "but then keeps its own", 2
    mov ASID, 1
    mov TLB_CONTROL, 3
    MAPS TWO
    SEES "TLB_CONTROL 3 ends the guest's", 2
    mov TLB_CONTROL, 0
    MAPS ONE
    SEES "its own is kept again", 2
    mov eax, WINDOW
    mov ecx, 2
    invlpga rax, ecx
    SEES "INVLPGA of another ASID does not mean it", 2
    mov eax, WINDOW
    mov ecx, 1
    invlpga rax, ecx
    SEES "INVLPGA of its ASID does", 1
    mov ASID, 2
    SEES "the other one's was ended by its own", 1
    MAPS TWO
    invlpg [WINDOW]
    SEES "INVLPG is the host's", 1
    mov rax, [WINDOW]
    CHECK_EQ "and ends that", rax, 2
    RUN guest_flush
    CHECK_EQ "a guest ends its own", rbx, 2
    mov ASID, 1
    SEES "and no other guest's", 1
    MAPS THREE
    mov rax, [WINDOW]
    CHECK_EQ "nor the host's", rax, 2
    mov TLB_CONTROL, 1
    SEES "TLB_CONTROL 1 ends all: this guest's", 3
    mov TLB_CONTROL, 0
    mov ASID, 2
    SEES "all: the other guest's", 3
    mov rax, [WINDOW]
    CHECK_EQ "all: the host's", rax, 3

    ; Global pages.
    mov ASID, 1
    mov rax, cr4
    bts rax, 7
    mov V(0x548), rax
    mov qword [ENTRY], ONE | 0x103
    mov TLB_CONTROL, 3
    SEES "a global page", 1
    mov TLB_CONTROL, 7
    mov qword [ENTRY], TWO | 0x103
    SEES "TLB_CONTROL 7 keeps it", 1
    mov TLB_CONTROL, 3
    SEES "TLB_CONTROL 3 does not", 2
    mov TLB_CONTROL, 0

    ; A VMCB with other tables: without TLB_CONTROL the old ones must not be used all the same where CR3 changed.
    MAPS ONE
    mov TLB_CONTROL, 3
    SEES "the first tables", 1
    mov TLB_CONTROL, 0
    cld
    mov rsi, PML4
    mov rdi, 0x820000
    mov ecx, 0x5000 / 8
    rep movsq
    mov qword [0x820000], 0x821000 | 7
    mov qword [0x821000], 0x822000 | 7
    mov qword [0x822000 + 3 * 8], 0x824000 | 7
    mov qword [0x824000 + 0x10 * 8], TWO | 3
    mov V(0x550), 0x820000
    SEES "other tables", 2
    mov V(0x550), PML4
    SEES "and back", 1

    ; More ASIDs than the translator has places for.
    mov r12d, 3
.next:
    mov ASID, r12d
    RUN guest_read
    cmp rbx, 1
    jne .wrong
    inc r12d
    cmp r12d, 40
    jb .next
    PRINT "ok many ASIDs", 10
    jmp .many
.wrong:
    PRINT "FAIL many ASIDs", 10
.many:
    MAPS TWO
    mov ASID, 3
    SEES "one that was long gone", 2

    ; Code that a guest has translated, and the host then writes.
    mov ASID, 1
    RUN guest_code
    CHECK_EQ "code", ebx, 5
    mov dword [guest_code + 1], 6
    RUN guest_code
    CHECK_EQ "code that the host has written", ebx, 6
    mov dword [guest_code + 1], 7
    mov ASID, 2
    RUN guest_code
    CHECK_EQ "another guest's", ebx, 7
    RUN guest_write
    call guest_code.host
    CHECK_EQ "code that a guest has written", ebx, 8
    stgi
    EXIT 0

guest_read:
    mov rbx, [WINDOW]
    vmmcall
guest_flush:
    invlpg [WINDOW]
    mov rbx, [WINDOW]
    vmmcall
guest_code:
    mov ebx, 5
    vmmcall
.host:
    mov ebx, 7
    ret
guest_write:
    mov dword [guest_code.host + 1], 8
    vmmcall

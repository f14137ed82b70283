; Secure virtual machine: what VMRUN refuses and makes of what it takes, and what comes before an intercept. (AMD APM volume 2, 15.5,
; 15.9, 15.12, 15.17, 15.19, 15.20, 15.25.)
%include "svm.inc"

; One field of the VMCB is another: VMRUN ends with this exit code.
%macro WITH 4                           ; name, offset, value, exit code
    mov rax, V(%2)
    push rax
    mov rax, %3
    mov V(%2), rax
    RUN guest_call
    CHECK_EQ {"VMRUN: ", %1}, V(EXIT_CODE), %4
    pop rax
    mov V(%2), rax
%endmacro

; An intercepted instruction of the guest with this RAX raises an exception that is intercepted, too.
%macro BEFORE 5+                        ; name, exit code of the intercept, rax, exit code that comes, instruction
    bts V4(%2 / 32 * 4), %2 % 32
    jmp %%over
%%at:
    %5
    vmmcall
%%over:
    mov rax, %3
    mov V(RAX_FIELD), rax
    RUN %%at
    CHECK_EQ {%1, ": exit code"}, V(EXIT_CODE), %4
    btr V4(%2 / 32 * 4), %2 % 32
%endmacro

%macro RUN_VM86 1
    mov V(RIP), %1
    mov V(0x5d8), 0x7000
    mov V(0x570), 1 << 17 | 2
    mov rax, VMCB
    vmrun
%endmacro

main64:
    BEGIN_SVM
    call make_nested_tables
    mov rax, VMCB
    vmsave

; --- State
    mov eax, 0x8000000a
    cpuid
    bt edx, 28
    CHECK_CC "the address is checked behind the intercept", c
    WITH "CR0.CD without NW", 0x558, 0xc0010033, 0x81
    WITH "injection of exception 9", EVENT_INJECTION, 0x80000309, -1
    WITH "injection of exception 15", EVENT_INJECTION, 0x8000030f, -1
    WITH "injection of exception 20", EVENT_INJECTION, 0x80000314, -1
    WITH "injection of exception 31", EVENT_INJECTION, 0x8000031f, -1
    WITH "injection of exception 32", EVENT_INJECTION, 0x80000320, -1
    WITH "injection of type 5", EVENT_INJECTION, 0x80000530, -1
    WITH "nothing is injected", EVENT_INJECTION, 0x00000530, 0x81
    mov V(0x90), 1
    mov V(0xb0), NESTED_PML4
    WITH "G_PAT", 0x668, 0x0007040600070406, 0x81
    WITH "G_PAT: type 2", 0x668, 0x0007040600070206, -1
    WITH "G_PAT: reserved", 0x668, 0x0007040600070486, -1
    WITH "N_CR3 beyond memory", 0xb0, 1 << 52 | NESTED_PML4, -1
    mov V(0x90), 0
    WITH "G_PAT without nested paging", 0x668, 0x0007040600070206, 0x81

; --- Base addresses
    mov rax, 0x800056789abcd000
    mov V(0x438), rax                   ; DS
    mov V(0x468), rax                   ; GDTR
    RUN guest_call
    mov rdx, 0x56789abcd000
    CHECK_EQ "VMRUN: a base address is canonical", V(0x438), rdx
    CHECK_EQ "VMRUN: GDTR.base is canonical", V(0x468), rdx
    mov V(0x438), 0
    mov V(0x468), gdt
    mov rax, 0x01ff8fff00000000
    mov V(0x458), rax                   ; GS
    mov V(0x620), rax                   ; KernelGSBase
    mov rax, VMCB
    vmload
    vmsave
    mov rdx, 0xffff8fff00000000
    CHECK_EQ "VMLOAD: GS.base is canonical", V(0x458), rdx
    CHECK_EQ "VMLOAD: KernelGSBase is canonical", V(0x620), rdx
    mov V(0x458), 0
    mov V(0x620), 0
    vmload

; --- Interrupt shadow of an instruction that does not complete
    mov V(0x90), 1
    RUN guest_sti_hole
    CHECK_EQ "a nested page fault in an interrupt shadow", V(EXIT_CODE), 0x400
    CHECK_EQ "a nested page fault in an interrupt shadow: shadow", V(0x68), 1
    mov V(0x68), 0
    RUN guest_hole
    CHECK_EQ "a nested page fault without one", V(EXIT_CODE), 0x400
    CHECK_EQ "a nested page fault without one: shadow", V(0x68), 0
    mov V(0x90), 0
    bts V4(0x08), 14
    RUN guest_sti_fault
    CHECK_EQ "#PF in an interrupt shadow", V(EXIT_CODE), 0x4e
    CHECK_EQ "#PF in an interrupt shadow: shadow", V(0x68), 1
    mov V(0x68), 0

; --- Exceptions and intercepts
    mov V4(0x08), 1 << 1 | 1 << 6 | 1 << 13
    BEFORE "CR0: reserved", 0x10, 1 << 32 | 0x80010033, 0x4d, mov cr0, rax
    BEFORE "CR0.PG without PE", 0x10, 0x80010032, 0x4d, mov cr0, rax
    BEFORE "CR0.NW without CD", 0x10, 0xa0010033, 0x4d, mov cr0, rax
    BEFORE "CR0: reserved, by the selective intercept", 0x65, 1 << 32 | 0x80010033, 0x4d, mov cr0, rax
    BEFORE "CR3: reserved", 0x13, 1 << 52, 0x4d, mov cr3, rax
    BEFORE "CR4: reserved", 0x14, 1 << 31 | 0x620, 0x4d, mov cr4, rax
    BEFORE "CR8: reserved", 0x18, 16, 0x4d, mov cr8, rax
    BEFORE "CR1", 0x11, 0, 0x46, {db 0x0f, 0x22, 0xc8}
    BEFORE "from CR1", 0x01, 0, 0x46, {db 0x0f, 0x20, 0xc8}
    BEFORE "DR7: reserved", 0x37, 1 << 32, 0x4d, mov dr7, rax
    mov V(0x560), 0x2400                ; DR7.GD
    BEFORE "general detect", 0x21, 0, 0x41, mov rax, dr1
    CHECK_EQ "general detect is over", V(0x560), 0x400
    mov rax, V(0x568)
    and eax, 1 << 13
    CHECK_EQ "general detect: DR6", eax, 1 << 13
    mov eax, 0xffff0ff0
    mov V(0x568), rax
    mov V(0x560), 0x400
    mov ecx, 1 << 20
    BEFORE "RDPMC: no such counter", 0x6f, 0, 0x4d, rdpmc
    BEFORE "RSM", 0x73, 0, 0x73, rsm
    BEFORE "LMSW, by the selective intercept", 0x65, 0xb, 0x65, lmsw ax
    mov V4(0x08), 0

    ; Virtual-8086 mode below IOPL 3: the intercept of PUSHF, POPF and IRET comes before #GP.
    mov V4(0x08), 1 << 13
    mov V(0x558), 0x11
    mov V(0x548), 0
    mov V(0x4d0), 0x1000
    mov V(0x410), 0x00fb << 16
    mov V4(0x414), 0xffff
    mov V(0x418), 0
    mov V(0x420), 0x00f3 << 16
    mov V4(0x424), 0xffff
    mov V(0x428), 0
    mov byte [VMCB + 0x4cb], 3
    mov V4(0x90), 0
    bts V4(0x0c), 16
    bts V4(0x0c), 17
    bts V4(0x0c), 20
    RUN_VM86 v86_pushf
    CHECK_EQ "virtual-8086 mode: PUSHF", V(EXIT_CODE), 0x70
    RUN_VM86 v86_popf
    CHECK_EQ "virtual-8086 mode: POPF", V(EXIT_CODE), 0x71
    RUN_VM86 v86_iret
    CHECK_EQ "virtual-8086 mode: IRET", V(EXIT_CODE), 0x74
    btr V4(0x0c), 16
    RUN_VM86 v86_pushf
    CHECK_EQ "virtual-8086 mode: PUSHF without intercept", V(EXIT_CODE), 0x4d
    mov V4(0x08), 0

; --- Paged real mode
    mov V4(0x410), 0x009b << 16
    mov V4(0x420), 0x0093 << 16
    mov byte [VMCB + 0x4cb], 0
    mov rdi, 0x820000                   ; a directory: 4 MiB pages, the second of them at 8 MiB
    mov rcx, 0x1000 / 8
    xor eax, eax
    rep stosq
    mov dword [0x820000], 0x83
    mov V(0x430), 0x0093 << 16
    mov V4(0x434), -1
    mov dword [0x820000 + 4], 0x800083
    mov dword [0x800000 + 0x300000], 0x600dcafe
    mov V(0x550), 0x820000
    mov V(0x548), 0x10                  ; PSE
    mov eax, 0x80000010
    mov V(0x558), rax
    RUN real_guest
    CHECK_EQ "paged real mode: exit code", V(EXIT_CODE), 0x81
    CHECK_EQ "paged real mode: both", ebx, 0x600dcafe
    mov rax, V(0x558)
    and eax, 1
    CHECK_EQ "paged real mode: CR0.PE", eax, 0

; --- The host's debugging
    call make_vmcb
    mov qword [resume], .stepped
    mov [resume_rsp], rsp
    mov qword [seen_vector], -1
    mov V(RIP), guest_call
    mov V(0x5d8), GUEST_STACK
    mov V(0x570), 2
    mov rax, VMCB
    pushfq
    or qword [rsp], 1 << 8
    popfq
    vmrun
.behind:
    nop
    nop
    PRINT "FAIL no #DB behind VMRUN", 10
.stepped:
    CHECK_EQ "VMRUN under single step: #DB", qword [seen_vector], 1
    mov rax, .behind
    CHECK_EQ "VMRUN under single step: behind it", qword [seen_rip], rax
    CHECK_EQ "VMRUN under single step: the guest ran", V(EXIT_CODE), 0x81
    mov rax, .watched
    mov dr0, rax
    mov eax, 0x402
    mov dr7, rax
    clgi
    mov qword [resume], .broken
    mov [resume_rsp], rsp
    mov qword [seen_vector], -1
.watched:
    nop
    CHECK_EQ "a breakpoint without GIF is discarded", qword [seen_vector], -1
    stgi
    jmp .again
.broken:
    PRINT "FAIL a breakpoint without GIF", 10
.again:
    mov eax, 0x400
    mov dr7, rax
    stgi

; --- An NMI that arrives in the shadow of the halt that it ends
    mov qword [resume], .awake
    mov [resume_rsp], rsp
    mov qword [seen_vector], -1
    mov ax, ss
    out PORT_NMI, al
    mov ss, ax
    hlt
    PRINT "FAIL HLT went on without an NMI", 10
.awake:
    CHECK_EQ "an NMI ends HLT", qword [seen_vector], 2
    EXIT 0

    NESTED_TABLES

guest_call:
    vmmcall
guest_sti_hole:
    sti
guest_hole:
    mov [HOLE], al
    vmmcall
guest_sti_fault:
    sti
    mov [1 << 30], al

    bits 16
v86_pushf:
    pushf
v86_popf:
    popf
v86_iret:
    iret
real_guest:
    mov eax, 0x700000
    a32 mov ebx, [eax]
    vmmcall

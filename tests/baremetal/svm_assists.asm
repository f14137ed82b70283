; Secure virtual machine: decode assists, virtual GIF, virtual VMLOAD and VMSAVE. (AMD APM volume 2, 15.33.)
%include "svm.inc"

%define MOV_CR (1 << 63)
%define FETCHED byte [VMCB + 0xd0]
%define GUEST_VMCB 0x830000

; An intercepted instruction and its EXITINFO1.
%macro TELLS 4+                         ; name, exit code, EXITINFO1, instruction
    bts V4(%2 / 32 * 4), %2 % 32
    jmp %%over
%%at:
    %4
    vmmcall
%%over:
    RUN %%at
    CHECK_EQ {%1, ": exit code"}, V(EXIT_CODE), %2
    mov rax, %3
    CHECK_EQ {%1, ": information"}, V(INFO1), rax
    btr V4(%2 / 32 * 4), %2 % 32
%endmacro

main64:
    BEGIN_SVM
    mov eax, 0x8000000a
    cpuid
    mov eax, 1 << 7 | 1 << 15 | 1 << 16
    and edx, eax
    CHECK_EQ "they are offered", edx, eax

; --- Decode assists
    mov r9, cr0                         ; values that the registers take
    xor r12d, r12d
    xor ebx, ebx
    TELLS "MOV CR3", 0x13, MOV_CR | 6, mov cr3, rsi
    TELLS "MOV CR0", 0x10, MOV_CR | 9, mov cr0, r9
    TELLS "MOV from CR4", 0x04, MOV_CR | 15, mov r15, cr4
    TELLS "MOV CR8", 0x18, MOV_CR | 12, mov cr8, r12
    TELLS "CLTS", 0x10, 0, clts
    TELLS "LMSW", 0x10, 0, lmsw ax
    TELLS "SMSW", 0x00, 0, smsw eax
    TELLS "MOV DR7", 0x37, 3, mov dr7, rbx
    TELLS "MOV from DR2", 0x22, 8, mov r8, dr2
    TELLS "INT n", 0x75, 0x42, int 0x42
    TELLS "CPUID", 0x72, 0, cpuid
    mov rbx, 0x123456789000
    TELLS "INVLPG", 0x79, 0x123456789010, invlpg [rbx + 0x10]
    bts V4(0x0c), 5
    EXITS "MOV CR0 that changes AM", guest_am, 0x65, guest_am.write
    mov rax, MOV_CR | 11
    CHECK_EQ "MOV CR0 that changes AM: information", V(INFO1), rax
    btr V4(0x0c), 5

    ; Bytes of the instruction of a page fault.
    bts V4(0x08), 14
    EXITS "#PF", guest_fault, 0x4e, guest_fault.at
    CHECK_EQ "#PF: bytes", FETCHED, 15
    mov rax, [guest_fault.at]
    CHECK_EQ "#PF: the first of them", V(0xd1), rax
    mov rax, [guest_fault.at + 7]
    CHECK_EQ "#PF: the last of them", V(0xd8), rax
    and qword [PT + 0x11 * 8], ~1
    mov rsi, guest_fault.at
    mov rdi, PAGES + 0x11000 - (guest_fault.end - guest_fault.at)
    mov ecx, guest_fault.end - guest_fault.at
    cld
    rep movsb
    mov ebx, 1 << 30
    EXITS "#PF at a page's end", PAGES + 0x11000 - (guest_fault.end - guest_fault.at), 0x4e, PAGES + 0x11000 - (guest_fault.end - guest_fault.at)
    CHECK_EQ "#PF at a page's end: bytes", FETCHED, guest_fault.end - guest_fault.at
    EXITS "#PF of a fetch", PAGES + 0x11000, 0x4e, PAGES + 0x11000
    CHECK_EQ "#PF of a fetch: bytes", FETCHED, 0
    btr V4(0x08), 14
    EXITS "VMMCALL", guest_call, 0x81, guest_call
    CHECK_EQ "VMMCALL: bytes", FETCHED, 0

; --- Virtual GIF
    mov rax, 0x55 << 32 | 4 << 16 | 1 << 24 | 1 << 8
    bts rax, 25
    mov V(0x60), rax
    mov qword [resume], guest_handler
    mov qword [resume_rsp], GUEST_STACK
    EXITS "virtual GIF clear: no virtual interrupt", guest_sti, 0x81, guest_sti.call
    EXITS "STGI", guest_stgi, 0x81, guest_handler
    CHECK_EQ "STGI: vector", qword [seen_vector], 0x55
    mov rax, guest_stgi.after
    CHECK_EQ "STGI: where", qword [seen_rip], rax
    mov rax, V(0x60)
    and eax, 1 << 9
    CHECK_EQ "STGI: it is set", eax, 1 << 9
    EXITS "CLGI", guest_clgi, 0x81, guest_clgi.call
    mov rax, V(0x60)
    and eax, 1 << 9
    CHECK_EQ "CLGI: it is clear", eax, 0
    ; The processor's is not the guest's affair.
    bts V4(0x0c), 0
    mov al, 0x61
    out PORT_INTERRUPT, al
    sti
    EXITS "an interrupt comes all the same", guest_clgi, 0x60, guest_clgi
    cli
    mov qword [resume], .interrupted
    mov [resume_rsp], rsp
    stgi
    sti
    nop
    nop
    PRINT "FAIL no interrupt after STGI", 10
.interrupted:
    cli
    clgi
    btr V4(0x0c), 0
    bts V4(0x10), 5
    EXITS "CLGI, intercepted", guest_clgi, 0x85, guest_clgi
    btr V4(0x10), 5
    mov V(0x60), 0

; --- VMLOAD and VMSAVE
    call make_nested_tables
    mov V(0xb0), NESTED_PML4
    mov V(0x90), 1
    WRITE_MSR 0xc0000102, 0x1000
    EXITS "VMSAVE of a host-physical address", guest_vmsave, 0x81, guest_vmsave.call
    CHECK_EQ "VMSAVE is the processor's", qword [MOVED + 0x620], 0x1000
    CHECK_EQ "nothing is translated", qword [MOVED_TO + 0x620], 0
    mov V(0xb8), 2
    WRITE_MSR 0xc0000102, 0x2000
    EXITS "virtual VMSAVE", guest_vmsave, 0x81, guest_vmsave.call
    CHECK_EQ "virtual VMSAVE: guest-physical", qword [MOVED_TO + 0x620], 0x2000
    CHECK_EQ "virtual VMSAVE: not host-physical", qword [MOVED + 0x620], 0x1000
    mov qword [MOVED_TO + 0x620], 0x3000
    EXITS "virtual VMLOAD", guest_vmload, 0x81, guest_vmload.call
    mov ecx, 0xc0000102
    rdmsr
    CHECK_EQ "virtual VMLOAD: guest-physical", eax, 0x3000
    EXITS "virtual VMSAVE: nested page fault", guest_vmsave_hole, 0x400, guest_vmsave_hole.at
    mov rax, 1 << 32 | 6
    CHECK_EQ "virtual VMSAVE: nested page fault: information", V(INFO1), rax
    CHECK_EQ "virtual VMSAVE: nested page fault: address", V(INFO2), HOLE
    EXITS "virtual VMLOAD: nested page fault", guest_vmload_hole, 0x400, guest_vmload_hole.at
    mov rax, 1 << 32 | 4
    CHECK_EQ "virtual VMLOAD: nested page fault: information", V(INFO1), rax
    bts V4(0x10), 3
    EXITS "VMSAVE, intercepted", guest_vmsave, 0x83, guest_vmsave.at
    btr V4(0x10), 3
    ; Bytes of the instruction of a nested page fault.
    EXITS "nested page fault", guest_hole, 0x400, guest_hole.at
    CHECK_EQ "nested page fault: bytes", FETCHED, 15
    mov rax, [guest_hole.at]
    CHECK_EQ "nested page fault: the first of them", V(0xd1), rax
    EXITS "nested page fault of a fetch", guest_jump_hole, 0x400, HOLE
    CHECK_EQ "nested page fault of a fetch: bytes", FETCHED, 0

    stgi
    EXIT 0

    NESTED_TABLES

guest_call:
    vmmcall
guest_handler:
    vmmcall
guest_am:
    mov r11, cr0
    btc r11, 18
.write:
    mov cr0, r11
    vmmcall
guest_fault:
    mov ebx, 1 << 30
.at:
    mov [rbx + 0x10], rax
.end:
    times 15 nop
guest_sti:
    sti
    nop
.call:
    vmmcall
guest_stgi:
    sti
    nop
    stgi
.after:
    nop
    vmmcall
guest_clgi:
    clgi
.call:
    vmmcall
guest_vmsave:
    mov eax, MOVED
.at:
    vmsave
.call:
    vmmcall
guest_vmload:
    mov eax, MOVED
    vmload
.call:
    vmmcall
guest_vmsave_hole:
    mov eax, HOLE
.at:
    vmsave
    vmmcall
guest_vmload_hole:
    mov eax, HOLE
.at:
    vmload
    vmmcall
guest_hole:
    mov eax, HOLE
.at:
    mov [rax + 0x20], rbx
    times 15 nop
guest_jump_hole:
    mov eax, HOLE
    jmp rax

; Secure virtual machine: event injection, interrupts and GIF, nested paging. (AMD APM volume 2, 15.17, 15.20, 15.21, 15.25.)
%include "svm.inc"

main64:
    BEGIN_SVM

; --- Events
    mov V4(0x08), 0
    mov qword [resume], guest_handler
    mov qword [resume_rsp], GUEST_STACK
    mov rax, 1 << 31 | 3 << 8 | 1 << 11 | 13
    mov rdx, 0x1234 << 32
    or rax, rdx
    mov V(EVENT_INJECTION), rax
    EXITS "injected #GP", guest_call, 0x81, guest_handler
    CHECK_EQ "injected #GP: vector", qword [seen_vector], 13
    CHECK_EQ "injected #GP: error code", qword [seen_error], 0x1234
    mov rax, guest_call
    CHECK_EQ "injected #GP: return address", qword [seen_rip], rax
    CHECK_EQ "EVENTINJ is cleared", V(EVENT_INJECTION), 0
    mov qword [resume], guest_handler
    mov eax, 1 << 31 | 0x41
    mov V(EVENT_INJECTION), rax
    EXITS "injected interrupt", guest_call, 0x81, guest_handler
    CHECK_EQ "injected interrupt: vector", qword [seen_vector], 0x41
    mov qword [resume], guest_handler
    mov eax, 1 << 31 | 2 << 8
    mov V(EVENT_INJECTION), rax
    EXITS "injected NMI", guest_call, 0x81, guest_handler
    CHECK_EQ "injected NMI: vector", qword [seen_vector], 2
    mov qword [resume], guest_handler
    mov eax, 1 << 31 | 4 << 8 | 0x42
    mov V(EVENT_INJECTION), rax
    mov V(NEXT_RIP), 0x5678
    EXITS "injected INT n", guest_call, 0x81, guest_handler
    CHECK_EQ "injected INT n: vector", qword [seen_vector], 0x42
    CHECK_EQ "injected INT n: return address", qword [seen_rip], 0x5678

    mov eax, V4(0x484)
    push rax
    mov V4(0x484), 0
    bts V4(0x08), 13
    mov eax, 1 << 31 | 0x41
    mov V(EVENT_INJECTION), rax
    EXITS "#GP in a delivery", guest_call, 0x4d, guest_call
    mov eax, 0x80000041
    CHECK_EQ "#GP in a delivery: what was delivered", V(INT_INFO), rax
    btr V4(0x08), 13
    bts V4(0x08), 8
    EXITS "#DF", guest_ud, 0x48, guest_ud
    btr V4(0x08), 8
    bts V4(0x0c), 31
    EXITS "shutdown", guest_ud, 0x7f, guest_ud
    btr V4(0x0c), 31
    pop rax
    mov V4(0x484), eax

; --- Interrupts, GIF
    stgi
    clgi
    sti
    mov al, 0x61
    out PORT_INTERRUPT, al
    out PORT_NMI, al
    nop
    nop
    bts V4(0x0c), 0
    bts V4(0x0c), 1
    bts V4(0x60), 24                    ; V_INTR_MASKING
    EXITS "NMI before anything else", guest_call, 0x61, guest_call
    btr V4(0x0c), 1
    mov qword [resume], .nmi
    mov [resume_rsp], rsp
    mov qword [seen_vector], -1
    cli
    stgi
    nop
    PRINT "FAIL no NMI after STGI", 10
.nmi:
    CHECK_EQ "NMI after STGI", qword [seen_vector], 2
    ; IRET ends the blocking of NMIs.
    mov rax, rsp
    push qword KERNEL_DS
    push rax
    pushfq
    push qword KERNEL_CS
    mov rax, .unblocked
    push rax
    iretq
.unblocked:
    clgi
    sti
    EXITS "INTR by the host's IF", guest_call, 0x60, guest_call
    cli
    EXITS "INTR without the host's IF", guest_sti, 0x81, guest_sti.call
    sti
    mov qword [resume], .interrupted
    mov [resume_rsp], rsp
    stgi
    nop
    PRINT "FAIL no interrupt after STGI", 10
.interrupted:
    CHECK_EQ "interrupt after STGI", qword [seen_vector], 0x61
    cli

    mov rax, 0x55 << 32 | 4 << 16 | 1 << 24 | 1 << 8
    mov V(0x60), rax
    EXITS "virtual interrupt, IF clear", guest_call, 0x81, guest_call
    mov rax, V(0x60)
    and eax, 1 << 8
    CHECK_EQ "virtual interrupt: pending", eax, 1 << 8
    mov qword [resume], guest_handler
    mov qword [resume_rsp], GUEST_STACK
    EXITS "virtual interrupt", guest_sti, 0x81, guest_handler
    CHECK_EQ "virtual interrupt: vector", qword [seen_vector], 0x55
    mov rax, guest_sti.call
    CHECK_EQ "virtual interrupt: after the shadow", qword [seen_rip], rax
    mov rax, V(0x60)
    and eax, 1 << 8
    CHECK_EQ "virtual interrupt: no more pending", eax, 0
    mov rax, 0x55 << 32 | 4 << 16 | 1 << 24 | 1 << 8
    mov V(0x60), rax
    bts V4(0x0c), 4
    EXITS "interrupt window", guest_sti, 0x64, guest_sti.call
    btr V4(0x0c), 4
    EXITS "the guest's CR8 is V_TPR", guest_cr8, 0x81, guest_cr8.call
    CHECK_EQ "V_TPR", byte [VMCB + 0x60], 5
    mov rax, cr8
    CHECK_EQ "the host's CR8", rax, 0
    mov V(0x60), 1 << 24

    bts V4(0x0c), 24
    EXITS "HLT behind STI", guest_sti_hlt, 0x78, guest_sti_hlt.hlt
    CHECK_EQ "interrupt shadow", V(0x68), 1
    mov V(0x68), 0
    btr V4(0x0c), 24

; --- Time, VMLOAD and VMSAVE
    mov rax, 1 << 50
    mov V(0x50), rax
    RUN guest_tsc
    CHECK_EQ "TSC_OFFSET", rbx, 1 << 18
    mov V(0x50), 0
    WRITE_MSR 0xc0000102, 0x123456789000
    mov rax, VMCB
    vmsave
    mov rax, 0x123456789000
    CHECK_EQ "VMSAVE: KernelGSBase", V(0x620), rax
    mov V(0x620), 0x5000
    mov V(0x458), 0x6000
    mov rax, VMCB
    vmload
    mov ecx, 0xc0000102
    rdmsr
    CHECK_EQ "VMLOAD: KernelGSBase", eax, 0x5000
    mov ecx, 0xc0000101
    rdmsr
    CHECK_EQ "VMLOAD: GS.base", eax, 0x6000
    WRITE_MSR 0xc0000101, 0

; --- Nested paging
    call make_nested_tables
    mov V(0x90), 1
    mov V(0xb0), NESTED_PML4
    EXITS "nested paging", guest_moved, 0x81, guest_moved.call
    mov rax, 0x4d4f564544
    CHECK_EQ "guest-physical addresses are translated", qword [MOVED_TO], rax
    mov rax, [NESTED_PD + (MOVED >> 21) * 8]
    and eax, 0x60
    CHECK_EQ "nested A and D", eax, 0x60
    mov rax, [NESTED_PD + (0x1000000 >> 21) * 8]
    and eax, 0x60
    CHECK_EQ "untouched", eax, 0
    EXITS "absent: a read", guest_hole_read, 0x400, guest_hole_read.at
    mov rax, 1 << 32 | 4
    CHECK_EQ "absent: a read: information", V(INFO1), rax
    CHECK_EQ "absent: a read: address", V(INFO2), HOLE + 0x123
    EXITS "absent: a write", guest_hole_write, 0x400, guest_hole_write.at
    mov rax, 1 << 32 | 6
    CHECK_EQ "absent: a write: information", V(INFO1), rax
    ; One at a breakpoint, begun with RF, is as if it had not begun.
    mov rax, guest_hole_write.at
    mov dr0, rax
    mov V(RIP), rax
    mov V(0x560), 0x402
    mov V(0x570), 0x10002
    mov V(RAX_FIELD), HOLE + 0x123
    mov rax, VMCB
    vmrun
    CHECK_EQ "absent: a write at a breakpoint: exit code", V(EXIT_CODE), 0x400
    CHECK_EQ "absent: a write at a breakpoint: RF", V(0x570), 0x10002
    mov V(0x560), 0x400
    mov qword [NESTED_PT], HOLE | 5     ; read-only
    EXITS "read-only: a write", guest_hole_write, 0x400, guest_hole_write.at
    mov rax, 1 << 32 | 7
    CHECK_EQ "read-only: information", V(INFO1), rax
    EXITS "read-only: a read", guest_hole_read, 0x81, guest_hole_read.call
    mov qword [NESTED_PT], HOLE | 3     ; supervisor
    EXITS "supervisor page", guest_hole_read, 0x400, guest_hole_read.at
    mov qword [NESTED_PT], HOLE | 7
    mov rax, 1 << 63
    or [NESTED_PT], rax
    mov byte [HOLE + 0x123], 0xc3
    EXITS "no-execute", guest_hole_call, 0x400, HOLE + 0x123
    mov rax, 1 << 32 | 0x15
    CHECK_EQ "no-execute: information", V(INFO1), rax
    mov qword [NESTED_PT], HOLE | 7
    EXITS "executable", guest_hole_call, 0x81, guest_hole_call.call
    mov rax, HOLE | 1 << 51 | 7
    mov [NESTED_PT], rax
    EXITS "reserved bit", guest_hole_read, 0x400, guest_hole_read.at
    mov rax, 1 << 32 | 0xd
    CHECK_EQ "reserved bit: information", V(INFO1), rax
    mov qword [NESTED_PT], 0
    mov V(0x550), HOLE
    EXITS "absent table", guest_call, 0x400, guest_call
    mov rax, 1 << 33 | 6
    CHECK_EQ "absent table: information", V(INFO1), rax
    CHECK_EQ "absent table: address", V(INFO2), HOLE
    mov V(0x550), PML4
    ; The guest's own page fault is its own.
    bts V4(0x08), 14
    EXITS "#PF before nested paging", guest_pf, 0x4e, guest_pf.load
    btr V4(0x08), 14
    ; A nested page fault in a delivery.
    mov V(0x488), HOLE
    mov eax, 1 << 31 | 0x41
    mov V(EVENT_INJECTION), rax
    EXITS "nested page fault in a delivery", guest_call, 0x400, guest_call
    mov eax, 0x80000041
    CHECK_EQ "nested page fault in a delivery: event", V(INT_INFO), rax
    mov V(0x488), IDT
    mov V(0x668), 0x0006
    EXITS "the guest's PAT", guest_pat, 0x81, guest_pat.call
    CHECK_EQ "the guest's PAT: read", rbx, 6
    mov ecx, 0x277
    rdmsr
    CHECK_EQ "the host's PAT", eax, 0x00070406

; --- Real mode in nested pages
    mov V(0x558), 0x60000010
    mov V(0x548), 0
    mov V(0x550), 0
    mov V(0x4d0), 0x1000
    mov V(0x410), 0x009b << 16
    mov V4(0x414), 0xffff
    mov V(0x430), 0x0093 << 16
    mov V4(0x434), 0xffff
    mov V(0x420), 0x0093 << 16
    mov V4(0x424), 0xffff
    bts V4(0x0c), 24
    EXITS "real mode", real_guest, 0x78, real_guest.hlt
    CHECK_EQ "real mode: result", bx, 0x4321

    stgi
    EXIT 0

    NESTED_TABLES

; --- Guests
guest_call:
    vmmcall
guest_handler:
    vmmcall
guest_ud:
    ud2
guest_pf:
    mov eax, 1 << 30
.load:
    mov [rax], al
guest_sti:
    sti
    nop
.call:
    vmmcall
guest_sti_hlt:
    sti
.hlt:
    hlt
guest_cr8:
    mov eax, 5
    mov cr8, rax
.call:
    vmmcall
guest_tsc:
    rdtsc
    mov ebx, edx
    vmmcall
guest_moved:
    mov rax, 0x4d4f564544
    mov [MOVED], rax
.call:
    vmmcall
guest_hole_read:
    mov eax, HOLE + 0x123
.at:
    mov bl, [rax]
.call:
    vmmcall
guest_hole_write:
    mov eax, HOLE + 0x123
.at:
    mov [rax], bl
    vmmcall
guest_hole_call:
    mov eax, HOLE + 0x123
    call rax
.call:
    vmmcall
guest_pat:
    mov ecx, 0x277
    rdmsr
    mov ebx, eax
.call:
    vmmcall
    bits 16
real_guest:
    mov bx, 0x4321
.hlt:
    hlt

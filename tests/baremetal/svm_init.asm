; Secure virtual machine: INIT that GIF holds, that is intercepted and that becomes #SX; VM_CR and its lock. (AMD APM volume 2,
; 15.13.3, 15.17, 15.28, 15.30, 15.31.)
%include "svm.inc"

%define PROGRESS 0x600                  ; what is left to do is beyond an INIT

; Sends INIT to this processor and gives it time to arrive.
%macro SEND_INIT 0
    out PORT_INIT, al
    times 8 nop
%endmacro

main64:
    cmp dword [PROGRESS], 1
    je after_init
    cmp dword [PROGRESS], 2
    je after_guest_init
    mov dword [PROGRESS], 0
    ; Where INIT goes on: through the way up from real mode again, whose LTR wants an available TSS.
    mov rdi, 0x500
    mov rsi, trampoline
    mov ecx, trampoline_end - trampoline
    rep movsb
    BEGIN_SVM

; --- VM_CR and SVM_KEY
    mov eax, 0x8000000a
    cpuid
    bt edx, 2
    CHECK_CC "SVM lock is offered", c
    mov ecx, 0xc0010114
    mov eax, 1 << 5
    xor edx, edx
    FAULTS "VM_CR: reserved", 13, 0, -1, wrmsr
    WRITE_MSR 0xc0010114, 0x5
    rdmsr
    CHECK_EQ "VM_CR: DPD and DIS_A20M", eax, 5
    WRITE_MSR 0xc0010118, 0x1234567890
    WRITE_MSR 0xc0010114, 8
    mov ecx, 0xc0010114
    rdmsr
    CHECK_EQ "VM_CR: LOCK", eax, 8
    mov eax, 0x10
    FAULTS "VM_CR: SVMDIS with EFER.SVME, locked", 13, 0, -1, wrmsr
    mov ecx, 0xc0000080
    rdmsr
    btr eax, 12
    wrmsr
    WRITE_MSR 0xc0010114, 0x11
    rdmsr
    CHECK_EQ "VM_CR: LOCK holds LOCK and SVMDIS", eax, 9
    WRITE_MSR 0xc0010118, 0x1234567891
    mov ecx, 0xc0010114
    rdmsr
    CHECK_EQ "SVM_KEY: another key", eax, 9
    mov ecx, 0xc0010118
    rdmsr
    or eax, edx
    CHECK_EQ "SVM_KEY is not shown", eax, 0
    WRITE_MSR 0xc0010118, 0x1234567890
    mov ecx, 0xc0010114
    rdmsr
    CHECK_EQ "SVM_KEY: unlocked", eax, 1
    WRITE_MSR 0xc0010118, 0
    WRITE_MSR 0xc0010114, 8
    WRITE_MSR 0xc0010118, 0
    mov ecx, 0xc0010114
    rdmsr
    CHECK_EQ "SVM_KEY: zero opens nothing", eax, 8
    mov ecx, 0xc0000080
    rdmsr
    bts eax, 12
    wrmsr

; --- INIT
    clgi
    SEND_INIT
    PRINT "ok INIT waits without GIF", 10
    bts V4(0x0c), 3
    EXITS "INIT in a guest", guest_call, 0x63, guest_call
    EXITS "INIT goes on waiting", guest_call, 0x63, guest_call
    WRITE_MSR 0xc0010114, 2
    mov qword [resume], .security
    mov [resume_rsp], rsp
    mov qword [seen_vector], -1
    stgi
    times 8 nop
    PRINT "FAIL no #SX", 10
.security:
    CHECK_EQ "R_INIT: #SX", qword [seen_vector], 30
    CHECK_EQ "R_INIT: error code", qword [seen_error], 1
    clgi
    EXITS "INIT was taken", guest_call, 0x81, guest_call
    RUN guest_init
    CHECK_EQ "INIT that a guest meets", V(EXIT_CODE), 0x63
    mov qword [resume], .kept
    mov [resume_rsp], rsp
    stgi                                ; it becomes #SX and is gone
    times 8 nop
    PRINT "FAIL INIT is kept", 10
.kept:
    clgi
    RUN guest_init_hlt
    CHECK_EQ "INIT ends a guest's halt", V(EXIT_CODE), 0x63
    btr V4(0x0c), 3
    mov qword [resume], guest_handler
    mov qword [resume_rsp], GUEST_STACK
    EXITS "R_INIT: #SX in the guest", guest_call, 0x81, guest_handler
    CHECK_EQ "R_INIT: the guest's vector", qword [seen_vector], 30
    bts V4(0x08), 30
    SEND_INIT
    EXITS "R_INIT: #SX is intercepted", guest_call, 0x5e, guest_call
    CHECK_EQ "R_INIT: #SX's error code", V(INFO1), 1
    btr V4(0x08), 30
    WRITE_MSR 0xc0010114, 0
    SEND_INIT
    mov dword [PROGRESS], 1
    stgi
    times 8 nop
    mov ecx, 0x1000
.wait:
    loop .wait
    PRINT "FAIL INIT did not come with GIF", 10
    EXIT 1

after_init:
    PRINT "ok INIT came with GIF", 10
    mov ecx, 0xc0010117
    rdmsr
    CHECK_EQ "INIT keeps VM_HSAVE_PA", eax, HSAVE
    BEGIN_SVM
    mov dword [PROGRESS], 2
    RUN guest_init
    PRINT "FAIL INIT ends a guest that does not intercept it", 10
    EXIT 1

after_guest_init:
    PRINT "ok INIT ends a guest that does not intercept it", 10
    mov ecx, 0xc0000080
    rdmsr
    bt eax, 12
    CHECK_CC "INIT clears EFER.SVME", nc
    EXIT 0

guest_call:
    vmmcall
guest_handler:
    vmmcall
guest_init_hlt:
    out PORT_INIT, al
    hlt
    vmmcall
guest_init:
    out PORT_INIT, al
    mov ecx, 0x10000
.wait:
    loop .wait
    vmmcall

    bits 16
trampoline:
    xor ax, ax
    mov ds, ax
    mov byte [gdt_tss + 5], 0x89
    jmp 0:0x7c00
trampoline_end:

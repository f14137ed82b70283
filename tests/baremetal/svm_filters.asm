; Secure virtual machine: what counts, records and scales: PAUSE's filter, last branches, TSC_RATIO. (AMD APM volume 2, 13.1.1,
; 15.14.4, 15.23, 15.30.5.)
%include "svm.inc"

%define PAUSE_FILTER 0x3c               ; threshold, count
%define DEBUGCTL 0x1d9
%define BRANCH_FROM 0x1db
%define BRANCH_TO 0x1dc
%define EXCEPTION_FROM 0x1dd
%define EXCEPTION_TO 0x1de

; PAUSE filter: count, threshold; times PAUSE is executed, and how often a loop goes round between the last two; what comes of it.
%macro PAUSES 6                         ; name, count, threshold, times, loop, exit code
    mov V4(PAUSE_FILTER), %3 | %2 << 16
    mov ebx, %4
    mov edi, %5
    RUN guest_pauses
    CHECK_EQ {"PAUSE filter: ", %1}, V(EXIT_CODE), %6
%endmacro

%macro MSR_IS 3                         ; name, MSR, value
    mov ecx, %2
    rdmsr
    shl rdx, 32
    or rax, rdx
    mov rdx, %3
    CHECK_EQ %1, rax, rdx
%endmacro

%macro DEBUGCTL_TO 1                    ; without a branch
    mov ecx, DEBUGCTL
    mov eax, %1
    xor edx, edx
    wrmsr
%endmacro

main64:
    BEGIN_SVM
    mov eax, 0x8000000a
    cpuid
    and edx, 0x1412
    CHECK_EQ "PAUSE filter and threshold, LBR virtualization, TSC ratio are offered", edx, 0x1412

; --- PAUSE
    bts V4(0x0c), 23
    PAUSES "no count", 0, 0, 1, 0, 0x77
    PAUSES "the count", 9, 0, 10, 0, 0x77
    CHECK_EQ "PAUSE filter: when", ebx, 1
    mov rax, guest_pauses.next
    CHECK_EQ "PAUSE filter: next rip", V(NEXT_RIP), rax
    PAUSES "fewer", 21, 0, 20, 0, 0x81
    PAUSES "close to each other", 21, 1000, 20, 10, 0x77
    PAUSES "apart", 21, 10, 20, 1000, 0x81
    PAUSES "each apart from the next", 3, 2, 100, 0, 0x81
    btr V4(0x0c), 23
    PAUSES "not intercepted", 1, 0, 5, 0, 0x81

; --- Last branches of the processor
    DEBUGCTL_TO 1
host_from:
    jmp host_to
    nop
host_to:
    DEBUGCTL_TO 0
    MSR_IS "last branch: from", BRANCH_FROM, host_from
    MSR_IS "last branch: to", BRANCH_TO, host_to
    DEBUGCTL_TO 1
    cmp eax, eax
taken_from:
    je taken_to
    nop
taken_to:
    cmp eax, eax
    jne taken_from
    DEBUGCTL_TO 0
    MSR_IS "last branch: a condition", BRANCH_FROM, taken_from
    MSR_IS "last branch: not what was not taken", BRANCH_TO, taken_to
    DEBUGCTL_TO 1
    mov rax, indirect_to
indirect_from:
    call rax
indirect_to:
    pop rdx
    DEBUGCTL_TO 0
    MSR_IS "last branch: CALL", BRANCH_FROM, indirect_from
    MSR_IS "last branch: CALL: to", BRANCH_TO, indirect_to
    DEBUGCTL_TO 1
    push qword KERNEL_CS
    push qword far_to
far_from:
    o64 retf
    nop
far_to:
    DEBUGCTL_TO 0
    MSR_IS "last branch: far RET", BRANCH_FROM, far_from
    MSR_IS "last branch: far RET: to", BRANCH_TO, far_to
    mov rax, exception_to               ; the common handler has branches of its own
    mov [IDT + 6 * 16], ax
    shr rax, 16
    mov [IDT + 6 * 16 + 6], ax
    DEBUGCTL_TO 1
before_from:
    jmp exception_from
    nop
exception_from:
    ud2
exception_to:
    DEBUGCTL_TO 0
    mov rsp, [rsp + 3 * 8]
    MSR_IS "last branch: an exception", BRANCH_FROM, exception_from
    MSR_IS "last branch: its handler", BRANCH_TO, exception_to
    MSR_IS "last branch before the exception", EXCEPTION_FROM, before_from
    MSR_IS "last branch before the exception: to", EXCEPTION_TO, exception_from
    DEBUGCTL_TO 1
fault_from:
    jmp fault_at
    nop
fault_at:
    mov qword [resume], stepped
    mov [resume_rsp], rsp
    pushfq
    or qword [rsp], 1 << 8
    popfq
    nop
stepped:
    CHECK_EQ "single step", qword [seen_vector], 1
    MSR_IS "#DB ends recording", DEBUGCTL, 0
    MSR_IS "#DB is not recorded", BRANCH_FROM, fault_from

; --- ... of a guest
    WRITE_MSR BRANCH_FROM, 0x1111
    WRITE_MSR BRANCH_TO, 0x2222
    mov V(VIRT_EXT), 1
    mov V(0x670), 1
    mov V(0x678), 0x3333
    mov V(0x688), 0x4444
    mov V(0x690), 0x5555
    RUN guest_branch
    mov rax, guest_branch
    CHECK_EQ "LBR virtualization: from", V(0x678), rax
    mov rax, guest_branch.to
    CHECK_EQ "LBR virtualization: to", V(0x680), rax
    CHECK_EQ "LBR virtualization: before an exception", V(0x688), 0x4444
    CHECK_EQ "LBR virtualization: before an exception: to", V(0x690), 0x5555
    CHECK_EQ "LBR virtualization: DEBUGCTL", V(0x670), 1
    MSR_IS "LBR virtualization: the host's DEBUGCTL", DEBUGCTL, 0
    MSR_IS "LBR virtualization: the host's registers", BRANCH_FROM, 0x1111
    MSR_IS "LBR virtualization: the host's registers: to", BRANCH_TO, 0x2222
    mov V(VIRT_EXT), 0
    RUN guest_branch
    MSR_IS "without it the host's DEBUGCTL rules", BRANCH_FROM, 0x1111
    RUN guest_records
    mov ecx, DEBUGCTL
    rdmsr
    push rax
    DEBUGCTL_TO 0
    pop rax
    CHECK_EQ "without it DEBUGCTL is the guest's after it", eax, 1

; --- Time
    mov ecx, 0xc0000104
    rdmsr
    shl rdx, 32
    or rax, rdx
    mov rdx, 1 << 32
    CHECK_EQ "TSC_RATIO: 1", rax, rdx
    mov edx, 0x100
    xor eax, eax
    FAULTS "TSC_RATIO: reserved", 13, 0, -1, wrmsr
    WRITE_MSR 0x10, 1 << 40
    WRITE_MSR 0xc0000104, 3 << 31       ; 1.5
    mov rax, 1 << 50
    mov V(0x50), rax
    RUN guest_tsc
    CHECK_EQ "TSC_RATIO: RDTSC", esi, 1 << 18 | 0x180
    CHECK_EQ "TSC_RATIO: RDTSCP", edi, 1 << 18 | 0x180
    CHECK_EQ "TSC_RATIO: RDMSR", ebx, 1 << 18 | 0x180
    rdtsc
    CHECK_EQ "TSC_RATIO: the host's own", edx, 0x100

    stgi
    EXIT 0

guest_pauses:
    cmp ebx, 0
    je .last
    dec ebx
    pause
.next:
    jmp guest_pauses
.last:
    mov ecx, edi
    jrcxz .over
.wait:
    loop .wait
    pause
.over:
    vmmcall
guest_branch:
    jmp .to
    nop
.to:
    vmmcall
guest_records:
    DEBUGCTL_TO 1
    vmmcall
guest_tsc:
    rdtsc
    mov esi, edx
    rdtscp
    mov edi, edx
    mov ecx, 0x10
    rdmsr
    mov ebx, edx
    vmmcall

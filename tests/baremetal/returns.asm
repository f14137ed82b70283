; IRET, far RET and SYSRET in IA-32e mode: null SS, canonical targets, NT, privilege. (Intel SDM volume 2, "IRET", "RET", "SYSRET".)
%include "long.inc"

; A frame for IRETQ or, without flags, RETFQ.
%macro IRET_FRAME 4                     ; ss, flags, cs, rip
    mov rcx, rsp
    mov eax, %1
    push rax
    push rcx
    push qword %2
    push qword %3
    mov rax, %4
    push rax
%endmacro
%macro RETURN_FAULTS 4                  ; name, vector, error, instruction; drops the frame
    mov [frame_rsp], rsp
    FAULTS %1, %2, %3, -1, %4
    CHECK_EQ {%1, ": nothing is popped"}, [seen_rsp], rsp
    mov rsp, [frame_rsp]
    add rsp, 40
%endmacro

main64:
    IRET_FRAME 0, 2, KERNEL_CS, .null_ss
    iretq
.null_ss:
    mov eax, ss
    CHECK_EQ "IRETQ to CPL 0 takes a null SS", eax, 0
    mov eax, KERNEL_DS
    mov ss, eax
    IRET_FRAME 3, 2, KERNEL_CS, taken
    RETURN_FAULTS "null SS with another RPL", 13, 0, iretq
    IRET_FRAME 0, 2, USER_CS, taken
    RETURN_FAULTS "null SS at CPL 3", 13, 0, iretq
    IRET_FRAME 0, 2, COMPAT_CS, taken
    RETURN_FAULTS "null SS in compatibility mode", 13, 0, iretq
    IRET_FRAME KERNEL_DS, 2, KERNEL_CS, 0x8000000000000000
    RETURN_FAULTS "non-canonical RIP", 13, 0, iretq
    IRET_FRAME KERNEL_DS, 2, 0, taken
    RETURN_FAULTS "null CS", 13, 0, iretq
    IRET_FRAME KERNEL_DS, 2, KERNEL_DS, taken
    RETURN_FAULTS "CS is data", 13, KERNEL_DS, iretq
    IRET_FRAME USER_DS, 2, KERNEL_CS, taken
    RETURN_FAULTS "SS of another level", 13, USER_DS & ~3, iretq
    IRET_FRAME KERNEL_DS, 2, KERNEL_CS | 1, taken
    RETURN_FAULTS "RPL is not DPL", 13, KERNEL_CS, iretq
    IRET_FRAME KERNEL_DS, 2, KERNEL_CS, taken
    pushfq
    or dword [rsp], 1 << 14
    popfq
    RETURN_FAULTS "NT", 13, 0, iretq
    pushfq
    and dword [rsp], ~(1 << 14)
    popfq
    ; 16 bytes below a stack that is not there.
    LEFT_OUT "a frame at a non-canonical address", .far_returns
    mov rbp, rsp
    mov rsp, 0x8000000000000000
    mov qword [seen_vector], -1
    mov qword [resume], .no_stack
    mov [resume_rsp], rbp
    mov byte [IDT + 12 * 16 + 4], 1
    iretq
.no_stack:
    mov byte [IDT + 12 * 16 + 4], 0
    CHECK_EQ "a frame at a non-canonical address", qword [seen_vector], 12
    CHECK_EQ "its error code", qword [seen_error], 0

.far_returns:
    push qword 0
    push qword 0
    push qword 0
    push qword KERNEL_CS
    mov rax, 0x8000000000000000
    push rax
    RETURN_FAULTS "far return to a non-canonical address", 13, 0, retfq
    push qword 0
    push qword 0
    push qword 0
    push qword 0
    push qword 0
    RETURN_FAULTS "far return to a null CS", 13, 0, retfq
    push qword 0
    push qword 3
    push qword USER
    push qword USER_CS
    push qword 0
    RETURN_FAULTS "far return to CPL 3 with a null SS", 13, 0, retfq

    ; SYSRET checks RCX before it leaves CPL 0 (Intel processors).
    mov rcx, 0x8000000000000000
    FAULTS "SYSRET to a non-canonical address", 13, 0, -1, o64 sysret
    CHECK_EQ "at CPL 0", qword [seen_cs], KERNEL_CS
    mov ecx, 0xc0000080
    rdmsr
    and eax, ~1
    wrmsr
    FAULTS "SYSCALL without EFER.SCE", 6, 0, -1, syscall
    FAULTS "SYSRET without EFER.SCE", 6, 0, -1, o64 sysret
    LEFT_OUT "SYSENTER without a selector", .end
    FAULTS "SYSENTER without a selector", 13, 0, -1, sysenter
.end:
    EXIT 0

taken:
    ud2

    align 8
frame_rsp: dq 0

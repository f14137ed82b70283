; Debug exceptions (contract R6): what comes before a fetch fault, single-stepping on branches, breakpoints under MOV SS, DR6
; accumulation, I/O breakpoints, aliases and general detect. (Intel SDM volume 3, 17.2, 17.3, 17.4.3 and table 6-2.)
%include "long.inc"

%define NOWHERE 0x40000000

; Expects the code that follows to be interrupted by #DB, which continues at %1.
%macro EXPECT 1
    mov qword [seen_vector], -1
    mov qword [resume], %1
    mov [resume_rsp], rsp
    mov rax, 0xffff0ff0
    mov dr6, rax
%endmacro
%macro TRAP_FLAG 0                      ; from the instruction after the next on
    pushfq
    or dword [rsp], 0x100
    popfq
%endmacro
%macro CHECK_TRAP 3                     ; name, rip, DR6
    CHECK_EQ {%1, ": vector"}, qword [seen_vector], 1
    mov rax, %2
    CHECK_EQ {%1, ": rip"}, [seen_rip], rax
    mov rax, dr6
    CHECK_EQ {%1, ": DR6"}, eax, %3
%endmacro
%macro WRITE_DR7 1
    mov rax, %1
    mov dr7, rax
%endmacro

main64:
    ; A trap that waits comes before the fault of the next fetch.
    mov r8, NOWHERE
    EXPECT .stepped
    TRAP_FLAG
    jmp r8
.stepped:
    CHECK_TRAP "step over a jump to nowhere", NOWHERE, 0xffff4ff0
    mov r8, NOWHERE
    mov dr0, r8
    WRITE_DR7 1
    EXPECT .broke
    jmp r8
.broke:
    CHECK_TRAP "instruction breakpoint at nowhere", NOWHERE, 0xffff0ff1
    WRITE_DR7 0

    ; DEBUGCTL.BTF: taken branches only; #DB clears it.
    mov ecx, 0x1d9
    mov eax, 2
    xor edx, edx
    wrmsr
    EXPECT .branched
    xor r9d, r9d
    TRAP_FLAG
    inc r9d
    cmp r9d, 1
    jne .branched
    inc r9d
    je .branched
    jmp .target
.target:
    inc r9d
.branched:
    CHECK_TRAP "single step on branches", .target, 0xffff4ff0
    CHECK_EQ "it passed what is no taken branch", r9d, 2
    mov ecx, 0x1d9
    rdmsr
    CHECK_EQ "#DB clears BTF", eax, 0

    ; A data breakpoint hit by MOV SS waits for one more instruction, and adds to DR6.
    mov rax, stack_selector
    mov dr1, rax
    WRITE_DR7 0x700000 | 4
    EXPECT .held
    mov rax, 0xffff4ff0
    mov dr6, rax
    xor r9d, r9d
    mov ss, [stack_selector]
    inc r9d
.after:
    inc r9d
.held:
    CHECK_TRAP "breakpoint on MOV SS", .after, 0xffff4ff2
    CHECK_EQ "the next instruction ran first", r9d, 1
    WRITE_DR7 0

    ; I/O breakpoints need CR4.DE, which also takes DR4 and DR5 away.
    mov rax, 1 << 15
    mov dr6, rax
    mov rax, dr4
    CHECK_EQ "DR4 is DR6", eax, 0xffff8ff0
    mov rax, cr4
    bts rax, 3
    mov cr4, rax
    FAULTS "DR4 with CR4.DE", 6, 0, -1, mov rax, dr4
    mov eax, 0x84
    mov dr2, rax
    WRITE_DR7 0x2000000 | 0x10
    EXPECT .port
    xor r9d, r9d
    out 0x83, al
    out 0x84, al
.behind:
    inc r9d
.port:
    CHECK_TRAP "I/O breakpoint", .behind, 0xffff0ff4
    CHECK_EQ "is a trap", r9d, 0

    ; General detect is a fault, after the privilege check; #DB clears it.
    WRITE_DR7 0x2000
    mov rax, 0xffff0ff0
    FAULTS "general detect", 1, 0, -1, mov rbx, dr6
    mov rax, dr7
    CHECK_EQ "#DB clears GD", eax, 0x400
    mov rax, dr6
    CHECK_EQ "DR6.BD", eax, 0xffff2ff0
    cld
    mov rsi, user_code
    mov rdi, USER
    mov ecx, user_end - user_code
    rep movsb
    WRITE_DR7 0x2000
    USER_FAULTS "privilege before general detect", 13, 0, USER
    FAULTS "which stays armed", 1, 0, -1, mov rax, dr7
    ; INT1 is a trap that sets nothing.
    mov rax, cr4
    btr rax, 3
    mov cr4, rax
    EXPECT .icebp
    db 0xf1
.icebp:
    CHECK_TRAP "INT1", .icebp, 0xffff0ff0
    EXIT 0

stack_selector: dw KERNEL_DS
user_code:
    mov rax, dr0
user_end:

; 64-bit mode: translation caches (CR3, PCID, INVPCID, global pages), SMAP, SMEP, UMIP, FSGSBASE, TSD, model-specific registers, debug
; registers with RF, single step over SYSCALL, NMI blocking, HLT, call gates, non-canonical targets. (Intel SDM volume 3.)
%include "long.inc"

%define CR4_BASE (1 << 5 | 1 << 9 | 1 << 10)
%define WINDOW (PAGES + 0x10000)        ; its page-table entry is remapped by the tests
%define WINDOW_PTE (PT + 0x10 * 8)
%define TARGET_A (PAGES + 0x20000)
%define TARGET_B (PAGES + 0x21000)
%define CALL_GATE 0x48
%define NEW_GDT 0x22000

%macro WRITE_MSR 2                      ; index, 64-bit constant
    mov ecx, %1
    mov rax, %2
    mov rdx, rax
    shr rdx, 32
    wrmsr
%endmacro

; Maps WINDOW to %1 and gives the old translation a chance to be used before.
%macro MAP_WINDOW 2                     ; target, flags
    mov al, [WINDOW]
    mov qword [WINDOW_PTE], (%1) | (%2)
%endmacro

; A frame that IRETQ leaves to the code that follows.
%macro IRET_HERE 1                      ; flags
    mov rcx, rsp
    push qword KERNEL_DS
    push rcx
    push qword %1
    push qword KERNEL_CS
    mov rcx, %%there
    push rcx
    iretq
%%there:
%endmacro

main64:
    mov byte [TARGET_A], 0xaa
    mov byte [TARGET_B], 0xbb

    ; --- What drops translations
    mov qword [WINDOW_PTE], TARGET_A | 3
    invlpg [WINDOW]
    CHECK_EQ "first mapping", byte [WINDOW], 0xaa
    MAP_WINDOW TARGET_B, 3
    invlpg [WINDOW]
    CHECK_EQ "INVLPG drops a translation", byte [WINDOW], 0xbb
    MAP_WINDOW TARGET_A, 3
    mov rax, cr3
    mov cr3, rax
    CHECK_EQ "MOV CR3 drops it", byte [WINDOW], 0xaa
    mov rax, CR4_BASE | 1 << 7
    mov cr4, rax
    MAP_WINDOW TARGET_B, 0x103
    mov rax, cr3
    mov cr3, rax
    CHECK_EQ "now global", byte [WINDOW], 0xbb
    MAP_WINDOW TARGET_A, 0x103
    mov rax, CR4_BASE
    mov cr4, rax
    CHECK_EQ "CR4.PGE drops global translations", byte [WINDOW], 0xaa
    mov eax, 1
    cpuid
    bt ecx, 17
    jnc .no_pcid
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ebx, 10
    jnc .no_pcid
    mov rax, CR4_BASE | 1 << 17
    mov cr4, rax
    mov rax, PML4 | 5
    mov cr3, rax
    MAP_WINDOW TARGET_B, 3
    mov rax, PML4 | 5
    mov cr3, rax
    CHECK_EQ "MOV CR3 drops a PCID's translations", byte [WINDOW], 0xbb
    MAP_WINDOW TARGET_A, 3
    mov eax, 1
    invpcid rax, [pcid5]
    CHECK_EQ "INVPCID of one context", byte [WINDOW], 0xaa
    MAP_WINDOW TARGET_B, 3
    xor eax, eax
    invpcid rax, [pcid5_window]
    CHECK_EQ "INVPCID of one address", byte [WINDOW], 0xbb
    MAP_WINDOW TARGET_A, 3
    mov eax, 2
    invpcid rax, [pcid5]
    CHECK_EQ "INVPCID of everything", byte [WINDOW], 0xaa
    mov eax, 4
    FAULTS "INVPCID of an unknown type", 13, 0, -1, invpcid rax, [pcid5]
    mov eax, 1
    FAULTS "INVPCID with reserved bits", 13, 0, -1, invpcid rax, [pcid_bad]
    mov rax, cr0
    btr rax, 31
    FAULTS "paging cannot go in 64-bit mode", 13, 0, -1, mov cr0, rax
    mov rax, PML4
    mov cr3, rax
    mov rax, CR4_BASE
    mov cr4, rax
    mov rax, PML4 | 5
    mov cr3, rax
    mov rax, CR4_BASE | 1 << 17
    FAULTS "PCIDE with CR3[11:0] set", 13, 0, -1, mov cr4, rax
    jmp .pcid_done
.no_pcid:
    PRINT "ok skipped: the processor does not offer PCID and INVPCID", 10
.pcid_done:
    mov rax, PML4
    mov cr3, rax
    LEFT_OUT "reserved bits of CR3", .cr3_done
    mov rax, 1 << 50
    FAULTS "reserved bits of CR3", 13, 0, -1, mov cr3, rax
.cr3_done:
    LEFT_OUT "PAE cannot go in IA-32e mode", .pae_done
    mov rax, CR4_BASE & ~(1 << 5)
    FAULTS "PAE cannot go in IA-32e mode", 13, 0, -1, mov cr4, rax
.pae_done:

    ; --- 1 GiB pages
    mov qword [PDPT + 8], 0x83
    mov rax, cr3
    mov cr3, rax
    mov byte [TARGET_A + 1], 0x5a
    CHECK_EQ "1 GiB page", byte [0x40000000 + TARGET_A + 1], 0x5a
    mov qword [PDPT + 8], 0x2083
    invlpg [0x40000000]
    FAULTS "reserved bit of a 1 GiB page", 14, 9, 0x40000000, mov al, [0x40000000]
    mov qword [PDPT + 8], 0
    mov rax, cr3
    mov cr3, rax

    ; --- SMAP and SMEP
    mov byte [USER], 0xc3
    mov rax, CR4_BASE | 1 << 20 | 1 << 21
    mov cr4, rax
    FAULTS "SMAP: read", 14, 1, USER, mov al, [USER]
    FAULTS "SMAP: write", 14, 3, USER, mov [USER], al
    stac
    mov al, [USER]
    clac
    FAULTS "SMAP: after CLAC", 14, 1, USER, mov al, [USER]
    pushfq
    or dword [rsp], 1 << 18
    popfq
    mov al, [USER]
    CHECK_EQ "SMAP: AC by POPF lets it through", al, 0xc3
    mov qword [seen_vector], -1
    mov qword [resume], .smep
    mov [resume_rsp], rsp
    mov rax, USER
    call rax
.smep:
    CHECK_EQ "SMEP: vector", qword [seen_vector], 14
    CHECK_EQ "SMEP: error code", qword [seen_error], 0x11
    clac
    mov rax, CR4_BASE
    mov cr4, rax
    mov rax, USER
    call rax
    mov rax, cr4
    CHECK_EQ "both off again", rax, CR4_BASE

    ; --- User code
    mov byte [IDT + 0x41 * 16 + 5], 0xee
    cld
    mov rsi, user_code
    mov rdi, USER
    mov ecx, user_end - user_code
    rep movsb
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ecx, 2
    jnc .no_umip
    mov rax, CR4_BASE | 1 << 11
    mov cr4, rax
    USER_FAULTS "UMIP: SGDT", 13, 0, USER + (user_sgdt - user_code)
    USER_FAULTS "UMIP: SMSW", 13, 0, USER + (user_smsw - user_code)
    USER_FAULTS "UMIP: STR", 13, 0, USER + (user_str - user_code)
    str ax
    jmp .umip_done
.no_umip:
    PRINT "ok skipped: the processor does not offer UMIP", 10
.umip_done:
    mov rax, CR4_BASE
    mov cr4, rax
    USER_FAULTS "without UMIP", 6, 0, USER + (user_str - user_code)
    USER_FAULTS "RDTSC allowed", 6, 0, USER + (user_rdtsc - user_code)
    mov rax, CR4_BASE | 1 << 2
    mov cr4, rax
    USER_FAULTS "RDTSC with TSD", 13, 0, USER + (user_rdtsc - user_code)
    USER_FAULTS "WRFSBASE without FSGSBASE", 6, 0, USER + (user_wrfsbase - user_code)
    mov rax, CR4_BASE | 1 << 16
    mov cr4, rax
    USER_FAULTS "WRFSBASE", 6, 0, USER + (user_wrfsbase - user_code)
    USER_FAULTS "WRFSBASE runs", 0x41, 0, USER + (user_fsbase_int - user_code)
    rdfsbase rax
    mov rbx, 0x123456789abc
    CHECK_EQ "its base is there", rax, rbx
    USER_FAULTS "INT3 needs DPL 3", 13, 3 * 8 + 2, USER + (user_int3 - user_code)
    USER_FAULTS "SWAPGS", 13, 0, USER + (user_swapgs - user_code)
    USER_FAULTS "CLI", 13, 0, USER + (user_cli - user_code)
    USER_FAULTS "RDMSR", 13, 0, USER + (user_rdmsr - user_code)
    USER_FAULTS "INVLPG", 13, 0, USER + (user_invlpg - user_code)
    USER_FAULTS "MOV DR4 before anything else", 13, 0, USER + (user_dr4 - user_code)
    mov ax, KERNEL_DS
    mov ds, ax

    ; --- Model-specific registers
    mov rax, 0x100000000000000
    mov rdx, rax
    shr rdx, 32
    mov ecx, 0xc0000100
    FAULTS "FS.base must be canonical", 13, 0, -1, wrmsr
    mov ecx, 0xc0000082
    FAULTS "LSTAR must be canonical", 13, 0, -1, wrmsr
    xor edx, edx
    mov eax, 2
    mov ecx, 0x277
    FAULTS "reserved memory type in PAT", 13, 0, -1, wrmsr
    mov ecx, 0xc0000080
    mov eax, 1
    FAULTS "EFER.LME while paging", 13, 0, -1, wrmsr
    mov ecx, 0xfe
    FAULTS "read-only MSR", 13, 0, -1, wrmsr
    WRITE_MSR 0xc0000101, 0x1111
    WRITE_MSR 0xc0000102, 0x2222
    swapgs
    mov ecx, 0xc0000101
    rdmsr
    CHECK_EQ "SWAPGS", eax, 0x2222
    WRITE_MSR 0x10, 0
    rdtsc
    CHECK_EQ "the TSC can be written", edx, 0
    mov ecx, 0x3b
    rdmsr
    mov [seen_rax], edx
    CHECK_EQ "TSC_ADJUST followed", dword [seen_rax], -1
    WRITE_MSR 0xc0000103, 0x77
    rdtscp
    CHECK_EQ "RDTSCP", ecx, 0x77
    mov ecx, 0xc1
    rdmsr
    CHECK_EQ "performance counter", eax, 0
    mov eax, 7
    mov cr8, rax
    mov rbx, cr8
    CHECK_EQ "CR8", ebx, 7
    mov eax, 16
    FAULTS "reserved bits of CR8", 13, 0, -1, mov cr8, rax
    xor eax, eax
    mov cr8, rax

    ; --- Targets that are not canonical
    mov rax, 0x800000000000
    ; Processors differ in the saved rip: the branch (Intel) or its target (AMD, and here).
    mov qword [seen_vector], -1
    mov qword [resume], .jumped
    mov [resume_rsp], rsp
    jmp rax
.jumped:
    CHECK_EQ "JMP to a non-canonical address", qword [seen_vector], 13
    CHECK_EQ "its error code", qword [seen_error], 0
    LEFT_OUT "PUSH below a non-canonical RSP", .stack_done
    mov rbx, rsp
    mov rsp, 0x800000001000
    mov qword [seen_vector], -1
    mov qword [resume], .pushed
    mov [resume_rsp], rbx
    mov byte [IDT + 12 * 16 + 4], 1
    push rax
.pushed:
    mov byte [IDT + 12 * 16 + 4], 0
    CHECK_EQ "PUSH below a non-canonical RSP", qword [seen_vector], 12
.stack_done:

    ; --- Call gate
    cld
    mov rsi, gdt
    mov rdi, NEW_GDT
    mov ecx, gdt_end - gdt
    rep movsb
    mov rax, gate_code
    mov [NEW_GDT + CALL_GATE], ax
    mov word [NEW_GDT + CALL_GATE + 2], KERNEL_CS
    mov word [NEW_GDT + CALL_GATE + 4], 0x8c00
    shr rax, 16
    mov [NEW_GDT + CALL_GATE + 6], ax
    mov qword [NEW_GDT + CALL_GATE + 8], 0
    lgdt [new_gdt_pointer]
    call far dword [far_gate]
    CHECK_EQ "64-bit call gate", ebx, 0x6a7e

    ; --- Debug registers
    mov rax, .break_here
    mov dr0, rax
    mov eax, 0x402
    mov dr7, rax
    mov qword [seen_vector], -1
    mov qword [resume], .broke
    mov [resume_rsp], rsp
    xor ebx, ebx
.break_here:
    inc ebx
    jmp .after_break
.broke:
    CHECK_EQ "instruction breakpoint", qword [seen_vector], 1
    CHECK_EQ "before the instruction", ebx, 0
    mov qword [seen_vector], -1
    mov rcx, rsp
    push qword KERNEL_DS
    push rcx
    push qword 0x10002              ; RF
    push qword KERNEL_CS
    mov rcx, .break_here
    push rcx
    iretq
.after_break:
    CHECK_EQ "RF steps over it", qword [seen_vector], -1
    CHECK_EQ "and the instruction runs", ebx, 1
    mov rax, watched
    mov dr2, rax
    mov eax, 0x0b000000 | 0x420     ; G2, 8 bytes, reads and writes
    mov dr7, rax
    mov qword [resume], .watched
    mov eax, [watched + 4]
.after_watch:
    nop
.watched:
    CHECK_EQ "data breakpoint on a read", qword [seen_vector], 1
    mov rax, .after_watch
    CHECK_EQ "it traps", [seen_rip], rax
    mov rax, dr6
    and eax, 0xf
    CHECK_EQ "DR6.B2", eax, 4
    mov eax, 0x400
    mov dr7, rax

    ; --- Single step over SYSCALL: FMASK clears TF
    WRITE_MSR 0xc0000081, 0x000b000800000000
    WRITE_MSR 0xc0000082, system_call
    WRITE_MSR 0xc0000084, 0x300
    mov qword [syscalls], 0
    USER_FAULTS "single step over SYSCALL", 1, 0, USER + (user_step - user_code)
    CHECK_EQ "the system call ran unstepped", qword [syscalls], 1
    mov rax, dr6
    and eax, 0x4000
    CHECK_EQ "DR6.BS", eax, 0x4000
    mov ax, KERNEL_DS
    mov ds, ax

    ; --- NMI is blocked until IRET
    mov qword [seen_vector], -1
    mov qword [resume], .nmi
    mov [resume_rsp], rsp
    out PORT_NMI, al
    nop
.nmi:
    CHECK_EQ "NMI", qword [seen_vector], 2
    mov qword [seen_vector], -1
    mov qword [resume], .nmi_late
    out PORT_NMI, al
    nop
    nop
    CHECK_EQ "a second one waits", qword [seen_vector], -1
    IRET_HERE 2
    nop
    nop
.nmi_late:
    CHECK_EQ "until IRET", qword [seen_vector], 2
    IRET_HERE 2                     ; unblock for what follows

    ; --- HLT and interrupts
    mov qword [seen_vector], -1
    mov qword [resume], .woken
    mov [resume_rsp], rsp
    mov al, 0x77
    out PORT_INTERRUPT, al
    sti
    hlt
.after_hlt:
.woken:
    CHECK_EQ "interrupt ends HLT", qword [seen_vector], 0x77
    mov rax, .after_hlt
    CHECK_EQ "behind HLT", [seen_rip], rax

    ; --- Double fault on its own stack
    mov byte [IDT + 8 * 16 + 4], 1
    mov qword [seen_vector], -1
    mov qword [resume], .doubled
    mov [resume_rsp], rsp
    mov byte [IDT + 14 * 16 + 5], 0x0e  ; #PF's gate is not present
    mov al, [0x40000000]
.doubled:
    CHECK_EQ "double fault", qword [seen_vector], 8
    CHECK_EQ "its error code", qword [seen_error], 0
    mov byte [IDT + 14 * 16 + 5], 0x8e

    ; --- Hypercalls: both instructions, and the privilege rule
    mov eax, 5
    mov ebx, 7
    vmcall
    CHECK_EQ "VMCALL", rax, 12
    mov eax, 6
    vmmcall
    CHECK_EQ "VMMCALL", rax, 13
    USER_FAULTS "VMCALL at CPL 3", 6, 0, USER + (user_vmcall - user_code)
    CHECK_EQ "is refused with -KVM_EPERM", qword [seen_rax], -1
    EXIT 0

gate_code:
    mov ebx, 0x6a7e
    retfq

system_call:
    inc qword [syscalls]
    nop
    o64 sysret

    align 16
pcid5: dq 5, 0
pcid5_window: dq 5, WINDOW
pcid_bad: dq 0x1005, 0
far_gate:
    dd 0
    dw CALL_GATE
new_gdt_pointer:
    dw 0x57
    dq NEW_GDT
    align 8
watched: dq 0
syscalls: dq 0

user_code:
user_sgdt: sgdt [USER + 0x1000]
user_smsw: smsw eax
user_str:
    str eax
    ud2
user_rdtsc:
    rdtsc
    ud2
user_wrfsbase:
    wrfsbase rax
    ud2
user_fsbase_int:
    mov rax, 0x123456789abc
    wrfsbase rax
    int 0x41
user_int3: int3
user_swapgs: swapgs
user_cli: cli
user_rdmsr: rdmsr
user_invlpg: invlpg [0]
user_dr4: mov rax, dr4
user_step:
    pushfq
    or dword [rsp], 0x100
    popfq
    syscall
    ud2
user_vmcall:
    mov eax, 5
    vmcall
    ud2
user_end:

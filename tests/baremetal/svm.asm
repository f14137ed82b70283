; Secure virtual machine: VMRUN and #VMEXIT, consistency checks, intercepts. (AMD APM volume 2, 15.5 to 15.13.)
%include "svm.inc"

; One field of the VMCB is wrong: VMRUN refuses it.
%macro REFUSED 3                        ; name, offset, value
    mov rax, V(%2)
    push rax
    mov rax, %3
    mov V(%2), rax
    RUN guest_call
    CHECK_EQ {"refused: ", %1}, V(EXIT_CODE), -1
    pop rax
    mov V(%2), rax
%endmacro

; What an intercept bit catches: the exit's code is the number of the bit.
%macro CATCHES 3+                       ; name, exit code, instruction
    bts V4(%2 / 32 * 4), %2 % 32
    jmp %%over
%%at:
    %3
%%next:
    vmmcall
%%over:
    RUN %%at
    CHECK_EQ {%1, ": exit code"}, V(EXIT_CODE), %2
    mov rax, %%at
    CHECK_EQ {%1, ": rip"}, V(RIP), rax
    mov rax, %%next
    CHECK_EQ {%1, ": next rip"}, V(NEXT_RIP), rax
    btr V4(%2 / 32 * 4), %2 % 32
%endmacro

main64:
    mov eax, 0x80000001
    cpuid
    bt ecx, 2
    NEEDS_CC "SVM", c
    mov eax, 0x8000000a
    cpuid
    CHECK_EQ "revision", al, 1
    and edx, 9
    CHECK_EQ "nested paging and next rip", edx, 9
    mov rax, VMCB
    FAULTS "VMRUN without EFER.SVME", 6, 0, -1, vmrun
    FAULTS "STGI without EFER.SVME", 6, 0, -1, stgi
    WRITE_MSR 0xc0010114, 0x10
    mov ecx, 0xc0000080
    rdmsr
    bts eax, 12
    FAULTS "EFER.SVME with VM_CR.SVMDIS", 13, 0, -1, wrmsr
    WRITE_MSR 0xc0010114, 0
    mov ecx, 0xc0000080
    rdmsr
    bts eax, 12
    wrmsr
    mov ecx, 0xc0010114
    mov eax, 0x10
    xor edx, edx
    FAULTS "VM_CR.SVMDIS with EFER.SVME", 13, 0, -1, wrmsr
    mov ecx, 0xc0010117
    mov eax, 1
    FAULTS "VM_HSAVE_PA is a page's address", 13, 0, -1, wrmsr
    WRITE_MSR 0xc0010117, HSAVE
    mov eax, VMCB + 8
    FAULTS "VMRUN of a misaligned VMCB", 13, 0, -1, vmrun
    mov rax, 1 << 52
    FAULTS "VMRUN beyond the physical addresses", 13, 0, -1, vmrun
    FAULTS "SKINIT", 6, 0, -1, skinit
    mov eax, PAGES
    mov ecx, 5
    invlpga rax, ecx
    call make_vmcb

; --- Entry and exit
    EXITS "VMMCALL", guest_call, 0x81, guest_call
    mov rax, guest_call + 3
    CHECK_EQ "VMMCALL: next rip", V(NEXT_RIP), rax
    mov rbx, 0x1111
    RUN guest_registers
    CHECK_EQ "registers are the guest's", rbx, 0x1112
    CHECK_EQ "RAX is the host's", rax, VMCB
    CHECK_EQ "and the guest's is in the VMCB", V(0x5f8), 0x2222
    CHECK_EQ "RSP", V(0x5d8), GUEST_STACK - 8
    mov rax, [GUEST_STACK - 8]
    CHECK_EQ "the guest's stack", rax, 0x3333
    pushfq
    pop rax
    and eax, 1 << 9
    CHECK_EQ "the host's flags", eax, 0
    mov rax, V(0x570)
    and eax, 1
    CHECK_EQ "the guest's CF", eax, 1
    RUN guest_cpl3
    CHECK_EQ "the guest's CPL 0", byte [VMCB + 0x4cb], 0

; --- Consistency checks
    mov eax, V4(0x58)
    mov V4(0x58), 0
    RUN guest_call
    CHECK_EQ "refused: ASID 0", V(EXIT_CODE), -1
    mov V4(0x58), 1
    btr V4(0x10), 0
    RUN guest_call
    CHECK_EQ "refused: VMRUN not intercepted", V(EXIT_CODE), -1
    bts V4(0x10), 0
    REFUSED "EFER.SVME", 0x4d0, 0xd01
    REFUSED "EFER reserved", 0x4d0, 0x11d01 | 1 << 20
    REFUSED "CR0.NW without CD", 0x558, 0xa0010033
    REFUSED "CR0 high", 0x558, 1 << 32 | 0x80010033
    REFUSED "CR0.PG without PE", 0x558, 0x80010032
    REFUSED "CR3", 0x550, 1 << 52 | PML4
    REFUSED "CR4 reserved", 0x548, 1 << 31 | 0x620
    REFUSED "CR4.PAE clear in long mode", 0x548, 0x600
    REFUSED "DR6 high", 0x568, 1 << 32
    REFUSED "DR7 high", 0x560, 1 << 32
    REFUSED "IOPM beyond memory", 0x40, 1 << 52
    REFUSED "MSRPM beyond memory", 0x48, 1 << 52
    REFUSED "injection of type 1", EVENT_INJECTION, 0x80000130
    REFUSED "injection of exception 2", EVENT_INJECTION, 0x80000302
    REFUSED "CS.L and CS.D", 0x410, KERNEL_CS | 0xe9b << 16

; --- Intercepts
    CATCHES "CPUID", 0x72, cpuid
    CATCHES "RDTSC", 0x6e, rdtsc
    xor ecx, ecx
    CATCHES "RDPMC", 0x6f, rdpmc
    CATCHES "RDTSCP", 0x87, rdtscp
    CATCHES "HLT", 0x78, hlt
    CATCHES "PAUSE", 0x77, pause
    CATCHES "PUSHF", 0x70, pushfq
    CATCHES "POPF", 0x71, popfq
    CATCHES "IRET", 0x74, iretq
    CATCHES "INT n", 0x75, int 0x30
    CATCHES "ICEBP", 0x88, db 0xf1
    CATCHES "breakpoint", 0x43, int3
    CATCHES "INVD", 0x76, invd
    CATCHES "WBINVD", 0x89, wbinvd
    CATCHES "INVLPG", 0x79, invlpg [rax]
    CATCHES "INVLPGA", 0x7a, invlpga rax, ecx
    CATCHES "SIDT", 0x66, sidt [rsp]
    CATCHES "SGDT", 0x67, sgdt [rsp]
    CATCHES "SLDT", 0x68, sldt ax
    CATCHES "STR", 0x69, str ax
    CATCHES "LIDT", 0x6a, lidt [rsp]
    CATCHES "LGDT", 0x6b, lgdt [rsp]
    CATCHES "LLDT", 0x6c, lldt ax
    CATCHES "LTR", 0x6d, ltr ax
    CATCHES "SMSW", 0x00, smsw eax
    CATCHES "CLTS", 0x10, clts
    CATCHES "LMSW", 0x10, lmsw ax
    mov rax, cr0
    mov V(RAX_FIELD), rax
    CATCHES "MOV CR0", 0x10, mov cr0, rax
    CATCHES "MOV from CR0", 0x00, mov rax, cr0
    CATCHES "MOV CR3", 0x13, mov cr3, rax
    CATCHES "MOV from CR4", 0x04, mov rax, cr4
    mov V(RAX_FIELD), 5
    CATCHES "MOV CR8", 0x18, mov cr8, rax
    CATCHES "MOV DR7", 0x37, mov dr7, rax
    CATCHES "MOV from DR2", 0x22, mov rax, dr2
    CATCHES "VMLOAD", 0x82, vmload
    CATCHES "VMSAVE", 0x83, vmsave
    CATCHES "STGI", 0x84, stgi
    CATCHES "CLGI", 0x85, clgi
    CATCHES "SKINIT", 0x86, skinit
    CATCHES "VMRUN", 0x80, vmrun
    bts V4(0x10), 0                     ; CATCHES has cleared VMRUN's

    bts V4(0x0c), 5                     ; CR0 but for TS and MP
    EXITS "CR0.TS is not of interest", guest_ts, 0x81, guest_ts.call
    EXITS "CR0.AM is", guest_am, 0x65, guest_am.write
    btr V4(0x0c), 5

    bts V4(0x0c), 28
    bts dword [MSRPM + 0x800 + 0x82 / 4], (0x82 % 4) * 2     ; LSTAR: reads
    EXITS "MSR: a read", guest_msr, 0x7c, guest_msr.read
    CHECK_EQ "MSR: read", V(INFO1), 0
    btr dword [MSRPM + 0x800 + 0x82 / 4], (0x82 % 4) * 2
    bts dword [MSRPM + 0x800 + 0x82 / 4], (0x82 % 4) * 2 + 1 ; writes
    EXITS "MSR: a write", guest_msr, 0x7c, guest_msr.write
    CHECK_EQ "MSR: write", V(INFO1), 1
    btr dword [MSRPM + 0x800 + 0x82 / 4], (0x82 % 4) * 2 + 1
    EXITS "MSR: neither", guest_msr, 0x81, guest_msr.call
    EXITS "MSR outside the map", guest_strange_msr, 0x7c, guest_strange_msr.read
    btr V4(0x0c), 28

    bts V4(0x0c), 27
    bts dword [IOPM + 0x1234 / 8], 0x1234 % 8
    EXITS "port", guest_port, 0x7b, guest_port.in
    CHECK_EQ "port: information", V(INFO1), 0x1234 << 16 | 1 << 9 | 1 << 5 | 1
    mov rax, guest_port.next
    CHECK_EQ "port: next rip", V(INFO2), rax
    EXITS "port: string", guest_outs, 0x7b, guest_outs.out
    CHECK_EQ "port: string information", V(INFO1), 0x1234 << 16 | 3 << 10 | 1 << 9 | 1 << 4 | 1 << 3 | 1 << 2
    EXITS "port: the last of four", guest_port_4, 0x7b, guest_port_4.in
    btr dword [IOPM + 0x1234 / 8], 0x1234 % 8
    EXITS "port: not of interest", guest_port, 0x81, guest_port.call
    btr V4(0x0c), 27

    mov V4(0x08), 1 << 6 | 1 << 13 | 1 << 14
    EXITS "#UD", guest_ud, 0x46, guest_ud
    mov V4(0x10), 1
    EXITS "VMMCALL without its intercept is #UD", guest_call, 0x46, guest_call
    mov V4(0x10), 3
    EXITS "#GP", guest_gp, 0x4d, guest_gp.load
    CHECK_EQ "#GP: error code", V(INFO1), 0x50
    mov rax, 0x7777
    mov cr2, rax
    mov V(0x640), rax
    EXITS "#PF", guest_pf, 0x4e, guest_pf.load
    CHECK_EQ "#PF: error code", V(INFO1), 2
    mov rax, 1 << 30
    CHECK_EQ "#PF: address", V(INFO2), rax
    CHECK_EQ "#PF: CR2 is as it was", V(0x640), 0x7777

    stgi
    EXIT 0

; --- Guests
guest_call:
    vmmcall
guest_registers:
    inc ebx
    mov eax, 0x3333
    push rax
    mov eax, 0x2222
    stc
    vmmcall
guest_cpl3:
    vmmcall
guest_ts:
    mov rax, cr0
    bts rax, 3
    mov cr0, rax
.call:
    vmmcall
guest_am:
    mov rax, cr0
    btc rax, 18
.write:
    mov cr0, rax
    vmmcall
guest_msr:
    mov ecx, 0xc0000082
.read:
    rdmsr
.write:
    wrmsr
.call:
    vmmcall
guest_strange_msr:
    mov ecx, 0x4000
.read:
    rdmsr
    vmmcall
guest_port:
    mov dx, 0x1234
.in:
    in ax, dx
.next:
.call:
    vmmcall
guest_port_4:
    mov dx, 0x1231
.in:
    in eax, dx
    vmmcall
guest_outs:
    mov dx, 0x1234
    mov ecx, 2
    mov rsi, USER
.out:
    rep outsb
    vmmcall
guest_ud:
    ud2
guest_gp:
    mov ax, 0x50
.load:
    mov ds, ax
guest_pf:
    mov eax, 1 << 30
.load:
    mov [rax], al

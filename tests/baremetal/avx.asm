; AVX: what CR4.OSXSAVE, XCR0 and CR0 refuse, the XSAVE family, halves of registers, masked and gathered memory, #XM.
%include "long.inc"

%define AREA (PAGES + 0x8000)
%define DATA (PAGES + 0x9000)
%define HOLE (PAGES + 0xb000)           ; not present

; XSAVES, XRSTORS and so on of AREA with this instruction mask.
%macro STATE 2
    mov eax, %2
    xor edx, edx
    %1 [AREA]
%endmacro
%macro SET_XCR0 1
    xor ecx, ecx
    mov eax, %1
    xor edx, edx
    xsetbv
%endmacro
; The upper half of a register to `upper`.
%macro UPPER 1
    vextractf128 [upper], %1, 1
%endmacro

main64:
    mov eax, 1
    xor ecx, ecx
    cpuid
    bt ecx, 28
    jc .has_avx
    PRINT "ok skipped, no AVX", 10
    EXIT 0
.has_avx:
    and ecx, 1 << 27
    CHECK_EQ "CPUID.OSXSAVE follows CR4", ecx, 0
    mov rax, cr4
    btr rax, 18
    mov cr4, rax
    FAULTS "VEX without CR4.OSXSAVE", 6, 0, -1, vzeroupper
    FAULTS "XGETBV without CR4.OSXSAVE", 6, 0, -1, xgetbv
    FAULTS "XSAVE without CR4.OSXSAVE", 6, 0, -1, xsave [AREA]
    mov edx, 0x0f
    mov ecx, 0x3c
    andn eax, edx, ecx
    CHECK_EQ "ANDN needs no state", eax, 0x30
    mov rax, cr4
    bts rax, 18
    mov cr4, rax
    mov eax, 1
    cpuid
    and ecx, 1 << 27
    CHECK_EQ "and CPUID.OSXSAVE is set", ecx, 1 << 27
    xor ecx, ecx
    xgetbv
    CHECK_EQ "XCR0 after reset", eax, 1
    FAULTS "VEX without XCR0", 6, 0, -1, vxorps xmm0, xmm0, xmm0
    ; XCR0's rules.
    xor ecx, ecx
    xor edx, edx
    mov eax, 5
    FAULTS "AVX without SSE in XCR0", 13, 0, -1, xsetbv
    mov eax, 6
    FAULTS "no x87 in XCR0", 13, 0, -1, xsetbv
    mov eax, 7 | 1 << 8
    FAULTS "unknown component in XCR0", 13, 0, -1, xsetbv
    mov eax, 7
    mov ecx, 1
    FAULTS "XCR1", 13, 0, -1, xsetbv
    LEFT_OUT "XCR0 with other values", avx_end
    SET_XCR0 3
    FAULTS "VEX with SSE alone", 6, 0, -1, vzeroupper
    mov rax, cr0
    bts rax, 3
    mov cr0, rax
    FAULTS "#UD before #NM", 6, 0, -1, vzeroupper
    clts
    SET_XCR0 7
    mov eax, 0xd
    xor ecx, ecx
    cpuid
    CHECK_EQ "area of what XCR0 has", ebx, 832
    and eax, ~0x200                 ; protection keys
    CHECK_EQ "components", eax, 7
    mov eax, 0xd
    mov ecx, 2
    cpuid
    CHECK_EQ "size of AVX state", eax, 256
    CHECK_EQ "its offset", ebx, 576

    ; CR0.TS and EM, CR4.OSFXSR.
    mov rax, cr0
    bts rax, 3
    mov cr0, rax
    FAULTS "#NM by CR0.TS", 7, 0, -1, vaddps ymm0, ymm1, ymm2
    FAULTS "XSAVE too", 7, 0, -1, xsave [AREA]
    mov edx, 1
    andn eax, edx, edx                  ; but not BMI
    clts
    mov rax, cr0
    bts rax, 2
    mov cr0, rax
    FAULTS "CR0.EM refuses SSE", 6, 0, -1, xorps xmm0, xmm0
    vxorps ymm0, ymm0, ymm0             ; and not AVX
    mov rax, cr0
    btr rax, 2
    mov cr0, rax
    mov rax, cr4
    btr rax, 9
    mov cr4, rax
    FAULTS "CR4.OSFXSR refuses SSE", 6, 0, -1, xorps xmm0, xmm0
    vxorps ymm0, ymm0, ymm0
    mov rax, cr4
    bts rax, 9
    mov cr4, rax
    FAULTS "LOCK before VEX", 6, 0, -1, {db 0xf0, 0xc5, 0xf8, 0x77}
    FAULTS "66 before VEX", 6, 0, -1, {db 0x66, 0xc5, 0xf8, 0x77}
    FAULTS "REX before VEX", 6, 0, -1, {db 0x48, 0xc5, 0xf8, 0x77}

    ; Legacy instructions keep the upper half, VEX encodings clear it.
    vmovups ymm1, [ones]
    vmovups ymm9, [ones]
    xorps xmm1, xmm1
    UPPER ymm1
    CHECK_EQ "legacy SSE keeps bits 255:128", qword [upper], -1
    vxorps xmm1, xmm1, xmm1
    UPPER ymm1
    CHECK_EQ "VEX.128 clears them", qword [upper], 0
    vmovups ymm1, [ones]
    vzeroupper
    UPPER ymm9
    CHECK_EQ "VZEROUPPER", qword [upper], 0
    vmovq rax, xmm9
    CHECK_EQ "keeps the lower half", rax, -1
    vmovups ymm1, [ones]
    vmovups ymm9, [ones]
    mov eax, KERNEL_DS
    mov ds, eax
    push qword COMPAT_CS
    mov rax, compatibility
    push rax
    retfq
    bits 32
compatibility:
    vzeroall
    jmp KERNEL_CS:back_in_64
    bits 64
back_in_64:
    UPPER ymm1
    CHECK_EQ "VZEROALL in 32-bit code", qword [upper], 0
    UPPER ymm9
    CHECK_EQ "leaves registers 8 to 15 alone", qword [upper], -1
    vzeroall

    ; Alignment.
    mov rbx, DATA + 1
    FAULTS "VMOVAPS must be aligned", 13, 0, -1, vmovaps ymm0, [rbx]
    FAULTS "VMOVNTDQ too", 13, 0, -1, vmovntdq [rbx], xmm0
    vaddps ymm0, ymm1, [rbx]            ; nothing else
    vmovups [rbx], ymm0
    mov rbx, DATA + 16
    vmovaps xmm0, [rbx]
    FAULTS "32 bytes on 16", 13, 0, -1, vmovaps ymm0, [rbx]

    ; XSAVE and XRSTOR. The initial state first: XSTATE_BV has what is in use.
    vzeroall
    ldmxcsr [mxcsr_default]
    fninit
    mov rdi, AREA
    mov ecx, 1024 / 8
    xor eax, eax
    rep stosq
    STATE xsave, 7
    CHECK_EQ "XSTATE_BV of the initial state", qword [AREA + 512], 0
    CHECK_EQ "MXCSR is written all the same", dword [AREA + 24], 0x1f80
    vmovups ymm5, [ones]
    STATE xsave, 7
    CHECK_EQ "XSTATE_BV with YMM state", qword [AREA + 512], 6
    CHECK_EQ "upper half of YMM5", qword [AREA + 576 + 5 * 16], -1
    vzeroupper
    STATE xsaveopt, 7
    CHECK_EQ "XSAVEOPT clears the bit", qword [AREA + 512], 2
    CHECK_EQ "and leaves the memory", qword [AREA + 576 + 5 * 16], -1
    mov qword [AREA + 512], 6
    STATE xrstor, 4
    UPPER ymm5
    CHECK_EQ "XRSTOR of AVX alone", qword [upper], -1
    mov qword [AREA + 512], 0
    STATE xrstor, 4
    UPPER ymm5
    CHECK_EQ "XRSTOR initialises", qword [upper], 0
    vmovq rax, xmm5
    CHECK_EQ "what is asked for", rax, -1
    mov eax, 7
    xor edx, edx
    mov rbx, AREA + 32
    FAULTS "the area is aligned to 64 bytes", 13, 0, -1, xsave [rbx]
    mov qword [AREA + 512], 8
    FAULTS "XSTATE_BV beyond XCR0", 13, 0, -1, xrstor [AREA]
    mov qword [AREA + 512], 2
    mov qword [AREA + 528], 1
    FAULTS "reserved bytes of the header", 13, 0, -1, xrstor [AREA]
    mov qword [AREA + 528], 0
    mov ecx, 1
    xgetbv
    CHECK_EQ "XGETBV(1) has what is in use", eax, 2
    ; Compacted.
    vmovups ymm5, [ones]
    STATE xsavec, 4
    CHECK_EQ "XSAVEC: XSTATE_BV", qword [AREA + 512], 4
    mov rax, [AREA + 520]
    btr rax, 63
    CHECK_EQ "XSAVEC: XCOMP_BV", rax, 4
    vzeroall
    STATE xrstor, 7
    UPPER ymm5
    CHECK_EQ "XRSTOR of the compacted format", qword [upper], -1
    mov eax, 0xd
    mov ecx, 1
    cpuid
    bt eax, 3
    mov byte [has_xsaves], 0
    jnc .no_xsaves
    inc byte [has_xsaves]
    vmovups ymm5, [ones]
    vmovups ymm6, [ones]
    STATE xsaves, 7
    vzeroall
    STATE xrstors, 7
    UPPER ymm6
    CHECK_EQ "XSAVES, XRSTORS", qword [upper], -1
    mov qword [AREA + 520], 0
    FAULTS "XRSTORS needs the compacted format", 13, 0, -1, xrstors [AREA]
.no_xsaves:
    cld
    mov rsi, user_code
    mov rdi, USER
    mov ecx, user_end - user_code
    rep movsb
    cmp byte [has_xsaves], 0
    je .no_user_xsaves
    USER_FAULTS "XSAVES at CPL 3", 13, 0, USER + (user_xsaves - user_code)
.no_user_xsaves:
    USER_FAULTS "XSETBV at CPL 3", 13, 0, USER + (user_xsetbv - user_code)
    mov byte [IDT + 0x80 * 16 + 5], 0xee
    USER_FAULTS "AVX at CPL 3", 0x80, 0, USER + (user_avx - user_code)

    ; Masked accesses next to a hole.
    and qword [PT + 0xb * 8], ~1
    invlpg [HOLE]
    vmovups ymm1, [low_half]
    vmovups ymm2, [ones]
    mov rbx, HOLE - 16
    vmaskmovps [rbx], ymm1, ymm2
    CHECK_EQ "a masked store leaves the hole alone", qword [HOLE - 8], -1
    vmaskmovpd ymm3, ymm1, [rbx]
    vmovq rax, xmm3
    CHECK_EQ "so does a masked load", rax, -1
    vmovups ymm1, [ones]
    FAULTS "unless an element asks for it", 14, 0, -1, vpmaskmovd ymm3, ymm1, [rbx]
    mov qword [HOLE - 16], 0
    FAULTS "and so does a store", 14, 2, -1, vpmaskmovq [rbx], ymm1, ymm2
    CHECK_EQ "of which nothing is written", qword [HOLE - 16], 0

    ; A gather that faults half way: what is done stays done.
    mov dword [HOLE - 12], 0x1111
    mov dword [HOLE - 8], 0x2222
    mov dword [HOLE - 4], 0x3333
    mov rbx, HOLE - 12
    vmovdqu xmm3, [indexes]
    vpcmpeqd xmm4, xmm4, xmm4
    vpxor xmm2, xmm2, xmm2
    FAULTS "a gather into the hole", 14, 0, HOLE, vpgatherdd xmm2, [rbx + xmm3 * 4], xmm4
    vpextrd eax, xmm2, 2
    CHECK_EQ "has its first elements", eax, 0x3333
    vmovq rax, xmm4
    CHECK_EQ "their mask is clear", rax, 0
    vpextrd eax, xmm4, 3
    CHECK_EQ "the fault's is not", eax, -1
    or qword [PT + 0xb * 8], 1
    invlpg [HOLE]
    mov dword [HOLE], 0x4444
    vpgatherdd xmm2, [rbx + xmm3 * 4], xmm4
    vpextrd eax, xmm2, 3
    CHECK_EQ "and it goes on", eax, 0x4444
    vpextrd eax, xmm4, 3
    CHECK_EQ "to its end", eax, 0
    FAULTS "a gather with one register twice", 6, 0, -1, {db 0xc4, 0xe2, 0x69, 0x90, 0x14, 0x9b}

    ; Unmasked exceptions, with and without CR4.OSXMMEXCPT.
    vmovups ymm1, [ones_fp]
    vxorps ymm2, ymm2, ymm2
    vmovups ymm3, [ones]
    mov rax, cr4
    btr rax, 10
    mov cr4, rax
    ldmxcsr [mxcsr_divide]
    FAULTS "#UD without CR4.OSXMMEXCPT", 6, 0, -1, vdivps ymm3, ymm1, ymm2
    mov rax, cr4
    bts rax, 10
    mov cr4, rax
    ldmxcsr [mxcsr_divide]
    FAULTS "#XM in the upper half", 19, 0, -1, vdivps ymm3, ymm1, ymm2
    stmxcsr [upper]
    CHECK_EQ "its flag, and that of 0 / 0 beside it", dword [upper], 0x1d85
    vmovq rax, xmm3
    CHECK_EQ "the destination is as it was", rax, -1
    ldmxcsr [mxcsr_default]
    vdivps ymm3, ymm1, ymm2             ; the rest of the lanes are 0 / 0
    vfmadd231ps ymm2, ymm1, ymm1
    vpextrd eax, xmm2, 0
    CHECK_EQ "0 * 0 + 0", eax, 0
    UPPER ymm2
    CHECK_EQ "1 * 1 + 0", dword [upper], 0x3f800000
avx_end:
    EXIT 0

    align 32
ones: times 4 dq -1
low_half: dq -1, -1, 0, 0
ones_fp: dq 0, 0, 0x3f8000003f800000, 0x3f8000003f800000
indexes: dd 0, 1, 2, 3
upper: dq 0, 0
has_xsaves: db 0
    align 16
mxcsr_default: dd 0x1f80
mxcsr_divide: dd 0x1d80

user_code:
user_xsaves:
    mov eax, 7
    xsaves [USER + 0x1000]
user_xsetbv:
    xsetbv
user_avx:
    vpcmpeqd ymm1, ymm1, ymm1
    int 0x80
user_end:

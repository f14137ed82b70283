; Self-modifying code: what was written is what runs, at the very next instruction (Intel SDM vol. 3, 8.1.3 with a jump; processors
; since the Pentium need none), whatever tier had translated the old bytes.
%include "long.inc"

%define AREA (PAGES + 0x10000)    ; scratch code pages, entered through 4 KiB mappings

main64:
    ; 1. The next instruction in the same basic block.
    mov eax, 1
    mov byte [patched + 1], 42
patched:
    mov eax, 7
    CHECK_EQ "store into the next instruction", eax, 42

    ; 2. A hot loop that changes its own immediate every time round.
    xor ebx, ebx
    mov ecx, 2000
    mov dword [loop_immediate + 2], 0
again:
loop_immediate:
    add ebx, 0x11223344             ; 81 c3 imm32
    inc dword [loop_immediate + 2]
    dec ecx
    jnz again
    CHECK_EQ "a loop that rewrites itself", ebx, 2000 * 1999 / 2

    ; 3. A function on another page, rewritten between hot calls.
    mov byte [AREA], 0xb8           ; mov eax, imm32; ret
    mov byte [AREA + 5], 0xc3
    xor ebx, ebx
    mov esi, 100
.rewrite:
    mov [AREA + 1], esi
    mov edi, 50
.call:
    mov eax, AREA
    call rax
    add ebx, eax
    dec edi
    jnz .call
    dec esi
    jnz .rewrite
    CHECK_EQ "a function rewritten between calls", ebx, 50 * 100 * 101 / 2

    ; 4. Data beside code on one page: many writes that touch no code, the code stays right.
    mov dword [AREA + 1], 5
    mov ecx, 5000
    xor ebx, ebx
.beside:
    mov [AREA + 0x800], ecx
    mov eax, AREA
    call rax
    add ebx, eax
    dec ecx
    jnz .beside
    CHECK_EQ "data beside code", ebx, 25000

    ; 5. An instruction that crosses pages, changed in its second page only.
    mov byte [AREA + 0xffd], 0xb8
    mov dword [AREA + 0xffe], 0x01020304
    mov byte [AREA + 0x1002], 0xc3
    mov ebx, AREA + 0xffd
    mov ecx, 20
.crossing:
    call rbx
    dec ecx
    jnz .crossing
    CHECK_EQ "an instruction across two pages", eax, 0x01020304
    mov byte [AREA + 0x1001], 0x7f
    call rbx
    CHECK_EQ "its second page rewritten", eax, 0x7f020304

    ; 6. The second page mapped elsewhere.
    mov byte [AREA + 0x2000], 0x04
    mov byte [AREA + 0x2001], 0x55
    mov byte [AREA + 0x2002], 0xc3
    mov word [AREA + 0x2000], 0x5566
    mov rax, [PT + 0x11 * 8]
    mov rdx, [PT + 0x12 * 8]
    mov [PT + 0x11 * 8], rdx
    invlpg [AREA + 0x1000]
    push rax
    call rbx
    CHECK_EQ "its second page mapped elsewhere", eax, 0x55660304
    pop rax
    mov [PT + 0x11 * 8], rax
    invlpg [AREA + 0x1000]
    call rbx
    CHECK_EQ "and back", eax, 0x7f020304

    ; 7. String stores over code.
    mov rdi, AREA
    mov ecx, 64
    mov al, 0x90
    cld
    rep stosb
    mov byte [AREA + 64], 0xc3
    mov eax, 99
    mov ebx, AREA
    call rbx
    CHECK_EQ "code overwritten by rep stosb", eax, 99

    ; 8. A write through another mapping of the same physical page.
    mov rax, [PT + 0x10 * 8]
    mov [PT + 0x20 * 8], rax
    invlpg [PAGES + 0x20000]
    mov byte [AREA], 0xb8
    mov dword [AREA + 1], 1
    mov byte [AREA + 5], 0xc3
    mov ecx, 100
.alias:
    call rbx
    dec ecx
    jnz .alias
    mov byte [PAGES + 0x20001], 77
    call rbx
    CHECK_EQ "code changed through an alias", eax, 77
    EXIT 0

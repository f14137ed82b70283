; Two processors: atomic operations, code that each rewrites beside the other's, code that one rewrites while the other runs it
; (Intel SDM vol. 3, 8.1.3), and a page that one moves and the other drops from its TLB (4.10.5).
%include "long.inc"

%define AREA (PAGES + 0x20000)       ; code that both rewrite
%define SHARED (PAGES + 0x21000)     ; code that one rewrites and the other runs
%define MOVED (PAGES + 0x22000)      ; mapped to FIRST or SECOND
%define FIRST (PAGES + 0x23000)
%define SECOND (PAGES + 0x24000)
%define DATA (PAGES + 0x25000)       ; variables, away from code
%define ROUNDS 20000
%define PAIRS 500
%define STARTUP 0x7000               ; where the second processor begins

main64:
    mov dword [rewrites], 1
    LEFT_OUT "rewritten code", .without
    jmp .start
.without:
    mov dword [rewrites], 0
.start:
    mov rsi, startup
    mov rdi, STARTUP
    mov ecx, startup_end - startup
    rep movsb
    mov rdi, SHARED                  ; mov eax, imm32 (aligned); ret
    mov byte [rdi + 3], 0xb8
    mov dword [rdi + 4], 0
    mov byte [rdi + 8], 0xc3
    mov al, STARTUP >> 12
    out PORT_START, al
.wait:
    pause
    cmp dword [started], 1
    jne .wait
    PRINT "ok the second processor runs", 10

    ; 1. Atomic operations of both on one cache line.
    call count
    mov dword [phase], 1
    mov eax, 1
    call await
    CHECK_EQ "locked increments of two processors", qword [counter], 2 * ROUNDS
    CHECK_EQ "exchange-and-adds of two processors", qword [added], 6 * ROUNDS
    CHECK_EQ "compare-and-exchanges of two processors", qword [exchanged], 2 * ROUNDS

    cmp dword [rewrites], 0
    je .data
    CHECK_EQ "locked increments beside code", qword [beside], 2 * ROUNDS
    CHECK_EQ "compare-and-exchanges of 16 bytes of code", qword [pair], 2 * PAIRS

    ; 2. Each rewrites a function of its own, both on one page.
    mov rdi, AREA + 0x100
    mov ebx, 1
    call rewrite
    mov dword [phase], 2
    mov eax, 2
    call await
    CHECK_EQ "functions rewritten side by side", dword [errors], 0

    ; 3. One rewrites what the other runs.
    mov ecx, 2000
.next:
    inc dword [SHARED + 4]
    mov edx, 20
.delay:
    pause
    dec edx
    jnz .delay
    dec ecx
    jnz .next
    mov dword [phase], 3
    mov eax, 3
    call await
    CHECK_EQ "a function rewritten while the other processor runs it", dword [errors], 0
    CHECK_EQ "what it is in the end", dword [last], 2000

.data:
    ; 4. One moves a page, the other invalidates it when told and reads it.
    mov dword [FIRST], 1
    mov dword [SECOND], 2
    mov ecx, 500
.move:
    mov eax, FIRST | 3
    mov ebx, 1
    test ecx, 1
    jz .map
    mov eax, SECOND | 3
    mov ebx, 2
.map:
    mov [PT + (MOVED - PAGES) / 4096 * 8], eax
    mov [expected], ebx
    inc dword [moves]
.told:
    pause
    mov eax, [moves]
    cmp [dropped], eax
    jne .told
    dec ecx
    jnz .move
    CHECK_EQ "a page that moves", dword [errors], 0
    EXIT 0

; Waits until the other processor has finished phase eax.
await:
    pause
    cmp [finished], eax
    jne await
    ret

count:
    mov ecx, ROUNDS
.again:
    lock inc qword [counter]
    cmp dword [rewrites], 0
    je .data
    lock inc qword [beside]
.data:
    mov eax, 3
    lock xadd [added], rax
    mov rax, [exchanged]
.retry:
    lea rdx, [rax + 1]
    lock cmpxchg [exchanged], rdx
    jnz .retry
    dec ecx
    jnz .again
    cmp dword [rewrites], 0
    je .counted
    mov r8d, PAIRS
.pair:
    call number                      ; so that the bytes are translated code when they are written
    mov rdx, [pair + 8]
    mov rcx, rdx
    lea rbx, [rax + 1]
    lock cmpxchg16b [pair]
    jnz .pair
    dec r8d
    jnz .pair
.counted:
    ret

    align 16
    times 14 nop
number:                              ; returns what its operand counts
    db 0x48, 0xb8                    ; mov rax, imm64
pair:
    dq 0
    ret
    times 7 nop
beside: dq 0

; A function at rdi that returns ebx + n, made and called for n = 0, 1, 2 ...
rewrite:
    mov ecx, 3000
.again:
    mov byte [rdi], 0xb8
    mov [rdi + 1], ebx
    mov byte [rdi + 5], 0xc3
    call rdi
    cmp eax, ebx
    je .right
    lock inc dword [errors]
.right:
    inc ebx
    dec ecx
    jnz .again
    ret

    bits 16
startup:
    cli
    xor ax, ax
    mov ds, ax
    lgdt [gdt_pointer]
    mov eax, cr0
    or eax, 1
    mov cr0, eax
    jmp dword 0x40:other_protected
startup_end:

    bits 32
other_protected:
    mov ax, KERNEL_DS
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov eax, 1 << 5 | 1 << 9 | 1 << 10
    mov cr4, eax
    mov eax, PML4
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 1 << 8 | 1 << 0 | 1 << 11
    wrmsr
    mov eax, cr0
    and eax, ~(1 << 2)
    or eax, 1 << 31 | 1 << 16 | 1 << 5 | 1 << 1
    mov cr0, eax
    jmp KERNEL_CS:other

    bits 64
other:
    mov rsp, 0x60000
    lidt [idt_pointer]
    mov dword [started], 1
    call count
    mov dword [finished], 1
    cmp dword [rewrites], 0
    je .moving
    call other_phase
    mov rdi, AREA + 0x200
    mov ebx, 0x10000001
    call rewrite
    mov dword [finished], 2
    call other_phase
    ; The value never falls, and after the last change (and a serialising instruction) it is the last one.
    xor ebx, ebx
.run:
    mov eax, SHARED + 3
    call rax
    cmp eax, ebx
    jae .grows
    lock inc dword [errors]
.grows:
    mov ebx, eax
    cmp dword [phase], 3
    jne .run
    xor eax, eax
    cpuid
    mov eax, SHARED + 3
    call rax
    mov [last], eax
    mov dword [finished], 3
.moving:
    xor esi, esi
.moved:
    pause
    cmp [moves], esi
    je .moved
    inc esi
    invlpg [MOVED]
    mov eax, [MOVED]
    cmp eax, [expected]
    je .same
    lock inc dword [errors]
.same:
    mov [dropped], esi
    jmp .moved

; Waits until the first processor has finished what this one has.
other_phase:
    mov eax, [finished]
.wait:
    pause
    cmp [phase], eax
    jb .wait
    ret

    absolute DATA
counter: resq 1
added: resq 1
exchanged: resq 1
started: resd 1
rewrites: resd 1
phase: resd 1
finished: resd 1
errors: resd 1
last: resd 1
moves: resd 1
dropped: resd 1
expected: resd 1

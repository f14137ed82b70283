; Real mode: segment arithmetic, software interrupts through the vector table, far calls, strings, arithmetic flags, wrap-around.
%include "common.inc"
    org 0x7c00
    bits 16
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7000

    ; A segment's base is its selector times 16.
    mov word [0x9123], 0xbeef
    mov ax, 0x0912
    mov fs, ax
    CHECK_EQ "segment base", word [fs:0x0003], word 0xbeef

    ; INT pushes FLAGS, CS, IP and clears IF; IRET restores them.
    mov word [0x60 * 4], int60
    mov word [0x60 * 4 + 2], 0
    sti
    int 0x60
    pushf
    pop ax
    test ax, 0x200
    CHECK_CC "iret restores IF", nz
    cli
    CHECK_EQ "interrupt handler ran", word [counter], word 1

    ; Divide error is a fault: the saved IP is that of DIV itself.
    mov word [0], divide
    mov word [2], 0
    xor cx, cx
    mov ax, 5
the_div:
    div cl
    CHECK_EQ "divide error handler ran", word [counter], word 2

    ; A far call to the same place under another segment.
    call 0x07b0:far_target - 0x7b00
    CHECK_EQ "far call", word [counter], word 3

    ; Strings backwards and forwards.
    cld
    mov si, text
    mov di, 0xa000
    mov cx, 5
    rep movsb
    CHECK_EQ "rep movsb", dword [0xa000], dword "ABCD"
    CHECK_EQ "rep movsb leaves cx", cx, 0
    mov di, 0xa000
    mov al, "D"
    mov cx, 10
    repne scasb
    CHECK_EQ "repne scasb", cx, 6
    std
    mov si, text + 4
    mov di, 0xa014
    mov cx, 5
    rep movsb
    cld
    CHECK_EQ "rep movsb downwards", dword [0xa010], dword "ABCD"

    ; 8086 arithmetic oddities that stayed.
    mov al, 0x15
    add al, 0x27
    daa
    CHECK_EQ "daa", al, 0x42
    mov ax, 0x0105
    aad
    CHECK_EQ "aad", ax, 15
    mov ax, 0x8000
    neg ax
    CHECK_CC "neg 8000 overflows", o
    stc
    mov cl, 9
    mov al, 1
    rcl al, cl
    CHECK_EQ "rcl by 9 is the identity", al, 1

    ; The stack pointer wraps at 64 KiB.
    mov sp, 2
    push word 0x1234
    push word 0x5678
    CHECK_EQ "stack wraps", sp, 0xfffe
    mov sp, 0x7000
    EXIT 0

int60:
    inc word [counter]
    push bp
    mov bp, sp
    test word [bp + 6], 0x200
    pop bp
    CHECK_CC "int pushes IF", nz
    iret

divide:
    push bp
    mov bp, sp
    cmp word [bp + 2], the_div
    je .right
    PRINT "FAIL divide error address", 10
    EXIT 1
.right:
    add word [bp + 2], 2
    pop bp
    inc word [counter]
    iret

far_target:
    inc word [counter]
    retf

counter: dw 0
text: db "ABCDE"

; A kernel in bzImage format that only has the 32-bit entry (boot.rst, "32-bit Boot Protocol"). The first letter of its command
; line says what it does once it has checked the state it was entered in:
;   p  powers off                         d  writes 0x15 to isa-debug-exit at port 0xf4
;   t  triple fault                       m  page fault at 0xdead000, then a triple fault
;   l  runs a loop often, then as d       h  halts for good
;   e  initialises the serial port as an interrupt-driven driver does, waits, and then echoes a line
;   r  echoes a line by polling, on a serial port that it never initialises
;   x  runs 1.9 million instructions without an exit, then MOVSX of a negative byte, and powers off
bits 32
org 0x100000 - 1024

%define PORT_SERIAL 0x3f8
%define PORT_DEBUG_EXIT 0xf4
%define PORT_PM1_CONTROL 0x604
%define SOFT_OFF (1 << 13 | 7 << 10)

file:
    times 0x1f1 - ($ - file) db 0
    db 1                                ; setup_sects
    dw 0
    dd (file_end - entry + 15) / 16     ; syssize
    dw 0, 0, 0
    dw 0xaa55
    db 0xeb, 0x66                       ; the header ends at 0x268
    db "HdrS"
    dw 0x020c                           ; version
    dd 0
    dw 0, 0
    db 0, 1                             ; type_of_loader, loadflags: loaded high
    dw 0
    dd entry                            ; code32_start
    dd 0, 0, 0                          ; ramdisk_image, ramdisk_size, bootsect_kludge
    dw 0, 0
    dd 0                                ; cmd_line_ptr
    dd 0x7fffffff                       ; initrd_addr_max
    dd 0x1000                           ; kernel_alignment
    db 0, 0
    dw 0                                ; xloadflags: no 64-bit entry
    dd 255                              ; cmdline_size
    times 0x258 - ($ - file) db 0
    dq entry                            ; pref_address
    dd 0x10000                          ; init_size
    times 1024 - ($ - file) db 0

entry:
    mov eax, 1                          ; the first instruction that runs
    mov esp, 0x9000
    cmp dword [esi + 0x202], "HdrS"
    jne wrong
    cmp byte [esi + 0x1e8], 0           ; e820_entries
    je wrong
    mov ax, cs
    cmp ax, 0x10
    jne wrong
    mov ax, ds
    cmp ax, 0x18
    jne wrong
    mov eax, cr0
    and eax, 0x80000001
    cmp eax, 1                          ; protected mode without paging
    jne wrong
    pushfd
    pop eax
    test eax, 0x200
    jnz wrong
    mov ebx, [esi + 0x228]              ; cmd_line_ptr
    mov bl, [ebx]
    cmp bl, 'r'
    je polled
    mov esi, greeting
    call print
    cmp bl, 'p'
    je power_off
    cmp bl, 'd'
    je debug_exit
    cmp bl, 't'
    je triple_fault
    cmp bl, 'm'
    je page_fault
    cmp bl, 'l'
    je hot_loop
    cmp bl, 'e'
    je driver
    cmp bl, 'x'
    je extension
    cli
    hlt

wrong:
    mov esi, complaint
    call print
power_off:
    mov dx, PORT_PM1_CONTROL
    mov ax, SOFT_OFF
    out dx, ax
    jmp $

debug_exit:
    mov al, 0x15
    out PORT_DEBUG_EXIT, al
    jmp $

triple_fault:
    lidt [no_idt]
    int3

; The first 4 MiB one to one, and nothing else.
page_fault:
    mov dword [0x8000], 0x83
    mov eax, 0x8000
    mov cr3, eax
    mov eax, cr4
    or eax, 0x10                        ; PSE
    mov cr4, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    invlpg [0x7000]
    lidt [no_idt]
    mov eax, [0xdead000]
    jmp $

hot_loop:
    mov ecx, 200000
    xor eax, eax
loop_head:
    add eax, ecx
    rol eax, 3
    dec ecx
    jnz loop_head
    jmp debug_exit

extension:
    mov ecx, 950000
    call delay
    mov bl, 0x80
    movsx ebx, bl
    jmp power_off

driver:
    mov ecx, 300000000                  ; long enough for input to arrive before the port is ready
    call delay
    mov dx, PORT_SERIAL + 2             ; FIFOs on, cleared
    mov al, 7
    out dx, al
    mov dx, PORT_SERIAL                 ; a stale character is dropped
    in al, dx
    mov dx, PORT_SERIAL + 4             ; DTR, RTS, OUT2
    mov al, 0x0b
    out dx, al
    jmp echo

polled:
    mov ecx, 300000000
    call delay
echo:
    call read
    cmp al, 10
    je .done
    cmp al, 13
    je .done
    call write
    jmp echo
.done:
    mov esi, end_of_line
    call print
    jmp power_off

; Counts ecx down in a register.
delay:
    dec ecx
    jnz delay
    ret

; Waits for a character -> al.
read:
    mov dx, PORT_SERIAL + 5
.wait:
    in al, dx
    test al, 1
    jz .wait
    mov dx, PORT_SERIAL
    in al, dx
    ret

; Sends al.
write:
    push eax
    mov dx, PORT_SERIAL + 5
.wait:
    in al, dx
    test al, 0x20
    jz .wait
    pop eax
    mov dx, PORT_SERIAL
    out dx, al
    ret

; Sends the text at esi.
print:
    mov al, [esi]
    inc esi
    test al, al
    jz .done
    call write
    jmp print
.done:
    ret

greeting: db "mini: entered in 32-bit code", 13, 10, 0
complaint: db "mini: wrong entry state", 13, 10, 0
end_of_line: db "|", 13, 10, 0
align 4
no_idt: dw 0
    dd 0
file_end:

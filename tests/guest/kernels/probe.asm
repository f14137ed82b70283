; A kernel of one page that tells on COM1 what its boot loader gave it, and ends by isa-debug-exit (port f4h).
; Built as: multiboot ELF32 (default), multiboot ELF64 (-DELF64), multiboot with addresses in the header (-DKLUDGE),
; ELF64 with a PVH entry note and no multiboot header (-DPVH).
bits 32
%define BASE 0x100000
org BASE

image:
%ifndef KLUDGE
%ifdef PVH
  %define ELF64
%endif
%ifdef ELF64
        db 0x7f, "ELF", 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0
        dw 2, 62
        dd 1
        dq start, 64, 0
        dd 0
        dw 64, 56, 2, 0, 0, 0
        ; the whole image, with a page of zeros behind it
        dd 1, 7
        dq 0, BASE, BASE, end - image, end - image + 4096, 4096
  %ifdef PVH
        dd 4, 4
        dq note - image, note, note, note_end - note, note_end - note, 4
  %else
        dd 0, 0
        dq 0, 0, 0, 0, 0, 0
  %endif
%else
        db 0x7f, "ELF", 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0
        dw 2, 3
        dd 1, start, 52, 0, 0
        dw 52, 32, 1, 0, 0, 0
        dd 1, 0, BASE, BASE, end - image, end - image + 4096, 7, 4096
%endif
%endif

%ifdef PVH
        align 4
note:   dd 4, 4, 18
        db "Xen", 0
        dd start
note_end:
%else
        align 4
header:
  %ifdef KLUDGE
        dd 0x1badb002, 1 << 16, -(0x1badb002 + (1 << 16))
        dd header, image, end, end + 4096, start
  %else
        dd 0x1badb002, 0, -0x1badb002
  %endif
%endif

start:
        mov esp, end + 4096
        mov ebp, eax
        mov edi, ebx
%ifdef PVH
        cmp dword [edi], 0x336ec578
        jne bad
        mov esi, [edi + 24]         ; cmdline_paddr
        call print_line
        mov ecx, [edi + 12]         ; nr_modules
        mov ebx, [edi + 16]         ; modlist_paddr
.module:
        jecxz .modules_done
        push ecx
        mov esi, [ebx]
        mov ecx, [ebx + 8]
        call print_bytes
        mov esi, [ebx + 16]
        test esi, esi
        jz .plain
        call print_line
.plain: add ebx, 32
        pop ecx
        dec ecx
        jmp .module
.modules_done:
        mov esi, [edi + 32]         ; rsdp_paddr
        mov ecx, 7
        call print_bytes
        mov esi, [edi + 40]         ; memmap: the first entry is conventional memory
        cmp dword [esi + 16], 1
        jne bad
%else
        cmp ebp, 0x2badb002
        jne bad
        mov eax, [edi]
        and eax, 0x24d              ; memory, command line, modules, memory map, loader's name
        cmp eax, 0x24d
        jne bad
        cmp dword [edi + 4], 639
        jne bad
        mov esi, [edi + 16]
        call print_line
        mov ecx, [edi + 20]
        mov ebx, [edi + 24]
.module:
        jecxz .modules_done
        push ecx
        mov esi, [ebx]
        mov ecx, [ebx + 4]
        sub ecx, esi
        call print_bytes
        mov esi, [ebx + 8]
        call print_line
        add ebx, 16
        pop ecx
        dec ecx
        jmp .module
.modules_done:
        mov esi, [edi + 64]
        call print_line
%endif
        ; zeros behind the image
        cmp dword [end], 0
        jne bad
        ; the number of processors from fw_cfg
        mov dx, 0x510
        mov ax, 5
        out dx, ax
        mov dx, 0x511
        in al, dx
        add al, '0'
        mov [cpus], al
        mov esi, cpus
        call print_line
        mov al, 21
        jmp leave_with
bad:
        mov al, 1
leave_with:
        mov dx, 0xf4
        out dx, al
        hlt

print_line:                             ; esi: zero-terminated
        lodsb
        test al, al
        jz .done
        call print_char
        jmp print_line
.done:  mov al, 10
print_char:
        push edx
        mov dx, 0x3f8
        out dx, al
        pop edx
        ret
print_bytes:                            ; esi, ecx
        jecxz .done
        lodsb
        call print_char
        dec ecx
        jmp print_bytes
.done:  mov al, 10
        jmp print_char

cpus:   db 0, " processors", 0
        align 16
end:

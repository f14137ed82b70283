; A multiboot kernel with a driver for virtio-rng over PCI (virtio 1.2, 4.1 and 5.4): it rings the queue's bell for a request at a
; time, first polling for the answers, then waiting for MSI-X interrupts, and after each half moves the BAR that the bell lies in.
; Prints "ok NAME" or "FAIL NAME" per part and ends by isa-debug-exit at port 0xf4, with 0 when all was well.
%include "flat.inc"

%define PORT_DEBUG_EXIT 0xf4
%define PORT_ADDRESS 0xcf8
%define PORT_DATA 0xcfc
%define VECTOR 0x41
%define RNG 0x10441af4
%define BAR_A 0xe0000000                ; where the structures go, one after the other
%define BAR_B 0xe0800000
%define MSIX_BAR 0xe0400000
%define ROUNDS 100
%define BYTES 64
%define QUEUE_SIZE 8

; Configuration space of the function in `function`: offset in %1.
%macro config_read 1
    mov eax, [function]
    or eax, %1
    call read_config
%endmacro
%macro config_write 2
    mov eax, [function]
    or eax, %1
    mov ebx, %2
    call write_config
%endmacro

entry:
    mov esp, stack_end
    LOAD_SEGMENTS
    GATE VECTOR, on_interrupt
    lidt [idt_pointer]
    mov dword [APIC + 0xf0], 0x1ff
    mov al, 0xff                        ; nothing from the 8259s
    out 0x21, al
    out 0xa1, al
    mov esi, name_found
    call find_device
    call find_structures
    mov esi, name_found
    call passed

    mov dword [where], BAR_A
    call place
    call start_device
    mov byte [wait_by_interrupt], 0
    call rounds
    mov esi, name_polled
    call passed

    mov dword [where], BAR_B            ; with the device at work
    call place
    call rounds
    mov esi, name_moved
    call passed

    call start_device                   ; which is a reset
    call use_interrupts
    mov byte [wait_by_interrupt], 1
    call rounds
    mov esi, name_interrupts
    call passed

    call mask_and_unmask
    mov esi, name_masked
    call passed
    xor eax, eax
    out PORT_DEBUG_EXIT, al

read_config:
    mov dx, PORT_ADDRESS
    out dx, eax
    mov dx, PORT_DATA
    in eax, dx
    ret
write_config:
    mov dx, PORT_ADDRESS
    out dx, eax
    mov eax, ebx
    mov dx, PORT_DATA
    out dx, eax
    ret

find_device:
    mov ecx, 0x80000000
.next:
    mov [function], ecx
    config_read 0
    cmp eax, RNG
    je .done
    mov ecx, [function]
    add ecx, 1 << 11
    cmp ecx, 0x80010000
    jb .next
    jmp failed
.done:
    ret

; Offsets of the structures in their BAR, from the capabilities (4.1.4).
find_structures:
    config_read 0x34
    movzx edi, al
.next:
    test edi, edi
    jz .done
    config_read edi
    mov ebp, eax
    cmp al, 0x11
    jne .vendor
    mov [msix], edi
.vendor:
    cmp al, 0x09
    jne .skip
    shr eax, 24                         ; cfg_type
    mov ecx, eax
    lea esi, [edi + 8]
    config_read esi
    cmp ecx, 1
    jne .notify
    mov [common_at], eax
.notify:
    cmp ecx, 2
    jne .skip
    mov [bell_at], eax                     ; queue 0: whatever the multiplier
.skip:
    shr ebp, 8
    and ebp, 0xff
    mov edi, ebp
    jmp .next
.done:
    cmp dword [msix], 0
    mov esi, name_found
    je failed
    ret

; The structures to [where], the MSI-X table to MSIX_BAR.
place:
    config_write 0x04, 0
    config_write 0x20, [where]
    config_write 0x24, 0
    config_write 0x14, MSIX_BAR
    config_write 0x04, 6                ; memory, bus master
    ret

; Reset, features, queue 0, DRIVER_OK (3.1.1).
start_device:
    mov edi, [where]
    add edi, [common_at]
    mov byte [edi + 0x14], 0
.reset:
    cmp byte [edi + 0x14], 0
    jne .reset
    mov byte [edi + 0x14], 3
    mov dword [edi + 0x08], 0
    mov dword [edi + 0x0c], 0
    mov dword [edi + 0x08], 1
    mov dword [edi + 0x0c], 1           ; VERSION_1
    mov byte [edi + 0x14], 11
    mov esi, name_features
    test byte [edi + 0x14], 8
    jz failed
    mov word [edi + 0x16], 0
    mov word [edi + 0x18], QUEUE_SIZE
    mov dword [edi + 0x20], descriptors
    mov dword [edi + 0x24], 0
    mov dword [edi + 0x28], available
    mov dword [edi + 0x2c], 0
    mov dword [edi + 0x30], used
    mov dword [edi + 0x34], 0
    mov dword [available], 0
    mov dword [used], 0
    mov word [edi + 0x1c], 1
    mov byte [edi + 0x14], 15
    mov dword [descriptors], buffer
    mov dword [descriptors + 4], 0
    mov dword [descriptors + 8], BYTES
    mov dword [descriptors + 12], 2     ; the device writes
    ret

; Vector 0 for queue 0; the table's entry 0 to this processor.
use_interrupts:
    mov dword [MSIX_BAR], APIC
    mov dword [MSIX_BAR + 4], 0
    mov dword [MSIX_BAR + 8], VECTOR
    mov dword [MSIX_BAR + 12], 0
    mov esi, [msix]
    config_read esi
    or eax, 1 << 31
    mov ebp, eax
    config_write esi, ebp
    mov edi, [where]
    add edi, [common_at]
    mov word [edi + 0x16], 0
    mov word [edi + 0x1a], 0
    mov esi, name_vector
    cmp word [edi + 0x1a], 0
    jne failed
    ret

; One request, and the bell.
offer:
    mov eax, BYTES / 4
    mov edi, buffer
.clear:
    mov dword [edi + eax * 4 - 4], 0
    dec eax
    jnz .clear
    movzx eax, word [available + 2]
    mov ecx, eax
    and ecx, QUEUE_SIZE - 1
    mov word [available + 4 + ecx * 2], 0
    inc eax
    mov [available + 2], ax
    mov edi, [where]
    add edi, [bell_at]
    mov word [edi], 0
    ret

; The answer has come: BYTES of them, not all zero.
check_answer:
    mov esi, name_answer
    movzx ecx, word [used + 2]
    dec ecx
    and ecx, QUEUE_SIZE - 1
    cmp dword [used + 4 + ecx * 8 + 4], BYTES
    jne failed
    xor eax, eax
    mov ecx, BYTES / 4
.next:
    or eax, [buffer + ecx * 4 - 4]
    loop .next
    test eax, eax
    jz failed
    ret

rounds:
    mov dword [left], ROUNDS
.next:
    mov eax, [interrupts]
    mov [seen], eax
    call offer
    cmp byte [wait_by_interrupt], 0
    jne .sleep
.poll:
    pause
    mov ax, [used + 2]
    cmp ax, [available + 2]
    jne .poll
    jmp rounds_come
.sleep:
    cli
    mov eax, [interrupts]
    cmp eax, [seen]
    jne rounds_awake
    sti
sleeping:
    hlt
    jmp rounds.sleep
rounds_awake:
    mov ax, [used + 2]
    cmp ax, [available + 2]
    mov esi, name_early
    jne failed
rounds_come:
    call check_answer
    dec dword [left]
    jnz rounds.next
    ret

; While its vector is masked an interrupt waits in the table (PCI Local Bus 3.0, 6.8.2.7).
mask_and_unmask:
    cli
    mov dword [MSIX_BAR + 12], 1
    mov eax, [interrupts]
    mov [seen], eax
    call offer
.poll:
    pause
    mov ax, [used + 2]
    cmp ax, [available + 2]
    jne .poll
    mov ecx, 1000
    sti
.nothing:
    pause
    loop .nothing
    mov esi, name_masked
    mov eax, [interrupts]
    cmp eax, [seen]
    jne failed
    mov ecx, 100000                     ; the pending bit may come a little later
.pending:
    test dword [MSIX_BAR + 32], 1
    jnz .unmask
    loop .pending
    jmp failed
.unmask:
    mov dword [MSIX_BAR + 12], 0
    mov ecx, 1000000
.wait:
    mov eax, [interrupts]
    cmp eax, [seen]
    jne .done
    loop .wait
    jmp failed
.done:
    ret

; Behind the HLT where it came between STI and HLT after all, as under emulators that forget STI's shadow (tests/lab/known-qemu):
; to sleep then would be for ever.
on_interrupt:
    inc dword [interrupts]
    mov dword [APIC + 0xb0], 0
    cmp dword [esp], sleeping
    jne .not_there
    inc dword [esp]
.not_there:
    iret

passed:
    push esi
    mov esi, word_ok
    call print
    pop esi
    call print
    mov dx, PORT_SERIAL
    mov al, 10
    out dx, al
    ret
failed:
    push esi
    mov esi, word_fail
    call print
    pop esi
    call print
    mov dx, PORT_SERIAL
    mov al, 10
    out dx, al
    mov al, 1
    out PORT_DEBUG_EXIT, al

word_ok:         db "ok ", 0
word_fail:       db "FAIL ", 0
name_found:      db "the device and its structures", 0
name_features:   db "features", 0
name_vector:     db "vector", 0
name_answer:     db "answer", 0
name_early:      db "an interrupt comes with its answer", 0
name_polled:     db "polling", 0
name_moved:      db "polling, with the BAR elsewhere", 0
name_interrupts: db "interrupts", 0
name_masked:     db "a masked vector waits", 0
file_end:

absolute STORAGE
idt:               resb 0x800
alignb 16
descriptors:       resb 16 * QUEUE_SIZE
available:         resb 6 + 2 * QUEUE_SIZE
alignb 4
used:              resb 6 + 8 * QUEUE_SIZE
alignb 16
buffer:            resb BYTES
function:          resd 1
common_at:         resd 1
bell_at:           resd 1
msix:              resd 1
where:             resd 1
left:              resd 1
interrupts:        resd 1
seen:              resd 1
wait_by_interrupt: resb 1
alignb 16
                   resb 0x1000
stack_end:
bss_end:

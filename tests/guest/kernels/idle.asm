; A multiboot kernel that does nothing, as a tickless Linux does it: woken five times a second by its local APIC's timer, it ends the
; interrupt, sets the timer for its next tick, sets it for later when it finds nothing to do, and halts. Prints "asleep" and, after
; 20 wakes, "awake", and goes on. Without TSC deadlines it says "no deadlines" instead (Intel SDM volume 3, 11.5.4.1).
%include "flat.inc"

%define VECTOR 0x40
%define TSC_DEADLINE 0x6e0
%define X2APIC_EOI 0x80b
%define WAKES 20

%macro SET_DEADLINE 1                   ; in so many TSC ticks, a register or memory
    rdtsc
    add eax, %1
    adc edx, 0
    mov ecx, TSC_DEADLINE
    wrmsr
%endmacro

entry:
    mov esp, stack_end
    LOAD_SEGMENTS
    GATE VECTOR, on_timer
    lidt [idt_pointer]
    mov al, 0xff                        ; 8259s: nothing
    out 0x21, al
    out 0xa1, al
    mov eax, 1
    cpuid
    mov esi, no_deadlines
    test ecx, 1 << 24
    jz .say
    mov ecx, 0x1b                       ; x2APIC mode
    rdmsr
    or eax, 0xc00
    wrmsr
    mov ecx, 0x80f
    mov eax, 0x1ff
    xor edx, edx
    wrmsr
    mov ecx, 0x832
    mov eax, 0x40000 | VECTOR
    wrmsr
    call find_rate
    mov dword [wakes], 0
    SET_DEADLINE [later]
    mov esi, asleep
.say:
    call print
.sleep:
    sti
    hlt
    cli
    SET_DEADLINE [later]
    cmp dword [wakes], WAKES
    jne .sleep
    inc dword [wakes]
    mov esi, awake
    jmp .say

; TSC ticks in 4 and in 200 ms, by channel 2 of the PIT, which counts down from 0xffff in 55 ms.
find_rate:
    in al, 0x61
    and al, ~2
    or al, 1
    out 0x61, al
    mov al, 0xb0                        ; channel 2, both bytes, mode 0
    out 0x43, al
    mov al, 0xff
    out 0x42, al
    out 0x42, al
    rdtsc
    mov ebx, eax
.wait:
    in al, 0x61
    test al, 0x20
    jz .wait
    rdtsc
    sub eax, ebx
    xor edx, edx
    mov ecx, 14                         ; 55 ms / 14: about 4 ms
    div ecx
    mov [soon], eax
    imul eax, 50
    mov [later], eax
    ret

on_timer:
    mov ecx, X2APIC_EOI
    xor eax, eax
    xor edx, edx
    wrmsr
    inc dword [wakes]
    SET_DEADLINE [soon]
    iret

asleep: db "asleep", 10, 0
awake: db "awake", 10, 0
no_deadlines: db "no deadlines", 10, 0

file_end:
absolute STORAGE
idt: resb 0x800
soon: resd 1
later: resd 1
wakes: resd 1
    resb 4096
stack_end:
bss_end:

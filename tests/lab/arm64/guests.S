// Guests of the AArch64 KVM tests: entered at EL1 at 0x40000000 with everything masked and the MMU off. A store to
// 0x09000000 reports a number. They end by PSCI.
#define REPORT 0x09000000
#define GICD 0x08000000
#define GICC 0x08010000
#define GICR 0x080a0000

.macro guest name
    .balign 4096
    .global guest_\name
guest_\name:
.endm
.macro end_guest name
    .global guest_\name\()_end
guest_\name\()_end:
.endm
.macro set reg, value
    movz \reg, #((\value) & 0xffff)
    movk \reg, #((\value) >> 16), lsl #16
.endm
.macro report reg
    mov x20, #REPORT
    str \reg, [x20]
.endm
.macro system_off
    set w0, 0x84000008
    hvc #0
    b .
.endm

// Reads and writes of every width, then its end.
guest mmio
    mov x1, #REPORT
    ldr x0, [x1, #0x10]
    str x0, [x1]
    ldr w0, [x1, #0x10]
    str x0, [x1]
    ldrh w0, [x1, #0x10]
    str x0, [x1]
    ldrb w0, [x1, #0x10]
    str x0, [x1]
    mov x0, #0x1234
    strb w0, [x1]
    strh w0, [x1]
    str w0, [x1]
    system_off
end_guest mmio

guest spin
1:  add x0, x0, #1
    b 1b
end_guest spin

// Leaves on its own all the time.
guest busy
    mov x1, #REPORT
1:  str x0, [x1]
    add x0, x0, #1
    b 1b
end_guest busy

guest steps
    mov x0, #1
    add x0, x0, #2
    add x0, x0, #3
    b 1f
    nop
1:  add x0, x0, #4
    b .
end_guest steps

guest pair
    mov x1, #REPORT
    ldp x2, x3, [x1]
    b .
end_guest pair

// Writes three pages.
guest dirty
    mov x1, #0x40200000
    str x1, [x1]
    mov x2, #0x5008
    add x1, x1, x2
    str x1, [x1]
    mov x1, #0x40400000
    stp x1, x2, [x1, #0x10]
    system_off
end_guest dirty

// PSCI: version, features, a second processor that reports its context and goes off again.
guest psci
    set w0, 0x84000000
    hvc #0
    report x0
    set w0, 0xc4000003                     // CPU_ON
    mov x1, #1
    adr x2, 2f
    mov x3, #0x5a5a
    hvc #0
    report x0
1:  mov w0, #0x0004                     // AFFINITY_INFO until it is off
    movk w0, #0xc400, lsl #16
    mov x1, #1
    mov x2, #0
    hvc #0
    cmp w0, #1
    b.ne 1b
    report x0
    set w0, 0xc4000003                     // no such processor
    mov x1, #9
    adr x2, 2f
    hvc #0
    report w0
    set w0, 0x84000009                     // SYSTEM_RESET
    hvc #0
    b .
2:  report x0
    set w0, 0x84000002                     // CPU_OFF
    hvc #0
    b .
end_guest psci

// Interrupts. x21: how many timer interrupts there are to be. The handlers report number + 0x1000.
.macro run_interrupts
    adr x0, 8f
    msr vbar_el1, x0
    mov x21, #3
    msr daifclr, #2
    isb
.endm
.macro start_timer
    mrs x0, cntfrq_el0
    mov x1, #500
    udiv x0, x0, x1
    msr cntv_tval_el0, x0
    mov x0, #1
    msr cntv_ctl_el0, x0
    isb
.endm
// One at a time: an SGI to itself, the machine's input 40, the virtual timer.
.macro await_all
    mov x0, #1
    report x0                           // asks for input 40
1:  msr daifset, #2                     // not between the look and the sleep
    cmp x22, #40
    b.eq 2f
    wfi
    msr daifclr, #2
    b 1b
2:  start_timer
3:  msr daifset, #2
    cbz x21, 4f
    wfi
    msr daifclr, #2
    b 3b
4:
    system_off
.endm
.macro vectors handler
    .balign 2048
8:  .fill 0x280 / 4, 4, 0xd4200000
    b \handler
    .balign 2048
.endm
.macro handled
    cmp w9, #27
    b.ne 3f
    msr cntv_ctl_el0, xzr
    isb
    sub x21, x21, #1
    cbz x21, 3f
    mrs x10, cntfrq_el0
    mov x11, #500
    udiv x10, x10, x11
    msr cntv_tval_el0, x10
    mov x10, #1
    msr cntv_ctl_el0, x10
    isb
3:  and x22, x9, #0x3ff
    add x10, x9, #0x1000
    report x10
.endm

guest gicv2
    mov x5, #GICD
    set x6, GICC
    mov w0, #1
    str w0, [x5]                        // distributor on
    str w0, [x6]
    mov w0, #0xf0
    str w0, [x6, #4]
    mov w0, #0x08000000
    str w0, [x5, #0x100]                // 27
    mov w0, #0x100
    str w0, [x5, #0x104]                // 40
    mov w0, #0x01010101
    str w0, [x5, #0x828]
    run_interrupts
    set w0, 0x02000005                 // SGI 5 to itself
    str w0, [x5, #0xf00]
1:  cmp x22, #5
    b.ne 1b
    await_all
    vectors 9f
9:  ldr w9, [x6, #0xc]
    handled
    str w9, [x6, #0x10]
    eret
end_guest gicv2

guest gicv3
    mov x5, #GICD
    set x6, GICR
    mov w0, #0x12
    str w0, [x5]                        // affinity routing, group 1
    ldr w0, [x6, #0x14]
    and w0, w0, #~2
    str w0, [x6, #0x14]                 // awake
1:  ldr w0, [x6, #0x14]
    tbnz w0, #2, 1b
    add x7, x6, #0x10000
    mov w0, #0xffffffff
    str w0, [x7, #0x80]
    str w0, [x5, #0x84]
    set w0, 0x08000020
    str w0, [x7, #0x100]                // 27, 5
    mov w0, #0x100
    str w0, [x5, #0x104]                // 40
    set w0, 0xa0a0a0a0
    str w0, [x5, #0x428]
    mov x0, #1
    msr S3_0_C12_C12_5, x0              // ICC_SRE_EL1
    isb
    mov x0, #0xf0
    msr S3_0_C4_C6_0, x0                // ICC_PMR_EL1
    mov x0, #1
    msr S3_0_C12_C12_7, x0              // ICC_IGRPEN1_EL1
    isb
    run_interrupts
    set x0, 0x05000001
    msr S3_0_C12_C11_5, x0              // ICC_SGI1R_EL1
    isb
1:  cmp x22, #5
    b.ne 1b
    await_all
    vectors 9f
9:  mrs x9, S3_0_C12_C12_0              // ICC_IAR1_EL1
    handled
    msr S3_0_C12_C12_1, x9              // ICC_EOIR1_EL1
    eret
end_guest gicv3

    .section .note.GNU-stack, "", %progbits

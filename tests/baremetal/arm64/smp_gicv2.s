// GICv2: distributor, CPU interfaces and message frame (IHI 0048B, 3 and 4; contract I2).
.include "common.inc"
.include "gic.inc"
    b main

.equ REPLY, 15                          // the SGI by which the second processor answers
i_spin: b .

// Acknowledges whatever comes, leaves the number in MAIL + 4 and answers.
second:
    PUT GICC + 0x04, 0xff
    PUT GICC + 0x00, 1
    PUT MAIL, 1
1:  wfi
    mrs x9, isr_el1
    cbz x9, 1b
    SET x3, GICC
    ldr w4, [x3, #0xc]
    SET x5, MAIL
    str w4, [x5, #4]
    str w4, [x3, #0x10]
    dsb sy
    PUT GICD + 0xf00, (1 << 16) + REPLY
    b 1b
.macro ANSWERED what, id
    AWAIT
    EXPECT "\what: answer", GICC + 0xc, REPLY + (1 << 10)
    PUT GICC + 0x10, REPLY + (1 << 10)
    EXPECT "\what: the second processor's", MAIL + 4, \id
.endm
.macro TAKE what, id
    EXPECT "\what: acknowledged", GICC + 0xc, \id
    PUT GICC + 0x10, \id
.endm

main:
    NAME "reset"
    EXPECT "GICD_CTLR", GICD, 0
    EXPECT "GICD_TYPER", GICD + 4, 0x22
    EXPECT "PIDR2", GICD + 0xfe8, 0x20, 0xf0
    EXPECT "SGIs are enabled", GICD + 0x100, 0xffff
    PUT GICD + 0x180, 0xffff
    EXPECT "and stay so", GICD + 0x100, 0xffff
    EXPECT "SGIs are edge triggered", GICD + 0xc00, 0xaaaaaaaa
    PUT GICD + 0xc00, 0
    EXPECT "and stay so", GICD + 0xc00, 0xaaaaaaaa
    EXPECT "SPIs go to processor 0", GICD + 0x820, 0x01010101
    EXPECT "private ones to the reader", GICD + 0x800, 0x01010101
    EXPECT "SPIs are disabled", GICD + 0x104, 0
    EXPECT "GICC_CTLR", GICC, 0
    EXPECT "GICC_PMR", GICC + 4, 0
    EXPECT "GICC_RPR", GICC + 0x14, 0xff
    EXPECT "GICC_HPPIR", GICC + 0x18, SPURIOUS
    EXPECT "GICC_IAR", GICC + 0xc, SPURIOUS
    LINES "lines", 0

    NAME "priorities"
    PUT GICD, 1
    PUT GICC, 1
    PUT GICC + 4, 0xff
    EXPECT "five bits of mask", GICC + 4, 0xf8
    PUT GICD + 0x428, 0xffffffff
    EXPECT "five bits each", GICD + 0x428, 0xf8f8f8f8
    PUT GICD + 0x428, 0x60404080            // 40 to 43
    PUT GICD + 0x42c, 0x00000050            // 44
    PUT GICD + 0xc08, 0x022a0000            // 40, 41, 42 and 44 are edge triggered
    EXPECT "configuration", GICD + 0xc08, 0x022a0000
    PUT GICD + 0x104, 0x1f00
    PUT GICD + 0x204, 0x700
    LINES "pending", IRQ
    EXPECT "highest", GICC + 0x18, 41
    EXPECT "acknowledged", GICC + 0xc, 41
    EXPECT "running", GICC + 0x14, 0x40
    EXPECT "active", GICD + 0x304, 0x200
    EXPECT "still pending", GICD + 0x204, 0x500
    LINES "an equal priority does not preempt", 0
    EXPECT "next", GICC + 0x18, 42
    PUT GICC + 0x10, 41
    EXPECT "idle", GICC + 0x14, 0xff
    LINES "next", IRQ
    TAKE "next", 42
    EXPECT "third", GICC + 0xc, 40
    EXPECT "third runs", GICC + 0x14, 0x80

    NAME "preemption"
    PUT GICD + 0x204, 0x200
    LINES "a higher one", IRQ
    EXPECT "acknowledged", GICC + 0xc, 41
    EXPECT "running", GICC + 0x14, 0x40
    EXPECT "GICC_APR", GICC + 0xd0, 0x10100
    PUT GICC + 0x10, 41
    EXPECT "back", GICC + 0x14, 0x80
    PUT GICC + 0x10, 40
    EXPECT "idle", GICC + 0x14, 0xff
    EXPECT "nothing", GICC + 0xc, SPURIOUS

    NAME "priority mask"
    PUT GICD + 0x204, 0x200
    PUT GICC + 4, 0x40
    LINES "equal to the mask", 0
    EXPECT "not acknowledged", GICC + 0xc, SPURIOUS
    EXPECT "highest all the same", GICC + 0x18, 41
    PUT GICC + 4, 0x48
    LINES "above the mask", IRQ
    TAKE "above the mask", 41
    PUT GICC + 4, 0xff

    NAME "binary point"
    PUT GICC + 8, 0
    EXPECT "least value", GICC + 8, 2
    PUT GICC + 8, 6
    PUT GICD + 0x204, 0x1000
    EXPECT "acknowledged", GICC + 0xc, 44
    EXPECT "the group's priority", GICC + 0x14, 0
    PUT GICD + 0x204, 0x200
    LINES "the same group does not preempt", 0
    PUT GICC + 0x10, 44
    TAKE "afterwards", 41
    PUT GICD + 0x204, 0x100
    EXPECT "of the lower group", GICC + 0xc, 40
    PUT GICD + 0x204, 0x200
    LINES "the higher group preempts", IRQ
    TAKE "preempting", 41
    PUT GICC + 0x10, 40
    PUT GICC + 8, 2

    NAME "level"
    INPUT 43, 1
    LINES "up", IRQ
    EXPECT "pending", GICD + 0x204, 0x800
    PUT GICD + 0x284, 0x800
    EXPECT "software cannot clear it", GICD + 0x204, 0x800
    EXPECT "acknowledged", GICC + 0xc, 43
    EXPECT "active", GICD + 0x304, 0x800
    EXPECT "and pending", GICD + 0x204, 0x800
    LINES "not signalled again", 0
    PUT GICC + 0x10, 43
    LINES "signalled again after its end", IRQ
    INPUT 43, 0
    LINES "down", 0
    EXPECT "no longer pending", GICD + 0x204, 0
    PUT GICD + 0x204, 0x800
    LINES "pending by software", IRQ
    EXPECT "acknowledged by software", GICC + 0xc, 43
    EXPECT "taken", GICD + 0x204, 0
    PUT GICC + 0x10, 43
    PUT GICD + 0x204, 0x800
    PUT GICD + 0x284, 0x800
    LINES "cleared by software", 0

    NAME "edge"
    INPUT 44, 1
    INPUT 44, 0
    LINES "stays pending", IRQ
    EXPECT "acknowledged", GICC + 0xc, 44
    EXPECT "taken", GICD + 0x204, 0
    INPUT 44, 1
    EXPECT "active and pending", GICD + 0x204, 0x1000
    LINES "not signalled while active", 0
    PUT GICC + 0x10, 44
    LINES "signalled after the end", IRQ
    TAKE "second", 44
    LINES "the level alone is nothing", 0
    INPUT 44, 0
    INPUT 44, 1
    PUT GICD + 0x284, 0x1000
    LINES "cleared", 0
    INPUT 44, 0

    NAME "enables"
    PUT GICD + 0x204, 0x200
    PUT GICD + 0x184, 0x200
    LINES "disabled", 0
    EXPECT "pending all the same", GICD + 0x204, 0x200
    PUT GICD + 0x104, 0x200
    LINES "enabled", IRQ
    PUT GICD, 0
    LINES "without the distributor", 0
    PUT GICD, 1
    PUT GICC, 0
    LINES "without the interface", 0
    PUT GICC, 1
    PUT GICD + 0x828, 0x01010201
    EXPECT "target", GICD + 0x828, 0x01010201
    LINES "for the other processor", 0
    PUT GICD + 0x828, 0x01010101
    LINES "for this one", IRQ
    TAKE "for this one", 41

    NAME "priority drop and deactivation apart"
    PUT GICC, 0x201
    PUT GICD + 0x204, 0x200
    EXPECT "acknowledged", GICC + 0xc, 41
    PUT GICC + 0x10, 41
    EXPECT "idle", GICC + 0x14, 0xff
    EXPECT "active", GICD + 0x304, 0x200
    PUT GICD + 0x204, 0x200
    LINES "not while active", 0
    PUT GICC + 0x1000, 41
    EXPECT "inactive", GICD + 0x304, 0
    LINES "again", IRQ
    TAKE "again", 41
    PUT GICC + 0x1000, 41
    PUT GICC, 1
    PUT GICD + 0x304, 0x200
    EXPECT "active by software", GICD + 0x304, 0x200
    PUT GICD + 0x384, 0x200
    EXPECT "inactive by software", GICD + 0x304, 0

    NAME "groups"
    PUT GICD + 0x84, 0x1000                 // 44
    PUT GICD, 3
    PUT GICC, 3
    PUT GICD + 0x204, 0x1000
    LINES "group 1", IRQ
    EXPECT "not without AckCtl", GICC + 0xc, 1022
    EXPECT "highest without AckCtl", GICC + 0x18, 1022
    EXPECT "highest by the alias", GICC + 0x28, 44
    EXPECT "by the alias", GICC + 0x20, 44
    EXPECT "GICC_NSAPR", GICC + 0xe0, 0x400
    PUT GICC + 0x24, 44
    PUT GICC, 7
    PUT GICD + 0x204, 0x1000
    TAKE "with AckCtl", 44
    PUT GICC, 0xb
    PUT GICD + 0x204, 0x100
    LINES "group 0 as FIQ", FIQ
    EXPECT "not by the alias", GICC + 0x20, SPURIOUS
    TAKE "group 0", 40
    PUT GICD + 0x204, 0x1000
    LINES "group 1 beside it", IRQ
    PUT GICD, 1
    LINES "group 1 is off", 0
    PUT GICD + 0x284, 0x1000
    PUT GICD + 0x84, 0
    PUT GICC, 1

    NAME "SGIs"
    PUT GICD + 0xf00, (2 << 24) + 5
    LINES "to itself", IRQ
    TAKE "to itself", 5
    PUT GICD + 0x200, 0x20
    LINES "not by ISPENDR", 0
    PUT GICD + 0xf24, 0x0300
    EXPECT "sources", GICD + 0xf14, 0x0300
    TAKE "first source", 5
    TAKE "second source", 0x405
    LINES "both taken", 0
    PUT GICD + 0xf24, 0x0300
    PUT GICD + 0xf14, 0x0300
    LINES "cleared", 0

    NAME "two processors"
    CPU_ON second
    PUT GICD + 0xf00, (2 << 16) + 7
    ANSWERED "listed", 7
    PUT GICD + 0xf00, (1 << 24) + 9
    ANSWERED "all others", 9
    PUT GICD + 0x828, 0x01010201
    PUT GICD + 0x204, 0x200
    ANSWERED "SPI", 41
    PUT GICD + 0x828, 0x01010101

    NAME "taken"
    WRITE hcr_el2, (1 << 31) + (1 << 4)
    PUT GICD + 0x204, 0x200
    RUN EL1H, i_spin
    CHECK_RECORD "vector", R_VECTOR, 0x2480
    CHECK_ADDRESS "return address", R_ELR, i_spin
    TAKE "IRQ", 41
    WRITE hcr_el2, 1 << 31

    NAME "message frame"
    EXPECT "MSI_TYPER", GICV2M + 8, 0x00500010
    PUT GICD + 0xc14, 2
    PUT GICD + 0x108, 0x10000
    PUT GICV2M + 0x40, 80
    LINES "message", IRQ
    TAKE "message", 80
    PUT GICV2M + 0x40, 79
    EXPECT "none of the frame's", GICD + 0x208, 0
    LINES "none of the frame's", 0
    FINISH

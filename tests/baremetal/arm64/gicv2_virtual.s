// GICv2: virtual interface control and virtual CPU interface (IHI 0048B, 5; contracts I2 and I3).
.include "common.inc"
.include "gic.inc"
    b main

.equ MAINTENANCE, 25
.equ LR0, GICH + 0x100
.equ LR1, GICH + 0x104
.equ LR2, GICH + 0x108
.equ PENDING, 1 << 28
.equ ACTIVE, 2 << 28
.equ AT80, 0x10 << 23                   // priorities
.equ AT40, 0x08 << 23
.equ EL1H_IRQ, 0x345                    // IRQ not masked
STUB i_isr, mrs x0, isr_el1
i_spin: b .
.macro TAKE what, id
    EXPECT "\what: acknowledged", GICV + 0xc, \id
    PUT GICV + 0x10, \id
.endm

main:
    WRITE hcr_el2, (1 << 31) + (3 << 3)
    NAME "reset"
    EXPECT "GICH_VTR", GICH + 4, 0x90000003
    EXPECT "GICH_HCR", GICH, 0
    EXPECT "GICH_MISR", GICH + 0x10, 0
    EXPECT "GICH_ELRSR", GICH + 0x30, 0xf
    EXPECT "GICH_EISR", GICH + 0x20, 0
    EXPECT "GICV_IAR", GICV + 0xc, SPURIOUS
    EXPECT "GICV_RPR", GICV + 0x14, 0xff

    NAME "GICH_VMCR"
    PUT GICH + 8, 0xf8000001
    EXPECT "its fields", GICH + 8, 0xf84c0001
    EXPECT "GICV_PMR", GICV + 4, 0xf8
    EXPECT "GICV_CTLR", GICV, 1
    PUT GICV + 4, 0x80
    EXPECT "the guest's mask", GICH + 8, 0x804c0001
    PUT GICV, 0x201
    EXPECT "the guest's mode", GICH + 8, 0x804c0201
    PUT GICV, 1
    PUT GICV + 4, 0xff

    NAME "one interrupt"
    PUT LR0, PENDING + AT80 + 50
    AT_EL1 "not enabled", i_isr, 0
    PUT GICH, 1
    AT_EL1 "line", i_isr, IRQ
    LINES "physical line", 0
    EXPECT "not empty", GICH + 0x30, 0xe
    EXPECT "highest", GICV + 0x18, 50
    EXPECT "acknowledged", GICV + 0xc, 50
    EXPECT "active", LR0, ACTIVE + AT80 + 50
    EXPECT "running", GICV + 0x14, 0x80
    EXPECT "GICH_APR", GICH + 0xf0, 0x10000
    AT_EL1 "line while active", i_isr, 0
    PUT GICV + 0x10, 50
    EXPECT "ended", LR0, AT80 + 50
    EXPECT "empty", GICH + 0x30, 0xf
    EXPECT "idle", GICV + 0x14, 0xff
    PUT LR0, PENDING + AT80 + 50
    RUN EL1H_IRQ, i_spin
    CHECK_RECORD "vector", R_VECTOR, 0x1280
    CHECK_ADDRESS "return address", R_ELR, i_spin
    PUT GICV + 4, 0x80
    AT_EL1 "masked by priority", i_isr, 0
    EXPECT "not acknowledged", GICV + 0xc, SPURIOUS
    PUT GICV + 4, 0xff
    TAKE "unmasked", 50

    NAME "priorities"
    PUT LR0, PENDING + AT80 + 50
    PUT LR1, PENDING + AT40 + 51
    TAKE "first", 51
    EXPECT "second", GICV + 0xc, 50
    PUT LR2, PENDING + AT40 + 52
    AT_EL1 "preempts", i_isr, IRQ
    EXPECT "third", GICV + 0xc, 52
    EXPECT "GICH_APR", GICH + 0xf0, 0x10100
    PUT GICV + 0x10, 52
    EXPECT "back", GICV + 0x14, 0x80
    PUT GICV + 0x10, 50
    EXPECT "idle", GICV + 0x14, 0xff

    NAME "end of interrupt maintenance"
    PUT GICD, 1
    PUT GICC, 0x201
    PUT GICC + 4, 0xff
    PUT GICD + 0x100, 1 << MAINTENANCE
    PUT LR0, PENDING + AT80 + (1 << 19) + 50
    EXPECT "acknowledged", GICV + 0xc, 50
    EXPECT "none yet", GICH + 0x10, 0
    PUT GICV + 0x10, 50
    EXPECT "GICH_EISR", GICH + 0x20, 1
    EXPECT "GICH_MISR", GICH + 0x10, 1
    EXPECT "still occupied", GICH + 0x30, 0xe
    LINES "interrupt", IRQ
    EXPECT "its number", GICC + 0xc, MAINTENANCE
    PUT LR0, 0
    EXPECT "GICH_EISR cleared", GICH + 0x20, 0
    EXPECT "GICH_MISR cleared", GICH + 0x10, 0
    PUT GICC + 0x10, MAINTENANCE
    PUT GICC + 0x1000, MAINTENANCE
    LINES "over", 0
    PUT LR0, (1 << 19) + 50
    LINES "by hand", IRQ
    PUT GICH, 0
    LINES "not while the interface is off", 0
    PUT LR0, 0

    NAME "underflow maintenance"
    PUT GICH, 3
    EXPECT "none", GICH + 0x10, 2
    LINES "interrupt", IRQ
    PUT LR0, PENDING + AT80 + 50
    EXPECT "one", GICH + 0x10, 2
    PUT LR1, ACTIVE + AT80 + 51
    EXPECT "two", GICH + 0x10, 0
    LINES "none", 0
    PUT LR1, 0

    NAME "other maintenance"
    PUT GICH, 9
    EXPECT "something is pending", GICH + 0x10, 0
    PUT LR0, ACTIVE + AT80 + 50
    EXPECT "nothing is pending", GICH + 0x10, 8
    PUT LR0, 0
    PUT GICH, 5
    PUT GICV + 0x10, 60
    EXPECT "an end without an active priority", GICH, 5
    PUT GICH + 0xf0, 0x10000
    PUT GICV + 0x10, 60
    EXPECT "an end that is in no list register", GICH, (1 << 27) + 5
    EXPECT "counted", GICH + 0x10, 4
    PUT GICH, 5
    EXPECT "count cleared", GICH + 0x10, 0
    PUT GICH, 0x11
    EXPECT "group 0 is enabled", GICH + 0x10, 0x10
    PUT GICH, 0xa1
    EXPECT "group 1 is disabled", GICH + 0x10, 0x80
    PUT GICV, 2
    EXPECT "group 0 is disabled", GICH + 0x10, 0x20
    PUT GICH, 0x41
    EXPECT "group 1 is enabled", GICH + 0x10, 0x40
    PUT GICV, 1
    PUT GICH, 1

    NAME "a physical interrupt behind it"
    PUT GICD + 0x104, 0x800
    INPUT 43, 1
    EXPECT "physical", GICC + 0xc, 43
    PUT GICC + 0x10, 43
    LINES "held active", 0
    PUT LR0, (1 << 31) + PENDING + AT80 + (43 << 10) + 60
    EXPECT "virtual", GICV + 0xc, 60
    EXPECT "both active", GICD + 0x304, 0x800
    LINES "until its end", 0
    PUT GICV + 0x10, 60
    EXPECT "ended", GICD + 0x304, 0
    EXPECT "empty", GICH + 0x30, 0xf
    LINES "offered again", IRQ
    INPUT 43, 0
    LINES "unless its line is down", 0

    NAME "SGI with its source"
    PUT LR0, PENDING + AT80 + (1 << 10) + 3
    EXPECT "acknowledged", GICV + 0xc, 0x403
    PUT GICV + 0x10, 0x403
    EXPECT "ended", GICH + 0x30, 0xf

    NAME "groups"
    PUT GICV, 0xb
    PUT LR0, PENDING + AT80 + 50
    AT_EL1 "group 0 as FIQ", i_isr, FIQ
    EXPECT "not by the alias", GICV + 0x20, SPURIOUS
    TAKE "group 0", 50
    PUT LR0, (1 << 30) + PENDING + AT80 + 50
    AT_EL1 "group 1 as IRQ", i_isr, IRQ
    EXPECT "group 1", GICV + 0xc, 1022
    EXPECT "by the alias", GICV + 0x20, 50
    PUT GICV + 0x24, 50
    EXPECT "ended", GICH + 0x30, 0xf

    NAME "priority drop and deactivation apart"
    PUT GICV, 0x201
    PUT LR0, PENDING + AT80 + 50
    TAKE "first", 50
    EXPECT "idle", GICV + 0x14, 0xff
    EXPECT "active", LR0, ACTIVE + AT80 + 50
    PUT GICV + 0x1000, 50
    EXPECT "inactive", LR0, AT80 + 50
    FINISH

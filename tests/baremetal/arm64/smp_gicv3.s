// GICv3: distributor, redistributors and CPU interfaces (IHI 0069H, 4, 12.1, 12.9 and 12.11).
.include "common.inc"
.include "gic.inc"
    b main

.equ REPLY, 15                          // the SGI by which the second processor answers
STUB i_iar1, mrs x0, icc_iar1_el1
STUB i_eoir1, msr icc_eoir1_el1, x1
i_spin: b .

// Acknowledges whatever comes, leaves the number in MAIL + 4 and answers.
second:
    PUT GICR1 + SGIS + 0x80, 0xffffffff
    PUT GICR1 + SGIS + 0x100, 0xffff
    WRITE icc_pmr_el1, 0xff
    WRITE icc_igrpen1_el1, 1
    PUT MAIL, 1
1:  wfi
    mrs x9, isr_el1
    cbz x9, 1b
    mrs x4, icc_iar1_el1
    SET x5, MAIL
    str w4, [x5, #4]
    msr icc_eoir1_el1, x4
    dsb sy
    WRITE icc_sgi1r_el1, (REPLY << 24) + 1
    b 1b
.macro ANSWERED what, id
    AWAIT
    TAKE "\what: answer", REPLY
    EXPECT "\what: the second processor's", MAIL + 4, \id
.endm
.macro END id
    WRITE icc_eoir1_el1, \id
.endm
.macro TAKE what, id
    READS "\what: acknowledged", icc_iar1_el1, \id
    END \id
.endm

main:
    NAME "reset"
    EXPECT "GICD_CTLR", GICD, 0x50
    EXPECT "GICD_TYPER: lines", GICD + 4, 2, 0x1f
    EXPECT "GICD_TYPER: LPIs, 16 bits of numbers", GICD + 4, 0x007a0000, 0x00fe0000
    EXPECT "PIDR2", GICD + 0xffe8, 0x30, 0xf0
    EXPECT "GICR_TYPER of the first", GICR0 + 8, 1
    EXPECT "its affinity", GICR0 + 12, 0
    EXPECT "GICR_TYPER of the last", GICR1 + 8, 0x111
    EXPECT "its affinity", GICR1 + 12, 1
    EXPECT "SGIs are edge triggered", GICR0 + SGIS + 0xc00, 0xaaaaaaaa
    EXPECT "private interrupts are the redistributors'", GICD + 0x400, 0
    READS "system registers", icc_sre_el2, 0xf
    READS "priority and number bits", icc_ctlr_el1, 0x8400
    READS "mask", icc_pmr_el1, 0
    READS "running", icc_rpr_el1, 0xff
    READS "nothing", icc_iar1_el1, SPURIOUS

    NAME "priorities"
    PUT GICD, 3
    EXPECT "GICD_CTLR", GICD, 0x53
    PUT GICR0 + SGIS + 0x80, 0xffffffff
    PUT GICD + 0x84, 0x1f00                 // 40 to 44 in group 1
    PUT GICD + 0x428, 0x60404080
    PUT GICD + 0x42c, 0x00000050
    PUT GICD + 0xc08, 0x022a0000            // 40, 41, 42 and 44 are edge triggered
    PUT GICD + 0x104, 0x1f00
    PUT GICD + 0x204, 0x700
    LINES "interface off", 0
    WRITE icc_igrpen0_el1, 1
    WRITE icc_igrpen1_el1, 1
    LINES "masked by priority", 0
    WRITE icc_pmr_el1, 0xff
    READS "five bits of mask", icc_pmr_el1, 0xf8
    LINES "pending", IRQ
    READS "highest", icc_hppir1_el1, 41
    READS "not in group 0", icc_hppir0_el1, SPURIOUS
    READS "acknowledged", icc_iar1_el1, 41
    READS "running", icc_rpr_el1, 0x40
    EXPECT "active", GICD + 0x304, 0x200
    EXPECT "still pending", GICD + 0x204, 0x500
    LINES "an equal priority does not preempt", 0
    END 41
    LINES "next", IRQ
    TAKE "next", 42
    READS "third", icc_iar1_el1, 40

    NAME "preemption"
    PUT GICD + 0x204, 0x200
    LINES "a higher one", IRQ
    READS "acknowledged", icc_iar1_el1, 41
    READS "ICC_AP1R0_EL1", icc_ap1r0_el1, 0x10100
    READS "ICC_AP0R0_EL1", icc_ap0r0_el1, 0
    END 41
    READS "back", icc_rpr_el1, 0x80
    END 40
    READS "idle", icc_rpr_el1, 0xff
    READS "nothing", icc_iar1_el1, SPURIOUS
    PUT GICD + 0x204, 0x200
    WRITE icc_pmr_el1, 0x40
    LINES "equal to the mask", 0
    WRITE icc_pmr_el1, 0x48
    LINES "above the mask", IRQ
    TAKE "above the mask", 41
    WRITE icc_pmr_el1, 0xff

    NAME "binary point"
    WRITE icc_bpr0_el1, 0
    WRITE icc_bpr1_el1, 0
    READS "least of group 0", icc_bpr0_el1, 2
    READS "least of group 1", icc_bpr1_el1, 3
    WRITE icc_bpr1_el1, 7
    PUT GICD + 0x204, 0x1000
    READS "acknowledged", icc_iar1_el1, 44
    READS "the group's priority", icc_rpr_el1, 0
    PUT GICD + 0x204, 0x200
    LINES "the same group does not preempt", 0
    END 44
    TAKE "afterwards", 41
    WRITE icc_ctlr_el1, 1
    WRITE icc_bpr0_el1, 4
    READS "group 0's for both", icc_bpr1_el1, 5
    WRITE icc_ctlr_el1, 0
    WRITE icc_bpr0_el1, 2
    WRITE icc_bpr1_el1, 3

    NAME "level"
    INPUT 43, 1
    LINES "up", IRQ
    PUT GICD + 0x284, 0x800
    EXPECT "software cannot clear it", GICD + 0x204, 0x800
    READS "acknowledged", icc_iar1_el1, 43
    EXPECT "active", GICD + 0x304, 0x800
    LINES "not signalled again", 0
    END 43
    LINES "signalled again after its end", IRQ
    INPUT 43, 0
    LINES "down", 0
    PUT GICD + 0x204, 0x800
    LINES "pending by software", IRQ
    TAKE "by software", 43
    LINES "taken", 0

    NAME "edge"
    INPUT 44, 1
    INPUT 44, 0
    LINES "stays pending", IRQ
    READS "acknowledged", icc_iar1_el1, 44
    INPUT 44, 1
    LINES "not signalled while active", 0
    END 44
    LINES "signalled after the end", IRQ
    TAKE "second", 44
    LINES "the level alone is nothing", 0
    INPUT 44, 0
    INPUT 44, 1
    PUT GICD + 0x284, 0x1000
    LINES "cleared", 0
    INPUT 44, 0

    NAME "private level"
    PUT GICR0 + SGIS + 0x418, 0xa0a0a0a0
    PUT GICR0 + SGIS + 0x100, 1 << 27
    INPUT 27, 1
    LINES "up", IRQ
    EXPECT "pending", GICR0 + SGIS + 0x200, 1 << 27
    READS "acknowledged", icc_iar1_el1, 27
    INPUT 27, 0
    END 27
    LINES "down", 0

    NAME "enables"
    PUT GICD + 0x204, 0x200
    PUT GICD + 0x184, 0x200
    LINES "disabled", 0
    PUT GICD + 0x104, 0x200
    LINES "enabled", IRQ
    PUT GICD, 1
    LINES "without the distributor's group", 0
    PUT GICD, 3
    WRITE icc_igrpen1_el1, 0
    LINES "without the interface's group", 0
    WRITE icc_igrpen1_el1, 1
    TAKE "all on", 41

    NAME "groups"
    PUT GICD + 0x84, 0x1e00                 // 40 in group 0
    PUT GICD + 0x204, 0x100
    LINES "group 0 is FIQ", FIQ
    READS "not in group 1", icc_iar1_el1, SPURIOUS
    READS "highest of group 0", icc_hppir0_el1, 40
    READS "acknowledged", icc_iar0_el1, 40
    READS "ICC_AP0R0_EL1", icc_ap0r0_el1, 0x10000
    WRITE icc_eoir0_el1, 40
    READS "idle", icc_rpr_el1, 0xff
    PUT GICD + 0x84, 0x1f00

    NAME "priority drop and deactivation apart"
    WRITE icc_ctlr_el1, 2
    PUT GICD + 0x204, 0x200
    TAKE "first", 41
    READS "idle", icc_rpr_el1, 0xff
    EXPECT "active", GICD + 0x304, 0x200
    PUT GICD + 0x204, 0x200
    LINES "not while active", 0
    WRITE icc_dir_el1, 41
    LINES "again", IRQ
    TAKE "again", 41
    WRITE icc_dir_el1, 41
    EXPECT "inactive", GICD + 0x304, 0
    WRITE icc_ctlr_el1, 0

    NAME "SGIs"
    PUT GICR0 + SGIS + 0x100, 0xffff
    WRITE icc_sgi1r_el1, (5 << 24) + 1
    LINES "to itself", IRQ
    TAKE "to itself", 5
    WRITE icc_sgi1r_el1, (5 << 24) + (1 << 16) + 1
    LINES "to another cluster", 0
    WRITE icc_sgi0r_el1, (5 << 24) + 1
    LINES "group 0's to one in group 1", 0
    PUT GICR0 + SGIS + 0x80, 0xffffffdf
    WRITE icc_sgi0r_el1, (5 << 24) + 1
    LINES "group 0's to one in group 0", FIQ
    READS "acknowledged", icc_iar0_el1, 5
    WRITE icc_eoir0_el1, 5
    PUT GICR0 + SGIS + 0x80, 0xffffffff
    PUT GICR0 + SGIS + 0x200, 0x20
    LINES "pending by software", IRQ
    TAKE "by software", 5

    NAME "two processors"
    CPU_ON second
    WRITE icc_sgi1r_el1, (7 << 24) + 2
    ANSWERED "listed", 7
    WRITE icc_sgi1r_el1, (9 << 24) + (1 << 40)
    ANSWERED "all others", 9
    PUT64 GICD + 0x6000 + 8 * 41, 1
    EXPECT "route", GICD + 0x6000 + 8 * 41, 1
    PUT GICD + 0x204, 0x200
    ANSWERED "SPI", 41
    PUT64 GICD + 0x6000 + 8 * 41, 0

    NAME "taken"
    WRITE hcr_el2, (1 << 31) + (1 << 4)
    PUT GICD + 0x204, 0x200
    RUN EL1H, i_spin
    CHECK_RECORD "vector", R_VECTOR, 0x2480
    CHECK_ADDRESS "return address", R_ELR, i_spin
    WRITE hcr_el2, 1 << 31
    AT_EL1 "acknowledged at EL1", i_iar1, 41
    SET x1, 41
    RUN EL1H, i_eoir1
    READS "idle", icc_rpr_el1, 0xff
    FINISH

// GICv3: hypervisor control and virtual CPU interface (IHI 0069H, 6, 12.3 and 12.4; contracts I3 and I4).
.include "common.inc"
.include "gic.inc"
    b main

.equ MAINTENANCE, 25
.equ PENDING, 1 << 62
.equ ACTIVE, 2 << 62
.equ HARDWARE, 1 << 61
.equ GROUP1, 1 << 60
.equ AT80, 0x80 << 48                   // priorities
.equ AT40, 0x40 << 48
.equ EOI, 1 << 41
.equ EL1H_IRQ, 0x345                    // IRQ not masked
.equ EL1H_FIQ, 0x385                    // FIQ not masked
STUB i_isr, mrs x0, isr_el1
STUB i_iar0, mrs x0, icc_iar0_el1
STUB i_iar1, mrs x0, icc_iar1_el1
STUB i_hppir1, mrs x0, icc_hppir1_el1
STUB i_rpr, mrs x0, icc_rpr_el1
STUB i_pmr, mrs x0, icc_pmr_el1
STUB i_ctlr, mrs x0, icc_ctlr_el1
STUB i_set_pmr, msr icc_pmr_el1, x1
STUB i_set_ctlr, msr icc_ctlr_el1, x1
STUB i_eoir0, msr icc_eoir0_el1, x1
STUB i_eoir1, msr icc_eoir1_el1, x1
STUB i_dir, msr icc_dir_el1, x1
STUB i_sgi, msr icc_sgi1r_el1, x1
STUB i_vtr, mrs x0, ich_vtr_el2
i_spin: b .
.macro DO code, argument
    SET x1, (\argument)
    RUN EL1H, \code
.endm
.macro TAKE what, id
    AT_EL1 "\what: acknowledged", i_iar1, \id
    DO i_eoir1, \id
.endm

main:
    WRITE hcr_el2, (1 << 31) + (3 << 3)
    NAME "reset"
    READS "list registers", ich_vtr_el2, 3, 0x1f
    READS "priority bits", ich_vtr_el2, 0x90000000, 0xfc000000
    READS "ICH_HCR_EL2", ich_hcr_el2, 0
    READS "ICH_MISR_EL2", ich_misr_el2, 0
    READS "ICH_ELRSR_EL2", ich_elrsr_el2, 0xf
    READS "ICH_EISR_EL2", ich_eisr_el2, 0

    NAME "ICH_VMCR_EL2"
    WRITE ich_vmcr_el2, 0xf8000002
    READS "its fields", ich_vmcr_el2, 0xf84c000a
    AT_EL1 "the guest's mask", i_pmr, 0xf8
    DO i_set_pmr, 0x80
    READS "set by the guest", ich_vmcr_el2, 0x804c000a
    READS "not the physical one", icc_pmr_el1, 0
    DO i_set_ctlr, 2
    READS "mode set by the guest", ich_vmcr_el2, 0x804c020a
    AT_EL1 "ICV_CTLR_EL1", i_ctlr, 0x8402
    WRITE ich_vmcr_el2, 0xf8000002

    NAME "one interrupt"
    WRITE ich_lr0_el2, PENDING + GROUP1 + AT80 + 50
    AT_EL1 "not enabled", i_isr, 0
    WRITE ich_hcr_el2, 1
    AT_EL1 "line", i_isr, IRQ
    LINES "physical line", 0
    READS "not empty", ich_elrsr_el2, 0xe
    AT_EL1 "highest", i_hppir1, 50
    AT_EL1 "not in group 0", i_iar0, SPURIOUS
    AT_EL1 "acknowledged", i_iar1, 50
    READS "active", ich_lr0_el2, ACTIVE + GROUP1 + AT80 + 50
    AT_EL1 "running", i_rpr, 0x80
    READS "ICH_AP1R0_EL2", ich_ap1r0_el2, 0x10000
    AT_EL1 "line while active", i_isr, 0
    DO i_eoir1, 50
    READS "ended", ich_lr0_el2, GROUP1 + AT80 + 50
    READS "empty", ich_elrsr_el2, 0xf
    AT_EL1 "idle", i_rpr, 0xff
    WRITE ich_lr0_el2, PENDING + GROUP1 + AT80 + 50
    RUN EL1H_IRQ, i_spin
    CHECK_RECORD "vector", R_VECTOR, 0x1280
    DO i_set_pmr, 0x80
    AT_EL1 "masked by priority", i_isr, 0
    DO i_set_pmr, 0xff
    TAKE "unmasked", 50

    NAME "priorities"
    WRITE ich_lr0_el2, PENDING + GROUP1 + AT80 + 50
    WRITE ich_lr1_el2, PENDING + GROUP1 + AT40 + 51
    TAKE "first", 51
    AT_EL1 "second", i_iar1, 50
    WRITE ich_lr2_el2, PENDING + GROUP1 + AT40 + 52
    AT_EL1 "preempts", i_isr, IRQ
    AT_EL1 "third", i_iar1, 52
    READS "ICH_AP1R0_EL2", ich_ap1r0_el2, 0x10100
    DO i_eoir1, 52
    DO i_eoir1, 50
    AT_EL1 "idle", i_rpr, 0xff

    NAME "end of interrupt maintenance"
    PUT GICD, 3
    PUT GICR0 + SGIS + 0x80, 0xffffffff
    PUT GICR0 + SGIS + 0x100, 1 << MAINTENANCE
    WRITE icc_igrpen1_el1, 1
    WRITE icc_pmr_el1, 0xff
    WRITE ich_lr0_el2, PENDING + GROUP1 + AT80 + EOI + 50
    TAKE "one", 50
    READS "ICH_EISR_EL2", ich_eisr_el2, 1
    READS "ICH_MISR_EL2", ich_misr_el2, 1
    READS "still occupied", ich_elrsr_el2, 0xe
    LINES "interrupt", IRQ
    READS "its number", icc_iar1_el1, MAINTENANCE
    WRITE ich_lr0_el2, 0
    READS "ICH_MISR_EL2 cleared", ich_misr_el2, 0
    WRITE icc_eoir1_el1, MAINTENANCE
    LINES "over", 0

    NAME "underflow maintenance"
    WRITE ich_hcr_el2, 3
    READS "none", ich_misr_el2, 2
    LINES "interrupt", IRQ
    WRITE ich_lr0_el2, PENDING + GROUP1 + AT80 + 50
    READS "one", ich_misr_el2, 2
    WRITE ich_lr1_el2, ACTIVE + GROUP1 + AT80 + 51
    READS "two", ich_misr_el2, 0
    LINES "none", 0
    WRITE ich_lr1_el2, 0

    NAME "other maintenance"
    WRITE ich_hcr_el2, 9
    READS "something is pending", ich_misr_el2, 0
    WRITE ich_lr0_el2, ACTIVE + GROUP1 + AT80 + 50
    READS "nothing is pending", ich_misr_el2, 8
    WRITE ich_lr0_el2, 0
    WRITE ich_hcr_el2, 5
    DO i_eoir1, 60
    READS "an end without an active priority", ich_hcr_el2, 5
    WRITE ich_ap1r0_el2, 0x10000
    DO i_eoir1, 60
    READS "an end that is in no list register", ich_hcr_el2, (1 << 27) + 5
    READS "counted", ich_misr_el2, 4
    WRITE ich_hcr_el2, 0x51
    READS "group 1 is enabled", ich_misr_el2, 0x40
    WRITE ich_hcr_el2, 0xa1
    READS "group 0 is disabled", ich_misr_el2, 0x20
    WRITE ich_hcr_el2, 1

    NAME "a physical interrupt behind it"
    PUT GICD + 0x84, 0x800
    PUT GICD + 0x104, 0x800
    WRITE icc_ctlr_el1, 2
    INPUT 43, 1
    READS "physical", icc_iar1_el1, 43
    WRITE icc_eoir1_el1, 43
    LINES "held active", 0
    WRITE ich_lr0_el2, PENDING + HARDWARE + GROUP1 + AT80 + (43 << 32) + 60
    AT_EL1 "virtual", i_iar1, 60
    EXPECT "both active", GICD + 0x304, 0x800
    DO i_eoir1, 60
    EXPECT "ended", GICD + 0x304, 0
    LINES "offered again", IRQ
    INPUT 43, 0
    LINES "unless its line is down", 0

    NAME "groups and LPIs"
    WRITE ich_vmcr_el2, 0xf8000003
    WRITE ich_lr0_el2, PENDING + AT80 + 50
    AT_EL1 "group 0 is FIQ", i_isr, FIQ
    RUN EL1H_FIQ, i_spin
    CHECK_RECORD "vector", R_VECTOR, 0x1300
    AT_EL1 "not in group 1", i_iar1, SPURIOUS
    AT_EL1 "group 0", i_iar0, 50
    DO i_eoir0, 50
    READS "ended", ich_elrsr_el2, 0xf
    WRITE ich_lr0_el2, PENDING + GROUP1 + AT80 + 8192
    AT_EL1 "an LPI", i_iar1, 8192
    READS "has no active state", ich_elrsr_el2, 0xf
    DO i_eoir1, 8192
    AT_EL1 "idle", i_rpr, 0xff
    READS "not counted", ich_hcr_el2, 1

    NAME "priority drop and deactivation apart"
    DO i_set_ctlr, 2
    WRITE ich_lr0_el2, PENDING + GROUP1 + AT80 + 50
    TAKE "first", 50
    AT_EL1 "idle", i_rpr, 0xff
    READS "active", ich_lr0_el2, ACTIVE + GROUP1 + AT80 + 50
    DO i_dir, 50
    READS "inactive", ich_lr0_el2, GROUP1 + AT80 + 50
    DO i_set_ctlr, 0

    NAME "traps"
    CASE "SGIs are the hypervisor's", EL1H, i_sgi, 0, EL2_LOWER, 0x623a3036, i_sgi
    CASE "ICH registers at EL1", EL1H, i_vtr, 0, EL1_SAME, 0x02000000, i_vtr
    WRITE ich_hcr_el2, (1 << 10) + 1
    CASE "common registers", EL1H, i_pmr, 0, EL2_LOWER, 0x6230100d, i_pmr
    CASE "not those of a group", EL1H, i_iar1, 0, EL1_SAME, DONE
    WRITE ich_hcr_el2, (1 << 11) + 1
    CASE "group 0", EL1H, i_iar0, 0, EL2_LOWER, 0x62303011, i_iar0
    WRITE ich_hcr_el2, (1 << 12) + 1
    CASE "group 1", EL1H, i_iar1, 0, EL2_LOWER, 0x62303019, i_iar1
    WRITE ich_hcr_el2, (1 << 14) + 1
    CASE "deactivation", EL1H, i_dir, 0, EL2_LOWER, 0x62323036, i_dir
    FINISH

// Performance monitors (DDI 0487, D12 and the PM* registers).
.include "common.inc"
    b main

.equ CYCLES, 1 << 31

// Ten iterations of three instructions between an ISB and a stop.
.macro COUNTED_LOOP
    mov x2, #10
    isb
    WRITE pmcr_el0, 1
    isb
1:  ldr x3, [x1]
    subs x2, x2, #1
    b.ne 1b
    isb
    msr pmcr_el0, xzr
    isb
.endm
// x14 is at least `low` and at most `high`.
.macro WITHIN what, low, high
    mov x11, x14
    SET x12, (\low)
    cmp x11, x12
    b.lo 9f
    SET x12, (\high)
    cmp x11, x12
    b.ls 6f
9:  mov x14, #0
    CHECK "\what", x11, \low
6:
.endm
.equ TRAP_SYS, 0x62000000
.macro SYSREG_TRAP text, spsr, code, vector, op1, crn, crm, op2, rt, read
    CASE "\text", \spsr, \code, 0, \vector, TRAP_SYS + (3 << 20) + (\op2 << 17) + (\op1 << 14) + (\crn << 10) + (\rt << 5) + (\crm << 1) + \read, \code
.endm
STUB i_mrs_pmcr, mrs x4, pmcr_el0
STUB i_mrs_pmccntr, mrs x4, pmccntr_el0
STUB i_msr_pmccntr, msr pmccntr_el0, x4
STUB i_mrs_pmevcntr, mrs x4, pmevcntr0_el0
STUB i_msr_pmswinc, msr pmswinc_el0, x4
STUB i_msr_pmselr, msr pmselr_el0, x4
STUB i_mrs_pmuserenr, mrs x4, pmuserenr_el0
STUB i_msr_pmuserenr, msr pmuserenr_el0, x4
STUB i_mrs_pminten, mrs x4, pmintenset_el1
i_count:
    mov x2, #20
1:  subs x2, x2, #1
    b.ne 1b
    svc #0x99

i_forever:
    b i_forever

main:
    SET x1, 0x40500000
    NAME "identification"
    mrs x14, id_aa64dfr0_el1
    ubfx x14, x14, #8, #4
    cbz x14, finish_absent
    mrs x14, pmcr_el0
    ubfx x14, x14, #11, #5
    CHECK "counters", x14, 6
    NAME "mandatory events"
    mrs x14, pmceid0_el0
    SET x9, 0x20901                     // SW_INCR, INST_RETIRED, L1D... : what the next checks count
    and x14, x14, x9
    SET x9, 0x20101
    and x14, x14, x9
    CHECK "PMCEID0_EL0", x14, 0x20101

    NAME "software increment"
    WRITE mdcr_el2, 6
    WRITE pmcntenset_el0, 1
    WRITE pmevtyper0_el0, 1 << 27
    WRITE pmevcntr0_el0, 0xfffffffe
    WRITE pmovsclr_el0, 0xffffffff
    WRITE pmcr_el0, 1
    WRITE pmswinc_el0, 1
    mrs x14, pmevcntr0_el0
    CHECK "once", x14, 0xffffffff
    mrs x14, pmovsset_el0
    CHECK "no overflow", x14, 0
    WRITE pmswinc_el0, 3
    mrs x14, pmevcntr0_el0
    CHECK "twice", x14, 0
    mrs x14, pmovsset_el0
    CHECK "overflow", x14, 1
    WRITE pmovsclr_el0, 1
    mrs x14, pmovsset_el0
    CHECK "cleared", x14, 0
    WRITE pmcr_el0, 0
    WRITE pmswinc_el0, 1
    mrs x14, pmevcntr0_el0
    CHECK "not while disabled", x14, 0

    NAME "instructions at EL2"
    WRITE pmevtyper0_el0, (1 << 27) + 8
    WRITE pmevcntr0_el0, 0
    COUNTED_LOOP
    mrs x14, pmevcntr0_el0
    WITHIN "count", 30, 45
    NAME "not without NSH"
    WRITE pmevtyper0_el0, 8
    WRITE pmevcntr0_el0, 0
    COUNTED_LOOP
    mrs x14, pmevcntr0_el0
    CHECK "count", x14, 0
    NAME "cycles"
    WRITE pmccfiltr_el0, 1 << 27
    WRITE pmcntenset_el0, CYCLES
    WRITE pmccntr_el0, 0
    WRITE pmcr_el0, 1
    isb
    mrs x14, pmccntr_el0
    isb
    mrs x15, pmccntr_el0
    cmp x15, x14
    cset x14, hi
    CHECK "they go up", x14, 1
    WRITE pmcr_el0, 0
    isb
    mrs x14, pmccntr_el0
    mrs x15, pmccntr_el0
    sub x14, x15, x14
    CHECK "they stand still", x14, 0
    WRITE pmcr_el0, 4
    mrs x14, pmccntr_el0
    CHECK "PMCR_EL0.C", x14, 0
    WRITE pmcntenclr_el0, 0xffffffff

    NAME "filters"
    WRITE pmevtyper0_el0, 8 + (1 << 31)
    WRITE pmevtyper1_el0, 8 + (1 << 30)
    WRITE pmevcntr0_el0, 0
    WRITE pmevcntr1_el0, 0
    WRITE pmcntenset_el0, 3
    WRITE pmcr_el0, 1
    RUN EL0T, i_count
    WRITE pmcr_el0, 0
    mrs x14, pmevcntr0_el0
    WITHIN "at EL0, not EL1", 41, 43
    mrs x14, pmevcntr1_el0
    WITHIN "at EL1, not EL0", 0, 2
    WRITE pmcntenclr_el0, 0xffffffff

    NAME "overflow of a counter that runs"
    WRITE pmevtyper0_el0, (1 << 27) + 8
    WRITE pmevcntr0_el0, 0xfffffff0
    WRITE pmcntenset_el0, 1
    COUNTED_LOOP
    mrs x14, pmovsset_el0
    CHECK "flag", x14, 1
    mrs x14, pmevcntr0_el0
    WITHIN "value", 14, 40
    WRITE pmovsclr_el0, 1

    // The interrupt: pending at EL2, taken once PSTATE.I allows it.
    NAME "overflow interrupt"
    WRITE hcr_el2, (1 << 31) + (1 << 4)
    WRITE pmevtyper0_el0, 8
    WRITE pmevcntr0_el0, 0xffffff00
    WRITE pmintenset_el1, 1
    WRITE pmcr_el0, 1
    adr x9, i_forever
    mov x10, #0x345                     // EL1h, I clear
    bl run
    CHECK_RECORD "vector", R_VECTOR, 0x2480
    WRITE pmcr_el0, 0
    mrs x14, pmovsset_el0
    CHECK "flag", x14, 1
    mrs x14, isr_el1
    CHECK "no longer pending while disabled", x14, 0
    WRITE pmovsclr_el0, 1
    WRITE pmintenclr_el1, 1
    WRITE hcr_el2, 1 << 31

    NAME "hypervisor's counters"
    WRITE mdcr_el2, 2
    CASE "PMCR_EL0 at EL1", EL1H, i_mrs_pmcr, 0, EL1_SAME, DONE
    ubfx x14, x4, #11, #5
    CHECK "N is HPMN", x14, 2
    WRITE mdcr_el2, 6

    SYSREG_TRAP "PMCR_EL0 at EL0", EL0T, i_mrs_pmcr, EL1_LOWER, 3, 9, 12, 0, 4, 1
    SYSREG_TRAP "PMCCNTR_EL0 at EL0", EL0T, i_mrs_pmccntr, EL1_LOWER, 3, 9, 13, 0, 4, 1
    SYSREG_TRAP "PMSWINC_EL0 at EL0", EL0T, i_msr_pmswinc, EL1_LOWER, 3, 9, 12, 4, 4, 0
    CASE "PMUSERENR_EL0 read at EL0", EL0T, i_mrs_pmuserenr, 0, EL1_LOWER, DONE
    WRITE pmuserenr_el0, 4
    CASE "PMCCNTR_EL0 at EL0 with CR", EL0T, i_mrs_pmccntr, 0, EL1_LOWER, DONE
    SYSREG_TRAP "PMCCNTR_EL0 write at EL0 with CR", EL0T, i_msr_pmccntr, EL1_LOWER, 3, 9, 13, 0, 4, 0
    SYSREG_TRAP "PMEVCNTR0_EL0 at EL0 with CR", EL0T, i_mrs_pmevcntr, EL1_LOWER, 3, 14, 8, 0, 4, 1
    WRITE pmuserenr_el0, 8
    CASE "PMEVCNTR0_EL0 at EL0 with ER", EL0T, i_mrs_pmevcntr, 0, EL1_LOWER, DONE
    CASE "PMSELR_EL0 at EL0 with ER", EL0T, i_msr_pmselr, 0, EL1_LOWER, DONE
    WRITE pmuserenr_el0, 1
    CASE "PMCR_EL0 at EL0 with EN", EL0T, i_mrs_pmcr, 0, EL1_LOWER, DONE
    CASE "PMINTENSET_EL1 at EL0", EL0T, i_mrs_pminten, 0, EL1_LOWER, 0x02000000, i_mrs_pminten
    WRITE mdcr_el2, 6 + (1 << 6)
    SYSREG_TRAP "PMCR_EL0 with TPM", EL1H, i_mrs_pmcr, EL2_LOWER, 3, 9, 12, 0, 4, 1
    SYSREG_TRAP "PMINTENSET_EL1 with TPM", EL1H, i_mrs_pminten, EL2_LOWER, 0, 9, 14, 1, 4, 1
    SYSREG_TRAP "PMCCNTR_EL0 at EL0 with TPM", EL0T, i_mrs_pmccntr, EL2_LOWER, 3, 9, 13, 0, 4, 1
    WRITE mdcr_el2, 6 + (1 << 5)
    SYSREG_TRAP "PMCR_EL0 with TPMCR", EL1H, i_mrs_pmcr, EL2_LOWER, 3, 9, 12, 0, 4, 1
    CASE "PMCCNTR_EL0 with TPMCR", EL1H, i_mrs_pmccntr, 0, EL1_SAME, DONE
    WRITE mdcr_el2, 6
finish_absent:
    FINISH

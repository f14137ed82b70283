// The x87 instructions as helpers that IR calls, one call per instruction.
//
// `spec` says which instruction it is (X87Spec); memory forms get the linear address of their operand, checked against its
// segment. A helper makes pending exceptions due (#MF, or FERR# with CR0.NE = 0) unless the instruction is a non-waiting
// one, accesses memory, executes, and keeps FOP, FIP and FDP. #NM and #UD by CR0 are the lifter's. Each returns None when
// the instruction is complete (an unmasked exception of its own included: it is pending in FSW), else the state is as before
// it. vCPU thread.
#pragma once

#include "base/bits.h"
#include "cpu/x86/system/system.h"
#include "cpu/x86/translate_state.h"

namespace tandem::cpu::x86 {

namespace fsw {
constexpr u16 IE = 1u << 0, DE = 1u << 1, ZE = 1u << 2, OE = 1u << 3, UE = 1u << 4, PE = 1u << 5, SF = 1u << 6, ES = 1u << 7,
              C0 = 1u << 8, C1 = 1u << 9, C2 = 1u << 10, TOP = 7u << 11, C3 = 1u << 14, B = 1u << 15;
constexpr u16 Exceptions = IE | DE | ZE | OE | UE | PE;
constexpr u16 Conditions = C0 | C1 | C2 | C3;
}  // namespace fsw

// What a helper has to know about its instruction, packed into the constant that IR passes.
struct X87Spec {
    u32 value = 0;

    // `fop`: the low three bits of the first opcode byte, then ModRM. `wide`: 32-bit operand size, for the forms in which
    // the environment is saved.
    static constexpr X87Spec make(unsigned fop, unsigned segment, unsigned mmu, bool wide) {
        return {(fop & 0x7ff) | segment << 11 | mmu << 14 | (wide ? 1u : 0u) << 18};
    }
    [[nodiscard]] constexpr u16 fop() const { return static_cast<u16>(value & 0x7ff); }
    [[nodiscard]] constexpr unsigned rm() const { return value & 7; }
    [[nodiscard]] constexpr unsigned reg() const { return (value >> 3) & 7; }
    // 0..7 for D8..DF.
    [[nodiscard]] constexpr unsigned escape() const { return (value >> 8) & 7; }
    [[nodiscard]] constexpr unsigned segment() const { return (value >> 11) & 7; }
    [[nodiscard]] constexpr unsigned mmu() const { return (value >> 14) & 15; }
    [[nodiscard]] constexpr bool wide() const { return bit(value, 18); }
};

// FWAIT, and what every MMX instruction does first: LeaveReason of a pending unmasked exception.
LeaveReason x87_wait(TranslateState* t);

// D8, DC, DE. The register forms are told apart by the escape byte: ST(0) destination, ST(i), ST(i) and pop.
LeaveReason x87_arith(TranslateState* t, u32 spec);
LeaveReason x87_arith_m32(TranslateState* t, u32 spec, u64 va);
LeaveReason x87_arith_m64(TranslateState* t, u32 spec, u64 va);
LeaveReason x87_arith_i32(TranslateState* t, u32 spec, u64 va);
LeaveReason x87_arith_i16(TranslateState* t, u32 spec, u64 va);

// FCOM(P), FUCOM(P), FCOMPP, FUCOMPP against ST(rm); pops = 0..2.
LeaveReason x87_compare(TranslateState* t, u32 spec, u32 pops);
LeaveReason x87_compare_unordered(TranslateState* t, u32 spec, u32 pops);
// FCOMI(P), FUCOMI(P): EFLAGS as CcKind::Explicit in the lazy slots. `how`: bit 0 pop, bit 1 unordered.
LeaveReason x87_compare_flags(TranslateState* t, u32 spec, u32 how);

LeaveReason x87_load_m32(TranslateState* t, u32 spec, u64 va);
LeaveReason x87_load_m64(TranslateState* t, u32 spec, u64 va);
LeaveReason x87_load_m80(TranslateState* t, u32 spec, u64 va);
LeaveReason x87_load_i16(TranslateState* t, u32 spec, u64 va);
LeaveReason x87_load_i32(TranslateState* t, u32 spec, u64 va);
LeaveReason x87_load_i64(TranslateState* t, u32 spec, u64 va);
LeaveReason x87_load_bcd(TranslateState* t, u32 spec, u64 va);
LeaveReason x87_load_sti(TranslateState* t, u32 spec);
LeaveReason x87_load_constant(TranslateState* t, u32 spec);  // D9 E8..EE

LeaveReason x87_store_m32(TranslateState* t, u32 spec, u64 va, u32 pop);
LeaveReason x87_store_m64(TranslateState* t, u32 spec, u64 va, u32 pop);
LeaveReason x87_store_m80(TranslateState* t, u32 spec, u64 va);
LeaveReason x87_store_i16(TranslateState* t, u32 spec, u64 va, u32 pop);
LeaveReason x87_store_i32(TranslateState* t, u32 spec, u64 va, u32 pop);
LeaveReason x87_store_i64(TranslateState* t, u32 spec, u64 va);
LeaveReason x87_store_bcd(TranslateState* t, u32 spec, u64 va);
LeaveReason x87_store_truncated(TranslateState* t, u32 spec, u64 va);  // FISTTP; the size by the escape byte
LeaveReason x87_store_sti(TranslateState* t, u32 spec, u32 pop);

LeaveReason x87_exchange(TranslateState* t, u32 spec);
LeaveReason x87_cmov(TranslateState* t, u32 spec, u32 condition);  // `condition`: the move happens
LeaveReason x87_sign(TranslateState* t, u32 spec);                 // FCHS, FABS
LeaveReason x87_math(TranslateState* t, u32 spec);                 // the rest of D9 E4..FF but FINCSTP, FDECSTP
LeaveReason x87_stack(TranslateState* t, u32 spec);                // FINCSTP, FDECSTP, FFREE, FFREEP
LeaveReason x87_nop(TranslateState* t, u32 spec);                  // FNOP, FNENI, FNDISI, FNSETPM

// Control. FNINIT, FNCLEX, FNSTCW, FNSTSW, FNSTENV, FNSAVE do not wait.
LeaveReason x87_init(TranslateState* t);
LeaveReason x87_clear_exceptions(TranslateState* t);
LeaveReason x87_load_control(TranslateState* t, u32 spec, u64 va);
LeaveReason x87_store_control(TranslateState* t, u32 spec, u64 va);
LeaveReason x87_store_status(TranslateState* t, u32 spec, u64 va);
LeaveReason x87_load_environment(TranslateState* t, u32 spec, u64 va);
LeaveReason x87_store_environment(TranslateState* t, u32 spec, u64 va);
LeaveReason x87_restore(TranslateState* t, u32 spec, u64 va);
LeaveReason x87_save(TranslateState* t, u32 spec, u64 va);

// Values below are shared with FXSAVE and XSAVE.

// Full tag word (2 bits per physical register) of the current registers.
u16 x87_full_tags(const X87& x);
// Sets ES and B from the exception flags and masks.
void x87_update_summary(X87& x);

}  // namespace tandem::cpu::x86

// Guest state as the translator sees it: State plus what translation needs beside it. The frame pointer points at it.
//
// Arithmetic flags are lazy while guest code runs: {cc_op, cc_dst, cc_src, cc_src2} say how to compute CF PF AF ZF SF OF;
// the other flags are in state.rflags (whose arithmetic bits are then stale). export_flags() makes rflags canonical;
// import_flags() the reverse.
#pragma once

#include "cpu/x86/model.h"
#include "cpu/x86/platform.h"
#include "cpu/x86/state.h"

namespace tandem::cpu::x86 {

// How the lazy flags were made. Rows come in four widths: value = (kind << 2) | log2(bytes).
enum class CcKind : u8 {
    Explicit,  // cc_src holds CF PF AF ZF SF OF in their EFLAGS positions
    Add,       // dst = result, src = second operand (first = dst - src)
    Adc,       // dst = result, src = second operand, src2 = carry in
    Sub,       // dst = result, src = second operand (first = dst + src); CMP, NEG (first = 0)
    Sbb,       // like Sub with src2 = borrow in
    Logic,     // dst = result; CF = OF = AF = 0
    Inc,       // dst = result, src = CF kept from before (0 or 1)
    Dec,
    Shl,  // dst = result, src = the first operand shifted by count - 1 (its top bit is CF)
    Shr,  // dst = result, src = the first operand shifted by count - 1 (its bit 0 is CF); SAR too
    Mul,  // dst = low half, src = non-zero when CF = OF = 1
    Blsi,
    Blsr,
    Bmsk,  // BMI1: dst = result, src = source operand
};
constexpr u32 cc_op(CcKind kind, unsigned bytes) {
    return static_cast<u32>(kind) << 2 | (bytes == 1 ? 0u : bytes == 2 ? 1u : bytes == 4 ? 2u : 3u);
}

// Added to cc_op when an instruction has changed CF or OF alone since: they are bits 1 and 2 of src2 then.
constexpr u32 kCcCarry = 1u << 6;
constexpr u32 kCcOverflow = 1u << 7;

struct TranslateState {
    State s;  // offset 0
    u32 cc_op = 0;
    u64 cc_dst = 0;
    u64 cc_src = 0;
    u64 cc_src2 = 0;
    u64 df_step = 1;  // +1 or -1 (two's complement) from EFLAGS.DF, which is not in state.rflags meanwhile
    alignas(16) u64 scratch_vec[4][2] = {};   // memory operands on their way into helpers
    alignas(16) u64 simd_operand[3][4] = {};  // of a watched SIMD operation, see simd_end()
    u64 scratch[4] = {};
    // With DEBUGCTL.LBR: a branch at branch_from was taken, and its target is where execution goes on (last_branch.h).
    bool branch_taken = false;
    u64 branch_from = 0;
    // Where debug_begin() has cleared RF last: the instruction there has not been executed as long as rip stands at it.
    u64 resumed_at = ~u64{0};
    const CpuModel* model = nullptr;
    Platform* platform = nullptr;
};

// The arithmetic flags (CF PF AF ZF SF OF in their EFLAGS positions) of a lazy description. Pure.
u32 compute_flags(u32 cc_op, u64 dst, u64 src, u64 src2);
void export_flags(TranslateState& t);
void import_flags(TranslateState& t);

}  // namespace tandem::cpu::x86

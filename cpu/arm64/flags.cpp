#include "base/bits.h"
#include "cpu/arm64/translate_state.h"

namespace tandem::cpu::arm64 {
namespace {

// AddWithCarry of the manual's shared pseudocode.
u32 nzcv_of(u64 a, u64 b, u64 carry, unsigned width) {
    const u128 sum = static_cast<u128>(a) + b + carry;
    const u64 result = static_cast<u64>(sum) & mask(width);
    u32 nzcv = 0;
    if (bit(result, width - 1)) nzcv |= static_cast<u32>(pstate::kN);
    if (result == 0) nzcv |= static_cast<u32>(pstate::kZ);
    if ((sum >> width & 1) != 0) nzcv |= static_cast<u32>(pstate::kC);
    if (bit((a ^ result) & (b ^ result), width - 1)) nzcv |= static_cast<u32>(pstate::kV);
    return nzcv;
}

}  // namespace

u32 compute_nzcv(u32 cc_op, u64 a, u64 b) {
    switch (static_cast<CcOp>(cc_op)) {
        case CcOp::Add32: return nzcv_of(a, b, 0, 32);
        case CcOp::Add64: return nzcv_of(a, b, 0, 64);
        case CcOp::Sub32: return nzcv_of(a, ~b & mask(32), 1, 32);
        case CcOp::Sub64: return nzcv_of(a, ~b, 1, 64);
        case CcOp::Logic32: return nzcv_of(a & mask(32), 0, 0, 32);
        case CcOp::Logic64: return nzcv_of(a, 0, 0, 64);
        case CcOp::Explicit: break;
    }
    return static_cast<u32>(a & pstate::kNzcv);
}

void export_flags(TranslateState& t) {
    t.s.pstate = (t.s.pstate & ~pstate::kNzcv) | compute_nzcv(t.cc_op, t.cc_a, t.cc_b);
    import_flags(t);
}

void import_flags(TranslateState& t) {
    t.cc_op = static_cast<u32>(CcOp::Explicit);
    t.cc_a = t.s.pstate & pstate::kNzcv;
    t.cc_b = 0;
}

}  // namespace tandem::cpu::arm64

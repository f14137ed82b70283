// Guest state as the translator sees it: State plus what translation needs beside it. The frame pointer points at it.
//
// NZCV is lazy while guest code runs: {cc_op, cc_a, cc_b} say how to compute it, and the bits in State::pstate are stale.
// export_flags() makes pstate canonical; import_flags() the reverse.
#pragma once

#include "cpu/arm64/model.h"
#include "cpu/arm64/state.h"
#include "cpu/arm64/system/platform.h"

namespace tandem::cpu::arm64 {

enum class CcOp : u32 {
    Explicit,  // cc_a holds NZCV in bits 31:28
    Add32,     // flags of a + b; 32-bit operands are zero-extended
    Add64,
    Sub32,  // flags of a - b
    Sub64,
    Logic32,  // N and Z of a; C and V are 0
    Logic64,
};

struct TranslateState {
    State s;  // offset 0
    u32 cc_op = 0;
    u64 cc_a = 0;
    u64 cc_b = 0;
    u64 scratch[4] = {};
    alignas(16) u64 scratch_vec[4][2] = {};  // vector operands on their way into and out of helpers
    bool guarded_pages = false;              // a page with GP = 1 has been seen: BTI is checked from then on
    bool tagged_addresses = false;           // the TLB may hold addresses with a non-canonical top byte
    const CpuModel* model = nullptr;
    Platform* platform = nullptr;
};

// NZCV in bits 31:28 of a lazy description. Pure.
u32 compute_nzcv(u32 cc_op, u64 a, u64 b);
void export_flags(TranslateState& t);
void import_flags(TranslateState& t);

}  // namespace tandem::cpu::arm64

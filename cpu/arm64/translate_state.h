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

// What blocks count for the performance monitors (system/pmu.h).
enum class Counted : unsigned { Instruction, Load, Store, Branch, Count_ };

// What the syndrome of a Software Step exception says of the instruction.
enum Stepped : u32 { kStepped = 1, kSteppedExclusive = 2 };

struct TranslateState {
    State s;  // offset 0
    u32 cc_op = 0;
    u64 cc_a = 0;
    u64 cc_b = 0;
    u64 scratch[4] = {};
    alignas(16) u64 scratch_vec[4][2] = {};  // vector operands on their way into and out of helpers
    bool guarded_pages = false;              // a page with GP = 1 has been seen: BTI is checked from then on
    u64 page_looked_up = ~u64{0};            // the code page, with its MMU index, that page_guarded speaks of
    bool page_guarded = false;
    std::array<u64, 2> stream_events{};  // of the event streams, those that WFE has seen
    u64 first_wait = 0, last_wait = 0;   // WFE: host nanoseconds
    bool multiprocessor = false;         // other PEs share memory (ModeBits::kShared)
    // Where other PEs share memory: whether one may know of the Load-Exclusive that was last, since this PE has stored or
    // sent an event; where it was; and the places at which Store-Exclusive was found behind such a thing (lift/atomics.cpp).
    u8 exclusive_told = 0;
    u8 exclusive_site = 0;
    std::array<u8, 64> told_sites{};
    bool tagged_addresses = false;  // the TLB may hold addresses with a non-canonical top byte
    u32 stepped = 0;                // software step: Stepped bits of the instruction that was stepped last
    bool pmu_interrupt = false;     // the level of the performance monitors' interrupt
    std::array<u64, static_cast<std::size_t>(Counted::Count_)> counted{};  // since the last pmu_sync()
    u64 count_limit = ~u64{0};                                             // instructions until a counter may overflow
    const CpuModel* model = nullptr;
    Platform* platform = nullptr;
};

// NZCV in bits 31:28 of a lazy description. Pure.
u32 compute_nzcv(u32 cc_op, u64 a, u64 b);
void export_flags(TranslateState& t);
void import_flags(TranslateState& t);

}  // namespace tandem::cpu::arm64

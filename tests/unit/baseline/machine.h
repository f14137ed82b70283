// A toy guest for testing the code generator: state, paged memory behind a soft TLB, slow paths and helpers, and an
// evaluator of IR that shares no code with the tiers.
#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "jit/guest/guest.h"
#include "jit/interp/interpreter.h"
#include "jit/ir/vector_row.h"
#include "jit/runtime/backend.h"

namespace tandem::jit::test {

constexpr u32 kStateBytes = 1024;
constexpr u32 kPcOffset = 992;
constexpr u64 kMemoryBase = 0x100000;
constexpr u64 kPages = 64;

enum HelperIndex : u32 { kMix, kHashState, kScramble, kMaybeLeave, kOpaque, kCount5, kLeaveNoting, kHelpers };

class ToyGuest final : public Guest {
public:
    ToyGuest();
    const StateLayout& layout() const override { return layout_; }
    std::span<const Helper> helpers() const override { return helpers_; }
    ir::BlockKey current_key(void*) const override { return {}; }
    LiftStatus lift(const ir::BlockKey&, const CodeWindow&, unsigned, ir::Block&) const override { return LiftStatus::Ok; }
    unsigned fetch_mmu(u64) const override { return 0; }
    bool translate(void*, u64, Access, unsigned, Translation&) const override { return false; }
    void alignment_fault(void*, u64, Access, unsigned) const override {}
    ir::LeaveReason deliver_exception(void*) const override { return ir::LeaveReason::Exit; }
    bool poll_interrupts(void*) const override { return false; }
    std::string disassemble(const ir::BlockKey&, std::span<const u8>) const override { return {}; }

private:
    StateLayout layout_;
    std::vector<Helper> helpers_;
};

// What a page does with an access.
enum class PageKind { Fast, ReadOnlyTag, Slow, Fault };
PageKind kind_of(u64 va);

struct Outcome {
    ir::LeaveReason reason = ir::LeaveReason::None;
    bool direct = false;  // left through a link slot
};

// A vCPU's frame and its memory. Copyable by contents.
class Machine {
public:
    Machine();
    Machine(const Machine&) = delete;
    void copy_from(const Machine& other);
    void randomize(std::mt19937_64& random);
    [[nodiscard]] bool same_as(const Machine& other) const;

    u8* state() { return frame_->state; }
    FrameHeader& header() { return frame_->header; }
    [[nodiscard]] u64 pc() const;
    std::vector<u8>& memory() { return memory_; }
    std::vector<JumpCacheEntry>& jump_cache() { return jump_cache_; }

    // Any access, as the slow path makes it. False: fault, nothing changed.
    bool access(u64 va, unsigned size, u32 mem_flags, bool write, u8* data);
    u64 slow_accesses = 0;

    // As access() does, of the elements that a mask selects.
    bool masked_access(u64 va, unsigned size, unsigned element, u32 mem_flags, bool write, const u8* mask, u8* data);

    // Executes a block on the evaluator, on the interpreter.
    Outcome evaluate(const ir::Block& block);
    ir::LeaveReason interpret(const ir::Block& block);

private:
    struct alignas(64) Frame {
        i32 hot_counters[16] = {};  // as jit/runtime/hot_counters.h has them
        FrameHeader header;
        u8 state[kStateBytes];
    };
    std::unique_ptr<Frame> frame_;
    std::vector<u8> memory_;
    std::vector<TlbEntry> tlb_;
    std::vector<JumpCacheEntry> jump_cache_;
};

// Immediates that tests use with the rows that take one.
constexpr u8 kRowImmediates[] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,   10,  11,  12,  13,  14,
                                 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,  25,  26,  27,  28,  29,
                                 30, 31, 32, 40, 48, 63, 64, 80, 78, 147, 177, 228, 255, 129, 170};

// Evaluates the rows of vector_ops.inc by the host's instruction.
struct alignas(32) Wide {
    u64 lo = 0, hi = 0;
    u64 upper[2] = {};
};
// In the legacy SSE form, for xmm registers. False: there is none.
bool evaluate_vector_row(const ir::Inst& inst, const Wide* args, ir::Type arg1_type, Wide& out);
// In the VEX form; only on hosts of which has_vex() is true.
bool evaluate_vex_row(const ir::Inst& inst, ir::Type vector, const Wide* args, ir::Type arg1_type, Wide& out);
// AVX2, FMA and F16C.
bool has_vex();

// Runs a block compiled by `backend` on `machine` and says how it left.
Outcome run_compiled(Backend& backend, Machine& machine, const TranslatedBlock& block);

}  // namespace tandem::jit::test

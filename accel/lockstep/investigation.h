// Finds the instruction that made two engines differ, from what both agreed on last, and says so.
#pragma once

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "accel/lockstep/compare.h"
#include "accel/lockstep/side.h"

namespace tandem::accel::lockstep {

// What a stretch of execution begins with, and all that it is told from outside.
struct Stretch {
    cpu::x86::State state;
    Journal journal;
    u64 count = 0;      // instructions
    u64 tsc_hz = 0;     // what CPUID tells
    u32 max_block = 1;  // instructions in a block at most for the difference to show
    u8 cr8 = 0;         // at the beginning, where a leader does not count instructions
    // Where a leader that counts no instructions came to; `count` is 0 then.
    std::optional<cpu::x86::State> end;
};

struct Finding {
    bool reproduced = false;
    // With a native engine: both came to the stretch's end, and differ in nothing but what manuals leave open.
    bool open = false;
    Stretch stretch;  // as short as it can be
    std::vector<std::string> differences;
    std::vector<u64> trail;  // addresses of the last instructions, the differing one last
    std::string listing;     // from the differing instruction on
    std::vector<u8> bytes;   // of that instruction
    u64 agreed = 0;          // instructions of the original stretch after which they still agree
};

constexpr u64 kTrail = 8;  // instructions before the differing one that are named

class Investigation {
public:
    // `memory`: as the stretch begins. All must outlive it.
    Investigation(const EngineSpec& first, const EngineSpec& second, const devices::GuestMemory& memory)
        : specs_{first, second}, memory_(memory) {}

    // Bisects with engines of its own: first with one instruction in a block, then with blocks as they come. Afterwards
    // memory() is as finding.stretch begins. Once `stop` is requested, it ends soon with an error.
    Result<Finding> run(const Stretch& stretch, std::stop_token stop = {});
    [[nodiscard]] devices::GuestMemory& memory() { return sides_[0]->memory(); }
    // One run of a stretch on both, from `memory`: how they differ.
    Result<std::vector<std::string>> compare(const Stretch& stretch, u64 count);
    [[nodiscard]] Side& side(unsigned i) { return *sides_[i]; }
    Result<void> make_sides(const Stretch& stretch);

private:
    [[nodiscard]] bool native() const { return specs_[0].native || specs_[1].native; }
    // An error once the search is to stop.
    [[nodiscard]] Result<void> go_on() const;
    // One side as `stretch` begins, and then `count` instructions on.
    Result<void> restart(unsigned side, const Stretch& stretch, const Journal& journal, u64 count);
    // With a native engine, which does not stop at a count: both go one instruction at a time.
    Result<Finding> walk(const Stretch& stretch);
    Result<void> restart_walk(const Stretch& stretch);
    // One instruction on both; what the manuals leave open in its results is the native engine's.
    Result<void> walk_step();
    Result<std::vector<std::string>> walk_differences();
    Result<void> locate(const Stretch& stretch, Finding& finding);
    Result<void> describe(const Stretch& stretch, u64 low, u64 high, Finding& finding);

    const EngineSpec specs_[2];
    const devices::GuestMemory& memory_;
    std::unique_ptr<Side> sides_[2];
    std::stop_token stop_;
    std::vector<u64> walked_;  // pages that either has written
};

// The code that a processor is about to execute, and a listing of it.
std::vector<u8> code_at(const cpu::x86::State& state, const devices::GuestMemory& memory, unsigned size);
std::string list_code(const cpu::x86::State& state, std::span<const u8> code);

// Listing and bytes of the instruction that `before` is about to execute.
void name_instruction(const cpu::x86::State& before, const devices::GuestMemory& memory, Finding& finding);

// For people: place, bytes, listing, what differs.
std::string report(const Finding& finding, const Names& names);

}  // namespace tandem::accel::lockstep

// Planted faults: bugs in single instructions that tests select one at a time, to show that differential runs find and name
// them. Only sources compiled with TANDEM_PLANT have them (CMakeLists.txt lists which); elsewhere active() is constant.
#pragma once

#include <string_view>

#include "base/types.h"

namespace tandem::plant {

enum class Fault : u8 {
    None,
    AdcFlags,            // ADC's flags forget the carry in
    MovsxZeroes,         // MOVSX extends with zeroes
    ImulOverflow,        // IMUL never sets CF and OF
    CmpxchgAccumulator,  // CMPXCHG that fails does not load the accumulator
    BsfZero,             // BSF and BSR of zero write the destination
    MissedPrivilege,     // privileged instructions do not raise #GP outside ring 0
    MissedAlignment,     // aligned SSE accesses do not raise #GP
    LostAccessed,        // page walks do not set A
    LostDirty,           // nor D
    SarShiftsZeroes,     // SAR by a register shifts zeroes in
    Count_
};

std::string_view name(Fault fault);

#ifdef TANDEM_PLANT
// Whether the running engine has this fault: it is the selected one, and the engine compiles (the interpreter stays right).
bool active(Fault fault);
// Selects the fault that active() asks for; at first the one that the environment's TANDEM_PLANTED names. Not while an
// engine runs.
void select(Fault fault);

// While it lives, the calling thread runs an engine that compiles, or one that does not.
class Engine {
public:
    explicit Engine(bool compiles);
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

private:
    bool before_;
};
#else
constexpr bool active(Fault) { return false; }
struct Engine {
    explicit Engine(bool /*compiles*/) {}
};
#endif

}  // namespace tandem::plant

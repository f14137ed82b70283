// What the machine answered to the engine that leads, in order: the other engine is given the same answers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "accel/accelerator.h"

namespace tandem::accel::lockstep {

struct Event {
    enum class Kind : u8 {
        Access,     // an exit with its answer
        Interrupt,  // taken between two instructions
        Tsc,
        Random,
        ReadCr8,
        WriteCr8,
        Memory,  // a device wrote memory: within the access before it, or at the stretch's end
    } kind = Kind::Access;
    // In `value` of an access by a leader that counts no instructions: the access has changed CR8 to the low bits.
    static constexpr u64 kCr8Changed = 0x100;

    u64 at = 0;     // Interrupt, Memory: instructions since the journal began
    u64 value = 0;  // of the counter, random number or CR8; the vector, ~0 when there was none after all
    Exit exit;
    u64 address = 0;  // Memory
    std::vector<u8> bytes;
};

const char* name_of(Event::Kind kind);

// One stretch's events.
using Journal = std::vector<Event>;

// Whether an access asks for the same thing as the recorded one; `answer` then receives the recorded answer.
bool same_access(const Exit& recorded, Exit& answer);
std::string describe(const Exit& exit);

}  // namespace tandem::accel::lockstep

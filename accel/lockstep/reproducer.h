// A difference as a directory: case.json has the processor's state and what it is told from outside, memory-ADDRESS.bin the
// memory before it (sparse), report.txt what was found. `tandem replay` runs it on any engine.
#pragma once

#include <string>

#include "accel/lockstep/investigation.h"

namespace tandem::accel::lockstep {

struct Case {
    std::string cpu;  // -cpu
    Names engines;
    Stretch stretch;
};

// Io: the directory cannot be made or written.
Result<void> save_case(const std::string& directory, const Case& c, const devices::GuestMemory& memory,
                       const std::string& report);
// Adds the saved ranges to `memory`, which is empty. Io, Corrupt: names file and field.
Result<Case> load_case(const std::string& directory, devices::GuestMemory& memory);

}  // namespace tandem::accel::lockstep

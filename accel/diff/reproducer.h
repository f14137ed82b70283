// A stream on which engines differ, as a directory that `tandem replay` runs again on any engine
// (accel/lockstep/reproducer.h).
#pragma once

#include <string>

#include "accel/diff/reduce.h"
#include "accel/lockstep/compare.h"

namespace tandem::accel::diff {

// Exceptions are delivered there: to handlers that halt, as does the code's end. `engines`: the two that differ, for whoever
// replays it without naming others. Io: the directory cannot be made or written.
Result<void> save_reproducer(const std::string& directory, const Experiment& experiment, const lockstep::Names& engines,
                             const std::string& report);

}  // namespace tandem::accel::diff

// Saving a whole machine to a file and restoring one from it.
//
// A file holds a header (what the machine is), the state of clock, vCPUs and devices, and, compressed, every page of memory
// that is not zero and every piece of a drive that snapshot=on keeps apart from its image. Engines and their tiers leave no
// trace in it: a machine saved on one goes on on any other.
#pragma once

#include <string>
#include <vector>

#include "machines/machine.h"
#include "machines/snapshot/header.h"

namespace tandem::machines::snapshot {

// Whether the contents of writable drives may stay outside.
enum class Drives : u8 {
    Inside,  // a snapshot to come back to: a drive whose contents cannot be kept in it is refused
    Outside  // the machine moves: whoever restores it finds the images as they are now, which restore() checks
};

// Writes the machine to `path`, replacing a file of that name only when all is on stable storage. Main thread, machine
// stopped (Machine::while_stopped). Errors: Unsupported, a drive that cannot be kept inside, by name; Io, with the path.
Result<void> save(const MachineParts& parts, const std::string& path, Drives drives);

// Replaces the machine's state by that in `path`. Same threads. The file is read and checked as a whole before anything is
// changed, and on error the machine is as before: Corrupt, the file is damaged or foreign; Invariant, the machine is another
// one, with every difference; Io. The one exception is Errc::Internal: the file or a drive failed half-way and the machine
// must not go on.
Result<void> restore(const MachineParts& parts, const std::string& path);

// The header of a file, which is checked no further. Any thread.
Result<Header> read_header(const std::string& path);

// All state but memory and drives as one tree, as it is written to a file. Same threads as save().
Result<nlohmann::json> capture(const MachineParts& parts);

// restore(), from any thread that may call Machine::while_stopped(): ends the run after a failure half-way.
Result<void> restore_running(Machine& machine, const std::string& path);

}  // namespace tandem::machines::snapshot

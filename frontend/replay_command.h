// `tandem replay`: runs a reproducer that lockstep has saved, on any engine.
#pragma once

#include <span>

namespace tandem::frontend {

// The arguments after "replay". The program's exit status: 0 the engines agree, 1 bad command line or reproducer, 2 they
// differ.
int replay_command(std::span<const char* const> arguments);

}  // namespace tandem::frontend

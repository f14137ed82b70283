// A machine on one of several engines: the engine may be changed while the machine is stopped, and an instruction that the
// current engine cannot execute is handed to another one.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "accel/accelerator.h"

namespace tandem::accel {

// An engine that a machine may run on; one without a name only helps others. `create` is called when it is first needed: for
// the first one at once, for a helper with the machine's memory, otherwise when the machine changes to it.
struct EngineChoice {
    std::string name;
    std::function<Result<std::unique_ptr<Accelerator>>()> create;
};

struct SwitchOptions {
    // The engine (an index into the choices) that executes what the current one cannot; none: such an exit ends the run.
    std::optional<std::size_t> helper;
};

// Starts on the first of `choices`, whose vCPUs all derive from VcpuBase. Accelerator::change_engine() goes to another one.
// Errors: those of the first engine; that of the helper is logged, and the machine goes without.
Result<std::unique_ptr<Accelerator>> create_switch_accelerator(std::vector<EngineChoice> choices, SwitchOptions options);

}  // namespace tandem::accel

// The engine that -accel asks for.
#pragma once

#include <memory>

#include "accel/accelerator.h"
#include "frontend/options.h"

namespace tandem::frontend {

struct Engine {
    std::unique_ptr<accel::Accelerator> accelerator;
    bool print_statistics = false;
};

// The first of options.accel that this host can provide; that an earlier one failed is logged. Errors name the option.
Result<Engine> create_engine(const Options& options);

}  // namespace tandem::frontend

// The baseline tier for a host with given features: create_baseline_backend (jit/runtime/backend.h) passes what the host
// has, tests pass less.
#pragma once

#include "jit/baseline/host.h"
#include "jit/runtime/backend.h"

namespace tandem::jit::baseline {

Result<std::unique_ptr<Backend>> create_backend(const BackendContext& context, const HostFeatures& host);

}  // namespace tandem::jit::baseline

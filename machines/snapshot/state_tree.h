// The state of clock, vCPUs and devices as a tree of values, and its form in a file (CBOR, RFC 8949).
#pragma once

#include <nlohmann/json.hpp>

#include "machines/machine.h"

namespace tandem::machines::snapshot {

// Waits for what is under way by taking the state until it is the same twice: host input may arrive meanwhile. Busy: it
// never is, with the name of what keeps changing.
Result<nlohmann::json> capture_tree(const MachineParts& parts);

// Corrupt: something is missing, left over or refused by its device, by name. The machine is as before on error.
Result<void> apply_tree(const MachineParts& parts, const nlohmann::json& tree);

std::vector<u8> to_cbor(const nlohmann::json& tree);
// Corrupt: not CBOR, or nested too deeply.
Result<nlohmann::json> from_cbor(std::span<const u8> bytes);

}  // namespace tandem::machines::snapshot

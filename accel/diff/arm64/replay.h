// An A64 stream on which engines differ, as a directory that `tandem replay` runs again.
#pragma once

#include <string>
#include <vector>

#include "accel/diff/results.h"
#include "base/result.h"

namespace tandem::accel::diff::arm64 {

// `finding`: as the campaign's results have it, with "engines", the two that differ. Io: the directory cannot be made or
// written.
Result<void> save_stream(const std::string& directory, const Json& finding);
// Whether the directory is one of these.
bool is_stream(const std::string& directory);

struct Replayed {
    std::string text;  // the stream, and what differs
    bool differs = false;
};
// On one engine or two; on none given, the two that differed. Io, Corrupt: the directory's file; NotFound: an engine.
Result<Replayed> replay_stream(const std::string& directory, std::vector<std::string> engines);

}  // namespace tandem::accel::diff::arm64

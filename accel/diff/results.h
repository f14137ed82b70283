// What a campaign has found, as JSON lines: a header that says which campaign it is, a line for each stream that differs, a
// reduced finding for the first of each kind, and a summary. While it runs, a file NAME.part has the same and checkpoints.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace tandem::accel::diff {

using Json = nlohmann::ordered_json;

struct Difference {
    u64 stream = 0;
    std::string kind;  // mnemonic and what differs
    std::string state;
};

struct Results {
    Json campaign;                         // engines, seed, count, shard, ...
    u64 streams = 0;                       // run so far
    std::vector<Difference> differences;   // by stream
    std::map<std::string, Json> findings;  // by kind: of its first stream
    std::map<std::string, u64> skipped;    // comparisons that could not be made, by reason

    void add(Difference difference) { differences.push_back(std::move(difference)); }
    [[nodiscard]] std::map<std::string, u64> by_kind() const;
    // The finished file's text.
    [[nodiscard]] std::string text() const;
    // For people.
    [[nodiscard]] std::string summary() const;
};

// Parses text() of a finished campaign, or what a `.part` file has up to its last checkpoint. Corrupt names the line.
Result<Results> parse_results(const std::string& text);
// A finding for people: kind, stream, state, listing, differences.
std::string describe_lines(const Json& finding);
// A line of a `.part` file after which it can be gone on from.
std::string checkpoint_line(const Results& results);
std::string header_line(const Json& campaign);
std::string difference_line(const Difference& d);
std::string finding_line(const Json& finding);

// The results of all shards of one campaign as those of one run. InvalidArgument: they are not that.
Result<Results> merge(std::vector<Results> shards);

}  // namespace tandem::accel::diff

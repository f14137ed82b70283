#include "accel/diff/campaign.h"

#include <fmt/format.h>

#include <algorithm>

#include "accel/diff/arm64/arm64_campaign.h"
#include "accel/diff/x86_campaign.h"

namespace tandem::accel::diff {

Result<std::unique_ptr<Campaign>> Campaign::create(CampaignOptions options) {
    if (options.engines.size() < 2) return invalid("--engines: two or more are compared");
    if (options.shards == 0 || options.shard >= options.shards) {
        return invalid(fmt::format("--shard: {}/{} is none of 0/N to N-1/N", options.shard, options.shards));
    }
    if (options.count == 0) return invalid("--count: must be at least 1");
    for (auto name = options.engines.begin(); name != options.engines.end(); ++name) {
        if (std::find(options.engines.begin(), name, *name) != name) {
            return invalid(fmt::format("--engines: '{}' twice", *name));
        }
    }
    if (options.architecture == Architecture::Arm64) return arm64::Arm64Campaign::create(std::move(options));
    return X86Campaign::create(std::move(options));
}

Json Campaign::describe() const {
    Json campaign{{"version", 1},
                  {"engines", options_.engines},
                  {"seed", options_.seed},
                  {"count", options_.count},
                  {"shard", options_.shard},
                  {"shards", options_.shards}};
    describe(campaign);
    return campaign;
}

u64 Campaign::group_streams(u64 group) const { return std::min(kGroup, options_.count - group * kGroup); }

Result<bool> Campaign::run(Results& results, const Step& step, Stopped stopped) {
    stopped_ = std::move(stopped);
    const u64 groups = (options_.count + kGroup - 1) / kGroup;
    CampaignProgress progress;
    for (u64 g = options_.shard; g < groups; g += options_.shards) progress.total += group_streams(g);
    u64 before = results.streams;  // of an earlier run, whose groups are whole
    for (u64 g = options_.shard; g < groups; g += options_.shards) {
        if (before >= group_streams(g)) {
            before -= group_streams(g);
            continue;
        }
        std::string lines;
        TANDEM_TRY_ASSIGN(const bool whole, run_group(g, results, lines));
        if (!whole) break;
        results.streams += group_streams(g);
        progress.done = results.streams;
        progress.differences = results.differences.size();
        if (!step(progress, lines + checkpoint_line(results))) break;
    }
    return results.streams == progress.total;
}

}  // namespace tandem::accel::diff

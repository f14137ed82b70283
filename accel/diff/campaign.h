// A differential campaign: seeded random instruction streams in random machine states on several engines, compared. What
// streams, engines and comparisons are is the architecture's; groups, shards, going on and results are the same for all.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "accel/diff/results.h"

namespace tandem::accel::diff {

enum class Architecture : u8 { X86, Arm64 };

struct CampaignOptions {
    Architecture architecture = Architecture::X86;
    std::vector<std::string> engines;  // two or more; the first is what the others are compared with, unless one is hardware
    u64 seed = 1;
    u64 count = 100'000;  // streams of all shards together
    u64 shard = 0, shards = 1;
    std::vector<std::string> states;  // names of worlds(); empty: all that every engine runs. A64 streams have one state
    std::vector<std::string> only;    // mnemonics; empty: all
    std::string reproducers;          // a directory for one of each reduced stream, which `tandem replay` runs; empty: none
};

struct CampaignProgress {
    u64 done = 0;   // streams of this shard
    u64 total = 0;  // of this shard
    u64 differences = 0;
};

class Campaign {
public:
    // Streams are run in groups; shards are made of whole groups.
    static constexpr u64 kGroup = 256;

    // InvalidArgument, NotFound: an option, named. Unsupported: an engine that this machine lacks.
    static Result<std::unique_ptr<Campaign>> create(CampaignOptions options);
    virtual ~Campaign() = default;
    Campaign(const Campaign&) = delete;
    Campaign& operator=(const Campaign&) = delete;

    // What the results begin with; a campaign with the same one can be gone on with.
    [[nodiscard]] Json describe() const;
    // States that are not run, and why: one line each.
    [[nodiscard]] const std::vector<std::string>& skipped() const { return skipped_; }

    using Step = std::function<bool(const CampaignProgress&, const std::string& lines)>;
    using Stopped = std::function<bool()>;
    // Goes on after the streams that `results` has, until the end or until `step` says false, which is called after each
    // group. `step` sees the lines to append to a file of the campaign. `stopped` is asked often: once it says true, the
    // group that is running is given up, of which `step` sees nothing. Whether `results` has come to the end.
    Result<bool> run(Results& results, const Step& step, Stopped stopped = {});

protected:
    explicit Campaign(CampaignOptions options) : options_(std::move(options)) {}
    // Adds what the architecture's streams depend on.
    virtual void describe(Json& campaign) const = 0;
    // Runs the streams from number * kGroup on, group_streams(number) of them: what differs goes to `results` and `lines`.
    // False: it was stopped.
    virtual Result<bool> run_group(u64 number, Results& results, std::string& lines) = 0;

    [[nodiscard]] bool stop() const { return stopped_ && stopped_(); }
    [[nodiscard]] u64 group_streams(u64 group) const;

    CampaignOptions options_;
    std::vector<std::string> skipped_;

private:
    Stopped stopped_;
};

}  // namespace tandem::accel::diff

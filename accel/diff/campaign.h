// A differential campaign: seeded random instruction streams in random machine states on several processors, compared.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "accel/diff/compare.h"
#include "accel/diff/generator.h"
#include "accel/diff/processor.h"
#include "accel/diff/reduce.h"
#include "accel/diff/results.h"

namespace tandem::accel::diff {

struct CampaignOptions {
    std::vector<std::string> engines;  // two or more; the first is what the others are compared with, unless one is hardware
    u64 seed = 1;
    u64 count = 100'000;  // streams of all shards together
    u64 shard = 0, shards = 1;
    std::vector<std::string> states;  // names of worlds(); empty: all that every engine runs
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
    // Streams are run in groups that share memory and machine state; shards are made of whole groups.
    static constexpr u64 kGroup = 256;

    // InvalidArgument, NotFound: an option, named. Unsupported: an engine that this machine lacks.
    static Result<std::unique_ptr<Campaign>> create(CampaignOptions options);

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

private:
    struct Group {
        std::vector<TestCase> cases;
        std::vector<u64> streams;
        std::vector<u8> memory;
    };

    explicit Campaign(CampaignOptions options) : options_(std::move(options)) {}
    Result<void> choose_states();
    [[nodiscard]] Group make_group(u64 group) const;
    [[nodiscard]] bool stop() const { return stopped_ && stopped_(); }
    // One engine's outcomes; false: it was stopped.
    Result<bool> run_on(Processor& processor, const Group& group, std::span<Outcome> outcomes) const;
    Result<bool> run_group(const Group& group, Results& results, std::string& lines);
    Result<void> note(const Group& group, size_t at, const std::vector<std::string>& found, Processor& other,
                      Results& results, std::string& lines);
    Json describe_finding(const Difference& difference, const TestCase& original, const Experiment& reduced,
                          Processor& other);
    [[nodiscard]] Result<void> save(const Json& finding, const Experiment& reduced, const Processor& other) const;
    std::vector<std::string> compare(const Experiment& experiment, Processor& other);
    [[nodiscard]] Sides sides(const Processor& other) const;
    [[nodiscard]] u64 group_streams(u64 group) const;

    CampaignOptions options_;
    std::vector<std::unique_ptr<Processor>> processors_;  // the reference first
    std::vector<unsigned> worlds_;
    std::vector<Generator> generators_;  // one for each of worlds_
    std::vector<std::string> skipped_;
    Stopped stopped_;
};

}  // namespace tandem::accel::diff

// The campaign of x86 streams: machine states in turn, a group of streams sharing one and memory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "accel/diff/campaign.h"
#include "accel/diff/compare.h"
#include "accel/diff/generator.h"
#include "accel/diff/processor.h"
#include "accel/diff/reduce.h"

namespace tandem::accel::diff {

class X86Campaign final : public Campaign {
public:
    // Errors as Campaign::create(), which has looked at what is common to all.
    static Result<std::unique_ptr<Campaign>> create(CampaignOptions options);

private:
    struct Group {
        std::vector<TestCase> cases;
        std::vector<u64> streams;
        std::vector<u8> memory;
    };

    explicit X86Campaign(CampaignOptions options);
    void describe(Json& campaign) const override;
    Result<bool> run_group(u64 number, Results& results, std::string& lines) override;
    Result<void> choose_states();
    [[nodiscard]] Group make_group(u64 group) const;
    // One engine's outcomes; false: it was stopped.
    Result<bool> run_on(Processor& processor, const Group& group, std::span<Outcome> outcomes) const;
    Result<void> note(const Group& group, size_t at, const std::vector<std::string>& found, Processor& other,
                      Results& results, std::string& lines);
    Json describe_finding(const Difference& difference, const TestCase& original, const Experiment& reduced,
                          Processor& other);
    [[nodiscard]] Result<void> save(const Json& finding, const Experiment& reduced, const Processor& other) const;
    std::vector<std::string> compare(const Experiment& experiment, Processor& other);
    [[nodiscard]] Sides sides(const Processor& other) const;

    std::vector<std::unique_ptr<Processor>> processors_;  // the reference first
    std::vector<unsigned> worlds_;
    std::vector<Generator> generators_;  // one for each of worlds_
};

}  // namespace tandem::accel::diff

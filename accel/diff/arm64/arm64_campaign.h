// The campaign of A64 streams: programs of the decoder's rows at EL1, each in some random states.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "accel/diff/arm64/experiment.h"
#include "accel/diff/arm64/programs.h"
#include "accel/diff/campaign.h"

namespace tandem::accel::diff::arm64 {

class Arm64Campaign final : public Campaign {
public:
    // States of a stream; with a tier that only hot code sees, whose compilation is what a stream costs, there are more.
    static constexpr unsigned kStates = 4, kStatesOfHot = 64;
    static_assert(kStatesOfHot > 8 * Subject::kLlvmThreshold);

    // Errors as Campaign::create(), which has looked at what is common to all.
    static Result<std::unique_ptr<Campaign>> create(CampaignOptions options);

private:
    explicit Arm64Campaign(CampaignOptions options);
    void describe(Json& campaign) const override;
    Result<bool> run_group(u64 number, Results& results, std::string& lines) override;
    Result<void> run_stream(u64 stream, const std::vector<u8>& pool, Results& results, std::string& lines);
    Result<void> note(u64 stream, const Experiment& experiment, const std::vector<std::string>& found, Engine& other,
                      Results& results, std::string& lines);
    // What differs once every engine's own code runs; nothing where the first does not come to the end.
    std::vector<std::string> compare(const Experiment& experiment, Engine& other);
    [[nodiscard]] Result<void> save(Json finding, const Engine& other) const;

    Programs programs_;
    std::vector<std::unique_ptr<Engine>> engines_;  // the reference first
    unsigned states_ = kStates;
    Outcome first_, second_;
};

}  // namespace tandem::accel::diff::arm64

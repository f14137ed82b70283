// Whole campaigns in tests.
#pragma once

#include <catch2/catch.hpp>

#include <string>
#include <utility>

#include "accel/diff/campaign.h"

namespace tandem::accel::diff {

// What `options` finds, added to `results`; ends early once `stop_after` streams are done.
inline Results run(const CampaignOptions& options, Results results = {}, u64 stop_after = ~u64{0}) {
    auto campaign = Campaign::create(options);
    REQUIRE(campaign.ok());
    results.campaign = (*campaign)->describe();
    const auto ran =
        (*campaign)->run(results, [&](const CampaignProgress& p, const std::string&) { return p.done < stop_after; });
    REQUIRE(ran.ok());
    return results;
}

// Why there is no such campaign; empty where there is.
inline std::string error_of(const CampaignOptions& options) {
    auto campaign = Campaign::create(options);
    return campaign ? "" : campaign.error().message;
}

}  // namespace tandem::accel::diff

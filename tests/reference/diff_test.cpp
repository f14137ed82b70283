// `tandem diff --arch arm64`: its tiers agree, its parts equal the whole, and it can be interrupted.
#include <algorithm>
#include <catch2/catch.hpp>

#include "accel/diff/arm64/experiment.h"
#include "accel/diff/campaign.h"
#include "tests/run_campaign.h"

namespace tandem::accel::diff {
namespace {

CampaignOptions options(std::vector<std::string> engines, u64 count) {
    CampaignOptions o;
    o.architecture = Architecture::Arm64;
    o.engines = std::move(engines);
    o.count = count;
    return o;
}

}  // namespace

TEST_CASE("Tiers agree on A64 streams", "[arm64][diff]") {
    const Results r = run(options({"interp", "baseline", "exact"}, 4'000));
    INFO(r.summary());
    CHECK(r.streams == 4'000);
    CHECK(r.differences.empty());
    const Results hot = run(options({"baseline", "llvm"}, 10));
    INFO(hot.summary());
    CHECK(hot.streams == 10);
    CHECK(hot.differences.empty());
}

TEST_CASE("Merged shards of A64 streams equal one run, and so does an interrupted one", "[arm64][diff]") {
    const CampaignOptions whole = options({"interp", "baseline"}, 1'000);
    const std::string expected = run(whole).text();
    std::vector<Results> parts;
    for (u64 shard = 0; shard < 2; ++shard) {
        CampaignOptions part = whole;
        part.shard = shard;
        part.shards = 2;
        parts.push_back(run(part));
    }
    const auto merged = merge(std::move(parts));
    REQUIRE(merged.ok());
    CHECK(merged->text() == expected);
    const Results some = run(whole, {}, 300);
    CHECK(some.streams == 512);
    CHECK(run(whole, some).text() == expected);
}

TEST_CASE("What A64 campaigns cannot do is named", "[arm64][diff]") {
    CHECK(error_of(options({"interp", "kvm"}, 1)).find("'kvm'") != std::string::npos);
    CampaignOptions o = options({"interp", "baseline"}, 1);
    o.states = {"user64"};
    CHECK(error_of(o).find("--states") != std::string::npos);
    o = options({"interp", "baseline"}, 1);
    o.only = {"MOVSX"};
    CHECK(error_of(o).find("--only") != std::string::npos);
    o.only = {"LDADD", "MADD"};
    o.count = 100;
    CHECK(run(o).differences.empty());
}

TEST_CASE("An A64 experiment is reduced to what makes it differ, and comes back from its text", "[arm64][diff]") {
    constexpr u32 kAdd = 0x8b020020, kNop = 0xd503201f;  // ADD X0, X1, X2
    arm64::Experiment e;
    e.words = {kNop, kAdd, kNop, kNop};
    for (u64& x : e.start.x) x = 5;
    e.start.v[3] = {1, 2};
    e.start.fpcr = 0x400000;
    e.memory.assign(arm64::Subject::kDataSize, 0xcc);
    const auto differs = [&](const arm64::Experiment& at) {
        const bool adds = std::find(at.words.begin(), at.words.end(), kAdd) != at.words.end();
        return adds && at.start.x[2] == 5 && at.start.v[3][1] == 2 && at.memory[0x123] == 0xcc;
    };
    e = arm64::reduce(e, differs);
    CHECK(e.words == std::vector{kAdd});
    CHECK(e.start.x[1] == 0);
    CHECK(e.start.x[2] == 5);
    CHECK(e.start.fpcr == 0);
    CHECK(std::count(e.memory.begin(), e.memory.end(), 0) == static_cast<std::ptrdiff_t>(e.memory.size()) - 8);
    Json finding;
    arm64::describe(e, finding);
    auto again = arm64::parse_experiment(finding);
    REQUIRE(again.ok());
    CHECK(again->words == e.words);
    CHECK(again->start == e.start);
    CHECK(again->memory == e.memory);
    finding["words"][0] = "8b02002z";
    CHECK(!arm64::parse_experiment(finding).ok());
    finding["words"][0] = "8b020020";
    finding["memory"]["0x20001ffc"] = "0x1";
    CHECK(!arm64::parse_experiment(finding).ok());
}

}  // namespace tandem::accel::diff

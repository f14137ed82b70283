// Every planted fault is found and named.
#include <fmt/format.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include <filesystem>

#include "accel/diff/arm64/replay.h"
#include "accel/diff/campaign.h"
#include "base/plant.h"

namespace tandem::accel::diff {
namespace {

using plant::Fault;

struct Planted {
    Fault fault;
    std::vector<std::string_view> names;  // any of which a finding must have as its only instruction
};
const Planted kPlanted[] = {
    {Fault::AdcFlags, {"ADC"}},
    {Fault::MovsxZeroes, {"MOVSX", "MOVSXD"}},
    {Fault::ImulOverflow, {"IMUL"}},
    {Fault::CmpxchgAccumulator, {"CMPXCHG"}},
    {Fault::BsfZero, {"BSF", "BSR"}},
    {Fault::MissedPrivilege, {"HLT", "LGDT", "LIDT", "LLDT", "LTR", "LMSW", "CLTS", "INVLPG", "WRMSR", "RDMSR", "MOV_CR"}},
    {Fault::MissedAlignment, {"MOVAPS", "MOVAPD", "MOVDQA", "ADDPS", "PADDB", "PXOR", "PAND", "MULPS", "SUBPD"}},
    // Whatever touches memory.
    {Fault::LostAccessed, {"MOV", "ADD", "PUSH", "POP", "CMP", "NOP", "RET"}},
    {Fault::LostDirty, {"MOV", "ADD", "PUSH", "SETCC", "OR", "XOR", "SUB"}},
    {Fault::SarShiftsZeroes, {"SAR", "SARX"}},
};

bool names_any(const Results& results, const Planted& planted) {
    for (const auto& [kind, finding] : results.findings) {
        const std::string instruction = finding.at("instruction");
        for (const std::string_view name : planted.names) {
            if (instruction == name) return true;
        }
    }
    return false;
}

// Until one of `planted`'s names is found, if it is given.
Results campaign(u64 count, const Planted* planted = nullptr) {
    CampaignOptions options;
    options.engines = {"interp", "baseline"};
    options.count = count;
    auto made = Campaign::create(options);
    REQUIRE(made.ok());
    Results results;
    results.campaign = (*made)->describe();
    const auto go_on = [&](const CampaignProgress&, const std::string&) {
        return planted == nullptr || !names_any(results, *planted);
    };
    REQUIRE((*made)->run(results, go_on).ok());
    return results;
}

}  // namespace

TEST_CASE("A campaign finds and names every planted fault", "[diff][planted]") {
    for (const Planted& planted : kPlanted) {
        plant::select(planted.fault);
        const Results results = campaign(26'000, &planted);
        plant::select(Fault::None);
        INFO(plant::name(planted.fault) << "\n" << results.summary());
        CHECK_FALSE(results.differences.empty());
        CHECK(names_any(results, planted));
    }
}

// The code generator's fault is one for A64 too.
TEST_CASE("A campaign of A64 streams finds, reduces and saves a planted fault", "[diff][planted][arm64]") {
    const std::string directory = std::filesystem::temp_directory_path() / fmt::format("tandem-planted-{}", ::getpid());
    CampaignOptions options;
    options.architecture = Architecture::Arm64;
    options.engines = {"interp", "baseline"};
    options.count = 5'000;
    options.reproducers = directory;
    plant::select(Fault::SarShiftsZeroes);
    auto made = Campaign::create(options);
    REQUIRE(made.ok());
    const Planted planted{Fault::SarShiftsZeroes, {"ASRV"}};
    Results results;
    results.campaign = (*made)->describe();
    REQUIRE((*made)->run(results, [&](const auto&, const auto&) { return !names_any(results, planted); }).ok());
    INFO(results.summary());
    CHECK(names_any(results, planted));
    u64 replayed = 0;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
        REQUIRE(arm64::is_stream(entry.path()));
        const auto with = arm64::replay_stream(entry.path(), {});
        REQUIRE(with.ok());
        CHECK(with->differs);
        plant::select(Fault::None);
        const auto without = arm64::replay_stream(entry.path(), {});
        plant::select(Fault::SarShiftsZeroes);
        REQUIRE(without.ok());
        CHECK_FALSE(without->differs);
        ++replayed;
    }
    CHECK(replayed == results.findings.size());
    plant::select(Fault::None);
    std::filesystem::remove_all(directory);
}

TEST_CASE("Without a planted fault nothing differs", "[diff][planted]") { CHECK(campaign(3'000).differences.empty()); }

}  // namespace tandem::accel::diff

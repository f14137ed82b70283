// Every planted fault is found and named.
#include <catch2/catch.hpp>

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

TEST_CASE("Without a planted fault nothing differs", "[diff][planted]") { CHECK(campaign(3'000).differences.empty()); }

}  // namespace tandem::accel::diff

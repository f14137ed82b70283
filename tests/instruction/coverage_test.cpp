// What campaigns reach: each row of the decoder's tables in some machine state.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <set>

#include "accel/diff/compare.h"
#include "accel/diff/generator.h"

namespace tandem::accel::diff {
namespace {

using cpu::x86::Opcode;

// Counts of one campaign: rows by index.
std::set<u16> rows_reached(Rules rules, u64 streams_per_state) {
    std::set<u16> reached;
    for (unsigned w = 0; w < worlds().size(); ++w) {
        const Generator generator({}, w, rules, [](cpu::x86::Feature) { return true; });
        for (u64 seed = 0; seed < streams_per_state; ++seed) {
            for (const auto& insn : instructions(generator.make(seed * worlds().size() + w, 1))) reached.insert(insn.row);
        }
    }
    return reached;
}

}  // namespace

TEST_CASE("Campaigns between translators reach every row but those of random numbers", "[diff]") {
    const auto rows = cpu::x86::decode_rows::rows();
    const std::set<u16> reached = rows_reached(Rules::Translators, 15'000);
    std::vector<std::string> missing;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const Opcode opcode = rows[i].opcode;
        if (opcode == Opcode::RDRAND || opcode == Opcode::RDSEED || reached.contains(static_cast<u16>(i))) continue;
        missing.push_back(fmt::format("{} (row {}, map {}, byte {:#x})", opcode_name(opcode), i,
                                      static_cast<unsigned>(rows[i].map), rows[i].byte));
    }
    INFO(fmt::format("{} of {} rows; not reached:\n{}", reached.size(), rows.size(), fmt::join(missing, "\n")));
    CHECK(missing.empty());
}

}  // namespace tandem::accel::diff

#include "tests/reference/compare.h"

#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>

namespace tandem::reference_test {

using cpu::arm64::Row;

unsigned rounds(unsigned few) {
    if (const char* times = std::getenv("TANDEM_ROUNDS"))
        return few * static_cast<unsigned>(std::strtoul(times, nullptr, 10));
    return std::getenv("TANDEM_FULL") != nullptr ? few * 40 : few;
}

u64 seed(u64 fixed) {
    const char* chosen = std::getenv("TANDEM_SEED");
    return chosen != nullptr ? std::strtoull(chosen, nullptr, 10) : fixed;
}

std::unique_ptr<Subject> subject(jit::Tier tier, bool exact, u8* data) {
    auto made = Subject::create(tier, exact, data);
    INFO((made ? std::string() : made.error().message));
    REQUIRE(made.ok());
    return std::move(*made);
}

std::string difference(const MachineState& a, const MachineState& b, bool with_status) {
    std::string text;
    char line[160];
    for (unsigned i = 0; i < 31; ++i) {
        if (a.x[i] == b.x[i]) continue;
        std::snprintf(line, sizeof line, " x%u %016llx/%016llx", i, static_cast<unsigned long long>(a.x[i]),
                      static_cast<unsigned long long>(b.x[i]));
        text += line;
    }
    for (unsigned i = 0; i < 32; ++i) {
        if (a.v[i] == b.v[i]) continue;
        std::snprintf(line, sizeof line, " v%u %016llx:%016llx/%016llx:%016llx", i,
                      static_cast<unsigned long long>(a.v[i][1]), static_cast<unsigned long long>(a.v[i][0]),
                      static_cast<unsigned long long>(b.v[i][1]), static_cast<unsigned long long>(b.v[i][0]));
        text += line;
    }
    std::snprintf(line, sizeof line, " sp %016llx/%016llx", static_cast<unsigned long long>(a.sp),
                  static_cast<unsigned long long>(b.sp));
    if (a.sp != b.sp) text += line;
    std::snprintf(line, sizeof line, " nzcv %x/%x fpsr %x/%x", a.nzcv >> 28, b.nzcv >> 28, a.fpsr, b.fpsr);
    if (a.nzcv != b.nzcv || (with_status && a.fpsr != b.fpsr)) text += line;
    return text;
}

namespace {

// Operands of a word, for reports.
std::string operands(const MachineState& s, u32 word) {
    std::string text;
    char line[160];
    for (const unsigned reg : {word & 31, word >> 5 & 31, word >> 16 & 31, word >> 10 & 31}) {
        std::snprintf(line, sizeof line, " x%u=%016llx", reg, static_cast<unsigned long long>(reg < 31 ? s.x[reg] : s.sp));
        text += line;
        std::snprintf(line, sizeof line, " v%u=%016llx:%016llx", reg, static_cast<unsigned long long>(s.v[reg][1]),
                      static_cast<unsigned long long>(s.v[reg][0]));
        text += line;
    }
    std::snprintf(line, sizeof line, " nzcv=%x fpcr=%08x", s.nzcv >> 28, s.fpcr);
    return text + line;
}

}  // namespace

void Report::check(const Row& row, u32 word, const MachineState& start, std::string_view what, const std::string& text) {
    if (text.empty() || !rows_.insert(std::string(row.name) + std::string(what)).second) return;
    char line[32];
    std::snprintf(line, sizeof line, "%08x ", word);
    text_ += line + std::string(row.name) + " " + std::string(what) + ":" + text + " of" + operands(start, word) + "\n";
}

Report::~Report() {
    INFO(text_);
    CHECK(text_.empty());
}

}  // namespace tandem::reference_test

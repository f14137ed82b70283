// Every row of the decoder against recorded.txt: what its instructions do as record.c has seen it on QEMU 7.2's user
// emulation (Debian's qemu-user-static), an implementation that shares nothing with this one. A row without a line fails.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "accel/diff/arm64/streams.h"
#include "base/bits.h"
#include "tests/reference/compare.h"
#include "tests/reference/recorded/state.h"

namespace tandem::reference_test {
namespace {

using cpu::arm64::Feature;
using cpu::arm64::Row;

// Rows that a program cannot run, or whose results are each implementation's own, and the bare-metal guest that has them.
struct Elsewhere {
    std::string_view row;
    std::string_view guest;
    std::string_view text;
};
constexpr Elsewhere kElsewhere[] = {
    {"UDF", "exceptions.s", "udf"},
    {"ERET", "common.inc", "eret"},
    {"DRPS", "sysregs.s", "drps"},
    {"SVC", "exceptions.s", "svc"},
    {"HVC", "exceptions.s", "hvc"},
    {"SMC", "exceptions.s", "smc"},
    {"BRK", "exceptions.s", "brk"},
    {"HLT", "sysregs.s", "hlt"},
    {"DCPS1", "sysregs.s", "dcps1"},
    {"DCPS2", "sysregs.s", "dcps2"},
    {"DCPS3", "sysregs.s", "dcps3"},
    {"MSR (UAO)", "translation.s", "msr uao"},
    {"MSR (PAN)", "translation.s", "msr pan"},
    {"MSR (SPSel)", "exceptions.s", "msr spsel"},
    {"MSR (DAIFSet)", "exceptions.s", "msr daifset"},
    {"MSR (DAIFClr)", "exceptions.s", "msr daifclr"},
    {"SYSL", "sysregs.s", "sysl"},
};

const Elsewhere* elsewhere(const Row& row) {
    const auto* found =
        std::find_if(std::begin(kElsewhere), std::end(kElsewhere), [&](const Elsewhere& e) { return e.row == row.name; });
    return found != std::end(kElsewhere) ? found : nullptr;
}

// Pointer authentication: pointer_authentication.s, row by row.
bool is_recorded(const Row& row) { return row.feature != Feature::PAuth && elsewhere(row) == nullptr; }

std::string contents(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// One line of recorded.txt.
struct Line {
    u32 word = 0, prefix = 0, seed = 0;
    int base = -1, small = 0, indirect = -1, relative = 0;
    std::vector<std::pair<std::string, std::string>> changes;
};

std::vector<Line> recorded_lines() {
    std::vector<Line> lines;
    std::ifstream file(TANDEM_RECORDED);
    for (std::string text; std::getline(file, text);) {
        if (text.empty() || text[0] == '#') continue;
        Line line;
        std::istringstream in(text);
        in >> std::hex >> line.word >> line.prefix >> line.seed >> std::dec >> line.base >> line.small >> line.indirect >>
            line.relative;
        for (std::string change; in >> change;) {
            const std::size_t equals = change.find('=');
            line.changes.emplace_back(change.substr(0, equals), change.substr(equals + 1));
        }
        lines.push_back(std::move(line));
    }
    return lines;
}

u64 hexadecimal(std::string_view text) {
    u64 value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value, 16);
    return value;
}

struct Outcome {
    MachineState state;
    std::array<u8, kRecordedDataBytes> data{};
    u64 stopped = 0;
};

void apply(const Line& line, const std::string& what, const std::string& value, u64 instruction, Outcome& o) {
    const u64 origin = line.relative == 2 ? instruction & ~u64{0xfff} : instruction;
    const u64 number = hexadecimal(value.substr(value[0] == '+' || value[0] == '@' ? 1 : 0));
    const auto reg = static_cast<unsigned>(std::strtoul(what.c_str() + 1, nullptr, 10));
    if (what == "sp") {
        o.state.sp += number;
    } else if (what == "nzcv") {
        o.state.nzcv = static_cast<u32>(number);
    } else if (what == "fpsr") {
        o.state.fpsr = static_cast<u32>(number);
    } else if (what == "taken") {
        o.stopped += 4;
    } else if (what[0] == 'x') {
        o.state.x[reg] = value[0] == '+' ? o.state.x[reg] + number : value[0] == '@' ? origin + number : number;
    } else if (what[0] == 'v') {
        const std::size_t colon = value.find(':');
        o.state.v[reg] = {hexadecimal(value.substr(colon + 1)), hexadecimal(value.substr(0, colon))};
    } else if (what[0] == 'm') {
        const u64 offset = hexadecimal(what.substr(1));
        for (std::size_t i = 0; i + 1 < value.size(); i += 2) {
            o.data[offset + i / 2] = static_cast<u8>(hexadecimal(value.substr(i, 2)));
        }
    }
}

std::array<u32, kRecordedWords> code_of(const Line& line) {
    constexpr u32 kNop = 0xd503201f;
    std::array<u32, kRecordedWords> words{};
    words[0] = line.prefix != 0 ? line.prefix : kNop;
    words[kRecordedInstruction] = line.word;
    for (u32 i = kRecordedLiteral; i < kRecordedWords; ++i) words[i] = 0x12345678u * (i + 1);
    return words;
}

MachineState start_of(const Line& line, u64 middle, u64 instruction, u8* data) {
    recorded_state s;
    recorded_start(line.seed, middle, line.base, line.small, &s, data);
    MachineState state;
    std::copy(std::begin(s.x), std::end(s.x), state.x.begin());
    state.sp = s.sp;
    for (unsigned i = 0; i < 32; ++i) state.v[i] = {s.v[i][0], s.v[i][1]};
    state.nzcv = static_cast<u32>(s.nzcv);
    state.fpcr = static_cast<u32>(s.fpcr);
    if (line.indirect >= 0) state.x[static_cast<unsigned>(line.indirect)] = instruction + 8;
    return state;
}

// --- What to record

// Registers of a word that its pattern leaves open are to be different ones, and not number 31.
bool registers_differ(const Row& row, u32 word) {
    std::set<u32> seen;
    for (const unsigned low : {0u, 5u, 10u, 16u}) {
        const u32 field = word >> low & 31;
        if ((row.pattern.mask >> low & 31) != 0) continue;
        if (field == 31 || !seen.insert(field).second) return false;
    }
    const bool pair = row.name.starts_with("CASP");
    if (!pair) return true;
    const u32 rt = word & 31, rs = word >> 16 & 31, rn = word >> 5 & 31;
    return rt + 1 != rs && rs + 1 != rt && rn != rt + 1 && rn != rs + 1 && rt < 30 && rs < 30;
}

u32 open_word(const Row& row, Random& random) {
    u32 word = 0;
    for (unsigned attempt = 0; attempt < 4000; ++attempt) {
        word = random_word(row, random);
        if (registers_differ(row, word)) break;
    }
    return word;
}

bool contains(const Row& row, std::string_view part) { return row.name.find(part) != std::string_view::npos; }

// Branches go two instructions on, literals lie at kRecordedLiteral.
bool aim(const Row& row, Line& line) {
    const u32 w = line.word;
    if (row.name == "B" || row.name == "BL") line.word = (w & 0xfc000000) | 2;
    if (row.name == "B.cond" || row.name.starts_with("CB")) line.word = (w & 0xff00001f) | 2 << 5;
    if (row.name == "TBZ" || row.name == "TBNZ") line.word = (w & 0xfff8001f) | 2 << 5;
    if (contains(row, "literal")) line.word = (w & 0xff00001f) | (kRecordedLiteral - kRecordedInstruction) << 5;
    if (row.name == "BR" || row.name == "BLR" || row.name == "RET") line.indirect = static_cast<int>(w >> 5 & 31);
    if (row.name == "BL" || row.name == "BLR" || row.name == "ADR") line.relative = 1;
    if (row.name == "ADRP") line.relative = 2;
    if (row.name == "BLR" && line.indirect == 30) return false;
    return true;
}

// A Store-Exclusive follows its Load-Exclusive, except in every other line.
void pair_exclusive(const Row& row, Line& line, bool marked) {
    if (!row.name.starts_with("STX") && !row.name.starts_with("STLX")) return;
    const bool pair = contains(row, "XP");
    if (marked)
        line.prefix = (line.word & 0xc00003e0) | 0x08400000 | 31u << 16 | (pair ? 1u << 21 | 26u << 10 : 31u << 10) | 25;
}

bool is_memory(u32 word) { return (word >> 25 & 5) == 4; }

// System instructions that a program may use; none: any word of the row.
std::vector<u32> chosen_words(const Row& row) {
    static const std::map<std::string_view, std::vector<u32>> kChosen{
        {"HINT", {0xd503201f, 0xd503203f, 0xd503241f}},
        {"CLREX", {0xd5033f5f}},
        {"DSB", {0xd5033f9f, 0xd503399f}},
        {"DMB", {0xd5033bbf, 0xd50339bf}},
        {"ISB", {0xd5033fdf}},
        {"SYS", {0xd50b7b23, 0xd50b7523}},             // DC CVAU, IC IVAU
        {"MSR (register)", {0xd51b4203, 0xd51b4424}},  // NZCV, FPSR
        {"CFINV", {0xd500401f}},
        {"XAFLAG", {0xd500403f}},
        {"AXFLAG", {0xd500405f}},
        {"MRS", {0xd53b4203, 0xd53b4404, 0xd53b4425}},
    };
    const auto found = kChosen.find(row.name);
    return found != kChosen.end() ? found->second : std::vector<u32>{};
}

bool make_line(const Row& row, Random& random, bool second, Line& line) {
    line.word = open_word(row, random);
    if (row.name.starts_with("LDAPR")) line.word |= 31u << 16;  // which should be one
    if (!aim(row, line)) return false;
    pair_exclusive(row, line, !second);
    if (is_memory(line.word) && !contains(row, "literal")) {
        line.base = static_cast<int>(line.word >> 5 & 31);
        line.small = 1;
        if ((line.word & 0x3b000000) == 0x39000000) line.word &= ~(0xfu << 18);
        if (row.name.starts_with("LDAPUR") || row.name.starts_with("STLUR")) line.word &= ~(0xfu << 12);
        const u32 base = line.word >> 5 & 31;
        if (line.prefix != 0 && (base == 25 || base == 26)) return false;
        if (line.prefix != 0 && ((line.word & 31) == 25 || (line.word >> 16 & 31) == 25)) return false;
    }
    return cpu::arm64::decode(line.word) == &row;
}

}  // namespace

TEST_CASE("Words for record.c", "[.words]") {
    Random random(99);
    u32 seed = 0;
    const auto print = [](const Line& l) {
        std::fputs(fmt::format("{:08x} {:08x} {:x} {} {} {} {}\n", l.word, l.prefix, l.seed, l.base, l.small, l.indirect,
                               l.relative)
                       .c_str(),
                   stdout);
    };
    for (const Row& row : cpu::arm64::rows()) {
        if (!is_recorded(row)) continue;
        const std::vector<u32> chosen = chosen_words(row);
        for (const u32 word : chosen) {
            Line line{word, 0, ++seed, row.name == "SYS" ? 3 : -1, 0, -1, 0, {}};
            print(line);
        }
        for (unsigned made = 0; chosen.empty() && made < 2;) {
            Line line;
            if (!make_line(row, random, made == 1, line)) continue;
            line.seed = ++seed;
            print(line);
            ++made;
        }
    }
}

TEST_CASE("Every A64 row does what was recorded elsewhere", "[arm64]") {
    Data data;
    const std::vector<Line> lines = recorded_lines();
    REQUIRE(lines.size() > 1000);
    std::set<const Row*> seen;
    for (const auto tier : {jit::Tier::Interp, jit::Tier::Baseline, jit::Tier::Llvm}) {
        const auto machine = subject(tier, false, data.bytes.data());
        Report report;
        for (const Line& line : lines) {
            const Row* const row = cpu::arm64::decode(line.word);
            REQUIRE(row != nullptr);
            seen.insert(row);
            const auto words = code_of(line);
            // A second time from the same state, as compiled code the second time on the LLVM tier.
            const unsigned runs = tier == jit::Tier::Llvm ? Subject::kLlvmThreshold + 1 : 1;
            for (unsigned n = 0; n < runs; ++n) {
                const u64 instruction = machine->place(words) + 4 * kRecordedInstruction;
                Outcome want, got;
                want.state = start_of(line, data.address() + kRecordedMiddle, instruction, want.data.data());
                want.stopped = instruction + 4;
                got = want;
                data.bytes = want.data;
                const MachineState start = want.state;
                for (const auto& [what, value] : line.changes) apply(line, what, value, instruction, want);
                machine->run(words, got.state);
                got.data = data.bytes;
                got.stopped = machine->stopped_at();
                std::string text = difference(want.state, got.state, true);
                if (want.data != got.data) text += " memory";
                if (want.stopped != got.stopped) {
                    text += fmt::format(" ends at +{:x}, not +{:x}", got.stopped - instruction, want.stopped - instruction);
                }
                report.check(*row, line.word, start, fmt::format("recorded, tier {}", static_cast<int>(tier)), text);
            }
        }
    }
    for (const Row& row : cpu::arm64::rows()) {
        if (is_recorded(row) && !seen.contains(&row)) FAIL_CHECK("no recorded vector of " << row.name);
    }
}

TEST_CASE("A64 rows that no program can record are in bare-metal guests", "[arm64]") {
    for (const Elsewhere& e : kElsewhere) {
        const std::string text = contents(std::string(TANDEM_ARM64_GUESTS) + "/" + std::string(e.guest));
        INFO(e.row << " in " << e.guest);
        CHECK(text.find(e.text) != std::string::npos);
        const auto rows = cpu::arm64::rows();
        CHECK(std::any_of(rows.begin(), rows.end(), [&](const Row& row) { return row.name == e.row; }));
    }
    const std::string authentication = contents(std::string(TANDEM_ARM64_GUESTS) + "/pointer_authentication.s");
    for (const Row& row : cpu::arm64::rows()) {
        if (row.feature != Feature::PAuth) continue;
        std::string name;
        for (const char c : row.name) name += static_cast<char>(c | 0x20);
        INFO(name);
        CHECK(authentication.find(name) != std::string::npos);
    }
}

}  // namespace tandem::reference_test

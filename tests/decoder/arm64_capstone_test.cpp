// The A64 decoder against Capstone on seeded random words, and each row reached. Where the two differ the table below must
// say why the decoder is right; an unexplained difference fails. TANDEM_DECODER_COUNT sets the number of words.
#include <capstone/capstone.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <string>

#include "base/bits.h"
#include "cpu/arm64/decode/rows.h"

namespace tandem::cpu::arm64 {
namespace {

class Capstone {
public:
    Capstone() { REQUIRE(cs_open(CS_ARCH_ARM64, CS_MODE_LITTLE_ENDIAN, &engine_) == CS_ERR_OK); }
    ~Capstone() { cs_close(&engine_); }
    Capstone(const Capstone&) = delete;
    Capstone& operator=(const Capstone&) = delete;
    // "mnemonic operands", empty when it knows no such instruction.
    std::string operator()(u32 word) const {
        cs_insn* insn = nullptr;
        const auto* bytes = reinterpret_cast<const u8*>(&word);
        if (cs_disasm(engine_, bytes, sizeof word, 0x1000, 1, &insn) != 1) return {};
        std::string text = fmt::format("{} {}", insn->mnemonic, insn->op_str);
        cs_free(insn, 1);
        return text;
    }

private:
    csh engine_ = 0;
};

struct Explanation {
    const char* why;
    bool (*applies)(u32 word, bool ours, std::string_view theirs);
};

bool starts(std::string_view text, std::initializer_list<std::string_view> with) {
    return std::any_of(with.begin(), with.end(), [&](std::string_view s) { return text.starts_with(s); });
}

constexpr Explanation kExplained[] = {
    {"memory tagging (FEAT_MTE) is not offered",
     [](u32 word, bool ours, std::string_view) {
         const bool loads = (word & 0x3f000000) == 0x19000000 && bit(word, 21);
         const bool pair = (word & 0xfe000000) == 0x68000000;
         const bool add = (word & 0xbf800000) == 0x91800000;
         const bool data = (word & 0x5fe00000) == 0x1ac00000;  // SUBP, IRG, GMI
         return !ours && (loads || pair || add || data);
     }},
    {"WFET and WFIT, transactions and 64-byte accesses are not offered",
     [](u32, bool ours, std::string_view theirs) {
         return !ours && starts(theirs, {"wfet", "wfit", "tstart", "ttest", "tcommit", "tcancel", "ld64b", "st64b"});
     }},
    {"Capstone 4 does not know these later features",
     [](u32 word, bool ours, std::string_view) {
         constexpr Feature kLater[] = {Feature::PAuth,  Feature::FlagM, Feature::LSE,    Feature::LOR,     Feature::LRCPC,
                                       Feature::LRCPC2, Feature::FP16,  Feature::FCMA,   Feature::FHM,     Feature::JSCVT,
                                       Feature::RDM,    Feature::SHA3,  Feature::SHA512, Feature::DotProd, Feature::FRINTTS};
         return ours && std::find(std::begin(kLater), std::end(kLater), decode(word)->feature) != std::end(kLater);
     }},
    {"a register used twice by a load or store is CONSTRAINED UNPREDICTABLE, not unallocated",
     [](u32 word, bool ours, std::string_view) {
         const u32 rt = word & 31, rn = word >> 5 & 31, rt2 = word >> 10 & 31;
         return ours && (word >> 25 & 5) == 4 && (rt == rn || rt2 == rn || rt == rt2);
     }},
    {"Capstone names system registers of op0 = 0, which are unallocated",
     [](u32 word, bool ours, std::string_view theirs) {
         return !ours && (word & 0xffd80000) == 0xd5000000 && starts(theirs, {"mrs", "msr"});
     }},
    {"unspecified bits of imm5 in DUP (general) and of imm4 in INS (element) are ignored (\"should be set to zero by an "
     "assembler\")",
     [](u32 word, bool ours, std::string_view) {
         const unsigned size = static_cast<unsigned>(std::countr_zero(bits(word, 20, 16) | 16));
         const bool dup = (word & 0xbfe0fc00) == 0x0e000c00 && bits(word, 20, 16) >> (size + 1) != 0;
         const bool ins = (word & 0xffe08400) == 0x6e000400 && (bits(word, 14, 11) & mask(size)) != 0;
         return ours && (dup || ins);
     }},
    {"UDF, DRPS and the halting instructions have rows that are UNDEFINED",
     [](u32 word, bool ours, std::string_view) {
         return ours && ((word >> 16) == 0 || (word & 0xffe00000) == 0xd4a00000 || word == 0xd6bf03e0);
     }},
};

unsigned word_count() {
    const char* text = std::getenv("TANDEM_DECODER_COUNT");
    return text != nullptr ? static_cast<unsigned>(std::strtoul(text, nullptr, 10)) : 4'000'000;
}

TEST_CASE("A64 words decode where Capstone says they do") {
    const Capstone capstone;
    std::mt19937 random(20240);
    std::map<std::string, std::pair<unsigned, std::string>> unexplained;
    for (unsigned n = 0; n < word_count(); ++n) {
        const u32 word = static_cast<u32>(random());
        const Row* row = decode(word);
        const bool ours = row != nullptr;
        const std::string theirs = capstone(word);
        if (ours == !theirs.empty()) continue;
        const bool explained = std::any_of(std::begin(kExplained), std::end(kExplained),
                                           [&](const Explanation& e) { return e.applies(word, ours, theirs); });
        if (explained) continue;
        const std::string key = ours ? std::string(row->name) : theirs.substr(0, theirs.find(' '));
        auto& [count, example] = unexplained[key];
        if (count++ == 0)
            example = fmt::format("{:#010x}: we {}, Capstone says '{}'", word, ours ? row->name : "reject", theirs);
    }
    for (const auto& [key, found] : unexplained) UNSCOPED_INFO(fmt::format("{} times {}", found.first, found.second));
    CHECK(unexplained.empty());
}

// A word of the row: its fixed bits, the others random.
TEST_CASE("Every A64 row is reached by words of its own pattern") {
    std::mt19937 random(7);
    std::set<std::string> missed;
    for (const Row& row : rows()) {
        bool reached = false;
        for (unsigned n = 0; n < 20000 && !reached; ++n) {
            const u32 word = (static_cast<u32>(random()) & ~row.pattern.mask) | row.pattern.value;
            reached = decode(word) == &row;
        }
        if (!reached) missed.insert(std::string(row.name));
    }
    for (const std::string& name : missed) UNSCOPED_INFO(name);
    CHECK(missed.empty());
}

TEST_CASE("Bitmask immediates are those of DecodeBitMasks") {
    u64 value = 0;
    CHECK(decode_bit_masks(1, 0, 0, 64, value));
    CHECK(value == 1);
    CHECK(decode_bit_masks(1, 0x3e, 0, 64, value));
    CHECK(value == 0x7fffffffffffffff);
    CHECK_FALSE(decode_bit_masks(1, 0x3f, 0, 64, value));
    CHECK(decode_bit_masks(0, 0x3c, 1, 64, value));  // element 10 rotated by 1
    CHECK(value == 0xaaaaaaaaaaaaaaaa);
    CHECK(decode_bit_masks(0, 0x27, 0, 32, value));  // 16-bit element, eight ones
    CHECK(value == 0x00ff00ff);
    CHECK_FALSE(decode_bit_masks(1, 0, 0, 32, value));
}

}  // namespace
}  // namespace tandem::cpu::arm64

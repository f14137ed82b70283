// SIMD and floating-point instructions: interpreter, baseline and LLVM against each other, against the exact kernels, and
// against VIXL's simulator.
#include <bit>
#include <catch2/catch.hpp>
#include <string>
#include <string_view>

#include "accel/diff/arm64/streams.h"
#include "cpu/arm64/simd/kernels.h"
#include "tests/reference/compare.h"
#include "tests/reference/reference.h"

namespace tandem::reference_test {
namespace {

using cpu::arm64::Feature;
using cpu::arm64::Row;

// VIXL 5.1 leaves these to hand-computed vectors.
bool reference_has(const Row& row) {
    switch (row.feature) {
        case Feature::AES:
        case Feature::SHA1:
        case Feature::SHA256:
        case Feature::SHA512:
        case Feature::SHA3:
        case Feature::PMULL: return false;
        default: return true;
    }
}

// What of VIXL 5.1 is not as the manual has it: conversions that leave bits above their result as they were, and results
// that are written before all operands of the same register are read. False: not to be compared.
bool avoid_reference_defects(const Row& row, u32 word, MachineState& start) {
    const unsigned d = word & 31, n = word >> 5 & 31, m = word >> 16 & 31;
    const auto named = [&](std::string_view part) { return row.name.find(part) != std::string_view::npos; };
    if (named("CVTF") || named("FCVTN ") || row.name == "FCVTN") {
        if (d == n) return false;
        start.v[d] = {};
    }
    if (named("FCMLA (by element)") && (word >> 22 & 3) == 1) return false;  // leaves elements out
    if (row.feature == Feature::FHM) {  // quiets signalling NaNs before it chooses among them
        for (const unsigned reg : {n, m, m & 15}) {
            for (u64& lane : start.v[reg]) lane &= ~u64{0x0400040004000400};
        }
        if (d == n || d == m) return false;
    }
    if (named("by element") || named("FCVTXN") || row.name == "PMULL") return d != n && d != m && d != (m & 15);
    return true;
}

}  // namespace

TEST_CASE("A64 SIMD rows lift to valid IR", "[arm64][simd]") {
    Data data;
    const auto vcpu = subject(jit::Tier::Interp, false, data.bytes.data());
    Random random(1);
    const GroupRows rows = simd_rows();
    REQUIRE(rows.data.size() > 500);
    REQUIRE(rows.memory.size() > 50);
    for (const auto* list : {&rows.data, &rows.memory}) {
        for (const Row* row : *list) {
            for (unsigned n = 0; n < 12; ++n) {
                const u32 word = random_word(*row, random);
                const std::string error = vcpu->verify({&word, 1});
                if (!error.empty()) FAIL_CHECK(row->name << " " << std::hex << word << ": " << error);
            }
        }
    }
}

TEST_CASE("A64 SIMD instructions agree with VIXL's simulator", "[arm64][simd]") {
    Data data;
    Reference reference;
    const auto fast = subject(jit::Tier::Interp, false, data.bytes.data());
    const auto exact = subject(jit::Tier::Interp, true, data.bytes.data());
    Random random(2);
    Report report;
    for (const Row* row : simd_rows().data) {
        if (!reference_has(*row)) continue;
        for (unsigned n = 0; n < rounds(60); ++n) {
            const u32 word = random_word(*row, random);
            MachineState start;
            randomize(start, random, Control::Nearest);
            if (!avoid_reference_defects(*row, word, start)) continue;
            MachineState a = start, b = start, c = start;
            reference.run({&word, 1}, a);
            a.fpsr = 0;
            if (!fast->run({&word, 1}, b) || !exact->run({&word, 1}, c)) FAIL_CHECK(row->name << " does not run");
            report.check(*row, word, start, "VIXL/interpreter", difference(a, b, false));
            report.check(*row, word, start, "VIXL/exact", difference(a, c, false));
        }
    }
}

TEST_CASE("A64 SIMD instructions: fast and exact, interpreter and baseline", "[arm64][simd]") {
    Data data;
    const auto exact = subject(jit::Tier::Interp, true, data.bytes.data());
    const auto interpreter = subject(jit::Tier::Interp, false, data.bytes.data());
    const auto baseline = subject(jit::Tier::Baseline, false, data.bytes.data());
    Random random(3);
    Report report;
    for (const Row* row : simd_rows().data) {
        for (unsigned n = 0; n < rounds(40); ++n) {
            const u32 word = random_word(*row, random);
            const Control control = (n & 3) == 0 ? Control::Any : Control::Rounding;
            for (unsigned m = 0; m < 4; ++m) {
                MachineState start;
                randomize(start, random, control);
                MachineState a = start, b = start, c = start;
                if (!exact->run({&word, 1}, a) || !interpreter->run({&word, 1}, b) || !baseline->run({&word, 1}, c)) {
                    FAIL_CHECK(row->name << " does not run");
                }
                report.check(*row, word, start, "exact/interpreter", difference(a, b, true));
                report.check(*row, word, start, "exact/baseline", difference(a, c, true));
            }
        }
    }
}

TEST_CASE("A64 SIMD streams: three tiers", "[arm64][simd]") {
    Data data;
    const auto exact = subject(jit::Tier::Interp, true, data.bytes.data());
    const auto interpreter = subject(jit::Tier::Interp, false, data.bytes.data());
    const auto baseline = subject(jit::Tier::Baseline, false, data.bytes.data());
    const auto llvm = subject(jit::Tier::Llvm, false, data.bytes.data());
    Random random(seed(4));
    const GroupRows all = simd_rows();
    const unsigned streams = rounds(25);
    for (unsigned stream = 0; stream < streams; ++stream) {
        std::vector<u32> words;
        for (unsigned n = 0; n < 30; ++n) words.push_back(random_word(*all.data[random() % all.data.size()], random));
        for (unsigned n = 0; n < kStatesPerStream; ++n) {
            MachineState start;
            randomize(start, random, Control::Rounding);
            MachineState a = start, b = start, c = start, d = start;
            if (!exact->run(words, a) || !interpreter->run(words, b) || !baseline->run(words, c) || !llvm->run(words, d)) {
                FAIL("stream " << stream << " does not run");
            }
            const std::string text = difference(a, b, true) + difference(a, c, true) + difference(a, d, true);
            if (!text.empty()) FAIL_CHECK("stream " << stream << " run " << n << ":" << text);
        }
    }
    CHECK(llvm->regions_compiled() >= streams / 2);
}

// What the simulator lacks and IR does with the host's instructions. The kernels stand for the standards' examples
// (tests/unit/cpu/arm64_crypto_test.cpp).
TEST_CASE("A64 cryptographic instructions in IR agree with kernels and formulas", "[arm64][simd]") {
    using cpu::arm64::simd::Kernel;
    struct Expected {
        std::string_view name;
        Kernel kernel;
    };
    constexpr Expected kKernels[] = {{"AESE", Kernel::aes_encrypt},
                                     {"AESD", Kernel::aes_decrypt},
                                     {"AESMC", Kernel::aes_mix_columns},
                                     {"AESIMC", Kernel::aes_mix_columns},
                                     {"PMULL (64-bit)", Kernel::polynomial_multiply_long}};
    Data data;
    const auto interpreter = subject(jit::Tier::Interp, false, data.bytes.data());
    const auto baseline = subject(jit::Tier::Baseline, false, data.bytes.data());
    Random random(6);
    Report report;
    unsigned checked = 0;
    const auto check = [&](const Row& row, u32 word, const MachineState& start, const MachineState& expected) {
        MachineState a = start, b = start;
        CHECK((interpreter->run({&word, 1}, a) && baseline->run({&word, 1}, b)));
        report.check(row, word, start, "interpreter", difference(expected, a, true));
        report.check(row, word, start, "baseline", difference(expected, b, true));
        ++checked;
    };
    for (const Row* row : simd_rows().data) {
        for (unsigned n = 0; n < rounds(20); ++n) {
            const u32 word = random_word(*row, random);
            MachineState start;
            randomize(start, random, Control::Nearest);
            MachineState expected = start;
            const unsigned d = word & 31;
            const auto &vn = start.v[word >> 5 & 31], &vm = start.v[word >> 16 & 31], &va = start.v[word >> 10 & 31];
            for (const Expected& e : kKernels) {
                if (row->name != e.name) continue;
                cpu::arm64::State state;
                for (unsigned i = 0; i < 32; ++i) state.v[i].lane = start.v[i];
                cpu::arm64::simd::execute(state, e.kernel, word);
                expected.v[d] = state.v[d].lane;
                check(*row, word, start, expected);
            }
            if (row->feature != Feature::SHA3) continue;
            for (unsigned i = 0; i < 2; ++i) {
                u64& r = expected.v[d][i];
                if (row->name == "EOR3") r = vn[i] ^ vm[i] ^ va[i];
                if (row->name == "BCAX") r = vn[i] ^ (vm[i] & ~va[i]);
                if (row->name == "RAX1") r = vn[i] ^ std::rotl(vm[i], 1);
                if (row->name == "XAR") r = std::rotr(vn[i] ^ vm[i], static_cast<int>(word >> 10 & 63));
            }
            check(*row, word, start, expected);
        }
    }
    CHECK(checked >= 9 * 20);
}

TEST_CASE("A64 SIMD loads and stores agree with VIXL's simulator", "[arm64][simd]") {
    Data data;
    Reference reference;
    const auto interpreter = subject(jit::Tier::Interp, false, data.bytes.data());
    const auto baseline = subject(jit::Tier::Baseline, false, data.bytes.data());
    Random random(5);
    Report report;
    for (const Row* row : simd_rows().memory) {
        if (row->name.find("literal") != std::string_view::npos) continue;  // relative to each one's own code
        for (unsigned n = 0; n < rounds(60); ++n) {
            u32 word = random_word(*row, random);
            if ((word >> 5 & 31) == 31) word &= ~(1u << 5);  // not SP
            if (row->name.find("immediate") != std::string_view::npos && (word >> 24 & 1) == 1) word &= ~(0xfu << 18);
            if (cpu::arm64::decode(word) != row) continue;
            MachineState start;
            randomize(start, random, Control::Nearest);
            for (u64& x : start.x) x = random() & 31;
            start.x[word >> 5 & 31] = data.address() + 0x1000;
            if ((word >> 16 & 31) == (word >> 5 & 31) && row->name.find("register") != std::string_view::npos) continue;
            std::array<u8, Subject::kDataSize> memory;
            for (u8& byte : memory) byte = static_cast<u8>(random());
            const auto run = [&](auto& machine, MachineState& s) {
                data.bytes = memory;
                machine.run({&word, 1}, s);
                return data.bytes;
            };
            MachineState a = start, b = start, c = start;
            const auto after_a = run(reference, a);
            const auto after_b = run(*interpreter, b);
            const auto after_c = run(*baseline, c);
            report.check(*row, word, start, "VIXL/interpreter",
                         difference(a, b, false) + (after_a != after_b ? " memory" : ""));
            report.check(*row, word, start, "VIXL/baseline",
                         difference(a, c, false) + (after_a != after_c ? " memory" : ""));
        }
    }
}

}  // namespace tandem::reference_test

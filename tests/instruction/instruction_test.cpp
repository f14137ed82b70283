// Every user-mode instruction, on the host's processor and on Tandem's tiers, bit for bit.
//
// A program is a seed's code; a variant is a set of operands for it. The LLVM tier compiles a program once and runs it with
// many operands.
//
// TANDEM_INSTRUCTION_COUNT   programs for each test (default: a sample of some seconds; more than ten million experiments
// over
//                            all tests with TANDEM_FULL)
// TANDEM_INSTRUCTION_SEED    first seed; a report's seed with a count of 1 repeats it
// TANDEM_INSTRUCTION_ONLY    mnemonics, separated by commas
#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <sstream>

#include "accel/diff/compare.h"
#include "accel/diff/generator.h"
#include "accel/diff/host_cpu.h"
#include "accel/diff/translator_cpu.h"
#include "accel/diff/vendor.h"
#include "cpu/x86/decode/instruction.h"

namespace tandem::instruction_test {

using namespace accel::diff;
namespace {

u64 number(const char* name, u64 otherwise) {
    const char* text = std::getenv(name);
    return text != nullptr ? std::strtoull(text, nullptr, 0) : otherwise;
}

std::vector<std::string> only() {
    std::vector<std::string> list;
    const char* text = std::getenv("TANDEM_INSTRUCTION_ONLY");
    std::istringstream in(text != nullptr ? text : "");
    for (std::string name; std::getline(in, name, ',');) list.push_back(name);
    return list;
}

struct Failures {
    u64 total = 0;
    u64 by_vendor = 0;  // that an AMD host does in its own way
    std::map<std::string, u64> by_kind;

    void add(const TestCase& test, const Outcome& host, const Outcome& tandem) {
        ++total;
        const auto lines = differences(test, host, tandem);
        const auto list = instructions(test);
        std::string kind = list.size() == 1 ? std::string(cpu::x86::opcode_name(list[0].opcode)) : "sequence";
        kind += " " + lines[0].substr(0, lines[0].find(' '));
        if (lines[0].starts_with("vector")) kind += fmt::format(" {} {}", host.vector, tandem.vector);
        if (by_kind[kind]++ == 0 && by_kind.size() <= 400) fmt::print("{}\n", report(test, host, tandem));
    }
};

struct Amount {
    u64 programs;
    u64 variants;  // of each program; divides HostCpu::kBatch
};

// The environment's number of programs, or the sample, or the full campaign's share.
Amount choose(Amount sample, Amount full) {
    Amount amount = std::getenv("TANDEM_FULL") != nullptr ? full : sample;
    amount.programs = number("TANDEM_INSTRUCTION_COUNT", amount.programs);
    return amount;
}

// Prints how far a long campaign is, each half minute.
class Progress {
public:
    explicit Progress(u64 total) : total_(total) {}
    void at(u64 done, const Failures& failures) {
        const auto now = std::chrono::steady_clock::now();
        if (now - last_ < std::chrono::seconds(30)) return;
        last_ = now;
        fmt::print("  {} of {} experiments, {} differ\n", done, total_, failures.total);
        std::fflush(stdout);
    }

private:
    const u64 total_;
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// One batch of experiments that share their data memory, on both processors.
class Comparison {
public:
    Comparison(HostCpu& host, TranslatorCpu& tandem)
        : host_(host), tandem_(tandem), expected_(HostCpu::kBatch), actual_(HostCpu::kBatch) {}

    void run(std::vector<TestCase>& cases, std::span<const u8> memory, Failures& failures) {
        const auto ran = host_.run(cases, memory, expected_);
        if (!ran) FAIL(ran.error().message);
        // The host's kernel slows locked accesses across cache lines down until the watchdog fires: nothing is known then.
        size_t n = 0;
        for (size_t i = 0; i < cases.size(); ++i) {
            if (expected_[i].vector == Outcome::kHang) continue;
            cases[n] = cases[i];
            expected_[n++] = expected_[i];
        }
        cases.resize(n);
        if (const auto done = tandem_.run(cases, memory, actual_); !done) FAIL(done.error().message);
        for (size_t i = 0; i < n; ++i) {
            if (differences(cases[i], expected_[i], actual_[i]).empty()) continue;
            if (amd_host() && differs_on_amd(cases[i], expected_[i], actual_[i])) {
                ++failures.by_vendor;
            } else {
                failures.add(cases[i], expected_[i], actual_[i]);
            }
        }
    }

private:
    HostCpu& host_;
    TranslatorCpu& tandem_;
    std::vector<Outcome> expected_, actual_;
};

// The LLVM tier compiles what runs often; an instruction that is interpreted has nothing to compile.
void check_regions(jit::Tier tier, const TranslatorCpu& tandem, const Amount& amount) {
    if (tier != jit::Tier::Llvm) return;
    const u64 regions = tandem.regions_compiled();
    fmt::print("  {} regions compiled for {} programs\n", regions, amount.programs);
    CHECK(regions > 0);
    if (amount.variants > 8 * TranslatorCpu::kLlvmThreshold) CHECK(regions >= amount.programs / 2);
}

void compare_with_host(jit::Tier tier, cpu::x86::Mode mode, Amount sample, Amount full) {
    auto host = HostCpu::create();
    if (!host) FAIL(host.error().message);
    auto tandem = TranslatorCpu::create(tier);
    if (!tandem) {
        WARN("skipped: " << tandem.error().message);
        return;
    }
    // As a 64-bit process runs it, and a 32-bit one.
    const unsigned world = mode == cpu::x86::Mode::Bits64 ? 0 : 1;
    if (const std::string why = (*host)->refusal(worlds()[world]); !why.empty()) {
        WARN("skipped: " << why);
        return;
    }
    const Generator generator(only(), world, Rules::Hardware);
    const Amount amount = choose(sample, full);
    const u64 first = number("TANDEM_INSTRUCTION_SEED", 1);
    const u64 last = first + amount.programs;
    const u64 group_size = HostCpu::kBatch / amount.variants;
    std::vector<u8> memory(kDataSize + kReadOnlySize);
    Comparison comparison(**host, **tandem);
    Failures failures;
    Progress progress(amount.programs * amount.variants);
    u64 done = 0;
    for (u64 seed = first; seed < last;) {
        // Memory belongs to the group of seeds, so that one seed can be repeated alone.
        const u64 group = seed / group_size;
        Rng rng(group);
        Generator::fill_memory(rng, memory);
        std::vector<TestCase> cases;
        for (; seed < last && seed / group_size == group; ++seed) {
            const TestCase program = generator.make(seed, 3);
            for (u64 i = 0; i < amount.variants; ++i) cases.push_back(generator.vary(program, i));
        }
        comparison.run(cases, memory, failures);
        done += cases.size();
        progress.at(done, failures);
    }
    for (const auto& [kind, times] : failures.by_kind) fmt::print("{:8} {}\n", times, kind);
    fmt::print("{} experiments ({} programs from seed {}), {} differ\n", done, amount.programs, first, failures.total);
    if (failures.by_vendor != 0) fmt::print("skipped: {} experiments: {}\n", failures.by_vendor, kVendorSkip);
    check_regions(tier, **tandem, amount);
    CHECK(failures.total == 0);
}

}  // namespace

using cpu::x86::Mode;

TEST_CASE("interpreter agrees with the host's processor", "[interp]") {
    compare_with_host(jit::Tier::Interp, Mode::Bits64, {100'000, 1}, {3'000'000, 1});
}
TEST_CASE("baseline tier agrees with the host's processor", "[baseline]") {
    compare_with_host(jit::Tier::Baseline, Mode::Bits64, {70'000, 1}, {750'000, 4});
}
TEST_CASE("LLVM tier agrees with the host's processor", "[llvm]") {
    compare_with_host(jit::Tier::Llvm, Mode::Bits64, {1'500, 64}, {12'000, 256});
}
TEST_CASE("interpreter agrees with the host's processor in 32-bit code", "[interp32]") {
    compare_with_host(jit::Tier::Interp, Mode::Bits32, {50'000, 1}, {1'000'000, 1});
}
TEST_CASE("baseline tier agrees with the host's processor in 32-bit code", "[baseline32]") {
    compare_with_host(jit::Tier::Baseline, Mode::Bits32, {40'000, 1}, {250'000, 4});
}
TEST_CASE("LLVM tier agrees with the host's processor in 32-bit code", "[llvm32]") {
    compare_with_host(jit::Tier::Llvm, Mode::Bits32, {1'000, 64}, {4'000, 256});
}

void expect_undefined(TestCase (*make)(Rng&)) {
    auto host = HostCpu::create();
    if (!host) FAIL(host.error().message);
    std::vector<TestCase> cases(HostCpu::kBatch);
    std::vector<Outcome> outcomes(HostCpu::kBatch);
    std::vector<u8> memory(kDataSize + kReadOnlySize);
    u64 by_vendor = 0;
    const u64 batches = choose({100'000, 1}, {1'000'000, 1}).programs / HostCpu::kBatch;
    for (u64 batch = 0; batch < batches; ++batch) {
        Rng rng(batch);
        Generator::fill_memory(rng, memory);
        for (TestCase& test : cases) test = make(rng);
        const auto ran = (*host)->run(cases, memory, outcomes);
        if (!ran) FAIL(ran.error().message);
        for (size_t i = 0; i < cases.size(); ++i) {
            INFO(fmt::format("{:02x}", fmt::join(cases[i].code, " ")));
            if (outcomes[i].vector == 6) continue;
            if (amd_host() && defined_on_amd(cases[i])) {
                ++by_vendor;
            } else {
                CHECK(outcomes[i].vector == 6);
            }
        }
    }
    if (by_vendor != 0) fmt::print("skipped: {} encodings: {}\n", by_vendor, kVendorSkip);
}

TEST_CASE("what the decoder calls undefined is undefined on the host", "[decoder]") { expect_undefined(undefined_encoding); }

TEST_CASE("VEX encodings that the decoder calls undefined are undefined on the host", "[decoder]") {
    if (!host_has(cpu::x86::Feature::AVX2)) {
        WARN("skipped: the host has no AVX2");
        return;
    }
    expect_undefined(undefined_vex_encoding);
}

}  // namespace tandem::instruction_test

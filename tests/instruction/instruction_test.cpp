// Every user-mode instruction, on the host's processor and on Tandem's tiers, bit for bit.
//
// TANDEM_INSTRUCTION_COUNT   experiments for each test (default: a sample of some seconds; ten million with TANDEM_FULL)
// TANDEM_INSTRUCTION_SEED    first seed; a report's seed with a count of 1 repeats it
// TANDEM_INSTRUCTION_ONLY    mnemonics, separated by commas
#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <map>
#include <sstream>

#include "cpu/x86/decode/instruction.h"
#include "tests/instruction/compare.h"
#include "tests/instruction/generator.h"
#include "tests/instruction/host_cpu.h"
#include "tests/instruction/tandem_cpu.h"

namespace tandem::instruction_test {
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

// Experiments of a test: the environment's, or the sample, or ten million in a full campaign.
u64 sample(u64 usual) {
    return number("TANDEM_INSTRUCTION_COUNT", std::getenv("TANDEM_FULL") != nullptr ? 10'000'000 : usual);
}

// A kernel without IA-32 emulation has no 32-bit code segment: returning to it faults with the selector as error code.
bool runs_32_bit_code(HostCpu& host, std::span<const u8> memory) {
    TestCase test;
    test.compatibility = true;
    test.in.gpr[cpu::x86::RSP] = kData + 0x1000;
    Outcome outcome;
    const auto ran = host.run({&test, 1}, memory, {&outcome, 1});
    return ran.ok() && outcome.vector == 13 && outcome.error == 0 && outcome.out.rip == kCodeStart;
}

void compare_with_host(jit::Tier tier, cpu::x86::Mode mode, u64 default_count) {
    auto host = HostCpu::create();
    if (!host) FAIL(host.error().message);
    auto tandem = TandemCpu::create(tier);
    if (!tandem) {
        WARN("skipped: " << tandem.error().message);
        return;
    }
    const Generator generator(only(), mode);
    const u64 first = number("TANDEM_INSTRUCTION_SEED", 1);
    const u64 count = sample(default_count);
    std::vector<TestCase> cases(HostCpu::kBatch);
    std::vector<Outcome> expected(HostCpu::kBatch);
    std::vector<Outcome> actual(HostCpu::kBatch);
    std::vector<u8> memory(kDataSize + kReadOnlySize);
    if (mode == cpu::x86::Mode::Bits32 && !runs_32_bit_code(**host, memory)) {
        WARN("skipped: the host's kernel does not run 32-bit code");
        return;
    }
    Failures failures;
    for (u64 done = 0; done < count;) {
        // Memory belongs to the group of seeds, so that one seed can be repeated alone.
        const u64 group = (first + done) / HostCpu::kBatch;
        Rng rng(group);
        Generator::fill_memory(rng, memory);
        size_t n = 0;
        while (done < count && n < HostCpu::kBatch && (first + done) / HostCpu::kBatch == group) {
            cases[n++] = generator.make(first + done++, true);
        }
        const std::span batch = std::span(cases).first(n);
        const auto ran = (*host)->run(batch, memory, expected);
        if (!ran) FAIL(ran.error().message);
        (*tandem)->run(batch, memory, actual);
        for (size_t i = 0; i < n; ++i) {
            // The host's kernel slows locked accesses across cache lines down until the watchdog fires: nothing is known
            // then.
            if (expected[i].vector == Outcome::kHang) continue;
            if (!differences(cases[i], expected[i], actual[i]).empty()) failures.add(cases[i], expected[i], actual[i]);
        }
    }
    for (const auto& [kind, times] : failures.by_kind) fmt::print("{:8} {}\n", times, kind);
    INFO(failures.total << " of " << count << " experiments differ");
    CHECK(failures.total == 0);
}

}  // namespace

using cpu::x86::Mode;

TEST_CASE("interpreter agrees with the host's processor", "[interp]") {
    compare_with_host(jit::Tier::Interp, Mode::Bits64, 100000);
}
TEST_CASE("baseline tier agrees with the host's processor", "[baseline]") {
    compare_with_host(jit::Tier::Baseline, Mode::Bits64, 70000);
}
TEST_CASE("interpreter agrees with the host's processor in 32-bit code", "[interp32]") {
    compare_with_host(jit::Tier::Interp, Mode::Bits32, 50000);
}
TEST_CASE("baseline tier agrees with the host's processor in 32-bit code", "[baseline32]") {
    compare_with_host(jit::Tier::Baseline, Mode::Bits32, 40000);
}

TEST_CASE("what the decoder calls undefined is undefined on the host", "[decoder]") {
    auto host = HostCpu::create();
    if (!host) FAIL(host.error().message);
    std::vector<TestCase> cases(HostCpu::kBatch);
    std::vector<Outcome> outcomes(HostCpu::kBatch);
    std::vector<u8> memory(kDataSize + kReadOnlySize);
    const u64 batches = sample(100000) / HostCpu::kBatch;
    for (u64 batch = 0; batch < batches; ++batch) {
        Rng rng(batch);
        Generator::fill_memory(rng, memory);
        for (TestCase& test : cases) test = undefined_encoding(rng);
        const auto ran = (*host)->run(cases, memory, outcomes);
        if (!ran) FAIL(ran.error().message);
        for (size_t i = 0; i < cases.size(); ++i) {
            INFO(fmt::format("{:02x}", fmt::join(cases[i].code, " ")));
            if (outcomes[i].vector != 6) CHECK(outcomes[i].vector == 6);
        }
    }
}

}  // namespace tandem::instruction_test

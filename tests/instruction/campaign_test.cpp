// Differential campaigns: their parts equal the whole, they can be interrupted, and what they find is made small.
#include <catch2/catch.hpp>

#include <chrono>
#include <cstdio>

#include "accel/diff/catcher.h"
#include "accel/diff/compare.h"
#include "accel/diff/processor.h"
#include "accel/diff/reduce.h"
#include "accel/diff/translator_cpu.h"
#include "accel/diff/x86_campaign.h"
#include "tests/patience.h"
#include "tests/run_campaign.h"

namespace tandem::accel::diff {
namespace {

CampaignOptions options(u64 count) {
    CampaignOptions o;
    o.engines = {"interp", "baseline"};
    o.count = count;
    return o;
}

// Results of shard `shard` of two: streams 0 to 511 differ where they are a multiple of 100.
Results half(u64 shard) {
    Results r;
    r.campaign = Json{{"seed", 1}, {"count", 512}, {"shard", shard}, {"shards", 2}};
    r.streams = 256;
    for (u64 stream = shard * 256; stream < (shard + 1) * 256; ++stream) {
        if (stream % 100 != 0) continue;
        r.add({stream, "ADC rflags", "user64"});
        r.findings.try_emplace("ADC rflags", Json{{"type", "finding"}, {"kind", "ADC rflags"}, {"stream", stream}});
    }
    return r;
}

}  // namespace

TEST_CASE("Tiers agree on streams in every machine state", "[diff]") {
    const Results r = run(options(6'000));
    INFO(r.summary());
    CHECK(r.streams == 6'000);
    CHECK(r.differences.empty());
}

// REP OUTSB with a count of 2^32 - 1: without paging nothing ends it.
TEST_CASE("A repeated instruction of billions of elements is cut off, at the same element on every tier", "[diff]") {
    TestCase test;
    const auto index = world_by_name("kernel32");
    REQUIRE(index.ok());
    test.world = static_cast<u8>(*index);
    test.in.rip = world_of(test).start();
    test.in.gpr[cpu::x86::RCX] = 0xffff'ffff;
    test.code[0] = 0xf3;
    test.code[1] = 0x6e;
    test.length = 2;
    const std::vector<u8> memory(kDataSize + kReadOnlySize);
    std::vector<Outcome> outcomes;
    const auto start = std::chrono::steady_clock::now();
    for (const jit::Tier tier : {jit::Tier::Interp, jit::Tier::Baseline}) {
        auto cpu = TranslatorCpu::create(tier);
        REQUIRE(cpu.ok());
        Outcome outcome;
        REQUIRE((*cpu)->run({&test, 1}, memory, {&outcome, 1}).ok());
        CHECK(outcome.vector == Outcome::kHang);
        CHECK(outcome.out.rip == test.in.rip);
        CHECK(outcome.out.gpr[cpu::x86::RCX] < 0xffff'ffff);
        outcomes.push_back(outcome);
    }
    CHECK(std::chrono::steady_clock::now() - start < tests::kAtOnce);
    CHECK(differences(test, outcomes[0], outcomes[1], {.exact = true}).empty());
}

// KVM takes real mode's exceptions by vectors in memory, which a stream without paging in another mode may read.
TEST_CASE("Low memory is what translators have there in every state but real mode", "[diff]") {
    std::vector<u8> expected(kTablesSize);
    write_page_tables(expected.data(), true);
    ExperimentMemory memory;
    REQUIRE(memory.create(Descriptors::Global).ok());
    constexpr u64 kLow = 0x400;
    const auto low = [&](std::string_view world) {
        TestCase test;
        const auto index = world_by_name(world);
        REQUIRE(index.ok());
        test.world = static_cast<u8>(*index);
        test.in.rip = world_of(test).start();
        memory.place_code(test);
        return std::vector<u8>(memory.tables, memory.tables + kLow);
    };
    const std::vector<u8> translators(expected.begin(), expected.begin() + kLow);
    CHECK(low("kernel32") == translators);
    CHECK(low("real16") != translators);
    CHECK(low("user32") == translators);
}

TEST_CASE("Merged shards equal one run", "[diff]") {
    const Results whole = run(options(3'000));
    std::vector<Results> parts;
    for (u64 i = 0; i < 3; ++i) {
        CampaignOptions o = options(3'000);
        o.shard = i;
        o.shards = 3;
        auto read = parse_results(run(o).text());
        REQUIRE(read.ok());
        parts.push_back(std::move(read).value());
    }
    auto merged = merge(std::move(parts));
    REQUIRE(merged.ok());
    CHECK(merged->text() == whole.text());
}

TEST_CASE("Merging keeps the finding of the first stream of a kind", "[diff]") {
    auto merged = merge({half(1), half(0)});
    REQUIRE(merged.ok());
    CHECK(merged->streams == 512);
    REQUIRE(merged->differences.size() == 6);
    CHECK(merged->findings.at("ADC rflags").at("stream") == 0);
    CHECK(merged->text().find(R"("stream":0)") < merged->text().find(R"("stream":500)"));
}

TEST_CASE("What is not the whole of one campaign is not merged", "[diff]") {
    CHECK_FALSE(merge({half(0)}).ok());
    CHECK_FALSE(merge({half(0), half(0)}).ok());
    Results unfinished = half(1);
    unfinished.streams = 128;
    CHECK_FALSE(merge({half(0), unfinished}).ok());
    Results foreign = half(1);
    foreign.campaign["seed"] = 2;
    CHECK_FALSE(merge({half(0), foreign}).ok());
}

TEST_CASE("What could not be compared is counted by reason, through files and merges", "[diff]") {
    Results a = half(0), b = half(1);
    a.skipped["it did not end in time"] = 2;
    b.skipped["it did not end in time"] = 3;
    b.skipped["KVM does not execute it as a processor does"] = 1;
    auto read = parse_results(b.text());
    REQUIRE(read.ok());
    CHECK(read->skipped == b.skipped);
    auto part = parse_results(header_line(a.campaign) + checkpoint_line(a));
    REQUIRE(part.ok());
    CHECK(part->skipped == a.skipped);
    auto merged = merge({a, *read});
    REQUIRE(merged.ok());
    CHECK(merged->skipped ==
          std::map<std::string, u64>{{"KVM does not execute it as a processor does", 1}, {"it did not end in time", 5}});
    CHECK(merged->summary().find("skipped: 5 comparisons, it did not end in time") != std::string::npos);
}

TEST_CASE("KVM and the interpreter agree on streams in every machine state that KVM runs", "[diff][kvm]") {
    CampaignOptions o = options(3'000);
    o.engines = {"interp", "kvm"};
    o.seed = 41;
    auto campaign = Campaign::create(o);
    if (!campaign) {
        WARN("skipped: " << campaign.error().message);
        return;
    }
    for (const std::string& line : (*campaign)->skipped()) std::printf("skipped: %s\n", line.c_str());
    const Results r = run(o);
    INFO(r.summary());
    CHECK(r.streams == 3'000);
    for (const auto& [why, times] : r.skipped)
        std::printf("skipped: %llu comparisons, %s\n", static_cast<unsigned long long>(times), why.c_str());
    CHECK(r.differences.empty());
}

TEST_CASE("A near return to a non-canonical address may fault at its target on hardware", "[diff]") {
    TestCase test;
    test.code[test.length++] = 0xc3;
    Outcome host, tandem;
    host.vector = tandem.vector = 13;
    host.out = tandem.out = test.in;
    host.out.rip = u64{0x7ff} << 52;
    host.out.gpr[4] += 8;
    CHECK(differences(test, host, tandem).empty());
    tandem.vector = 14;
    CHECK_FALSE(differences(test, host, tandem).empty());
}

TEST_CASE("PUSH of a segment register may write 16 bits of its slot, or all of it", "[diff]") {
    const auto pushed = [](std::initializer_list<u8> code, u32 bytes) {
        TestCase test;
        test.world = static_cast<u8>(*world_by_name("user32-compatibility"));
        test.length = static_cast<u8>(code.size());
        std::copy(code.begin(), code.end(), test.code.begin());
        Outcome one, other;
        one.vector = other.vector = 13;
        one.out.rip = other.out.rip = test.in.rip + test.length;
        one.memory.hash = 5;
        one.memory.end = 2;
        other.memory = one.memory;
        other.memory.hash = 7;
        other.memory.end = bytes;
        return differences(test, one, other).size();
    };
    CHECK(pushed({0x06}, 4) == 0);        // PUSH ES
    CHECK(pushed({0x66, 0x06}, 4) != 0);  // of 16 bits
    CHECK(pushed({0x50}, 4) != 0);        // PUSH EAX
}

TEST_CASE("Changed memory is found by byte, and its hash tells what changed where", "[diff]") {
    std::vector<u8> before(0x100), now(0x100);
    CHECK(memory_change(before.data(), now.data(), now.size()).hash == 0);
    now[3] = 1;
    now[0xfe] = 2;
    const MemoryChange both = memory_change(before.data(), now.data(), now.size());
    CHECK(both.offset == 3);
    CHECK(both.end == 0xff);
    CHECK(both.bytes[0] == 1);
    now[0x80] = 3;
    CHECK(memory_change(before.data(), now.data(), now.size()).hash != both.hash);
    std::swap(now[0x80], now[0x88]);
    CHECK(memory_change(before.data(), now.data(), now.size()).hash != both.hash);
    now[0x88] = 0;
    CHECK(memory_change(before.data(), now.data(), now.size()) == both);
}

TEST_CASE("An interrupted campaign goes on where it stopped", "[diff]") {
    const Results first = run(options(2'000), {}, 700);
    CHECK(first.streams == 768);
    auto read = parse_results(header_line(first.campaign) + checkpoint_line(first) + R"({"type":"differ)");
    REQUIRE(read.ok());
    CHECK(run(options(2'000), *read).text() == run(options(2'000)).text());
}

TEST_CASE("Damaged results are named by line", "[diff]") {
    const auto read = parse_results("{\"type\":\"campaign\"}\nnonsense\n{}\n");
    REQUIRE_FALSE(read.ok());
    CHECK(read.error().message.find("line 2") != std::string::npos);
}

TEST_CASE("A campaign's bad options are named", "[diff]") {
    CampaignOptions o = options(10);
    o.engines = {"interp", "bochs"};
    CHECK(error_of(o).find("bochs") != std::string::npos);
    o.engines = {"interp", "interp"};
    CHECK(error_of(o).find("twice") != std::string::npos);
    o = options(10);
    o.states = {"user65"};
    CHECK(error_of(o).find("user65") != std::string::npos);
    o = options(10);
    o.shard = 2;
    o.shards = 2;
    CHECK(error_of(o).find("--shard") != std::string::npos);
    o = options(10);
    o.only = {"FROB"};
    CHECK(error_of(o).find("--only") != std::string::npos);
}

TEST_CASE("A difference is reduced to the instruction and the register it needs", "[diff]") {
    const Generator generator({}, 0, Rules::Translators);
    Experiment whole;
    u64 seed = 0;
    do {
        whole.test = generator.make(++seed, 8);
    } while (instructions(whole.test).size() < 4);
    whole.memory.resize(kDataSize + kReadOnlySize);
    Rng rng(1);
    Generator::fill_memory(rng, whole.memory);
    whole.test.in.gpr[3] = 0x1234;
    const auto wanted = instructions(whole.test)[2].opcode;
    const u8 byte = whole.memory[0x1003] = 0x5a;
    const Experiment small = reduce(whole, [&](const Experiment& e) {
        bool there = false;
        for (const auto& insn : instructions(e.test)) there = there || insn.opcode == wanted;
        return there && e.test.in.gpr[3] == 0x1234 && e.memory[0x1003] == byte;
    });
    REQUIRE(instructions(small.test).size() == 1);
    CHECK(instructions(small.test)[0].opcode == wanted);
    CHECK(small.test.in.gpr[0] == 0);
    CHECK(std::count(small.memory.begin(), small.memory.end(), 0) >= std::ptrdiff_t{kDataSize + kReadOnlySize - 8});
}

}  // namespace tandem::accel::diff

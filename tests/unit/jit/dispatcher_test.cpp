#include <catch2/catch.hpp>
#include <thread>

#include "jit/guest/memory.h"
#include "jit/runtime/fp_control.h"
#include "toy_guest.h"

namespace tandem::jit::toy {
namespace {

using ir::LeaveReason;

Options tier(Tier t, u32 max_insns = 64) {
    Options o;
    o.tier = t;
    o.max_block_insns = max_insns;
    return o;
}

// A tier that this build or host lacks is reported, not passed over.
bool available(Tier t) {
    ToyGuest guest;
    ToyBus bus;
    const auto made = create_translator(guest, bus, tier(t));
    if (!made.ok()) WARN("skipped tier: " << made.error().message);
    return made.ok();
}

constexpr std::array kTiers{Tier::Interp, Tier::Baseline, Tier::Auto};

// r1 = sum of n .. 1
std::vector<u8> sum_loop(u32 n) {
    Asm a;
    a.movi(0, n).movi(1, 0);
    a.op({kAdd, 1, 0}).op({kSubI, 0, 1}).op({kJnz, 0, -9}).op({kHalt});
    return a.bytes;
}

}  // namespace

TEST_CASE("a loop runs to its halt on every tier") {
    const Tier t = GENERATE(from_range(kTiers));
    const u32 insns = GENERATE(1u, 64u);
    if (!available(t)) return;
    Machine m(tier(t, insns));
    m.load(0x1000, sum_loop(1000));
    CHECK(m.run_at(0x1000) == LeaveReason::Halt);
    CHECK(m.state().r[1] == 500500);
    CHECK(m.state().pc == 0x1000 + 6 + 6 + 9 + 1);
    // Translated once, then reused.
    const u64 lifts = m.guest.lifts;
    CHECK(m.run_at(0x1000) == LeaveReason::Halt);
    CHECK(m.guest.lifts == lifts);
}

TEST_CASE("the interpreter counts instructions exactly") {
    Options o = tier(Tier::Interp);
    o.count_instructions = true;
    Machine m(o);
    m.load(0x1000, sum_loop(10));
    m.run_at(0x1000);
    CHECK(header_of(m.vcpu->state()).instructions == 2 + 30 + 1);
    // A faulting instruction has not completed; the delivery of its exception counts.
    m.load(0x2000, Asm().movi(2, 0x300000).op({kLoad, 3, 2}).bytes);
    m.load(0x3000, Asm().op({kHalt}).bytes);
    m.state().vector = 0x3000;
    m.run_at(0x2000);
    CHECK(header_of(m.vcpu->state()).instructions == 33 + 1 + 1 + 1);
}

TEST_CASE("faults are precise and delivered") {
    const Tier t = GENERATE(from_range(kTiers));
    if (!available(t)) return;
    Machine m(tier(t));
    m.guest.tables[0][0x500000] = {0x8000, false, false};
    m.load(0x1000, Asm().movi(2, 0x500000).movi(3, 7).op({kStore, 2, 3}).movi(3, 9).op({kHalt}).bytes);
    m.load(0x3000, Asm().op({kHalt}).bytes);
    m.state().vector = 0x3000;
    CHECK(m.run_at(0x1000) == LeaveReason::Halt);
    CHECK(m.state().cause == kPageFault);
    CHECK(m.state().fault_address == 0x500000);
    CHECK(m.state().epc == 0x1000 + 12);
    CHECK(m.state().r[3] == 7);
    CHECK(m.state().pc == 0x3001);

    SECTION("fetch from a page that may not be executed") {
        CHECK(m.run_at(0x500010) == LeaveReason::Halt);
        CHECK(m.state().cause == kPageFault);
        CHECK(m.state().epc == 0x500010);
    }
    SECTION("invalid instruction") {
        m.load(0x4000, {0xff});
        CHECK(m.run_at(0x4000) == LeaveReason::Halt);
        CHECK(m.state().cause == kInvalidInstruction);
        CHECK(m.state().epc == 0x4000);
    }
}

TEST_CASE("misaligned accesses fault only where asked for") {
    Machine m(tier(Tier::Interp));
    m.guest.memory_flags = ir::MemFlags::kAligned;
    m.load(0x1000, Asm().movi(2, 0x8004).op({kLoad, 3, 2}).op({kHalt}).bytes);
    m.load(0x3000, Asm().op({kHalt}).bytes);
    m.state().vector = 0x3000;
    m.run_at(0x1000);
    CHECK(m.state().cause == kAlignment);
    CHECK(m.state().fault_address == 0x8004);
}

TEST_CASE("an instruction that spans two pages follows its mapping") {
    const Tier t = GENERATE(from_range(kTiers));
    if (!available(t)) return;
    Machine m(tier(t));
    // movi r0, imm32 with its last three bytes on the next virtual page, which leads to one of two physical ones.
    m.guest.tables[1] = m.guest.tables[0];
    m.guest.tables[0][0x600000] = {0x10000};
    m.guest.tables[0][0x601000] = {0x12000};
    m.guest.tables[1][0x600000] = {0x10000};
    m.guest.tables[1][0x601000] = {0x13000};
    m.load(0x10ffd, {kMovI, 0, 0x11});
    m.load(0x12000, {0x22, 0, 0, kHalt});
    m.load(0x13000, {0x33, 0, 0, kHalt});
    for (int round = 0; round < 4; ++round) {
        m.state().asid = 0;
        m.vcpu->state_replaced();
        CHECK(m.run_at(0x600ffd) == LeaveReason::Halt);
        CHECK(m.state().r[0] == 0x2211);
        m.state().asid = 1;
        m.vcpu->state_replaced();
        CHECK(m.run_at(0x600ffd) == LeaveReason::Halt);
        CHECK(m.state().r[0] == 0x3311);
    }
    SECTION("a write to its second part is seen") {
        m.load(0x13000, {0x44});
        CHECK(m.run_at(0x600ffd) == LeaveReason::Halt);
        CHECK(m.state().r[0] == 0x4411);
    }
    SECTION("a fault on the second page is the second page's") {
        m.guest.tables[1].erase(0x601000);
        m.load(0x3000, Asm().op({kHalt}).bytes);
        m.state().vector = 0x3000;
        m.vcpu->state_replaced();
        CHECK(m.run_at(0x600ffd) == LeaveReason::Halt);
        CHECK(m.state().cause == kPageFault);
        CHECK(m.state().fault_address == 0x601000);
        CHECK(m.state().epc == 0x600ffd);
    }
}

TEST_CASE("code that a guest rewrites runs as rewritten") {
    const Tier t = GENERATE(from_range(kTiers));
    if (!available(t)) return;
    Machine m(tier(t));

    SECTION("the instruction right after the store, in the same block") {
        Asm a;
        a.movi(2, 0x1000 + 18 + 3 + 2).movi(3, 0x55).movi(4, 0);  // address of the next movi's immediate
        a.op({kStoreB, 2, 3});
        a.movi(4, 0x11).op({kHalt});
        m.load(0x1000, a.bytes);
        for (int round = 0; round < 5; ++round) {
            m.ram[0x1000 + 23] = static_cast<u8>(0x11);
            m.translator->memory_written(0x1000 + 23, 1);
            CHECK(m.run_at(0x1000) == LeaveReason::Halt);
            CHECK(m.state().r[4] == 0x55);
        }
        CHECK(m.translator->statistics().invalidated_blocks > 0);
    }
    SECTION("data beside code in one granule is not code") {
        Asm a;
        a.movi(2, 0x1000 + 40).movi(3, 200).movi(4, 0);
        a.op({kStoreB, 2, 3}).op({kSubI, 3, 1}).op({kJnz, 3, -9}).op({kHalt});
        m.load(0x1000, a.bytes);
        CHECK(m.run_at(0x1000) == LeaveReason::Halt);
        CHECK(m.ram[0x1000 + 40] == 1);
        CHECK(m.translator->statistics().invalidated_blocks == 0);
    }
    SECTION("through another mapping of the page") {
        m.guest.tables[0][0x700000] = {0x1000};
        m.load(0x1000, Asm().movi(4, 0x11).op({kJmpReg, 5}).bytes);
        m.load(0x2000, Asm().movi(2, 0x700002).op({kStoreB, 2, 3}).movi(5, 0x3000).movi(6, 0x1000).op({kJmpReg, 6}).bytes);
        m.load(0x3000, Asm().op({kHalt}).bytes);
        for (u64 value = 1; value < 8; ++value) {
            m.state().r[3] = value;
            CHECK(m.run_at(0x2000) == LeaveReason::Halt);
            CHECK(m.state().r[4] == value);
        }
    }
    SECTION("a page that was written freely before it became code") {
        m.load(0x2000, Asm().movi(2, 0x5000).op({kStoreB, 2, 3}).op({kHalt}).bytes);
        m.run_at(0x2000);
        m.load(0x5000, Asm().movi(4, 1).op({kHalt}).bytes);
        m.run_at(0x5000);
        CHECK(m.state().r[4] == 1);
        m.state().r[3] = kHalt;
        m.run_at(0x2000);
        m.state().r[4] = 0;
        m.run_at(0x5000);
        CHECK(m.state().r[4] == 0);
        CHECK(m.state().pc == 0x5001);
    }
}

TEST_CASE("DMA into code is seen") {
    const Tier t = GENERATE(from_range(kTiers));
    if (!available(t)) return;
    Machine m(tier(t));
    for (u32 value = 1; value < 6; ++value) {
        m.load(0x1000, Asm().movi(4, value).op({kHalt}).bytes);
        for (int n = 0; n < 4; ++n) m.run_at(0x1000);
        CHECK(m.state().r[4] == value);
    }
}

TEST_CASE("the bus sees every access, with the host's FP control") {
    const Tier t = GENERATE(from_range(kTiers));
    if (!available(t)) return;
    Machine m(tier(t));
    header_of(m.vcpu->state()).guest_mxcsr = 0x3f80;
    m.bus.answer = 0x1122334455667788;
    m.load(0x1000, Asm().movi(2, 0x40000008).op({kLoad, 3, 2}).movi(4, 0xabcd).op({kStore, 2, 4}).op({kHalt}).bytes);
    for (int round = 0; round < 4; ++round) {
        m.bus.log.clear();
        m.run_at(0x1000);
        CHECK(m.state().r[3] == 0x1122334455667788);
        REQUIRE(m.bus.log.size() == 2);
        CHECK_FALSE(m.bus.log[0].write);
        CHECK(m.bus.log[0].gpa == 0x40000008);
        CHECK(m.bus.log[0].size == 8);
        CHECK(m.bus.log[1].write);
        CHECK(m.bus.log[1].value == 0xabcd);
        CHECK(m.bus.fp_control == host_fp_control());
    }
    CHECK(header_of(m.vcpu->state()).guest_mxcsr == 0x3f80);

    SECTION("misaligned accesses are split at eight bytes") {
        m.bus.log.clear();
        m.load(0x1000, Asm().movi(2, 0x40000003).movi(4, 0x01020304).op({kStore, 2, 4}).op({kHalt}).bytes);
        m.run_at(0x1000);
        REQUIRE(m.bus.log.size() == 4);
        CHECK(m.bus.log[0].gpa == 0x40000003);
        CHECK(m.bus.log[0].size == 4);
        CHECK(m.bus.log[0].value == 0x01020304);
        CHECK(m.bus.log[1].gpa == 0x40000007);
        CHECK(m.bus.log[1].size == 1);
        CHECK(m.bus.log[2].gpa == 0x40000008);
        CHECK(m.bus.log[2].size == 2);
        CHECK(m.bus.log[3].gpa == 0x4000000a);
        CHECK(m.bus.log[3].size == 1);
    }
    SECTION("code may be fetched from it") {
        u64 at = 0x40000100;
        const std::vector<u8> code = Asm().movi(4, 0x77).op({kHalt}).bytes;
        for (const u8 b : code) m.bus.bytes[at++] = b;
        CHECK(m.run_at(0x40000100) == LeaveReason::Halt);
        CHECK(m.state().r[4] == 0x77);
        CHECK(m.state().pc == 0x40000107);
    }
}

TEST_CASE("stores to a read-only slot go to the bus, loads do not") {
    Machine m(tier(Tier::Auto));
    std::vector<u8> rom(2 * kPageSize, 0x5a);
    u8* host = reinterpret_cast<u8*>((reinterpret_cast<u64>(rom.data()) + kPageSize - 1) & kPageMask);
    REQUIRE(m.translator->add_slot({0x200000, kPageSize, host, true}).ok());
    m.guest.tables[0][0x200000] = {0x200000};
    m.load(0x1000, Asm().movi(2, 0x200000).op({kLoad, 3, 2}).op({kStoreB, 2, 4}).op({kHalt}).bytes);
    m.run_at(0x1000);
    CHECK(m.state().r[3] == 0x5a5a5a5a5a5a5a5a);
    CHECK(host[0] == 0x5a);
    REQUIRE(m.bus.log.size() == 1);
    CHECK(m.bus.log[0].gpa == 0x200000);
    CHECK(m.translator->remove_slot(0x200000).ok());
    CHECK_FALSE(m.translator->remove_slot(0x200000).ok());
}

TEST_CASE("accesses that cross pages touch nothing when the second page faults") {
    const Tier t = GENERATE(from_range(kTiers));
    if (!available(t)) return;
    Machine m(tier(t));
    m.guest.tables[0][0x800000] = {0x20000};
    m.guest.tables[0][0x801000] = {0x30000};
    m.guest.tables[0][0x802000] = {0x40000, false};
    m.load(0x1000, Asm().op({kStore, 2, 3}).op({kLoad, 4, 2}).op({kHalt}).bytes);
    m.load(0x3000, Asm().op({kHalt}).bytes);
    m.state().vector = 0x3000;
    m.state().r[2] = 0x800ffc;
    m.state().r[3] = 0x1122334455667788;
    m.run_at(0x1000);
    CHECK(m.state().r[4] == 0x1122334455667788);
    CHECK(*reinterpret_cast<u32*>(&m.ram[0x20ffc]) == 0x55667788);
    CHECK(*reinterpret_cast<u32*>(&m.ram[0x30000]) == 0x11223344);
    m.state().r[2] = 0x801ffc;
    m.run_at(0x1000);
    CHECK(m.state().cause == kPageFault);
    CHECK(m.state().fault_address == 0x802000);
    CHECK(*reinterpret_cast<u32*>(&m.ram[0x30ffc]) == 0);
}

TEST_CASE("atomics, within a page and across") {
    const Tier t = GENERATE(from_range(kTiers));
    if (!available(t)) return;
    Machine m(tier(t));
    const u64 at = GENERATE(u64{0x8000}, u64{0x8003}, u64{0x8ffc});
    m.load(0x1000, Asm().op({kXAdd, 3, 2}).op({kHalt}).bytes);
    m.ram[at] = 40;
    m.state().r[2] = at;
    for (u64 n = 0; n < 4; ++n) {
        m.state().r[3] = 2;
        m.run_at(0x1000);
        CHECK(m.state().r[3] == 40 + 2 * n);
    }
    CHECK(std::vector<u8>(&m.ram[at], &m.ram[at] + 8) == std::vector<u8>{48, 0, 0, 0, 0, 0, 0, 0});
}

TEST_CASE("TLB flushes") {
    const Tier t = GENERATE(from_range(kTiers));
    if (!available(t)) return;
    Machine m(tier(t));
    m.word(0x20000) = 1;
    m.word(0x30000) = 2;
    auto& page = m.guest.tables[0][0x800000];
    page = {0x20000};
    m.guest.tables[0][0x900000] = {0x20000, true, true, true};
    m.guest.tables[1] = m.guest.tables[0];
    m.state().r[2] = 0x800000;
    const auto load = [&](std::initializer_list<int> before) {
        m.load(0x1000, Asm().op(before).op({kLoad, 4, 2}).op({kHalt}).bytes);
        m.run_at(0x1000);
        return m.state().r[4];
    };
    CHECK(load({}) == 1);
    page.phys = 0x30000;
    CHECK(load({}) == 1);  // still cached
    SECTION("all") { CHECK(load({kFlush}) == 2); }
    SECTION("the page") { CHECK(load({kFlushPage, 2}) == 2); }
    SECTION("another page") {
        m.state().r[3] = 0x801000;
        CHECK(load({kFlushPage, 3}) == 1);
    }
    SECTION("keeping global pages") {
        m.guest.tables[1][0x800000] = {0x30000};
        m.state().r[3] = 1;
        CHECK(load({kAsid, 3}) == 2);
        m.state().r[2] = 0x900000;
        m.state().r[3] = 0;
        CHECK(load({}) == 1);
        m.guest.tables[0][0x900000].phys = 0x30000;
        CHECK(load({kAsid, 3}) == 1);
        CHECK(load({kFlush}) == 2);
    }
    SECTION("a page of a large mapping drops all of it") {
        m.guest.tables[0][0x40000000 - 0x200000] = {0, true, true, false, 0x200000};
        m.state().r[2] = 0x40000000 - 0x200000 + 0x20000;
        CHECK(load({}) == 1);
        m.guest.tables[0][0x40000000 - 0x200000].phys = 0x10000;
        m.state().r[3] = 0x40000000 - 0x200000 + 0x50000;
        CHECK(load({}) == 1);
        CHECK(load({kFlushPage, 3}) == 2);
    }
    SECTION("code moves with its mapping") {
        m.guest.tables[0][0xa00000] = {0x21000};
        m.load(0x21000, Asm().movi(4, 5).op({kHalt}).bytes);
        m.load(0x22000, Asm().movi(4, 6).op({kHalt}).bytes);
        for (int n = 0; n < 4; ++n) m.run_at(0xa00000);
        CHECK(m.state().r[4] == 5);
        m.guest.tables[0][0xa00000] = {0x22000};
        m.state().r[3] = 0xa00000;
        m.load(0x1000, Asm().op({kFlushPage, 3}).op({kHalt}).bytes);
        m.run_at(0x1000);
        m.run_at(0xa00000);
        CHECK(m.state().r[4] == 6);
    }
}

TEST_CASE("a working set larger than the soft TLB stays right while it grows") {
    Machine m(tier(Tier::Auto));
    // 1 MiB through 4096 virtual pages, each leading to page n % 256.
    for (u64 n = 0; n < 4096; ++n) m.guest.tables[0][0x10000000 + n * kPageSize] = {(n % 256) * kPageSize};
    void* state = m.vcpu->state();
    for (u64 n = 0; n < 256; ++n) m.word(n * kPageSize + 8) = n;
    for (int round = 0; round < 5; ++round) {
        for (u64 n = 0; n < 4096; ++n) {
            u64 value = 0;
            REQUIRE(load(state, 0x10000000 + n * kPageSize + 8, 0, value));
            REQUIRE(value == n % 256);
        }
    }
    // Fewer misses than accesses: the table has grown to hold the set.
    CHECK(m.translator->statistics().tlb_misses < 4 * 4096);
    tlb_flush(state, false);
    m.guest.tables[0][0x10000000] = {kPageSize};
    u64 value = 0;
    REQUIRE(load(state, 0x10000008, 0, value));
    CHECK(value == 1);
}

TEST_CASE("attention from another thread ends a loop") {
    const Tier t = GENERATE(from_range(kTiers));
    if (!available(t)) return;
    Machine m(tier(t));
    m.load(0x1000, Asm().op({kJmp, 0xfb, 0xff, 0xff, 0xff}).bytes);
    for (int round = 0; round < 20; ++round) {
        std::thread other([&] { m.vcpu->request_attention(); });
        CHECK(m.run_at(0x1000) == LeaveReason::Attention);
        CHECK(m.state().pc == 0x1000);
        other.join();
    }
    SECTION("asked for before the run") {
        m.vcpu->request_attention();
        CHECK(m.run_at(0x1000) == LeaveReason::Attention);
    }
    SECTION("with an interrupt to deliver at the next run") {
        m.load(0x3000, Asm().op({kExit}).bytes);
        m.state().vector = 0x3000;
        m.state().interrupts_on = 1;
        m.guest.interrupt = true;
        CHECK(m.run_at(0x1000) == LeaveReason::Exit);
        CHECK(m.state().cause == kInterrupt);
        CHECK(m.state().epc == 0x1000);
    }
}

TEST_CASE("a step is one instruction") {
    Machine m(tier(Tier::Auto));
    m.load(0x1000, Asm().movi(1, 5).op({kSubI, 1, 1}).op({kHalt}).bytes);
    m.state().pc = 0x1000;
    CHECK(m.vcpu->step() == LeaveReason::Lookup);
    CHECK(m.state().pc == 0x1006);
    CHECK(m.state().r[1] == 5);
    CHECK(m.vcpu->step() == LeaveReason::Lookup);
    CHECK(m.state().r[1] == 4);
    CHECK(m.vcpu->step() == LeaveReason::Halt);
}

TEST_CASE("a small code cache evicts and goes on") {
    if (!available(Tier::Baseline)) return;
    Options o = tier(Tier::Baseline);
    o.code_cache_bytes = 128 << 10;
    Machine m(o);
    // A chain of many blocks over 200 pages, run a few times.
    for (u64 n = 0; n < 200; ++n) {
        Asm a;
        for (int i = 0; i < 60; ++i) a.op({kAdd, 1, 2}).jmp(0);
        const i32 rest = static_cast<i32>(kPageSize - a.bytes.size() - 5);
        a.jmp(rest);
        m.load(0x10000 + n * kPageSize, a.bytes);
    }
    m.load(0x10000 + 200 * kPageSize, {kHalt});
    m.state().r[2] = 1;
    for (int round = 0; round < 3; ++round) {
        m.state().r[1] = 0;
        CHECK(m.run_at(0x10000) == LeaveReason::Halt);
        CHECK(m.state().r[1] == 200 * 60);
    }
    CHECK(m.translator->statistics().evictions > 0);
}

TEST_CASE("several vCPUs share memory, translations and rewritten code") {
    const Tier t = GENERATE(from_range(kTiers));
    if (!available(t)) return;
    Machine m(tier(t));
    constexpr u64 kCpus = 3;
    constexpr u32 kRounds = 3000;
    // Each adds 1 to a shared counter `kRounds` times; one keeps rewriting an immediate that all of them execute.
    Asm a;
    a.movi(0, kRounds).movi(2, 0x8000);
    const u64 loop = 0x1000 + a.bytes.size();
    a.movi(3, 1).op({kXAdd, 3, 2});
    const u64 target = 0x1000 + a.bytes.size() + 2;
    a.movi(4, 1);
    a.op({kStoreB, 5, 0});
    a.op({kSubI, 0, 1});
    const u64 branch_end = 0x1000 + a.bytes.size() + 3;
    a.op({kJnz, 0, static_cast<int>(static_cast<i64>(loop - branch_end))}).op({kHalt});
    m.load(0x1000, a.bytes);
    std::vector<std::unique_ptr<VcpuTranslator>> cpus;
    for (u64 n = 0; n < kCpus; ++n) {
        auto made = m.translator->create_vcpu(nullptr);
        REQUIRE(made.ok());
        cpus.push_back(std::move(made).value());
        auto& s = *static_cast<State*>(cpus.back()->state());
        s.pc = 0x1000;
        s.r[5] = n == 0 ? target : 0x9000 + n;
    }
    std::vector<std::thread> threads;
    std::array<LeaveReason, kCpus> why{};
    for (u64 n = 0; n < kCpus; ++n) threads.emplace_back([&, n] { why[n] = cpus[n]->run(); });
    for (auto& thread : threads) thread.join();
    for (const LeaveReason r : why) CHECK(r == LeaveReason::Halt);
    CHECK(m.word(0x8000) == kCpus * kRounds);
}

}  // namespace tandem::jit::toy

// Translations that outlive a switch of the address space, and what ends them.
#include <catch2/catch.hpp>

#include "jit/guest/memory.h"
#include "toy_guest.h"

namespace tandem::jit::toy {
namespace {

using ir::LeaveReason;

constexpr std::array kTiers{Tier::Interp, Tier::Baseline, Tier::Auto};
constexpr u64 kCode = 0x1000;  // in every address space
constexpr u64 kData = 0x800000;
constexpr u64 kOwnCode = 0x905000;

// Address space n: RAM one to one, kData at page n of 0x20000.., kOwnCode at page n of 0x60000..
struct Spaces {
    Machine m;

    explicit Spaces(Tier tier, u64 count = 2) : m(options(tier), 1) {
        for (u64 n = 0; n < count; ++n) {
            m.guest.tables[n] = m.guest.tables[0];
            m.guest.tables[n][kData] = {page(n)};
            m.guest.tables[n][kOwnCode] = {own_code(n)};
            m.word(page(n)) = 100 + n;
            m.load(own_code(n), Asm().movi(5, static_cast<u32>(200 + n)).op({kHalt}).bytes);
        }
        m.load(kCode, Asm().op({kAsid, 1}).op({kLoad, 4, 2}).op({kHalt}).bytes);
        m.load(kCode + 0x100, Asm().op({kAsid, 1}).op({kJmpReg, 3}).bytes);
        m.load(kCode + 0x200, Asm().op({kFlushAsid, 1}).op({kHalt}).bytes);
        m.load(kCode + 0x300, Asm().op({kFlushPage, 2}).op({kHalt}).bytes);
        m.load(kCode + 0x400, Asm().op({kFlush}).op({kHalt}).bytes);
        m.load(kCode + 0x500, Asm().op({kAsid, 1}).op({kStoreB, 2, 4}).op({kHalt}).bytes);
        m.state().r[2] = kData;
        m.state().r[3] = kOwnCode;
    }

    static Options options(Tier tier) {
        Options o;
        o.tier = tier;
        o.baseline_threshold = 2;
        return o;
    }
    static u64 page(u64 n) { return 0x20000 + n % 64 * kPageSize; }
    static u64 own_code(u64 n) { return 0x60000 + n % 64 * kPageSize; }

    // What address space n has at kData.
    u64 seen(u64 n) {
        m.state().r[1] = n;
        REQUIRE(m.run_at(kCode) == LeaveReason::Halt);
        return m.state().r[4];
    }
    // What its code at kOwnCode says.
    u64 said(u64 n) {
        m.state().r[1] = n;
        REQUIRE(m.run_at(kCode + 0x100) == LeaveReason::Halt);
        return m.state().r[5];
    }
    u64 misses() const { return m.translator->statistics().tlb_misses; }
};

}  // namespace

TEST_CASE("address spaces keep their translations apart, and keep them") {
    const Tier t = GENERATE(from_range(kTiers));
    Spaces s(t, 3);
    for (u64 n = 0; n < 3; ++n) {
        CHECK(s.seen(n) == 100 + n);
        CHECK(s.said(n) == 200 + n);
    }
    const u64 misses = s.misses();
    for (unsigned round = 0; round < 10; ++round) {
        for (u64 n = 0; n < 3; ++n) {
            CHECK(s.seen(n) == 100 + n);
            CHECK(s.said(n) == 200 + n);
        }
    }
    CHECK(s.misses() == misses);
}

TEST_CASE("more address spaces than are kept") {
    const Tier t = GENERATE(from_range(kTiers));
    Spaces s(t, 20);
    for (unsigned round = 0; round < 3; ++round) {
        for (u64 n = 0; n < 20; ++n) {
            CHECK(s.seen(n) == 100 + n);
            CHECK(s.said(n) == 200 + n);
        }
    }
}

TEST_CASE("what ends the translations of another address space") {
    const Tier t = GENERATE(from_range(kTiers));
    Spaces s(t);
    CHECK(s.seen(1) == 101);
    CHECK(s.said(1) == 201);
    CHECK(s.seen(0) == 100);
    s.m.guest.tables[1][kData] = {Spaces::page(7)};
    s.m.guest.tables[1][kOwnCode] = {Spaces::own_code(7)};
    s.m.word(Spaces::page(7)) = 107;
    s.m.load(Spaces::own_code(7), Asm().movi(5, 207).op({kHalt}).bytes);
    SECTION("nothing has: they are still there") {
        CHECK(s.seen(1) == 101);
        CHECK(s.said(1) == 201);
    }
    SECTION("maintenance of another identifier") {
        s.m.state().r[1] = 2;
        s.m.run_at(kCode + 0x200);
        CHECK(s.seen(1) == 101);
        CHECK(s.said(1) == 201);
    }
    SECTION("maintenance by identifier") {
        s.m.state().r[1] = 1;
        s.m.run_at(kCode + 0x200);
        CHECK(s.seen(1) == 107);
        CHECK(s.said(1) == 207);
    }
    SECTION("maintenance by address") {
        s.m.run_at(kCode + 0x300);
        CHECK(s.seen(1) == 107);
        CHECK(s.said(1) == 201);
        s.m.state().r[2] = kOwnCode;
        s.m.run_at(kCode + 0x300);
        CHECK(s.said(1) == 207);
    }
    SECTION("maintenance of many addresses") {
        const u64 pages = GENERATE(u64{9}, u64{600});
        tlb_flush_range(s.m.vcpu->state(), kData - pages * kPageSize, pages);
        tlb_flush_range(s.m.vcpu->state(), kData + kPageSize, pages < 600 ? pages : 0x104);
        CHECK(s.seen(1) == 101);
        CHECK(s.said(1) == 201);
        tlb_flush_range(s.m.vcpu->state(), kData - (pages - 1) * kPageSize, pages);
        CHECK(s.seen(1) == 107);
        CHECK(s.said(1) == 201);
        tlb_flush_range(s.m.vcpu->state(), kOwnCode, pages);
        CHECK(s.said(1) == 207);
    }
    SECTION("maintenance of everything") {
        s.m.run_at(kCode + 0x400);
        CHECK(s.seen(1) == 107);
        CHECK(s.said(1) == 207);
    }
    SECTION("a state from outside") {
        s.m.vcpu->state_replaced();
        CHECK(s.seen(1) == 107);
        CHECK(s.said(1) == 207);
    }
}

TEST_CASE("maintenance by identifier spares global translations and reaches every address space of that identifier") {
    const Tier t = GENERATE(from_range(kTiers));
    Spaces s(t);
    s.m.guest.tables[0x101] = s.m.guest.tables[1];
    s.m.guest.tables[0x101][kData].global = true;
    CHECK(s.seen(0x101) == 101);
    CHECK(s.seen(1) == 101);
    for (const u64 n : {u64{1}, u64{0x101}}) s.m.guest.tables[n][kData].phys = Spaces::page(7);
    s.m.word(Spaces::page(7)) = 107;
    s.m.state().r[1] = 1;
    s.m.run_at(kCode + 0x200);
    CHECK(s.seen(1) == 107);
    CHECK(s.seen(0x101) == 101);
}

TEST_CASE("code that changes while another address space is current") {
    const Tier t = GENERATE(from_range(kTiers));
    Spaces s(t);
    // Address space 1 may write the page without further ado before there is code in it.
    s.m.guest.tables[1][kData] = {Spaces::own_code(0)};
    s.m.state().r[1] = 1;
    s.m.state().r[4] = kMovI;
    s.m.run_at(kCode + 0x500);
    for (int n = 0; n < 5; ++n) CHECK(s.said(0) == 200);
    s.m.state().r[2] = kData + 2;
    s.m.state().r[1] = 1;
    s.m.state().r[4] = 222;
    s.m.run_at(kCode + 0x500);
    CHECK(s.said(0) == 222);
    SECTION("by a device") {
        CHECK(s.said(1) == 201);
        s.m.load(Spaces::own_code(0), Asm().movi(5, 233).op({kHalt}).bytes);
        CHECK(s.said(0) == 233);
    }
}

}  // namespace tandem::jit::toy

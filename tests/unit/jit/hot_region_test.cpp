#include <catch2/catch.hpp>
#include <chrono>

#include "jit/runtime/region_compiler.h"
#include "toy_guest.h"

namespace tandem::jit::toy {
namespace {

using ir::LeaveReason;

bool module_available(const Guest& guest) {
    RegionCompilerOptions options;
    options.guest = &guest;
    const auto loaded = load_region_compiler(options);
    if (!loaded.ok()) WARN("skipped: " << loaded.error().message);
    return loaded.ok();
}

Options eager() {
    Options o;
    o.tier = Tier::Auto;
    o.llvm_threshold = 50;
    return o;
}

// Runs the program again and again until `regions` regions were compiled or a minute has passed; checks every result.
template <class F>
void run_until_compiled(Machine& m, u64 pc, u64 regions, F check) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (m.translator->statistics().regions_compiled_llvm < regions && std::chrono::steady_clock::now() < deadline) {
        REQUIRE(m.run_at(pc) == LeaveReason::Halt);
        check();
    }
    REQUIRE(m.translator->statistics().regions_compiled_llvm >= regions);
    for (int n = 0; n < 10; ++n) {
        REQUIRE(m.run_at(pc) == LeaveReason::Halt);
        check();
    }
}

}  // namespace

TEST_CASE("a hot loop goes to the LLVM tier, stays right and yields to rewritten code", "[llvm]") {
    Machine m(eager());
    if (!module_available(m.guest)) return;
    // r1 = 3 * 500, with a store in the loop.
    Asm a;
    a.movi(0, 500).movi(1, 0).movi(3, 3).movi(2, 0x8000);
    const std::size_t loop = a.bytes.size();
    a.op({kAdd, 1, 3}).op({kStore, 2, 1}).op({kSubI, 0, 1}).op({kJnz, 0, -12}).op({kHalt});
    m.load(0x1000, a.bytes);
    run_until_compiled(m, 0x1000, 1, [&] {
        CHECK(m.state().r[1] == 1500);
        CHECK(m.word(0x8000) == 1500);
    });

    SECTION("by DMA") {
        m.load(0x1000 + loop, {kSubI, 1, 2});
        CHECK(m.run_at(0x1000) == LeaveReason::Halt);
        CHECK(m.state().r[1] == ~u64{0} - 999);
    }
    SECTION("by the guest itself") {
        // movi's immediate of the addend, in a block before the loop, then the loop's own first instruction.
        m.load(0x2000, Asm().movi(2, static_cast<u32>(0x1000 + loop)).movi(3, kSubI).op({kStoreB, 2, 3}).op({kHalt}).bytes);
        CHECK(m.run_at(0x2000) == LeaveReason::Halt);
        CHECK(m.run_at(0x1000) == LeaveReason::Halt);
        CHECK(m.state().r[1] == ~u64{0} - 1499);
    }
    SECTION("and faults are precise") {
        m.guest.tables[0].erase(0);
        m.guest.tables[0][0x1000] = {0x1000};
        m.guest.tables[0][0x3000] = {0x3000};
        m.load(0x3000, {kHalt});
        m.state().vector = 0x3000;
        m.vcpu->state_replaced();
        CHECK(m.run_at(0x1000) == LeaveReason::Halt);
        CHECK(m.state().cause == kPageFault);
        CHECK(m.state().fault_address == 0x8000);
        CHECK(m.state().epc == 0x1000 + loop + 3);
        CHECK(m.state().r[1] == 3);
        CHECK(m.state().r[0] == 500);
    }
}

}  // namespace tandem::jit::toy

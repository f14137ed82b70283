// What an engine on the host's processor does for whoever compares it with another (accel/native.h).
#include <catch2/catch.hpp>

#include <algorithm>
#include <array>

#include "accel/native.h"
#include "tests/conformance/bench.h"

using namespace tandem;
using namespace tandem::tests;
using accel::DebugExit;

namespace {

bool have_kvm() { return engines().back() == Engine::Kvm; }

// The engine with debug registers where they work, or without.
Result<std::unique_ptr<accel::Accelerator>> create(bool debug_registers) {
    auto model = accel::narrow_to_kvm(*cpu::x86::CpuModel::create("max"));
    if (!model) return std::move(model).error();
    return accel::create_kvm_accelerator(*model, {.debug_registers = debug_registers});
}

struct Guest : Bench {
    accel::NativeVcpu* native;
    Guest(bool debug_registers, std::initializer_list<u8> code) : Bench(create(debug_registers), code) {
        native = dynamic_cast<accel::NativeVcpu*>(vcpu.get());
        REQUIRE(native != nullptr);
    }
    [[nodiscard]] u8 byte(u64 address) const {
        u8 value = 0;
        REQUIRE(memory.read(address, &value, 1));
        return value;
    }
};

}  // namespace

TEST_CASE("a comparison's breakpoints stop before their instructions and leave nothing behind", "[native]") {
    if (!have_kvm()) return;
    const bool debug_registers = GENERATE(true, false);
    CAPTURE(debug_registers);
    constexpr u8 kIncAx = 0x40, kIncBx = 0x43;
    Guest g(debug_registers, {kIncAx, kIncBx, kIncBx, 0x74, 0xfb, kIncAx, 0xf4});  // jz: not taken; inc ax; hlt
    REQUIRE(g.native->set_breakpoints(std::array<u64, 2>{kCode + 1, kCode + 5}).ok());
    for (const u64 at : {kCode + 1, kCode + 5}) {
        const accel::Exit exit = g.vcpu->run();
        REQUIRE(std::holds_alternative<DebugExit>(exit));
        CHECK(std::get<DebugExit>(exit).reason == DebugExit::Reason::Breakpoint);
        CHECK(std::get<DebugExit>(exit).pc == at);
        CHECK(g.state().rip == at);
        CHECK(g.state().activity == cpu::x86::Activity::Running);
        CHECK(g.byte(kCode + 1) == kIncBx);
        CHECK(g.byte(kCode + 5) == kIncAx);
        (void)g.vcpu->step();
        CHECK(g.state().rip == at + 1);
    }
    CHECK(std::holds_alternative<accel::HaltExit>(g.vcpu->run()));
    CHECK(g.state().gpr[cpu::x86::RAX] == 2);
    CHECK(g.state().gpr[cpu::x86::RBX] == 2);
}

TEST_CASE("what the guest writes over a comparison's breakpoint stays", "[native]") {
    if (!have_kvm()) return;
    const bool debug_registers = GENERATE(true, false);
    CAPTURE(debug_registers);
    constexpr u8 kIncBx = 0x43;
    // mov byte [kCode+5], inc bx; the place: inc ax; hlt
    Guest g(debug_registers, {0xc6, 0x06, 0x05, 0x10, kIncBx, 0x40, 0xf4});
    REQUIRE(g.native->set_breakpoints(std::array<u64, 1>{kCode + 5}).ok());
    accel::Exit exit = g.vcpu->run();
    if (std::holds_alternative<DebugExit>(exit)) {
        REQUIRE(g.native->set_breakpoints({}).ok());
        exit = g.vcpu->run();
    }
    CHECK(std::holds_alternative<accel::HaltExit>(exit));
    CHECK(g.byte(kCode + 5) == kIncBx);
    CHECK(g.state().gpr[cpu::x86::RBX] == 1);
}

TEST_CASE("a halt of the guest's is no breakpoint of a comparison's", "[native]") {
    if (!have_kvm()) return;
    const bool debug_registers = GENERATE(true, false);
    CAPTURE(debug_registers);
    Guest g(debug_registers, {0x40, 0xf4, 0x40, 0xf4});
    REQUIRE(g.native->set_breakpoints(std::array<u64, 1>{kCode + 2}).ok());
    CHECK(std::holds_alternative<accel::HaltExit>(g.vcpu->run()));
    CHECK(g.state().rip == kCode + 2);
}

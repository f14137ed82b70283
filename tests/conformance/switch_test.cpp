// A machine that changes engines while it runs, and instructions that one engine hands to another.
#include <catch2/catch.hpp>

#include <chrono>
#include <cstdio>
#include <thread>

#include "accel/switch/switch_accelerator.h"
#include "tests/conformance/bench.h"

using namespace tandem;
using namespace tandem::tests;

namespace {

const char* name_of(Engine e) { return e == Engine::Kvm ? "kvm" : e == Engine::Interp ? "interp" : "baseline"; }

accel::EngineChoice choice(Engine e) {
    return {name_of(e), [=] { return create_engine(e); }};
}

// The engine pairs that this host has.
std::vector<std::pair<Engine, Engine>> pairs() {
    std::vector<std::pair<Engine, Engine>> all{{Engine::Interp, Engine::Baseline}};
    for (const Engine e : engines()) {
        if (e == Engine::Kvm) all.emplace_back(Engine::Kvm, Engine::Baseline);
    }
    return all;
}

// mov ax, 1; mov cx, 0x6255; loop: mul cx; add ax, 0x3619; out 0x10, al; jmp loop
#define GENERATOR {0xb8, 1, 0, 0xb9, 0x55, 0x62, 0xf7, 0xe1, 0x05, 0x19, 0x36, 0xe6, 0x10, 0xeb, 0xf7}

struct Sequence {
    u16 value = 1;
    u8 next() {
        value = static_cast<u16>(value * 0x6255 + 0x3619);
        return static_cast<u8>(value);
    }
};

}  // namespace

TEST_CASE("a computing, printing guest goes back and forth between engines 1,000 times") {
    const auto [first, second] = GENERATE(from_range(pairs()));
    CAPTURE(name_of(first), name_of(second));
    Bench b(accel::create_switch_accelerator({choice(first), choice(second)}, {}), GENERATOR);
    Sequence expected;
    u64 printed = 0, wrong = 0;
    b.handler.on_write = [&](const accel::PortExit& port) {
        if (static_cast<u8>(port.data) != expected.next()) ++wrong;
        ++printed;
    };
    bool by_port = false;
    b.handler.on_port = [&](accel::Vcpu& v) {
        if (by_port && printed % 7 == 0) v.request_exit();
    };
    for (int i = 0; i < 1000; ++i) {
        by_port = i % 4 != 0;
        std::thread other;
        if (!by_port) {
            other = std::thread([&] {
                std::this_thread::sleep_for(std::chrono::microseconds(50));
                b.vcpu->request_exit();
            });
        }
        const accel::Exit exit = b.vcpu->run();
        if (other.joinable()) other.join();
        REQUIRE(std::holds_alternative<accel::RequestedExit>(exit));
        auto changed = b.accelerator->change_engine(name_of(i % 2 == 0 ? second : first));
        INFO((changed ? "" : changed.error().message));
        REQUIRE(changed.ok());
    }
    CHECK(wrong == 0);
    CHECK(printed >= 750);
    // The registers are those of the sequence, wherever the guest was stopped last.
    CHECK((b.state().gpr[cpu::x86::RCX] & 0xffff) == 0x6255);
}

TEST_CASE("signals find a vCPU on whichever engine runs it", "[U1][U2][U3]") {
    const auto [first, second] = GENERATE(from_range(pairs()));
    CAPTURE(name_of(first), name_of(second));
    Bench b(accel::create_switch_accelerator({choice(first), choice(second)}, {}), {0xf4, 0xeb, 0xfd});
    b.vcpu->request_exit();
    REQUIRE(b.accelerator->change_engine(name_of(second)).ok());
    CHECK(std::holds_alternative<accel::RequestedExit>(b.vcpu->run()));
    CHECK(std::holds_alternative<accel::HaltExit>(b.vcpu->run()));
    CHECK(b.state().activity == cpu::x86::Activity::Halted);
    b.vcpu->raise_nmi();
    REQUIRE(b.accelerator->change_engine(name_of(first)).ok());
    CHECK(b.state().activity == cpu::x86::Activity::Halted);
    CHECK(b.state().nmi_pending);
    CHECK(b.accelerator->change_engine("no such").error().message.find("known: ") != std::string::npos);
}

// Where KVM emulates SSE, or runs it, nothing is handed off, and the result is the same.
TEST_CASE("a guest that uses SSE in real mode runs to its end on KVM with the translator's help") {
    bool kvm = false;
    for (const Engine e : engines()) kvm = kvm || e == Engine::Kvm;
    if (!kvm) return;
    // mov eax, cr4; or eax, 0x600; mov cr4, eax; mov cx, 100; mov eax, 1.0f; movd xmm0, eax; movd xmm1, eax;
    // loop: addss xmm0, xmm1; dec cx; jnz loop; movd ebx, xmm0; hlt
    Bench b(accel::create_switch_accelerator({choice(Engine::Kvm), choice(Engine::Interp)}, {1}),
            {0x0f, 0x20, 0xe0, 0x66, 0x0d, 0,    6,    0,    0,    0x0f, 0x22, 0xe0, 0xb9, 100,
             0,    0x66, 0xb8, 0,    0,    0x80, 0x3f, 0x66, 0x0f, 0x6e, 0xc0, 0x66, 0x0f, 0x6e,
             0xc8, 0xf3, 0x0f, 0x58, 0xc1, 0x49, 0x75, 0xf9, 0x66, 0x0f, 0x7e, 0xc3, 0xf4});
    const accel::Exit exit = b.vcpu->run();
    if (const auto* failure = std::get_if<accel::EmulationFailureExit>(&exit)) FAIL(failure->why);
    CHECK(std::holds_alternative<accel::HaltExit>(exit));
    CHECK(static_cast<u32>(b.state().gpr[cpu::x86::RBX]) == 0x42ca0000);  // 101.0f
    std::printf("%s", b.accelerator->statistics().c_str());
}

TEST_CASE("an engine that only helps is none to change to", "[R7]") {
    accel::EngineChoice helper = choice(Engine::Baseline);
    helper.name.clear();
    Bench b(accel::create_switch_accelerator({choice(Engine::Interp), helper}, {1}), {0xf4});
    for (const char* name : {"", "baseline"}) {
        const auto changed = b.accelerator->change_engine(name);
        REQUIRE_FALSE(changed.ok());
        CHECK(changed.error().code == Errc::NotFound);
        CHECK(changed.error().message.find("(known: interp)") != std::string::npos);
    }
}

// A guest that asks CPUID, as the guest of a KVM may that shows the host's features, and then uses AVX.
TEST_CASE("where a guest under KVM finds AVX, the translator's help does not refuse it", "[R3]") {
    const auto full = cpu::x86::CpuModel::create("max");
    REQUIRE(full.ok());
    const auto found = accel::found_under_kvm(*full);
    if (!found) {
        std::printf("skipped: AVX found under KVM: %s\n", found.error().message.c_str());
        return;
    }
    const accel::EngineChoice helper{"", [&] { return accel::create_jit_accelerator(*found, {}); }};
    // 32-bit code as in a flat kernel: CPUID.1:ECX bits 26 and 28; if both are there CR4.OSXSAVE and OSFXSR, XCR0 = 7,
    // EBX = 1.0 - 0.5 by AVX, else EBX = 0; hlt
    Bench b(
        accel::create_switch_accelerator({choice(Engine::Kvm), helper}, {1}),
        {0xb8, 1,    0,    0,    0,    0x0f, 0xa2, 0x31, 0xdb,                    // mov eax, 1; cpuid; xor ebx, ebx
         0x81, 0xe1, 0,    0,    0,    0x14, 0x81, 0xf9, 0,    0,    0,    0x14,  // and ecx, 14000000h; cmp ecx, the same
         0x75, 0x31,                                                              // jne done
         0x0f, 0x20, 0xe0, 0x0d, 0,    2,    4,    0,    0x0f, 0x22, 0xe0,        // cr4 |= 40200h
         0x31, 0xc9, 0x31, 0xd2, 0xb8, 7,    0,    0,    0,    0x0f, 0x01, 0xd1,  // XCR0 = 7
         0xb8, 0,    0,    0x80, 0x3f, 0xc5, 0xf9, 0x6e, 0xc8,                    // vmovd xmm1, 1.0
         0xb8, 0,    0,    0,    0xbf, 0xc5, 0xf9, 0x6e, 0xd0,                    // vmovd xmm2, -0.5
         0xc5, 0xf2, 0x58, 0xda, 0xc5, 0xf9, 0x7e, 0xdb,                          // vaddss xmm3, xmm1, xmm2; vmovd ebx, xmm3
         0xf4});
    cpu::x86::State s = b.state();
    s.cr0 |= 1;
    for (auto& segment : s.seg) segment = {0, 0xffffffff, 0x10, 0xc093};
    s.seg[cpu::x86::CS] = {0, 0xffffffff, 8, 0xc09b};
    REQUIRE(b.vcpu->import_state(s).ok());
    const accel::Exit exit = b.vcpu->run();
    if (const auto* failure = std::get_if<accel::EmulationFailureExit>(&exit)) FAIL(failure->why);
    CHECK(std::holds_alternative<accel::HaltExit>(exit));
    s = b.state();
    const auto result = static_cast<u32>(s.gpr[cpu::x86::RBX]);
    CHECK(result == ((s.xcr0 & 4) != 0 ? 0x3f000000u : 0u));
    std::printf("%s", b.accelerator->statistics().c_str());
}

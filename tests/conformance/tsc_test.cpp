// The guest's time-stamp counter on every engine and across changes of engine (contracts I9, I10; SDM volume 3, 17.17).
#include <x86intrin.h>
#include <catch2/catch.hpp>

#include <chrono>
#include <thread>

#include "accel/switch/switch_accelerator.h"
#include "tests/conformance/bench.h"

using namespace tandem;
using namespace tandem::tests;

namespace {

// What two engines' measurements of one clock may differ by: 25 us at 2 GHz.
constexpr u64 kBound = 50'000;

u64 host_tsc() { return __rdtsc(); }

// Puts together what the guest writes to ports 0x10 (low half) and 0x11 (high half).
struct Readings {
    u64 low = 0;
    std::vector<u64> values;
    void take(const accel::PortExit& port) {
        if (port.port == 0x10) low = port.data;
        if (port.port == 0x11) values.push_back(u64{port.data} << 32 | low);
    }
};

// out 0x10, eax; mov eax, edx; out 0x11, eax
#define REPORT 0x66, 0xe7, 0x10, 0x66, 0x89, 0xd0, 0x66, 0xe7, 0x11
// mov ecx, INDEX
#define SELECT(index) 0x66, 0xb9, index, 0, 0, 0
// loop: rdtsc; report; jmp loop
#define READ_FOR_EVER {0x0f, 0x31, REPORT, 0xeb, 0xf3}

accel::EngineChoice kvm_by_msr() {
    return {"kvm", [] {
                auto model = cpu::x86::CpuModel::create("max");
                REQUIRE(model.ok());
                auto narrowed = accel::narrow_to_kvm(*model);
                REQUIRE(narrowed.ok());
                return accel::create_kvm_accelerator(*narrowed, {.tsc_control = false});
            }};
}

std::vector<accel::EngineChoice> changing(bool by_msr) {
    const auto jit = [] { return create_engine(Engine::Baseline); };
    if (by_msr) return {kvm_by_msr(), {"jit", jit}};
    return {{"kvm", [] { return create_engine(Engine::Kvm); }}, {"jit", jit}};
}

bool has_kvm() {
    const auto all = engines();
    return std::find(all.begin(), all.end(), Engine::Kvm) != all.end();
}

// Where guests read the host's counter, there is nothing to move.
bool moves_tsc() {
    static const bool moves = [] {
        const auto answer = accel::kvm_moves_tsc();
        const bool fixed = answer && !*answer;
        if (fixed) std::printf("skipped: moving a guest's TSC on KVM: guests read the host's counter here\n");
        return !fixed;
    }();
    return moves;
}

// Every reading lies between the clock at the reading before and at its own, to within the bound.
void check_monotony(Bench& b, unsigned changes) {
    Readings seen;
    u64 earlier = host_tsc(), late = 0, early = 0;
    b.handler.on_write = [&](const accel::PortExit& port) {
        seen.take(port);
        if (port.port != 0x11) return;
        const u64 now = host_tsc(), value = seen.values.back();
        if (value + kBound < earlier) ++early;
        if (value > now + kBound) ++late;
        earlier = now;
        if (seen.values.size() % 5 == 0) b.vcpu->request_exit();
    };
    for (unsigned i = 0; i < changes; ++i) {
        REQUIRE(std::holds_alternative<accel::RequestedExit>(b.vcpu->run()));
        if (i % 3 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
        const auto changed = b.accelerator->change_engine(i % 2 == 0 ? "jit" : "kvm");
        INFO((changed ? "" : changed.error().message));
        REQUIRE(changed.ok());
    }
    CHECK(early == 0);
    CHECK(late == 0);
    CHECK(seen.values.size() >= changes);
    CHECK(std::is_sorted(seen.values.begin(), seen.values.end(), [](u64 a, u64 c) { return a + kBound < c; }));
}

}  // namespace

TEST_CASE("the guest's TSC goes on across changes of engine", "[I9][I10]") {
    if (!has_kvm()) return;
    const bool by_msr = GENERATE(false, true);
    CAPTURE(by_msr);
    Bench b(accel::create_switch_accelerator(changing(by_msr), {}), READ_FOR_EVER);
    b.handler.clock = host_tsc;
    check_monotony(b, 60);
}

// A guest that has moved its TSC by less than a second, which KVM's interface by MSR takes for an attempt to synchronise.
TEST_CASE("a TSC that the guest has moved a little stays moved on another engine", "[I9][I10]") {
    if (!has_kvm() || !moves_tsc()) return;
    const bool by_msr = GENERATE(false, true);
    const u64 moved = GENERATE(u64{200'000'000}, u64{1} << 50);
    CAPTURE(by_msr, moved);
    // mov eax, LOW; mov edx, HIGH; mov ecx, 0x3b; wrmsr; then as above
    const auto at = [=](unsigned byte) { return static_cast<u8>(moved >> (8 * byte)); };
    Bench b(accel::create_switch_accelerator(changing(by_msr), {}),
            {0x66,  0xb8,  at(0),        at(1), at(2), at(3), 0x66, 0xba,   at(4), at(5),
             at(6), at(7), SELECT(0x3b), 0x0f,  0x30,  0x0f,  0x31, REPORT, 0xeb,  0xf3});
    b.handler.clock = host_tsc;
    Readings seen;
    u64 wrong = 0, before = host_tsc();
    b.handler.on_write = [&](const accel::PortExit& port) {
        seen.take(port);
        if (port.port != 0x11) return;
        const u64 now = host_tsc(), value = seen.values.back() - moved;
        if (value + kBound < before || value > now + kBound) ++wrong;
        before = now;
        if (seen.values.size() % 4 == 0) b.vcpu->request_exit();
    };
    for (unsigned i = 0; i < 20; ++i) {
        REQUIRE(std::holds_alternative<accel::RequestedExit>(b.vcpu->run()));
        REQUIRE(b.accelerator->change_engine(i % 2 == 0 ? "jit" : "kvm").ok());
    }
    CHECK(wrong == 0);
    CHECK(b.handler.tsc_offset.load() == moved);
    CHECK(b.state().msr.tsc_adjust == moved);
}

TEST_CASE("IA32_TSC and IA32_TSC_ADJUST move each other", "[I9][R5]") {
    const Engine engine = GENERATE(from_range(engines()));
    CAPTURE(static_cast<int>(engine));
    if (engine == Engine::Kvm && !moves_tsc()) return;
    // TSC := 0x500000000; rdtsc; report; rdmsr TSC_ADJUST; report; TSC_ADJUST := 0; rdtsc; report; hlt
    Bench b(engine, {0x66, 0x31, 0xc0, 0x66,   0xba,         5,    0,    0,      0,    SELECT(0x10), 0x0f,
                     0x30, 0x0f, 0x31, REPORT, SELECT(0x3b), 0x0f, 0x32, REPORT, 0x66, 0x31,         0xc0,
                     0x66, 0x31, 0xd2, 0x0f,   0x30,         0x0f, 0x31, REPORT, 0xf4});
    b.handler.clock = host_tsc;
    Readings seen;
    b.handler.on_write = [&](const accel::PortExit& port) { seen.take(port); };
    const u64 start = host_tsc();
    REQUIRE(std::holds_alternative<accel::HaltExit>(b.vcpu->run()));
    const u64 end = host_tsc();
    REQUIRE(seen.values.size() == 3);
    constexpr u64 kWritten = 0x500000000;
    CHECK(seen.values[0] + kBound >= kWritten);
    CHECK(seen.values[0] <= kWritten + (end - start) + kBound);
    // The counter was somewhere between start and end when it was written.
    const u64 was = kWritten - seen.values[1];
    CHECK(was + kBound >= start);
    CHECK(was <= end + kBound);
    CHECK(seen.values[2] + kBound >= start);
    CHECK(seen.values[2] <= end + kBound);
    CHECK(b.handler.tsc_offset.load() == 0);
}

// A thread that is interrupted while it compares two counters has measured nothing.
TEST_CASE("the guest's TSC does not follow a clock that is slow to answer", "[I9]") {
    const Engine engine = GENERATE(from_range(engines()));
    CAPTURE(static_cast<int>(engine));
    if (engine == Engine::Kvm && !moves_tsc()) return;
    Bench b(engine, READ_FOR_EVER);
    bool late = false;
    b.handler.clock = [&] {
        const u64 now = host_tsc();
        while (late && host_tsc() < now + 2'000'000) {
        }
        return now;
    };
    Readings seen;
    b.handler.on_write = [&](const accel::PortExit& port) {
        seen.take(port);
        if (port.port == 0x11 && seen.values.size() % 3 == 0) b.vcpu->request_exit();
    };
    for (unsigned i = 0; i < 40; ++i) {
        late = i % 4 == 1;
        REQUIRE(std::holds_alternative<accel::RequestedExit>(b.vcpu->run()));
    }
    CHECK(std::is_sorted(seen.values.begin(), seen.values.end()));
}

// Contract T1: exits in the form of KVM's tracepoints, and what hypercalls say of their caller (H1).
#include <catch2/catch.hpp>

#include "tests/conformance/bench.h"
#include "tests/flat_state.h"
#include "tests/log_capture.h"

using namespace tandem;
using namespace tandem::tests;

namespace {

// Lines that start with `prefix`.
std::vector<std::string> starting(const std::vector<std::string>& lines, const std::string& prefix) {
    std::vector<std::string> found;
    for (const auto& line : lines) {
        if (line.starts_with(prefix)) found.push_back(line);
    }
    return found;
}

// KVM traces its own CPUID and counts repetitions its own way.
#define FOR_EACH_TIER const Engine tier = GENERATE(Engine::Interp, Engine::Baseline)

}  // namespace

TEST_CASE("port accesses are traced with the exit qualification of hardware", "[T1]") {
    FOR_EACH_TIER;
    // mov dx,0x1f0; mov cx,2; mov di,0x2000; rep insw; outsb; out dx,al; out 0x80,eax; in al,0x10; hlt
    Bench b(tier, {0xba, 0xf0, 0x01, 0xb9, 0x02, 0x00, 0xbf, 0x00, 0x20, 0xf3, 0x6d, 0x6e, 0xee, 0x66, 0xe7, 0x80, 0xe4,
                   0x10, 0xf4});
    const LogCapture log(log::Exits);
    CHECK(std::holds_alternative<accel::HaltExit>(b.vcpu->run()));
    const auto lines = log.lines();
    // SDM volume 3, table 28-5: size - 1; bit 3 IN, bit 4 string, bit 5 REP, bit 6 immediate port; the port from bit 16.
    CHECK(starting(lines, "kvm_exit") == std::vector<std::string>{
                                             "kvm_exit: vcpu 0 reason IO_INSTRUCTION rip 0x1009 info1 1f00039 info2 0",
                                             "kvm_exit: vcpu 0 reason IO_INSTRUCTION rip 0x1009 info1 1f00039 info2 0",
                                             "kvm_exit: vcpu 0 reason IO_INSTRUCTION rip 0x100b info1 1f00010 info2 0",
                                             "kvm_exit: vcpu 0 reason IO_INSTRUCTION rip 0x100c info1 1f00000 info2 0",
                                             "kvm_exit: vcpu 0 reason IO_INSTRUCTION rip 0x100d info1 800043 info2 0",
                                             "kvm_exit: vcpu 0 reason IO_INSTRUCTION rip 0x1010 info1 100048 info2 0",
                                         });
    const auto accesses = starting(lines, "kvm_pio");
    REQUIRE(accesses.size() == 6);
    CHECK(accesses[0] == "kvm_pio: pio_read at 0x1f0 size 2 count 1 val 0x5a");
    CHECK(accesses[4].starts_with("kvm_pio: pio_write at 0x80 size 4 count 1 val 0x"));
}

TEST_CASE("CPUID, hypercalls, entries and halts are traced", "[T1][H7]") {
    FOR_EACH_TIER;
    // xor eax,eax; mov cx,1; cpuid; mov ax,7; vmcall; hlt
    Bench b(tier, {0x66, 0x31, 0xc0, 0xb9, 0x01, 0x00, 0x0f, 0xa2, 0xb8, 0x07, 0x00, 0x0f, 0x01, 0xc1, 0xf4});
    const LogCapture log(log::Exits);
    b.vcpu->request_exit();
    CHECK(std::holds_alternative<accel::RequestedExit>(accel::run_until_event(*b.vcpu, b.handler)));
    CHECK(std::holds_alternative<accel::HaltExit>(b.vcpu->run()));
    const auto lines = log.lines();
    CHECK(starting(lines, "kvm_entry") == std::vector<std::string>{"kvm_entry: vcpu 0, rip 0x1000"});
    CHECK(starting(lines, "kvm_exit") == std::vector<std::string>{
                                             "kvm_exit: vcpu 0 reason REQUESTED rip 0x1000 info1 0 info2 0",
                                             "kvm_exit: vcpu 0 reason CPUID rip 0x1006 info1 0 info2 0",
                                             "kvm_exit: vcpu 0 reason VMCALL rip 0x100b info1 0 info2 0",
                                         });
    const auto cpuid = starting(lines, "kvm_cpuid");
    REQUIRE(cpuid.size() == 1);
    CHECK(cpuid[0].starts_with("kvm_cpuid: func 0 idx 1 rax "));
    const auto calls = starting(lines, "kvm_hypercall");
    REQUIRE(calls.size() == 1);
    CHECK(calls[0].starts_with("kvm_hypercall: nr 0x7 a0 0x"));
    CHECK(calls[0].ends_with(" result 0x7"));
}

TEST_CASE("a hypercall is 64 bits wide from 64-bit code only, also in long mode", "[H1]") {
    FOR_EACH_TIER;
    const bool code64 = GENERATE(false, true);
    Bench b(tier, {0x0f, 0x01, 0xc1, 0xf4});  // vmcall; hlt
    constexpr u64 kTables = 0x3000;
    REQUIRE(map_onto_itself(b.memory, kTables));
    cpu::x86::State s = flat_state(true, kCode, kTables);
    s.seg[cpu::x86::CS].access = code64 ? 0xa09b : 0xc09b;
    s.gpr[cpu::x86::RAX] = 0x1'0000'0007;
    s.gpr[cpu::x86::RBX] = ~u64{0};
    REQUIRE(b.vcpu->import_state(s).ok());
    CHECK(std::holds_alternative<accel::HaltExit>(b.vcpu->run()));
    CHECK(b.handler.hypercall.long_mode == code64);
    CHECK(b.handler.hypercall.number == (code64 ? 0x1'0000'0007 : 7));
    CHECK(b.handler.hypercall.args[0] == (code64 ? ~u64{0} : 0xffff'ffff));
    CHECK(b.state().gpr[cpu::x86::RAX] == (code64 ? 0x1'0000'0007 : 7));
}

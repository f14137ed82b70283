// What an exit costs beside itself: state that moves between the machine and an engine only when it changes (contract X5),
// and requests that nobody recognises (contract R7).
#include <catch2/catch.hpp>

#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdarg>

#include "accel/kvm/device.h"
#include "accel/switch/switch_accelerator.h"
#include "tests/conformance/bench.h"

using namespace tandem;
using namespace tandem::tests;

namespace {

std::atomic<u64> runs{0}, special{0}, msrs{0}, registers{0}, extended{0}, others{0};

void count(unsigned long request) {
    switch (request) {
        case KVM_RUN: ++runs; break;
        case KVM_SET_SREGS:
        case KVM_SET_SREGS2: ++special; break;
        case KVM_SET_MSRS: ++msrs; break;
        case KVM_SET_REGS: ++registers; break;
        case KVM_SET_XSAVE:
        case KVM_SET_XCRS: ++extended; break;
        default: ++others; break;
    }
}

void forget() { runs = special = msrs = registers = extended = others = 0; }

bool has_kvm() {
    for (const Engine e : engines()) {
        if (e == Engine::Kvm) return true;
    }
    return false;
}

}  // namespace

// In place of the C library's, for everything in this program.
extern "C" int ioctl(int fd, unsigned long request, ...) noexcept {
    va_list arguments;
    va_start(arguments, request);
    void* const argument = va_arg(arguments, void*);
    va_end(arguments);
    count(request);
    return static_cast<int>(::syscall(SYS_ioctl, fd, request, argument));
}

TEST_CASE("an exit of KVM's moves no state of its own accord", "[X5]") {
    if (!has_kvm()) return;
    const bool mmio = GENERATE(false, true);
    CAPTURE(mmio);
    // loop: in al, 0x10; jmp loop - or: mov al, [0xf000]; jmp loop, which is beyond the memory
    Bench b = mmio ? Bench(create_engine(Engine::Kvm), {0xa0, 0, 0xf0, 0xeb, 0xfb}, 0x8000)
                   : Bench(Engine::Kvm, {0xe4, 0x10, 0xeb, 0xfc});
    constexpr u64 kExits = 1000;
    u64 exits = 0;
    const auto tick = [&](accel::Vcpu& v) {
        if (++exits == kExits) v.request_exit();
    };
    b.handler.on_port = tick;
    b.handler.on_mmio = [&](accel::Vcpu& v, accel::MmioExit&) { tick(v); };
    b.vcpu->request_exit();
    (void)b.vcpu->run();  // what is done once
    forget();
    REQUIRE(std::holds_alternative<accel::RequestedExit>(b.vcpu->run()));
    CHECK(exits == kExits);
    CHECK(runs <= kExits + 8);
    CHECK(special == 0);
    CHECK(msrs == 0);
    CHECK(registers == 0);
    CHECK(extended == 0);
    CHECK(others <= 8);
}

TEST_CASE("state that is put into KVM goes there as far as it has changed", "[X5]") {
    if (!has_kvm()) return;
    Bench b(Engine::Kvm, {0xf4});
    cpu::x86::State s = b.state();
    forget();
    s.gpr[cpu::x86::RBX] = 7;
    REQUIRE(b.vcpu->import_state(s).ok());
    CHECK(registers == 1);
    CHECK(special + msrs + extended == 0);
    s = b.state();
    forget();
    s.cr3 = 0x5000;
    REQUIRE(b.vcpu->import_state(s).ok());
    CHECK(special == 1);
    CHECK(msrs + extended == 0);
    s = b.state();
    forget();
    REQUIRE(b.vcpu->import_state(s).ok());
    CHECK(special + msrs + extended == 0);  // the same CR3
    CHECK(b.state().cr3 == 0x5000);
    s = b.state();
    forget();
    s.msr.lstar = 0x1234;
    REQUIRE(b.vcpu->import_state(s).ok());
    CHECK(msrs >= 1);
    CHECK(special + extended == 0);
}

TEST_CASE("requests that nobody recognises are told from wrong arguments", "[R7]") {
    const auto choice = [](const char* name, Engine e) {
        return accel::EngineChoice{name, [e] { return create_engine(e); }};
    };
    std::vector<Engine> firsts{Engine::Interp};
    if (has_kvm()) firsts.push_back(Engine::Kvm);
    for (const Engine first : firsts) {
        Bench b(accel::create_switch_accelerator({choice("one", first), choice("two", Engine::Baseline)}, {}), {0xf4});
        const auto moved = b.accelerator->change_engine("warp");
        REQUIRE_FALSE(moved.ok());
        CHECK(moved.error().code == Errc::NotFound);
        CHECK(moved.error().message.find("'warp'") != std::string::npos);
        CHECK(std::holds_alternative<accel::HaltExit>(b.vcpu->run()));
    }
    if (!has_kvm()) return;
    auto device = accel::kvm::open_device({});
    REQUIRE(device.ok());
    const auto vm = TANDEM_KVM(*device, KVM_CREATE_VM, 0ul);
    REQUIRE(vm.ok());
    const accel::kvm::Fd machine(*vm);
    const auto unknown = machine.call("KVM_NOTHING", _IO(KVMIO, 0xff));
    REQUIRE_FALSE(unknown.ok());
    CHECK(unknown.error().code == Errc::NotFound);
    CHECK(unknown.error().message == "KVM_NOTHING: the kernel does not recognise this request");
    kvm_device_attr attribute{};
    attribute.group = 0xffff;
    const auto attributes = TANDEM_KVM(machine, KVM_SET_DEVICE_ATTR, &attribute);
    REQUIRE_FALSE(attributes.ok());
    CHECK(attributes.error().code == Errc::NotFound);
    kvm_userspace_memory_region region{};
    region.slot = ~0u;
    const auto wrong = TANDEM_KVM(machine, KVM_SET_USER_MEMORY_REGION, &region);
    REQUIRE_FALSE(wrong.ok());
    CHECK(wrong.error().code == Errc::Io);
}

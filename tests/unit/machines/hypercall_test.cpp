// Hypercalls and the page of stubs, on a vCPU of each engine (contracts H1 to H7).
#include <sched.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cerrno>
#include <cstring>

#include "accel/jit/x86_jit.h"
#include "accel/kvm/kvm_accelerator.h"
#include "accel/run_loop.h"
#include "devices/fabric/fake_clock.h"
#include "devices/irq/lapic.h"
#include "machines/pc/hypercalls.h"
#include "tests/log_capture.h"

using namespace tandem;
using namespace tandem::machines::pc;
using accel::HypercallExit;

namespace {

constexpr u32 kPageMsr = 0x40000200;
constexpr u64 kPage = 0x4000, kCode = 0x1000, kStack = 0x8000, kTables = 0x10000;
constexpr u64 kRtPrio = HypercallOptions{}.realtime_number;
constexpr u64 as_u64(GuestError e) { return static_cast<u64>(static_cast<i64>(e)); }

cpu::x86::CpuModel model() {
    auto made = cpu::x86::CpuModel::create("qemu64");
    REQUIRE(made.ok());
    auto narrowed = accel::narrow_to_kvm(*made);
    return narrowed ? *narrowed : *made;
}

struct Parts {
    devices::GuestMemory memory;
    devices::FakeClock clock;
    devices::ApicBus bus;
    std::vector<std::optional<int>> asked;  // of the scheduler
    int refusal = 0;
    Parts() { REQUIRE(memory.add("ram", 0, 1 << 20).ok()); }
    Hypercalls hypercalls(const HypercallOptions& options) {
        return {options, model(), bus, memory, clock, [this](std::optional<int> priority) {
                    asked.push_back(priority);
                    return refusal;
                }};
    }
};

u64 call(Hypercalls& calls, u64 number, std::array<u64, 4> args = {}, bool long_mode = true) {
    HypercallExit exit{number, {args[0], args[1], args[2], args[3]}, 0, long_mode};
    calls.call(0, exit);
    return exit.result;
}

// The smallest machine with a page of stubs.
class Rig final : public accel::ExitHandler, devices::CpuInterruptController {
public:
    Rig(Result<std::unique_ptr<accel::Accelerator>> engine, Parts& parts, Hypercalls& calls) : calls_(calls) {
        REQUIRE(engine.ok());
        engine_ = std::move(engine).value();
        REQUIRE(engine_->map_memory(parts.memory).ok());
        auto made = engine_->create_vcpu(0, *this);
        REQUIRE(made.ok());
        vcpu = std::move(made).value();
    }
    void handle(accel::Vcpu& v, accel::Exit& exit) override {
        if (auto* port = std::get_if<accel::PortExit>(&exit); port != nullptr && calls_.owns_port(port->port)) {
            calls_.port(0, *port, [&](HypercallExit& made) {
                accel::Exit inner = made;
                accel::dispatch(v, *this, inner);
                made = std::get<HypercallExit>(inner);
            });
        } else if (auto* msr = std::get_if<accel::MsrExit>(&exit); msr != nullptr && calls_.owns_msr(msr->index)) {
            msr->fault = msr->write && !calls_.msr_write(msr->data);
            if (!msr->write) msr->data = calls_.msr_read();
        } else if (auto* made = std::get_if<HypercallExit>(&exit)) {
            calls_.call(0, *made);
        }
    }
    devices::CpuInterruptController& interrupt_controller(unsigned) override { return *this; }
    u64 tsc(unsigned) override { return 0; }
    [[nodiscard]] bool interrupt_pending() const override { return false; }
    int acknowledge() override { return -1; }
    [[nodiscard]] u8 cr8() const override { return 0; }
    void set_cr8(u8) override {}

private:
    Hypercalls& calls_;
    std::unique_ptr<accel::Accelerator> engine_;

public:
    std::unique_ptr<accel::Vcpu> vcpu;  // goes before its engine
};

// Flat 32-bit or 64-bit code at CPL 0, memory mapped onto itself.
cpu::x86::State flat(Parts& parts, bool wide) {
    cpu::x86::State s;
    cpu::x86::reset(s, true);
    for (auto& segment : s.seg) segment = {0, 0xffffffff, 0x10, 0xc093};
    s.seg[cpu::x86::CS] = {0, 0xffffffff, 8, static_cast<u16>(wide ? 0xa09b : 0xc09b)};
    s.cr0 = 0x11;
    s.rip = kCode;
    s.gpr[cpu::x86::RSP] = kStack;
    if (wide) {
        const u64 tables[3] = {(kTables + 0x1000) | 3, (kTables + 0x2000) | 3, 0x83};  // a page of 2 MiB
        for (u64 i = 0; i < 3; ++i) REQUIRE(parts.memory.write(kTables + 0x1000 * i, &tables[i], 8));
        s.cr3 = kTables;
        s.cr4 = 0x20;
        s.cr0 |= u64{1} << 31;
        s.msr.efer = 0x500;
    }
    return s;
}

using EngineMaker = Result<std::unique_ptr<accel::Accelerator>> (*)();
struct EngineRow {
    const char* name;
    EngineMaker make;
};
constexpr EngineRow kEngines[] = {
    {"jit", [] { return accel::create_jit_accelerator(model(), {}); }},
    {"kvm", [] { return accel::create_kvm_accelerator(model()); }},
};

}  // namespace

TEST_CASE("KVM_HC_RT_PRIO: the host decides", "[H1][H3][H4]") {
    Parts parts;
    auto off = parts.hypercalls({});
    CHECK(call(off, kRtPrio, {1}) == as_u64(GuestError::Perm));
    CHECK(parts.asked.empty());
    auto on = parts.hypercalls({.realtime_priority = 7});
    CHECK(call(on, kRtPrio, {~u64{0}}) == 0);  // the priority is the host's setting, whatever the guest says
    CHECK(call(on, kRtPrio, {2}) == 0);
    REQUIRE(parts.asked.size() == 2);
    CHECK(parts.asked[0] == 7);
    CHECK_FALSE(parts.asked[1].has_value());
    parts.refusal = EPERM;
    CHECK(call(on, kRtPrio, {1}) == as_u64(GuestError::Perm));
    parts.refusal = EINVAL;
    CHECK(call(on, kRtPrio, {1}) == as_u64(GuestError::Einval));
    CHECK(call(on, kRtPrio, {1}, false) == 0xffffffea);
}

TEST_CASE("KVM_HC_RT_PRIO moves the calling thread to SCHED_FIFO and back", "[H4]") {
    Parts parts;
    Hypercalls calls({.realtime_priority = 1}, model(), parts.bus, parts.memory, parts.clock);
    const u64 answer = call(calls, kRtPrio, {1});
    if (answer == as_u64(GuestError::Perm)) {
        std::printf("skipped: SCHED_FIFO: this host does not let us have it\n");
        return;
    }
    REQUIRE(answer == 0);
    CHECK(::sched_getscheduler(0) == SCHED_FIFO);
    CHECK(call(calls, kRtPrio, {0}) == 0);
    CHECK(::sched_getscheduler(0) == SCHED_OTHER);
}

TEST_CASE("hypercalls that depend on a feature are there with it only", "[H1][H5]") {
    Parts parts;
    auto without = parts.hypercalls({});
    for (const u64 number : {u64{2}, u64{3}, u64{5}, u64{10}, u64{11}, u64{12}, u64{77}, ~u64{0}}) {
        CHECK(call(without, number) == as_u64(GuestError::Enosys));
    }
    CHECK(call(without, 1) == 0);
    const auto max = cpu::x86::CpuModel::create("max,+kvm-pv-unhalt,+kvm-pv-ipi,+kvm-pv-sched-yield");
    REQUIRE(max.ok());
    using cpu::x86::Feature;
    for (const Feature f : {Feature::KVM_PV_UNHALT, Feature::KVM_PV_IPI, Feature::KVM_PV_SCHED_YIELD}) {
        CHECK_FALSE(cpu::x86::CpuModel::create("max")->has(f));
        CHECK(max->has(f));
    }
    Hypercalls with({}, *max, parts.bus, parts.memory, parts.clock);
    CHECK(call(with, 5, {0, 0}) == 0);  // nobody is on this bus
    CHECK(call(with, 5, {0, ~u64{0}}) == 0);
    CHECK(call(with, 11) == 0);
    CHECK(call(with, 10, {3, 0, 0, 0x31}) == 0);
    for (const u64 command : {0x200u, 0x500u, 0x600u, 0x831u, 0x40031u, 0xc0031u}) {  // SMI, INIT, SIPI, logical, shorthands
        CAPTURE(command);
        CHECK(call(with, 10, {1, 0, 0, command}) == as_u64(GuestError::Einval));
    }
    CHECK(call(with, 77) == as_u64(GuestError::Enosys));
}

TEST_CASE("KVM_HC_RT_PRIO never takes the number of a call that a feature offers", "[H4][H5]") {
    Parts parts;
    const auto plain = cpu::x86::CpuModel::create("max");
    const auto with_ipi = cpu::x86::CpuModel::create("max,+kvm-pv-ipi");
    REQUIRE((plain.ok() && with_ipi.ok()));
    const auto schedule = [&](std::optional<int> priority) {
        parts.asked.push_back(priority);
        return 0;
    };
    // The number that it was proposed under.
    const HypercallOptions options{.realtime_priority = 4, .realtime_number = 10};
    Hypercalls first(options, *plain, parts.bus, parts.memory, parts.clock, schedule);
    CHECK(first.has_realtime_number());
    CHECK(call(first, 10, {1, 0, 0, 0x200}) == 0);
    REQUIRE(parts.asked.size() == 1);
    CHECK(parts.asked[0] == 4);
    CHECK(call(first, kRtPrio, {1}) == as_u64(GuestError::Enosys));
    Hypercalls second(options, *with_ipi, parts.bus, parts.memory, parts.clock, schedule);
    CHECK_FALSE(second.has_realtime_number());
    CHECK(call(second, 10, {1, 0, 0, 0x200}) == as_u64(GuestError::Einval));
    CHECK(parts.asked.size() == 1);
    Hypercalls third({.realtime_priority = 4, .realtime_number = 9}, *plain, parts.bus, parts.memory, parts.clock, schedule);
    CHECK_FALSE(third.has_realtime_number());
    CHECK(call(third, 9, {0x2000, 0}) == 0);
    CHECK(parts.asked.size() == 1);
}

TEST_CASE("a kick names a processor by its APIC id, and one that waits for a halt is saved", "[H5]") {
    struct Processor final : accel::UnhaltVcpu {
        bool waits = false;
        void raise_unhalt() override { waits = true; }
        [[nodiscard]] bool unhalt_waits() const override { return waits; }
    };
    Parts parts;
    const auto max = cpu::x86::CpuModel::create("max,+kvm-pv-unhalt");
    REQUIRE(max.ok());
    Hypercalls calls({.cpus = 2}, *max, parts.bus, parts.memory, parts.clock);
    Processor processors[2];
    calls.connect(0, 0, processors[0]);
    calls.connect(1, 5, processors[1]);
    CHECK(call(calls, 5, {7, 1}) == 0);
    CHECK_FALSE(processors[1].waits);
    CHECK(call(calls, 5, {7, 5}) == 0);
    CHECK_FALSE(processors[0].waits);
    REQUIRE(processors[1].waits);
    const auto saved = calls.save();
    processors[1].waits = false;
    const auto idle = calls.save();
    REQUIRE(calls.restore(saved).ok());
    CHECK(processors[1].waits);
    processors[1].waits = false;
    REQUIRE(calls.restore(idle).ok());
    CHECK_FALSE(processors[1].waits);
}

TEST_CASE("an IPI by hypercall reaches the processors of its bit map", "[H5]") {
    Parts parts;
    const auto max = cpu::x86::CpuModel::create("max,+kvm-pv-ipi");
    REQUIRE(max.ok());
    std::vector<std::unique_ptr<devices::Lapic>> apics;
    for (const u32 id : {0u, 1u, 2u, 3u, 32u}) {
        apics.push_back(std::make_unique<devices::Lapic>(devices::LapicConfig{.id = id, .bsp = id == 0, .base = 0xfee00000},
                                                         parts.bus, parts.clock));
        apics.back()->io_write(0xf0, 0x1ff, 4);
    }
    Hypercalls calls({}, *max, parts.bus, parts.memory, parts.clock);
    CHECK(call(calls, 10, {0b101, 0, 1, 0x31}) == 2);
    CHECK_FALSE(apics[0]->interrupt_pending());
    CHECK(apics[1]->interrupt_pending());
    CHECK_FALSE(apics[2]->interrupt_pending());
    CHECK(apics[3]->acknowledge() == 0x31);
    CHECK(call(calls, 10, {0, 1, 0, 0x32}, false) == 1);  // the second word's first bit is the 32nd processor
    CHECK(apics[4]->interrupt_pending());
    // Ids end where a broadcast would begin, and do not begin again.
    CHECK(call(calls, 10, {~u64{0}, ~u64{0}, 0xffff'fff0, 0x33}) == 0);
    CHECK(call(calls, 10, {~u64{0}, ~u64{0}, u64{1} << 32, 0x33}) == 0);
    CHECK_FALSE(apics[0]->interrupt_pending());
    CHECK(call(calls, 10, {1, 0, 0, 0x400}) == 1);  // NMI
}

TEST_CASE("KVM_HC_CLOCK_PAIRING tells host time and TSC of one moment", "[H5]") {
    Parts parts;
    auto calls = parts.hypercalls({});
    CHECK(call(calls, 9, {0x2000, 1}) == as_u64(GuestError::Eopnotsupp));
    CHECK(call(calls, 9, {u64{1} << 40, 0}) == as_u64(GuestError::Efault));
    REQUIRE(call(calls, 9, {0x2000, 0}) == 0);
    u64 seen[3] = {};
    REQUIRE(parts.memory.read(0x2000, seen, sizeof seen));
    CHECK(seen[0] * 1'000'000'000 + seen[1] == parts.clock.wall_ns());
    CHECK(seen[2] == parts.clock.tsc());
    calls.set_tsc_offset(0, 12345);  // what its guest has written into its counter
    REQUIRE(call(calls, 9, {0x2000, 0}) == 0);
    REQUIRE(parts.memory.read(0x2000, seen, sizeof seen));
    CHECK(seen[2] == parts.clock.tsc() + 12345);
}

TEST_CASE("the hypercall page: index and target are checked, nothing is written otherwise", "[H6]") {
    Parts parts;
    auto none = parts.hypercalls({});
    CHECK_FALSE(none.owns_msr(0));
    CHECK_FALSE(none.owns_port(Hypercalls::kPort32));
    auto calls = parts.hypercalls({.page_msr = kPageMsr});
    CHECK(calls.owns_msr(kPageMsr));
    CHECK_FALSE(calls.msr_write(kPage | 1));
    CHECK_FALSE(calls.msr_write(u64{1} << 40));
    u64 first = 0;
    REQUIRE(parts.memory.read(kPage, &first, sizeof first));
    CHECK(first == 0);
    CHECK(calls.msr_read() == 0);
    CHECK(calls.msr_write(kPage));
    CHECK(calls.msr_read() == kPage);
    const auto saved = calls.save();
    calls.reset();
    CHECK(calls.msr_read() == 0);
    REQUIRE(calls.restore(saved).ok());
    CHECK(calls.msr_read() == kPage);
}

TEST_CASE("the hypercall page's stub reaches user space from 32-bit and 64-bit code", "[H2][H4][H6][H7]") {
    const EngineRow engine = GENERATE(from_range(std::begin(kEngines), std::end(kEngines)));
    const bool wide = GENERATE(false, true);
    CAPTURE(engine.name, wide);
    auto made = engine.make();
    if (!made) {
        std::printf("skipped: hypercall page on %s: %s\n", engine.name, made.error().message.c_str());
        return;
    }
    Parts parts;
    auto calls = parts.hypercalls({.realtime_priority = 3, .page_msr = kPageMsr});
    Rig rig(std::move(made), parts, calls);
    // mov ecx, kPageMsr; mov eax, kPage; xor edx, edx; wrmsr; mov eax, kRtPrio; mov ebx, 1; std; call kPage; hlt;
    // mov eax, 77; call kPage; hlt
    u8 code[] = {0xb9, 0,    2,    0,    0x40, 0xb8, 0, 0x40, 0,    0, 0x31, 0xd2, 0x0f, 0x30,
                 0xb8, 0x52, 0x50, 0x54, 0x52, 0xbb, 1, 0,    0,    0, 0xfd, 0xe8, 0,    0,
                 0,    0,    0xf4, 0xb8, 77,   0,    0, 0,    0xe8, 0, 0,    0,    0,    0xf4};
    const auto aim = [&](std::size_t at) {
        const u32 distance = static_cast<u32>(kPage - (kCode + at + 4));
        std::memcpy(code + at, &distance, 4);
    };
    aim(26);
    aim(37);
    REQUIRE(parts.memory.write(kCode, code, sizeof code));
    REQUIRE(rig.vcpu->import_state(flat(parts, wide)).ok());
    const tests::LogCapture log(log::Exits);
    REQUIRE(std::holds_alternative<accel::HaltExit>(rig.vcpu->run()));
    CHECK(parts.asked.size() == 1);
    CHECK(parts.asked.front() == 3);
    cpu::ArchState out;
    REQUIRE(rig.vcpu->export_state(out).ok());
    auto s = std::get<cpu::x86::State>(out);
    CHECK(s.gpr[cpu::x86::RAX] == 0);
    CHECK(s.gpr[cpu::x86::RBX] == 1);
    CHECK(s.gpr[cpu::x86::RCX] == kPageMsr);
    CHECK(s.gpr[cpu::x86::RSP] == kStack);
    CHECK((s.rflags & 0x400) != 0);  // DF as it was
    const auto lines = log.lines();
    CHECK(std::ranges::count_if(lines, [](const std::string& line) {
              return line.find("kvm_hypercall: nr 0x52545052 a0 0x1 a1 0x40000200") != std::string::npos;
          }) == 1);
    s.activity = cpu::x86::Activity::Running;
    REQUIRE(rig.vcpu->import_state(s).ok());
    REQUIRE(std::holds_alternative<accel::HaltExit>(rig.vcpu->run()));
    REQUIRE(rig.vcpu->export_state(out).ok());
    CHECK(std::get<cpu::x86::State>(out).gpr[cpu::x86::RAX] ==
          (wide ? as_u64(GuestError::Enosys) : as_u64(GuestError::Enosys) & 0xffffffff));
}

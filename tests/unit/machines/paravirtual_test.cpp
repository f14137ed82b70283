// Hypercalls by VMCALL from the guests of several processors, on each engine (contracts H1, H2 and H5). Where KVM has the
// local APICs it answers by itself; where it has not, it offers no call that reaches other processors.
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>
#include <vector>

#include "accel/jit/x86_jit.h"
#include "accel/kvm/kvm_accelerator.h"
#include "accel/run_loop.h"
#include "devices/fabric/fake_clock.h"
#include "devices/irq/lapic.h"
#include "machines/pc/hypercalls.h"
#include "tests/flat_state.h"
#include "tests/patience.h"

using namespace tandem;
using namespace tandem::machines::pc;
using namespace std::chrono_literals;
using Irqchip = accel::KvmOptions::Irqchip;

namespace {

constexpr u64 kCaller = 0x1000, kSleeper = 0x2000, kCount = 0x6000, kPairing = 0x7000, kTables = 0x10000;
constexpr u64 kApicBase = 0xfee00000;
constexpr u16 kDone = 0x80;  // port that ends a run
constexpr unsigned kProcessors = 2;
constexpr std::string_view kFeatures = "kvm-pv-unhalt,+kvm-pv-ipi,+kvm-pv-sched-yield";

struct EngineRow {
    const char* name;
    bool kvm = false;
    Irqchip irqchip = Irqchip::User;
    jit::Tier tier = jit::Tier::Interp;
    [[nodiscard]] bool reaches_processors() const { return !kvm || irqchip != Irqchip::User; }
};
constexpr EngineRow kEngines[] = {{"interp"},
                                  {"baseline", false, Irqchip::User, jit::Tier::Baseline},
                                  {"kvm", true, Irqchip::User},
                                  {"kvm, split", true, Irqchip::Split},
                                  {"kvm, kernel", true, Irqchip::Kernel}};

// Two processors with local APICs and the machine's hypercalls.
class Rig final : public accel::ExitHandler {
public:
    // `offered`: the features are in the guest's CPUID, as far as the engine can have them.
    static std::unique_ptr<Rig> create(const EngineRow& row, bool offered) {
        auto model = cpu::x86::CpuModel::create(offered ? "qemu64,+" + std::string(kFeatures) : "qemu64");
        REQUIRE(model.ok());
        if (const auto narrowed = accel::narrow_to_kvm(*model, row.irqchip); narrowed && row.kvm) model = *narrowed;
        jit::Options jit;
        jit.tier = row.tier;
        auto engine = row.kvm ? accel::create_kvm_accelerator(*model, {.irqchip = row.irqchip})
                              : accel::create_jit_accelerator(*model, jit);
        if (!engine) {
            std::printf("skipped: hypercalls on %s: %s\n", row.name, engine.error().message.c_str());
            return nullptr;
        }
        std::unique_ptr<Rig> rig(new Rig(*model, std::move(engine).value()));
        if (row.kvm && !rig->executes_vmcall()) {
            std::printf("skipped: hypercalls on %s: this host's KVM interprets VMCALL without end (docs/differences.md)\n",
                        row.name);
            return nullptr;
        }
        return rig;
    }

    void handle(accel::Vcpu& v, accel::Exit& exit) override {
        if (auto* port = std::get_if<accel::PortExit>(&exit); port != nullptr && port->port == kDone) v.request_exit();
        if (auto* made = std::get_if<accel::HypercallExit>(&exit)) calls_->call(v.index(), *made);
    }
    devices::CpuInterruptController& interrupt_controller(unsigned i) override { return *lapics[i]; }
    u64 tsc(unsigned) override { return clock.tsc(); }
    unsigned cpu_count() override { return kProcessors; }

    // What the guest of processor 0 gets in RAX.
    u64 call(u64 number, std::array<u64, 4> args, bool wide = true, unsigned cpl = 0) {
        auto s = tests::flat_state(wide, kCaller, kTables, cpl);
        s.rflags |= 0x3000;  // ports at any level
        s.msr.apic_base = lapics[0]->apic_base();
        s.gpr[cpu::x86::RAX] = number;
        s.gpr[cpu::x86::RBX] = args[0];
        s.gpr[cpu::x86::RCX] = args[1];
        s.gpr[cpu::x86::RDX] = args[2];
        s.gpr[cpu::x86::RSI] = args[3];
        REQUIRE(vcpus[0]->import_state(s).ok());
        const accel::Exit exit = accel::run_until_event(*vcpus[0], *this);
        CAPTURE(exit.index(), vcpus[0]->exit_pc());
        REQUIRE(std::holds_alternative<accel::RequestedExit>(exit));
        cpu::ArchState out;
        REQUIRE(vcpus[0]->export_state(out).ok());
        CHECK(std::get<cpu::x86::State>(out).gpr[cpu::x86::RCX] == args[1]);
        return std::get<cpu::x86::State>(out).gpr[cpu::x86::RAX];
    }
    // How often the guest of processor 1 has come out of a halt.
    u32 count() const { return std::atomic_ref(*reinterpret_cast<u32*>(memory.span(kCount, 4).data())).load(); }

    // The interrupt requests that processor 1's APIC has.
    std::array<u32, 8> requests() {
        devices::ControllerState state = controllers();
        if (auto* host = engine_->host_controllers(); host != nullptr) REQUIRE(host->fetch(state).ok());
        return host_ ? state.lapics[1].irr : lapics[1]->save_typed().irr;
    }

    devices::GuestMemory memory;
    devices::FakeClock clock;
    devices::ApicBus bus;
    std::vector<std::unique_ptr<devices::Lapic>> lapics;

private:
    Rig(const cpu::x86::CpuModel& model, std::unique_ptr<accel::Accelerator> engine) : engine_(std::move(engine)) {
        REQUIRE(memory.add("ram", 0, 1 << 20).ok());
        REQUIRE(tests::map_onto_itself(memory, kTables));
        const u8 caller[] = {0x0f, 0x01, 0xc1, 0xe6, kDone, 0xeb, 0xfe};                 // vmcall; out kDone, al; jmp .
        const u8 sleeper[] = {0xf4, 0xf0, 0xff, 0x04, 0x25, 0, 0x60, 0, 0, 0xeb, 0xf5};  // hlt; lock inc [kCount]; jmp
        REQUIRE(memory.write(kCaller, caller, sizeof caller));
        REQUIRE(memory.write(kSleeper, sleeper, sizeof sleeper));
        for (u32 id = 0; id < kProcessors; ++id) {
            const devices::LapicConfig config{.id = id, .bsp = id == 0, .base = kApicBase};
            lapics.push_back(std::make_unique<devices::Lapic>(config, bus, clock));
            lapics.back()->io_write(0xf0, 0x1ff, 4);  // enabled
        }
        calls_.emplace(HypercallOptions{.cpus = kProcessors}, model, bus, memory, clock);
        REQUIRE(engine_->map_memory(memory).ok());
        for (unsigned i = 0; i < kProcessors; ++i) {
            auto made = engine_->create_vcpu(i, *this);
            INFO((made ? "" : made.error().message));
            REQUIRE(made.ok());
            vcpus.push_back(std::move(made).value());
            lapics[i]->connect(*vcpus[i]);
            auto* halting = dynamic_cast<accel::UnhaltVcpu*>(vcpus[i].get());
            REQUIRE(halting != nullptr);
            calls_->connect(i, i, *halting);
        }
        auto s = tests::flat_state(true, kSleeper, kTables);
        s.msr.apic_base = lapics[1]->apic_base();
        REQUIRE(vcpus[1]->import_state(s).ok());
        if (auto* host = engine_->host_controllers(); host != nullptr) {
            REQUIRE(host->store(controllers()).ok());
            host_ = true;
        }
    }
    // Where KVM interprets VMCALL it does so for ever.
    bool executes_vmcall() {
        std::atomic<bool> back{false};
        std::thread watchdog([&] {
            for (int i = 0; i < 500 && !back; ++i) std::this_thread::sleep_for(1ms);
            if (!back) vcpus[0]->request_exit();
        });
        auto s = tests::flat_state(true, kCaller, kTables);
        s.msr.apic_base = lapics[0]->apic_base();
        s.gpr[cpu::x86::RAX] = 1;
        REQUIRE(vcpus[0]->import_state(s).ok());
        (void)accel::run_until_event(*vcpus[0], *this);
        back = true;
        watchdog.join();
        cpu::ArchState out;
        REQUIRE(vcpus[0]->export_state(out).ok());
        return std::get<cpu::x86::State>(out).rip != kCaller;
    }
    devices::ControllerState controllers() {
        devices::ControllerState state;
        for (const auto& lapic : lapics) state.lapics.push_back(lapic->save_typed());
        state.ioapic.entries.fill(0x10000);
        return state;
    }

    std::optional<Hypercalls> calls_;
    std::unique_ptr<accel::Accelerator> engine_;
    bool host_ = false;

public:
    std::vector<std::unique_ptr<accel::Vcpu>> vcpus;  // go before their engine
};

// The guest of processor 1, on a thread.
class Sleeper {
public:
    explicit Sleeper(Rig& rig) : rig_(rig), thread_([&rig] { (void)accel::run_until_event(*rig.vcpus[1], rig); }) {}
    ~Sleeper() {
        rig_.vcpus[1]->request_exit();
        thread_.join();
    }
    Sleeper(const Sleeper&) = delete;
    Sleeper& operator=(const Sleeper&) = delete;
    // Whether it has come out of so many halts, after a while.
    [[nodiscard]] bool woken(u32 times) const {
        const auto end = std::chrono::steady_clock::now() + tests::kPatience;
        while (rig_.count() < times && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(1ms);
        return rig_.count() == times;
    }

private:
    Rig& rig_;
    std::thread thread_;
};

constexpr u64 as_u64(GuestError e) { return static_cast<u64>(static_cast<i64>(e)); }

#define FOR_EACH_ENGINE(rig, offered)                                                        \
    const EngineRow engine = GENERATE(from_range(std::begin(kEngines), std::end(kEngines))); \
    CAPTURE(engine.name);                                                                    \
    const auto rig = Rig::create(engine, offered);                                           \
    if (rig == nullptr) return

}  // namespace

TEST_CASE("a hypercall whose feature is not offered answers -KVM_ENOSYS, whoever answers", "[H1][H2][H5]") {
    FOR_EACH_ENGINE(rig, false);
    const bool wide = GENERATE(false, true);
    CAPTURE(wide);
    const auto seen = [wide](GuestError e) { return wide ? as_u64(e) : as_u64(e) & 0xffffffff; };
    for (const u64 number : {u64{0}, u64{2}, u64{5}, u64{10}, u64{11}, u64{77}}) {
        CAPTURE(number);
        CHECK(rig->call(number, {1, 1, 1, 0x31}, wide) == seen(GuestError::Enosys));
    }
    CHECK(rig->call(1, {}, wide) == 0);                                        // KVM_HC_VAPIC_POLL_IRQ
    CHECK(rig->call(9, {kPairing, 1}, wide) == seen(GuestError::Eopnotsupp));  // a clock that is none
    CHECK(rig->call(9, {0xf000'0000, 0}, wide) == seen(GuestError::Efault));   // where there is no memory
    u64 pairing[3] = {~u64{0}, ~u64{0}, ~u64{0}};
    REQUIRE(rig->memory.write(kPairing, pairing, sizeof pairing));
    CHECK(rig->call(9, {kPairing, 0}, wide) == 0);
    REQUIRE(rig->memory.read(kPairing, pairing, sizeof pairing));
    CHECK(pairing[0] != ~u64{0});
    CHECK(pairing[1] < 1'000'000'000);
}

TEST_CASE("a hypercall above CPL 0 answers -KVM_EPERM before its number is looked at", "[H2][H5]") {
    FOR_EACH_ENGINE(rig, true);
    for (const u64 number : {u64{1}, u64{5}, u64{9}, u64{10}, u64{11}, u64{77}}) {
        CAPTURE(number);
        CHECK(rig->call(number, {1, 1, 0, 0x31}, true, 3) == as_u64(GuestError::Perm));
    }
    CHECK(rig->count() == 0);
}

TEST_CASE("KVM_HC_KICK_CPU ends the halt of the processor that it names, or its next, and only one", "[H5]") {
    FOR_EACH_ENGINE(rig, true);
    if (!engine.reaches_processors()) {
        CHECK(rig->call(5, {0, 1}) == as_u64(GuestError::Enosys));
        return;
    }
    CHECK(rig->call(5, {0, 1}) == 0);  // before it halts
    const Sleeper sleeper(*rig);
    CHECK(sleeper.woken(1));
    for (u32 times = 2; times < 20; ++times) {
        CHECK(rig->call(5, {0, 1}) == 0);
        REQUIRE(sleeper.woken(times));
    }
    CHECK(rig->call(5, {0, 7}) == 0);  // nobody
    std::this_thread::sleep_for(20ms);
    CHECK(rig->count() == 19);
}

TEST_CASE("KVM_HC_SEND_IPI and KVM_HC_SCHED_YIELD by VMCALL", "[H5]") {
    FOR_EACH_ENGINE(rig, true);
    if (!engine.reaches_processors()) {
        CHECK(rig->call(10, {2, 0, 0, 0x31}) == as_u64(GuestError::Enosys));
        CHECK(rig->call(11, {1}) == as_u64(GuestError::Enosys));
        return;
    }
    CHECK(rig->call(10, {0b10, 0, 0, 0x31}) == 1);
    CHECK(rig->call(10, {0b1, 0, 1, 0x45}) == 1);       // the bit map begins at the processor in RDX
    CHECK(rig->call(10, {0, 0, 0, 0x46}) == 0);         // nobody
    CHECK(rig->call(10, {~u64{0}, 0, 64, 0x46}) == 0);  // nobody either
    CHECK(rig->call(10, {0b10, 0, 0, 0x847}) == as_u64(GuestError::Einval));
    CHECK(rig->call(10, {0b10, 0, 0, 0x40047}) == as_u64(GuestError::Einval));
    CHECK(rig->requests() == std::array<u32, 8>{0, 1u << 17, 1u << 5, 0, 0, 0, 0, 0});
    CHECK(rig->call(11, {1}) == 0);
}

// The pc machine on an engine that plays a script of exits instead of executing guest code.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <thread>

#include "accel/signals.h"
#include "machines/machine.h"
#include "machines/pc/layout.h"
#include "tests/unit/machines/fake_kernel.h"

using namespace tandem;
using namespace tandem::machines;
using namespace tandem::machines::pc::layout;
using namespace tandem::accel;
using tandem::tests::Kernel;

namespace {

// What the scripts did and saw; outlives the machine.
struct Stage {
    std::deque<Exit> script;  // of vCPU 0, in order
    std::vector<Exit> done;   // its accesses, answered
    std::vector<cpu::x86::State> imported;
    devices::GuestMemory* memory = nullptr;
    std::atomic<unsigned> halted{0};
};

class ScriptVcpu final : public Vcpu {
public:
    ScriptVcpu(unsigned index, Stage& stage) : index_(index), stage_(stage) {}
    unsigned index() const override { return index_; }
    Exit run() override {
        if ((signals_.take(SignalWord::ExitRequest) & SignalWord::ExitRequest) != 0) return RequestedExit{};
        if (index_ != 0 || stage_.script.empty()) {
            ++stage_.halted;
            return HaltExit{};
        }
        Exit exit = stage_.script.front();
        stage_.script.pop_front();
        return exit;
    }
    Exit step() override { return run(); }
    void request_exit() override { signals_.raise(SignalWord::ExitRequest); }
    void wait_for_event() override { signals_.wait(SignalWord::ExitRequest); }
    u64 exit_pc() const override { return 0; }
    Result<void> export_state(cpu::ArchState&) override { return {}; }
    Result<void> import_state(const cpu::ArchState& in) override {
        stage_.imported.push_back(std::get<cpu::x86::State>(in));
        return {};
    }
    void set_line(devices::CpuLine, bool) override {}
    void raise_nmi() override {}
    void raise_init() override {}
    void raise_sipi(u8) override {}

private:
    unsigned index_;
    Stage& stage_;
    SignalWord signals_;
};

// Lets the test see answers: sits between run loop and machine by recording what the machine filled in.
class ScriptEngine final : public Accelerator {
public:
    explicit ScriptEngine(Stage& stage) : stage_(stage) {}
    const Capabilities& capabilities() const override { return capabilities_; }
    Result<void> map_memory(devices::GuestMemory& memory) override {
        stage_.memory = &memory;
        return {};
    }
    Result<std::unique_ptr<Vcpu>> create_vcpu(unsigned index, ExitHandler& handler) override {
        handler_ = &handler;
        return std::unique_ptr<Vcpu>(std::make_unique<ScriptVcpu>(index, stage_));
    }
    std::string statistics() const override { return {}; }
    ExitHandler* handler_ = nullptr;

private:
    Capabilities capabilities_{"script", false, false};
    Stage& stage_;
};

struct Rig {
    Stage stage;
    ScriptEngine* engine = nullptr;
    std::unique_ptr<Machine> machine;

    Result<void> build(MachineConfig config) {
        auto owned = std::make_unique<ScriptEngine>(stage);
        engine = owned.get();
        TANDEM_TRY_ASSIGN(machine, create_machine(std::move(config), std::move(owned)));
        return {};
    }
    // One access as vCPU `index` would make it.
    template <class E>
    E access(E e, unsigned index = 0) {
        ScriptVcpu vcpu(index, stage);
        Exit exit = e;
        engine->handler_->handle(vcpu, exit);
        return std::get<E>(exit);
    }
    u64 read_mmio(u64 address, u8 size = 4, unsigned index = 0) {
        return access(MmioExit{address, size, false, 0}, index).data;
    }
    u32 read_port(u16 port, u8 size) { return access(PortExit{port, size, false, false, false, 0}).data; }
};

std::string failure(MachineConfig config) {
    Rig rig;
    auto r = rig.build(std::move(config));
    REQUIRE_FALSE(r.ok());
    return r.error().message;
}
bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

MachineConfig with_disk(const Kernel& k, std::vector<std::pair<std::string, std::string>> properties) {
    MachineConfig c = k.config();
    auto disk = devices::open_drive({k.path("disk"), true, false});
    REQUIRE(disk.ok());
    c.drives.emplace_back("d0", std::move(disk).value());
    c.devices.push_back({"virtio-blk-pci", std::move(properties)});
    return c;
}

}  // namespace

TEST_CASE("machine: configuration errors name what is wrong and what there is") {
    const Kernel k;
    const auto changed = [&](auto change) {
        MachineConfig c = k.config();
        change(c);
        return failure(std::move(c));
    };
    CHECK(contains(changed([](auto& c) { c.type = "sparc"; }), "'sparc' (known: pc, q35, virt)"));
    CHECK(contains(changed([](auto& c) { c.cpus = 241; }), "-smp 241"));
    CHECK(contains(changed([](auto& c) { c.ram_bytes = kMiB; }), "-m 1"));
    CHECK(contains(changed([](auto& c) { c.kernel.clear(), c.append = "x"; }), "-kernel"));
    CHECK(contains(changed([](auto& c) { c.kernel.clear(), c.firmware = "/nonexistent/bios"; }), "/nonexistent/bios"));
    CHECK(
        contains(changed([](auto& c) { c.kernel.clear(), c.firmware = "no-such-bios", c.firmware_directories = {"/some"}; }),
                 "'no-such-bios' is not in /some, "));
    CHECK(contains(changed([](auto& c) { c.kernel = "/nonexistent"; }), "/nonexistent"));
    CHECK(contains(changed([](auto& c) { c.devices.push_back({"e1000", {}}); }), "no device 'e1000': virtio-net-pci"));
    const std::string unknown = changed([](auto& c) { c.devices.push_back({"warp-drive", {}}); });
    CHECK(contains(unknown, "'warp-drive' (known: "));
    CHECK(contains(unknown, "virtio-blk-pci"));
    CHECK(contains(changed([](auto& c) { c.devices.push_back({"virtio-blk-pci", {}}); }), "needs the property 'drive'"));
    CHECK(contains(failure(with_disk(k, {{"drive", "d1"}})), "no drive 'd1' (there are: d0)"));
    CHECK(
        contains(failure(with_disk(k, {{"drive", "d0"}, {"colour", "red"}})), "no property 'colour' (known: drive, serial"));
    CHECK(contains(failure(with_disk(k, {{"drive", "d0"}, {"num-queues", "many"}})), "'num-queues' is 'many'"));
    CHECK(contains(failure(with_disk(k, {{"drive", "d0"}, {"addr", "1f.0"}})), "taken by lpc"));
    CHECK(contains(failure(with_disk(k, {{"drive", "d0"}, {"addr", "20"}})), "'addr' is '20'"));
    auto twice = with_disk(k, {{"drive", "d0"}});
    twice.devices.push_back({"virtio-blk-pci", {{"drive", "d0"}}});
    CHECK(contains(failure(std::move(twice)), "drive 'd0' is used by another device"));
    CHECK(contains(machine_help(), "pc"));
    CHECK(contains(device_help("pc"), "num-queues"));
}

TEST_CASE("machine: the kernel's entry and the firmware's tables are in place") {
    const Kernel k;
    Rig rig;
    REQUIRE(rig.build(k.config()).ok());
    REQUIRE(rig.stage.imported.size() == 1);
    CHECK(rig.stage.imported[0].rip == 0x1000200);
    CHECK(rig.stage.imported[0].msr.apic_base == (kLapic.base | 0x900));
    char signature[8];
    REQUIRE(rig.stage.memory->read(kFirmware.base, signature, 8));
    CHECK(std::string(signature, 8) == "RSD PTR ");
    // What loaders that put code below the extended BIOS data area read (40:0EH and 40:13H), and that area's size in KiB.
    u16 segment = 0, kib = 0;
    u8 size = 0;
    REQUIRE((rig.stage.memory->read(0x40e, &segment, 2) && rig.stage.memory->read(0x413, &kib, 2)));
    CHECK(segment * 16 == kEbda.base);
    CHECK(kib == 639);
    REQUIRE(rig.stage.memory->read(kEbda.base, &size, 1));
    CHECK(size == 1);
}

TEST_CASE("machine: a kernel without firmware finds the same memory types on every processor") {
    const Kernel k;
    MachineConfig two = k.config();
    two.cpus = 2;
    Rig rig;
    REQUIRE(rig.build(std::move(two)).ok());
    REQUIRE(rig.stage.imported.size() == 2);
    CHECK(rig.stage.imported[0].msr.mtrr_def_type == 0x806);
    CHECK(rig.stage.imported[1].msr.mtrr_def_type == 0x806);
}

TEST_CASE("machine: accesses reach the devices at the board's addresses") {
    const Kernel k;
    Rig rig;
    auto config = with_disk(k, {{"drive", "d0"}, {"addr", "5"}});
    config.cpus = 2;
    REQUIRE(rig.build(std::move(config)).ok());
    CHECK(rig.read_mmio(kEcam.base) == 0x29c08086);
    CHECK(rig.read_mmio(kEcam.base + (31u << 15)) == 0x29188086);
    CHECK(rig.read_mmio(kEcam.base + (5u << 15)) == 0x10421af4);
    CHECK(rig.read_mmio(kEcam.base + (5u << 15) + 0x20) >= kPci32.base);
    CHECK(rig.read_mmio(kLapic.base + 0x20, 4, 0) >> 24 == 0);
    CHECK(rig.read_mmio(kLapic.base + 0x20, 4, 1) >> 24 == 1);
    CHECK(rig.read_mmio(0xfd000000) == 0xffffffff);
    CHECK(rig.read_port(0x604, 2) % 2 == 1);
    CHECK(rig.read_port(0x1234, 1) == 0xff);
    rig.access(PortExit{0xcf8, 4, true, false, false, 0x80000000});
    CHECK(rig.read_port(0xcfc, 4) == 0x29c08086);
    auto msr = rig.access(MsrExit{0x1b, false, true, 0}, 1);
    CHECK_FALSE(msr.fault);
    CHECK(msr.data == (kLapic.base | 0x800));
    CHECK(rig.access(MsrExit{0x12345, false, true, 0}).fault);
    CHECK_FALSE(rig.access(MsrExit{0x4b564d01, true, true, 0x5001}).fault);
}

TEST_CASE("machine: hypercalls that are not offered answer -KVM_ENOSYS", "[H1][H2]") {
    const Kernel k;
    Rig rig;
    REQUIRE(rig.build(k.config()).ok());
    CHECK(rig.access(HypercallExit{77, {}, 0, true}).result == static_cast<u64>(-1000));
    CHECK(rig.access(HypercallExit{77, {}, 0, false}).result == 0xfffffc18);
}

TEST_CASE("machine: power off, reset and triple fault end a run that may not reboot") {
    const Kernel k;
    const auto outcome = [&](Exit exit) {
        Rig rig;
        auto config = k.config();
        config.on_reset = OnGuestReset::End;
        config.cpus = 3;
        REQUIRE(rig.build(std::move(config)).ok());
        rig.stage.script.push_back(std::move(exit));
        return rig.machine->run();
    };
    using Kind = Outcome::Kind;
    CHECK(outcome(PortExit{0x604, 2, true, false, false, 1u << 13 | kSleepTypeS5 << 10}).kind == Kind::PowerOff);
    CHECK(outcome(PortExit{0xcf9, 1, true, false, false, 6}).kind == Kind::Reset);
    const Outcome fault = outcome(ShutdownExit{0x1234});
    CHECK(fault.kind == Kind::Shutdown);
    CHECK(contains(fault.detail, "0x1234"));
    const Outcome failed = outcome(EmulationFailureExit{0x55, "no such thing"});
    CHECK(failed.kind == Kind::InternalError);
    CHECK(contains(failed.detail, "no such thing"));
}

TEST_CASE("machine: isa-debug-exit ends the program with the guest's status") {
    const Kernel k;
    Rig rig;
    auto config = k.config();
    config.devices.push_back({"isa-debug-exit", {{"iobase", "0xf4"}, {"iosize", "4"}}});
    REQUIRE(rig.build(std::move(config)).ok());
    rig.stage.script.push_back(PortExit{0xf4, 4, true, false, false, 0x10});
    const Outcome outcome = rig.machine->run();
    CHECK(outcome.kind == Outcome::Kind::GuestExit);
    CHECK(outcome.status == 0x21);
    auto taken = k.config();
    taken.devices.push_back({"isa-debug-exit", {{"iobase", "0x20"}}});
    CHECK(contains(failure(std::move(taken)), "'isa-debug-exit'"));
}

TEST_CASE("machine: a reset loads the kernel again and goes on") {
    const Kernel k;
    Rig rig;
    auto config = k.config();
    config.cpus = 2;
    REQUIRE(rig.build(std::move(config)).ok());
    const u64 zero = 0;
    REQUIRE(rig.stage.memory->write(0x1000000, &zero, 8));
    rig.stage.script = {PortExit{0xcf9, 1, true, false, false, 6}, ShutdownExit{1},
                        PortExit{0x64, 1, true, false, false, 0xfe},
                        PortExit{0x604, 2, true, false, false, 1u << 13 | kSleepTypeS5 << 10}};
    CHECK(rig.machine->run().kind == Outcome::Kind::PowerOff);
    // Requests that come together are one reset.
    CHECK(rig.stage.imported.size() >= 2);
    u64 code = 0;
    REQUIRE(rig.stage.memory->read(0x1000000, &code, 8));
    CHECK(code == 0x9090909090909090);
}

TEST_CASE("machine: quit ends a machine that sleeps, and may come before it runs") {
    const Kernel k;
    Rig early;
    REQUIRE(early.build(k.config()).ok());
    early.machine->request_quit();
    CHECK(early.machine->run().kind == Outcome::Kind::Quit);

    Rig rig;
    auto config = k.config();
    config.cpus = 8;
    REQUIRE(rig.build(std::move(config)).ok());
    std::thread quitter([&] {
        while (rig.stage.halted < 8) std::this_thread::yield();
        rig.machine->request_powerdown();
        rig.machine->request_quit();
    });
    CHECK(rig.machine->run().kind == Outcome::Kind::Quit);
    quitter.join();
    CHECK((rig.read_port(0x600, 2) & 1u << 8) != 0);
}

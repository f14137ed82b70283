#include "tests/baremetal/arm64_board.h"

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <thread>

#include "accel/jit/arm64_jit.h"
#include "accel/run_loop.h"
#include "devices/irq/gic_its.h"
#include "devices/irq/gicv2.h"
#include "devices/irq/gicv2m.h"
#include "devices/irq/gicv3.h"

namespace tandem::tests {
namespace {

constexpr u64 kRam = 0x40000000, kRamBytes = 64 << 20, kLoadAddress = 0x40100000;
constexpr u16 kPmovsset = devices::system_register(3, 3, 9, 14, 3);
constexpr u64 kConsole = 0x09000000;
constexpr u64 kInputs = 0x09080000;  // writes set inputs of the interrupt controller: GIC number in 15:0, level in 16
constexpr u64 kNowhere = 0x70000000, kNowhereBytes = 1 << 20;
constexpr u64 kGicd = 0x08000000, kGicc = 0x08010000, kGicv2m = 0x08020000, kGich = 0x08030000, kGicv = 0x08040000;
constexpr u64 kIts = 0x08080000, kGicr = 0x080a0000;
constexpr unsigned kSpis = 64, kMaintenancePpi = 25, kMessageSpi = 48, kMessageSpis = 16;
constexpr u64 kSystemOff = 0x84000008, kCpuOn = 0xc4000003;

class NoController final : public devices::CpuInterruptController {
public:
    [[nodiscard]] bool interrupt_pending() const override { return false; }
    int acknowledge() override { return -1; }
    [[nodiscard]] u8 cr8() const override { return 0; }
    void set_cr8(u8) override {}
};

// The interrupt controller of either generation with what turns messages into its interrupts.
class Interrupts {
public:
    Interrupts(unsigned version, unsigned cpus, devices::GuestMemory& memory) {
        if (version == 3) {
            devices::Gicv3Config config{{}, kSpis, kGicd, kGicr, true, true, kMaintenancePpi};
            for (unsigned i = 0; i < cpus; ++i) config.affinities.push_back(i);
            auto v3 = std::make_unique<devices::Gicv3>(std::move(config), memory);
            its_ = std::make_unique<devices::GicIts>(kIts, *v3, memory);
            gic_ = std::move(v3);
            return;
        }
        gic_ = std::make_unique<devices::Gicv2>(
            devices::Gicv2Config{cpus, kSpis, kGicd, kGicc, true, kGich, kGicv, kMaintenancePpi});
        std::vector<devices::IrqLine> lines;
        for (unsigned i = 0; i < kMessageSpis; ++i) lines.push_back(gic_->spi(kMessageSpi + i));
        messages_ = std::make_unique<devices::Gicv2m>(kGicv2m, devices::Gic::kFirstSpi + kMessageSpi, std::move(lines));
    }
    void connect(accel::Vcpu& vcpu) { gic_->connect(vcpu.index(), vcpu); }

    // False: the address is none of theirs.
    bool access(unsigned cpu, accel::MmioExit& mmio) {
        if (mmio.address == kInputs) {
            const auto id = static_cast<unsigned>(mmio.data & 0xffff);
            constexpr unsigned kFirst = devices::Gic::kFirstSpi;
            if (mmio.write) (id < kFirst ? gic_->ppi(0, id) : gic_->spi(id - kFirst)).set((mmio.data >> 16 & 1) != 0);
            return true;
        }
        if (its_ && frame(*its_, kIts, devices::GicIts::kFrameSize, mmio)) return true;
        if (messages_ && frame(*messages_, kGicv2m, devices::Gicv2m::kFrameSize, mmio)) return true;
        if (mmio.write) return gic_->mmio_write(cpu, mmio.address, mmio.data, mmio.size);
        return gic_->mmio_read(cpu, mmio.address, mmio.size, mmio.data);
    }
    void access(unsigned cpu, accel::SystemRegisterExit& e) {
        devices::GicRegisterAccess a{e.encoding, e.level, e.write, e.routes_irq, e.routes_fiq, e.data};
        e.answer = static_cast<accel::SystemRegisterExit::Answer>(gic_->system_register(cpu, a));
        e.data = a.data;
    }

private:
    static bool frame(devices::IoHandler& handler, u64 base, u64 size, accel::MmioExit& mmio) {
        if (mmio.address < base || mmio.address - base >= size) return false;
        if (mmio.write) {
            handler.io_write(mmio.address - base, mmio.data, mmio.size);
        } else {
            mmio.data = handler.io_read(mmio.address - base, mmio.size);
        }
        return true;
    }

    std::unique_ptr<devices::Gic> gic_;
    std::unique_ptr<devices::GicIts> its_;
    std::unique_ptr<devices::Gicv2m> messages_;
};

class Board final : public accel::ExitHandler {
public:
    // `interrupts` may be null.
    explicit Board(Interrupts* interrupts) : interrupts_(interrupts) {}
    void handle(accel::Vcpu& vcpu, accel::Exit& exit) override {
        if (auto* mmio = std::get_if<accel::MmioExit>(&exit)) return access(vcpu.index(), *mmio);
        if (auto* reg = std::get_if<accel::SystemRegisterExit>(&exit); reg != nullptr && interrupts_ != nullptr) {
            return interrupts_->access(vcpu.index(), *reg);
        }
        if (auto* call = std::get_if<accel::HypercallExit>(&exit)) return answer(vcpu, *call);
        const auto* reg = std::get_if<accel::SystemRegisterExit>(&exit);
        if (reg != nullptr && reg->encoding == kPmovsset) vcpu.set_interrupt_line(reg->data != 0);
    }
    devices::CpuInterruptController& interrupt_controller(unsigned) override { return controller_; }
    u64 tsc(unsigned) override {
        return static_cast<u64>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
    }
    u64 tsc_hz() override { return 1'000'000'000; }
    unsigned cpu_count() override { return second_ != nullptr ? 2 : 1; }

    // `second` may be null.
    GuestRun run(accel::Vcpu& vcpu, accel::Vcpu* second, unsigned seconds) {
        first_ = &vcpu;
        second_ = second;
        std::thread other;
        if (second != nullptr) other = std::thread([&] { run_second(*second); });
        std::thread watchdog([&] {
            std::unique_lock lock(mutex_);
            if (done_.wait_for(lock, std::chrono::seconds(seconds), [&] { return over_; })) return;
            result_.ending = "hung";
            over_ = true;
            vcpu.request_exit();
        });
        while (!finished()) {
            const accel::Exit exit = accel::run_until_event(vcpu, *this);
            if (const auto* error = std::get_if<accel::InternalErrorExit>(&exit)) finish(error->why);
        }
        done_.notify_all();
        watchdog.join();
        if (second != nullptr) {
            second->request_exit();
            other.join();
        }
        if (result_.output.ends_with("ok\n")) result_.status = 0;
        return result_;
    }

private:
    bool finished() {
        std::lock_guard guard(mutex_);
        return over_;
    }
    void finish(std::string why) {
        std::lock_guard guard(mutex_);
        if (!over_) result_.ending = std::move(why);
        over_ = true;
    }
    void run_second(accel::Vcpu& vcpu) {
        while (!finished()) accel::run_until_event(vcpu, *this);
    }
    void access(unsigned cpu, accel::MmioExit& mmio) {
        if (interrupts_ != nullptr && interrupts_->access(cpu, mmio)) return;
        mmio.unclaimed = mmio.address - kNowhere < kNowhereBytes;
        if (!mmio.write) {
            mmio.data = 0;
        } else if (mmio.address == kConsole) {
            std::lock_guard guard(mutex_);
            result_.output += static_cast<char>(mmio.data);
        }
    }
    void answer(accel::Vcpu& vcpu, accel::HypercallExit& call) {
        using Call = accel::HypercallExit;
        if (call.conduit != Call::Conduit::Smc) {
            call.then = Call::Then::Undefined;
            return;
        }
        call.result = 0;
        if (call.number == kSystemOff) {
            finish("off");
            call.then = Call::Then::PowerOff;
            vcpu.request_exit();
        } else if (call.number == kCpuOn && second_ != nullptr) {
            second_->power_on(call.args[1], call.args[2]);
        } else {
            call.result = ~u64{0};
        }
    }

    NoController controller_;
    Interrupts* const interrupts_;
    accel::Vcpu* first_ = nullptr;
    accel::Vcpu* second_ = nullptr;
    std::mutex mutex_;  // the next two, and result_ while processors run; a leaf
    std::condition_variable done_;
    bool over_ = false;
    GuestRun result_;
};

Result<GuestRun> start(const std::string& path, const jit::Options& options, unsigned seconds) {
    std::ifstream file(path, std::ios::binary);
    const std::string code{std::istreambuf_iterator<char>(file), {}};
    if (code.empty()) return Error{Errc::NotFound, "cannot read " + path};
    devices::GuestMemory memory;
    TANDEM_TRY(memory.add("ram", kRam, kRamBytes));
    memory.write(kLoadAddress, code.data(), code.size());
    TANDEM_TRY_ASSIGN(auto model, cpu::arm64::CpuModel::named("max"));
    model.set_el2(true);
    TANDEM_TRY_ASSIGN(const auto accelerator, accel::create_jit_accelerator(model, options));
    TANDEM_TRY(accelerator->map_memory(memory));
    const std::string name = std::filesystem::path(path).stem().string();
    const bool pair = name.starts_with("smp_");
    const unsigned generation = name.find("gicv3") != std::string::npos   ? 3
                                : name.find("gicv2") != std::string::npos ? 2
                                                                          : 0;
    std::unique_ptr<Interrupts> interrupts;
    if (generation != 0) interrupts = std::make_unique<Interrupts>(generation, 2, memory);
    Board board(interrupts.get());
    TANDEM_TRY_ASSIGN(const auto vcpu, accelerator->create_vcpu(0, board));
    std::unique_ptr<accel::Vcpu> second;
    if (pair) {
        TANDEM_TRY_ASSIGN(second, accelerator->create_vcpu(1, board));
    }
    if (interrupts) interrupts->connect(*vcpu);
    if (interrupts && second) interrupts->connect(*second);
    cpu::arm64::State state;
    cpu::arm64::reset(state, 2);
    state.pc = kLoadAddress;
    TANDEM_TRY(vcpu->import_state(state));
    return board.run(*vcpu, second.get(), seconds);
}

}  // namespace

GuestRun run_arm64_guest(const std::string& path, const jit::Options& options, unsigned seconds) {
    auto run = start(path, options, seconds);
    if (run) return *run;
    GuestRun failed;
    failed.ending = run.error().message;
    return failed;
}

}  // namespace tandem::tests

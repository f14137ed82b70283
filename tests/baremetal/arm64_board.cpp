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

namespace tandem::tests {
namespace {

constexpr u64 kRam = 0x40000000, kRamBytes = 64 << 20, kLoadAddress = 0x40100000;
constexpr u64 kConsole = 0x09000000;
constexpr u64 kSystemOff = 0x84000008, kCpuOn = 0xc4000003;

class NoController final : public devices::CpuInterruptController {
public:
    [[nodiscard]] bool interrupt_pending() const override { return false; }
    int acknowledge() override { return -1; }
    [[nodiscard]] u8 cr8() const override { return 0; }
    void set_cr8(u8) override {}
};

class Board final : public accel::ExitHandler {
public:
    void handle(accel::Vcpu& vcpu, accel::Exit& exit) override {
        if (auto* mmio = std::get_if<accel::MmioExit>(&exit)) return access(*mmio);
        if (auto* call = std::get_if<accel::HypercallExit>(&exit)) return answer(vcpu, *call);
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
    void access(accel::MmioExit& mmio) {
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
    Board board;
    TANDEM_TRY_ASSIGN(const auto vcpu, accelerator->create_vcpu(0, board));
    std::unique_ptr<accel::Vcpu> second;
    if (std::filesystem::path(path).stem().string().starts_with("smp_")) {
        TANDEM_TRY_ASSIGN(second, accelerator->create_vcpu(1, board));
    }
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

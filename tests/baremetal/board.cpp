#include "tests/baremetal/board.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <string_view>
#include <thread>

#include "accel/jit/x86_jit.h"
#include "accel/run_loop.h"

namespace tandem::tests {
namespace {

constexpr u64 kRamBytes = 64 << 20;
constexpr u64 kLoadAddress = 0x7c00;
constexpr u64 kResetPage = 0xfffff000, kPageBytes = 0x1000;

// One pending vector at a time, no priorities.
class InterruptPort final : public devices::CpuInterruptController {
public:
    [[nodiscard]] bool interrupt_pending() const override { return vector_.load() >= 0; }
    int acknowledge() override {
        if (cpu_ != nullptr) cpu_->set_interrupt_line(false);
        return vector_.exchange(-1);
    }
    [[nodiscard]] u8 cr8() const override { return cr8_; }
    void set_cr8(u8 value) override { cr8_ = value; }
    void raise(u8 vector) {
        vector_ = vector;
        cpu_->set_interrupt_line(true);
    }
    void connect(devices::CpuSignals& cpu) { cpu_ = &cpu; }

private:
    std::atomic<int> vector_{-1};
    u8 cr8_ = 0;
    devices::CpuSignals* cpu_ = nullptr;
};

class Board final : public accel::ExitHandler {
public:
    explicit Board(const std::vector<std::string>& left_out) : left_out_(left_out) {}

    void handle(accel::Vcpu& vcpu, accel::Exit& exit) override {
        if (auto* port = std::get_if<accel::PortExit>(&exit)) return access(vcpu, *port);
        if (auto* mmio = std::get_if<accel::MmioExit>(&exit); mmio != nullptr && !mmio->write) mmio->data = ~u64{0};
        if (auto* call = std::get_if<accel::HypercallExit>(&exit)) call->result = call->number + call->args[0];
    }
    devices::CpuInterruptController& interrupt_controller(unsigned index) override { return interrupts_[index]; }
    u64 tsc(unsigned) override { return tsc_ += 1000; }

    // `second` may be null.
    GuestRun run(accel::Vcpu& vcpu, accel::Vcpu* second, unsigned seconds) {
        interrupts_[0].connect(vcpu);
        second_ = second;
        std::thread other;
        if (second != nullptr) {
            interrupts_[1].connect(*second);
            other = std::thread([&] { run_second(*second); });
        }
        std::thread watchdog([&] {
            std::unique_lock lock(mutex_);
            if (!done_.wait_for(lock, std::chrono::seconds(seconds), [&] { return over_; })) {
                result_.ending = "hung";
                over_ = true;
                vcpu.request_exit();
            }
        });
        for (;;) {
            const accel::Exit exit = accel::run_until_event(vcpu, *this);
            if (const auto* shutdown = std::get_if<accel::ShutdownExit>(&exit)) {
                result_.ending = fmt::format("shutdown at {:#x}", shutdown->pc);
            } else if (const auto* error = std::get_if<accel::InternalErrorExit>(&exit)) {
                result_.ending = error->why;
            } else if (const auto* failure = std::get_if<accel::EmulationFailureExit>(&exit)) {
                result_.ending = fmt::format("emulation failure at {:#x}: {}", failure->pc, failure->why);
            } else if (std::lock_guard guard(mutex_); !over_) {
                continue;
            }
            break;
        }
        {
            std::lock_guard guard(mutex_);
            over_ = true;
        }
        done_.notify_all();
        watchdog.join();
        if (second != nullptr) {
            second->request_exit();
            other.join();
        }
        return result_;
    }

private:
    void run_second(accel::Vcpu& vcpu) {
        for (;;) {
            const accel::Exit exit = accel::run_until_event(vcpu, *this);
            std::lock_guard guard(mutex_);
            if (over_) return;
            if (std::get_if<accel::RequestedExit>(&exit) != nullptr) continue;
            result_.output += "FAIL the second processor stopped\n";
            return;
        }
    }

    // The check that the last line asks about.
    [[nodiscard]] bool is_left_out() const {
        constexpr std::string_view kQuestion = "left out? ";
        const auto at = result_.output.rfind(kQuestion);
        if (at == std::string::npos) return false;
        const std::string_view name = std::string_view(result_.output).substr(at + kQuestion.size());
        return std::any_of(left_out_.begin(), left_out_.end(), [&](const auto& start) { return name.starts_with(start); });
    }

    void access(accel::Vcpu& vcpu, accel::PortExit& port) {
        if (!port.write) {
            port.data = port.port == 0xe5 && is_left_out() ? 0 : ~u32{0};
            return;
        }
        switch (port.port) {
            case 0xe9: result_.output += static_cast<char>(port.data); break;
            case 0xe0: interrupts_[0].raise(static_cast<u8>(port.data)); break;
            case 0xe1: vcpu.raise_nmi(); break;
            case 0xe3: vcpu.raise_init(); break;
            case 0xe2:
                if (second_ != nullptr) second_->raise_sipi(static_cast<u8>(port.data));
                break;
            case 0xf4: {
                std::lock_guard guard(mutex_);
                result_.status = static_cast<int>(port.data & 0xff);
                result_.ending = "exit port";
                over_ = true;
                vcpu.request_exit();
                break;
            }
            default: break;
        }
    }

    const std::vector<std::string>& left_out_;
    std::array<InterruptPort, 2> interrupts_;
    accel::Vcpu* second_ = nullptr;
    std::atomic<u64> tsc_{0};
    std::mutex mutex_;
    std::condition_variable done_;
    bool over_ = false;
    GuestRun result_;
};

void enter_real_mode(cpu::x86::State& s) {
    cpu::x86::reset(s, true);
    for (auto& segment : s.seg) segment = {0, 0xffff, 0, 0x93};
    s.seg[cpu::x86::CS].access = 0x9b;
    s.rip = kLoadAddress;
}

// The number on the line of that name.
u64 statistic(const std::string& lines, const std::string& name) {
    const auto at = lines.find(name);
    return at == std::string::npos ? 0 : std::strtoull(lines.c_str() + at + name.size(), nullptr, 10);
}

Result<GuestRun> start(const std::string& path, const EngineMaker& make_engine, const std::vector<std::string>& left_out,
                       unsigned seconds) {
    std::ifstream file(path, std::ios::binary);
    const std::string code{std::istreambuf_iterator<char>(file), {}};
    if (code.empty()) return Error{Errc::NotFound, "cannot read " + path};
    devices::GuestMemory memory;
    TANDEM_TRY(memory.add("ram", 0, kRamBytes));
    memory.write(kLoadAddress, code.data(), code.size());
    constexpr std::array<u8, 5> kJumpTo500{0xea, 0x00, 0x05, 0x00, 0x00};
    TANDEM_TRY(memory.add("reset vector", kResetPage, kPageBytes));
    memory.write(kResetPage + kPageBytes - 16, kJumpTo500.data(), kJumpTo500.size());
    TANDEM_TRY_ASSIGN(const auto model, cpu::x86::CpuModel::create("max,+svm"));
    TANDEM_TRY_ASSIGN(const auto accelerator, make_engine(model));
    TANDEM_TRY(accelerator->map_memory(memory));
    Board board(left_out);
    TANDEM_TRY_ASSIGN(const auto vcpu, accelerator->create_vcpu(0, board));
    std::unique_ptr<accel::Vcpu> second;
    if (std::filesystem::path(path).stem().string().starts_with("smp_")) {
        TANDEM_TRY_ASSIGN(second, accelerator->create_vcpu(1, board));
    }
    cpu::x86::State state;
    enter_real_mode(state);
    TANDEM_TRY(vcpu->import_state(state));
    GuestRun run = board.run(*vcpu, second.get(), seconds);
    run.regions_compiled = statistic(accelerator->statistics(), "regions compiled (llvm)");
    return run;
}

}  // namespace

GuestRun run_guest(const std::string& path, const EngineMaker& make_engine, const std::vector<std::string>& left_out,
                   unsigned seconds) {
    auto run = start(path, make_engine, left_out, seconds);
    if (run) return *run;
    GuestRun failed;
    failed.ending = run.error().message;
    return failed;
}

GuestRun run_guest(const std::string& path, const jit::Options& options) {
    return run_guest(path, [&](const auto& model) { return accel::create_jit_accelerator(model, options); });
}

}  // namespace tandem::tests

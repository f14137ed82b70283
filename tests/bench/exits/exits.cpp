// What an exit costs: port and MMIO reads of a guest through the engine's vCPU, against a loop of bare ioctls on the same
// guest. Prints nanoseconds per exit, medians of rounds in turn, and the ratio. Ends with status 1 where KVM cannot be used.
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "accel/kvm/kernel.h"
#include "accel/kvm/kvm_accelerator.h"
#include "accel/run_loop.h"

using namespace tandem;
using accel::kvm::Fd;

namespace {

constexpr u64 kMemory = 64 << 10, kCode = 0x1000;

struct Row {
    const char* name;
    std::array<u8, 5> code;  // real mode, DS at 9000H
};
constexpr Row kRows[] = {
    {"port", {0xe4, 0x10, 0xeb, 0xfc, 0x90}},  // in al, 0x10; jmp
    {"mmio", {0xa0, 0x00, 0x00, 0xeb, 0xfb}},  // mov al, [0]; jmp
};

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start, u64 count) {
    return std::chrono::duration<double, std::nano>(Clock::now() - start).count() / static_cast<double>(count);
}

template <class T>
T must(Result<T> result) {
    if (!result) {
        std::fprintf(stderr, "exits: %s\n", result.error().message.c_str());
        std::exit(1);
    }
    if constexpr (!std::is_void_v<T>) return std::move(result).value();
}

// The guest on nothing but ioctls.
class Bare {
public:
    explicit Bare(const Row& row) : system_(must(accel::kvm::open_system())) {
        vm_ = Fd(must(TANDEM_KVM(system_.fd, KVM_CREATE_VM, 0ul)));
        must(TANDEM_KVM(vm_, KVM_SET_TSS_ADDR, accel::kvm::kTssArea));
        void* memory = ::mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        std::memcpy(static_cast<u8*>(memory) + kCode, row.code.data(), row.code.size());
        kvm_userspace_memory_region region{0, 0, 0, kMemory, reinterpret_cast<u64>(memory)};
        must(TANDEM_KVM(vm_, KVM_SET_USER_MEMORY_REGION, &region));
        vcpu_ = Fd(must(TANDEM_KVM(vm_, KVM_CREATE_VCPU, 0ul)));
        void* page = ::mmap(nullptr, static_cast<std::size_t>(system_.vcpu_map_size), PROT_READ | PROT_WRITE, MAP_SHARED,
                            vcpu_.get(), 0);
        run_ = static_cast<kvm_run*>(page);
        kvm_sregs special{};
        must(TANDEM_KVM(vcpu_, KVM_GET_SREGS, &special));
        special.cs.base = special.cs.selector = 0;
        special.ds.base = 0x90000;
        special.ds.selector = 0x9000;
        must(TANDEM_KVM(vcpu_, KVM_SET_SREGS, &special));
        kvm_regs regs{};
        regs.rip = kCode;
        regs.rflags = 2;
        must(TANDEM_KVM(vcpu_, KVM_SET_REGS, &regs));
    }

    double round(u64 exits) {
        const auto start = Clock::now();
        for (u64 i = 0; i < exits; ++i) {
            if (::ioctl(vcpu_.get(), KVM_RUN, 0) != 0) must<int>(io_error("KVM_RUN"));
            switch (run_->exit_reason) {
                case KVM_EXIT_IO: reinterpret_cast<u8*>(run_)[run_->io.data_offset] = 0x5a; break;
                case KVM_EXIT_MMIO: run_->mmio.data[0] = 0x5a; break;
                default: must<int>(Error{Errc::Internal, "the guest did something else"});
            }
        }
        return since(start, exits);
    }

private:
    accel::kvm::System system_;
    Fd vm_, vcpu_;
    kvm_run* run_ = nullptr;
};

// The guest on the engine, with a machine whose devices do nothing.
class OnEngine final : accel::ExitHandler, devices::CpuInterruptController {
public:
    explicit OnEngine(const Row& row) {
        const auto model = must(accel::narrow_to_kvm(must(cpu::x86::CpuModel::create("max"))));
        accelerator_ = must(accel::create_kvm_accelerator(model));
        must(memory_.add("ram", 0, kMemory));
        memory_.write(kCode, row.code.data(), row.code.size());
        must(accelerator_->map_memory(memory_));
        vcpu_ = must(accelerator_->create_vcpu(0, *this));
        cpu::x86::State s;
        cpu::x86::reset(s, true);
        s.seg[cpu::x86::CS] = {0, 0xffff, 0, 0x9b};
        s.seg[cpu::x86::DS] = {0x90000, 0xffff, 0x9000, 0x93};
        s.rip = kCode;
        must(vcpu_->import_state(s));
    }

    double round(u64 exits) {
        left_ = exits;
        const auto start = Clock::now();
        const accel::Exit exit = accel::run_until_event(*vcpu_, *this);
        const double each = since(start, exits);
        if (!std::holds_alternative<accel::RequestedExit>(exit)) {
            must<int>(Error{Errc::Internal, "the guest did something else"});
        }
        return each;
    }

private:
    void handle(accel::Vcpu& vcpu, accel::Exit& exit) override {
        if (auto* port = std::get_if<accel::PortExit>(&exit)) port->data = 0x5a;
        if (auto* mmio = std::get_if<accel::MmioExit>(&exit)) mmio->data = 0x5a;
        if (--left_ == 0) vcpu.request_exit();
    }
    devices::CpuInterruptController& interrupt_controller(unsigned) override { return *this; }
    u64 tsc(unsigned) override { return 0; }
    [[nodiscard]] bool interrupt_pending() const override { return false; }
    int acknowledge() override { return -1; }
    [[nodiscard]] u8 cr8() const override { return 0; }
    void set_cr8(u8) override {}

    devices::GuestMemory memory_;
    std::unique_ptr<accel::Accelerator> accelerator_;
    std::unique_ptr<accel::Vcpu> vcpu_;
    u64 left_ = 0;
};

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
    const u64 exits = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100'000;
    constexpr int kRounds = 9;
    if (exits == 0) {
        std::fprintf(stderr, "usage: exits [EXITS-PER-ROUND]\n");
        return 1;
    }
    std::printf("%-8s %12s %12s %8s\n", "exit", "bare ns", "engine ns", "ratio");
    for (const Row& row : kRows) {
        Bare bare(row);
        OnEngine engine(row);
        std::vector<double> ours, theirs, ratios;
        for (int i = 0; i < kRounds; ++i) {
            theirs.push_back(bare.round(exits));
            ours.push_back(engine.round(exits));
            ratios.push_back(ours.back() / theirs.back());
        }
        std::printf("%-8s %12.0f %12.0f %8.2f\n", row.name, median(theirs), median(ours), median(ratios));
    }
    return 0;
}

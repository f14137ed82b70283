// What an exit costs: port and MMIO reads of a guest through the engine's vCPU, against a loop of bare ioctls on the same
// guest; writes that a device's thread gets by the machine's hand and as a doorbell (contract T4); messages to an APIC by a
// call and by their events. Prints nanoseconds for each, medians of rounds in turn, and the ratio. Ends with status 1 where
// KVM cannot be used.
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
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
    std::span<const u8> code;  // real mode, DS at 9000H
};
constexpr u8 kReadPort[] = {0xe4, 0x10, 0xeb, 0xfc};          // in al, 0x10; jmp
constexpr u8 kReadMemory[] = {0xa0, 0x00, 0x00, 0xeb, 0xfb};  // mov al, [0]; jmp
constexpr Row kRows[] = {{"port", kReadPort}, {"mmio", kReadMemory}};

// So many writes to the bell, then a read of kEnd.
constexpr u16 kWrites = 5000;
constexpr u64 kBellAt = 0x90000, kBellPort = 0x10, kEnd = 0x20;
constexpr u8 kLow = kWrites & 0xff, kHigh = kWrites >> 8;
constexpr u8 kWritePort[] = {0xb9, kLow, kHigh, 0xe6, 0x10, 0xe2, 0xfc, 0xe4, 0x20, 0xeb, 0xf5};
constexpr u8 kWriteMemory[] = {0xb9, kLow, kHigh, 0xa2, 0x00, 0x00, 0xe2, 0xfb, 0xe4, 0x20, 0xeb, 0xf4};
struct BellRow {
    const char* name;
    std::span<const u8> code;
    devices::DoorbellHost::Space space;
    u64 address;
};
constexpr BellRow kBells[] = {{"port", kWritePort, devices::DoorbellHost::Space::Ports, kBellPort},
                              {"mmio", kWriteMemory, devices::DoorbellHost::Space::Memory, kBellAt}};

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start, u64 count) {
    return std::chrono::duration<double, std::nano>(Clock::now() - start).count() / static_cast<double>(count);
}

template <class T>
T must(Result<T>&& result) {
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
    explicit OnEngine(std::span<const u8> code, accel::KvmOptions options = {}) {
        const auto model = must(accel::narrow_to_kvm(must(cpu::x86::CpuModel::create("max"))));
        accelerator_ = must(accel::create_kvm_accelerator(model, options));
        must(memory_.add("ram", 0, kMemory));
        memory_.write(kCode, code.data(), code.size());
        must(accelerator_->map_memory(memory_));
        vcpu_ = must(accelerator_->create_vcpu(0, *this));
        cpu::x86::State s;
        cpu::x86::reset(s, true);
        s.seg[cpu::x86::CS] = {0, 0xffff, 0, 0x9b};
        s.seg[cpu::x86::DS] = {0x90000, 0xffff, 0x9000, 0x93};
        s.rip = kCode;
        must(vcpu_->import_state(s));
    }

    accel::Accelerator& accelerator() { return *accelerator_; }

    // The guest ends it by a read of kEnd; `device` is told of every exit that comes to the machine before.
    double round_of_writes(int device) {
        left_ = ~u64{0};
        device_ = device;
        return round_until_requested(kWrites);
    }
    double round(u64 exits) {
        left_ = exits;
        return round_until_requested(exits);
    }

private:
    double round_until_requested(u64 exits) {
        const auto start = Clock::now();
        const accel::Exit exit = accel::run_until_event(*vcpu_, *this);
        const double each = since(start, exits);
        if (!std::holds_alternative<accel::RequestedExit>(exit)) {
            must<int>(Error{Errc::Internal, "the guest did something else"});
        }
        return each;
    }

    void handle(accel::Vcpu& vcpu, accel::Exit& exit) override {
        auto* port = std::get_if<accel::PortExit>(&exit);
        if (port != nullptr) port->data = 0x5a;
        if (auto* mmio = std::get_if<accel::MmioExit>(&exit)) mmio->data = 0x5a;
        if (--left_ == 0 || (port != nullptr && port->port == kEnd)) return vcpu.request_exit();
        const u64 one = 1;
        if (device_ >= 0) must(::write(device_, &one, sizeof one) < 0 ? Result<void>(io_error("write")) : Result<void>());
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
    int device_ = -1;
};

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

class Medians {
public:
    void add(double theirs, double ours) {
        theirs_.push_back(theirs);
        ours_.push_back(ours);
        ratios_.push_back(ours / theirs);
    }
    void print(const char* name, bool inverse = false) const {
        const double ratio = median(ratios_);
        std::printf("%-8s %12.0f %12.0f %8.2f\n", name, median(theirs_), median(ours_), inverse ? 1 / ratio : ratio);
    }

private:
    std::vector<double> ours_, theirs_, ratios_;
};

constexpr int kRounds = 9;

void measure_exits(u64 exits) {
    std::printf("%-8s %12s %12s %8s\n", "exit", "bare ns", "engine ns", "ratio");
    for (const Row& row : kRows) {
        Bare bare(row);
        OnEngine engine(row.code);
        Medians medians;
        for (int i = 0; i < kRounds; ++i) {
            const double theirs = bare.round(exits);
            medians.add(theirs, engine.round(exits));
        }
        medians.print(row.name);
    }
}

// The machine tells the device's thread by an event too.
void measure_doorbells() {
    std::printf("%-8s %12s %12s %8s\n", "write", "machine ns", "doorbell ns", "gain");
    const Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    for (const BellRow& row : kBells) {
        OnEngine engine(row.code);
        devices::DoorbellHost* host = engine.accelerator().doorbells();
        if (host == nullptr) return (void)std::printf("this host's KVM rings no doorbells\n");
        const devices::Doorbell bell{row.address, 1, {}, event.get()};
        Medians medians;
        for (int i = 0; i < kRounds; ++i) {
            const double machine = engine.round_of_writes(event.get());
            must(host->add_doorbell(row.space, bell));
            medians.add(machine, engine.round_of_writes(event.get()));
            host->remove_doorbell(row.space, bell);
        }
        medians.print(row.name, true);
    }
}

void measure_messages() {
    accel::KvmOptions options;
    options.irqchip = accel::KvmOptions::Irqchip::Split;
    OnEngine engine(kReadPort, options);
    devices::HostControllers& host = *engine.accelerator().host_controllers();
    devices::ControllerState state;
    state.lapics.emplace_back();
    state.lapics[0].base = 0xfee00900;
    state.lapics[0].svr = 0x1ff;
    state.ioapic.entries.fill(0x10000);
    must(host.store(state));
    Medians medians;
    constexpr u64 kMessages = 10'000, kTo = 0xfee00000;
    constexpr u32 kVector = 0x41;
    for (int i = 0; i < kRounds; ++i) {
        const auto start = Clock::now();
        for (u64 n = 0; n < kMessages; ++n) (void)host.send_message(kTo, kVector);
        const double call = since(start, kMessages);
        const auto middle = Clock::now();
        for (u64 n = 0; n < kMessages; ++n) host.post_message(kTo, kVector);
        medians.add(call, since(middle, kMessages));
    }
    std::printf("%-8s %12s %12s %8s\n", "", "call ns", "event ns", "gain");
    medians.print("message", true);
}

}  // namespace

int main(int argc, char** argv) {
    const u64 exits = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100'000;
    if (exits == 0) {
        std::fprintf(stderr, "usage: exits [EXITS-PER-ROUND]\n");
        return 1;
    }
    measure_exits(exits);
    measure_doorbells();
    measure_messages();
    return 0;
}

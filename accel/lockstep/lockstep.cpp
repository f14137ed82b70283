#include "accel/lockstep/lockstep.h"

#include <fmt/format.h>

#include "accel/lockstep/lockstep_vcpu.h"

namespace tandem::accel::lockstep {
namespace {

class LockstepAccelerator final : public Accelerator {
public:
    explicit LockstepAccelerator(LockstepOptions options) { pair_.options = std::move(options); }

    Result<void> start() {
        TANDEM_TRY_ASSIGN(pair_.leader, pair_.options.leader.create(0));
        return {};
    }

    [[nodiscard]] const Capabilities& capabilities() const override { return capabilities_; }

    Result<void> map_memory(devices::GuestMemory& memory) override {
        pair_.machine = &memory;
        TANDEM_TRY(clone(memory, pair_.leader_memory));
        TANDEM_TRY(clone(memory, pair_.agreed));
        TANDEM_TRY(pair_.leader->map_memory(pair_.leader_memory));
        TANDEM_TRY_ASSIGN(pair_.follower, Side::create(pair_.options.follower, memory, 0));
        memory.set_write_observer([this](u64 address, u64 size) { device_wrote(address, size); });
        return {};
    }

    Result<std::unique_ptr<Vcpu>> create_vcpu(unsigned index, ExitHandler& handler) override {
        if (vcpu_ != nullptr && index == 0) return Error{Errc::Busy, "vCPU 0 exists already"};
        if (index != 0 || handler.cpu_count() != 1) {
            return Error{Errc::Unsupported, "-accel lockstep runs one processor: use -smp 1"};
        }
        pair_.follower->replayer().set_constants(handler.tsc_hz(), handler.cpu_count());
        TANDEM_TRY_ASSIGN(auto vcpu, LockstepVcpu::create(pair_, handler));
        for (const auto& [address, size] : early_writes_) vcpu->device_wrote(address, size);
        early_writes_.clear();
        vcpu_ = vcpu.get();
        return std::unique_ptr<Vcpu>(std::move(vcpu));
    }

    [[nodiscard]] std::string statistics() const override {
        const std::pair<const char*, u64> rows[] = {{"stretches compared", pair_.stretches},
                                                    {"instructions compared", pair_.instructions},
                                                    {"pages compared", pair_.pages},
                                                    {"instructions beyond KVM", pair_.helped},
                                                    {"differences that are open", pair_.open}};
        std::string text;
        for (const auto& [name, value] : rows) text += fmt::format("{:<30}{}\n", name, value);
        return text;
    }

private:
    // Before there is a vCPU nobody but the main thread writes.
    void device_wrote(u64 address, u64 size) {
        if (vcpu_ != nullptr) {
            vcpu_->device_wrote(address, size);
        } else {
            early_writes_.emplace_back(address, size);
        }
    }

    const Capabilities capabilities_{"lockstep", true, false};
    Pair pair_;
    LockstepVcpu* vcpu_ = nullptr;  // the machine's; devices are quiet before it goes
    std::vector<std::pair<u64, u64>> early_writes_;
};

}  // namespace

Result<std::unique_ptr<Accelerator>> create_lockstep_accelerator(LockstepOptions options) {
    auto accelerator = std::make_unique<LockstepAccelerator>(std::move(options));
    TANDEM_TRY(accelerator->start());
    return std::unique_ptr<Accelerator>(std::move(accelerator));
}

}  // namespace tandem::accel::lockstep

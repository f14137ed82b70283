// The smallest board for guests of the AArch64 KVM engine: 16 MiB of RAM at 0x40000000, a place that records what is stored
// there, and, where a test wants it, the machine's model of a GICv2.
//   0x09000000   stores report a number; loads answer kPattern from their offset on
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "accel/arm_parts.h"
#include "accel/kvm/arm64/arm64_kvm.h"
#include "accel/registers.h"
#include "cpu/arm64/state.h"
#include "devices/irq/gicv2.h"

namespace tandem::tests {

#define TANDEM_GUEST(name)                    \
    extern "C" const u8 guest_##name[];       \
    extern "C" const u8 guest_##name##_end[]; \
    inline std::span<const u8> name##_guest() { return {guest_##name, guest_##name##_end}; }

constexpr u64 kRam = 0x40000000, kRamBytes = 16 << 20;
constexpr u64 kReport = 0x09000000, kPattern = 0x81828384'85868788;
constexpr u64 kGicd = 0x08000000, kGicc = 0x08010000, kGicr = 0x080a0000;

class Board final : public accel::ExitHandler {
public:
    // Fails the test where the host has no usable KVM.
    explicit Board(std::span<const u8> guest, unsigned cpus = 1);

    accel::Accelerator& engine() { return *engine_; }
    // KVM's own controller, before start(). Errors as the engine's.
    Result<devices::HostGic*> create_gic(const devices::HostGicConfig& config) {
        return dynamic_cast<accel::ArmParts&>(*engine_).create_host_gic(config);
    }
    // Before start(): the model of a GICv2 drives the processors' lines.
    void add_gicv2_model();
    // Makes the processors, the first at the guest's beginning.
    void start();
    accel::Vcpu& vcpu(unsigned index = 0) { return *vcpus_[index]; }
    accel::RegisterFile& registers() { return dynamic_cast<accel::RegisterFile&>(vcpu()); }
    cpu::arm64::State state(unsigned index = 0);
    // Runs the first processor, on this thread, and the others on their own, until the first has an exit that is not
    // dispatched; a guest that takes longer than `seconds` is made to leave.
    accel::Exit run(unsigned seconds = 60);

    // What was reported, in order.
    std::vector<u64> reports();
    // Called on the vCPU's thread for every report.
    std::function<void(u64 value)> on_report;
    devices::Gicv2* model() { return gic_.get(); }

    void handle(accel::Vcpu& vcpu, accel::Exit& exit) override;
    devices::CpuInterruptController& interrupt_controller(unsigned) override;
    u64 tsc(unsigned) override { return 0; }
    unsigned cpu_count() override { return cpus_; }
    void timer_output(unsigned vcpu, devices::ArmTimer timer, bool level) override;

private:
    const unsigned cpus_;
    devices::GuestMemory memory_;
    std::unique_ptr<devices::Gicv2> gic_;
    std::unique_ptr<accel::Accelerator> engine_;
    std::vector<std::unique_ptr<accel::Vcpu>> vcpus_;
    std::mutex lock_;  // reports_; a leaf
    std::vector<u64> reports_;
};

}  // namespace tandem::tests

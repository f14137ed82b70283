// The paravirtual clock of KVM guests (Linux Documentation/virt/kvm/x86/msr.rst; CPUID 40000001H EAX bits 0, 3 and 24).
#pragma once

#include <mutex>
#include <vector>

#include "devices/fabric/clock.h"
#include "devices/fabric/guest_memory.h"
#include "devices/fabric/state.h"

namespace tandem::devices {

struct KvmClockState {
    static constexpr u32 kVersion = 1;
    u64 time_ns = 0;  // guest time at the moment of saving
    u64 wall_clock_msr = 0;
    std::vector<u64> system_time_msr;  // by vCPU
    std::vector<u64> tsc_offset;
    void visit(auto& v) {
        v("time_ns", time_ns);
        v("wall_clock_msr", wall_clock_msr);
        v("system_time_msr", system_time_msr);
        v("tsc_offset", tsc_offset);
    }
};

// ns = ((shift < 0 ? delta >> -shift : delta << shift) * mul) >> 32.
struct PvclockScale {
    u32 mul = 0;
    i8 shift = 0;
};
PvclockScale pvclock_scale(u64 tsc_hz);

// One for the machine. All vCPUs share one reference point of TSC and time, so that the time they compute agrees and the
// structures carry the stable flag; it is written once per enabling, not updated. Any thread.
class KvmClock final : public StatefulDevice<KvmClockState> {
public:
    static constexpr u32 kMsrWallClock = 0x11, kMsrSystemTime = 0x12;
    static constexpr u32 kMsrWallClockNew = 0x4b564d00, kMsrSystemTimeNew = 0x4b564d01;

    KvmClock(Clock& clock, GuestMemory& memory, unsigned vcpus);

    [[nodiscard]] static bool owns_msr(u32 index) {
        return index == kMsrWallClock || index == kMsrSystemTime || index == kMsrWallClockNew || index == kMsrSystemTimeNew;
    }
    // False: not one of these MSRs. An address outside RAM is kept and nothing is written.
    bool msr_read(unsigned vcpu, u32 index, u64& value) const;
    bool msr_write(unsigned vcpu, u32 index, u64 value);

    // Guest TSC = clock TSC + offset; call when a vCPU's offset changes.
    void set_tsc_offset(unsigned vcpu, u64 offset);

    // Nanoseconds of guest time; never decreases, also not across save and restore (contract I10).
    [[nodiscard]] u64 time_ns() const;

    [[nodiscard]] std::string_view name() const override { return "kvmclock"; }
    void reset() override;

private:
    KvmClockState capture() const override;
    Result<void> apply(const KvmClockState& state) override;

    [[nodiscard]] u64 time_at(u64 tsc) const;
    void write_system_time(unsigned vcpu);
    void write_wall_clock();

    Clock& clock_;
    GuestMemory& memory_;
    mutable std::mutex lock_;
    PvclockScale scale_;
    u64 reference_tsc_ = 0;
    u64 reference_ns_ = 0;
    u64 wall_clock_msr_ = 0;
    std::vector<u64> system_time_msr_;
    std::vector<u64> tsc_offset_;
};

}  // namespace tandem::devices

// Hypercalls of the KVM interface (Linux Documentation/virt/kvm/x86/hypercalls.rst), as far as this machine offers them, and
// the page through which a guest may make them (contracts H1 to H7).
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <optional>
#include <vector>

#include "accel/exit.h"
#include "cpu/x86/model.h"
#include "devices/fabric/clock.h"
#include "devices/fabric/guest_memory.h"
#include "devices/fabric/state.h"
#include "devices/irq/apic_bus.h"

namespace tandem::machines::pc {

// Error numbers that a guest sees (contract H3): never errno, never the host API's.
enum class GuestError : i64 {
    Perm = -1,       // -KVM_EPERM
    Einval = -22,    // -KVM_EINVAL
    Efault = -14,    // -KVM_EFAULT
    E2big = -7,      // -KVM_E2BIG
    Enosys = -1000,  // -KVM_ENOSYS
    Eopnotsupp = -95,
};

// What a page of stubs talks to: one call in progress per vCPU.
struct HypercallPortState {
    std::array<u32, 10> words{};
    u8 count = 0;
    u64 result = 0;
    bool high_next = false;  // half of the result that is read next
    void visit(auto& v) {
        v("words", words);
        v("count", count);
        v("result", result);
        v("high_next", high_next);
    }
};
struct HypercallState {
    static constexpr u32 kVersion = 1;
    u64 page = 0;  // as written to the MSR
    std::vector<HypercallPortState> ports;
    void visit(auto& v) {
        v("page", page);
        v("ports", ports);
    }
};

struct HypercallOptions {
    // SCHED_FIFO priority that KVM_HC_RT_PRIO gives a vCPU's thread (contract H4); none: the call is refused.
    std::optional<int> realtime_priority{};
    // MSR that places the page of stubs (contract H6); 0: there is none.
    u32 page_msr = 0;
    unsigned cpus = 1;
};

// Owned by the machine. Called on vCPU threads; what they share belongs to the bus, the memory and the clock.
class Hypercalls final : public devices::StatefulDevice<HypercallState> {
public:
    // The machine's number for "realtime priority", which no feature of KVM's has.
    static constexpr u64 kRtPrio = 0x52545052;
    // Ports of the stubs: arguments as 32-bit words (number, RBX, RCX, RDX, RSI) from 32-bit code, or in halves from 64-bit
    // code; then the result, low half first.
    static constexpr u16 kPort32 = 0xb80, kPort64 = 0xb84;

    // Makes the calling thread SCHED_FIFO with a priority, or SCHED_OTHER without one; an errno or 0.
    using Scheduler = std::function<int(std::optional<int> priority)>;

    Hypercalls(const HypercallOptions& options, const cpu::x86::CpuModel& model, devices::ApicBus& bus,
               devices::GuestMemory& memory, devices::Clock& clock, Scheduler scheduler = {});

    // Fills in the result; the engine has already refused callers outside CPL 0 (H2). An unknown number, or one whose
    // feature is not offered in CPUID 40000001H, answers -KVM_ENOSYS (H1).
    void call(accel::HypercallExit& call);

    [[nodiscard]] bool owns_msr(u32 index) const { return options_.page_msr != 0 && index == options_.page_msr; }
    // A guest-physical address with the index of the page to put there in its low 12 bits. False: #GP(0), nothing written.
    bool msr_write(u64 value);
    [[nodiscard]] u64 msr_read() const { return page_; }

    [[nodiscard]] bool owns_port(u16 port) const { return options_.page_msr != 0 && (port == kPort32 || port == kPort64); }
    // An access to a stub's port. `perform` makes the call that is complete with it.
    using Perform = std::function<void(accel::HypercallExit&)>;
    void port(unsigned vcpu, accel::PortExit& access, const Perform& perform);

    [[nodiscard]] std::string_view name() const override { return "hypercalls"; }
    void reset() override;

private:
    HypercallState capture() const override;
    Result<void> apply(const HypercallState& state) override;

    struct Row;
    static std::span<const Row> rows();
    u64 poll(const accel::HypercallExit& call);
    u64 pair_clocks(const accel::HypercallExit& call);
    u64 send_ipi(const accel::HypercallExit& call);
    u64 yield(const accel::HypercallExit& call);
    u64 set_realtime(const accel::HypercallExit& call);

    const HypercallOptions options_;
    const cpu::x86::CpuModel model_;
    devices::ApicBus& bus_;
    devices::GuestMemory& memory_;
    devices::Clock& clock_;
    const Scheduler scheduler_;
    std::atomic<u64> page_{0};
    std::vector<HypercallPortState> ports_;  // each its vCPU's
};

}  // namespace tandem::machines::pc

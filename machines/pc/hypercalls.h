// Hypercalls of the KVM interface (Linux Documentation/virt/kvm/x86/hypercalls.rst), as far as this machine offers them, and
// the page through which a guest may make them (contracts H1 to H7).
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <optional>
#include <vector>

#include "accel/exit.h"
#include "accel/unhalt.h"
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
    static constexpr u32 kVersion = 2;
    u64 page = 0;  // as written to the MSR
    std::vector<HypercallPortState> ports;
    std::vector<u8> kicked;  // by vCPU: KVM_HC_KICK_CPU waits for its halt
    void visit(auto& v) {
        v("page", page);
        v("ports", ports);
        v("kicked", kicked);
    }
};

struct HypercallOptions {
    // SCHED_FIFO priority that KVM_HC_RT_PRIO gives a vCPU's thread (contract H4); none: the call is refused.
    std::optional<int> realtime_priority{};
    // Number of that call. One that an offered feature gives a meaning keeps it, and there is no KVM_HC_RT_PRIO: it was
    // proposed under the number that KVM_HC_SEND_IPI has (contract H5).
    u64 realtime_number = 0x52545052;
    // MSR that places the page of stubs (contract H6); 0: there is none.
    u32 page_msr = 0;
    unsigned cpus = 1;
};

// Owned by the machine. Called on vCPU threads; what they share belongs to the bus, the memory and the clock.
class Hypercalls final : public devices::StatefulDevice<HypercallState> {
public:
    // Ports of the stubs: arguments as 32-bit words (number, RBX, RCX, RDX, RSI) from 32-bit code, or in halves from 64-bit
    // code; then the result, low half first.
    static constexpr u16 kPort32 = 0xb80, kPort64 = 0xb84;

    // Makes the calling thread SCHED_FIFO with a priority, or SCHED_OTHER without one; an errno or 0.
    using Scheduler = std::function<int(std::optional<int> priority)>;

    Hypercalls(const HypercallOptions& options, const cpu::x86::CpuModel& model, devices::ApicBus& bus,
               devices::GuestMemory& memory, devices::Clock& clock, Scheduler scheduler = {});

    // Whom KVM_HC_KICK_CPU wakes by this APIC id. Before the vCPUs run.
    void connect(unsigned vcpu, u32 apic_id, accel::UnhaltVcpu& processor);

    // Fills in the result of a call by a vCPU, on its thread; the engine has already refused callers outside CPL 0 (H2). An
    // unknown number, or one whose feature is not offered in CPUID 40000001H, answers -KVM_ENOSYS (H1).
    void call(unsigned vcpu, accel::HypercallExit& call);

    // Whether nothing else has the number of KVM_HC_RT_PRIO.
    [[nodiscard]] bool has_realtime_number() const { return find_offered(options_.realtime_number) == nullptr; }

    // The vCPU's guest reads the clock's TSC plus this.
    void set_tsc_offset(unsigned vcpu, u64 offset) { tsc_offsets_[vcpu].store(offset, std::memory_order_relaxed); }

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
    [[nodiscard]] const Row* find_offered(u64 number) const;
    u64 poll(unsigned vcpu, const accel::HypercallExit& call);
    u64 kick(unsigned vcpu, const accel::HypercallExit& call);
    u64 pair_clocks(unsigned vcpu, const accel::HypercallExit& call);
    u64 send_ipi(unsigned vcpu, const accel::HypercallExit& call);
    u64 yield(unsigned vcpu, const accel::HypercallExit& call);
    u64 set_realtime(const accel::HypercallExit& call);

    const HypercallOptions options_;
    const cpu::x86::CpuModel model_;
    devices::ApicBus& bus_;
    devices::GuestMemory& memory_;
    devices::Clock& clock_;
    const Scheduler scheduler_;
    std::atomic<u64> page_{0};
    std::vector<HypercallPortState> ports_;  // each its vCPU's
    std::vector<std::atomic<u64>> tsc_offsets_;
    struct Processor {
        u32 apic_id = 0;
        accel::UnhaltVcpu* vcpu = nullptr;
    };
    std::vector<Processor> processors_;
};

}  // namespace tandem::machines::pc

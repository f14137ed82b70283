// One AArch64 vCPU on the translator.
#pragma once

#include <semaphore.h>

#include <array>
#include <atomic>
#include <mutex>
#include <vector>

#include "accel/jit/jit_vcpu.h"
#include "cpu/arm64/model.h"
#include "cpu/arm64/system/platform.h"
#include "cpu/arm64/translate_state.h"

namespace tandem::accel {

class Arm64JitVcpu;

// The PEs of one Inner Shareable domain: TLB maintenance reaches all of them. Members join before any of them runs.
class ShareableDomain {
public:
    void join(Arm64JitVcpu& vcpu) { members_.push_back(&vcpu); }
    [[nodiscard]] const std::vector<Arm64JitVcpu*>& members() const { return members_; }

private:
    std::vector<Arm64JitVcpu*> members_;
};

// A sleep with a limit that any thread, or a signal handler, may end.
class Sleeper {
public:
    Sleeper() { sem_init(&wakeups_, 0, 0); }
    ~Sleeper() { sem_destroy(&wakeups_); }
    Sleeper(const Sleeper&) = delete;
    Sleeper& operator=(const Sleeper&) = delete;

    // `wanted` is asked after whoever wakes from then on is sure to be heard. One thread.
    template <class Wanted>
    void sleep(u64 nanoseconds, Wanted wanted) {
        asleep_.store(true, std::memory_order_seq_cst);
        if (!wanted() && wait(nanoseconds)) return;
        // Nobody woke it, or somebody is about to.
        if (!asleep_.exchange(false, std::memory_order_seq_cst)) wait(kForever);
    }
    // After storing what the sleeper is to find.
    void wake() {
        if (asleep_.exchange(false, std::memory_order_seq_cst)) sem_post(&wakeups_);
    }

private:
    static constexpr u64 kForever = ~u64{0};
    // False: the time is over.
    bool wait(u64 nanoseconds);

    sem_t wakeups_;
    std::atomic<bool> asleep_{false};
};

class Arm64JitVcpu final : public JitVcpu, public cpu::arm64::Platform {
public:
    // All references must outlive the vCPU. attach() completes construction.
    Arm64JitVcpu(unsigned index, ExitHandler& handler, const cpu::arm64::CpuModel& model, ShareableDomain& domain);

    // Vcpu
    [[nodiscard]] u64 exit_pc() const override { return state_->s.pc; }
    Result<void> export_state(cpu::ArchState& out) override;
    Result<void> import_state(const cpu::ArchState& in) override;
    Result<void> fetch_state(cpu::ArchState& out) override;
    Result<void> store_state(const cpu::ArchState& in) override;

    // CpuSignals
    void power_on(u64 entry, u64 context) override;

    // cpu::arm64::Platform
    cpu::arm64::SysregResult gic_register(const cpu::arm64::SysregAccess& access, u64& value) override;
    [[nodiscard]] u32 interrupt_lines() override;
    u64 counter() override { return handler_.tsc(index_); }
    [[nodiscard]] u64 counter_hz() override { return handler_.tsc_hz(); }
    void timer_changed(cpu::arm64::Timer timer, bool enabled, u64 compare, u64 offset) override;
    void performance_interrupt(bool level) override;
    bool hypercall(cpu::arm64::Conduit conduit, u16 immediate, std::array<u64, 18>& registers) override;
    void broadcast_tlb_invalidate(const cpu::arm64::TlbInvalidate& what) override;
    void complete_tlb_invalidates() override;
    cpu::arm64::TlbDemand take_tlb_invalidates() override;
    void send_event() override;
    bool take_event() override;
    void sleep_until_event(u64 nanoseconds) override;
    [[nodiscard]] u64 affinity() const override;
    [[nodiscard]] unsigned cpu_count() const override { return handler_.cpu_count(); }

private:
    void construct(void* state) override;
    [[nodiscard]] Rest rest() const override;
    Result<void> take_events() override;
    void prod() override;
    void begin(bool) override { state_->multiprocessor = cpu_count() > 1; }
    void demand(u32 flush);
    void demand_part(const cpu::arm64::TlbInvalidate& part);
    void answer_waiting();

    const cpu::arm64::CpuModel& model_;
    ShareableDomain& domain_;
    cpu::arm64::TranslateState* state_ = nullptr;
    std::atomic<u32> demanded_{0};  // flushes that other PEs wait for (TlbDemand), and kParts
    static constexpr u32 kParts = 1u << 31;
    static constexpr unsigned kMostParts = 64;
    std::mutex parts_lock_;                                      // the next two; a leaf
    std::array<cpu::arm64::TlbInvalidate, kMostParts> parts_{};  // pages and ASIDs; more than that drop everything
    unsigned part_count_ = 0;
    std::atomic<u32> waiting_{0};     // PEs that sleep until demanded_ is answered
    std::atomic<bool> event_{false};  // another PE has sent an event
    Sleeper sleeper_;
    std::mutex power_lock_;  // the next two; a leaf
    u64 entry_ = 0;
    u64 context_ = 0;
};

}  // namespace tandem::accel

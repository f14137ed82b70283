// Local APIC in xAPIC and x2APIC mode (Intel SDM volume 3, chapter 10).
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "devices/fabric/address_space.h"
#include "devices/fabric/clock.h"
#include "devices/fabric/guest_memory.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/pc_controllers.h"
#include "devices/fabric/state.h"
#include "devices/irq/apic_bus.h"
#include "devices/irq/vector_map.h"

namespace tandem::devices {

struct LapicConfig {
    u32 id = 0;
    bool bsp = false;
    u64 base = 0;                    // address of the register page, from the machine's memory map
    u64 timer_hz = 1'000'000'000;    // APIC timer input before the divider; CPUID 15H's crystal where that is shown
    bool x2apic = true;              // CPUID.1:ECX[21]
    std::optional<u32> number = {};  // of the processor, in its name; default: the id
};

// One per vCPU. accept(), matches(), processor_priority() and the lines are for any thread and take no lock (contract I8);
// MMIO, MSRs and the CpuInterruptController functions are for the vCPU's thread.
class Lapic final : public StatefulDevice<LapicState>, public CpuInterruptController, public IoHandler {
public:
    static constexpr u32 kMsrApicBase = 0x1b;
    static constexpr u32 kMsrTscDeadline = 0x6e0;
    static constexpr u32 kMsrEoi = 0x4b564d04;  // KVM_EOI_EN
    static constexpr u32 kMsrX2apicFirst = 0x800;
    static constexpr u32 kMsrX2apicLast = 0x8ff;
    static constexpr u64 kRegisterPage = 0x1000;

    // Attaches itself to `bus`. Bus and clock outlive it.
    Lapic(const LapicConfig& config, ApicBus& bus, Clock& clock);

    // Before the vCPU runs. Without one, signals are dropped.
    void connect(CpuSignals& signals) { signals_ = &signals; }
    // The 8259's side of an interrupt acknowledge cycle: returns the vector. Before the vCPU runs.
    void connect_ext_int(std::function<int()> acknowledge) { ext_int_acknowledge_ = std::move(acknowledge); }

    // There is KVM's paravirtual end of interrupt, whose bit is in `memory`. Before the vCPU runs.
    void connect_eoi(GuestMemory& memory) { memory_ = &memory; }

    // What firmware leaves behind for a kernel that is started without any: enabled, LINT0 passes the 8259 through, LINT1 is
    // NMI (MultiProcessor Specification 3.6.2.2, virtual wire mode). Only the bootstrap processor takes the 8259.
    void enter_virtual_wire_mode();

    // Local interrupt pins 0 and 1. The 8259's INTR is pin 0 of the bootstrap processor.
    Delivery set_lint(unsigned pin, bool level);
    [[nodiscard]] IrqLine lint(unsigned pin) {
        return IrqLine([this, pin](bool level) { return set_lint(pin, level); });
    }

    // An interrupt message for this processor. INIT resets the registers (SDM 10.4.7.3) and signals the processor.
    Delivery accept(DeliveryMode mode, u8 vector, bool level);
    // Whether a message's destination addresses this APIC in its present mode.
    [[nodiscard]] bool matches(u32 destination, bool logical) const;
    // Enabled by base and SVR.
    [[nodiscard]] bool accepts_fixed() const;
    [[nodiscard]] u8 processor_priority() const;

    [[nodiscard]] u32 id() const { return config_.id; }
    [[nodiscard]] u64 apic_base() const { return base_.load(std::memory_order_relaxed); }
    // False: #GP(0): reserved bits or an illegal transition (SDM figure 10-27).
    bool write_apic_base(u64 value);

    // IA32_APIC_BASE, IA32_TSC_DEADLINE, KVM_EOI_EN and 800H..8FFH. False: #GP(0).
    bool msr_read(u32 index, u64& value);
    bool msr_write(u32 index, u64 value);
    [[nodiscard]] static bool owns_msr(u32 index) {
        return index == kMsrApicBase || index == kMsrTscDeadline || index == kMsrEoi ||
               (index >= kMsrX2apicFirst && index <= kMsrX2apicLast);
    }

    // The bus has a host from now on, which has this APIC's state, or has none any more: the state was restored.
    void host_changed();

    // Guest TSC = clock TSC + offset; the TSC deadline is in guest TSC. Call when the offset changes.
    void set_tsc_offset(u64 offset);

    // The register page (xAPIC mode). In other modes it reads as all ones and ignores writes.
    u64 io_read(u64 offset, unsigned size) override;
    void io_write(u64 offset, u64 value, unsigned size) override;

    [[nodiscard]] bool interrupt_pending() const override;
    int acknowledge() override;
    [[nodiscard]] u8 cr8() const override;
    void set_cr8(u8 value) override;
    [[nodiscard]] u64 begin_sleep() override;
    void end_sleep() override { on_timer(); }
    [[nodiscard]] bool offer_eoi() override;
    void take_eoi() override;

    // As save() and restore(), for who exchanges state inside the program.
    [[nodiscard]] LapicState save_typed() const { return capture(); }
    Result<void> restore_typed(const LapicState& state) { return apply(state); }

    [[nodiscard]] std::string_view name() const override { return name_; }
    void reset() override;

private:
    LapicState capture() const override;
    Result<void> apply(const LapicState& state) override;

    enum Lvt : u8 { kLvtTimer, kLvtThermal, kLvtPerf, kLvtLint0, kLvtLint1, kLvtError, kLvtCount };
    struct Row;
    static std::span<const Row> rows();
    static const Row* find_row(u32 index);

    // Register hooks; `index` is the row's register number (offset / 16).
    u32 read_id(u32 index) const;
    u32 read_version(u32 index) const;
    u32 read_zero(u32) const { return 0; }  // remote reads exist no more
    u32 read_ppr(u32 index) const;
    u32 read_ldr(u32 index) const;
    u32 read_isr(u32 index) const;
    u32 read_tmr(u32 index) const;
    u32 read_irr(u32 index) const;
    u32 read_current(u32 index) const;
    template <std::atomic<u32> Lapic::* Field>
    u32 read_field(u32) const {
        return (this->*Field).load(std::memory_order_relaxed);
    }
    template <std::atomic<u32> Lapic::* Field, u32 Fixed = 0>
    void write_field(u32, u32 value) {
        (this->*Field).store(value | Fixed, std::memory_order_relaxed);
    }
    template <Lvt L>
    u32 read_lvt(u32) const {
        return lvt_[L].load(std::memory_order_relaxed);
    }
    template <Lvt L>
    void write_lvt(u32, u32 value) {
        store_lvt(L, value);
    }
    void write_tpr(u32 index, u32 value);
    void write_eoi(u32 index, u32 value);
    [[nodiscard]] bool eoi_msr_holds(u64 value) const;
    bool write_eoi_msr(u64 value);
    void write_svr(u32 index, u32 value);
    void write_esr(u32 index, u32 value);
    void write_icr_low(u32 index, u32 value);
    void write_initial(u32 index, u32 value);
    void write_divide(u32 index, u32 value);
    void write_self_ipi(u32 index, u32 value);

    enum class Mode : u8 { Disabled, Xapic, X2apic };
    [[nodiscard]] Mode mode() const;
    void reset_registers();
    void store_lvt(Lvt which, u32 value);
    void send_ipi(u32 low, u32 destination);
    void report_error(u32 esr_bit);
    Delivery deliver_local(Lvt which);
    void drive_lint(unsigned pin);
    Delivery take(DeliveryMode delivery, u8 vector, bool level);
    Delivery post(u8 vector, bool level);
    void update_interrupt_line();
    [[nodiscard]] bool ext_int_ready() const;
    [[nodiscard]] int highest_deliverable() const;

    // Timer; all under timer_lock_ except the callback.
    void on_timer();
    bool expire_locked();
    [[nodiscard]] u64 deadline_locked() const;
    void arm_locked() { timer_->arm(deadline_locked()); }
    void load_locked(u32 count);
    [[nodiscard]] u64 ticks_to_ns(u64 ticks) const;
    [[nodiscard]] u64 timer_elapsed() const;
    [[nodiscard]] u32 current_locked() const { return current_locked(timer_mode()); }
    [[nodiscard]] u32 current_locked(u32 mode) const;
    [[nodiscard]] u32 timer_mode() const;
    [[nodiscard]] u64 guest_tsc() const;
    void write_tsc_deadline(u64 value);
    void change_timer_mode(u32 old_lvt, u32 new_lvt);

    const LapicConfig config_;
    const std::string name_ = fmt::format("lapic{}", config_.number.value_or(config_.id));
    ApicBus& bus_;
    Clock& clock_;
    CpuSignals* signals_ = nullptr;
    GuestMemory* memory_ = nullptr;  // of KVM_EOI_EN; null: there is none
    std::function<int()> ext_int_acknowledge_;

    std::atomic<u64> base_{0}, eoi_msr_{0};
    std::atomic<bool> eoi_offered_{false};  // the guest may have ended what is in service here
    std::atomic<u32> tpr_{0}, ldr_{0}, dfr_{0}, svr_{0}, esr_{0}, errors_{0}, icr_low_{0}, icr_high_{0}, divide_{0},
        initial_{0};
    std::array<std::atomic<u32>, kLvtCount> lvt_{};
    VectorMap isr_, tmr_, irr_;
    std::array<std::atomic<bool>, 2> lint_{};
    std::atomic<bool> ext_int_latched_{false};
    bool ext_int_was_last_ = false;  // of what was acknowledged; vCPU thread

    mutable std::mutex timer_lock_;
    bool timer_running_ = false;
    u64 timer_start_ns_ = 0;
    u32 timer_count_ = 0;
    u64 tsc_deadline_ = 0;
    u64 tsc_offset_ = 0;
    std::unique_ptr<Timer> timer_;  // last: its callback must not outlive what it uses
};

}  // namespace tandem::devices

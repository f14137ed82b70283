#include "devices/irq/lapic.h"

#include "base/bits.h"
#include "devices/irq/trace.h"

namespace tandem::devices {
namespace {

// Version 14H, six LVT entries, EOI-broadcast suppression (SDM volume 3, figure 10-7).
constexpr u32 kVersion = 0x14 | (5u << 16) | (1u << 24);

constexpr u64 kBaseBsp = 1u << 8, kBaseExtd = 1u << 10, kBaseEnable = 1u << 11;
constexpr u32 kSvrEnable = 1u << 8, kSvrSuppressEoi = 1u << 12;
constexpr u32 kDeliveryStatus = 1u << 12;  // read-only; interrupts are always delivered at once
constexpr u32 kLvtRemoteIrr = 1u << 14, kLvtLevel = 1u << 15, kLvtMasked = 1u << 16;

// ESR (SDM volume 3, figure 10-9).
constexpr u32 kSendIllegalVector = 1u << 5, kReceiveIllegalVector = 1u << 6, kIllegalRegister = 1u << 7;

u32 load(const std::atomic<u32>& a) { return a.load(std::memory_order_relaxed); }
DeliveryMode lvt_mode(u32 lvt) { return static_cast<DeliveryMode>(bits(lvt, 10, 8)); }

}  // namespace

// One register: where it is, who may access it, which bits exist, and what it does.
struct Lapic::Row {
    enum Access : u8 { kXapicRead = 1, kXapicWrite = 2, kX2apicRead = 4, kX2apicWrite = 8 };
    const char* name;
    u32 first, last;  // register numbers: xAPIC offset / 16, x2APIC MSR - 800H
    u8 access;
    u32 valid;  // bits that may be written (status bits: without effect); others are ignored in xAPIC mode, #GP in x2APIC
                // mode
    u32 (Lapic::*read)(u32) const;
    void (Lapic::*write)(u32, u32);
};

std::span<const Lapic::Row> Lapic::rows() {
    constexpr u8 kR = Row::kXapicRead | Row::kX2apicRead, kW = Row::kXapicWrite | Row::kX2apicWrite;
    constexpr u8 kXrw = Row::kXapicRead | Row::kXapicWrite;
    // SDM volume 3, tables 10-1 and 10-6.
    static constexpr Row kRows[] = {
        {"ID", 0x02, 0x02, kR, 0, &Lapic::read_id, nullptr},
        {"VERSION", 0x03, 0x03, kR, 0, &Lapic::read_version, nullptr},
        {"TPR", 0x08, 0x08, kR | kW, 0xff, &Lapic::read_field<&Lapic::tpr_>, &Lapic::write_tpr},
        {"APR", 0x09, 0x09, Row::kXapicRead, 0, &Lapic::read_ppr, nullptr},
        {"PPR", 0x0a, 0x0a, kR, 0, &Lapic::read_ppr, nullptr},
        {"EOI", 0x0b, 0x0b, kW, 0, nullptr, &Lapic::write_eoi},
        {"RRD", 0x0c, 0x0c, Row::kXapicRead, 0, &Lapic::read_zero, nullptr},
        {"LDR", 0x0d, 0x0d, kXrw | Row::kX2apicRead, 0xff000000, &Lapic::read_ldr, &Lapic::write_field<&Lapic::ldr_>},
        {"DFR", 0x0e, 0x0e, kXrw, 0xf0000000, &Lapic::read_field<&Lapic::dfr_>,
         &Lapic::write_field<&Lapic::dfr_, 0x0fffffff>},
        {"SVR", 0x0f, 0x0f, kR | kW, 0x13ff, &Lapic::read_field<&Lapic::svr_>, &Lapic::write_svr},
        {"ISR", 0x10, 0x17, kR, 0, &Lapic::read_isr, nullptr},
        {"TMR", 0x18, 0x1f, kR, 0, &Lapic::read_tmr, nullptr},
        {"IRR", 0x20, 0x27, kR, 0, &Lapic::read_irr, nullptr},
        {"ESR", 0x28, 0x28, kR | kW, 0, &Lapic::read_field<&Lapic::esr_>, &Lapic::write_esr},
        {"ICR_LOW", 0x30, 0x30, kR | kW, 0xcdfff, &Lapic::read_field<&Lapic::icr_low_>, &Lapic::write_icr_low},
        {"ICR_HIGH", 0x31, 0x31, kXrw, 0xff000000, &Lapic::read_field<&Lapic::icr_high_>,
         &Lapic::write_field<&Lapic::icr_high_>},
        {"LVT_TIMER", 0x32, 0x32, kR | kW, 0x710ff, &Lapic::read_lvt<kLvtTimer>, &Lapic::write_lvt<kLvtTimer>},
        {"LVT_THERMAL", 0x33, 0x33, kR | kW, 0x117ff, &Lapic::read_lvt<kLvtThermal>, &Lapic::write_lvt<kLvtThermal>},
        {"LVT_PERF", 0x34, 0x34, kR | kW, 0x117ff, &Lapic::read_lvt<kLvtPerf>, &Lapic::write_lvt<kLvtPerf>},
        {"LVT_LINT0", 0x35, 0x35, kR | kW, 0x1f7ff, &Lapic::read_lvt<kLvtLint0>, &Lapic::write_lvt<kLvtLint0>},
        {"LVT_LINT1", 0x36, 0x36, kR | kW, 0x1f7ff, &Lapic::read_lvt<kLvtLint1>, &Lapic::write_lvt<kLvtLint1>},
        {"LVT_ERROR", 0x37, 0x37, kR | kW, 0x110ff, &Lapic::read_lvt<kLvtError>, &Lapic::write_lvt<kLvtError>},
        {"INITIAL_COUNT", 0x38, 0x38, kR | kW, ~u32{0}, &Lapic::read_field<&Lapic::initial_>, &Lapic::write_initial},
        {"CURRENT_COUNT", 0x39, 0x39, kR, 0, &Lapic::read_current, nullptr},
        {"DIVIDE", 0x3e, 0x3e, kR | kW, 0xb, &Lapic::read_field<&Lapic::divide_>, &Lapic::write_divide},
        {"SELF_IPI", 0x3f, 0x3f, Row::kX2apicWrite, 0xff, nullptr, &Lapic::write_self_ipi},
    };
    return kRows;
}

const Lapic::Row* Lapic::find_row(u32 index) {
    for (const Row& row : rows()) {
        if (index >= row.first && index <= row.last) return &row;
    }
    return nullptr;
}

Lapic::Lapic(const LapicConfig& config, ApicBus& bus, Clock& clock) : config_(config), bus_(bus), clock_(clock) {
    timer_ = clock.create_timer([this] { on_timer(); });
    reset();
    bus.attach(*this);
}

void Lapic::reset() {
    base_ = config_.base | kBaseEnable | (config_.bsp ? kBaseBsp : 0);
    reset_registers();
}

// Power-up values (SDM volume 3, 10.4.7.1); the ID stays.
void Lapic::reset_registers() {
    for (auto* r : {&tpr_, &ldr_, &esr_, &errors_, &icr_low_, &icr_high_}) *r = 0;
    dfr_ = ~u32{0};
    svr_ = 0xff;
    eoi_msr_ = 0;
    for (auto& l : lvt_) l = kLvtMasked;
    for (auto* map : {&isr_, &tmr_, &irr_}) map->clear();
    ext_int_latched_ = false;
    {
        std::lock_guard guard(timer_lock_);
        initial_ = 0;
        divide_ = 0;
        timer_running_ = false;
        tsc_deadline_ = 0;
        arm_locked();
    }
    update_interrupt_line();
}

void Lapic::enter_virtual_wire_mode() {
    svr_ = 0x1ff;
    if (config_.bsp) lvt_[kLvtLint0] = static_cast<u32>(DeliveryMode::ExtInt) << 8;
    lvt_[kLvtLint1] = static_cast<u32>(DeliveryMode::Nmi) << 8;
    update_interrupt_line();
}

Lapic::Mode Lapic::mode() const {
    const u64 base = base_.load(std::memory_order_relaxed);
    if ((base & kBaseEnable) == 0) return Mode::Disabled;
    return (base & kBaseExtd) != 0 ? Mode::X2apic : Mode::Xapic;
}

// --- Destinations ---------------------------------------------------------------------------------------------------

bool Lapic::accepts_fixed() const { return mode() != Mode::Disabled && (load(svr_) & kSvrEnable) != 0; }

bool Lapic::matches(u32 destination, bool logical) const {
    const Mode m = mode();
    if (m == Mode::Disabled) return false;
    if (destination == ApicMessage::kBroadcast) return true;
    if (!logical) return destination == config_.id;
    if (m == Mode::X2apic) {
        const u32 ldr = read_ldr(0);
        return destination >> 16 == ldr >> 16 && (destination & ldr & 0xffff) != 0;
    }
    if (destination > 0xff) return false;
    const u32 own = load(ldr_) >> 24;
    if (load(dfr_) >> 28 == 0xf) return (destination & own) != 0;
    // Cluster model (SDM volume 3, 10.6.2.2); any other DFR value behaves as it.
    return destination >> 4 == own >> 4 && (destination & own & 0xf) != 0;
}

u8 Lapic::processor_priority() const { return static_cast<u8>(read_ppr(0)); }

// --- Accepting and delivering ---------------------------------------------------------------------------------------

Delivery Lapic::accept(DeliveryMode delivery, u8 vector, bool level) {
    const Delivery result = take(delivery, vector, level);
    if (result != Delivery::Ignored) {
        log::trace(log::Exits, "kvm_apic_accept_irq: apicid {:x} vec {} ({}|{}){}", config_.id, vector, mode_name(delivery),
                   trigger_name(level), coalesced_note(result));
    }
    return result;
}

Delivery Lapic::take(DeliveryMode delivery, u8 vector, bool level) {
    switch (delivery) {
        case DeliveryMode::Fixed:
        case DeliveryMode::LowestPriority: return accepts_fixed() ? post(vector, level) : Delivery::Ignored;
        case DeliveryMode::Nmi:
            if (signals_ != nullptr) signals_->raise_nmi();
            return Delivery::Delivered;
        case DeliveryMode::Init:
            reset_registers();
            if (signals_ != nullptr) signals_->raise_init();
            return Delivery::Delivered;
        case DeliveryMode::Startup:
            if (signals_ != nullptr) signals_->raise_sipi(vector);
            return Delivery::Delivered;
        case DeliveryMode::ExtInt: {
            const bool before = ext_int_latched_.exchange(true);
            update_interrupt_line();
            return before ? Delivery::Coalesced : Delivery::Delivered;
        }
        case DeliveryMode::Smi:  // no system management mode
        case DeliveryMode::Reserved: break;
    }
    return Delivery::Ignored;
}

Delivery Lapic::post(u8 vector, bool level) {
    if (vector < 16) {
        report_error(kReceiveIllegalVector);
        return Delivery::Ignored;
    }
    if (level) {
        tmr_.set(vector);
    } else {
        tmr_.clear(vector);
    }
    const bool before = irr_.set(vector);
    update_interrupt_line();
    return before ? Delivery::Coalesced : Delivery::Delivered;
}

// Injectors and the vCPU may race here. Whoever writes the line last has looked at the registers after its own write, so the
// line ends up right.
void Lapic::update_interrupt_line() {
    if (signals_ == nullptr) return;
    bool level = interrupt_pending();
    for (;;) {
        signals_->set_interrupt_line(level);
        const bool now = interrupt_pending();
        if (now == level) return;
        level = now;
    }
}

bool Lapic::ext_int_ready() const {
    if (ext_int_latched_.load()) return true;
    if (!lint_[0].load()) return false;
    if (mode() == Mode::Disabled) return true;
    const u32 lvt = load(lvt_[kLvtLint0]);
    return (lvt & kLvtMasked) == 0 && lvt_mode(lvt) == DeliveryMode::ExtInt;
}

int Lapic::highest_deliverable() const {
    if (mode() == Mode::Disabled) return -1;
    const int vector = irr_.highest();
    return vector >= 0 && vector >> 4 > processor_priority() >> 4 ? vector : -1;
}

// Of a local APIC that runs elsewhere only the 8259's request comes from here: whether it is taken is judged there.
bool Lapic::interrupt_pending() const {
    if (const HostControllers* host = bus_.host(); host != nullptr) return !host->all() && lint_[0].load();
    return ext_int_ready() || highest_deliverable() >= 0 || (eoi_offered_.load() && irr_.highest() >= 0);
}

// An 8259 that has the next request at each end of interrupt, as for a timer that makes up for lost ticks, lets the local
// APIC's own vectors through in turn.
int Lapic::acknowledge() {
    int vector = -1;
    const int fixed = highest_deliverable();
    if (bus_.host() != nullptr) {
        if (interrupt_pending() && ext_int_acknowledge_) vector = ext_int_acknowledge_();
    } else if (ext_int_ready() && ext_int_acknowledge_ && !(ext_int_was_last_ && fixed >= 0)) {
        ext_int_was_last_ = true;
        ext_int_latched_ = false;
        vector = ext_int_acknowledge_();
    } else if (fixed >= 0) {
        ext_int_was_last_ = false;
        vector = fixed;
        irr_.clear(static_cast<u8>(vector));
        isr_.set(static_cast<u8>(vector));
    }
    update_interrupt_line();
    return vector;
}

u8 Lapic::cr8() const { return static_cast<u8>(load(tpr_) >> 4); }

void Lapic::set_cr8(u8 value) { write_tpr(0, (value & 0xfu) << 4); }

void Lapic::report_error(u32 esr_bit) {
    const u32 before = errors_.fetch_or(esr_bit);
    // An error while another is pending does not interrupt again (SDM volume 3, 10.5.3). An illegal vector in the error
    // entry itself cannot report further.
    if ((before & esr_bit) == 0 && (load(lvt_[kLvtError]) & 0xff) >= 16) deliver_local(kLvtError);
}

Delivery Lapic::deliver_local(Lvt which) {
    const u32 lvt = load(lvt_[which]);
    if ((lvt & kLvtMasked) != 0) return Delivery::Ignored;
    const bool pin = which == kLvtLint0 || which == kLvtLint1;
    const bool fixed_only = which == kLvtTimer || which == kLvtError;
    const DeliveryMode delivery = fixed_only ? DeliveryMode::Fixed : lvt_mode(lvt);
    switch (delivery) {
        case DeliveryMode::Fixed: {
            const bool level = pin && (lvt & kLvtLevel) != 0;
            if (!accepts_fixed()) return Delivery::Ignored;
            if (level && (lvt_[which].fetch_or(kLvtRemoteIrr) & kLvtRemoteIrr) != 0) return Delivery::Coalesced;
            return accept(delivery, static_cast<u8>(lvt), level);
        }
        case DeliveryMode::Nmi:
        case DeliveryMode::Init: return accept(delivery, 0, false);
        default: return Delivery::Ignored;  // ExtINT is read off the pin, SMI does not exist
    }
}

Delivery Lapic::set_lint(unsigned pin, bool level) {
    if (pin > 1) return Delivery::Ignored;
    const bool before = lint_[pin].exchange(level);
    if (before == level) return Delivery::Ignored;
    if (bus_.host() != nullptr) {
        update_interrupt_line();
        return level ? Delivery::Delivered : Delivery::Ignored;
    }
    const Lvt which = pin == 0 ? kLvtLint0 : kLvtLint1;
    Delivery result = Delivery::Ignored;
    if (lvt_mode(load(lvt_[which])) == DeliveryMode::ExtInt || mode() == Mode::Disabled) {
        // Without an APIC the pins are INTR and NMI themselves (SDM volume 3, 10.4.3).
        if (pin == 1 && level && mode() == Mode::Disabled && signals_ != nullptr) signals_->raise_nmi();
        result = level ? Delivery::Delivered : Delivery::Ignored;
    } else if (level) {
        result = deliver_local(which);
    }
    update_interrupt_line();
    return result;
}

// A level-triggered pin that is still up asks again when it may.
void Lapic::drive_lint(unsigned pin) {
    const Lvt which = pin == 0 ? kLvtLint0 : kLvtLint1;
    const u32 lvt = load(lvt_[which]);
    if (lint_[pin].load() && (lvt & kLvtLevel) != 0 && lvt_mode(lvt) == DeliveryMode::Fixed) deliver_local(which);
}

// --- Registers ------------------------------------------------------------------------------------------------------

u32 Lapic::read_id(u32) const { return mode() == Mode::X2apic ? config_.id : config_.id << 24; }
u32 Lapic::read_version(u32) const { return kVersion; }
u32 Lapic::read_isr(u32 index) const { return load(isr_[index & 7]); }
u32 Lapic::read_tmr(u32 index) const { return load(tmr_[index & 7]); }
u32 Lapic::read_irr(u32 index) const { return load(irr_[index & 7]); }

u32 Lapic::read_ppr(u32) const {
    const u32 tpr = tpr_.load();
    const int in_service = isr_.highest();
    const u32 isr_class = in_service < 0 ? 0 : static_cast<u32>(in_service) & 0xf0;
    return (tpr & 0xf0) >= isr_class ? tpr : isr_class;
}

u32 Lapic::read_ldr(u32) const {
    if (mode() != Mode::X2apic) return load(ldr_);
    return (config_.id >> 4) << 16 | 1u << (config_.id & 0xf);
}

u32 Lapic::read_current(u32) const {
    std::lock_guard guard(timer_lock_);
    return current_locked();
}

void Lapic::write_tpr(u32, u32 value) {
    tpr_ = value;
    update_interrupt_line();
}

void Lapic::write_eoi(u32, u32) {
    const int in_service = isr_.highest();
    if (in_service < 0) return;
    const auto vector = static_cast<u8>(in_service);
    log::trace(log::Exits, "kvm_eoi: apicid {:x} vector {}", config_.id, vector);
    isr_.clear(vector);
    if (tmr_.test(vector)) {
        for (unsigned pin = 0; pin < 2; ++pin) {
            auto& lvt = lvt_[pin == 0 ? kLvtLint0 : kLvtLint1];
            if ((load(lvt) & 0xff) == vector && (lvt.fetch_and(~kLvtRemoteIrr) & kLvtRemoteIrr) != 0) drive_lint(pin);
        }
        if ((load(svr_) & kSvrSuppressEoi) == 0) bus_.broadcast_eoi(vector);
    }
    update_interrupt_line();
}

void Lapic::write_svr(u32, u32 value) {
    svr_ = value;
    if ((value & kSvrEnable) == 0) {
        for (auto& lvt : lvt_) lvt.fetch_or(kLvtMasked);
    }
    update_interrupt_line();
}

void Lapic::write_esr(u32, u32) { esr_ = errors_.exchange(0); }

void Lapic::store_lvt(Lvt which, u32 value) {
    value &= ~(kDeliveryStatus | kLvtRemoteIrr);
    if ((load(svr_) & kSvrEnable) == 0) value |= kLvtMasked;
    u32 old = load(lvt_[which]);
    // Remote IRR is the APIC's; it has no meaning once the entry is edge triggered.
    const u32 keep = (value & kLvtLevel) != 0 ? kLvtRemoteIrr : 0;
    while (!lvt_[which].compare_exchange_weak(old, value | (old & keep))) {
    }
    if (which == kLvtTimer) change_timer_mode(old, value);
    if (which == kLvtLint0) drive_lint(0);
    if (which == kLvtLint1) drive_lint(1);
    update_interrupt_line();
}

void Lapic::write_icr_low(u32, u32 value) {
    icr_low_ = value & ~kDeliveryStatus;
    send_ipi(value, ApicMessage::widen(static_cast<u8>(load(icr_high_) >> 24)));
}

void Lapic::write_self_ipi(u32, u32 value) {
    if (value < 16) {
        report_error(kSendIllegalVector);
    } else {
        accept(DeliveryMode::Fixed, static_cast<u8>(value), false);
    }
}

void Lapic::send_ipi(u32 low, u32 destination) {
    ApicMessage m;
    m.destination = destination;
    m.logical = bit(low, 11);
    m.mode = static_cast<DeliveryMode>(bits(low, 10, 8));
    m.vector = static_cast<u8>(low);
    const auto shorthand = static_cast<Shorthand>(bits(low, 19, 18));
    const bool vectored = m.mode == DeliveryMode::Fixed || m.mode == DeliveryMode::LowestPriority;
    if (vectored && m.vector < 16) return report_error(kSendIllegalVector);
    // INIT level de-assert is for processors that have arbitration IDs; ExtINT cannot be sent (SDM volume 3, 10.6.1).
    if (m.mode == DeliveryMode::Init && bit(low, 15) && !bit(low, 14)) return;
    if (m.mode == DeliveryMode::ExtInt) return;
    // To oneself only fixed interrupts are defined (table 10-3); an NMI arrives nevertheless, as does an INIT that is for
    // nobody else, and suites rely on it.
    const bool init_to_self = m.mode == DeliveryMode::Init && shorthand == Shorthand::Self;
    if (!vectored && m.mode != DeliveryMode::Nmi && !init_to_self &&
        (shorthand == Shorthand::Self || shorthand == Shorthand::AllIncludingSelf))
        return;
    bus_.send(m, shorthand, this);
}

u64 Lapic::io_read(u64 offset, unsigned size) {
    if (mode() != Mode::Xapic) return mask(size * 8);
    // Registers are 32 bits at multiples of 16; the bytes between them are reserved and read as zero.
    const unsigned byte = offset & 0xf;
    if (byte >= 4) return 0;
    const Row* row = find_row(static_cast<u32>(offset >> 4));
    if (row == nullptr || (row->access & Row::kXapicRead) == 0) {
        if (row == nullptr) report_error(kIllegalRegister);
        return 0;
    }
    const u64 value = (this->*row->read)(static_cast<u32>(offset >> 4));
    return (value >> (8 * byte)) & mask(size * 8);
}

void Lapic::io_write(u64 offset, u64 value, unsigned size) {
    if (mode() != Mode::Xapic || size < 4 || (offset & 0xf) != 0) return;
    const auto index = static_cast<u32>(offset >> 4);
    const Row* row = find_row(index);
    if (row == nullptr || (row->access & Row::kXapicWrite) == 0) {
        if (row == nullptr) report_error(kIllegalRegister);
        return;
    }
    (this->*row->write)(index, static_cast<u32>(value) & row->valid);
}

bool Lapic::write_apic_base(u64 value) {
    const u64 old = base_.load();
    // Bits 7:0 and 9 are reserved, as is 10 without x2APIC; the processor checked those above its address width.
    if ((value & 0x2ff) != 0 || (!config_.x2apic && (value & kBaseExtd) != 0)) return false;
    const bool enable = (value & kBaseEnable) != 0, extd = (value & kBaseExtd) != 0;
    const bool was_enabled = (old & kBaseEnable) != 0, was_extd = (old & kBaseExtd) != 0;
    if (extd && !enable) return false;
    if (extd && !was_enabled) return false;
    if (!extd && enable && was_extd) return false;
    base_ = value;
    if (!enable && was_enabled) reset_registers();
    if (extd && !was_extd) icr_high_ = 0;
    update_interrupt_line();
    return true;
}

bool Lapic::msr_read(u32 index, u64& value) {
    if (index == kMsrApicBase) {
        value = base_;
        return true;
    }
    if (index == kMsrTscDeadline) {
        std::lock_guard guard(timer_lock_);
        value = tsc_deadline_;
        return true;
    }
    if (index == kMsrEoi) {
        value = eoi_msr_;
        return memory_ != nullptr;
    }
    if (!owns_msr(index) || mode() != Mode::X2apic) return false;
    const Row* row = find_row(index - kMsrX2apicFirst);
    if (row == nullptr || (row->access & Row::kX2apicRead) == 0) return false;
    value = (this->*row->read)(index - kMsrX2apicFirst);
    if (row->write == &Lapic::write_icr_low) value |= u64{load(icr_high_)} << 32;
    return true;
}

bool Lapic::msr_write(u32 index, u64 value) {
    if (index == kMsrApicBase) return write_apic_base(value);
    if (index == kMsrTscDeadline) {
        write_tsc_deadline(value);
        return true;
    }
    if (index == kMsrEoi) return write_eoi_msr(value);
    if (!owns_msr(index) || mode() != Mode::X2apic) return false;
    const Row* row = find_row(index - kMsrX2apicFirst);
    if (row == nullptr || (row->access & Row::kX2apicWrite) == 0) return false;
    if ((static_cast<u32>(value) & ~row->valid) != 0) return false;
    if (row->write == &Lapic::write_icr_low) {
        icr_low_ = static_cast<u32>(value) & ~kDeliveryStatus;
        icr_high_ = static_cast<u32>(value >> 32);
        send_ipi(static_cast<u32>(value), static_cast<u32>(value >> 32));
        return true;
    }
    if (value >> 32 != 0) return false;
    (this->*row->write)(index - kMsrX2apicFirst, static_cast<u32>(value));
    return true;
}

// --- State ----------------------------------------------------------------------------------------------------------

LapicState Lapic::capture() const {
    LapicState s;
    s.id = config_.id;
    s.base = base_;
    s.eoi_msr = eoi_msr_;
    s.tpr = tpr_, s.ldr = ldr_, s.dfr = dfr_, s.svr = svr_, s.esr = esr_, s.errors = errors_;
    s.icr_low = icr_low_, s.icr_high = icr_high_, s.divide = divide_, s.initial = initial_;
    for (unsigned i = 0; i < kLvtCount; ++i) s.lvt[i] = lvt_[i];
    for (unsigned i = 0; i < 8; ++i) s.isr[i] = isr_[i], s.tmr[i] = tmr_[i], s.irr[i] = irr_[i];
    s.lint = {lint_[0], lint_[1]};
    s.ext_int_latched = ext_int_latched_;
    std::lock_guard guard(timer_lock_);
    s.timer_running = timer_running_;
    s.timer_elapsed_ns = timer_running_ ? clock_.now_ns() - timer_start_ns_ : 0;
    s.timer_count = timer_count_;
    s.tsc_deadline = tsc_deadline_;
    s.tsc_offset = tsc_offset_;
    return s;
}

Result<void> Lapic::apply(const LapicState& s) {
    if (s.id != config_.id) return corrupt(fmt::format("state of APIC {} for APIC {}", s.id, config_.id));
    if ((s.base & kBaseExtd) != 0 && ((s.base & kBaseEnable) == 0 || !config_.x2apic)) return corrupt("invalid APIC base");
    if (!eoi_msr_holds(s.eoi_msr)) return corrupt("invalid KVM_EOI_EN");
    base_ = s.base;
    eoi_msr_ = s.eoi_msr;
    tpr_ = s.tpr & 0xff, ldr_ = s.ldr, dfr_ = s.dfr, svr_ = s.svr, esr_ = s.esr, errors_ = s.errors;
    icr_low_ = s.icr_low, icr_high_ = s.icr_high, divide_ = s.divide & 0xb, initial_ = s.initial;
    for (unsigned i = 0; i < kLvtCount; ++i) lvt_[i] = s.lvt[i];
    for (unsigned i = 0; i < 8; ++i) isr_[i] = s.isr[i], tmr_[i] = s.tmr[i], irr_[i] = s.irr[i];
    lint_[0] = s.lint[0], lint_[1] = s.lint[1];
    ext_int_latched_ = s.ext_int_latched;
    {
        std::lock_guard guard(timer_lock_);
        timer_running_ = s.timer_running;
        timer_start_ns_ = clock_.now_ns() - s.timer_elapsed_ns;
        timer_count_ = s.timer_count;
        tsc_deadline_ = s.tsc_deadline;
        tsc_offset_ = s.tsc_offset;
        arm_locked();
    }
    update_interrupt_line();
    return {};
}

}  // namespace tandem::devices

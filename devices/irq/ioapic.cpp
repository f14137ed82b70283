#include "devices/irq/ioapic.h"

#include "base/bits.h"
#include "devices/irq/trace.h"

namespace tandem::devices {
namespace {

// 82093AA data sheet, 3.1 and 3.2.
constexpr u64 kSelect = 0x00, kWindow = 0x10, kEoi = 0x40;
constexpr u8 kId = 0, kVersionRegister = 1, kArbitration = 2, kFirstEntry = 0x10;
constexpr u32 kVersionValue = 0x20 | (Ioapic::kPins - 1) << 16;

constexpr u64 kRemoteIrr = 1u << 14, kLevel = 1u << 15, kMasked = 1u << 16;
constexpr u64 kWritable = 0xff00'0000'0001'afff;  // all but delivery status and remote IRR

}  // namespace

Ioapic::Ioapic(ApicBus& bus) : bus_(bus) {
    reset();
    bus.attach(*this);
}

void Ioapic::reset() {
    std::lock_guard guard(lock_);
    const u32 levels = s_.levels;  // the devices' business
    s_ = {};
    s_.levels = levels;
    s_.entries.fill(kMasked);
}

Delivery Ioapic::set_pin(unsigned pin, bool level) {
    if (pin >= kPins) return Delivery::Ignored;
    std::lock_guard guard(lock_);
    const bool before = bit(s_.levels, pin);
    s_.levels = static_cast<u32>(with_bits(s_.levels, pin, pin, level ? 1 : 0));
    if (HostControllers* host = bus_.host(); host != nullptr && host->all()) return host->set_ioapic_pin(pin, level);
    if (!level || ((s_.entries[pin] & kLevel) == 0 && before)) return Delivery::Ignored;
    return serve(pin);
}

// Sends the message of a pin that is up, unless masked or still in service.
Delivery Ioapic::serve(unsigned pin) {
    u64& entry = s_.entries[pin];
    if ((entry & kMasked) != 0) return Delivery::Ignored;
    const bool level = (entry & kLevel) != 0;
    if (level && (entry & kRemoteIrr) != 0) return Delivery::Coalesced;
    ApicMessage m;
    m.destination = ApicMessage::widen(static_cast<u8>(entry >> 56));
    m.logical = bit(entry, 11);
    m.mode = static_cast<DeliveryMode>(bits(entry, 10, 8));
    m.vector = static_cast<u8>(entry);
    m.level = level;
    const Delivery result = bus_.send(m);
    log::trace(log::Exits, "kvm_ioapic_set_irq: pin {} dst {:x} vec {} ({}|{}|{}){}", pin, entry >> 56, m.vector,
               mode_name(m.mode), destination_name(m.logical), trigger_name(level), coalesced_note(result));
    const bool vectored = m.mode == DeliveryMode::Fixed || m.mode == DeliveryMode::LowestPriority;
    if (level && vectored && result != Delivery::Ignored) entry |= kRemoteIrr;
    return result;
}

void Ioapic::end_of_interrupt(u8 vector) {
    std::lock_guard guard(lock_);
    end_of_interrupt_locked(vector);
}

void Ioapic::end_of_interrupt_locked(u8 vector) {
    for (unsigned pin = 0; pin < kPins; ++pin) {
        u64& entry = s_.entries[pin];
        if ((entry & kRemoteIrr) == 0 || (entry & 0xff) != vector) continue;
        entry &= ~kRemoteIrr;
        if (bit(s_.levels, pin)) serve(pin);
    }
}

u32 Ioapic::read_register(u8 index) const {
    switch (index) {
        case kId:
        case kArbitration: return s_.id;
        case kVersionRegister: return kVersionValue;
        default: break;
    }
    const unsigned pin = (index - kFirstEntry) / 2u;
    if (index < kFirstEntry || pin >= kPins) return 0;
    return static_cast<u32>(s_.entries[pin] >> ((index & 1) * 32));
}

void Ioapic::write_register(u8 index, u32 value) {
    if (index == kId) s_.id = value & 0x0f00'0000;
    const unsigned pin = (index - kFirstEntry) / 2u;
    if (index < kFirstEntry || pin >= kPins) return;
    u64& entry = s_.entries[pin];
    const u64 half = mask(32) << ((index & 1) * 32);
    const u64 writable = kWritable & half;
    const u64 before = entry;
    entry = (entry & ~writable) | (u64{value} << ((index & 1) * 32) & writable);
    if (HostControllers* host = bus_.host(); host != nullptr && ((before | entry) & kLevel) != 0 && before != entry) {
        host->set_ioapic_entries(s_.entries);
    }
    // Turning an entry to edge drops what it had in service: that is how kernels clear a stuck remote IRR.
    if ((entry & kLevel) == 0) entry &= ~kRemoteIrr;
    if ((entry & kLevel) != 0 && bit(s_.levels, pin)) serve(pin);
}

u64 Ioapic::io_read(u64 offset, unsigned size) {
    std::lock_guard guard(lock_);
    const u64 aligned = offset & ~u64{0xf};
    u64 value = 0;
    if (aligned == kSelect) value = s_.select;
    if (aligned == kWindow) value = read_register(s_.select);
    return (offset & 0xf) < 4 ? value >> (8 * (offset & 0xf)) & mask(size * 8) : 0;
}

void Ioapic::io_write(u64 offset, u64 value, unsigned size) {
    std::lock_guard guard(lock_);
    if (offset == kSelect) s_.select = static_cast<u8>(value);
    if (offset == kWindow && size >= 4) write_register(s_.select, static_cast<u32>(value));
    if (offset == kEoi) end_of_interrupt_locked(static_cast<u8>(value));
}

IoapicState Ioapic::capture() const {
    std::lock_guard guard(lock_);
    return s_;
}

Result<void> Ioapic::apply(const IoapicState& state) {
    if (state.levels >> kPins != 0) return corrupt("levels of pins that do not exist");
    std::lock_guard guard(lock_);
    s_ = state;
    return {};
}

}  // namespace tandem::devices

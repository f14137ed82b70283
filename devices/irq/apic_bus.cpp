#include "devices/irq/apic_bus.h"

#include "base/bits.h"
#include "devices/irq/lapic.h"
#include "devices/irq/trace.h"

namespace tandem::devices {
namespace {

Delivery merge(Delivery a, Delivery b) {
    if (a == Delivery::Delivered || b == Delivery::Delivered) return Delivery::Delivered;
    return a == Delivery::Coalesced ? a : b;
}

bool addressed(const Lapic& lapic, const ApicMessage& message, Shorthand shorthand, const Lapic* sender) {
    switch (shorthand) {
        case Shorthand::Self: return &lapic == sender;
        case Shorthand::AllIncludingSelf: return true;
        case Shorthand::AllExcludingSelf: return &lapic != sender;
        case Shorthand::None: break;
    }
    return lapic.matches(message.destination, message.logical);
}

}  // namespace

void ApicBus::attach(Lapic& lapic) {
    lapics_.push_back(&lapic);
    if (by_id_.size() <= lapic.id()) by_id_.resize(lapic.id() + std::size_t{1});
    by_id_[lapic.id()] = &lapic;
}

Lapic* ApicBus::find(u32 id) const { return id < by_id_.size() ? by_id_[id] : nullptr; }

// The message as a message-signalled interrupt (SDM volume 3, figures 10-24 and 10-25).
Delivery ApicBus::send_to_host(HostControllers& host, const ApicMessage& m) {
    constexpr u64 kAddress = 0xfee00000;
    constexpr u32 kAssert = 1u << 14;
    const u64 address = kAddress | (m.destination & 0xff) << 12 | (m.logical ? 4u : 0u);
    return host.send_message(address, m.vector | static_cast<u32>(m.mode) << 8 | (m.level ? kAssert | 1u << 15 : 0));
}

Delivery ApicBus::send(const ApicMessage& message, Shorthand shorthand, const Lapic* sender) {
    if (HostControllers* host = this->host(); host != nullptr) return send_to_host(*host, message);
    if (message.mode == DeliveryMode::LowestPriority && shorthand == Shorthand::None) return send_to_lowest(message);
    if (shorthand == Shorthand::None && !message.logical && message.destination != ApicMessage::kBroadcast) {
        Lapic* lapic = find(message.destination);
        if (lapic == nullptr || !lapic->matches(message.destination, false)) return Delivery::Ignored;
        return lapic->accept(message.mode, message.vector, message.level);
    }
    Delivery result = Delivery::Ignored;
    for (Lapic* lapic : lapics_) {
        if (addressed(*lapic, message, shorthand, sender)) {
            result = merge(result, lapic->accept(message.mode, message.vector, message.level));
        }
    }
    return result;
}

Delivery ApicBus::send_to_lowest(const ApicMessage& message) {
    unsigned lowest = 256;
    unsigned candidates = 0;
    auto eligible = [&](const Lapic* l) { return l->accepts_fixed() && l->matches(message.destination, message.logical); };
    for (const Lapic* lapic : lapics_) {
        if (!eligible(lapic)) continue;
        const unsigned priority = lapic->processor_priority() >> 4;
        if (priority < lowest) candidates = 0;
        if (priority <= lowest) ++candidates;
        lowest = std::min(lowest, priority);
    }
    if (candidates == 0) return Delivery::Ignored;
    // Equal priorities: the vector chooses, so that a device's interrupts stay on one processor and different devices
    // spread.
    unsigned skip = message.vector % candidates;
    Lapic* chosen = nullptr;
    for (Lapic* lapic : lapics_) {
        if (!eligible(lapic)) continue;
        // Priorities move meanwhile: any eligible one will do when the winner has gone.
        if (chosen == nullptr) chosen = lapic;
        if (lapic->processor_priority() >> 4 > lowest) continue;
        chosen = lapic;
        if (skip-- == 0) break;
    }
    return chosen == nullptr ? Delivery::Ignored : chosen->accept(DeliveryMode::Fixed, message.vector, message.level);
}

void ApicBus::broadcast_eoi(u8 vector) {
    for (EoiListener* l : listeners_) l->end_of_interrupt(vector);
}

std::optional<ApicMessage> ApicBus::read_msi(u64 address, u32 data) {
    if (bits(address, 63, 20) != 0xfee) return {};
    ApicMessage m;
    m.destination = ApicMessage::widen(static_cast<u8>(bits(address, 19, 12)));
    // The destination mode counts only together with the redirection hint (SDM volume 3, 10.11.1); both then ask for the
    // lowest priority among the addressees.
    const bool hint = bit(address, 3);
    m.logical = bit(address, 2);
    m.mode = static_cast<DeliveryMode>(bits(data, 10, 8));
    if (hint && m.mode == DeliveryMode::Fixed) m.mode = DeliveryMode::LowestPriority;
    m.vector = static_cast<u8>(bits(data, 7, 0));
    m.level = bit(data, 15);
    if (m.level && !bit(data, 14)) return {};
    log::trace(log::Exits, "kvm_msi_set_irq: dst {:x} vec {} ({}|{}|{}{})", bits(address, 19, 12), m.vector,
               mode_name(static_cast<DeliveryMode>(bits(data, 10, 8))), destination_name(m.logical), trigger_name(m.level),
               hint ? "|rh" : "");
    return m;
}

Delivery ApicBus::deliver_msi(u64 address, u32 data) {
    const auto message = read_msi(address, data);
    if (!message) return Delivery::Ignored;
    if (HostControllers* host = this->host(); host != nullptr) return host->send_message(address, data);
    return send(*message);
}

void ApicBus::send_msi(u64 address, u32 data, u16) {
    const auto message = read_msi(address, data);
    if (!message) return;
    if (HostControllers* host = this->host(); host != nullptr) return host->post_message(address, data);
    send(*message);
}

}  // namespace tandem::devices

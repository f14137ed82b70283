#include "devices/irq/gicv2m.h"

#include "base/log.h"

namespace tandem::devices {
namespace {

constexpr u64 kTyper = 0x008, kSetSpi = 0x040, kIidr = 0xfcc;

}  // namespace

u64 Gicv2m::io_read(u64 offset, unsigned) {
    switch (offset) {
        case kTyper: return first_ << 16 | static_cast<u32>(lines_.size());
        case kIidr: return 0x43b;
        default: return 0;
    }
}

void Gicv2m::io_write(u64 offset, u64 value, unsigned size) {
    if (offset == kSetSpi && size >= 2) raise(static_cast<u32>(value));
}

void Gicv2m::send_msi(u64 address, u32 data, u16) {
    if (address == base_ + kSetSpi) return raise(data);
    log::trace(log::GuestErrors, "guest_errors: message interrupt to {:#x}, where nothing takes it", address);
}

void Gicv2m::raise(u32 number) {
    if (number < first_ || number - first_ >= lines_.size()) {
        log::trace(log::GuestErrors, "guest_errors: gicv2m: interrupt {} is not one of the frame's", number);
        return;
    }
    lines_[number - first_].pulse();
}

}  // namespace tandem::devices

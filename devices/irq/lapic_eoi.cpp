// KVM's paravirtual end of interrupt (Linux Documentation/virt/kvm/x86/msr.rst, MSR_KVM_EOI_EN).
#include "devices/irq/lapic.h"

namespace tandem::devices {
namespace {

constexpr u64 kEoiEnable = 1, kEoiReserved = 2;
constexpr u8 kEoiPending = 1;  // the guest need not write EOI: it clears the bit

}  // namespace

bool Lapic::eoi_msr_holds(u64 value) const {
    if (value == 0) return true;
    if (memory_ == nullptr || (value & kEoiReserved) != 0) return false;
    return (value & kEoiEnable) == 0 || !memory_->span(value & ~kEoiEnable, sizeof(u32)).empty();
}

bool Lapic::write_eoi_msr(u64 value) {
    if (memory_ == nullptr || !eoi_msr_holds(value)) return false;
    eoi_msr_ = value;
    return true;
}

// Of an edge, behind which nothing waits: nobody else has to hear of its end. What arrives while it is offered brings the
// processor back, as far as it is to be taken behind the end.
bool Lapic::offer_eoi() {
    const u64 place = eoi_msr_.load(std::memory_order_relaxed);
    if ((place & kEoiEnable) == 0 || bus_.host() != nullptr || ext_int_was_last_) return false;
    const int in_service = isr_.highest();
    if (in_service < 0 || tmr_.test(static_cast<u8>(in_service))) return false;
    eoi_offered_ = true;
    if (irr_.highest() >= 0 || !memory_->write(place & ~kEoiEnable, &kEoiPending, sizeof kEoiPending)) {
        eoi_offered_ = false;
        update_interrupt_line();
        return false;
    }
    return true;
}

void Lapic::take_eoi() {
    const u64 place = eoi_msr_.load(std::memory_order_relaxed);
    eoi_offered_ = false;
    if ((place & kEoiEnable) == 0) return update_interrupt_line();  // an INIT has come meanwhile
    u8 bits = 0;
    if (memory_->read(place & ~kEoiEnable, &bits, sizeof bits) && (bits & kEoiPending) == 0) return write_eoi(0, 0);
    bits &= static_cast<u8>(~kEoiPending);
    memory_->write(place & ~kEoiEnable, &bits, sizeof bits);
    update_interrupt_line();
}

}  // namespace tandem::devices

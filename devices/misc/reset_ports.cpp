#include "devices/misc/reset_ports.h"

#include "base/bits.h"

namespace tandem::devices {
namespace {

// CF9H (PC chip sets): bit 1 chooses a hard reset, the rising edge of bit 2 performs it, bit 3 asks for a power cycle.
constexpr u8 kResetCpu = 0x04, kResetBits = 0x0e;

}  // namespace

void ResetPorts::reset() {
    std::lock_guard guard(lock_);
    s_ = {};
}

// CF9H lies inside the dword of the PCI address port; wider accesses than a byte are not for it.
u64 ResetPorts::Port::io_read(u64, unsigned size) {
    std::lock_guard guard(owner.lock_);
    return (owner.*read)() | (mask(size * 8) & ~u64{0xff});
}

void ResetPorts::Port::io_write(u64, u64 value, unsigned) {
    bool wanted = false;
    {
        std::lock_guard guard(owner.lock_);
        wanted = (owner.*write)(static_cast<u8>(value));
    }
    if (wanted && owner.request_reset_) owner.request_reset_();
}

bool ResetPorts::write_reset_control(u8 value) {
    const bool edge = (value & ~s_.reset_control & kResetCpu) != 0;
    s_.reset_control = value & kResetBits;
    return edge;
}

bool ResetPorts::write_port92(u8 value) {
    // Bit 0: fast reset on its rising edge; bit 1: A20.
    const bool edge = (value & ~s_.port92 & 1) != 0;
    s_.port92 = value;
    return edge;
}

ResetPortsState ResetPorts::capture() const {
    std::lock_guard guard(lock_);
    return s_;
}

Result<void> ResetPorts::apply(const ResetPortsState& state) {
    std::lock_guard guard(lock_);
    s_ = state;
    return {};
}

}  // namespace tandem::devices

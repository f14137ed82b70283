#include "devices/misc/reset_ports.h"

#include "base/bits.h"

namespace tandem::devices {
namespace {

// CF9H (PC chip sets): bit 1 chooses a hard reset, the rising edge of bit 2 performs it, bit 3 asks for a power cycle.
constexpr u8 kResetCpu = 0x04, kResetBits = 0x0e;

constexpr u8 kStatusFull = 0x01, kStatusSystem = 0x04, kStatusCommand = 0x08, kStatusUnlocked = 0x10;

// Keyboard controller commands.
enum Command : u8 {
    kReadCommandByte = 0x20,
    kWriteCommandByte = 0x60,
    kDisableAux = 0xa7,
    kEnableAux = 0xa8,
    kTestAux = 0xa9,
    kSelfTest = 0xaa,
    kTestKeyboard = 0xab,
    kDisableKeyboard = 0xad,
    kEnableKeyboard = 0xae,
    kReadInputPort = 0xc0,
    kReadOutputPort = 0xd0,
    kWriteOutputPort = 0xd1,
    kWriteOutputBuffer = 0xd2,
    kWriteAuxBuffer = 0xd3,
    kWriteAux = 0xd4
};

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

void ResetPorts::answer(u8 value) {
    s_.kbc_output = value;
    s_.kbc_output_full = true;
}

u8 ResetPorts::read_kbc_data() {
    s_.kbc_output_full = false;
    return s_.kbc_output;
}

u8 ResetPorts::read_kbc_status() {
    return static_cast<u8>(s_.kbc_status | kStatusUnlocked | (s_.kbc_output_full ? kStatusFull : 0));
}

bool ResetPorts::write_output_port(u8 value) {
    s_.kbc_output_port = value | 1;
    return (value & 1) == 0;  // bit 0 low holds the processor in reset
}

bool ResetPorts::write_kbc_data(u8 value) {
    s_.kbc_status &= static_cast<u8>(~kStatusCommand);
    const u8 command = s_.kbc_pending;
    s_.kbc_pending = 0;
    switch (command) {
        case kWriteCommandByte:
            s_.kbc_command_byte = value;
            // The system flag of the status register is a copy of the command byte's.
            s_.kbc_status = static_cast<u8>((s_.kbc_status & ~kStatusSystem) | (value & kStatusSystem));
            break;
        case kWriteOutputPort: return write_output_port(value);
        case kWriteOutputBuffer:
        case kWriteAuxBuffer: answer(value); break;
        default: break;  // to a keyboard or mouse that is not there
    }
    return false;
}

bool ResetPorts::write_kbc_command(u8 value) {
    s_.kbc_status |= kStatusCommand;
    s_.kbc_pending = 0;
    switch (value) {
        case kReadCommandByte: answer(s_.kbc_command_byte); break;
        case kSelfTest:
            s_.kbc_status |= kStatusSystem;
            s_.kbc_command_byte |= kStatusSystem;
            answer(0x55);
            break;
        case kTestKeyboard: answer(0); break;
        case kTestAux: answer(0xff); break;  // there is no second port
        case kDisableKeyboard: s_.kbc_command_byte |= 0x10; break;
        case kEnableKeyboard: s_.kbc_command_byte &= 0xef; break;
        case kDisableAux: s_.kbc_command_byte |= 0x20; break;
        case kEnableAux: s_.kbc_command_byte &= 0xdf; break;
        case kReadInputPort: answer(0x80); break;  // keyboard not locked
        case kReadOutputPort: answer(s_.kbc_output_port); break;
        case kWriteCommandByte:
        case kWriteOutputPort:
        case kWriteOutputBuffer:
        case kWriteAuxBuffer:
        case kWriteAux: s_.kbc_pending = value; break;
        default:
            // F0H..FFH pulse the output port's lines whose bits are clear; line 0 is the processor's reset.
            return value >= 0xf0 && (value & 1) == 0;
    }
    return false;
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

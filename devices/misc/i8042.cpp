#include "devices/misc/i8042.h"

#include "base/bits.h"

namespace tandem::devices {
namespace {

constexpr u8 kStatusFull = 0x01, kStatusSystem = 0x04, kStatusCommand = 0x08, kStatusUnlocked = 0x10, kStatusAux = 0x20;
// Command byte.
constexpr u8 kKeyboardInterrupt = 0x01, kAuxInterrupt = 0x02, kSystem = 0x04, kKeyboardOff = 0x10, kAuxOff = 0x20,
             kTranslate = 0x40;
constexpr u8 kA20 = 0x02;

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
    kWriteAux = 0xd4,
    kDisableA20 = 0xdd,
    kEnableA20 = 0xdf
};

}  // namespace

void I8042::reset() {
    std::lock_guard guard(lock_);
    s_ = {};
    keyboard_.reset();
    mouse_.reset();
    drive_lines();
}

void I8042::enter_initialised_state() {
    std::lock_guard guard(lock_);
    s_.status |= kStatusSystem;
    s_.command_byte = kKeyboardInterrupt | kSystem | kAuxOff | kTranslate;
}

u64 I8042::Port::io_read(u64, unsigned size) {
    std::lock_guard guard(owner.lock_);
    return (is_command ? owner.read_status() : owner.read_data()) | (mask(size * 8) & ~u64{0xff});
}

void I8042::Port::io_write(u64, u64 value, unsigned) {
    bool wanted = false;
    {
        std::lock_guard guard(owner.lock_);
        const auto byte = static_cast<u8>(value);
        wanted = is_command ? owner.write_command(byte) : owner.write_data(byte);
        owner.fill();
    }
    if (wanted && owner.request_reset_) owner.request_reset_();
}

// The controller's own answers go before what the devices have to say.
void I8042::answer(u8 value, bool aux) {
    s_.output = value;
    s_.output_full = true;
    s_.output_aux = aux;
}

void I8042::fill() {
    if (!s_.output_full) {
        const bool keyboard = keyboard_.has_byte() && (s_.command_byte & kKeyboardOff) == 0;
        if (keyboard) {
            const u8 byte = keyboard_.take();
            // Translated to scan code set 1, the second byte of the keyboard's identity reads as 41H.
            answer(byte == 0x83 && (s_.command_byte & kTranslate) != 0 ? u8{0x41} : byte);
        } else if (mouse_.has_byte() && (s_.command_byte & kAuxOff) == 0) {
            answer(mouse_.take(), true);
        }
    }
    drive_lines();
}

void I8042::drive_lines() {
    keyboard_irq_.set(s_.output_full && !s_.output_aux && (s_.command_byte & kKeyboardInterrupt) != 0);
    mouse_irq_.set(s_.output_full && s_.output_aux && (s_.command_byte & kAuxInterrupt) != 0);
}

u8 I8042::read_data() {
    const u8 value = s_.output;
    s_.output_full = false;
    s_.output_aux = false;
    // The lines fall between two bytes, which is what edge-triggered controllers wait for.
    drive_lines();
    fill();
    return value;
}

u8 I8042::read_status() const {
    return static_cast<u8>(s_.status | kStatusUnlocked | (s_.output_full ? kStatusFull : 0) |
                           (s_.output_full && s_.output_aux ? kStatusAux : 0));
}

bool I8042::write_output_port(u8 value) {
    s_.output_port = value | 1;
    return (value & 1) == 0;  // bit 0 low holds the processor in reset
}

bool I8042::write_data(u8 value) {
    s_.status &= static_cast<u8>(~kStatusCommand);
    const u8 command = s_.pending;
    s_.pending = 0;
    switch (command) {
        case kWriteCommandByte:
            s_.command_byte = value;
            // The system flag of the status register is a copy of the command byte's.
            s_.status = static_cast<u8>((s_.status & ~kStatusSystem) | (value & kStatusSystem));
            break;
        case kWriteOutputPort: return write_output_port(value);
        case kWriteOutputBuffer: answer(value); break;
        case kWriteAuxBuffer: answer(value, true); break;
        case kWriteAux:
            s_.command_byte &= static_cast<u8>(~kAuxOff);
            mouse_.receive(value);
            break;
        default:
            // Sending to the keyboard turns its clock on.
            s_.command_byte &= static_cast<u8>(~kKeyboardOff);
            keyboard_.receive(value);
            break;
    }
    return false;
}

bool I8042::write_command(u8 value) {
    s_.status |= kStatusCommand;
    s_.pending = 0;
    switch (value) {
        case kReadCommandByte: answer(s_.command_byte); break;
        case kSelfTest:
            s_.status |= kStatusSystem;
            s_.command_byte |= kSystem;
            answer(0x55);
            break;
        case kTestKeyboard:
        case kTestAux: answer(0); break;
        case kDisableKeyboard: s_.command_byte |= kKeyboardOff; break;
        case kEnableKeyboard: s_.command_byte &= static_cast<u8>(~kKeyboardOff); break;
        case kDisableAux: s_.command_byte |= kAuxOff; break;
        case kEnableAux: s_.command_byte &= static_cast<u8>(~kAuxOff); break;
        case kReadInputPort: answer(0x80); break;  // keyboard not locked
        case kReadOutputPort: answer(s_.output_port); break;
        case kDisableA20: s_.output_port &= static_cast<u8>(~kA20); break;
        case kEnableA20: s_.output_port |= kA20; break;
        case kWriteCommandByte:
        case kWriteOutputPort:
        case kWriteOutputBuffer:
        case kWriteAuxBuffer:
        case kWriteAux: s_.pending = value; break;
        default:
            // F0H..FFH pulse the output port's lines whose bits are clear; line 0 is the processor's reset.
            return value >= 0xf0 && (value & 1) == 0;
    }
    return false;
}

I8042State I8042::capture() const {
    std::lock_guard guard(lock_);
    I8042State s = s_;
    s.keyboard = keyboard_.state();
    s.mouse = mouse_.state();
    return s;
}

Result<void> I8042::apply(const I8042State& state) {
    if (!Ps2Device::valid(state.keyboard) || !Ps2Device::valid(state.mouse)) return corrupt("queue indexes out of range");
    std::lock_guard guard(lock_);
    s_ = state;
    keyboard_.apply(state.keyboard);
    mouse_.apply(state.mouse);
    drive_lines();
    return {};
}

}  // namespace tandem::devices

#include "devices/misc/ps2.h"

namespace tandem::devices {
namespace {

constexpr u8 kAck = 0xfa, kResendReply = 0xfe, kSelfTestPassed = 0xaa;

enum Command : u8 {
    kMouseScaling1 = 0xe6,
    kMouseScaling2 = 0xe7,
    kMouseResolution = 0xe8,
    kMouseStatus = 0xe9,
    kMouseStream = 0xea,
    kMouseRead = 0xeb,
    kMouseResetWrap = 0xec,
    kKeyboardLeds = 0xed,
    kKeyboardEcho = 0xee,
    kKeyboardScanCodes = 0xf0,
    kMouseRemote = 0xf0,
    kIdentify = 0xf2,
    kRate = 0xf3,
    kEnable = 0xf4,
    kDisable = 0xf5,
    kDefaults = 0xf6,
    kResend = 0xfe,
    kReset = 0xff
};

}  // namespace

void Ps2Device::reset() {
    s_ = {};
    set_defaults();
}

void Ps2Device::set_defaults() {
    s_.setting = 2;  // scan code set 2; 4 counts per millimetre
    s_.rate = kind_ == Kind::Mouse ? 100 : 0x2b;
    s_.scaling = false;
    // A keyboard scans from the start, a mouse reports when asked to.
    s_.reporting = kind_ == Kind::Keyboard;
}

void Ps2Device::send(std::initializer_list<u8> bytes) {
    for (const u8 b : bytes) {
        if (s_.count == s_.queue.size()) return;
        s_.queue[(s_.head + s_.count++) % s_.queue.size()] = b;
    }
}

u8 Ps2Device::take() {
    s_.last = s_.queue[s_.head];
    s_.head = static_cast<u8>((s_.head + 1u) % s_.queue.size());
    --s_.count;
    return s_.last;
}

void Ps2Device::receive(u8 byte) {
    // A new byte from the host discards what it has not read.
    s_.count = 0;
    if (s_.pending != 0) {
        const u8 command = s_.pending;
        s_.pending = 0;
        return parameter(command, byte);
    }
    if (common_command(byte)) return;
    if (kind_ == Kind::Keyboard) return keyboard_command(byte);
    mouse_command(byte);
}

void Ps2Device::parameter(u8 command, u8 value) {
    send({kAck});
    if (command == kRate) s_.rate = value;
    if (kind_ == Kind::Keyboard && command == kKeyboardScanCodes) {
        if (value == 0) {
            send({s_.setting});
        } else {
            s_.setting = value & 3;
        }
    }
    if (kind_ == Kind::Mouse && command == kMouseResolution) s_.setting = value & 3;
}

bool Ps2Device::common_command(u8 command) {
    switch (command) {
        case kRate:
            s_.pending = command;
            send({kAck});
            return true;
        case kEnable:
            s_.reporting = true;
            send({kAck});
            return true;
        case kDisable:
        case kDefaults: {
            const bool reporting = command == kDefaults && s_.reporting;
            set_defaults();
            s_.reporting = reporting;
            send({kAck});
            return true;
        }
        case kResend: send({s_.last}); return true;
        default: return false;
    }
}

void Ps2Device::keyboard_command(u8 command) {
    switch (command) {
        case kKeyboardLeds:
        case kKeyboardScanCodes:
            s_.pending = command;
            send({kAck});
            break;
        case kKeyboardEcho: send({kKeyboardEcho}); break;
        case kIdentify: send({kAck, 0xab, 0x83}); break;
        case kReset:
            reset();
            send({kAck, kSelfTestPassed});
            break;
        default: send({kResendReply}); break;
    }
}

void Ps2Device::mouse_command(u8 command) {
    switch (command) {
        case kMouseScaling1:
        case kMouseScaling2:
            s_.scaling = command == kMouseScaling2;
            send({kAck});
            break;
        case kMouseResolution:
            s_.pending = command;
            send({kAck});
            break;
        case kMouseStatus:
            send({kAck, static_cast<u8>((s_.reporting ? 0x20 : 0) | (s_.scaling ? 0x10 : 0)), s_.setting, s_.rate});
            break;
        case kMouseRead: send({kAck, 0x08, 0, 0}); break;  // nothing moved
        case kMouseStream:
        case kMouseResetWrap:
        case kMouseRemote: send({kAck}); break;
        case kIdentify: send({kAck, 0x00}); break;
        case kReset:
            reset();
            send({kAck, kSelfTestPassed, 0x00});
            break;
        default: send({kResendReply}); break;
    }
}

}  // namespace tandem::devices

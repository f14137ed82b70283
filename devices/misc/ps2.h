// A PS/2 keyboard or mouse as its controller sees it: bytes in, bytes out (IBM Personal System/2 Hardware Interface
// Technical Reference, "Keyboard" and "Auxiliary Device"). Nobody presses keys yet: it answers commands, which is what
// drivers and firmware look for. Not synchronised; the controller's lock covers it.
#pragma once

#include <array>
#include <initializer_list>

#include "base/types.h"

namespace tandem::devices {

struct Ps2State {
    std::array<u8, 16> queue{};  // bytes for the host, oldest at head
    u8 head = 0, count = 0;
    u8 pending = 0;  // command that waits for its parameter; 0: none
    u8 last = 0;     // last byte that was taken, for the resend command
    bool reporting = false;
    u8 setting = 0;  // keyboard: scan code set; mouse: resolution
    u8 rate = 0;
    bool scaling = false;  // mouse: 2:1
    void visit(auto& v) {
        v("queue", queue);
        v("head", head);
        v("count", count);
        v("pending", pending);
        v("last", last);
        v("reporting", reporting);
        v("setting", setting);
        v("rate", rate);
        v("scaling", scaling);
    }
};

class Ps2Device {
public:
    enum class Kind : u8 { Keyboard, Mouse };
    explicit Ps2Device(Kind kind) : kind_(kind) { reset(); }

    void reset();
    // A byte from the controller: a command or the parameter of the one before.
    void receive(u8 byte);
    [[nodiscard]] bool has_byte() const { return s_.count != 0; }
    u8 take();

    [[nodiscard]] const Ps2State& state() const { return s_; }
    // Whether a saved state is one; apply() takes it.
    [[nodiscard]] static bool valid(const Ps2State& s) { return s.head < 16 && s.count <= 16; }
    void apply(const Ps2State& s) { s_ = s; }

private:
    void set_defaults();
    void send(std::initializer_list<u8> bytes);
    void parameter(u8 command, u8 value);
    bool common_command(u8 command);
    void keyboard_command(u8 command);
    void mouse_command(u8 command);

    Kind kind_;
    Ps2State s_;
};

}  // namespace tandem::devices

// Keyboard controller 8042 at ports 60H and 64H with a PS/2 keyboard and mouse behind it (IBM Personal System/2 Hardware
// Interface Technical Reference, "Keyboard and Auxiliary Device Controller").
#pragma once

#include <functional>
#include <mutex>

#include "devices/fabric/address_space.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/state.h"
#include "devices/misc/ps2.h"

namespace tandem::devices {

struct I8042State {
    static constexpr u32 kVersion = 1;
    u8 status = 0;  // system flag and command/data bits; the others follow
    u8 command_byte = 0x30;
    u8 output_port = 3;
    u8 pending = 0;  // command that waits for its data byte; 0: none
    u8 output = 0;
    bool output_full = false;
    bool output_aux = false;  // it came from the mouse
    Ps2State keyboard, mouse;
    void visit(auto& v) {
        v("status", status);
        v("command_byte", command_byte);
        v("output_port", output_port);
        v("pending", pending);
        v("output", output);
        v("output_full", output_full);
        v("output_aux", output_aux);
        v("keyboard", keyboard);
        v("mouse", mouse);
    }
};

// The A20 bit of the output port is kept and read back, but address line 20 is never masked.
class I8042 final : public StatefulDevice<I8042State> {
public:
    // `request_reset` is called on the vCPU's thread without locks.
    I8042(IrqLine keyboard, IrqLine mouse, std::function<void()> request_reset)
        : keyboard_irq_(std::move(keyboard)), mouse_irq_(std::move(mouse)), request_reset_(std::move(request_reset)) {}

    [[nodiscard]] IoHandler& data() { return data_; }        // 60H
    [[nodiscard]] IoHandler& command() { return command_; }  // 64H

    // What firmware leaves: self-tested, keyboard on with interrupts and translation.
    void enter_initialised_state();

    [[nodiscard]] std::string_view name() const override { return "i8042"; }
    void reset() override;

private:
    I8042State capture() const override;
    Result<void> apply(const I8042State& state) override;

    struct Port final : IoHandler {
        Port(I8042& o, bool c) : owner(o), is_command(c) {}
        u64 io_read(u64 offset, unsigned size) override;
        void io_write(u64 offset, u64 value, unsigned size) override;
        I8042& owner;
        bool is_command;
    };

    u8 read_data();
    u8 read_status() const;
    // True: reset the machine.
    bool write_data(u8 value);
    bool write_command(u8 value);
    bool write_output_port(u8 value);
    void answer(u8 value, bool aux = false);
    void fill();
    void drive_lines();

    IrqLine keyboard_irq_, mouse_irq_;
    std::function<void()> request_reset_;
    mutable std::mutex lock_;  // guards what follows; held while the lines are driven
    I8042State s_;             // without the two devices'
    Ps2Device keyboard_{Ps2Device::Kind::Keyboard};
    Ps2Device mouse_{Ps2Device::Kind::Mouse};
    Port data_{*this, false};
    Port command_{*this, true};
};

}  // namespace tandem::devices

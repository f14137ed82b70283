// The ways in which PC software resets the machine: port CF9H, port 92H, and the keyboard controller at 60H and 64H, which
// has no keyboard or mouse behind it.
#pragma once

#include <functional>
#include <mutex>

#include "devices/fabric/address_space.h"
#include "devices/fabric/state.h"

namespace tandem::devices {

struct ResetPortsState {
    static constexpr u32 kVersion = 1;
    u8 reset_control = 0;  // CF9H
    u8 port92 = 2;
    u8 kbc_status = 0;  // system flag and command/data bits; the others follow
    u8 kbc_command_byte = 0x30;
    u8 kbc_output_port = 3;
    u8 kbc_pending = 0;  // command that waits for its data byte; 0: none
    bool kbc_output_full = false;
    u8 kbc_output = 0;
    void visit(auto& v) {
        v("reset_control", reset_control);
        v("port92", port92);
        v("kbc_status", kbc_status);
        v("kbc_command_byte", kbc_command_byte);
        v("kbc_output_port", kbc_output_port);
        v("kbc_pending", kbc_pending);
        v("kbc_output_full", kbc_output_full);
        v("kbc_output", kbc_output);
    }
};

// The A20 bits are kept and read back, but address line 20 is never masked.
class ResetPorts final : public StatefulDevice<ResetPortsState> {
public:
    // Called on the vCPU's thread without locks. The machine may act on it later.
    explicit ResetPorts(std::function<void()> request_reset) : request_reset_(std::move(request_reset)) {}

    // One port each.
    [[nodiscard]] IoHandler& reset_control() { return reset_control_; }  // CF9H
    [[nodiscard]] IoHandler& port92() { return port92_; }
    [[nodiscard]] IoHandler& kbc_data() { return kbc_data_; }        // 60H
    [[nodiscard]] IoHandler& kbc_command() { return kbc_command_; }  // 64H

    [[nodiscard]] std::string_view name() const override { return "reset-ports"; }
    void reset() override;

private:
    ResetPortsState capture() const override;
    Result<void> apply(const ResetPortsState& state) override;

    using Reader = u8 (ResetPorts::*)();
    using Writer = bool (ResetPorts::*)(u8);  // true: reset the machine
    struct Port final : IoHandler {
        Port(ResetPorts& o, Reader r, Writer w) : owner(o), read(r), write(w) {}
        u64 io_read(u64 offset, unsigned size) override;
        void io_write(u64 offset, u64 value, unsigned size) override;
        ResetPorts& owner;
        Reader read;
        Writer write;
    };

    u8 read_reset_control() { return s_.reset_control; }
    bool write_reset_control(u8 value);
    u8 read_port92() { return s_.port92; }
    bool write_port92(u8 value);
    u8 read_kbc_data();
    bool write_kbc_data(u8 value);
    u8 read_kbc_status();
    bool write_kbc_command(u8 value);
    void answer(u8 value);
    bool write_output_port(u8 value);

    std::function<void()> request_reset_;
    mutable std::mutex lock_;
    ResetPortsState s_;
    Port reset_control_{*this, &ResetPorts::read_reset_control, &ResetPorts::write_reset_control};
    Port port92_{*this, &ResetPorts::read_port92, &ResetPorts::write_port92};
    Port kbc_data_{*this, &ResetPorts::read_kbc_data, &ResetPorts::write_kbc_data};
    Port kbc_command_{*this, &ResetPorts::read_kbc_status, &ResetPorts::write_kbc_command};
};

}  // namespace tandem::devices

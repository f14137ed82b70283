// Ports through which PC software resets the machine: CF9H and 92H (the keyboard controller's way is in i8042.h).
#pragma once

#include <functional>
#include <mutex>

#include "devices/fabric/address_space.h"
#include "devices/fabric/state.h"

namespace tandem::devices {

struct ResetPortsState {
    static constexpr u32 kVersion = 2;
    u8 reset_control = 0;  // CF9H
    u8 port92 = 2;
    void visit(auto& v) {
        v("reset_control", reset_control);
        v("port92", port92);
    }
};

// The A20 bit of port 92H is kept and read back, but address line 20 is never masked.
class ResetPorts final : public StatefulDevice<ResetPortsState> {
public:
    // Called on the vCPU's thread without locks. The machine may act on it later.
    explicit ResetPorts(std::function<void()> request_reset) : request_reset_(std::move(request_reset)) {}

    // One port each.
    [[nodiscard]] IoHandler& reset_control() { return reset_control_; }  // CF9H
    [[nodiscard]] IoHandler& port92() { return port92_; }

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

    std::function<void()> request_reset_;
    mutable std::mutex lock_;
    ResetPortsState s_;
    Port reset_control_{*this, &ResetPorts::read_reset_control, &ResetPorts::write_reset_control};
    Port port92_{*this, &ResetPorts::read_port92, &ResetPorts::write_port92};
};

}  // namespace tandem::devices

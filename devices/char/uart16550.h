// 16550A UART (National Semiconductor PC16550D data sheet).
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "devices/fabric/address_space.h"
#include "devices/fabric/backends.h"
#include "devices/fabric/clock.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/state.h"

namespace tandem::devices {

struct UartState {
    static constexpr u32 kVersion = 1;
    u8 ier = 0, lcr = 0, mcr = 0, lsr = 0, msr = 0, scr = 0, fcr = 0;
    u16 divisor = 12;
    std::array<u8, 16> fifo{};   // received, oldest at fifo_head
    std::array<u8, 16> flags{};  // LSR error bits of each
    u8 fifo_head = 0, fifo_count = 0;
    bool thre_pending = false;
    bool timeout_pending = false;
    u64 timeout_left_ns = 0;  // 0: not running
    void visit(auto& v) {
        v("ier", ier);
        v("lcr", lcr);
        v("mcr", mcr);
        v("lsr", lsr);
        v("msr", msr);
        v("scr", scr);
        v("fcr", fcr);
        v("divisor", divisor);
        v("fifo", fifo);
        v("flags", flags);
        v("fifo_head", fifo_head);
        v("fifo_count", fifo_count);
        v("thre_pending", thre_pending);
        v("timeout_pending", timeout_pending);
        v("timeout_left_ns", timeout_left_ns);
    }
};

// Transmission takes no time: a character leaves as it is written, whatever the baud rate. Reception is limited by the FIFO:
// the back end keeps what does not fit until the guest has read. Modem inputs are those of an attached null modem (DCD, DSR,
// CTS up).
class Uart16550 final : public StatefulDevice<UartState>, public IoHandler {
public:
    static constexpr u64 kPorts = 8;

    // `backend` may be null (output is dropped, no input) and outlives the UART otherwise.
    Uart16550(CharBackend* backend, Clock& clock, IrqLine irq, std::string name = "uart16550");
    ~Uart16550() override;

    u64 io_read(u64 offset, unsigned size) override;
    void io_write(u64 offset, u64 value, unsigned size) override;

    // Host input; the number of bytes taken. Called by the back end.
    std::size_t receive(std::span<const u8> bytes);
    // A break condition on the line.
    void receive_break();

    [[nodiscard]] std::string_view name() const override { return name_; }
    void reset() override;
    void machine_stopped() override;
    void machine_continues() override;

private:
    UartState capture() const override;
    Result<void> apply(const UartState& state) override;

    // What an access leaves to be done once the lock is released.
    struct Actions {
        std::array<u8, 8> output{};
        u8 output_count = 0;
        bool resume = false;
    };

    u8 read_register(unsigned port, Actions& actions);
    void write_register(unsigned port, u8 value, Actions& actions);
    u8 read_data(Actions& actions);
    void write_data(u8 value, Actions& actions);
    void write_fcr(u8 value, Actions& actions);
    void write_mcr(u8 value, Actions& actions);
    void push(u8 byte, u8 flags);
    void clear_receiver();
    [[nodiscard]] bool listening() const;
    [[nodiscard]] bool fifo_enabled() const;
    [[nodiscard]] unsigned capacity() const;
    [[nodiscard]] unsigned trigger() const;
    [[nodiscard]] u64 character_ns() const;
    [[nodiscard]] u8 line_status() const;
    [[nodiscard]] u8 interrupt_id() const;
    void set_modem_inputs(u8 inputs);
    void restart_timeout();
    void on_timeout();
    void update();
    void finish(const Actions& actions);

    const std::string name_;
    CharBackend* backend_;
    Clock& clock_;
    IrqLine irq_;
    mutable std::mutex lock_;
    UartState s_;
    bool resting_ = false;  // with the machine
    // Not saved: a guest that polls shows it again at once.
    bool status_read_ = false;  // since the last character sent
    bool polled_ = false;
    u64 timeout_at_ns_ = Timer::kNever;
    std::unique_ptr<Timer> timer_;
};

}  // namespace tandem::devices

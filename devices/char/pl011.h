// PL011 UART (Arm PrimeCell UART technical reference manual, DDI 0183G).
#pragma once

#include <array>
#include <mutex>
#include <string>

#include "devices/fabric/address_space.h"
#include "devices/fabric/backends.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/register_bank.h"
#include "devices/fabric/state.h"

namespace tandem::devices {

struct Pl011State {
    static constexpr u32 kVersion = 1;
    std::vector<u64> registers;
    u32 raw_interrupts = 0;
    std::array<u16, 32> fifo{};  // received characters with their error bits, oldest at fifo_head
    u8 fifo_head = 0, fifo_count = 0;
    u32 status = 0;  // UARTRSR
    void visit(auto& v) {
        v("registers", registers);
        v("raw_interrupts", raw_interrupts);
        v("fifo", fifo);
        v("fifo_head", fifo_head);
        v("fifo_count", fifo_count);
        v("status", status);
    }
};

// Transmission takes no time: a character leaves as it is written. Reception is limited by the FIFO: the back end keeps what
// does not fit until the guest has read, and everything until the guest has switched the receiver on.
class Pl011 final : public StatefulDevice<Pl011State>, public IoHandler {
public:
    static constexpr u64 kFrameSize = 0x1000;

    // `backend` may be null (output is dropped, no input) and outlives the UART otherwise.
    Pl011(CharBackend* backend, IrqLine irq, std::string name = "pl011");
    ~Pl011() override;

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
    using Reg = Register<Pl011>;
    static std::span<const Reg> rows();

    [[nodiscard]] Pl011State capture() const override;
    Result<void> apply(const Pl011State& state) override;

    u64 read_data(const Reg&, u64 stored);
    void write_data(const Reg&, u64 old, u64 written);
    u64 read_status(const Reg&, u64 stored);
    void clear_status(const Reg&, u64 old, u64 written);
    u64 read_flags(const Reg&, u64 stored);
    void write_line_control(const Reg&, u64 old, u64 written);
    u64 read_raw(const Reg&, u64 stored);
    u64 read_masked(const Reg&, u64 stored);
    void clear_interrupts(const Reg&, u64 old, u64 written);

    [[nodiscard]] u64 get(u32 offset) const;
    [[nodiscard]] unsigned capacity() const;
    [[nodiscard]] unsigned trigger() const;
    [[nodiscard]] bool receiving() const;
    void push(u16 character);
    void update();

    const std::string name_;
    CharBackend* backend_;
    IrqLine irq_;
    mutable std::mutex lock_;
    RegisterBank<Pl011> registers_;
    Pl011State s_;          // without the registers
    bool resting_ = false;  // with the machine
    // What an access leaves to be done once the lock is released.
    struct Actions {
        bool send = false;
        u8 byte = 0;
        bool resume = false;
    } actions_;
};

}  // namespace tandem::devices

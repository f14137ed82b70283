// A cascaded pair of 8259A interrupt controllers with the edge/level control registers of PC chip sets.
#pragma once

#include <array>
#include <mutex>

#include "devices/fabric/address_space.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/pc_controllers.h"
#include "devices/fabric/state.h"

namespace tandem::devices {

// Lines and acknowledge() come from any thread; one lock serialises both chips. The output is driven under it: its sink must
// not call back.
class PicPair final : public StatefulDevice<PicState> {
public:
    static constexpr u64 kPorts = 2;  // size of each of the three port ranges

    // `output` is INTR of the master.
    explicit PicPair(IrqLine output);

    // Two ports each: 20H, A0H and 4D0H on a PC.
    [[nodiscard]] IoHandler& master_ports() { return master_; }
    [[nodiscard]] IoHandler& slave_ports() { return slave_; }
    [[nodiscard]] IoHandler& elcr_ports() { return elcr_; }

    // Inputs 0..15 (2 is the cascade and ignored). An edge is latched until it is acknowledged. Coalesced: still latched.
    Delivery set_line(unsigned irq, bool level);
    [[nodiscard]] IrqLine line(unsigned irq) {
        return IrqLine([this, irq](bool level) { return set_line(irq, level); });
    }

    // Who runs both chips in place of this model, or null. While no vCPU runs and no device raises anything.
    void set_host(HostControllers* host);

    // Interrupt acknowledge cycle: the vector; that of IR7 when the request has gone (spurious interrupt).
    int acknowledge();
    [[nodiscard]] bool output() const;

    // As save() and restore(), for who exchanges state inside the program.
    [[nodiscard]] PicState save_typed() const { return capture(); }
    Result<void> restore_typed(const PicState& state) { return apply(state); }

    [[nodiscard]] std::string_view name() const override { return "pic"; }
    void reset() override;

private:
    PicState capture() const override;
    Result<void> apply(const PicState& state) override;

    struct Ports final : IoHandler {
        Ports(PicPair& p, unsigned which_chip) : pic(p), chip(which_chip) {}
        u64 io_read(u64 offset, unsigned size) override;
        void io_write(u64 offset, u64 value, unsigned size) override;
        PicPair& pic;
        unsigned chip;
    };
    struct ElcrPorts final : IoHandler {
        explicit ElcrPorts(PicPair& p) : pic(p) {}
        u64 io_read(u64 offset, unsigned size) override;
        void io_write(u64 offset, u64 value, unsigned size) override;
        PicPair& pic;
    };

    u8 read_port(unsigned chip, unsigned port);
    void write_port(unsigned chip, unsigned port, u8 value);
    void write_command(unsigned chip, u8 value);
    void write_data(unsigned chip, u8 value);
    void initialise(unsigned chip, u8 icw1);
    void write_ocw2(unsigned chip, u8 value);
    [[nodiscard]] int pending(unsigned chip) const;
    int acknowledge_chip(unsigned chip);
    void update();

    mutable std::mutex lock_;
    PicState s_;
    bool out_ = false;
    HostControllers* host_ = nullptr;
    IrqLine output_;
    Ports master_{*this, 0}, slave_{*this, 1};
    ElcrPorts elcr_{*this};
};

}  // namespace tandem::devices

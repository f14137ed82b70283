// The root complex: bus 0, configuration by ports 0xcf8..0xcff (PCI Local Bus 3.0, 3.2.2.3.2) and by the memory-mapped
// window (PCI Express Base, 7.2.2), and the shared interrupt lines that the functions' pins lead to.
#pragma once

#include <array>
#include <map>
#include <mutex>

#include "devices/pci/function.h"
#include "devices/pci/shared_line.h"

namespace tandem::devices::pci {

constexpr unsigned kSlots = 32;
constexpr unsigned kFunctions = 8;
constexpr unsigned kPirqs = 8;  // PIRQA# ... PIRQH#

// The shared line a pin (1: INTA ... 4) of a slot on bus 0 leads to. The machine's firmware tables say the same.
constexpr unsigned pirq_of(unsigned slot, unsigned pin) { return (slot + pin - 1) % kPirqs; }

struct RootState {
    static constexpr u32 kVersion = 1;
    u32 config_address = 0;
    void visit(auto& v) { v("config_address", config_address); }
};

class PcieRoot final : public StatefulDevice<RootState> {
public:
    struct Wiring {
        AddressSpace* memory = nullptr;
        AddressSpace* io = nullptr;
        MsiSink* msi = nullptr;
        std::array<IrqLine, kPirqs> pirq;  // outputs
    };
    explicit PcieRoot(Wiring wiring);

    // Puts a function (not owned) into bus 0. Busy when the place is taken; InvalidArgument when it does not exist.
    Result<void> attach(unsigned slot, unsigned function, PciFunction& device);
    // The lowest slot at or above `from` with no function; NotFound when bus 0 is full.
    [[nodiscard]] Result<unsigned> free_slot(unsigned from) const;

    // Claims the configuration ports. `reset_control` answers byte accesses to port 0xcf9, which lies among them.
    Result<void> map_ports(u16 base, IoHandler* reset_control);
    // Maps, moves (size is kept a multiple of 1 MiB, one per bus) or, with size 0, removes the memory-mapped window.
    Result<void> set_ecam(u64 base, u64 size);

    struct Window {
        u64 base = 0;
        u64 size = 0;
    };
    // "SLOT.FUNCTION" as -device's addr takes it; empty for a function that is not here.
    [[nodiscard]] std::string address_of(const PciFunction& function) const;
    // Gives every BAR an address as firmware would; decoding stays off. Unsupported when a window is too small.
    Result<void> assign_resources(Window memory32, Window memory64, Window io);

    [[nodiscard]] std::string_view name() const override { return "pcie-root"; }
    void reset() override;

protected:
    [[nodiscard]] RootState capture() const override;
    Result<void> apply(const RootState& state) override;

private:
    class Ports final : public IoHandler {
    public:
        explicit Ports(PcieRoot& root) : root_(root) {}
        u64 io_read(u64 offset, unsigned size) override;
        void io_write(u64 offset, u64 value, unsigned size) override;
        IoHandler* reset_control = nullptr;

    private:
        PcieRoot& root_;
    };
    class Ecam final : public IoHandler {
    public:
        explicit Ecam(PcieRoot& root) : root_(root) {}
        u64 io_read(u64 offset, unsigned size) override;
        void io_write(u64 offset, u64 value, unsigned size) override;

    private:
        PcieRoot& root_;
    };

    // `address`: bus 27:20, slot 19:15, function 14:12, register 11:0. Nobody there reads as all ones.
    u32 read(u32 address, unsigned size);
    void write(u32 address, u32 value, unsigned size);
    [[nodiscard]] PciFunction* at(u32 address) const;

    Wiring wiring_;
    std::array<SharedLine, kPirqs> pirq_;
    mutable std::recursive_mutex lock_;  // configuration accesses; a bridge's register may move the window it came through
    std::map<unsigned, PciFunction*> functions_;  // by slot * 8 + function
    u32 config_address_ = 0;
    Ports ports_{*this};
    Ecam ecam_{*this};
    u64 ecam_base_ = 0, ecam_size_ = 0;
};

}  // namespace tandem::devices::pci

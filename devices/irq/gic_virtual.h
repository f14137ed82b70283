// The virtual CPU interface of one processor, as both generations of the GIC have it: list registers that a hypervisor
// fills, the interface that its guest works on, and the maintenance interrupt (IHI 0048B, 5; IHI 0069H, 6).
#pragma once

#include "devices/irq/gic_bank.h"

namespace tandem::devices::gic {

constexpr unsigned kListRegisters = 4;

struct ListRegister {
    static constexpr u8 kPending = 1, kActive = 2;
    u8 state = 0;  // kPending and kActive
    bool hardware = false;
    bool group1 = false;
    bool eoi = false;  // not hardware: its end is a maintenance event
    u8 priority = 0;   // 5 bits, at 7:3
    u8 source = 0;     // GICv2: the processor that sent an SGI
    u16 physical = 0;  // hardware: the interrupt that ends with this one
    u32 id = 0;
    void visit(auto& v) {
        v("state", state);
        v("hardware", hardware);
        v("group1", group1);
        v("eoi", eoi);
        v("priority", priority);
        v("source", source);
        v("physical", physical);
        v("id", id);
    }
};

struct VirtualState {
    [[nodiscard]] bool valid() const;
    u32 hcr = 0;
    bool ack_control = false;  // VMCR.VAckCtl
    bool fiq_enabled = false;  // VMCR.VFIQEn
    Priorities priorities;
    std::array<ListRegister, kListRegisters> list{};
    void visit(auto& v) {
        v("hcr", hcr);
        v("ack_control", ack_control);
        v("fiq_enabled", fiq_enabled);
        v("priorities", priorities);
        v("list", list);
    }
};

// No locking: the controller's lock is held. `deactivate` ends a physical interrupt.
class VirtualInterface {
public:
    // HCR
    static constexpr u32 kEnable = 1;
    static constexpr u32 kEoiCountShift = 27;
    static constexpr u32 kHcrWritable = 0xf80000ff;

    VirtualState s;

    void reset() { s = {}; }
    // --- The hypervisor's side
    [[nodiscard]] u32 misr() const;
    [[nodiscard]] u32 eisr() const;
    [[nodiscard]] u32 elrsr() const;
    [[nodiscard]] bool maintenance() const { return (s.hcr & kEnable) != 0 && misr() != 0; }
    // VMCR without the priority mask, which lies elsewhere in the two generations.
    [[nodiscard]] u32 vmcr() const;
    void set_vmcr(u32 value);

    // --- The guest's side
    [[nodiscard]] Candidate highest() const;
    // What the virtual lines show.
    [[nodiscard]] bool irq() const;
    [[nodiscard]] bool fiq() const;
    // The list register of the interrupt that is acknowledged, now active. Nothing: spurious.
    const ListRegister* acknowledge();
    // End of interrupt and deactivation; `source` of an SGI. Answers the physical interrupt to deactivate.
    std::optional<u16> end(u32 id, u8 source);
    std::optional<u16> deactivate(u32 id, u8 source);

private:
    // Index of the register that is pending with the highest priority, in an enabled group; -1: none.
    [[nodiscard]] int highest_register() const;
    [[nodiscard]] static Candidate candidate(const ListRegister& r) {
        return {r.id, r.priority, static_cast<u8>(r.group1 ? 1 : 0)};
    }
};

}  // namespace tandem::devices::gic

// What a machine sees of an Arm interrupt controller of either generation.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "devices/fabric/address_space.h"
#include "devices/fabric/device.h"
#include "devices/fabric/host_gic.h"
#include "devices/fabric/interrupts.h"
#include "devices/irq/gic_bank.h"

namespace tandem::devices {

// An access to a register of the GIC that the processor does as MSR or MRS.
struct GicRegisterAccess {
    u16 encoding = 0;  // devices/fabric/system_register.h
    u8 level = 0;      // exception level
    bool write = false;
    bool routes_irq = false, routes_fiq = false;  // HCR_EL2.IMO, FMO: EL1's accesses are to the virtual interface
    u64 data = 0;                                 // written, or the answer
};
enum class GicRegisterAnswer : u8 { Undefined, Done, TrapToEl2 };

// Threads: inputs from any thread, registers from the vCPU's. One lock per controller, under which the processors' lines and
// the inputs of a controller elsewhere are driven; it is a leaf but for those.
class Gic {
public:
    static constexpr unsigned kFirstPpi = 16, kFirstSpi = 32;

    virtual ~Gic() = default;
    [[nodiscard]] virtual Device& device() = 0;

    // Set-up.
    void connect(unsigned cpu, CpuSignals& signals);
    // Makes every frame known to `space`, for those who list or reach it without being a processor (as processor 0).
    Result<void> map(AddressSpace& space);
    [[nodiscard]] unsigned spis() const { return spis_; }

    // Inputs: shared interrupts count from 0, private ones are 16 to 31.
    [[nodiscard]] IrqLine spi(unsigned number);
    [[nodiscard]] IrqLine ppi(unsigned cpu, unsigned number);

    // A processor's access. False: the address is none of the controller's.
    bool mmio_read(unsigned cpu, u64 address, unsigned size, u64& data);
    bool mmio_write(unsigned cpu, u64 address, u64 data, unsigned size);
    virtual GicRegisterAnswer system_register(unsigned /*cpu*/, GicRegisterAccess& /*access*/) {
        return GicRegisterAnswer::Undefined;
    }

    // A controller elsewhere takes over the model's state and gets the inputs; the model keeps their levels. While no vCPU
    // runs and no device raises anything. Errors as the host's.
    Result<void> give(HostGic& host);
    // The model takes the state back; does nothing where it has it.
    Result<void> take();

protected:
    struct Outputs {
        bool irq = false, fiq = false, virtual_irq = false, virtual_fiq = false;
    };

    Gic(unsigned cpus, unsigned spis) : cpus_(cpus), spis_(spis), ports_(cpus) {}
    // `part` tells frames apart in frame_read() and frame_write().
    void add_frame(const char* name, u64 base, u64 size, unsigned part);
    void drive(unsigned cpu, const Outputs& outputs);

    // With lock_ held. Offsets lie in the frame.
    virtual u64 frame_read(unsigned part, unsigned cpu, u64 offset, unsigned size) = 0;
    virtual void frame_write(unsigned part, unsigned cpu, u64 offset, u64 value, unsigned size) = 0;
    // The 32 interrupts that `id` is of; null: there is none such. Shared ones whatever the processor.
    virtual gic::Bank* bank_of(unsigned cpu, u32 id) = 0;
    // Lines as the state says: of a processor, and of those that this interrupt goes to.
    virtual void update(unsigned cpu) = 0;
    virtual void update_targets(unsigned cpu, u32 id) = 0;
    void update_all();
    void deactivate(unsigned cpu, u32 id) {
        if (gic::Bank* b = bank_of(cpu, id)) b->active &= ~(1u << id % 32);
    }
    // Exchange with a controller elsewhere.
    virtual Result<void> store(HostGic& host) = 0;
    virtual Result<void> fetch(HostGic& host) = 0;

    const unsigned cpus_, spis_;
    mutable std::mutex lock_;

private:
    struct Frame final : IoHandler {
        Frame(Gic& g, const char* n, u64 b, u64 s, unsigned p) : gic(g), name(n), base(b), size(s), part(p) {}
        u64 io_read(u64 offset, unsigned size) override;
        void io_write(u64 offset, u64 value, unsigned size) override;
        Gic& gic;
        const char* name;
        u64 base, size;
        unsigned part;
    };
    struct Port {
        CpuSignals* signals = nullptr;
        std::array<bool, 4> driven{};
    };
    [[nodiscard]] const Frame* find(u64 address, unsigned size) const;
    Delivery set_input(unsigned cpu, u32 id, bool level);

    HostGic* host_ = nullptr;  // who has the state; null: the model
    std::vector<std::unique_ptr<Frame>> frames_;
    std::vector<Port> ports_;
};

}  // namespace tandem::devices

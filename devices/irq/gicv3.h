// GICv3 (Arm Generic Interrupt Controller architecture versions 3 and 4, IHI 0069H) with virtualization and LPIs:
// distributor, redistributors, and the CPU interfaces that processors reach as system registers. One security state,
// affinity routing and system registers always on.
#pragma once

#include <map>
#include <vector>

#include "devices/fabric/guest_memory.h"
#include "devices/fabric/state.h"
#include "devices/irq/gic.h"
#include "devices/irq/gic_bank.h"
#include "devices/irq/gic_virtual.h"

namespace tandem::devices {

struct Gicv3Lpi {
    u32 id = 0;
    u8 config = 0;  // of the configuration table when it was last looked at
    void visit(auto& v) {
        v("id", id);
        v("config", config);
    }
};

struct Gicv3Cpu {
    gic::Bank local;
    bool asleep = true;         // GICR_WAKER.ProcessorSleep
    bool lpis_enabled = false;  // GICR_CTLR
    u64 property_base = 0, pending_base = 0;
    std::vector<Gicv3Lpi> pending_lpis;
    gic::Priorities priorities;
    gic::VirtualState virtual_interface;
    void visit(auto& v) {
        v("local", local);
        v("asleep", asleep);
        v("lpis_enabled", lpis_enabled);
        v("property_base", property_base);
        v("pending_base", pending_base);
        v("pending_lpis", pending_lpis);
        v("priorities", priorities);
        v("virtual_interface", virtual_interface);
    }
};

struct Gicv3State {
    static constexpr u32 kVersion = 1;
    u32 control = 0;  // GICD_CTLR, group enables
    std::vector<gic::Bank> shared;
    std::vector<u64> routes;  // GICD_IROUTER by SPI
    std::vector<Gicv3Cpu> cpus;
    void visit(auto& v) {
        v("control", control);
        v("shared", shared);
        v("routes", routes);
        v("cpus", cpus);
    }
};

struct Gicv3Config {
    std::vector<u64> affinities;  // of each processor, as in MPIDR_EL1
    unsigned spis = 32;           // a multiple of 32, at most 960
    u64 distributor = 0;
    u64 redistributors = 0;  // consecutive, kRedistributorSize each
    bool lpis = false;       // there is an ITS
    bool virtualization = false;
    unsigned maintenance_ppi = 25;
};

class Gicv3 final : public StatefulDevice<Gicv3State>, public Gic {
public:
    static constexpr u64 kDistributorSize = 0x10000, kRedistributorSize = 0x20000;
    static constexpr unsigned kIdBits = 16;  // LPIs are 8192 to 65535

    // LPI tables are in `memory`, which outlives the controller.
    Gicv3(Gicv3Config config, GuestMemory& memory);

    [[nodiscard]] std::string_view name() const override { return "gicv3"; }
    [[nodiscard]] Device& device() override { return *this; }
    void reset() override;
    GicRegisterAnswer system_register(unsigned cpu, GicRegisterAccess& access) override;

    // For the ITS. Any thread; `cpu` is one of the processors. Where LPIs are off nothing happens.
    void set_lpi(unsigned cpu, u32 id, bool pending);
    [[nodiscard]] bool lpi_pending(unsigned cpu, u32 id) const;
    void move_lpi(unsigned from, unsigned to, u32 id);
    void move_all_lpis(unsigned from, unsigned to);
    // The configuration of `id`, or of all interrupts, was changed.
    void invalidate_lpi(unsigned cpu, u32 id);
    void invalidate_all_lpis(unsigned cpu);
    [[nodiscard]] unsigned processors() const { return cpus_; }

private:
    enum Part : unsigned { kDistributor, kRedistributors };
    struct Cpu {
        gic::Bank local;
        bool asleep = true;
        bool lpis_enabled = false;
        u64 property_base = 0, pending_base = 0;
        std::map<u32, u8> pending_lpis;  // configuration by number
        gic::Candidate best_lpi;
        gic::Priorities priorities;
        gic::VirtualInterface virt;
    };
    struct SystemRow;
    static std::span<const SystemRow> system_rows();
    [[nodiscard]] GicRegisterAnswer check_access(unsigned cpu, const SystemRow& row, const GicRegisterAccess& a) const;

    [[nodiscard]] Gicv3State capture() const override;
    Result<void> apply(const Gicv3State& state) override;

    u64 frame_read(unsigned part, unsigned cpu, u64 offset, unsigned size) override;
    void frame_write(unsigned part, unsigned cpu, u64 offset, u64 value, unsigned size) override;
    u32 read_distributor(u64 offset);
    void write_distributor(u64 offset, u32 value, u32 lanes);
    u32 read_redistributor(unsigned cpu, u64 offset);
    void write_redistributor(unsigned cpu, u64 offset, u32 value, u32 lanes);
    void write_lpi_base(unsigned cpu, u64& base, u64 writable, bool high, u32 value, u32 lanes);
    void update(unsigned cpu) override;
    void update_targets(unsigned cpu, u32 id) override;
    Result<void> store(HostGic& host) override;
    Result<void> fetch(HostGic& host) override;
    [[nodiscard]] int target(unsigned spi) const;
    [[nodiscard]] gic::Candidate highest(unsigned cpu) const;
    [[nodiscard]] gic::Bank* bank_of(unsigned cpu, u32 id) override;

    void enable_lpis(unsigned cpu);
    void disable_lpis(unsigned cpu);
    [[nodiscard]] u8 lpi_config(const Cpu& c, u32 id) const;
    void choose_lpi(Cpu& c);
    void add_lpi(Cpu& c, u32 id);

    // System registers. `group` where one function serves both.
    template <unsigned group>
    u64 read_iar(unsigned cpu);
    template <unsigned group>
    u64 read_hppir(unsigned cpu);
    template <unsigned group>
    u64 read_bpr(unsigned cpu);
    template <unsigned group>
    void write_bpr(unsigned cpu, u64 value);
    template <unsigned group>
    u64 read_apr(unsigned cpu);
    template <unsigned group>
    void write_apr(unsigned cpu, u64 value);
    template <unsigned group>
    u64 read_enable(unsigned cpu);
    template <unsigned group>
    void write_enable(unsigned cpu, u64 value);
    void write_eoir(unsigned cpu, u64 value);
    void write_dir(unsigned cpu, u64 value);
    u64 read_pmr(unsigned cpu);
    void write_pmr(unsigned cpu, u64 value);
    u64 read_rpr(unsigned cpu);
    u64 read_ctlr(unsigned cpu);
    void write_ctlr(unsigned cpu, u64 value);
    u64 read_sre(unsigned cpu);
    u64 read_sre_el2(unsigned cpu);
    void ignore(unsigned, u64) {}
    void write_sgi1r(unsigned cpu, u64 value) { send_sgi(cpu, value, 1); }
    void write_sgi0r(unsigned cpu, u64 value) { send_sgi(cpu, value, 0); }
    void send_sgi(unsigned cpu, u64 value, unsigned group);

    template <unsigned group>
    u64 read_v_iar(unsigned cpu);
    template <unsigned group>
    u64 read_v_hppir(unsigned cpu);
    template <unsigned group>
    u64 read_v_bpr(unsigned cpu);
    template <unsigned group>
    void write_v_bpr(unsigned cpu, u64 value);
    template <unsigned group>
    u64 read_v_apr(unsigned cpu);
    template <unsigned group>
    void write_v_apr(unsigned cpu, u64 value);
    template <unsigned group>
    u64 read_v_enable(unsigned cpu);
    template <unsigned group>
    void write_v_enable(unsigned cpu, u64 value);
    void write_v_eoir(unsigned cpu, u64 value);
    void write_v_dir(unsigned cpu, u64 value);
    u64 read_v_pmr(unsigned cpu);
    void write_v_pmr(unsigned cpu, u64 value);
    u64 read_v_rpr(unsigned cpu);
    u64 read_v_ctlr(unsigned cpu);
    void write_v_ctlr(unsigned cpu, u64 value);

    u64 read_hcr(unsigned cpu);
    void write_hcr(unsigned cpu, u64 value);
    u64 read_vtr(unsigned cpu);
    u64 read_misr(unsigned cpu);
    u64 read_eisr(unsigned cpu);
    u64 read_elrsr(unsigned cpu);
    u64 read_vmcr(unsigned cpu);
    void write_vmcr(unsigned cpu, u64 value);
    template <unsigned index>
    u64 read_lr(unsigned cpu);
    template <unsigned index>
    void write_lr(unsigned cpu, u64 value);

    const Gicv3Config config_;
    GuestMemory& memory_;
    u32 control_ = 0;
    std::vector<gic::Bank> shared_;
    std::vector<u64> routes_;
    std::vector<Cpu> cpu_;
};

}  // namespace tandem::devices

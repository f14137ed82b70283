// GICv2 (Arm Generic Interrupt Controller architecture version 2, IHI 0048B.b) with virtualization extensions: distributor,
// CPU interfaces, virtual interface control, virtual CPU interfaces. One security state.
#pragma once

#include <vector>

#include "devices/fabric/state.h"
#include "devices/irq/gic.h"
#include "devices/irq/gic_bank.h"
#include "devices/irq/gic_virtual.h"

namespace tandem::devices {

struct Gicv2Cpu {
    gic::Bank local;
    std::array<u8, gic::kSgis> sgi_sources{};  // by SGI: processors whose request is pending
    u32 control = 0;                           // GICC_CTLR
    gic::Priorities priorities;
    gic::VirtualState virtual_interface;
    void visit(auto& v) {
        v("local", local);
        v("sgi_sources", sgi_sources);
        v("control", control);
        v("priorities", priorities);
        v("virtual_interface", virtual_interface);
    }
};

struct Gicv2State {
    static constexpr u32 kVersion = 1;
    u32 control = 0;  // GICD_CTLR
    std::vector<gic::Bank> shared;
    std::vector<u8> targets;  // by SPI
    std::vector<Gicv2Cpu> cpus;
    void visit(auto& v) {
        v("control", control);
        v("shared", shared);
        v("targets", targets);
        v("cpus", cpus);
    }
};

struct Gicv2Config {
    unsigned cpus = 1;   // 1 to 8
    unsigned spis = 32;  // a multiple of 32, at most 960
    u64 distributor = 0, cpu_interface = 0;
    bool virtualization = false;  // the two that follow exist
    u64 virtual_control = 0, virtual_interface = 0;
    unsigned maintenance_ppi = 25;
};

class Gicv2 final : public StatefulDevice<Gicv2State>, public Gic {
public:
    static constexpr unsigned kMaxCpus = 8;
    static constexpr u64 kFrameSize = 0x10000;  // room for one page of any granule

    explicit Gicv2(const Gicv2Config& config);

    [[nodiscard]] std::string_view name() const override { return "gicv2"; }
    [[nodiscard]] Device& device() override { return *this; }
    void reset() override;

private:
    enum Part : unsigned { kDistributor, kCpuInterface, kVirtualControl, kVirtualInterface };
    struct Cpu {
        gic::Bank local;
        std::array<u8, gic::kSgis> sgi_sources{};
        u32 control = 0;
        gic::Priorities priorities;
        gic::VirtualInterface virt;
    };
    // A row of a frame: 32-bit registers in [offset, end).
    struct RegisterRow {
        const char* name;
        u32 offset, end;
        u32 (Gicv2::*read)(unsigned cpu, u32 at);
        void (Gicv2::*write)(unsigned cpu, u32 at, u32 value, u32 lanes);
    };
    static std::span<const RegisterRow> rows(unsigned part);

    [[nodiscard]] Gicv2State capture() const override;
    Result<void> apply(const Gicv2State& state) override;

    u64 frame_read(unsigned part, unsigned cpu, u64 offset, unsigned size) override;
    void frame_write(unsigned part, unsigned cpu, u64 offset, u64 value, unsigned size) override;
    u32 read_word(unsigned part, unsigned cpu, u64 offset);
    void write_word(unsigned part, unsigned cpu, u64 offset, u32 value, u32 lanes);
    void update(unsigned cpu) override;
    void update_targets(unsigned cpu, u32 id) override;
    Result<void> store(HostGic& host) override;
    Result<void> fetch(HostGic& host) override;
    // Whether this processor is told of a pending interrupt by its own lines.
    [[nodiscard]] gic::Candidate highest(unsigned cpu) const;
    [[nodiscard]] gic::Bank* bank(unsigned cpu, unsigned index);
    [[nodiscard]] gic::Bank* bank_of(unsigned cpu, u32 id) override;

    // Distributor
    u32 read_gicd_ctlr(unsigned, u32) { return control_; }
    void write_gicd_ctlr(unsigned, u32, u32 value, u32 lanes);
    u32 read_gicd_typer(unsigned, u32);
    u32 read_gicd_iidr(unsigned, u32);
    u32 read_targets(unsigned cpu, u32 at);
    void write_targets(unsigned, u32 at, u32 value, u32 lanes);
    void write_sgir(unsigned cpu, u32, u32 value, u32);
    u32 read_sgi_pending(unsigned cpu, u32 at);
    void set_sgi_pending(unsigned cpu, u32 at, u32 value, u32 lanes);
    void clear_sgi_pending(unsigned cpu, u32 at, u32 value, u32 lanes);
    u32 read_identification(unsigned, u32 at);

    // CPU interface; an alias is the same register for group 1.
    u32 read_ctlr(unsigned cpu, u32) { return cpu_[cpu].control; }
    void write_ctlr(unsigned cpu, u32, u32 value, u32 lanes);
    u32 read_pmr(unsigned cpu, u32) { return cpu_[cpu].priorities.mask; }
    void write_pmr(unsigned cpu, u32, u32 value, u32);
    u32 read_bpr(unsigned cpu, u32);
    void write_bpr(unsigned cpu, u32, u32 value, u32);
    u32 read_alias_bpr(unsigned cpu, u32);
    void write_alias_bpr(unsigned cpu, u32, u32 value, u32);
    u32 read_iar(unsigned cpu, u32);
    u32 read_alias_iar(unsigned cpu, u32);
    void write_eoir(unsigned cpu, u32, u32 value, u32);
    void write_dir(unsigned cpu, u32, u32 value, u32);
    u32 read_rpr(unsigned cpu, u32) { return cpu_[cpu].priorities.running(); }
    u32 read_hppir(unsigned cpu, u32);
    u32 read_alias_hppir(unsigned cpu, u32);
    u32 read_apr(unsigned cpu, u32);
    void write_apr(unsigned cpu, u32, u32 value, u32);
    u32 read_nsapr(unsigned cpu, u32);
    void write_nsapr(unsigned cpu, u32, u32 value, u32);
    u32 read_gicc_iidr(unsigned, u32);
    // Answers the value of IAR: number and, for SGIs, sender.
    u32 acknowledge(unsigned cpu, const gic::Candidate& c);
    [[nodiscard]] u32 pending_id(unsigned cpu, const gic::Candidate& c) const;

    // Virtual interface control
    u32 read_hcr(unsigned cpu, u32) { return cpu_[cpu].virt.s.hcr; }
    void write_hcr(unsigned cpu, u32, u32 value, u32);
    u32 read_vtr(unsigned, u32);
    u32 read_vmcr(unsigned cpu, u32);
    void write_vmcr(unsigned cpu, u32, u32 value, u32);
    u32 read_misr(unsigned cpu, u32) { return cpu_[cpu].virt.misr(); }
    u32 read_eisr(unsigned cpu, u32 at);
    u32 read_elrsr(unsigned cpu, u32 at);
    u32 read_virtual_apr(unsigned cpu, u32);
    void write_virtual_apr(unsigned cpu, u32, u32 value, u32);
    u32 read_lr(unsigned cpu, u32 at);
    void write_lr(unsigned cpu, u32 at, u32 value, u32);

    // Virtual CPU interface
    u32 read_v_ctlr(unsigned cpu, u32);
    void write_v_ctlr(unsigned cpu, u32, u32 value, u32);
    u32 read_v_pmr(unsigned cpu, u32) { return cpu_[cpu].virt.s.priorities.mask; }
    void write_v_pmr(unsigned cpu, u32, u32 value, u32);
    u32 read_v_bpr(unsigned cpu, u32);
    void write_v_bpr(unsigned cpu, u32, u32 value, u32);
    u32 read_v_alias_bpr(unsigned cpu, u32);
    void write_v_alias_bpr(unsigned cpu, u32, u32 value, u32);
    u32 read_v_iar(unsigned cpu, u32);
    u32 read_v_alias_iar(unsigned cpu, u32);
    void write_v_eoir(unsigned cpu, u32, u32 value, u32);
    void write_v_dir(unsigned cpu, u32, u32 value, u32);
    u32 read_v_rpr(unsigned cpu, u32) { return cpu_[cpu].virt.s.priorities.running(); }
    u32 read_v_hppir(unsigned cpu, u32);
    u32 read_v_alias_hppir(unsigned cpu, u32);
    u32 virtual_acknowledge(unsigned cpu);

    const Gicv2Config config_;
    u32 control_ = 0;
    std::vector<gic::Bank> shared_;
    std::vector<u8> targets_;
    std::vector<Cpu> cpu_;
};

}  // namespace tandem::devices

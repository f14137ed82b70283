// A GICv2's state in a controller elsewhere.
#include "devices/irq/gic_transfer.h"
#include "devices/irq/gicv2.h"

namespace tandem::devices {

using namespace gic;

namespace {

using Where = HostGicRegister::Part;
// GICD
constexpr u32 kGicdCtlr = 0x000, kTargets = 0x800, kClearSgiPending = 0xf10, kSetSgiPending = 0xf20;
// GICC
constexpr u32 kGiccCtlr = 0x00, kPmr = 0x04, kBpr = 0x08, kAliasBpr = 0x1c, kApr = 0xd0;
constexpr unsigned kPmrShift = 3;

}  // namespace

// One register has the active priorities of both groups there.
Result<void> Gicv2::store(HostGic& host) {
    const HostFrame shared{host, Where::Distributor};
    TANDEM_TRY(shared.agree_on_revision());
    TANDEM_TRY(shared.write(kGicdCtlr, 0));
    for (unsigned k = 0; k < shared_.size(); ++k) TANDEM_TRY(store_bank(shared, k + 1, shared_[k]));
    for (u32 at = kPrivate; at < kPrivate + spis_; at += 4) TANDEM_TRY(shared.write(kTargets + at, read_targets(0, at)));
    for (unsigned i = 0; i < cpus_; ++i) {
        const Cpu& c = cpu_[i];
        const HostFrame own{host, Where::Distributor, i}, interface{host, Where::CpuInterface, i};
        TANDEM_TRY(store_bank(own, 0, c.local, true));
        for (u32 at = 0; at < kSgis; at += 4) {
            TANDEM_TRY(own.write(kClearSgiPending + at, ~0u));
            TANDEM_TRY(own.write(kSetSgiPending + at, read_sgi_pending(i, at)));
        }
        TANDEM_TRY(interface.write(kGiccCtlr, c.control));
        TANDEM_TRY(interface.write(kPmr, u32{c.priorities.mask} >> kPmrShift));
        TANDEM_TRY(interface.write(kBpr, c.priorities.binary_point[0]));
        TANDEM_TRY(interface.write(kAliasBpr, c.priorities.binary_point[1]));
        TANDEM_TRY(interface.write(kApr, c.priorities.active[0] | c.priorities.active[1]));
    }
    return shared.write(kGicdCtlr, control_);
}

Result<void> Gicv2::fetch(HostGic& host) {
    const HostFrame shared{host, Where::Distributor};
    TANDEM_TRY_ASSIGN(const u32 control, shared.read(kGicdCtlr));
    write_gicd_ctlr(0, 0, control, ~0u);
    for (unsigned k = 0; k < shared_.size(); ++k) TANDEM_TRY(fetch_bank(shared, k + 1, shared_[k]));
    for (u32 at = kPrivate; at < kPrivate + spis_; at += 4) {
        TANDEM_TRY_ASSIGN(const u32 targets, shared.read(kTargets + at));
        write_targets(0, at, targets, ~0u);
    }
    for (unsigned i = 0; i < cpus_; ++i) {
        Cpu& c = cpu_[i];
        const HostFrame own{host, Where::Distributor, i}, interface{host, Where::CpuInterface, i};
        TANDEM_TRY(fetch_bank(own, 0, c.local));
        c.local.latched &= ~kSgiMask;
        c.sgi_sources = {};
        for (u32 at = 0; at < kSgis; at += 4) {
            TANDEM_TRY_ASSIGN(const u32 sources, own.read(kSetSgiPending + at));
            set_sgi_pending(i, at, sources, ~0u);
        }
        TANDEM_TRY_ASSIGN(const u32 interface_control, interface.read(kGiccCtlr));
        write_ctlr(i, 0, interface_control, ~0u);
        TANDEM_TRY_ASSIGN(const u32 mask, interface.read(kPmr));
        write_pmr(i, 0, mask << kPmrShift, ~0u);
        TANDEM_TRY_ASSIGN(const u32 point, interface.read(kBpr));
        write_bpr(i, 0, point, ~0u);
        TANDEM_TRY_ASSIGN(const u32 alias_point, interface.read(kAliasBpr));
        write_alias_bpr(i, 0, alias_point, ~0u);
        TANDEM_TRY_ASSIGN(const u32 active, interface.read(kApr));
        c.priorities.active = {active, 0};
    }
    return {};
}

}  // namespace tandem::devices

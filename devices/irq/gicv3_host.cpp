// A GICv3's state in a controller elsewhere, without LPIs: those need its ITS, too.
#include "devices/fabric/system_register.h"
#include "devices/irq/gic_transfer.h"
#include "devices/irq/gicv3.h"

namespace tandem::devices {

using namespace gic;

namespace {

using Where = HostGicRegister::Part;
constexpr u32 kGicdCtlr = 0x0000, kIrouter = 0x6000, kSgiFrame = 0x10000;
constexpr u32 kGroupEnables = 3, kAffinityRouting = 1u << 4, kDisableSecurity = 1u << 6;
constexpr u32 icc(unsigned crn, unsigned crm, unsigned op2) { return system_register(3, 0, crn, crm, op2); }
constexpr u32 kPmr = icc(4, 6, 0), kCtlr = icc(12, 12, 4);
constexpr u64 kCommonBinaryPoint = 1, kSplitEoi = 2;
// By group.
constexpr u32 kBpr[] = {icc(12, 8, 3), icc(12, 12, 3)}, kApr[] = {icc(12, 8, 4), icc(12, 9, 0)},
              kEnable[] = {icc(12, 12, 6), icc(12, 12, 7)};

// Of ICC_CTLR_EL1 the rest says what the controller is.
Result<void> store_interface(HostGic& host, unsigned cpu, const Priorities& p) {
    const auto write = [&](u32 at, u64 value) { return host.write({Where::System, cpu, at}, value); };
    TANDEM_TRY_ASSIGN(u64 control, host.read({Where::System, cpu, kCtlr}));
    control &= ~(kCommonBinaryPoint | kSplitEoi);
    if (p.common_binary_point) control |= kCommonBinaryPoint;
    if (p.split_eoi) control |= kSplitEoi;
    TANDEM_TRY(write(kCtlr, control));
    TANDEM_TRY(write(kPmr, p.mask));
    for (unsigned group = 0; group < 2; ++group) {
        TANDEM_TRY(write(kBpr[group], p.binary_point[group]));
        TANDEM_TRY(write(kApr[group], p.active[group]));
        TANDEM_TRY(write(kEnable[group], p.enabled[group] ? 1 : 0));
    }
    return {};
}

Result<void> fetch_interface(HostGic& host, unsigned cpu, Priorities& p) {
    const auto read = [&](u32 at) { return host.read({Where::System, cpu, at}); };
    TANDEM_TRY_ASSIGN(const u64 control, read(kCtlr));
    p.common_binary_point = (control & kCommonBinaryPoint) != 0;
    p.split_eoi = (control & kSplitEoi) != 0;
    TANDEM_TRY_ASSIGN(const u64 mask, read(kPmr));
    p.mask = static_cast<u8>(mask) & kPriorityMask;
    for (unsigned group = 0; group < 2; ++group) {
        TANDEM_TRY_ASSIGN(const u64 point, read(kBpr[group]));
        // With CBPR group 1's reads as group 0's; its own is not to be had.
        if (group == 0 || !p.common_binary_point) p.set_binary_point(group, static_cast<u8>(point & 7));
        TANDEM_TRY_ASSIGN(const u64 active, read(kApr[group]));
        p.active[group] = static_cast<u32>(active);
        TANDEM_TRY_ASSIGN(const u64 enabled, read(kEnable[group]));
        p.enabled[group] = (enabled & 1) != 0;
    }
    return {};
}

}  // namespace

Result<void> Gicv3::store(HostGic& host) {
    const HostFrame shared{host, Where::Distributor};
    TANDEM_TRY(shared.agree_on_revision());
    TANDEM_TRY(shared.write(kGicdCtlr, kAffinityRouting | kDisableSecurity));
    for (unsigned k = 0; k < shared_.size(); ++k) TANDEM_TRY(store_bank(shared, k + 1, shared_[k]));
    for (unsigned i = 0; i < spis_; ++i) {
        const u32 at = kIrouter + 8 * (kPrivate + i);
        TANDEM_TRY(shared.write(at, static_cast<u32>(routes_[i])));
        TANDEM_TRY(shared.write(at + 4, static_cast<u32>(routes_[i] >> 32)));
    }
    for (unsigned i = 0; i < cpus_; ++i) {
        TANDEM_TRY(store_bank({host, Where::Redistributor, i, kSgiFrame}, 0, cpu_[i].local));
        TANDEM_TRY(store_interface(host, i, cpu_[i].priorities));
    }
    return shared.write(kGicdCtlr, control_ | kAffinityRouting | kDisableSecurity);
}

Result<void> Gicv3::fetch(HostGic& host) {
    const HostFrame shared{host, Where::Distributor};
    TANDEM_TRY_ASSIGN(const u32 control, shared.read(kGicdCtlr));
    control_ = control & kGroupEnables;
    for (unsigned k = 0; k < shared_.size(); ++k) TANDEM_TRY(fetch_bank(shared, k + 1, shared_[k]));
    for (unsigned i = 0; i < spis_; ++i) {
        const u32 at = kIrouter + 8 * (kPrivate + i);
        TANDEM_TRY_ASSIGN(const u32 low, shared.read(at));
        TANDEM_TRY_ASSIGN(const u32 high, shared.read(at + 4));
        routes_[i] = low | u64{high} << 32;
    }
    for (unsigned i = 0; i < cpus_; ++i) {
        TANDEM_TRY(fetch_bank({host, Where::Redistributor, i, kSgiFrame}, 0, cpu_[i].local));
        TANDEM_TRY(fetch_interface(host, i, cpu_[i].priorities));
    }
    return {};
}

}  // namespace tandem::devices

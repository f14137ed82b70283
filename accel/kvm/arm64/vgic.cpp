#include "accel/kvm/arm64/vgic.h"

#include <fmt/format.h>

namespace tandem::accel::kvm {

using devices::HostGicConfig;
using devices::HostGicRegister;

namespace {

constexpr unsigned kFirstPpi = 16, kFirstSpi = 32;

// KVM's default MPIDR_EL1 of a vCPU: sixteen to a cluster (arch/arm64, reset_mpidr()).
u64 affinity(unsigned cpu) { return cpu % 16 | cpu / 16 % 256 << 8 | cpu / 4096 << 16; }

}  // namespace

Result<std::unique_ptr<Vgic>> Vgic::create(const Fd& vm, const HostGicConfig& config) {
    if (config.version != 2 && config.version != 3) return invalid(fmt::format("there is no GICv{}", config.version));
    if (config.spis == 0 || config.spis % 32 != 0 || config.spis > 960) {
        return invalid(fmt::format("{} shared interrupts: a multiple of 32 from 32 to 960 is wanted", config.spis));
    }
    kvm_create_device request{};
    request.type = config.version == 2 ? KVM_DEV_TYPE_ARM_VGIC_V2 : KVM_DEV_TYPE_ARM_VGIC_V3;
    if (auto made = TANDEM_KVM(vm, KVM_CREATE_DEVICE, &request); !made) {
        if (errno == EEXIST) return Error{Errc::Busy, "KVM has an interrupt controller already"};
        if (errno != ENODEV && errno != EINVAL) return std::move(made).error();
        return Error{Errc::Unsupported, fmt::format("this host's KVM has no GICv{}", config.version)};
    }
    std::unique_ptr<Vgic> gic(new Vgic(vm, Fd(static_cast<int>(request.fd)), config));
    if (config.version == 2) {
        TANDEM_TRY(gic->set(KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V2_ADDR_TYPE_DIST, config.distributor));
        TANDEM_TRY(gic->set(KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V2_ADDR_TYPE_CPU, config.cpu_interface));
    } else {
        TANDEM_TRY(gic->set(KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, config.distributor));
        TANDEM_TRY(gic->set(KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST, config.redistributors));
    }
    u32 interrupts = config.spis + kFirstSpi;
    kvm_device_attr attr{0, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, reinterpret_cast<u64>(&interrupts)};
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(gic->device_, KVM_SET_DEVICE_ATTR, &attr));
    return gic;
}

Result<void> Vgic::set(u32 group, u64 attribute, u64 value) const {
    kvm_device_attr attr{0, group, attribute, reinterpret_cast<u64>(&value)};
    auto done = TANDEM_KVM(device_, KVM_SET_DEVICE_ATTR, &attr);
    if (!done) return std::move(done).error().context(fmt::format("KVM's GICv{}", config_.version));
    return {};
}

Result<void> Vgic::start() { return set(KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, 0); }

Result<void> Vgic::set_input(unsigned cpu, unsigned number, bool level) {
    if (number < kFirstPpi || number >= kFirstSpi + config_.spis || cpu >= config_.cpus) {
        return Error{Errc::NotFound,
                     fmt::format("KVM's GICv{} has no input {} of processor {}", config_.version, number, cpu)};
    }
    kvm_irq_level request{};
    const u32 type = number < kFirstSpi ? KVM_ARM_IRQ_TYPE_PPI : KVM_ARM_IRQ_TYPE_SPI;
    const u32 owner = number < kFirstSpi ? cpu : 0;
    request.irq = owner / 256 << KVM_ARM_IRQ_VCPU2_SHIFT | type << KVM_ARM_IRQ_TYPE_SHIFT |
                  owner % 256 << KVM_ARM_IRQ_VCPU_SHIFT | number;
    request.level = level;
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(vm_, KVM_IRQ_LINE, &request));
    return {};
}

// GICv2 numbers its processors, GICv3 names them by affinity.
Result<kvm_device_attr> Vgic::locate(const HostGicRegister& which, u64& value) const {
    using Part = HostGicRegister::Part;
    const bool v2 = config_.version == 2;
    const bool shared = which.part == Part::Distributor;
    const bool there = which.cpu < config_.cpus && (shared || (which.part == Part::CpuInterface) == v2);
    if (!there) return Error{Errc::NotFound, fmt::format("KVM's GICv{} has no such part", config_.version)};
    if (which.part != Part::System && which.at % sizeof(u32) != 0) {
        return Error{Errc::NotFound, fmt::format("KVM's GICv{} has no register at {:#x}", config_.version, which.at)};
    }
    const u64 owner = v2 ? which.cpu : affinity(which.cpu);
    u32 group = KVM_DEV_ARM_VGIC_GRP_DIST_REGS;
    if (which.part == Part::CpuInterface) group = KVM_DEV_ARM_VGIC_GRP_CPU_REGS;
    if (which.part == Part::Redistributor) group = KVM_DEV_ARM_VGIC_GRP_REDIST_REGS;
    if (which.part == Part::System) group = KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS;
    return kvm_device_attr{0, group, owner << 32 | which.at, reinterpret_cast<u64>(&value)};
}

// All but the system registers are 32 bits, which lie low on a little-endian host.
Result<u64> Vgic::read(const HostGicRegister& which) {
    u64 value = 0;
    TANDEM_TRY_ASSIGN(kvm_device_attr attr, locate(which, value));
    auto got = TANDEM_KVM(device_, KVM_GET_DEVICE_ATTR, &attr);
    if (got) return value;
    if (errno != ENXIO && errno != EINVAL) return std::move(got).error();
    return Error{Errc::NotFound, fmt::format("KVM's GICv{} has no register at {:#x}", config_.version, which.at)};
}

Result<void> Vgic::write(const HostGicRegister& which, u64 value) {
    TANDEM_TRY_ASSIGN(kvm_device_attr attr, locate(which, value));
    auto set = TANDEM_KVM(device_, KVM_SET_DEVICE_ATTR, &attr);
    if (set) return {};
    if (errno != ENXIO) return std::move(set).error();
    return Error{Errc::NotFound, fmt::format("KVM's GICv{} has no register at {:#x}", config_.version, which.at)};
}

}  // namespace tandem::accel::kvm

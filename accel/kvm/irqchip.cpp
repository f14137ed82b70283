#include "accel/kvm/irqchip.h"

#include <fmt/format.h>

#include <cstring>
#include <ctime>

#include "accel/kvm/irqchip_state.h"
#include "base/bits.h"
#include "base/log.h"

namespace tandem::accel::kvm {
namespace {

using devices::ControllerState;
using devices::Delivery;

// KVM's numbers of interrupt lines (GSIs). Number 0 is what its own interval timer drives: input 0 of the 8259s and, as on
// every PC, pin 2 of the I/O APIC. From 1 on they are the I/O APIC's pins alone, and its pin 0 and the inputs of the 8259s
// have numbers behind those: the board drives each for itself.
constexpr u32 kTimerGsi = 0, kTimerPin = 2, kPinZeroGsi = 24, kPicGsi = 32, kPins = 24, kPicLines = 16, kPicCascade = 2;

u32 gsi_of_pin(unsigned pin) { return pin == 0 ? kPinZeroGsi : pin; }

kvm_irq_routing_entry to_chip(u32 gsi, u32 chip, u32 pin) {
    kvm_irq_routing_entry e{};
    e.gsi = gsi;
    e.type = KVM_IRQ_ROUTING_IRQCHIP;
    e.u.irqchip.irqchip = chip;
    e.u.irqchip.pin = pin;
    return e;
}

std::vector<kvm_irq_routing_entry> chip_routes() {
    std::vector<kvm_irq_routing_entry> routes;
    routes.push_back(to_chip(kTimerGsi, KVM_IRQCHIP_PIC_MASTER, 0));
    routes.push_back(to_chip(kTimerGsi, KVM_IRQCHIP_IOAPIC, kTimerPin));
    for (u32 pin = 0; pin < kPins; ++pin) routes.push_back(to_chip(gsi_of_pin(pin), KVM_IRQCHIP_IOAPIC, pin));
    for (u32 irq = 0; irq < kPicLines; ++irq) {
        routes.push_back(to_chip(kPicGsi + irq, irq < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, irq & 7));
    }
    return routes;
}

// An entry of the redirection table as the message that it sends.
kvm_irq_routing_entry to_message(u32 gsi, u64 entry) {
    constexpr u32 kAddress = 0xfee00000, kAssert = 1u << 14, kLevel = 1u << 15;
    kvm_irq_routing_entry e{};
    e.gsi = gsi;
    e.type = KVM_IRQ_ROUTING_MSI;
    e.u.msi.address_lo = kAddress | static_cast<u32>(entry >> 56) << 12 | (bit(entry, 11) ? 4u : 0u);
    e.u.msi.data = (static_cast<u32>(entry) & 0x7ff) | kAssert | kLevel;
    return e;
}

u64 monotonic_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

Error refused(const Error& error, const char* what) {
    return {Errc::Unsupported,
            fmt::format("this host's KVM has no {} of its own ({}): use irqchip=user", what, error.message)};
}

}  // namespace

Result<std::unique_ptr<Irqchip>> Irqchip::create(const Fd& vm, Extent extent) {
    std::unique_ptr<Irqchip> chip(new Irqchip(vm, extent));
    if (extent == Extent::LocalApics) {
        kvm_enable_cap cap{};
        cap.cap = KVM_CAP_SPLIT_IRQCHIP;
        cap.args[0] = kPins;
        if (auto done = TANDEM_KVM(vm, KVM_ENABLE_CAP, &cap); !done) return refused(done.error(), "local APICs");
        return chip;
    }
    if (auto done = TANDEM_KVM(vm, KVM_CREATE_IRQCHIP); !done) return refused(done.error(), "interrupt controllers");
    kvm_pit_config pit{};
    pit.flags = KVM_PIT_SPEAKER_DUMMY;  // port 61H too
    if (auto done = TANDEM_KVM(vm, KVM_CREATE_PIT2, &pit); !done) return refused(done.error(), "interval timer");
    TANDEM_TRY(chip->routes_.set_lines(chip_routes()));
    return chip;
}

void Irqchip::add(unsigned index, KvmVcpu& vcpu) {
    if (vcpus_.size() <= index) vcpus_.resize(index + 1);
    vcpus_[index] = &vcpu;
}

// --- Interrupts

Delivery Irqchip::send_message(u64 address, u32 data) {
    const auto reached = signal_message(vm_, address, data);
    return reached && *reached > 0 ? Delivery::Delivered : Delivery::Ignored;
}

void Irqchip::post_message(u64 address, u32 data) { routes_.post(address, data); }

Delivery Irqchip::set_gsi(u32 gsi, bool level) {
    kvm_irq_level line{};
    line.irq = gsi;
    line.level = level;
    if (!TANDEM_KVM(vm_, KVM_IRQ_LINE_STATUS, &line) || !level || line.status < 0) return Delivery::Ignored;
    return line.status == 0 ? Delivery::Coalesced : Delivery::Delivered;
}

Delivery Irqchip::set_ioapic_pin(unsigned pin, bool level) { return set_gsi(gsi_of_pin(pin), level); }
Delivery Irqchip::set_pic_line(unsigned irq, bool level) { return set_gsi(kPicGsi + irq, level); }

void Irqchip::set_pit_closed(bool closed) {
    kvm_pit_state2 pit{};
    if (!TANDEM_KVM(vm_, KVM_GET_PIT2, &pit)) return;
    const u32 before = pit.flags;
    pit.flags = closed ? before | KVM_PIT_FLAGS_HPET_LEGACY : before & ~u32{KVM_PIT_FLAGS_HPET_LEGACY};
    if (pit.flags == before) return;
    if (auto set = TANDEM_KVM(vm_, KVM_SET_PIT2, &pit); !set) log::warn("-accel kvm: {}", set.error().message);
}

// KVM looks for level-triggered entries in its routes to know which ends of interrupts it has to tell.
void Irqchip::set_ioapic_entries(std::span<const u64> entries) {
    constexpr u64 kLevel = u64{1} << 15, kSent = ~(u64{1} << 12 | u64{1} << 14 | u64{1} << 16);
    const std::lock_guard guard(lock_);
    std::vector<u64> wanted(entries.size());
    std::vector<kvm_irq_routing_entry> routes;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        if ((entries[i] & kLevel) == 0) continue;
        wanted[i] = entries[i] & kSent;
        routes.push_back(to_message(static_cast<u32>(i), entries[i]));
    }
    if (wanted == routed_) return;
    routed_ = std::move(wanted);
    if (auto set = routes_.set_lines(std::move(routes)); !set) log::warn("-accel kvm: {}", set.error().message);
}

// --- State

Result<void> Irqchip::store(const ControllerState& state) {
    if (state.lapics.size() != vcpus_.size()) return Error{Errc::Internal, "local APICs and vCPUs differ in number"};
    for (std::size_t i = 0; i < vcpus_.size(); ++i) TANDEM_TRY(vcpus_[i]->store_apic(state.lapics[i]));
    if (extent_ == Extent::All) return store_chips(state);
    set_ioapic_entries(state.ioapic.entries);
    return {};
}

// Lines that are up have no place in KVM's structures. The 8259s know the last level and see no edge; of the I/O APIC's the
// level-triggered ones are set, for the others it would be an edge.
Result<void> Irqchip::store_chips(const ControllerState& state) {
    kvm_irqchip chip{};
    for (u32 i = 0; i < 2; ++i) {
        chip.chip_id = i == 0 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int got, TANDEM_KVM(vm_, KVM_GET_IRQCHIP, &chip));
        to_kvm(state.pic.chip[i], chip.chip.pic);
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int set, TANDEM_KVM(vm_, KVM_SET_IRQCHIP, &chip));
    }
    chip.chip_id = KVM_IRQCHIP_IOAPIC;
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int got, TANDEM_KVM(vm_, KVM_GET_IRQCHIP, &chip));
    to_kvm(state.ioapic, chip.chip.ioapic);
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int set, TANDEM_KVM(vm_, KVM_SET_IRQCHIP, &chip));
    kvm_pit_state2 pit{};
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int had, TANDEM_KVM(vm_, KVM_GET_PIT2, &pit));
    to_kvm(state.pit, pit);
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(vm_, KVM_SET_PIT2, &pit));
    for (unsigned irq = 0; irq < kPicLines; ++irq) {
        if (irq != kPicCascade) set_pic_line(irq, bit(state.pic.chip[irq / 8].lines, irq % 8));
    }
    constexpr unsigned kLevelBit = 15;
    for (unsigned pin = 0; pin < kPins; ++pin) {
        set_ioapic_pin(pin, bit(state.ioapic.levels, pin) && bit(state.ioapic.entries[pin], kLevelBit));
    }
    return {};
}

Result<void> Irqchip::fetch(ControllerState& state) {
    TANDEM_TRY(routes_.settle());
    if (state.lapics.size() != vcpus_.size()) return Error{Errc::Internal, "local APICs and vCPUs differ in number"};
    for (std::size_t i = 0; i < vcpus_.size(); ++i) TANDEM_TRY(vcpus_[i]->fetch_apic(state.lapics[i]));
    return extent_ == Extent::All ? fetch_chips(state) : Result<void>{};
}

Result<void> Irqchip::fetch_chips(ControllerState& state) {
    kvm_irqchip chip{};
    for (u32 i = 0; i < 2; ++i) {
        chip.chip_id = i == 0 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int got, TANDEM_KVM(vm_, KVM_GET_IRQCHIP, &chip));
        from_kvm(chip.chip.pic, state.pic.chip[i]);
    }
    chip.chip_id = KVM_IRQCHIP_IOAPIC;
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int got, TANDEM_KVM(vm_, KVM_GET_IRQCHIP, &chip));
    from_kvm(chip.chip.ioapic, state.ioapic);
    kvm_pit_state2 pit{};
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int had, TANDEM_KVM(vm_, KVM_GET_PIT2, &pit));
    from_kvm(pit, monotonic_ns(), state.pit);
    return {};
}

}  // namespace tandem::accel::kvm

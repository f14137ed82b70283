#include "devices/irq/gic.h"

#include "base/log.h"

namespace tandem::devices {

void Gic::connect(unsigned cpu, CpuSignals& signals) {
    std::lock_guard guard(lock_);
    ports_[cpu].signals = &signals;
    ports_[cpu].driven = {};
    update(cpu);
}

void Gic::add_frame(const char* name, u64 base, u64 size, unsigned part) {
    frames_.push_back(std::make_unique<Frame>(*this, name, base, size, part));
}

Result<void> Gic::map(AddressSpace& space) {
    for (const auto& f : frames_) TANDEM_TRY(space.add({f->name, f->base, f->size, f.get()}));
    return {};
}

const Gic::Frame* Gic::find(u64 address, unsigned size) const {
    for (const auto& f : frames_) {
        if (address >= f->base && address - f->base <= f->size - size) return f.get();
    }
    return nullptr;
}

bool Gic::mmio_read(unsigned cpu, u64 address, unsigned size, u64& data) {
    const Frame* f = find(address, size);
    if (f == nullptr) return false;
    std::lock_guard guard(lock_);
    data = frame_read(f->part, cpu, address - f->base, size);
    return true;
}

bool Gic::mmio_write(unsigned cpu, u64 address, u64 data, unsigned size) {
    const Frame* f = find(address, size);
    if (f == nullptr) return false;
    std::lock_guard guard(lock_);
    frame_write(f->part, cpu, address - f->base, data, size);
    return true;
}

u64 Gic::Frame::io_read(u64 offset, unsigned bytes) {
    std::lock_guard guard(gic.lock_);
    return gic.frame_read(part, 0, offset, bytes);
}

void Gic::Frame::io_write(u64 offset, u64 value, unsigned bytes) {
    std::lock_guard guard(gic.lock_);
    gic.frame_write(part, 0, offset, value, bytes);
}

// Tells whether the interrupt became pending by it.
Delivery Gic::set_input(unsigned cpu, u32 id, bool level) {
    log::trace(log::Exits, "vgic_update_irq_pending: VCPU: {}, IRQ {}, level: {}", cpu, id, level);
    std::lock_guard guard(lock_);
    gic::Bank& b = *bank_of(cpu, id);
    const u32 m = 1u << id % 32;
    if (((b.line & m) != 0) == level) return Delivery::Ignored;
    if (host_ != nullptr) {
        b.line ^= m;
        if (auto set = host_->set_input(cpu, id, level); !set) log::warn("interrupt {}: {}", id, set.error().message);
        return level ? Delivery::Delivered : Delivery::Ignored;
    }
    const bool fresh = b.set_line(id % 32, level);
    update_targets(cpu, id);
    if (!level || (b.enabled & m) == 0) return Delivery::Ignored;
    return fresh ? Delivery::Delivered : Delivery::Coalesced;
}

IrqLine Gic::spi(unsigned number) {
    return IrqLine([this, number](bool level) { return set_input(0, kFirstSpi + number, level); });
}

IrqLine Gic::ppi(unsigned cpu, unsigned number) {
    return IrqLine([this, cpu, number](bool level) { return set_input(cpu, number, level); });
}

Result<void> Gic::give(HostGic& host) {
    std::lock_guard guard(lock_);
    TANDEM_TRY(store(host));
    for (unsigned number = 0; number < spis_; ++number) {
        const u32 id = kFirstSpi + number;
        const gic::Bank& b = *bank_of(0, id);
        // At an edge-triggered input it would be an edge.
        if ((b.edge >> id % 32 & 1) == 0) TANDEM_TRY(host.set_input(0, id, (b.line >> id % 32 & 1) != 0));
    }
    host_ = &host;
    return {};
}

Result<void> Gic::take() {
    std::lock_guard guard(lock_);
    if (host_ == nullptr) return {};
    TANDEM_TRY(fetch(*host_));
    host_ = nullptr;
    update_all();
    return {};
}

// Only changes reach the processor.
void Gic::drive(unsigned cpu, const Outputs& outputs) {
    Port& port = ports_[cpu];
    if (port.signals == nullptr || host_ != nullptr) return;
    const std::array<bool, 4> levels{outputs.irq, outputs.fiq, outputs.virtual_irq, outputs.virtual_fiq};
    for (unsigned i = 0; i < levels.size(); ++i) {
        if (levels[i] == port.driven[i]) continue;
        port.driven[i] = levels[i];
        port.signals->set_line(static_cast<CpuLine>(i), levels[i]);
    }
}

void Gic::update_all() {
    for (unsigned i = 0; i < cpus_; ++i) update(i);
}

}  // namespace tandem::devices

#include "devices/irq/gicv2.h"

#include <algorithm>
#include <bit>

#include "base/bits.h"
#include "base/log.h"

namespace tandem::devices {

using namespace gic;

namespace {

// SGIs are always enabled, edge triggered and pending by request of a processor (IHI 0048B, 4.3.5, 4.3.7, 4.3.13); what
// triggers the private peripherals is wired.
constexpr BankRules kLocalRules{kSgiMask, kSgiMask, ~0u, kSgiMask};
constexpr BankRules kSharedRules{};
constexpr u8 kFirstTarget = 1;  // SPIs go to processor 0 until somebody else is asked for
constexpr u32 kFiqEnabled = 1u << 3;

}  // namespace

Gicv2::Gicv2(const Gicv2Config& config)
    : Gic(config.cpus, config.spis), config_(config), shared_(config.spis / 32), targets_(config.spis), cpu_(config.cpus) {
    add_frame("GICD", config.distributor, kFrameSize, kDistributor);
    add_frame("GICC", config.cpu_interface, kFrameSize, kCpuInterface);
    if (config.virtualization) {
        add_frame("GICH", config.virtual_control, kFrameSize, kVirtualControl);
        add_frame("GICV", config.virtual_interface, kFrameSize, kVirtualInterface);
    }
    reset();
}

void Gicv2::reset() {
    std::lock_guard guard(lock_);
    control_ = 0;
    std::ranges::fill(targets_, kFirstTarget);
    for (Bank& b : shared_) reset_bank(b, kSharedRules);
    for (Cpu& c : cpu_) {
        const Bank local = c.local;
        c = {};
        c.local = local;
        reset_bank(c.local, kLocalRules);
    }
    update_all();
}

Bank* Gicv2::bank(unsigned cpu, unsigned index) {
    if (index == 0) return &cpu_[cpu].local;
    return index <= shared_.size() ? &shared_[index - 1] : nullptr;
}

Bank* Gicv2::bank_of(unsigned cpu, u32 id) { return id < kFirstSpecial ? bank(cpu, id / 32) : nullptr; }

void Gicv2::update_targets(unsigned cpu, u32 id) {
    if (id < kPrivate) return update(cpu);
    for (unsigned i = 0; i < cpus_; ++i) {
        if ((targets_[id - kPrivate] >> i & 1) != 0) update(i);
    }
}

Candidate Gicv2::highest(unsigned cpu) const {
    Candidate best;
    best.offer(cpu_[cpu].local, candidates(cpu_[cpu].local, control_), 0);
    for (unsigned k = 0; k < shared_.size(); ++k) {
        u32 word = candidates(shared_[k], control_);
        for (u32 rest = word; rest != 0; rest &= rest - 1) {
            const auto i = static_cast<unsigned>(std::countr_zero(rest));
            if ((targets_[k * 32 + i] >> cpu & 1) == 0) word &= ~(1u << i);
        }
        best.offer(shared_[k], word, kFirstSpi + k * 32);
    }
    return best;
}

// The maintenance interrupt is a private interrupt like others, so it comes first.
void Gicv2::update(unsigned cpu) {
    Cpu& c = cpu_[cpu];
    if (config_.virtualization) c.local.set_line(config_.maintenance_ppi, c.virt.maintenance());
    const Candidate best = highest(cpu);
    const bool up = c.priorities.signals(best);
    const bool fiq = best.group == 0 && (c.control & kFiqEnabled) != 0;
    drive(cpu, {up && !fiq, up && fiq, c.virt.irq(), c.virt.fiq()});
}

u32 Gicv2::acknowledge(unsigned cpu, const Candidate& best) {
    Cpu& c = cpu_[cpu];
    c.priorities.activate(best);
    bank_of(cpu, best.id)->acknowledge(best.id % 32);
    if (best.id >= kSgis) return best.id;
    u8& sources = c.sgi_sources[best.id];
    const auto sender = static_cast<u32>(std::countr_zero(u32{sources} | 0x100)) & 7;
    sources = static_cast<u8>(sources & ~(1u << sender));
    if (sources != 0) c.local.latched |= 1u << best.id;
    return best.id | sender << 10;
}

// --- Access ---------------------------------------------------------------------------------------------------------

u64 Gicv2::frame_read(unsigned part, unsigned cpu, u64 offset, unsigned size) {
    const u64 value = read_words(offset, size, [&](u64 at) -> u64 { return read_word(part, cpu, at); });
    update(cpu);  // reading IAR changes what is pending
    return value;
}

void Gicv2::frame_write(unsigned part, unsigned cpu, u64 offset, u64 value, unsigned size) {
    for_words(offset, value, size, [&](u64 at, u32 word, u32 lanes) { write_word(part, cpu, at, word, lanes); });
    update_all();  // a shared interrupt that ends at one processor may be pending again for others
}

u32 Gicv2::read_word(unsigned part, unsigned cpu, u64 offset) {
    if (part == kDistributor) {
        if (const auto place = find_bank_register(offset)) {
            const Bank* b = bank(cpu, place->bank);
            return b == nullptr ? 0 : read_bank(*b, *place);
        }
    }
    for (const RegisterRow& row : rows(part)) {
        if (offset < row.offset || offset >= row.end) continue;
        return row.read == nullptr ? 0 : (this->*row.read)(cpu, static_cast<u32>(offset - row.offset));
    }
    return 0;
}

void Gicv2::write_word(unsigned part, unsigned cpu, u64 offset, u32 value, u32 lanes) {
    if (part == kDistributor) {
        if (const auto place = find_bank_register(offset)) {
            if (Bank* b = bank(cpu, place->bank)) {
                write_bank(*b, place->bank == 0 ? kLocalRules : kSharedRules, *place, value, lanes);
            }
            return;
        }
    }
    for (const RegisterRow& row : rows(part)) {
        if (offset < row.offset || offset >= row.end) continue;
        if (row.write != nullptr) (this->*row.write)(cpu, static_cast<u32>(offset - row.offset), value, lanes);
        return;
    }
    log::trace(log::GuestErrors, "guest_errors: gicv2: write to offset {:#x} of frame {}", offset, part);
}

// --- State ----------------------------------------------------------------------------------------------------------

Gicv2State Gicv2::capture() const {
    std::lock_guard guard(lock_);
    Gicv2State s{control_, shared_, targets_, {}};
    for (const Cpu& c : cpu_) s.cpus.push_back({c.local, c.sgi_sources, c.control, c.priorities, c.virt.s});
    return s;
}

Result<void> Gicv2::apply(const Gicv2State& s) {
    if (s.shared.size() != shared_.size() || s.targets.size() != targets_.size() || s.cpus.size() != cpu_.size()) {
        return corrupt(fmt::format("state of {} processors and {} shared interrupts for {} and {}", s.cpus.size(),
                                   s.targets.size(), cpu_.size(), targets_.size()));
    }
    const auto good = [](const Gicv2Cpu& c) { return c.priorities.valid() && c.virtual_interface.valid(); };
    if (!std::ranges::all_of(s.cpus, good)) return corrupt("a CPU interface holds impossible values");
    std::lock_guard guard(lock_);
    control_ = s.control & 3;
    shared_ = s.shared;
    targets_ = s.targets;
    for (unsigned i = 0; i < cpus_; ++i) {
        const Gicv2Cpu& from = s.cpus[i];
        cpu_[i].local = from.local;
        cpu_[i].sgi_sources = from.sgi_sources;
        cpu_[i].control = from.control;
        cpu_[i].priorities = from.priorities;
        cpu_[i].virt.s = from.virtual_interface;
    }
    update_all();
    return {};
}

}  // namespace tandem::devices

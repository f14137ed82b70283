#include "devices/irq/gicv3.h"

#include <algorithm>
#include <bit>

#include "base/bits.h"
#include "base/log.h"

namespace tandem::devices {

using namespace gic;

namespace {

constexpr BankRules kLocalRules{0, 0, ~0u, kSgiMask};
constexpr BankRules kSharedRules{};
constexpr u32 kIidr = 0x0300043b;    // Arm
constexpr u32 kArchitecture = 0x3b;  // PIDR2: version 3
constexpr u64 kPidr2 = 0xffe8;
constexpr u64 kAffinityMask = 0xff00ffffff;

// GICD
constexpr u64 kGicdCtlr = 0x0000, kGicdTyper = 0x0004, kGicdIidr = 0x0008, kIrouter = 0x6000;
constexpr u32 kGroupEnables = 3, kAffinityRouting = 1u << 4, kDisableSecurity = 1u << 6;

// GICR, control frame
constexpr u64 kGicrCtlr = 0x0000, kGicrIidr = 0x0004, kGicrTyper = 0x0008, kGicrWaker = 0x0014;
constexpr u64 kPropbaser = 0x0070, kPendbaser = 0x0078, kSgiFrame = 0x10000;
constexpr u32 kEnableLpis = 1, kProcessorSleep = 2, kChildrenAsleep = 4;
constexpr u64 kPropbaserBits = 0x070fffffffffff9f, kPendbaserBits = 0x470fffffffff0f80;
constexpr u64 kPendingTableZero = u64{1} << 62;
constexpr u64 kTableAddress = 0x000ffffffffff000, kPendingAddress = 0x000fffffffff0000;

u32 merge(u32 old, u32 value, u32 lanes) { return (old & ~lanes) | (value & lanes); }

}  // namespace

Gicv3::Gicv3(Gicv3Config config, GuestMemory& memory)
    : Gic(static_cast<unsigned>(config.affinities.size()), config.spis),
      config_(std::move(config)),
      memory_(memory),
      shared_(spis_ / 32),
      routes_(spis_),
      cpu_(cpus_) {
    add_frame("GICD", config_.distributor, kDistributorSize, kDistributor);
    add_frame("GICR", config_.redistributors, kRedistributorSize * cpus_, kRedistributors);
    reset();
}

void Gicv3::reset() {
    std::lock_guard guard(lock_);
    control_ = 0;
    std::ranges::fill(routes_, config_.affinities[0]);
    for (Bank& b : shared_) reset_bank(b, kSharedRules);
    for (Cpu& c : cpu_) {
        const Bank local = c.local;
        c = {};
        c.local = local;
        reset_bank(c.local, kLocalRules);
        c.virt.s.fiq_enabled = true;  // RES1 with system registers
    }
    update_all();
}

Bank* Gicv3::bank_of(unsigned cpu, u32 id) {
    if (id < kPrivate) return &cpu_[cpu].local;
    return id - kPrivate < spis_ ? &shared_[(id - kPrivate) / 32] : nullptr;
}

// The processor that an SPI goes to, -1 when no processor has the affinity.
int Gicv3::target(unsigned spi) const {
    for (unsigned i = 0; i < cpus_; ++i) {
        if (config_.affinities[i] == routes_[spi]) return static_cast<int>(i);
    }
    return -1;
}

void Gicv3::update_targets(unsigned cpu, u32 id) {
    const int to = id < kPrivate ? static_cast<int>(cpu) : target(id - kPrivate);
    if (to >= 0) update(static_cast<unsigned>(to));
}

Candidate Gicv3::highest(unsigned cpu) const {
    Candidate best;
    best.offer(cpu_[cpu].local, candidates(cpu_[cpu].local, control_), 0);
    for (unsigned k = 0; k < shared_.size(); ++k) {
        u32 word = candidates(shared_[k], control_);
        for (u32 rest = word; rest != 0; rest &= rest - 1) {
            const auto i = static_cast<unsigned>(std::countr_zero(rest));
            if (target(k * 32 + i) != static_cast<int>(cpu)) word &= ~(1u << i);
        }
        best.offer(shared_[k], word, kFirstSpi + k * 32);
    }
    if (bit(control_, 1)) best.offer(cpu_[cpu].best_lpi);  // LPIs are group 1
    return best;
}

// Group 0 is signalled as FIQ, group 1 as IRQ (4.6.2). The maintenance interrupt is a private interrupt like others, so it
// comes first.
void Gicv3::update(unsigned cpu) {
    Cpu& c = cpu_[cpu];
    if (config_.virtualization) c.local.set_line(config_.maintenance_ppi, c.virt.maintenance());
    const Candidate best = highest(cpu);
    const bool up = c.priorities.signals(best);
    drive(cpu, {up && best.group == 1, up && best.group == 0, c.virt.irq(), c.virt.fiq()});
}

// --- Frames ---------------------------------------------------------------------------------------------------------

u64 Gicv3::frame_read(unsigned part, unsigned, u64 offset, unsigned size) {
    if (part == kDistributor) return read_words(offset, size, [&](u64 at) -> u64 { return read_distributor(at); });
    const auto whose = static_cast<unsigned>(offset / kRedistributorSize);
    return read_words(offset % kRedistributorSize, size, [&](u64 at) -> u64 { return read_redistributor(whose, at); });
}

void Gicv3::frame_write(unsigned part, unsigned, u64 offset, u64 value, unsigned size) {
    if (part == kDistributor) {
        for_words(offset, value, size, [&](u64 at, u32 word, u32 lanes) { write_distributor(at, word, lanes); });
        return update_all();
    }
    const auto whose = static_cast<unsigned>(offset / kRedistributorSize);
    for_words(offset % kRedistributorSize, value, size,
              [&](u64 at, u32 word, u32 lanes) { write_redistributor(whose, at, word, lanes); });
    update(whose);
}

// 12.9. Private interrupts are the redistributors' (affinity routing is on), so bank 0 reads as zero.
u32 Gicv3::read_distributor(u64 offset) {
    if (const auto place = find_bank_register(offset)) {
        return place->bank == 0 || place->bank > shared_.size() ? 0 : read_bank(shared_[place->bank - 1], *place);
    }
    if (offset >= kIrouter + 8 * kPrivate && offset < kIrouter + 8 * (kPrivate + spis_)) {
        const u64 route = routes_[(offset - kIrouter) / 8 - kPrivate];
        return static_cast<u32>(offset % 8 == 0 ? route : route >> 32);
    }
    switch (offset) {
        case kGicdCtlr: return control_ | kAffinityRouting | kDisableSecurity;
        case kGicdTyper:
            // Lines, LPIs, bits of numbers, Aff3, no 1-of-N routing
            return spis_ / 32 | (config_.lpis ? 1u << 17 : 0) | (kIdBits - 1) << 19 | 1u << 24 | 1u << 25;
        case kGicdIidr: return kIidr;
        case kPidr2: return kArchitecture;
        default: return 0;
    }
}

void Gicv3::write_distributor(u64 offset, u32 value, u32 lanes) {
    if (const auto place = find_bank_register(offset)) {
        if (place->bank != 0 && place->bank <= shared_.size()) {
            write_bank(shared_[place->bank - 1], kSharedRules, *place, value, lanes);
        }
        return;
    }
    if (offset >= kIrouter + 8 * kPrivate && offset < kIrouter + 8 * (kPrivate + spis_)) {
        u64& route = routes_[(offset - kIrouter) / 8 - kPrivate];
        const u64 shift = offset % 8 * 8;
        route = ((route & ~(u64{lanes} << shift)) | u64{value & lanes} << shift) & kAffinityMask;
        return;
    }
    if (offset == kGicdCtlr) control_ = merge(control_, value, lanes) & kGroupEnables;
}

// 12.11
u32 Gicv3::read_redistributor(unsigned cpu, u64 offset) {
    const Cpu& c = cpu_[cpu];
    if (offset >= kSgiFrame) {
        const auto place = find_bank_register(offset - kSgiFrame);
        return place && place->bank == 0 ? read_bank(c.local, *place) : 0;
    }
    const u64 affinity = config_.affinities[cpu];
    switch (offset) {
        case kGicrCtlr: return c.lpis_enabled ? kEnableLpis : 0;
        case kGicrIidr: return kIidr;
        case kGicrTyper: return (config_.lpis ? 1u : 0) | (cpu + 1 == cpus_ ? 1u << 4 : 0) | cpu << 8;
        case kGicrTyper + 4: return static_cast<u32>(bits(affinity, 39, 32) << 24 | bits(affinity, 23, 0));
        case kGicrWaker: return c.asleep ? kProcessorSleep | kChildrenAsleep : 0;
        case kPropbaser: return static_cast<u32>(c.property_base);
        case kPropbaser + 4: return static_cast<u32>(c.property_base >> 32);
        case kPendbaser: return static_cast<u32>(c.pending_base & ~kPendingTableZero);
        case kPendbaser + 4: return static_cast<u32>((c.pending_base & ~kPendingTableZero) >> 32);
        case kPidr2: return kArchitecture;
        default: return 0;
    }
}

void Gicv3::write_redistributor(unsigned cpu, u64 offset, u32 value, u32 lanes) {
    Cpu& c = cpu_[cpu];
    if (offset >= kSgiFrame) {
        const auto place = find_bank_register(offset - kSgiFrame);
        if (place && place->bank == 0) write_bank(c.local, kLocalRules, *place, value, lanes);
        return;
    }
    switch (offset) {
        case kGicrCtlr:
            if (!config_.lpis || (lanes & kEnableLpis) == 0) break;
            if ((value & kEnableLpis) != 0 && !c.lpis_enabled) enable_lpis(cpu);
            if ((value & kEnableLpis) == 0 && c.lpis_enabled) disable_lpis(cpu);
            break;
        // Sleep is what software asks for before it takes the processor's power away. Interrupts are not held back: what
        // starts the machine's processors has woken their redistributors.
        case kGicrWaker: c.asleep = (merge(c.asleep ? kProcessorSleep : 0, value, lanes) & kProcessorSleep) != 0; break;
        case kPropbaser:
        case kPropbaser + 4: write_lpi_base(cpu, c.property_base, kPropbaserBits, offset % 8 != 0, value, lanes); break;
        case kPendbaser:
        case kPendbaser + 4: write_lpi_base(cpu, c.pending_base, kPendbaserBits, offset % 8 != 0, value, lanes); break;
        default: break;
    }
}

// Where the tables lie is fixed while they are in use.
void Gicv3::write_lpi_base(unsigned cpu, u64& base, u64 writable, bool high, u32 value, u32 lanes) {
    if (!config_.lpis || cpu_[cpu].lpis_enabled) return;
    const u64 shift = high ? 32 : 0;
    base = ((base & ~(u64{lanes} << shift)) | u64{value & lanes} << shift) & writable;
}

// --- LPIs (5.1) -----------------------------------------------------------------------------------------------------

// A byte for each interrupt: priority in bits 7:2, enable in bit 0 (table 5-1).
u8 Gicv3::lpi_config(const Cpu& c, u32 id) const {
    u8 config = 0;
    const u64 ids = std::min<u64>(u64{2} << bits(c.property_base, 4, 0), u64{1} << kIdBits);
    if (id >= ids || !memory_.read((c.property_base & kTableAddress) + id - kFirstLpi, &config, 1)) return 0;
    return config;
}

void Gicv3::choose_lpi(Cpu& c) {
    c.best_lpi = {};
    for (const auto& [id, config] : c.pending_lpis) {
        if ((config & 1) != 0) c.best_lpi.offer({id, static_cast<u8>(config & kPriorityMask), 1});
    }
}

void Gicv3::add_lpi(Cpu& c, u32 id) { c.pending_lpis.emplace(id, lpi_config(c, id)); }

void Gicv3::enable_lpis(unsigned cpu) {
    Cpu& c = cpu_[cpu];
    c.lpis_enabled = true;
    c.pending_lpis.clear();
    if ((c.pending_base & kPendingTableZero) == 0) {
        std::vector<u8> table((1u << kIdBits) / 8);
        if (memory_.read(c.pending_base & kPendingAddress, table.data(), table.size())) {
            for (u32 id = kFirstLpi; id < 1u << kIdBits; ++id) {
                if ((table[id / 8] >> id % 8 & 1) != 0) add_lpi(c, id);
            }
        }
    }
    choose_lpi(c);
}

// The pending table holds what was not taken.
void Gicv3::disable_lpis(unsigned cpu) {
    Cpu& c = cpu_[cpu];
    c.lpis_enabled = false;
    std::vector<u8> table((1u << kIdBits) / 8);
    for (const auto& [id, config] : c.pending_lpis) table[id / 8] |= static_cast<u8>(1u << id % 8);
    constexpr u32 kFirst = kFirstLpi / 8;
    memory_.write((c.pending_base & kPendingAddress) + kFirst, table.data() + kFirst, table.size() - kFirst);
    c.pending_lpis.clear();
    choose_lpi(c);
}

void Gicv3::set_lpi(unsigned cpu, u32 id, bool pending) {
    std::lock_guard guard(lock_);
    Cpu& c = cpu_[cpu];
    if (!c.lpis_enabled || id < kFirstLpi || id >= 1u << kIdBits) return;
    log::trace(log::Exits, "vgic_update_irq_pending: VCPU: {}, IRQ {}, level: {}", cpu, id, pending);
    if (pending) {
        add_lpi(c, id);
    } else {
        c.pending_lpis.erase(id);
    }
    choose_lpi(c);
    update(cpu);
}

bool Gicv3::lpi_pending(unsigned cpu, u32 id) const {
    std::lock_guard guard(lock_);
    return cpu_[cpu].pending_lpis.contains(id);
}

void Gicv3::move_lpi(unsigned from, unsigned to, u32 id) {
    if (from == to || !lpi_pending(from, id)) return;
    set_lpi(from, id, false);
    set_lpi(to, id, true);
}

void Gicv3::move_all_lpis(unsigned from, unsigned to) {
    if (from == to) return;
    std::lock_guard guard(lock_);
    if (!cpu_[to].lpis_enabled) return;
    for (const auto& [id, config] : cpu_[from].pending_lpis) add_lpi(cpu_[to], id);
    cpu_[from].pending_lpis.clear();
    for (const unsigned i : {from, to}) {
        choose_lpi(cpu_[i]);
        update(i);
    }
}

void Gicv3::invalidate_lpi(unsigned cpu, u32 id) {
    std::lock_guard guard(lock_);
    Cpu& c = cpu_[cpu];
    const auto at = c.pending_lpis.find(id);
    if (at == c.pending_lpis.end()) return;
    at->second = lpi_config(c, id);
    choose_lpi(c);
    update(cpu);
}

void Gicv3::invalidate_all_lpis(unsigned cpu) {
    std::lock_guard guard(lock_);
    Cpu& c = cpu_[cpu];
    for (auto& [id, config] : c.pending_lpis) config = lpi_config(c, id);
    choose_lpi(c);
    update(cpu);
}

// --- State ----------------------------------------------------------------------------------------------------------

Gicv3State Gicv3::capture() const {
    std::lock_guard guard(lock_);
    Gicv3State s{control_, shared_, routes_, {}};
    for (const Cpu& c : cpu_) {
        Gicv3Cpu to{c.local, c.asleep, c.lpis_enabled, c.property_base, c.pending_base, {}, c.priorities, c.virt.s};
        for (const auto& [id, config] : c.pending_lpis) to.pending_lpis.push_back({id, config});
        s.cpus.push_back(std::move(to));
    }
    return s;
}

Result<void> Gicv3::apply(const Gicv3State& s) {
    if (s.shared.size() != shared_.size() || s.routes.size() != routes_.size() || s.cpus.size() != cpu_.size()) {
        return corrupt(fmt::format("state of {} processors and {} shared interrupts for {} and {}", s.cpus.size(),
                                   s.routes.size(), cpu_.size(), routes_.size()));
    }
    const auto good = [](const Gicv3Cpu& c) {
        const auto lpi = [](const Gicv3Lpi& l) { return l.id >= kFirstLpi && l.id < 1u << kIdBits; };
        return c.priorities.valid() && c.virtual_interface.valid() && std::ranges::all_of(c.pending_lpis, lpi);
    };
    if (!std::ranges::all_of(s.cpus, good)) return corrupt("a CPU interface holds impossible values");
    std::lock_guard guard(lock_);
    control_ = s.control & kGroupEnables;
    shared_ = s.shared;
    routes_ = s.routes;
    for (unsigned i = 0; i < cpus_; ++i) {
        const Gicv3Cpu& from = s.cpus[i];
        Cpu& c = cpu_[i];
        c.local = from.local;
        c.asleep = from.asleep;
        c.lpis_enabled = from.lpis_enabled;
        c.property_base = from.property_base;
        c.pending_base = from.pending_base;
        c.pending_lpis.clear();
        for (const auto& lpi : from.pending_lpis) c.pending_lpis.emplace(lpi.id, lpi.config);
        choose_lpi(c);
        c.priorities = from.priorities;
        c.virt.s = from.virtual_interface;
    }
    update_all();
    return {};
}

}  // namespace tandem::devices

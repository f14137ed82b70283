#include "devices/irq/gic_its.h"

#include "base/bits.h"
#include "base/log.h"
#include "devices/irq/gic_bank.h"

namespace tandem::devices {

using gic::for_words;
using gic::read_words;

namespace {

constexpr u64 kCtlr = 0x0000, kIidr = 0x0004, kTyper = 0x0008, kCbaser = 0x0080, kCwriter = 0x0088, kCreadr = 0x0090;
constexpr u64 kBaser = 0x0100, kPidr2 = 0xffe8, kTranslater = 0x10040;
constexpr u32 kEnabled = 1, kQuiescent = 1u << 31;
constexpr u64 kCommandBytes = 32;

// Physical LPIs; entries of 8 bytes; 16 bits of event, device and collection; processors by number (12.19.6).
constexpr u64 kTyperValue = 1 | 7u << 4 | 15u << 8 | 15u << 13;
constexpr u64 kValid = u64{1} << 63;

// GITS_BASER<n>: type and entry size are fixed (12.19.1).
constexpr std::array<u64, 2> kTableFixed{u64{1} << 56 | u64{7} << 48, u64{4} << 56 | u64{7} << 48};
constexpr u64 kTableWritable = ~(u64{7} << 56 | u64{31} << 48);
constexpr u64 kIndirect = u64{1} << 62;
constexpr u64 kEntryBytes = 8;

// Our entries. Devices: valid, address of the translation table, event bits less one. Collections: valid, processor.
// Translations: valid, collection, LPI.
constexpr u64 kTranslationAddress = 0x000fffffffffff00;
constexpr unsigned kCollectionShift = 32;

u64 page_bytes(u64 base) {
    static constexpr std::array<u64, 4> kSizes{0x1000, 0x4000, 0x10000, 0x10000};
    return kSizes[bits(base, 9, 8)];
}

// With pages of 64 KiB bits 15:12 hold the address's bits 51:48.
u64 table_address(u64 base) {
    if (page_bytes(base) != 0x10000) return base & 0x0000fffffffff000;
    return (base & 0x0000ffffffff0000) | bits(base, 15, 12) << 48;
}

void set_word(u64& reg, bool high, u32 value, u32 lanes, u64 writable) {
    const u64 shift = high ? 32 : 0;
    const u64 taken = (u64{lanes} << shift) & writable;
    reg = (reg & ~taken) | ((u64{value} << shift) & taken);
}
u32 get_word(u64 reg, u64 offset) { return static_cast<u32>(offset % 8 == 0 ? reg : reg >> 32); }

}  // namespace

// Table 5-3 and 5.3
std::span<const GicIts::Row> GicIts::rows() {
    using I = GicIts;
    static constexpr std::array<Row, 12> kRows{{
        {0x01, "MOVI", &I::move},
        {0x03, "INT", &I::raise},
        {0x04, "CLEAR", &I::clear},
        {0x05, "SYNC", &I::synchronise},
        {0x08, "MAPD", &I::map_device},
        {0x09, "MAPC", &I::map_collection},
        {0x0a, "MAPTI", &I::map_translation},
        {0x0b, "MAPI", &I::map_interrupt},
        {0x0c, "INV", &I::invalidate},
        {0x0d, "INVALL", &I::invalidate_all},
        {0x0e, "MOVALL", &I::move_all},
        {0x0f, "DISCARD", &I::discard},
    }};
    return kRows;
}

GicIts::GicIts(u64 base, Gicv3& gic, GuestMemory& memory) : base_(base), gic_(gic), memory_(memory) {
    s_.table_base = kTableFixed;
}

void GicIts::reset() {
    std::lock_guard guard(lock_);
    s_ = {};
    s_.table_base = kTableFixed;
}

u64 GicIts::io_read(u64 offset, unsigned size) {
    std::lock_guard guard(lock_);
    return read_words(offset, size, [this](u64 at) -> u64 { return read_word(at); });
}

void GicIts::io_write(u64 offset, u64 value, unsigned size) {
    std::lock_guard guard(lock_);
    for_words(offset, value, size, [this](u64 at, u32 word, u32 lanes) { write_word(at, word, lanes); });
    run_commands();
}

u32 GicIts::read_word(u64 offset) const {
    if (offset >= kBaser && offset < kBaser + 8 * s_.table_base.size()) {
        return get_word(s_.table_base[(offset - kBaser) / 8], offset);
    }
    switch (offset) {
        case kCtlr: return (s_.enabled ? kEnabled : 0) | kQuiescent;
        case kIidr: return 0x43b;
        case kTyper:
        case kTyper + 4: return get_word(kTyperValue, offset);
        case kCbaser:
        case kCbaser + 4: return get_word(s_.command_base, offset);
        case kCwriter: return static_cast<u32>(s_.command_write);
        case kCreadr: return static_cast<u32>(s_.command_read);
        case kPidr2: return 0x3b;
        default: return 0;
    }
}

// Tables and queue lie still while the ITS is enabled.
void GicIts::write_word(u64 offset, u32 value, u32 lanes) {
    if (offset >= kBaser && offset < kBaser + 8 * s_.table_base.size()) {
        if (!s_.enabled) set_word(s_.table_base[(offset - kBaser) / 8], offset % 8 != 0, value, lanes, kTableWritable);
        return;
    }
    switch (offset) {
        case kCtlr:
            if ((lanes & kEnabled) != 0) s_.enabled = (value & kEnabled) != 0;
            break;
        case kCbaser:
        case kCbaser + 4:
            if (s_.enabled) break;
            set_word(s_.command_base, offset % 8 != 0, value, lanes, ~u64{0});
            s_.command_read = s_.command_write = 0;
            break;
        case kCwriter: set_word(s_.command_write, false, value, lanes, 0xfffe0); break;
        default: break;
    }
}

u64 GicIts::queue_bytes() const { return (bits(s_.command_base, 7, 0) + 1) * 0x1000; }

void GicIts::run_commands() {
    if (!s_.enabled || (s_.command_base & kValid) == 0) return;
    const u64 bytes = queue_bytes();
    if (s_.command_write >= bytes) return;  // nothing in the queue is there
    while (s_.command_read != s_.command_write) {
        Command c;
        const u64 at = (s_.command_base & 0x000ffffffffff000) + s_.command_read;
        if (memory_.read(at, c.word.data(), sizeof c.word)) perform(c);
        s_.command_read = (s_.command_read + kCommandBytes) % bytes;
    }
}

void GicIts::perform(const Command& c) {
    const auto number = static_cast<u8>(c.word[0]);
    for (const Row& row : rows()) {
        if (row.number != number) continue;
        if (!(this->*row.perform)(c)) {
            log::trace(log::GuestErrors, "guest_errors: its: {} of device {:#x}, event {:#x} has nothing to work on",
                       row.name, c.device(), c.event());
        }
        return;
    }
    log::trace(log::GuestErrors, "guest_errors: its: command {:#x} is unknown", number);
}

u64 GicIts::load(u64 address) const {
    u64 value = 0;
    return memory_.read(address, &value, sizeof value) ? value : 0;
}

// One table, or pages of it that a first level leads to (5.2.1).
std::optional<u64> GicIts::table_entry(u64 base, u32 id) const {
    if ((base & kValid) == 0) return {};
    const u64 page = page_bytes(base), bytes = (bits(base, 7, 0) + 1) * page;
    if ((base & kIndirect) == 0) {
        if (id >= bytes / kEntryBytes) return {};
        return table_address(base) + id * kEntryBytes;
    }
    const u64 in_page = page / kEntryBytes, first = id / in_page;
    if (first >= bytes / kEntryBytes) return {};
    const u64 second = load(table_address(base) + first * kEntryBytes);
    if ((second & kValid) == 0) return {};
    return (second & 0x000fffffffffffff & ~(page - 1)) + id % in_page * kEntryBytes;
}

std::optional<u64> GicIts::translation_entry(u32 device, u32 event) const {
    const auto at = table_entry(s_.table_base[0], device);
    const u64 entry = at ? load(*at) : 0;
    if ((entry & kValid) == 0 || event >= u64{2} << bits(entry, 4, 0)) return {};
    return (entry & kTranslationAddress) + event * kEntryBytes;
}

std::optional<unsigned> GicIts::processor(u16 collection) const {
    const auto at = table_entry(s_.table_base[1], collection);
    const u64 entry = at ? load(*at) : 0;
    if ((entry & kValid) == 0 || bits(entry, 15, 0) >= gic_.processors()) return {};
    return static_cast<unsigned>(bits(entry, 15, 0));
}

std::optional<GicIts::Route> GicIts::route(u32 device, u32 event) const {
    const auto at = translation_entry(device, event);
    const u64 entry = at ? load(*at) : 0;
    if ((entry & kValid) == 0) return {};
    Route r{*at, static_cast<u32>(entry), static_cast<u16>(bits(entry, kCollectionShift + 15, kCollectionShift)), 0};
    const auto cpu = processor(r.collection);
    if (!cpu) return {};
    r.cpu = *cpu;
    return r;
}

bool GicIts::translate(u32 device, u32 event, bool pending) {
    const auto r = route(device, event);
    if (r) gic_.set_lpi(r->cpu, r->lpi, pending);
    return r.has_value();
}

void GicIts::send_msi(u64 address, u32 data, u16 requester) {
    std::lock_guard guard(lock_);
    if (address != base_ + kTranslater) {
        log::trace(log::GuestErrors, "guest_errors: message interrupt to {:#x}, where nothing takes it", address);
    } else if (!s_.enabled || !translate(requester, data, true)) {
        log::trace(log::GuestErrors, "guest_errors: its: no translation for device {:#x}, event {:#x}", requester, data);
    }
}

bool GicIts::map_device(const Command& c) {
    const auto at = table_entry(s_.table_base[0], c.device());
    const u64 event_bits = bits(c.word[1], 4, 0);
    if (!at || event_bits > 15) return false;
    store(*at, c.valid() ? kValid | (c.word[2] & kTranslationAddress) | event_bits : 0);
    return true;
}

bool GicIts::map_collection(const Command& c) {
    const auto at = table_entry(s_.table_base[1], c.collection());
    const u64 cpu = bits(c.word[2], 50, 16);
    if (!at || (c.valid() && cpu >= gic_.processors())) return false;
    store(*at, c.valid() ? kValid | cpu : 0);
    return true;
}

bool GicIts::map_event(const Command& c, u32 lpi) {
    const auto at = translation_entry(c.device(), c.event());
    if (!at || lpi < gic::kFirstLpi || lpi >= 1u << Gicv3::kIdBits) return false;
    store(*at, kValid | u64{c.collection()} << kCollectionShift | lpi);
    return true;
}
bool GicIts::map_translation(const Command& c) { return map_event(c, static_cast<u32>(c.word[1] >> 32)); }
bool GicIts::map_interrupt(const Command& c) { return map_event(c, c.event()); }

bool GicIts::move(const Command& c) {
    const auto r = route(c.device(), c.event());
    const auto to = processor(c.collection());
    if (!r || !to) return false;
    store(r->entry, kValid | u64{c.collection()} << kCollectionShift | r->lpi);
    gic_.move_lpi(r->cpu, *to, r->lpi);
    return true;
}

bool GicIts::move_all(const Command& c) {
    const u64 from = bits(c.word[2], 50, 16), to = bits(c.word[3], 50, 16);
    if (from >= gic_.processors() || to >= gic_.processors()) return false;
    gic_.move_all_lpis(static_cast<unsigned>(from), static_cast<unsigned>(to));
    return true;
}

bool GicIts::discard(const Command& c) {
    const auto r = route(c.device(), c.event());
    if (!r) return false;
    gic_.set_lpi(r->cpu, r->lpi, false);
    store(r->entry, 0);
    return true;
}

bool GicIts::invalidate(const Command& c) {
    const auto r = route(c.device(), c.event());
    if (r) gic_.invalidate_lpi(r->cpu, r->lpi);
    return r.has_value();
}

bool GicIts::invalidate_all(const Command& c) {
    const auto cpu = processor(c.collection());
    if (cpu) gic_.invalidate_all_lpis(*cpu);
    return cpu.has_value();
}

GicItsState GicIts::capture() const {
    std::lock_guard guard(lock_);
    return s_;
}

Result<void> GicIts::apply(const GicItsState& s) {
    for (std::size_t i = 0; i < kTableFixed.size(); ++i) {
        if ((s.table_base[i] & ~kTableWritable) != kTableFixed[i]) return corrupt("a table has another type");
    }
    constexpr u64 kOffset = 0xfffe0;
    if ((s.command_read & ~kOffset) != 0 || (s.command_write & ~kOffset) != 0)
        return corrupt("the queue's ends lie outside it");
    std::lock_guard guard(lock_);
    s_ = s;
    // What a queue of this size cannot hold would never be reached.
    if (s_.command_read >= queue_bytes()) s_.command_read = 0;
    return {};
}

}  // namespace tandem::devices

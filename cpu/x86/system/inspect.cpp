#include "cpu/x86/system/inspect.h"

#include "base/bits.h"

namespace tandem::cpu::x86 {
namespace {

constexpr u64 kPaging = u64{1} << 31;
constexpr u64 kPse = 1u << 4, kPae = 1u << 5, kLa57 = 1u << 12, kLongModeActive = 1u << 10;
constexpr u64 kPresent = 1, kWritable = 2, kUser = 4, kLarge = 0x80;

struct Level {
    unsigned shift;  // of the address bits that select an entry
    unsigned bits;   // how many
};

// The levels of the mode that the processor is in, from the root.
struct Format {
    std::span<const Level> levels;
    unsigned entry_bytes = 8;
    u64 address_mask = 0;
    bool large_pages = true;  // 32-bit paging: CR4.PSE
};

constexpr Level kFiveLevels[] = {{48, 9}, {39, 9}, {30, 9}, {21, 9}, {12, 9}};
constexpr std::span<const Level> kLong57 = kFiveLevels, kLong = kLong57.subspan(1);
constexpr Level kPaeLevels[] = {{30, 2}, {21, 9}, {12, 9}};
constexpr Level k32[] = {{22, 10}, {12, 10}};

Format format_of(const State& s) {
    constexpr u64 kAddress = 0x000ffffffffff000;
    if ((s.msr.efer & kLongModeActive) != 0) return {(s.cr4 & kLa57) != 0 ? kLong57 : kLong, 8, kAddress, true};
    if ((s.cr4 & kPae) != 0) return {kPaeLevels, 8, kAddress, true};
    return {k32, 4, 0xfffff000, (s.cr4 & kPse) != 0};
}

class Walker {
public:
    Walker(const State& state, const PhysicalReader& read) : s_(state), read_(read), f_(format_of(state)) {}

    [[nodiscard]] u64 root() const {
        if (f_.levels.size() == 3) return s_.cr3 & 0xffffffe0;
        return s_.cr3 & f_.address_mask;
    }
    [[nodiscard]] const Format& format() const { return f_; }

    // The entry of `va` at `level` in `table`; 0: not there.
    [[nodiscard]] u64 entry(std::size_t level, u64 table, u64 index) const {
        // The PAE pointers are registers (4.4.1).
        if (f_.levels.size() == 3 && level == 0) return s_.pdpte[index & 3];
        const u64 at = table + index * f_.entry_bytes;
        const auto value = read_(at & ~u64{7});
        if (!value) return 0;
        return f_.entry_bytes == 8 ? *value : *value >> (8 * (at & 4)) & 0xffffffff;
    }
    [[nodiscard]] bool is_page(std::size_t level, u64 entry) const {
        if (level + 1 == f_.levels.size()) return true;
        const bool may = f_.levels.size() == 2 ? f_.large_pages : level >= 1 && f_.levels[level].shift <= 30;
        return may && (entry & kLarge) != 0;
    }
    // `so_far` with the rights of one more entry.
    [[nodiscard]] Mapping narrowed(Mapping so_far, std::size_t level, u64 entry) const {
        if (f_.levels.size() == 3 && level == 0) return so_far;
        so_far.user = so_far.user && (entry & kUser) != 0;
        so_far.writable = so_far.writable && (entry & kWritable) != 0;
        return so_far;
    }
    [[nodiscard]] Mapping page(Mapping m, std::size_t level, u64 entry) const {
        m.size = u64{1} << f_.levels[level].shift;
        m.flags = entry;
        m.pa = entry & f_.address_mask & ~(m.size - 1);
        // 4 MiB pages have address bits 39:32 in entry bits 20:13 (table 4-4).
        if (f_.entry_bytes == 4 && level == 0) m.pa = (entry & 0xffc00000) | bits(entry, 20, 13) << 32;
        return m;
    }

private:
    const State& s_;
    const PhysicalReader& read_;
    Format f_;
};

// The address with the bits that its highest table leaves open.
u64 canonical_form(const Format& f, u64 va) {
    const unsigned width = f.levels[0].shift + f.levels[0].bits;
    return static_cast<u64>(sign_extend(va & mask(width), width));
}

bool visit_table(const Walker& w, std::size_t level, u64 table, const Mapping& above,
                 const std::function<bool(const Mapping&)>& take) {
    const Level& l = w.format().levels[level];
    for (u64 index = 0; index < (u64{1} << l.bits); ++index) {
        const u64 entry = w.entry(level, table, index);
        if ((entry & kPresent) == 0) continue;
        Mapping here = w.narrowed(above, level, entry);
        here.va = above.va | index << l.shift;
        if (w.is_page(level, entry)) {
            Mapping page = w.page(here, level, entry);
            if (w.format().levels.size() >= 4) page.va = canonical_form(w.format(), page.va);
            if (!take(page)) return false;
        } else if (!visit_table(w, level + 1, entry & w.format().address_mask, here, take)) {
            return false;
        }
    }
    return true;
}

}  // namespace

std::optional<Mapping> walk(const State& state, const PhysicalReader& read, u64 va) {
    Mapping m{va, va, 4096, 0, true, true};
    if ((state.cr0 & kPaging) == 0) {
        m.va = m.pa = va & ~u64{4095};
        return m;
    }
    const Walker w(state, read);
    u64 table = w.root();
    const auto levels = w.format().levels;
    if (levels.size() >= 4 ? canonical_form(w.format(), va) != va : va > 0xffffffff) return {};
    for (std::size_t level = 0; level < levels.size(); ++level) {
        const u64 entry = w.entry(level, table, va >> levels[level].shift & mask(levels[level].bits));
        if ((entry & kPresent) == 0) return {};
        m = w.narrowed(m, level, entry);
        if (w.is_page(level, entry)) {
            m = w.page(m, level, entry);
            m.va = va & ~(m.size - 1);
            return m;
        }
        table = entry & w.format().address_mask;
    }
    return {};
}

void for_each_mapping(const State& state, const PhysicalReader& read, const std::function<bool(const Mapping&)>& take) {
    if ((state.cr0 & kPaging) == 0) return;
    const Walker w(state, read);
    Mapping top;
    top.user = top.writable = true;
    (void)visit_table(w, 0, w.root(), top, take);
}

}  // namespace tandem::cpu::x86

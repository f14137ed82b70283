// Segment descriptors in memory: SDM volume 3, 3.4.5, 3.5 and 5.8.
#include "cpu/x86/system/internal.h"

namespace tandem::cpu::x86 {

namespace {

constexpr u16 kTableIndicator = 4;

// An aligned dword read-modify-write at a linear address, as the processor's locked cycles on descriptors.
bool update_dword(TranslateState& t, u64 va, u32 clear, u32 set) {
    va = linear(t.s, va);
    if (!is_aligned(va, 4)) {
        u32 value = 0;
        if (!jit::load(&t, va, kMmuSupervisor, value)) return false;
        return jit::store(&t, va, kMmuSupervisor, (value & ~clear) | set);
    }
    // An entry in memory that ignores writes never changes: give up after some attempts, as the bus would.
    constexpr int kAttempts = 8;
    jit::Translation where;
    if (!translate(t, va, jit::Access::Write, kMmuSupervisor, where)) return false;
    for (int i = 0; i < kAttempts; ++i) {
        const u64 old = jit::phys_load(&t, where.phys, 4);
        const u64 wanted = (old & ~u64{clear}) | set;
        if (old == wanted || jit::phys_cas(&t, where.phys, old, wanted, 4)) break;
    }
    return true;
}

}  // namespace

u64 descriptor_address(const State& s, u16 selector) {
    const u64 base = (selector & kTableIndicator) != 0 ? s.ldtr.base : s.gdtr.base;
    return base + (selector & 0xfff8);
}

Fetch fetch_descriptor(TranslateState& t, u16 selector, Descriptor& out) {
    const State& s = t.s;
    const bool local = (selector & kTableIndicator) != 0;
    const u32 limit = local ? s.ldtr.limit : s.gdtr.limit;
    if (local && !usable(s.ldtr)) return Fetch::OutsideTable;
    const u32 offset = selector & 0xfff8;
    if (offset + 7 > limit) return Fetch::OutsideTable;
    const u64 va = descriptor_address(s, selector);
    if (!read_system(t, va, out.low)) return Fetch::Fault;
    out.high = 0;
    if (long_mode(s) && out.system()) {
        if (offset + 15 > limit) return Fetch::OutsideTable;
        if (!read_system(t, va + 8, out.high)) return Fetch::Fault;
    }
    return Fetch::Ok;
}

bool require_descriptor(TranslateState& t, u16 selector, Descriptor& out, Vector vector, u32 ext) {
    switch (fetch_descriptor(t, selector, out)) {
        case Fetch::Ok: return true;
        case Fetch::OutsideTable: return fault(t, vector, index_of(selector) | ext);
        case Fetch::Fault: break;
    }
    return false;
}

bool mark_accessed(TranslateState& t, u16 selector, Descriptor& d) {
    constexpr unsigned kAccessedBit = 40;
    if (bit(d.low, kAccessedBit)) return true;
    if (!update_dword(t, descriptor_address(t.s, selector) + 4, 0, 1u << (kAccessedBit - 32))) return false;
    d.low |= u64{1} << kAccessedBit;
    return true;
}

bool mark_busy(TranslateState& t, u16 selector, bool busy) {
    constexpr u32 kBusy = 1u << 9;
    return update_dword(t, descriptor_address(t.s, selector) + 4, busy ? 0 : kBusy, busy ? kBusy : 0);
}

Segment to_segment(u16 selector, const Descriptor& d) {
    return {d.base(), d.limit(), selector, static_cast<u16>(bits(d.low, 55, 40) & 0xf0ff)};
}

bool segment_allows(const Segment& seg, u64 offset, u64 size, bool write) {
    if (!usable(seg)) return false;
    const bool code = (seg.access & access::Code) != 0;
    if (write && (code || (seg.access & access::Writable) == 0)) return false;
    if (!write && code && (seg.access & access::Readable) == 0) return false;
    const u64 last = offset + size - 1;
    if (!code && (seg.access & access::ExpandDown) != 0) {
        const u64 top = (seg.access & access::DB) != 0 ? 0xffffffff : 0xffff;
        return offset > seg.limit && last <= top && last >= offset;
    }
    return last <= seg.limit && last >= offset;
}

}  // namespace tandem::cpu::x86

// Segment registers and the instructions about them: SDM volume 3, 5.4 to 5.10; volume 2 "MOV", "LAR", "LSL", "VERR",
// "ARPL".
#include <cstring>

#include "cpu/x86/system/internal.h"

namespace tandem::cpu::x86 {

namespace {

bool load_ss(TranslateState& t, u16 selector) {
    State& s = t.s;
    const unsigned level = cpl(s);
    if (null(selector)) {
        if (!code64(s) || level == 3 || rpl_of(selector) != level) return fault(t, kGP);
        s.seg[SS] = null_segment(selector, level);
        return true;
    }
    const u32 error = index_of(selector);
    Descriptor d;
    if (!require_descriptor(t, selector, d, kGP)) return false;
    if (rpl_of(selector) != level || !d.writable() || d.dpl() != level) return fault(t, kGP, error);
    if (!d.present()) return fault(t, kSS, error);
    if (!mark_accessed(t, selector, d)) return false;
    s.seg[SS] = to_segment(selector, d);
    return true;
}

bool load_data(TranslateState& t, unsigned seg, u16 selector) {
    State& s = t.s;
    if (null(selector)) {
        s.seg[seg] = null_segment(selector);
        return true;
    }
    const u32 error = index_of(selector);
    Descriptor d;
    if (!require_descriptor(t, selector, d, kGP)) return false;
    if (d.system() || !d.readable()) return fault(t, kGP, error);
    if (!d.conforming() && (rpl_of(selector) > d.dpl() || cpl(s) > d.dpl())) return fault(t, kGP, error);
    if (!d.present()) return fault(t, kNP, error);
    if (!mark_accessed(t, selector, d)) return false;
    s.seg[seg] = to_segment(selector, d);
    return true;
}

void set_zf(TranslateState& t, bool zf) { write_flags(t, zf ? eflags::ZF : 0, eflags::ZF); }

bool require_descriptor_instruction(TranslateState& t) { return (protected_mode(t.s) && !vm86(t.s)) || fault(t, kUD); }

// What LAR, LSL, VERR and VERW may see.
enum class Query : u8 { Lar, Lsl, Read, Write };

bool visible_type(const State& s, const Descriptor& d, Query query) {
    switch (query) {
        case Query::Read: return !d.system() && d.readable();
        case Query::Write: return d.writable();
        case Query::Lar:
        case Query::Lsl: break;
    }
    if (!d.system()) return true;
    const unsigned type = d.type();
    if (type == kLdt || type == kTss32 || type == kTss32Busy) return true;
    if (query == Query::Lar && type == kCallGate32) return true;
    if (long_mode(s)) return false;
    if (type == kTss16 || type == kTss16Busy) return true;
    return query == Query::Lar && (type == kCallGate16 || type == kTaskGate);
}

// ok = false in the result: ZF = 0. The function says false when an exception is pending.
bool query_descriptor(TranslateState& t, u16 selector, Query query, Descriptor& d, bool& visible) {
    visible = false;
    if (!require_descriptor_instruction(t)) return false;
    if (null(selector)) return true;
    switch (fetch_descriptor(t, selector, d)) {
        case Fetch::Fault: return false;
        case Fetch::OutsideTable: return true;
        case Fetch::Ok: break;
    }
    const bool privileged_enough = d.conforming() || (d.dpl() >= cpl(t.s) && d.dpl() >= rpl_of(selector));
    visible = privileged_enough && visible_type(t.s, d, query);
    return true;
}

LeaveReason query_result(TranslateState& t, bool visible, u64 value) {
    set_zf(t, visible);
    t.scratch[0] = value;
    t.scratch[1] = visible ? 1 : 0;
    return LeaveReason::None;
}

// A 16-byte descriptor whose second half could be taken for one of 8 bytes (SDM volume 3, 3.5.2). Others have no such half.
bool malformed(const Descriptor& d) { return bits(d.high, 44, 40) != 0; }

bool require_no_umip(TranslateState& t) {
    const State& s = t.s;
    return (s.cr4 & cr4::UMIP) == 0 || !protected_mode(s) || cpl(s) == 0 || fault(t, kGP);
}

}  // namespace

LeaveReason load_segment(TranslateState* t, u32 seg, u32 selector32, u32 shadow) {
    State& s = t->s;
    const auto selector = static_cast<u16>(selector32);
    if (!protected_mode(s)) {
        set_real_segment(s.seg[seg], selector);
    } else if (vm86(s)) {
        s.seg[seg] = vm86_segment(selector);
    } else if (!(seg == SS ? load_ss(*t, selector) : load_data(*t, seg, selector))) {
        return failed(*t);
    }
    if (shadow != 0) s.mov_ss_shadow = true;
    return LeaveReason::None;
}

LeaveReason check_segment(TranslateState* t, u32 seg, u64 offset, u32 size, u32 write) {
    const State& s = t->s;
    const bool by_type = protected_mode(s) && !vm86(s);
    const u64 last = offset + size - 1;
    const bool ok =
        by_type ? segment_allows(s.seg[seg], offset, size, write != 0) : last <= s.seg[seg].limit && last >= offset;
    if (ok) return LeaveReason::None;
    return raise(*t, seg == SS ? kSS : kGP);
}

LeaveReason check_canonical(TranslateState* t, u64 va, u32 size, u32 stack) {
    if (canonical(t->s, va) && canonical(t->s, va + size - 1)) return LeaveReason::None;
    return raise(*t, stack != 0 ? kSS : kGP);
}

LeaveReason lar(TranslateState* t, u32 selector) {
    Descriptor d;
    bool visible = false;
    if (!query_descriptor(*t, static_cast<u16>(selector), Query::Lar, d, visible)) return failed(*t);
    return query_result(*t, visible, (d.low >> 32) & 0x00f0ff00);
}

LeaveReason lsl(TranslateState* t, u32 selector) {
    Descriptor d;
    bool visible = false;
    if (!query_descriptor(*t, static_cast<u16>(selector), Query::Lsl, d, visible)) return failed(*t);
    return query_result(*t, visible, d.limit());
}

LeaveReason verify_segment(TranslateState* t, u32 selector, u32 write) {
    Descriptor d;
    bool visible = false;
    const Query query = write != 0 ? Query::Write : Query::Read;
    if (!query_descriptor(*t, static_cast<u16>(selector), query, d, visible)) return failed(*t);
    set_zf(*t, visible);
    return LeaveReason::None;
}

LeaveReason arpl(TranslateState* t, u32 dest, u32 src) {
    if (!require_descriptor_instruction(*t)) return failed(*t);
    const bool raise_level = (dest & 3) < (src & 3);
    return query_result(*t, raise_level, raise_level ? (dest & 0xfffc) | (src & 3) : dest & 0xffff);
}

LeaveReason load_table(TranslateState* t, u32 which, u64 va, u32 opsize) {
    State& s = t->s;
    if (!require_cpl0(*t)) return failed(*t);
    const bool wide = code64(s);
    u8 operand[10] = {};
    if (!jit::load_bytes(t, va, data_mmu(s), operand, wide ? 10 : 6)) return failed(*t);
    u16 limit = 0;
    u64 base = 0;
    std::memcpy(&limit, operand, sizeof limit);
    std::memcpy(&base, operand + sizeof limit, wide ? 8 : 4);
    if (wide && !canonical(base, t->model->linear_bits())) return raise(*t, kGP);
    if (!wide && opsize == 2) base &= 0xffffff;
    (which == 0 ? s.gdtr : s.idtr) = {base, limit};
    return LeaveReason::None;
}

LeaveReason store_table(TranslateState* t, u32 which, u64 va, u32) {
    const State& s = t->s;
    if (!require_no_umip(*t)) return failed(*t);
    const DescriptorTable& table = which == 0 ? s.gdtr : s.idtr;
    const bool wide = code64(s);
    u8 operand[10] = {static_cast<u8>(table.limit), static_cast<u8>(table.limit >> 8)};
    for (unsigned i = 0; i < 8; ++i) operand[2 + i] = static_cast<u8>(table.base >> (8 * i));
    return done(*t, jit::store_bytes(t, va, data_mmu(s), operand, wide ? 10 : 6));
}

LeaveReason lldt(TranslateState* t, u32 selector32) {
    State& s = t->s;
    const auto selector = static_cast<u16>(selector32);
    if (!require_descriptor_instruction(*t) || !require_cpl0(*t)) return failed(*t);
    if (null(selector)) {
        s.ldtr = null_segment(selector);
        return LeaveReason::None;
    }
    const u32 error = index_of(selector);
    Descriptor d;
    if ((selector & 4) != 0) return raise(*t, kGP, error);
    if (!require_descriptor(*t, selector, d, kGP)) return failed(*t);
    if (!d.system() || d.type() != kLdt || malformed(d)) return raise(*t, kGP, error);
    if (!d.present()) return raise(*t, kNP, error);
    if (long_mode(s) && !canonical(d.base(), t->model->linear_bits())) return raise(*t, kGP, error);
    s.ldtr = to_segment(selector, d);
    return LeaveReason::None;
}

LeaveReason ltr(TranslateState* t, u32 selector32) {
    State& s = t->s;
    const auto selector = static_cast<u16>(selector32);
    if (!require_descriptor_instruction(*t) || !require_cpl0(*t)) return failed(*t);
    if (null(selector)) return raise(*t, kGP);
    const u32 error = index_of(selector);
    Descriptor d;
    if ((selector & 4) != 0) return raise(*t, kGP, error);
    if (!require_descriptor(*t, selector, d, kGP)) return failed(*t);
    const bool available = d.system() && (d.type() == kTss32 || (d.type() == kTss16 && !long_mode(s)));
    if (!available || malformed(d)) return raise(*t, kGP, error);
    if (!d.present()) return raise(*t, kNP, error);
    if (long_mode(s) && !canonical(d.base(), t->model->linear_bits())) return raise(*t, kGP, error);
    if (!mark_busy(*t, selector, true)) return failed(*t);
    s.tr = to_segment(selector, d);
    s.tr.access |= 2;
    return LeaveReason::None;
}

LeaveReason store_system(TranslateState* t, u32 which) {
    const State& s = t->s;
    const auto kind = static_cast<SystemStore>(which);
    if (kind != SystemStore::Smsw && !require_descriptor_instruction(*t)) return failed(*t);
    if (!require_no_umip(*t)) return failed(*t);
    switch (kind) {
        case SystemStore::Sldt: t->scratch[0] = s.ldtr.selector; break;
        case SystemStore::Str: t->scratch[0] = s.tr.selector; break;
        case SystemStore::Smsw: t->scratch[0] = s.cr0; break;
    }
    return LeaveReason::None;
}

}  // namespace tandem::cpu::x86

// Stacks that far transfers and event delivery push to and pop from: SDM volume 3, 5.8.5, 6.12 and 6.14.
#include "cpu/x86/system/internal.h"

namespace tandem::cpu::x86 {

Stack::Stack(TranslateState& t, const Segment& ss, u64 sp, bool flat64, unsigned mmu, u32 fault_error)
    : t_(t),
      ss_(ss),
      sp_(sp),
      mask_(flat64                          ? ~u64{0}
            : (ss.access & access::DB) != 0 ? 0xffffffff
                                            : 0xffff),
      flat64_(flat64),
      mmu_(mmu),
      fault_error_(fault_error) {}

Stack::Stack(TranslateState& t, u32 fault_error)
    : Stack(t, t.s.seg[SS], t.s.gpr[RSP], code64(t.s), data_mmu(t.s), fault_error) {}

bool Stack::check(u64 offset, unsigned size, bool write) {
    if (flat64_) return canonical(t_.s, offset) && canonical(t_.s, offset + size - 1);
    return segment_allows(ss_, offset, size, write);
}

bool Stack::push(u64 value, unsigned size) {
    const u64 sp = (sp_ - size) & mask_;
    if (!check(sp, size, true)) return fault(t_, kSS, fault_error_);
    const u64 va = flat64_ ? sp : linear(t_.s, (ss_.base + sp) & 0xffffffff);
    if (!jit::store_bytes(&t_, va, mmu_, &value, size)) return false;
    sp_ = (sp_ & ~mask_) | sp;
    return true;
}

bool Stack::pop(u64& value, unsigned size) {
    const u64 sp = sp_ & mask_;
    if (!check(sp, size, false)) return fault(t_, kSS, fault_error_);
    const u64 va = flat64_ ? sp : linear(t_.s, (ss_.base + sp) & 0xffffffff);
    value = 0;
    if (!jit::load_bytes(&t_, va, mmu_, &value, size)) return false;
    skip(size);
    return true;
}

void Stack::commit() {
    u64& rsp = t_.s.gpr[RSP];
    rsp = mask_ == 0xffff ? (rsp & ~mask_) | (sp_ & mask_) : sp_ & mask_;
}

bool read_tss_stack(TranslateState& t, unsigned level, u32 ext, u16& ss, u64& sp) {
    const Segment& tr = t.s.tr;
    const u32 too_short = index_of(tr.selector) | ext;
    if ((tr.access & 0xf) == kTss32Busy) {
        const u32 offset = 4 + level * 8;
        u32 esp = 0;
        if (offset + 5 > tr.limit) return fault(t, kTS, too_short);
        if (!read_system(t, tr.base + offset, esp) || !read_system(t, tr.base + offset + 4, ss)) return false;
        sp = esp;
        return true;
    }
    const u32 offset = 2 + level * 4;
    u16 sp16 = 0;
    if (offset + 3 > tr.limit) return fault(t, kTS, too_short);
    if (!read_system(t, tr.base + offset, sp16) || !read_system(t, tr.base + offset + 2, ss)) return false;
    sp = sp16;
    return true;
}

bool read_tss64_stack(TranslateState& t, unsigned level, unsigned ist, u32 ext, u64& sp) {
    const Segment& tr = t.s.tr;
    const u32 offset = ist != 0 ? 28 + ist * 8 : 4 + level * 8;
    if (offset + 7 > tr.limit) return fault(t, kTS, index_of(tr.selector) | ext);
    if (!read_system(t, tr.base + offset, sp)) return false;
    return canonical(t.s, sp) || fault(t, kSS, ext);
}

bool load_inner_stack(TranslateState& t, u16 selector, unsigned level, u32 ext, Segment& out) {
    if (null(selector)) return fault(t, kTS, ext);
    const u32 error = index_of(selector) | ext;
    Descriptor d;
    if (!require_descriptor(t, selector, d, kTS, ext)) return false;
    if (rpl_of(selector) != level || d.dpl() != level || !d.writable()) return fault(t, kTS, error);
    if (!d.present()) return fault(t, kSS, error);
    if (!mark_accessed(t, selector, d)) return false;
    out = to_segment(selector, d);
    return true;
}

}  // namespace tandem::cpu::x86

// Task management: SDM volume 3, chapter 7.
#include "cpu/x86/system/svm.h"

namespace tandem::cpu::x86 {

namespace {

// Offsets of the dynamic and static fields of a TSS, and their width (figures 7-2 and 7-10).
struct TssLayout {
    u8 width;
    u8 cr3;  // 0: none
    u8 ip, flags, gpr, seg, ldt;
    u8 segments;  // ES CS SS DS [FS GS]
    u8 minimum_limit;
};
constexpr TssLayout kLayout32{4, 0x1c, 0x20, 0x24, 0x28, 0x48, 0x60, 6, 0x67};
constexpr TssLayout kLayout16{2, 0, 0x0e, 0x10, 0x12, 0x22, 0x2a, 4, 0x2b};
constexpr u32 kDebugTrapOffset = 0x64;

const TssLayout& layout_of(unsigned type) { return (type & 8) != 0 ? kLayout32 : kLayout16; }

// A TSS as loaded from memory.
struct Image {
    u32 cr3 = 0, ip = 0, flags = 0;
    std::array<u32, 8> gpr{};
    std::array<u16, 6> seg{};
    u16 ldt = 0;
    bool debug_trap = false;
};

bool read_field(TranslateState& t, u64 base, u32 offset, unsigned width, u32& out) {
    out = 0;
    return jit::load_bytes(&t, linear(t.s, base + offset), kMmuSupervisor, &out, width);
}

bool read_image(TranslateState& t, u64 base, const TssLayout& l, Image& image) {
    bool ok = l.cr3 == 0 || read_field(t, base, l.cr3, 4, image.cr3);
    ok = ok && read_field(t, base, l.ip, l.width, image.ip) && read_field(t, base, l.flags, l.width, image.flags);
    for (unsigned i = 0; ok && i < 8; ++i) ok = read_field(t, base, l.gpr + i * l.width, l.width, image.gpr[i]);
    u32 value = 0;
    for (unsigned i = 0; ok && i < l.segments; ++i) {
        ok = read_field(t, base, l.seg + i * l.width, 2, value);
        image.seg[i] = static_cast<u16>(value);
    }
    ok = ok && read_field(t, base, l.ldt, 2, value);
    image.ldt = static_cast<u16>(value);
    if (ok && l.width == 4) {
        ok = read_field(t, base, kDebugTrapOffset, 2, value);
        image.debug_trap = (value & 1) != 0;
    }
    return ok;
}

bool write_field(TranslateState& t, u64 base, u32 offset, unsigned width, u64 value) {
    return jit::store_bytes(&t, linear(t.s, base + offset), kMmuSupervisor, &value, width);
}

// Saves the dynamic fields of the running task.
bool save_task(TranslateState& t, u64 base, const TssLayout& l, u64 ip, u64 flags) {
    const State& s = t.s;
    bool ok = write_field(t, base, l.ip, l.width, ip) && write_field(t, base, l.flags, l.width, flags);
    for (unsigned i = 0; ok && i < 8; ++i) ok = write_field(t, base, l.gpr + i * l.width, l.width, s.gpr[i]);
    for (unsigned i = 0; ok && i < l.segments; ++i) ok = write_field(t, base, l.seg + i * l.width, 2, s.seg[i].selector);
    return ok;
}

// Both TSSs must be accessible before anything changes: a fault is then the old task's.
bool probe_task(TranslateState& t, u64 base, const TssLayout& l) {
    const unsigned size = l.minimum_limit + 1u;
    return jit::probe(&t, linear(t.s, base), kMmuSupervisor, jit::Access::Read, size) &&
           jit::probe(&t, linear(t.s, base), kMmuSupervisor, jit::Access::Write, size);
}

struct Target {
    u16 selector = 0;
    Descriptor descriptor;
    const TssLayout* layout = nullptr;
};

bool load_target(TranslateState& t, u16 selector, TaskSwitch reason, u32 ext, Target& out) {
    const u32 error = index_of(selector) | ext;
    const bool back = reason == TaskSwitch::Iret;
    const Vector bad_selector = back ? kTS : kGP;
    if (null(selector) || (selector & 4) != 0) return fault(t, bad_selector, error);
    out.selector = selector;
    if (!require_descriptor(t, selector, out.descriptor, bad_selector, ext)) return false;
    const unsigned type = out.descriptor.type();
    const bool type_ok = back ? type == kTss16Busy || type == kTss32Busy : type == kTss16 || type == kTss32;
    if (!out.descriptor.system() || !type_ok) return fault(t, bad_selector, error);
    if (!out.descriptor.present()) return fault(t, kNP, error);
    out.layout = &layout_of(type);
    return out.descriptor.limit() >= out.layout->minimum_limit || fault(t, kTS, error);
}

// --- Loading the new task's segments; faults belong to the new task (SDM volume 3, 7.3, steps 12 and 13)
// -------------------------

bool load_task_ldt(TranslateState& t, u16 selector, u32 ext) {
    State& s = t.s;
    s.ldtr = null_segment(selector);
    if (null(selector)) return true;
    const u32 error = index_of(selector) | ext;
    Descriptor d;
    if ((selector & 4) != 0) return fault(t, kTS, error);
    if (!require_descriptor(t, selector, d, kTS, ext)) return false;
    if (!d.system() || d.type() != kLdt || !d.present()) return fault(t, kTS, error);
    s.ldtr = to_segment(selector, d);
    return true;
}

bool load_task_code(TranslateState& t, u16 selector, u32 ext) {
    const u32 error = index_of(selector) | ext;
    const unsigned level = rpl_of(selector);
    Descriptor d;
    if (null(selector)) return fault(t, kTS, ext);
    if (!require_descriptor(t, selector, d, kTS, ext)) return false;
    if (!d.code() || (d.conforming() ? d.dpl() > level : d.dpl() != level)) return fault(t, kTS, error);
    if (!d.present()) return fault(t, kNP, error);
    if (!mark_accessed(t, selector, d)) return false;
    t.s.seg[CS] = to_segment(selector, d);
    return true;
}

bool load_task_stack(TranslateState& t, u16 selector, unsigned level, u32 ext) {
    const u32 error = index_of(selector) | ext;
    Descriptor d;
    if (null(selector)) return fault(t, kTS, ext);
    if (!require_descriptor(t, selector, d, kTS, ext)) return false;
    if (!d.writable() || d.dpl() != level || rpl_of(selector) != level) return fault(t, kTS, error);
    if (!d.present()) return fault(t, kSS, error);
    if (!mark_accessed(t, selector, d)) return false;
    t.s.seg[SS] = to_segment(selector, d);
    return true;
}

bool load_task_data(TranslateState& t, SegReg reg, u16 selector, u32 ext) {
    if (null(selector)) return true;
    const u32 error = index_of(selector) | ext;
    Descriptor d;
    if (!require_descriptor(t, selector, d, kTS, ext)) return false;
    if (d.system() || !d.readable()) return fault(t, kTS, error);
    if (!d.conforming() && (d.dpl() < cpl(t.s) || d.dpl() < rpl_of(selector))) return fault(t, kTS, error);
    if (!d.present()) return fault(t, kNP, error);
    if (!mark_accessed(t, selector, d)) return false;
    t.s.seg[reg] = to_segment(selector, d);
    return true;
}

bool load_task_segments(TranslateState& t, const Image& image, u32 ext) {
    State& s = t.s;
    if (!load_task_ldt(t, image.ldt, ext)) return false;
    if (vm86(s)) {
        for (unsigned i = 0; i < 6; ++i) s.seg[i] = vm86_segment(image.seg[i]);
        return true;
    }
    return load_task_code(t, image.seg[CS], ext) && load_task_stack(t, image.seg[SS], rpl_of(image.seg[CS]), ext) &&
           load_task_data(t, ES, image.seg[ES], ext) && load_task_data(t, DS, image.seg[DS], ext) &&
           load_task_data(t, FS, image.seg[FS], ext) && load_task_data(t, GS, image.seg[GS], ext);
}

// The new task's CR3 takes effect only with paging.
bool load_task_cr3(TranslateState& t, const TssLayout& l, const Image& image) {
    State& s = t.s;
    if (l.cr3 == 0 || (s.cr0 & cr0::PG) == 0 || s.cr3 == image.cr3) return true;
    if ((s.cr4 & cr4::PAE) != 0 && !load_pdptes(t, image.cr3)) return false;
    s.cr3 = image.cr3;
    jit::tlb_flush(&t, true);
    jit::tlb_switch(&t);
    return true;
}

void load_registers(TranslateState& t, const TssLayout& l, const Image& image, u64 flags) {
    State& s = t.s;
    for (unsigned i = 0; i < 8; ++i) s.gpr[i] = l.width == 4 ? image.gpr[i] : image.gpr[i] | 0xffff0000;
    s.rip = image.ip;
    s.rflags = (flags & eflags::Defined) | eflags::One;
    import_flags(t);
    // Until their descriptors are read the registers hold selectors only; CPL is the new CS selector's.
    for (unsigned i = 0; i < 6; ++i) s.seg[i] = null_segment(image.seg[i]);
    s.seg[SS].access = static_cast<u16>(rpl_of(image.seg[CS]) << 5);
}

// 15.14.1
SvmExit task_switch_exit(const State& s, u16 selector, TaskSwitch reason, bool has_error, u32 error) {
    constexpr u64 kIret = u64{1} << 36, kJump = u64{1} << 38, kHasError = u64{1} << 44, kResume = u64{1} << 48;
    u64 info = has_error ? kHasError | error : 0;
    if (reason == TaskSwitch::Iret) info |= kIret;
    if (reason == TaskSwitch::Jump) info |= kJump;
    if ((s.rflags & eflags::RF) != 0) info |= kResume;
    return {exit_code::TaskSwitch, selector, info, 0, false};
}

}  // namespace

bool switch_task(TranslateState& t, u16 selector, TaskSwitch reason, u64 return_pc, u32 ext, bool has_error, u32 error) {
    State& s = t.s;
    Target target;
    if (!load_target(t, selector, reason, ext, target)) return false;
    // "Before the task switch takes place but after the incoming TSS and task gate [...] have been checked" (15.14.1).
    if (intercepts(s, exit_code::TaskSwitch)) {
        exit_due(t, task_switch_exit(s, selector, reason, has_error, error));
        return false;
    }
    const u64 new_base = target.descriptor.base();
    const u64 old_base = s.tr.base;
    const u16 old_selector = s.tr.selector;
    const TssLayout& old_layout = layout_of(s.tr.access & 0xfu);
    const bool nested = reason == TaskSwitch::Call || reason == TaskSwitch::Event;
    if (!probe_task(t, old_base, old_layout) || !probe_task(t, new_base, *target.layout)) return false;
    Image image;
    if (!read_image(t, new_base, *target.layout, image)) return false;

    u64 old_flags = read_flags(t);
    if (!nested && !mark_busy(t, old_selector, false)) return false;
    if (reason == TaskSwitch::Iret) old_flags &= ~eflags::NT;
    if (!save_task(t, old_base, old_layout, return_pc, old_flags)) return false;
    if (nested && !write_field(t, new_base, 0, 2, old_selector)) return false;
    u64 new_flags = image.flags;
    if (nested) new_flags |= eflags::NT;
    if (reason != TaskSwitch::Iret && !mark_busy(t, selector, true)) return false;

    // The new task from here on.
    s.tr = to_segment(selector, target.descriptor);
    s.tr.access |= 2;
    s.cr0 |= cr0::TS;
    s.dr7 &= ~u64{0x155};  // local breakpoints
    if (!load_task_cr3(t, *target.layout, image)) return false;
    load_registers(t, *target.layout, image, new_flags);
    if (!load_task_segments(t, image, ext)) return false;
    if (has_error) {
        Stack stack(t, ext);
        if (!stack.push(error, target.layout->width)) return false;
        stack.commit();
    }
    if (!check_target(t, s.seg[CS], s.rip, ext)) return false;
    if (image.debug_trap) t.s.debug_trap |= dr6::BT;
    return true;
}

}  // namespace tandem::cpu::x86

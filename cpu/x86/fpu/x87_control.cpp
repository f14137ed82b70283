// x87 control instructions, pending exceptions, the environment images, and what MMX does to x87 state
// (SDM volume 1, 8.1.8, 8.1.10, 8.7 and 9.5).
#include <array>
#include <cstring>

#include "cpu/x86/fpu/x87_unit.h"

namespace tandem::cpu::x86 {

namespace {

constexpr u16 kInitialControl = 0x37f;
constexpr u16 kExceptionMasks = 0x3f;
constexpr u16 kControlDefined = 0x1f3f;
constexpr u16 kControlOne = 0x40;  // bit 6 reads as one
constexpr unsigned kRegisterBytes = 10;

void initialize(X87& x) {
    x.fcw = kInitialControl;
    x.fsw = 0;
    x.valid = 0;
    x.fop = x.fcs = x.fds = 0;
    x.fip = x.fdp = 0;
}

enum class Tag : u8 { Valid, Zero, Special, Empty };

Tag tag_of(const X87Reg& r) {
    const unsigned exponent = r.sign_exponent & 0x7fff;
    if (exponent == 0 && r.significand == 0) return Tag::Zero;
    const bool integer_bit = bit(r.significand, 63);
    return exponent == 0 || exponent == 0x7fff || !integer_bit ? Tag::Special : Tag::Valid;
}

u8 abridged_tags(u16 full) {
    unsigned valid = 0;
    for (unsigned i = 0; i < 8; ++i) valid |= (full >> (2 * i) & 3) != 3 ? 1u << i : 0;
    return static_cast<u8>(valid);
}

// The environment as FSTENV lays it out: seven fields of two or four bytes (SDM volume 1, figures 8-9 to 8-12).
struct Environment {
    std::array<u32, 7> field{};
    unsigned width = 2;  // bytes of a field

    [[nodiscard]] unsigned bytes() const { return width * 7; }
    void pack(u8* out) const {
        for (unsigned i = 0; i < 7; ++i) std::memcpy(out + i * width, &field[i], width);
    }
};

bool pointers_are_linear(const State& s) { return !protected_mode(s) || vm86(s); }

Environment environment_of(const State& s, bool wide) {
    const X87& x = s.x87;
    const u32 high = wide ? 0xffff0000 : 0;  // reserved halves are ones
    Environment e;
    e.width = wide ? 4 : 2;
    e.field = {x.fcw | high, x.fsw | high, x87_full_tags(x) | high};
    const u32 fop = x.fop & 0x7ffu;
    if (pointers_are_linear(s)) {
        const u32 fip = static_cast<u32>(x.fip) + (u32{x.fcs} << 4);
        const u32 fdp = static_cast<u32>(x.fdp) + (u32{x.fds} << 4);
        e.field[3] = (fip & 0xffff) | high;
        e.field[4] = fop | (fip >> 16) << 12;
        e.field[5] = (fdp & 0xffff) | high;
        e.field[6] = (fdp >> 16) << 12;
    } else {
        e.field[3] = static_cast<u32>(x.fip);
        e.field[4] = x.fcs | (wide ? fop << 16 : 0);
        e.field[5] = static_cast<u32>(x.fdp);
        e.field[6] = x.fds | high;
    }
    return e;
}

void load_environment_image(State& s, const Environment& e, bool wide) {
    X87& x = s.x87;
    x.fcw = static_cast<u16>((e.field[0] & kControlDefined) | kControlOne);
    x.fsw = static_cast<u16>(e.field[1]);
    x.valid = abridged_tags(static_cast<u16>(e.field[2]));
    if (pointers_are_linear(s)) {
        const u32 mask_high = wide ? 0xffff0000 : 0xf0000;
        x.fip = (e.field[3] & 0xffff) | ((e.field[4] << 4) & mask_high);
        x.fdp = (e.field[5] & 0xffff) | ((e.field[6] << 4) & mask_high);
        x.fcs = x.fds = 0;
        x.fop = e.field[4] & 0x7ff;
    } else {
        x.fip = e.field[3];
        x.fcs = static_cast<u16>(e.field[4]);
        if (wide) x.fop = (e.field[4] >> 16) & 0x7ff;
        x.fdp = e.field[5];
        x.fds = static_cast<u16>(e.field[6]);
    }
    x87_update_summary(x);
}

bool deprecates_selectors(const TranslateState& t) { return t.model != nullptr && t.model->has(Feature::ZERO_FCS_FDS); }

}  // namespace

u16 x87_full_tags(const X87& x) {
    unsigned tags = 0;
    for (unsigned i = 0; i < 8; ++i) {
        const Tag tag = bit(x.valid, i) ? tag_of(x.reg[i]) : Tag::Empty;
        tags |= static_cast<unsigned>(tag) << (2 * i);
    }
    return static_cast<u16>(tags);
}

void x87_update_summary(X87& x) {
    const bool pending = (x.fsw & ~x.fcw & fsw::Exceptions) != 0;
    x.fsw = static_cast<u16>(pending ? x.fsw | fsw::ES | fsw::B : x.fsw & ~(fsw::ES | fsw::B));
}

bool X87Unit::aligned(u64 va, unsigned size) {
    const State& s = t_.s;
    if ((s.rflags & eflags::AC) == 0 || (s.cr0 & cr0::AM) == 0 || cpl(s) != 3) return true;
    // 80-bit values ask for 8 bytes, environments for their fields' size.
    const u64 alignment = size == 10 || size == 8 ? 8 : size % 4 == 0 ? 4 : 2;
    if (is_aligned(va, alignment)) return true;
    misaligned_ = true;
    raise(t_, kAC);
    return false;
}

void X87Unit::track() {
    x_.fop = spec_.fop();
    x_.fip = t_.s.rip;
    x_.fcs = deprecates_selectors(t_) ? u16{0} : t_.s.seg[CS].selector;
}

void X87Unit::track(u64 va) {
    track();
    const Segment& segment = t_.s.seg[spec_.segment()];
    const u64 offset = va - segment.base;
    x_.fdp = code64(t_.s) ? offset : static_cast<u32>(offset);
    x_.fds = deprecates_selectors(t_) ? u16{0} : segment.selector;
}

LeaveReason x87_wait(TranslateState* t) {
    if ((t->s.x87.fsw & fsw::ES) == 0) return LeaveReason::None;
    if ((t->s.cr0 & cr0::NE) != 0) return raise(*t, kMF);
    if (t->platform != nullptr) t->platform->fpu_error();
    return LeaveReason::None;
}

LeaveReason x87_init(TranslateState* t) {
    initialize(t->s.x87);
    return LeaveReason::None;
}

LeaveReason x87_clear_exceptions(TranslateState* t) {
    X87& x = t->s.x87;
    x.fsw = static_cast<u16>(x.fsw & ~(fsw::Exceptions | fsw::SF | fsw::ES | fsw::B));
    return LeaveReason::None;
}

LeaveReason x87_load_control(TranslateState* t, u32 spec, u64 va) {
    X87Unit fpu(*t, spec);
    if (const LeaveReason r = x87_wait(t); r != LeaveReason::None) return r;
    u16 value = 0;
    if (!fpu.load(va, &value, sizeof value)) return fpu.fault();
    t->s.x87.fcw = static_cast<u16>((value & kControlDefined) | kControlOne);
    x87_update_summary(t->s.x87);
    return LeaveReason::None;
}

LeaveReason x87_store_control(TranslateState* t, u32 spec, u64 va) {
    X87Unit fpu(*t, spec);
    return fpu.store(va, &t->s.x87.fcw, sizeof(u16)) ? LeaveReason::None : fpu.fault();
}

LeaveReason x87_store_status(TranslateState* t, u32 spec, u64 va) {
    X87Unit fpu(*t, spec);
    return fpu.store(va, &t->s.x87.fsw, sizeof(u16)) ? LeaveReason::None : fpu.fault();
}

namespace {

// Field by field, as processors do: which of an image's pages faults first is the guest's to see.
bool load_fields(X87Unit& fpu, u64 va, Environment& e) {
    for (unsigned i = 0; i < e.field.size(); ++i) {
        if (!fpu.load(va + i * e.width, &e.field[i], e.width)) return false;
    }
    return true;
}

}  // namespace

LeaveReason x87_load_environment(TranslateState* t, u32 spec, u64 va) {
    X87Unit fpu(*t, spec);
    if (const LeaveReason r = x87_wait(t); r != LeaveReason::None) return r;
    const bool wide = fpu.spec().wide();
    Environment e;
    e.width = wide ? 4 : 2;
    if (!load_fields(fpu, va, e)) return fpu.fault();
    load_environment_image(t->s, e, wide);
    return LeaveReason::None;
}

LeaveReason x87_store_environment(TranslateState* t, u32 spec, u64 va) {
    X87Unit fpu(*t, spec);
    const Environment e = environment_of(t->s, fpu.spec().wide());
    std::array<u8, 28> image{};
    e.pack(image.data());
    if (!fpu.store(va, image.data(), e.bytes())) return fpu.fault();
    t->s.x87.fcw |= kExceptionMasks;
    x87_update_summary(t->s.x87);
    return LeaveReason::None;
}

LeaveReason x87_restore(TranslateState* t, u32 spec, u64 va) {
    X87Unit fpu(*t, spec);
    if (const LeaveReason r = x87_wait(t); r != LeaveReason::None) return r;
    const bool wide = fpu.spec().wide();
    Environment e;
    e.width = wide ? 4 : 2;
    if (!load_fields(fpu, va, e)) return fpu.fault();
    std::array<X87Reg, 8> registers{};
    for (u64 at = va + e.bytes(); X87Reg & r : registers) {
        if (!jit::load_bytes(t, at, fpu.spec().mmu(), &r.significand, sizeof r.significand) ||
            !jit::load_bytes(t, at + sizeof r.significand, fpu.spec().mmu(), &r.sign_exponent, sizeof r.sign_exponent)) {
            return jit::leave_status(t);
        }
        at += kRegisterBytes;
    }
    load_environment_image(t->s, e, wide);
    X87& x = t->s.x87;
    const unsigned top = (x.fsw >> 11) & 7u;
    for (unsigned i = 0; i < 8; ++i) x.reg[(top + i) & 7] = registers[i];
    return LeaveReason::None;
}

LeaveReason x87_save(TranslateState* t, u32 spec, u64 va) {
    X87Unit fpu(*t, spec);
    const Environment e = environment_of(t->s, fpu.spec().wide());
    std::array<u8, 28 + 8 * kRegisterBytes> image{};
    e.pack(image.data());
    for (unsigned i = 0; i < 8; ++i) std::memcpy(&image[e.bytes() + i * kRegisterBytes], &fpu.st(i), kRegisterBytes);
    if (!fpu.store(va, image.data(), e.bytes() + 8 * kRegisterBytes)) return fpu.fault();
    initialize(t->s.x87);
    return LeaveReason::None;
}

}  // namespace tandem::cpu::x86

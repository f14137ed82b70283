#include <cstring>

#include "cpu/x86/fpu/fxsave_image.h"
#include "cpu/x86/fpu/mxcsr.h"
#include "cpu/x86/fpu/x87.h"
#include "cpu/x86/fpu/xsave.h"
#include "jit/guest/memory.h"

namespace tandem::cpu::x86 {

namespace {

template <class T>
void put(std::array<u8, 512>& bytes, unsigned offset, T value) {
    std::memcpy(bytes.data() + offset, &value, sizeof value);
}

template <class T>
T get(const std::array<u8, 512>& bytes, unsigned offset) {
    T value{};
    std::memcpy(&value, bytes.data() + offset, sizeof value);
    return value;
}

unsigned top_of(const X87& x) { return (x.fsw >> 11) & 7u; }

}  // namespace

void LegacyRegion::put_x87(const X87& x, bool wide) {
    put(byte, 0, x.fcw);
    put(byte, 2, x.fsw);
    put<u16>(byte, 4, x.valid);
    put<u16>(byte, 6, x.fop & 0x7ff);
    if (wide) {
        put(byte, 8, x.fip);
        put(byte, 16, x.fdp);
    } else {
        put(byte, 8, static_cast<u32>(x.fip));
        put<u32>(byte, 12, x.fcs);
        put(byte, 16, static_cast<u32>(x.fdp));
        put<u32>(byte, 20, x.fds);
    }
    for (unsigned i = 0; i < 8; ++i) {
        const X87Reg& r = x.reg[(top_of(x) + i) & 7];
        put(byte, kSt + 16 * i, r.significand);
        put<u64>(byte, kSt + 16 * i + 8, r.sign_exponent);
    }
}

void LegacyRegion::put_mxcsr(u32 value) {
    put(byte, kMxcsr, value);
    put(byte, kMxcsr + 4, mxcsr::Defined);
}

void LegacyRegion::put_xmm(const State& s, unsigned count) {
    for (unsigned i = 0; i < count; ++i) std::memcpy(&byte[kXmm + 16 * i], s.vec[i].lane.data(), 16);
}

void LegacyRegion::get_x87(X87& x, bool wide) const {
    x.fcw = static_cast<u16>((get<u16>(byte, 0) & 0x1f3f) | 0x40);
    x.fsw = get<u16>(byte, 2);
    x.valid = get<u8>(byte, 4);
    x.fop = get<u16>(byte, 6) & 0x7ff;
    x.fip = wide ? get<u64>(byte, 8) : get<u32>(byte, 8);
    x.fcs = wide ? u16{0} : get<u16>(byte, 12);
    x.fdp = wide ? get<u64>(byte, 16) : get<u32>(byte, 16);
    x.fds = wide ? u16{0} : get<u16>(byte, 20);
    for (unsigned i = 0; i < 8; ++i) {
        X87Reg& r = x.reg[(top_of(x) + i) & 7];
        r.significand = get<u64>(byte, kSt + 16 * i);
        r.sign_exponent = get<u16>(byte, kSt + 16 * i + 8);
    }
    x87_update_summary(x);
}

u32 LegacyRegion::mxcsr() const { return get<u32>(byte, kMxcsr); }

void LegacyRegion::get_xmm(State& s, unsigned count) const {
    for (unsigned i = 0; i < count; ++i) std::memcpy(s.vec[i].lane.data(), &byte[kXmm + 16 * i], 16);
}

LeaveReason fxsave(TranslateState* t, u32 spec, u64 va) {
    const XsaveSpec how{spec};
    if (!is_aligned(va, 16)) return raise(*t, kGP);
    LegacyRegion image;
    const unsigned xmm = code64(t->s) ? 16 : 8;
    image.put_x87(t->s.x87, how.wide());
    image.put_mxcsr(read_mxcsr(*t));
    image.put_xmm(t->s, xmm);
    const unsigned bytes = LegacyRegion::kXmm + 16 * xmm;
    return jit::store_bytes(t, va, how.mmu(), image.byte.data(), bytes) ? LeaveReason::None : jit::leave_status(t);
}

LeaveReason fxrstor(TranslateState* t, u32 spec, u64 va) {
    const XsaveSpec how{spec};
    if (!is_aligned(va, 16)) return raise(*t, kGP);
    LegacyRegion image;
    if (!jit::load_bytes(t, va, how.mmu(), image.byte.data(), image.byte.size())) return jit::leave_status(t);
    if ((image.mxcsr() & ~mxcsr::Defined) != 0) return raise(*t, kGP);
    image.get_x87(t->s.x87, how.wide());
    image.get_xmm(t->s, code64(t->s) ? 16 : 8);
    write_mxcsr(*t, image.mxcsr());
    return LeaveReason::None;
}

}  // namespace tandem::cpu::x86

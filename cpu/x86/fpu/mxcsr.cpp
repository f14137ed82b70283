#include "cpu/x86/fpu/mxcsr.h"

#include <xmmintrin.h>

#include "jit/guest/frame.h"

namespace tandem::cpu::x86 {

void mxcsr_from_frame(TranslateState& t) {
    t.s.mxcsr = (t.s.mxcsr & ~mxcsr::Flags) | (jit::header_of(&t).guest_mxcsr & mxcsr::Flags);
}

void mxcsr_to_frame(TranslateState& t) { jit::header_of(&t).guest_mxcsr = host_image(t.s.mxcsr); }

u32 read_mxcsr(const TranslateState& t) { return t.s.mxcsr | (_mm_getcsr() & mxcsr::Flags); }

void write_mxcsr(TranslateState& t, u32 value) {
    t.s.mxcsr = value;
    jit::header_of(&t).guest_mxcsr = host_image(value);
    _mm_setcsr(host_image(value));
}

LeaveReason ldmxcsr(TranslateState* t, u32 value) {
    if ((value & ~mxcsr::Defined) != 0) return raise(*t, kGP);
    write_mxcsr(*t, value);
    return LeaveReason::None;
}

u32 stmxcsr(TranslateState* t) { return read_mxcsr(*t); }

u32 watched_image(u32 control) {
    const bool underflow_unmasked = (control & (mxcsr::UE << 7)) == 0;
    return (host_image(control) & ~mxcsr::Flags) & ~(underflow_unmasked ? mxcsr::FZ : 0);
}

void simd_begin(TranslateState* t) {
    t->s.mxcsr = read_mxcsr(*t);
    _mm_setcsr(watched_image(t->s.mxcsr));
}

LeaveReason simd_end(TranslateState* t, u32 check_value) {
    const SimdCheck check{check_value};
    const u32 control = t->s.mxcsr;
    const u32 unmasked = ~(control >> 7) & mxcsr::Flags;
    u32 flags = _mm_getcsr() & mxcsr::Flags;
    if (check.arith() == SimdArith::None) {
        if ((flags & unmasked & kPreComputation) != 0) flags &= kPreComputation;
    } else if ((unmasked & (mxcsr::OE | mxcsr::UE)) != 0 || (flags & unmasked) != 0) {
        flags = simd_flags(*t, check, control);
    }
    write_mxcsr(*t, control | flags);
    if ((flags & unmasked) == 0) return LeaveReason::None;
    return raise(*t, (t->s.cr4 & cr4::OSXMMEXCPT) != 0 ? kXM : kUD);
}

}  // namespace tandem::cpu::x86

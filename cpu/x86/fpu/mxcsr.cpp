#include "cpu/x86/fpu/mxcsr.h"

#include <xmmintrin.h>

#include "jit/guest/frame.h"

namespace tandem::cpu::x86 {

namespace {

// Exceptions found before the operation; when one of them is unmasked, those found after it are not reported (SDM volume 1,
// 11.5.3.2).
constexpr u32 kBefore = mxcsr::IE | mxcsr::DE | mxcsr::ZE;

bool denormal32(u32 v) { return (v & 0x7f800000) == 0 && (v & 0x7fffff) != 0; }
bool denormal64(u64 v) { return (v & 0x7ff0000000000000) == 0 && (v & 0xfffffffffffff) != 0; }

bool has_denormal(const u64 (&v)[2], Tiny tiny) {
    switch (tiny) {
        case Tiny::None: return false;
        case Tiny::ScalarSingle: return denormal32(static_cast<u32>(v[0]));
        case Tiny::ScalarDouble: return denormal64(v[0]);
        case Tiny::PackedDouble: return denormal64(v[0]) || denormal64(v[1]);
        case Tiny::PackedSingle:
            return denormal32(static_cast<u32>(v[0])) || denormal32(static_cast<u32>(v[0] >> 32)) ||
                   denormal32(static_cast<u32>(v[1])) || denormal32(static_cast<u32>(v[1] >> 32));
    }
    return false;
}

// Flush-to-zero needs underflow masked (SDM volume 1, 10.2.3.3).
u32 bracket_image(u32 guest) {
    const bool underflow_unmasked = (guest & (mxcsr::UE << 7)) == 0;
    return (host_image(guest) & ~mxcsr::Flags) & ~(underflow_unmasked ? mxcsr::FZ : 0);
}

}  // namespace

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

void simd_begin(TranslateState* t) {
    t->s.mxcsr = read_mxcsr(*t);
    _mm_setcsr(bracket_image(t->s.mxcsr));
}

LeaveReason simd_end(TranslateState* t, u32 tiny) {
    u32 flags = _mm_getcsr() & mxcsr::Flags;
    const u32 unmasked = ~(t->s.mxcsr >> 7) & mxcsr::Flags;
    if ((unmasked & mxcsr::UE) != 0 && has_denormal(t->scratch_vec[0], static_cast<Tiny>(tiny))) flags |= mxcsr::UE;
    if ((flags & unmasked & kBefore) != 0) flags &= kBefore;
    write_mxcsr(*t, t->s.mxcsr | flags);
    if ((flags & unmasked) == 0) return LeaveReason::None;
    return raise(*t, (t->s.cr4 & cr4::OSXMMEXCPT) != 0 ? kXM : kUD);
}

}  // namespace tandem::cpu::x86

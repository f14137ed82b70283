#include "cpu/arm64/fpu/status.h"

#include "jit/guest/frame.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace tandem::cpu::arm64::fpu {
namespace {

constexpr u32 kAllMasked = 0x1f80;

// MXCSR's rounding control by RMode (nearest, up, down, to zero).
u32 host_image(u32 control) {
    constexpr u32 kHostRounding[] = {0, 2, 1, 3};
    return kAllMasked | kHostRounding[control >> fpcr::RModeShift & 3] << 13;
}

// IE, ZE, OE, UE and PE. The host's denormal-operand flag has no counterpart without flushing.
constexpr u32 from_host(u32 mxcsr) {
    return ((mxcsr & 1u) != 0 ? fpsr::IOC : 0) | ((mxcsr & 4u) != 0 ? fpsr::DZC : 0) | ((mxcsr & 8u) != 0 ? fpsr::OFC : 0) |
           ((mxcsr & 16u) != 0 ? fpsr::UFC : 0) | ((mxcsr & 32u) != 0 ? fpsr::IXC : 0);
}

#if defined(__x86_64__)
u32 host_register() { return _mm_getcsr(); }
void set_host_register(u32 value) { _mm_setcsr(value); }
#else
u32 host_register() { return kAllMasked; }
void set_host_register(u32) {}
#endif

}  // namespace

void status_from_frame(TranslateState& t) {
    u32& mxcsr = jit::header_of(&t).guest_mxcsr;
    t.s.fpsr |= from_host(mxcsr);
    mxcsr = host_image(t.s.fpcr);
}

void control_to_frame(TranslateState& t) { jit::header_of(&t).guest_mxcsr = host_image(t.s.fpcr); }

u32 read_fpsr(const TranslateState& t) { return t.s.fpsr | from_host(host_register()); }

void write_fpsr(TranslateState& t, u32 value) {
    t.s.fpsr = value & fpsr::Defined;
    control_to_frame(t);
    set_host_register(host_image(t.s.fpcr));
}

void write_fpcr(TranslateState& t, u32 value) {
    t.s.fpsr = read_fpsr(t);
    t.s.fpcr = value & fpcr::Defined;
    control_to_frame(t);
    set_host_register(host_image(t.s.fpcr));
}

}  // namespace tandem::cpu::arm64::fpu

// Intercepts of instructions and exceptions: AMD APM volume 2, 15.7 to 15.14.
#include "cpu/x86/system/svm.h"

namespace tandem::cpu::x86 {

namespace {

// Bits of `spec` in svm_intercept() and its kin.
constexpr u32 kCode = 0xffff;
bool in_shadow(u32 spec) { return (spec & kInterceptShadow) != 0; }

// "Most instruction intercepts are checked at the point where all exceptions except memory access related exceptions have
// been checked" (15.9); those of PUSHF, POPF, IRET, RSM and INT n "take priority over any exceptions" (table 15-7). CPL 0
// where the row of the instruction asks for it: the lifter.
bool exceptions_first(TranslateState& t, u64 code) {
    const State& s = t.s;
    const bool user = protected_mode(s) && cpl(s) != 0;
    if (code < exit_code::WriteCr0 && code != exit_code::ReadCr0) return check_control_read(t, static_cast<u32>(code));
    if (code >= exit_code::ReadDr0 && code < exit_code::WriteDr0) return check_debug_read(t, static_cast<u32>(code & 15));
    switch (code) {
        case exit_code::Rdtsc:
        case exit_code::Rdtscp: return !user || (s.cr4 & cr4::TSD) == 0 || fault(t, kGP);
        case exit_code::Rdpmc: return check_rdpmc(t);
        case exit_code::ReadCr0:
        case exit_code::IdtrRead:
        case exit_code::GdtrRead:
        case exit_code::LdtrRead:
        case exit_code::TrRead: return !user || (s.cr4 & cr4::UMIP) == 0 || fault(t, kGP);
        case exit_code::Xsetbv: return (s.cr4 & cr4::OSXSAVE) != 0 || fault(t, kUD);
        default: return true;
    }
}

// Two bits for each of 8192 MSRs, for three ranges (15.11).
constexpr u32 kMsrRanges[] = {0, 0xc0000000, 0xc0010000};
constexpr u32 kMsrsInRange = 0x2000, kMsrRangeBytes = 0x800;

bool msr_intercepted(TranslateState& t, u32 index, bool write) {
    for (u32 n = 0; n < std::size(kMsrRanges); ++n) {
        const u32 at = index - kMsrRanges[n];
        if (at >= kMsrsInRange) continue;
        const u64 byte = jit::phys_load(&t, t.s.svm.msrpm + n * kMsrRangeBytes + at / 4, 1);
        return bit(byte, (at % 4) * 2 + (write ? 1 : 0));
    }
    return true;
}

// A bit for each port; an access asks for all of its ports (15.10.1).
bool port_intercepted(TranslateState& t, u32 port, u32 size) {
    const u64 at = t.s.svm.iopm + port / 8;
    const u64 map = jit::phys_load(&t, at, 1) | jit::phys_load(&t, at + 1, 1) << 8;
    return bits(map, port % 8 + size - 1, port % 8) != 0;
}

// The register of MOV CR and MOV DR (15.33.1): EXITINFO1.
u64 register_info(const TranslateState& t, u32 spec, u64 code) {
    constexpr u64 kMovCr = u64{1} << 63;
    if ((spec & kInterceptGpr) == 0 || !t.model->has(Feature::SVM_DECODE_ASSISTS)) return 0;
    return (code < exit_code::ReadDr0 || code == exit_code::Cr0SelectiveWrite ? kMovCr : 0) |
           (spec >> kInterceptGprShift & 15);
}

}  // namespace

LeaveReason svm_intercept(TranslateState* t, u32 spec, u64 next) {
    const u64 code = spec & kCode;
    if (!intercepts(t->s, code)) return LeaveReason::None;
    if (!exceptions_first(*t, code)) return failed(*t);
    return exit_due(*t, {code, register_info(*t, spec, code), 0, next, in_shadow(spec)});
}

namespace {
// CR0 alone has an intercept for changes of all but TS and MP, which the other one precedes. "The LMSW instruction treats
// the selective CR0-write intercept as a non-selective intercept" (15.8.1).
u64 write_intercept(const State& s, u32 spec, u64 value) {
    const u64 code = spec & kCode;
    if (code != exit_code::WriteCr0 || intercepts(s, code)) return code;
    const u64 changed = (s.cr0 ^ value) & ~(cr0::TS | cr0::MP);
    return (spec & kInterceptLmsw) != 0 || changed != 0 ? exit_code::Cr0SelectiveWrite : code;
}
}  // namespace

// "Checks non-memory exceptions (CPL, illegal bit combinations, etc.) before the intercept" (table 15-7).
LeaveReason svm_intercept_write(TranslateState* t, u32 spec, u64 value, u64 next) {
    const u64 code = write_intercept(t->s, spec, value);
    if (!intercepts(t->s, code)) return LeaveReason::None;
    const u32 index = spec & 15;
    const bool debug = code >= exit_code::ReadDr0 && code != exit_code::Cr0SelectiveWrite;
    const bool allowed = (spec & kInterceptLmsw) != 0 ||
                         (debug ? check_debug_write(*t, index, value) : check_control_write(*t, index, value));
    if (!allowed) return failed(*t);
    return exit_due(*t, {code, register_info(*t, spec, code), 0, next, in_shadow(spec)});
}

// 15.14.4: a count in VMRUN's VMCB of PAUSEs before one exits; with a threshold, of those that follow each other closely.
// Its cycles are instructions here.
LeaveReason svm_intercept_pause(TranslateState* t, u32 spec, u64 next) {
    Svm& svm = t->s.svm;
    if (!intercepts(t->s, exit_code::Pause)) return LeaveReason::None;
    const bool apart = svm.pause_threshold != 0 && svm.pause_window == 0 && svm.pause_left != svm.pause_count;
    if (svm.pause_count != 0) {
        svm.pause_left = apart ? svm.pause_count : static_cast<u16>(svm.pause_left - 1);
        svm.pause_window = svm.pause_threshold;
        if (svm.pause_left != 0) return LeaveReason::None;
    }
    return exit_due(*t, {exit_code::Pause, 0, 0, next, in_shadow(spec)});
}

void pause_window_step(TranslateState* t) {
    if (t->s.svm.pause_window != 0) --t->s.svm.pause_window;
}

// INVLPG: "the linear address" (15.33.3), wanted or not.
LeaveReason svm_intercept_address(TranslateState* t, u32 spec, u64 address, u64 next) {
    const u64 code = spec & kCode;
    if (!intercepts(t->s, code)) return LeaveReason::None;
    const u64 info = t->model->has(Feature::SVM_DECODE_ASSISTS) ? address : 0;
    return exit_due(*t, {code, info, 0, next, in_shadow(spec)});
}

LeaveReason svm_intercept_msr(TranslateState* t, u32 spec, u64 next) {
    const bool write = (spec & kInterceptWrite) != 0;
    if (!intercepts(t->s, exit_code::Msr)) return LeaveReason::None;
    if (!msr_intercepted(*t, static_cast<u32>(t->s.gpr[RCX]), write)) return LeaveReason::None;
    return exit_due(*t, {exit_code::Msr, write ? 1u : 0u, 0, next, in_shadow(spec)});
}

LeaveReason svm_intercept_port(TranslateState* t, u32 spec, u32 port, u64 next) {
    if (!intercepts(t->s, exit_code::Ioio)) return LeaveReason::None;
    const u32 info = spec & kCode;
    const u32 size = info >> 4 & 7;
    if (const LeaveReason why = check_io(t, port, size); why != LeaveReason::None) return why;
    if (!port_intercepted(*t, port, size)) return LeaveReason::None;
    return exit_due(*t, {exit_code::Ioio, info | u64{port} << 16, next, next, in_shadow(spec)});
}

bool exception_exits(TranslateState& t, const PendingEvent& e, const Event* during) {
    State& s = t.s;
    const u64 code = exit_code::Exception0 + e.vector;
    if (e.vector >= 32 || !intercepts(s, code)) return false;
    // DR6 and DR7 are written also when #DB is intercepted; CR2 is not when #PF is (15.12).
    if (e.vector == kDB) {
        s.dr6 = (s.dr6 & ~u64{0xf}) | (e.payload & (0xf | dr6::BD | dr6::BS | dr6::BT));
        s.dr7 &= ~dr7::GD;
    }
    if (during == nullptr && is_fault(e.vector)) debug_undo(t);
    leave_guest(t, {code, e.has_error ? e.error : 0, e.vector == kPF ? e.payload : 0, 0, executes_in_shadow(t)}, during);
    return true;
}

bool software_interrupt_exits(TranslateState& t, u8 vector, SoftwareInterrupt kind, u64 next) {
    const u64 code = kind == SoftwareInterrupt::IntN   ? exit_code::SoftwareInt
                     : kind == SoftwareInterrupt::Int1 ? exit_code::Icebp
                                                       : exit_code::Exception0 + vector;
    if (!intercepts(t.s, code)) return false;
    const bool named = kind == SoftwareInterrupt::IntN && t.model->has(Feature::SVM_DECODE_ASSISTS);
    exit_due(t, {code, named ? vector : u64{0}, 0, next, false});  // 15.33.2
    return true;
}

}  // namespace tandem::cpu::x86

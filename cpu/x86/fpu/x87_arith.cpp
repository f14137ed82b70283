// FADD to FDIVR, comparisons and the D9 E0..FF group (SDM volume 2, by instruction; volume 1, 8.3).
#include "cpu/x86/fpu/host_x87.h"
#include "cpu/x86/fpu/x87_unit.h"

namespace tandem::cpu::x86 {

namespace {

using host_x87::Arith;

Arith arith_of(const X87Unit& fpu) { return static_cast<Arith>(fpu.spec().reg()); }

// FCOM and its relatives: `status` is the comparison's. Condition codes are written even when an unmasked exception keeps
// the instruction from popping.
void finish_compare(X87Unit& fpu, u16 status, unsigned pops) {
    fpu.merge(status, fsw::Conditions);
    if (!fpu.blocked(status)) fpu.pop(pops);
}

// A comparison with an empty register: unordered.
void compare_underflow(X87Unit& fpu, unsigned pops) {
    finish_compare(fpu, fsw::IE | fsw::SF | fsw::C0 | fsw::C2 | fsw::C3, pops);
}

void finish_arith(X87Unit& fpu, const host_x87::Outcome& o, unsigned dest, unsigned pops) {
    fpu.merge(o.status, fsw::C1);
    if (fpu.blocked(o.status)) return;
    fpu.set(dest, o.value);
    fpu.pop(pops);
}

void arith_underflow(X87Unit& fpu, unsigned dest, unsigned pops) {
    if (!fpu.underflow()) return;
    fpu.set(dest, kIndefinite);
    fpu.pop(pops);
}

template <class T>
LeaveReason arith_memory(TranslateState* t, u32 spec, u64 va, host_x87::Source source) {
    X87Unit fpu(*t, spec);
    if (const LeaveReason r = x87_wait(t); r != LeaveReason::None) return r;
    T operand{};
    if (!fpu.load(va, &operand, sizeof operand)) return fpu.fault();
    fpu.track(va);
    const Arith op = arith_of(fpu);
    const bool compares = op == Arith::Com || op == Arith::ComP;
    const unsigned pops = op == Arith::ComP ? 1 : 0;
    if (fpu.empty(0)) {
        compares ? compare_underflow(fpu, pops) : arith_underflow(fpu, 0, 0);
        return LeaveReason::None;
    }
    const host_x87::Outcome o = host_x87::arith(op, fpu.control(), fpu.st(0), source, operand);
    compares ? finish_compare(fpu, o.status, pops) : finish_arith(fpu, o, 0, 0);
    return LeaveReason::None;
}

LeaveReason compare(TranslateState* t, u32 spec, unsigned pops, bool unordered) {
    X87Unit fpu(*t, spec);
    if (const LeaveReason r = x87_wait(t); r != LeaveReason::None) return r;
    fpu.track();
    const unsigned i = fpu.spec().rm();
    if (fpu.empty(0) || fpu.empty(i)) {
        compare_underflow(fpu, pops);
        return LeaveReason::None;
    }
    const u16 status = unordered ? host_x87::unordered_compare(fpu.control(), fpu.st(0), fpu.st(i)).status
                                 : host_x87::arith(Arith::Com, fpu.control(), fpu.st(0), fpu.st(i)).status;
    finish_compare(fpu, status, pops);
    return LeaveReason::None;
}

void set_flags(TranslateState& t, u64 flags) {
    t.cc_op = cc_op(CcKind::Explicit, 1);
    t.cc_src = flags;
}

// What D9 F0..FF and the rest of the group does, by ModRM.
enum class Math : u8 { Undefined, Compare, Examine, Unary, Binary, BinaryPop, Pushing };
struct MathRow {
    Math form = Math::Undefined;
    u8 operation = 0;  // host_x87::Unary, Binary or Pushing
    u16 conditions = fsw::C1;
};
constexpr u16 kC1C2 = fsw::C1 | fsw::C2;

template <class E>
constexpr MathRow math(Math form, E operation, u16 conditions = fsw::C1) {
    return {form, static_cast<u8>(operation), conditions};
}

// Indexed by ModRM & 31.
constexpr std::array<MathRow, 32> kMath = [] {
    using host_x87::Binary;
    using host_x87::Pushing;
    using host_x87::Unary;
    std::array<MathRow, 32> rows{};
    rows[0x04] = math(Math::Compare, Unary::Tst);
    rows[0x05] = math(Math::Examine, Unary::Xam);
    rows[0x10] = math(Math::Unary, Unary::F2xm1);
    rows[0x11] = math(Math::BinaryPop, Binary::Yl2x);
    rows[0x12] = math(Math::Pushing, Pushing::Tan, kC1C2);
    rows[0x13] = math(Math::BinaryPop, Binary::Atan);
    rows[0x14] = math(Math::Pushing, Pushing::Extract);
    rows[0x15] = math(Math::Binary, Binary::Prem1, fsw::Conditions);
    rows[0x18] = math(Math::Binary, Binary::Prem, fsw::Conditions);
    rows[0x19] = math(Math::BinaryPop, Binary::Yl2xp1);
    rows[0x1a] = math(Math::Unary, Unary::Sqrt);
    rows[0x1b] = math(Math::Pushing, Pushing::SinCos, kC1C2);
    rows[0x1c] = math(Math::Unary, Unary::RndInt);
    rows[0x1d] = math(Math::Binary, Binary::Scale);
    rows[0x1e] = math(Math::Unary, Unary::Sin, kC1C2);
    rows[0x1f] = math(Math::Unary, Unary::Cos, kC1C2);
    return rows;
}();

void math_unary(X87Unit& fpu, const MathRow& row) {
    if (fpu.empty(0)) {
        fpu.merge(0, row.conditions);
        return arith_underflow(fpu, 0, 0);
    }
    const auto op = static_cast<host_x87::Unary>(row.operation);
    const host_x87::Outcome o = host_x87::unary(op, fpu.control(), fpu.st(0));
    fpu.merge(o.status, row.conditions);
    if (!fpu.blocked(o.status)) fpu.set(0, o.value);
}

void math_binary(X87Unit& fpu, const MathRow& row) {
    const bool pops = row.form == Math::BinaryPop;
    if (fpu.empty(0) || fpu.empty(1)) {
        fpu.merge(0, row.conditions & kC1C2);
        return arith_underflow(fpu, pops ? 1 : 0, pops ? 1 : 0);
    }
    const auto op = static_cast<host_x87::Binary>(row.operation);
    const host_x87::Outcome o = host_x87::binary(op, fpu.control(), fpu.st(0), fpu.st(1));
    // FPREM leaves the quotient bits C0 and C3 alone when it has no quotient.
    const bool no_result = (o.value.sign_exponent & 0x7fff) == 0x7fff || fpu.blocked(o.status);
    fpu.merge(o.status, no_result ? static_cast<u16>(row.conditions & kC1C2) : row.conditions);
    if (fpu.blocked(o.status)) return;
    fpu.set(pops ? 1 : 0, o.value);
    if (pops) fpu.pop();
}

void math_pushing(X87Unit& fpu, const MathRow& row) {
    const bool under = fpu.empty(0);
    if (under || !fpu.empty(7)) {
        fpu.merge(0, row.conditions);
        if (!(under ? fpu.underflow() : fpu.overflow())) return;
        fpu.set(0, kIndefinite);
        fpu.push(kIndefinite);
        return;
    }
    const auto op = static_cast<host_x87::Pushing>(row.operation);
    const host_x87::PairOutcome o = host_x87::pushing(op, fpu.control(), fpu.st(0));
    fpu.merge(o.status, row.conditions);
    const bool out_of_range = (o.status & row.conditions & fsw::C2) != 0;
    if (fpu.blocked(o.status) || out_of_range) return;
    fpu.set(0, o.next);
    fpu.push(o.top);
}

void examine(X87Unit& fpu) {
    if (!fpu.empty(0)) {
        fpu.merge(host_x87::unary(host_x87::Unary::Xam, fpu.control(), fpu.st(0)).status & fsw::Conditions, fsw::Conditions);
        return;
    }
    const u16 sign = bit(fpu.st(0).sign_exponent, 15) ? fsw::C1 : 0;
    fpu.merge(static_cast<u16>(fsw::C3 | fsw::C0 | sign), fsw::Conditions);
}

void test(X87Unit& fpu) {
    if (fpu.empty(0)) return compare_underflow(fpu, 0);
    finish_compare(fpu, host_x87::unary(host_x87::Unary::Tst, fpu.control(), fpu.st(0)).status, 0);
}

}  // namespace

LeaveReason x87_arith(TranslateState* t, u32 spec) {
    X87Unit fpu(*t, spec);
    if (const LeaveReason r = x87_wait(t); r != LeaveReason::None) return r;
    fpu.track();
    const unsigned i = fpu.spec().rm();
    const unsigned dest = fpu.spec().escape() == 0 ? 0 : i;
    const unsigned pops = fpu.spec().escape() == 6 ? 1 : 0;
    if (fpu.empty(0) || fpu.empty(i)) {
        arith_underflow(fpu, dest, pops);
        return LeaveReason::None;
    }
    finish_arith(fpu, host_x87::arith(arith_of(fpu), fpu.control(), fpu.st(0), fpu.st(i)), dest, pops);
    return LeaveReason::None;
}

LeaveReason x87_arith_m32(TranslateState* t, u32 spec, u64 va) {
    return arith_memory<u32>(t, spec, va, host_x87::Source::Real32);
}
LeaveReason x87_arith_m64(TranslateState* t, u32 spec, u64 va) {
    return arith_memory<u64>(t, spec, va, host_x87::Source::Real64);
}
LeaveReason x87_arith_i32(TranslateState* t, u32 spec, u64 va) {
    return arith_memory<u32>(t, spec, va, host_x87::Source::Int32);
}
LeaveReason x87_arith_i16(TranslateState* t, u32 spec, u64 va) {
    return arith_memory<u16>(t, spec, va, host_x87::Source::Int16);
}

LeaveReason x87_compare(TranslateState* t, u32 spec, u32 pops) { return compare(t, spec, pops, false); }
LeaveReason x87_compare_unordered(TranslateState* t, u32 spec, u32 pops) { return compare(t, spec, pops, true); }

LeaveReason x87_compare_flags(TranslateState* t, u32 spec, u32 how) {
    X87Unit fpu(*t, spec);
    if (const LeaveReason r = x87_wait(t); r != LeaveReason::None) return r;
    fpu.track();
    const unsigned i = fpu.spec().rm();
    u16 status = fsw::IE | fsw::SF | fsw::C0 | fsw::C2 | fsw::C3;
    u16 conditions = fsw::C1;  // cleared by a stack fault only
    if (!fpu.empty(0) && !fpu.empty(i)) {
        status = bit(how, 1) ? host_x87::unordered_compare(fpu.control(), fpu.st(0), fpu.st(i)).status
                             : host_x87::arith(Arith::Com, fpu.control(), fpu.st(0), fpu.st(i)).status;
        conditions = 0;
    }
    fpu.merge(status, conditions);
    set_flags(*t, ((status & fsw::C3) != 0 ? eflags::ZF : 0) | ((status & fsw::C2) != 0 ? eflags::PF : 0) |
                      ((status & fsw::C0) != 0 ? eflags::CF : 0));
    if (!fpu.blocked(status)) fpu.pop(how & 1);
    return LeaveReason::None;
}

LeaveReason x87_sign(TranslateState* t, u32 spec) {
    X87Unit fpu(*t, spec);
    if (const LeaveReason r = x87_wait(t); r != LeaveReason::None) return r;
    fpu.track();
    if (fpu.empty(0)) {
        arith_underflow(fpu, 0, 0);
        return LeaveReason::None;
    }
    X87Reg value = fpu.st(0);
    const bool change = fpu.spec().rm() == 0;  // D9 E0 FCHS, D9 E1 FABS
    value.sign_exponent = static_cast<u16>(change ? value.sign_exponent ^ 0x8000 : value.sign_exponent & 0x7fff);
    fpu.merge(0, fsw::C1);
    fpu.set(0, value);
    return LeaveReason::None;
}

LeaveReason x87_math(TranslateState* t, u32 spec) {
    X87Unit fpu(*t, spec);
    if (const LeaveReason r = x87_wait(t); r != LeaveReason::None) return r;
    fpu.track();
    const MathRow& row = kMath[fpu.spec().value & 31];
    switch (row.form) {
        case Math::Undefined: return raise(*t, kUD);
        case Math::Compare: test(fpu); break;
        case Math::Examine: examine(fpu); break;
        case Math::Unary: math_unary(fpu, row); break;
        case Math::Binary:
        case Math::BinaryPop: math_binary(fpu, row); break;
        case Math::Pushing: math_pushing(fpu, row); break;
    }
    return LeaveReason::None;
}

}  // namespace tandem::cpu::x86

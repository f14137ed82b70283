// x87 loads, stores, moves within the stack and stack management (SDM volume 2, by instruction).
#include "cpu/x86/fpu/host_x87.h"
#include "cpu/x86/fpu/x87_unit.h"

namespace tandem::cpu::x86 {

namespace {

using host_x87::Format;

// Size in memory, and what a masked invalid operation on an empty register stores (SDM volume 1, tables 4-3, 4-4, 8-10).
struct FormatRow {
    u8 bytes;
    std::array<u64, 2> indefinite;
};
constexpr std::array<FormatRow, 6> kFormats = {{
    {4, {0xffc00000, 0}},
    {8, {0xfff8000000000000, 0}},
    {2, {0x8000, 0}},
    {4, {0x80000000, 0}},
    {8, {0x8000000000000000, 0}},
    {10, {0xc000000000000000, 0xffff}},
}};
const FormatRow& row_of(Format format) { return kFormats[static_cast<unsigned>(format)]; }

void push_or_overflow(X87Unit& fpu, const X87Reg& value) {
    if (fpu.empty(7)) {
        fpu.merge(0, fsw::C1);
        fpu.push(value);
    } else if (fpu.overflow()) {
        fpu.push(kIndefinite);
    }
}

LeaveReason load(TranslateState* t, u32 spec, u64 va, Format format) {
    X87Unit fpu(*t, spec);
    if (const LeaveReason r = x87_wait(t); r != LeaveReason::None) return r;
    std::array<u64, 2> bits{};
    if (!fpu.load(va, bits.data(), row_of(format).bytes)) return fpu.fault();
    fpu.track(va);
    if (!fpu.empty(7)) {
        push_or_overflow(fpu, kIndefinite);
        return LeaveReason::None;
    }
    const host_x87::Outcome o = host_x87::load(format, fpu.control(), bits);
    fpu.merge(o.status, fsw::C1);
    // An unmasked denormal operand is reported, and loaded all the same.
    if (!fpu.blocked(o.status, fsw::IE)) fpu.push(o.value);
    return LeaveReason::None;
}

// Stores need no result either on unmasked overflow and underflow: those stop a store to memory (SDM volume
// 1, 8.5.4, 8.5.5).
constexpr u16 kStoreBlockers = fsw::IE | fsw::DE | fsw::ZE | fsw::OE | fsw::UE;

template <class Run>
LeaveReason store_with(TranslateState* t, u32 spec, u64 va, Format format, u32 pop, Run run) {
    X87Unit fpu(*t, spec);
    if (const LeaveReason r = x87_wait(t); r != LeaveReason::None) return r;
    const FormatRow& row = row_of(format);
    host_x87::StoreOutcome o;
    if (fpu.empty(0)) {
        o.status = fsw::IE | fsw::SF;
        o.bits = row.indefinite;
    } else {
        o = run(fpu.control(), fpu.st(0));
    }
    const bool blocked = fpu.blocked(o.status, kStoreBlockers);
    if (!blocked && !fpu.store(va, o.bits.data(), row.bytes)) return fpu.fault();
    fpu.track(va);
    fpu.merge(o.status, fsw::C1);
    if (!blocked) fpu.pop(pop);
    return LeaveReason::None;
}

LeaveReason store(TranslateState* t, u32 spec, u64 va, Format format, u32 pop) {
    return store_with(t, spec, va, format, pop, [format](host_x87::Control control, const X87Reg& st0) {
        return host_x87::store(format, control, st0);
    });
}

}  // namespace

LeaveReason x87_load_m32(TranslateState* t, u32 spec, u64 va) { return load(t, spec, va, Format::Real32); }
LeaveReason x87_load_m64(TranslateState* t, u32 spec, u64 va) { return load(t, spec, va, Format::Real64); }
LeaveReason x87_load_i16(TranslateState* t, u32 spec, u64 va) { return load(t, spec, va, Format::Int16); }
LeaveReason x87_load_i32(TranslateState* t, u32 spec, u64 va) { return load(t, spec, va, Format::Int32); }
LeaveReason x87_load_i64(TranslateState* t, u32 spec, u64 va) { return load(t, spec, va, Format::Int64); }
LeaveReason x87_load_bcd(TranslateState* t, u32 spec, u64 va) { return load(t, spec, va, Format::Bcd); }

LeaveReason x87_load_m80(TranslateState* t, u32 spec, u64 va) {
    X87Unit fpu(*t, spec);
    if (const LeaveReason r = x87_wait(t); r != LeaveReason::None) return r;
    X87Reg value;
    if (!fpu.load(va, &value, 10)) return fpu.fault();
    fpu.track(va);
    push_or_overflow(fpu, value);
    return LeaveReason::None;
}

LeaveReason x87_load_sti(TranslateState* t, u32 spec) {
    X87Unit fpu(*t, spec);
    if (const LeaveReason r = x87_wait(t); r != LeaveReason::None) return r;
    fpu.track();
    const unsigned i = fpu.spec().rm();
    if (fpu.empty(i)) {
        if (fpu.underflow()) fpu.push(kIndefinite);
    } else {
        push_or_overflow(fpu, fpu.st(i));
    }
    return LeaveReason::None;
}

LeaveReason x87_load_constant(TranslateState* t, u32 spec) {
    X87Unit fpu(*t, spec);
    if (const LeaveReason r = x87_wait(t); r != LeaveReason::None) return r;
    fpu.track();
    push_or_overflow(fpu, host_x87::constant(static_cast<host_x87::Constant>(fpu.spec().rm()), fpu.control()).value);
    return LeaveReason::None;
}

LeaveReason x87_store_m32(TranslateState* t, u32 spec, u64 va, u32 pop) { return store(t, spec, va, Format::Real32, pop); }
LeaveReason x87_store_m64(TranslateState* t, u32 spec, u64 va, u32 pop) { return store(t, spec, va, Format::Real64, pop); }
LeaveReason x87_store_i16(TranslateState* t, u32 spec, u64 va, u32 pop) { return store(t, spec, va, Format::Int16, pop); }
LeaveReason x87_store_i32(TranslateState* t, u32 spec, u64 va, u32 pop) { return store(t, spec, va, Format::Int32, pop); }
LeaveReason x87_store_i64(TranslateState* t, u32 spec, u64 va) { return store(t, spec, va, Format::Int64, 1); }
LeaveReason x87_store_bcd(TranslateState* t, u32 spec, u64 va) { return store(t, spec, va, Format::Bcd, 1); }

LeaveReason x87_store_m80(TranslateState* t, u32 spec, u64 va) {
    // A store of all 80 bits cannot raise anything but a stack underflow.
    return store_with(t, spec, va, Format::Bcd, 1, [](host_x87::Control, const X87Reg& st0) {
        return host_x87::StoreOutcome{{st0.significand, st0.sign_exponent}, 0};
    });
}

LeaveReason x87_store_truncated(TranslateState* t, u32 spec, u64 va) {
    const unsigned escape = X87Spec{spec}.escape();  // DB m32, DD m64, DF m16
    const Format format = escape == 3 ? Format::Int32 : escape == 5 ? Format::Int64 : Format::Int16;
    return store_with(t, spec, va, format, 1, [format](host_x87::Control control, const X87Reg& st0) {
        return host_x87::store_truncated(format, control, st0);
    });
}

LeaveReason x87_store_sti(TranslateState* t, u32 spec, u32 pop) {
    X87Unit fpu(*t, spec);
    if (const LeaveReason r = x87_wait(t); r != LeaveReason::None) return r;
    fpu.track();
    X87Reg value = fpu.st(0);
    if (fpu.empty(0) && fpu.spec().escape() == 1) {  // D9 D8+i, an undocumented FSTP, ignores the empty register
        fpu.merge(0, fsw::C1);
        fpu.pop(pop);
        return LeaveReason::None;
    }
    if (fpu.empty(0)) {
        if (!fpu.underflow()) return LeaveReason::None;
        value = kIndefinite;
    } else {
        fpu.merge(0, fsw::C1);
    }
    fpu.set(fpu.spec().rm(), value);
    fpu.pop(pop);
    return LeaveReason::None;
}

LeaveReason x87_exchange(TranslateState* t, u32 spec) {
    X87Unit fpu(*t, spec);
    if (const LeaveReason r = x87_wait(t); r != LeaveReason::None) return r;
    fpu.track();
    const unsigned i = fpu.spec().rm();
    if (fpu.empty(0) || fpu.empty(i)) {
        if (!fpu.underflow()) return LeaveReason::None;
        if (fpu.empty(0)) fpu.set(0, kIndefinite);
        if (fpu.empty(i)) fpu.set(i, kIndefinite);
    } else {
        fpu.merge(0, fsw::C1);
    }
    const X87Reg top = fpu.st(0);
    fpu.set(0, fpu.st(i));
    fpu.set(i, top);
    return LeaveReason::None;
}

LeaveReason x87_cmov(TranslateState* t, u32 spec, u32 condition) {
    X87Unit fpu(*t, spec);
    if (const LeaveReason r = x87_wait(t); r != LeaveReason::None) return r;
    fpu.track();
    const unsigned i = fpu.spec().rm();
    if (fpu.empty(0) || fpu.empty(i)) {
        if (fpu.underflow()) fpu.set(0, kIndefinite);
        return LeaveReason::None;
    }
    if (condition != 0) fpu.set(0, fpu.st(i));
    return LeaveReason::None;
}

LeaveReason x87_stack(TranslateState* t, u32 spec) {
    X87Unit fpu(*t, spec);
    if (const LeaveReason r = x87_wait(t); r != LeaveReason::None) return r;
    fpu.track();
    fpu.merge(0, fsw::C1);
    switch (fpu.spec().escape()) {
        case 1:  // D9 F6 FDECSTP, D9 F7 FINCSTP
            fpu.rotate(fpu.spec().rm() == 6 ? 7 : 1);
            break;
        case 5:  // DD C0+i FFREE
            fpu.release(fpu.spec().rm());
            break;
        default:  // DF C0+i FFREEP
            fpu.release(fpu.spec().rm());
            fpu.pop();
            break;
    }
    return LeaveReason::None;
}

LeaveReason x87_nop(TranslateState* t, u32 spec) {
    X87Unit fpu(*t, spec);
    if (fpu.spec().escape() != 1) return LeaveReason::None;  // FNENI, FNDISI, FNSETPM: control instructions that do not wait
    const LeaveReason r = x87_wait(t);
    if (r == LeaveReason::None) fpu.track();
    return r;
}

}  // namespace tandem::cpu::x86

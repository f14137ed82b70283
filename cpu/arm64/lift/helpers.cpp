#include "cpu/arm64/lift/helpers.h"

#include <algorithm>
#include <bit>

#include "base/bits.h"
#include "cpu/arm64/mode.h"
#include "jit/guest/frame.h"
#include "jit/guest/spin.h"

namespace tandem::cpu::arm64 {
namespace {

bool holds(u32 cond, u32 nzcv) {
    const bool n = (nzcv & pstate::kN) != 0;
    const bool z = (nzcv & pstate::kZ) != 0;
    const bool c = (nzcv & pstate::kC) != 0;
    const bool v = (nzcv & pstate::kV) != 0;
    bool result = true;
    switch (cond >> 1) {
        case 0: result = z; break;
        case 1: result = c; break;
        case 2: result = n; break;
        case 3: result = v; break;
        case 4: result = c && !z; break;
        case 5: result = n == v; break;
        case 6: result = n == v && !z; break;
        default: return true;
    }
    return (cond & 1) != 0 ? !result : result;
}

LeaveReason leave_at(TranslateState& t, u64 pc) {
    t.s.pc = pc;
    return LeaveReason::Lookup;
}

// Poly: reversed polynomials of CRC-32 and CRC-32C.
u32 crc_step(u32 crc, u64 data, unsigned bytes, u32 poly) {
    crc ^= static_cast<u32>(data);
    for (unsigned i = 0; i < std::min(bytes, 4u) * 8; ++i) crc = crc >> 1 ^ ((crc & 1) != 0 ? poly : 0);
    if (bytes == 8) return crc_step(crc, data >> 32, 4, poly);
    return crc;
}

}  // namespace

u32 lazy_nzcv(TranslateState*, u32 cc_op, u64 a, u64 b) { return compute_nzcv(cc_op, a, b); }

u8 lazy_condition(TranslateState*, u32 selector, u64 a, u64 b) {
    const u32 cc_op = selector & static_cast<u32>(mask(kConditionShift));
    return holds(selector >> kConditionShift, compute_nzcv(cc_op, a, b)) ? 1 : 0;
}

u64 divide_unsigned(TranslateState*, u64 a, u64 b) { return b == 0 ? 0 : a / b; }

u64 divide_signed(TranslateState*, u64 a, u64 b, u32) {
    if (b == 0) return 0;
    if (b == ~u64{0}) return 0 - a;
    return static_cast<u64>(static_cast<i64>(a) / static_cast<i64>(b));
}

u64 reverse_bits(TranslateState*, u64 value) {
    value = (value >> 1 & 0x5555555555555555) | (value & 0x5555555555555555) << 1;
    value = (value >> 2 & 0x3333333333333333) | (value & 0x3333333333333333) << 2;
    value = (value >> 4 & 0x0f0f0f0f0f0f0f0f) | (value & 0x0f0f0f0f0f0f0f0f) << 4;
    return __builtin_bswap64(value);
}

u32 crc32(TranslateState*, u32 accumulator, u64 data, u32 spec) {
    constexpr u32 kCrc32 = 0xedb88320, kCrc32c = 0x82f63b78;
    const unsigned bytes = spec & 15;
    return crc_step(accumulator, data & mask(bytes * 8), bytes, (spec & 16) != 0 ? kCrc32c : kCrc32);
}

LeaveReason exclusive_failed(TranslateState* t, u32 rs, u64 next) {
    if (rs != 31) t->s.x[rs] = 1;
    t->s.exclusive.address = ~u64{0};
    if (step_enabled(*t)) {
        t->s.pstate &= ~pstate::kSs;
        t->stepped = kStepped;
    }
    return leave_at(*t, next);
}

LeaveReason exclusive_told(TranslateState* t, u32 rs, u64 next) {
    u8& known = t->told_sites[t->exclusive_site];
    if (known != 0) return LeaveReason::None;
    known = 1;
    return exclusive_failed(t, rs, next);
}

LeaveReason watch_line(TranslateState* t, u64 va, u32 mmu) {
    return jit::watch_line(t, va, mmu) ? LeaveReason::None : jit::leave_status(t);
}

LeaveReason load_exclusive_pair(TranslateState* t, u64 va, u32 flags) {
    const u32 mmu = flags & jit::ir::MemFlags::kMmuMask;
    std::array<u64, 2> pair{};
    if ((flags & jit::ir::MemFlags::kExclusive) != 0 && !jit::mark_line(t, va, mmu)) return jit::leave_status(t);
    if (!jit::load(t, va, mmu, pair)) return jit::leave_status(t);
    t->s.exclusive = {va, pair[0], pair[1], 16};
    t->scratch[0] = pair[0];
    t->scratch[1] = pair[1];
    return LeaveReason::None;
}

LeaveReason store_exclusive_pair(TranslateState* t, u64 va, u64 low, u64 high, u32 flags) {
    ExclusiveMonitor& monitor = t->s.exclusive;
    t->scratch[0] = 1;
    if (monitor.address == va && monitor.size == 16) {
        const std::array<u64, 2> expected{monitor.value, monitor.high};
        std::array<u64, 2> seen{};
        if (!jit::compare_and_swap_16(t, va, flags, expected, {low, high}, seen)) return jit::leave_status(t);
        if (seen == expected) t->scratch[0] = 0;
    }
    monitor.address = ~u64{0};
    return LeaveReason::None;
}

LeaveReason compare_swap_pair(TranslateState* t, u64 va, u32 registers, u32 flags) {
    const auto x = [t](unsigned reg) { return reg == 31 ? u64{0} : t->s.x[reg]; };
    const unsigned rs = registers & 0xff, rt = registers >> 8;
    std::array<u64, 2> seen{};
    if (!jit::compare_and_swap_16(t, va, flags, {x(rs), x(rs + 1)}, {x(rt), x(rt + 1)}, seen)) return jit::leave_status(t);
    t->scratch[0] = seen[0];
    t->scratch[1] = seen[1];
    return LeaveReason::None;
}

namespace {

template <class T>
T picked(MinMax kind, T old, T operand) {
    using S = std::make_signed_t<T>;
    switch (kind) {
        case MinMax::SMax: return static_cast<S>(old) > static_cast<S>(operand) ? old : operand;
        case MinMax::SMin: return static_cast<S>(old) < static_cast<S>(operand) ? old : operand;
        case MinMax::UMax: return old > operand ? old : operand;
        default: return old < operand ? old : operand;
    }
}

template <class T>
LeaveReason min_max(TranslateState* t, u64 va, T operand, MinMax kind, u32 flags) {
    const u32 mmu = flags & jit::ir::MemFlags::kMmuMask;
    T old = 0;
    u64 length = 0;
    if (!jit::probe(t, va, mmu, jit::Access::Write, sizeof(T))) return jit::leave_status(t);
    u8* host = jit::direct_span(t, va, mmu, jit::Access::Write, sizeof(T), length);
    if (host != nullptr && length == sizeof(T)) {
        T* at = reinterpret_cast<T*>(host);
        if ((flags & jit::ir::MemFlags::kClearsMarks) != 0) jit::clear_line_marks(t, host);
        old = __atomic_load_n(at, __ATOMIC_RELAXED);
        while (
            !__atomic_compare_exchange_n(at, &old, picked(kind, old, operand), false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
        }
    } else {
        if (!jit::load(t, va, mmu, old)) return jit::leave_status(t);
        if (!jit::store(t, va, mmu, picked(kind, old, operand))) return jit::leave_status(t);
    }
    t->scratch[0] = old;
    return LeaveReason::None;
}

}  // namespace

LeaveReason atomic_min_max(TranslateState* t, u64 va, u64 operand, u32 spec) {
    const u32 flags = spec & 0xff;
    const auto kind = static_cast<MinMax>(spec >> 12 & 3);
    switch (spec >> 8 & 3) {
        case 0: return min_max(t, va, static_cast<u8>(operand), kind, flags);
        case 1: return min_max(t, va, static_cast<u16>(operand), kind, flags);
        case 2: return min_max(t, va, static_cast<u32>(operand), kind, flags);
        default: return min_max(t, va, operand, kind, flags);
    }
}

LeaveReason check_lse2_alignment(TranslateState* t, u64 va, u32 spec, u32 write) {
    const u32 bytes = spec >> 8 & 0xff;
    const u64 control = current_sctlr(*t);
    const bool within = (va & 15) + bytes <= 16 || ((spec & kOrderedAccess) != 0 && (control & sctlr::nAA) != 0);
    const bool enforced = (control & sctlr::A) != 0 || stage1_flat(*t);
    if (t->model->has(Feature::LSE2) && within && !enforced) return LeaveReason::None;
    alignment_fault(*t, va, write != 0 ? jit::Access::Write : jit::Access::Read, spec & 0xff, false);
    return LeaveReason::Exception;
}

void spin_wait(TranslateState* t) { jit::spin_wait(t->platform != nullptr ? t->platform->cpu_count() : 1); }

LeaveReason continue_at(TranslateState* t, u64 next) {
    const bool same = ModeBits::of(*t).value() == jit::header_of(t).mode;
    return same && !interrupt_due(*t) ? LeaveReason::None : leave_at(*t, next);
}

LeaveReason take_interrupts(TranslateState* t, u64 next) {
    // PSTATE.D counts where debugging is on.
    constexpr u64 kDebug = 1u << 15 | 1;
    if ((t->s.sys.mdscr_el1 & kDebug) != 0) return continue_at(t, next);
    return interrupt_due(*t) ? leave_at(*t, next) : LeaveReason::None;
}

}  // namespace tandem::cpu::arm64

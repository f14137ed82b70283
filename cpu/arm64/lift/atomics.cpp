// Exclusive, acquire, release and atomic accesses: decode/loads_stores.inc. Acquire and release come with the host's memory
// model (x86 TSO) but for a release that a later acquire must not overtake (DDI 0487, B2.3.11), which takes a fence.
#include <tuple>

#include "cpu/arm64/lift/helpers.h"
#include "cpu/arm64/lift/lifter.h"

namespace tandem::cpu::arm64 {
namespace {

constexpr u32 kAddressSlot = offsetof(State, exclusive) + offsetof(ExclusiveMonitor, address);
constexpr u32 kValueSlot = offsetof(State, exclusive) + offsetof(ExclusiveMonitor, value);
constexpr u32 kSizeSlot = offsetof(State, exclusive) + offsetof(ExclusiveMonitor, size);
constexpr u64 kOpen = ~u64{0};

Type access_type(Lifter& l) { return jit::ir::int_type(1u << l.field(31, 30)); }

// These accesses must be aligned, with FEAT_LSE2 only within 16 bytes; those that are merely ordered not even that under
// SCTLR_ELx.nAA.
void check_alignment(Lifter& l, Value address, unsigned bytes, WatchedAccess access, u32 ordered = 0) {
    if (l.mode.has(ModeBits::kWatchpoints)) {
        l.call(HelperId::watch_access, {address, l.imm32(bytes), l.imm32(access)});
    }
    l.count(access == kWatchLoad ? Counted::Load : Counted::Store);
    if (bytes == 1) return;
    const Value misaligned = l.b.icmpi(Cond::Ne, l.b.andi(address, bytes - 1), 0);
    l.call_if(misaligned, HelperId::check_lse2_alignment,
              {address, l.imm32(l.mode.data_mmu() | bytes << 8 | ordered), l.imm32(access == kWatchLoad ? 0 : 1)});
}

// Flags of an exclusive access, and of an atomic.
u32 exclusive_flags(Lifter& l) { return l.mode.data_mmu() | (l.mode.has(ModeBits::kShared) ? MemFlags::kExclusive : 0); }
u32 atomic_flags(Lifter& l) {
    l.tells_others();
    return l.mode.data_mmu() | (l.mode.has(ModeBits::kShared) ? MemFlags::kClearsMarks : 0);
}

// The value that was loaded stands for what other PEs store meanwhile, but for stores of the same value. No instruction can
// tell those from earlier ones unless they follow from the Load-Exclusive: its PE must have stored something behind it, or
// sent an event, of which the other one knows. Store-Exclusive behind such a thing fails once, as it may for any reason, and
// the Load-Exclusive at that place has its page watched from then on, where ordinary stores take marks as well.
constexpr unsigned kSites = std::tuple_size_v<decltype(TranslateState::told_sites)>;

void begin_exclusive(Lifter& l, Value address) {
    if (!l.mode.has(ModeBits::kShared)) return;
    const u32 site = static_cast<u32>(l.pc >> 2 ^ l.pc >> 8 ^ l.pc >> 14) % kSites;
    const Value known = l.get(Type::I8, static_cast<u32>(offsetof(TranslateState, told_sites)) + site);
    l.call_if(l.b.icmpi(Cond::Ne, known, 0), HelperId::watch_line, {address, l.imm32(l.mode.data_mmu())});
    l.tells_nothing_yet();
    l.set(offsetof(TranslateState, exclusive_site), l.imm(Type::I8, site));
}

void check_told(Lifter& l) {
    if (!l.mode.has(ModeBits::kShared)) return;
    const Value told = l.get(Type::I8, offsetof(TranslateState, exclusive_told));
    l.call_if(l.b.icmpi(Cond::Ne, told, 0), HelperId::exclusive_told, {l.imm32(l.rs()), l.imm64(l.next)});
}

void open_monitor(Lifter& l) { l.set(kAddressSlot, l.imm64(kOpen)); }

void mark_exclusive(Lifter& l, Value address, Value value, unsigned bytes) {
    l.set(kAddressSlot, address);
    l.set(kValueSlot, l.zext64(value));
    l.set(kSizeSlot, l.imm32(bytes));
}

// Leaves the instruction with status 1 unless the local monitor is exclusive for this access; else compares and swaps. The
// status as I8.
Value store_if_marked(Lifter& l, Value address, Value desired) {
    const Type t = l.b.type_of(desired);
    const unsigned bytes = jit::ir::size_of(t);
    check_alignment(l, address, bytes, kWatchStore);
    const Value elsewhere = l.b.icmp(Cond::Ne, l.get(Type::I64, kAddressSlot), address);
    const Value other_size = l.b.icmpi(Cond::Ne, l.get(Type::I32, kSizeSlot), bytes);
    l.call_if(l.b.or_(elsewhere, other_size), HelperId::exclusive_failed, {l.imm32(l.rs()), l.imm64(l.next)});
    check_told(l);
    const Value expected = l.b.trunc(t, l.get(Type::I64, kValueSlot));
    const Value old = l.b.atomic_cas(address, expected, desired, exclusive_flags(l));
    open_monitor(l);
    return l.b.icmp(Cond::Ne, old, expected);
}

Value combine32(Lifter& l, unsigned low, unsigned high) {
    return l.b.or_(l.zext64(l.x(low, Type::I32)), l.b.shli(l.x(high), 32));
}

void load_acquire(Lifter& l, const Address& a, Type t, Type extend) {
    check_alignment(l, l.flat(a), jit::ir::size_of(t), kWatchLoad, kOrderedAccess);
    Value value = l.b.load(t, a.base, l.mode.data_mmu(), a.disp);
    if (extend != Type::Void) value = l.b.sext(extend, value);
    l.set_x(l.rt(), value);
}

void store_release(Lifter& l, const Address& a) {
    const Type t = access_type(l);
    check_alignment(l, l.flat(a), jit::ir::size_of(t), kWatchStore, kOrderedAccess);
    l.tells_others();
    l.b.store(a.base, l.x(l.rt(), t), l.mode.data_mmu(), a.disp);
    l.b.fence();
}

}  // namespace

void lift_load_exclusive(Lifter& l) {
    const Type t = access_type(l);
    const Value address = l.base_register(l.rn());
    check_alignment(l, address, jit::ir::size_of(t), kWatchLoad);
    begin_exclusive(l, address);
    const Value value = l.b.load(t, address, exclusive_flags(l));
    mark_exclusive(l, address, value, jit::ir::size_of(t));
    l.set_x(l.rt(), value);
}

void lift_store_exclusive(Lifter& l) {
    const Value address = l.base_register(l.rn());
    l.set_x(l.rs(), store_if_marked(l, address, l.x(l.rt(), access_type(l))));
}

void lift_load_exclusive_pair(Lifter& l) {
    const Value address = l.base_register(l.rn());
    if (!l.is(30)) {
        check_alignment(l, address, 8, kWatchLoad);
        begin_exclusive(l, address);
        const Value both = l.b.load(Type::I64, address, exclusive_flags(l));
        mark_exclusive(l, address, both, 8);
        l.set_x(l.rt(), l.b.trunc(Type::I32, both));
        return l.set_x(l.rt2(), l.b.shri(both, 32));
    }
    check_alignment(l, address, 16, kWatchLoad);
    begin_exclusive(l, address);
    l.call(HelperId::load_exclusive_pair, {address, l.imm32(exclusive_flags(l))});
    l.set_x(l.rt(), l.scratch(0));
    l.set_x(l.rt2(), l.scratch(1));
}

void lift_store_exclusive_pair(Lifter& l) {
    const Value address = l.base_register(l.rn());
    if (!l.is(30)) return l.set_x(l.rs(), store_if_marked(l, address, combine32(l, l.rt(), l.rt2())));
    check_alignment(l, address, 16, kWatchStore);
    check_told(l);
    l.call(HelperId::store_exclusive_pair, {address, l.x(l.rt()), l.x(l.rt2()), l.imm32(exclusive_flags(l))});
    l.set_x(l.rs(), l.scratch(0));
}

void lift_clrex(Lifter& l) { open_monitor(l); }

void lift_load_acquire(Lifter& l) { load_acquire(l, {l.base_register(l.rn()), 0}, access_type(l), Type::Void); }

void lift_load_acquire_unscaled(Lifter& l) {
    constexpr Type kExtend[4] = {Type::Void, Type::Void, Type::I64, Type::I32};
    load_acquire(l, l.unscaled_offset().at, access_type(l), kExtend[l.field(23, 22)]);
}

void lift_store_release(Lifter& l) { store_release(l, {l.base_register(l.rn()), 0}); }
void lift_store_release_unscaled(Lifter& l) { store_release(l, l.unscaled_offset().at); }

void lift_compare_swap(Lifter& l) {
    const Type t = access_type(l);
    const Value address = l.base_register(l.rn());
    check_alignment(l, address, jit::ir::size_of(t), kWatchUpdate);
    l.set_x(l.rs(), l.b.atomic_cas(address, l.x(l.rs(), t), l.x(l.rt(), t), atomic_flags(l)));
}

void lift_compare_swap_pair(Lifter& l) {
    const Value address = l.base_register(l.rn());
    const unsigned rs = l.rs();
    const unsigned rt = l.rt();
    if (!l.is(30)) {
        check_alignment(l, address, 8, kWatchUpdate);
        const Value old = l.b.atomic_cas(address, combine32(l, rs, rs + 1), combine32(l, rt, rt + 1), atomic_flags(l));
        l.set_x(rs, l.b.trunc(Type::I32, old));
        return l.set_x(rs + 1, l.b.shri(old, 32));
    }
    check_alignment(l, address, 16, kWatchUpdate);
    l.call(HelperId::compare_swap_pair, {address, l.imm32(rs | rt << 8), l.imm32(atomic_flags(l))});
    l.set_x(rs, l.scratch(0));
    l.set_x(rs + 1, l.scratch(1));
}

void lift_atomic(Lifter& l) {
    const Type t = access_type(l);
    const Value address = l.base_register(l.rn());
    const u32 flags = atomic_flags(l);
    check_alignment(l, address, jit::ir::size_of(t), kWatchUpdate);
    Value operand = l.x(l.rs(), t);
    const unsigned opc = l.field(14, 12);
    if (!l.is(15) && opc >= 4) {
        const u32 spec = flags | l.field(31, 30) << 8 | (opc - 4) << 12;
        l.call(HelperId::atomic_min_max, {address, l.zext64(operand), l.imm32(spec)});
        return l.set_x(l.rt(), l.b.trunc(t, l.scratch(0)));
    }
    constexpr Op kOps[4] = {Op::AtomicAdd, Op::AtomicAnd, Op::AtomicXor, Op::AtomicOr};
    if (!l.is(15) && opc == 1) operand = l.b.unary(Op::Not, operand);
    l.set_x(l.rt(), l.b.atomic(l.is(15) ? Op::AtomicXchg : kOps[opc], address, operand, flags));
}

}  // namespace tandem::cpu::arm64

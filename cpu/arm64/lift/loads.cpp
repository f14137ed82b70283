// Loads and stores of general-purpose registers: decode/loads_stores.inc, without the atomic and exclusive ones.
#include "cpu/arm64/lift/helpers.h"
#include "cpu/arm64/lift/lifter.h"

namespace tandem::cpu::arm64 {
namespace {

// The accesses whose size is bits 31:30 and whose kind is opc: store, load, load sign-extended to 64 and to 32 bits.
void load_store(Lifter& l, const Addressing& a, u32 flags) {
    const unsigned size = l.field(31, 30);
    const Type t = jit::ir::int_type(1u << size);
    const unsigned opc = l.field(23, 22);
    if (opc == 0) {
        l.store(a.at, l.x(l.rt(), t), flags);
        return l.write_back(a);
    }
    Value value = l.load(t, a.at, flags);
    if (opc >= 2) value = l.b.sext(opc == 2 ? Type::I64 : Type::I32, value);
    l.write_back(a);
    l.set_x(l.rt(), value);
}

void load_store(Lifter& l, const Addressing& a) { load_store(l, a, l.mem_flags(1u << l.field(31, 30))); }

}  // namespace

void lift_load_store_unsigned(Lifter& l) { load_store(l, l.unsigned_offset(l.field(31, 30))); }
void lift_load_store_unscaled(Lifter& l) { load_store(l, l.unscaled_offset()); }
void lift_load_store_post(Lifter& l) { load_store(l, l.post_index()); }
void lift_load_store_pre(Lifter& l) { load_store(l, l.pre_index()); }
void lift_load_store_register(Lifter& l) { load_store(l, l.register_offset(l.field(31, 30))); }

void lift_load_store_unprivileged(Lifter& l) {
    const u32 flags = l.mem_flags(1u << l.field(31, 30));
    load_store(l, l.unscaled_offset(), (flags & ~MemFlags::kMmuMask) | l.mode.unprivileged_mmu());
}

void lift_load_literal(Lifter& l) {
    const u64 address = l.pc + (static_cast<u64>(l.sfield(23, 5)) << 2);
    const unsigned opc = l.field(31, 30);
    const Value value = l.load(opc == 1 ? Type::I64 : Type::I32, {l.imm64(address), 0});
    l.set_x(l.rt(), opc == 2 ? l.b.sext(Type::I64, value) : value);
}

void lift_prefetch(Lifter&) {}

void lift_load_pair(Lifter& l) {
    const bool wide = l.is(31);
    const unsigned log2_bytes = wide ? 3 : 2;
    const Addressing a = l.pair(log2_bytes);
    const Type t = wide ? Type::I64 : Type::I32;
    Value first = l.load(t, a.at);
    Value second = l.load(t, {a.at.base, a.at.disp + (u64{1} << log2_bytes)});
    if (l.is(30)) {
        first = l.b.sext(Type::I64, first);
        second = l.b.sext(Type::I64, second);
    }
    l.write_back(a);
    l.set_x(l.rt(), first);
    l.set_x(l.rt2(), second);
}

// The halves are two accesses (DDI 0487, B2.2.1). Where the second faults on another page the first has been written; the
// handler returns to the instruction, which writes it again.
void lift_store_pair(Lifter& l) {
    const bool wide = l.is(31);
    const unsigned log2_bytes = wide ? 3 : 2;
    const Addressing a = l.pair(log2_bytes);
    const Type t = wide ? Type::I64 : Type::I32;
    const Value first = l.x(l.rt(), t);
    const Value second = l.x(l.rt2(), t);
    l.store(a.at, first);
    l.store({a.at.base, a.at.disp + (u64{1} << log2_bytes)}, second);
    l.write_back(a);
}

void lift_load_authenticated(Lifter& l) {
    const bool data_b = l.is(23);
    const Value base = l.base_register(l.rn());
    const u64 offset = static_cast<u64>(sign_extend(l.field(22, 22) << 9 | l.field(20, 12), 10)) << 3;
    const bool enabled = l.mode.has(data_b ? ModeBits::kPauthDb : ModeBits::kPauthDa);
    if (enabled) l.check_pauth_trap();
    const auto key = static_cast<u32>(data_b ? PauthKey::Db : PauthKey::Da);
    const Value address = enabled ? l.call(HelperId::pointer_authenticate, {base, l.imm64(0), l.imm32(key)}) : base;
    const Value value = l.load(Type::I64, {address, offset});
    if (l.is(11)) l.set_x_sp(l.rn(), l.b.addi(address, offset));
    l.set_x(l.rt(), value);
}

}  // namespace tandem::cpu::arm64

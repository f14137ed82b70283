#include "cpu/x86/lift/vector.h"

#include "base/plant.h"
#include "cpu/x86/fpu/x87.h"

namespace tandem::cpu::x86 {

using jit::ir::MemFlags;

namespace {

constexpr u32 x87_slot(std::size_t field) { return static_cast<u32>(offsetof(State, x87) + field); }
constexpr u32 x87_register_slot(unsigned reg, std::size_t field) {
    return x87_slot(offsetof(X87, reg) + reg * sizeof(X87Reg) + field);
}

u32 alignment(const Lifter& l, unsigned i) {
    if (plant::active(plant::Fault::MissedAlignment)) return 0;
    return l.op(i).size >= 16 && (l.insn.flags & kRowAligned) != 0 ? MemFlags::kAligned : 0;
}

}  // namespace

Value load_operand(Lifter& l, unsigned i) {
    const unsigned size = l.op(i).size;
    const Type type = size == 32 ? Type::V256 : size == 16 ? Type::V128 : jit::ir::int_type(size);
    return l.load(type, l.address(i), alignment(l, i));
}

void store_operand(Lifter& l, unsigned i, Value v) { l.store(l.address(i), v, alignment(l, i)); }

Value vector_operand(Lifter& l, unsigned i) {
    const Operand& o = l.op(i);
    if (o.kind == OperandKind::Xmm) return l.get(o.size == 32 ? Type::V256 : Type::V128, vec_slot(o.reg));
    if (o.kind == OperandKind::Mm) return l.b.v_from(mm(l, o.reg));
    Value v = o.kind == OperandKind::Gpr ? l.gpr(o.reg, o.size) : load_operand(l, i);
    if (jit::ir::is_vector(l.b.type_of(v))) return v;
    if (jit::ir::size_of(l.b.type_of(v)) < 4) v = l.b.zext(Type::I32, v);
    return l.b.v_from(v);
}

void mmx_wait(Lifter& l) { l.call(HelperId::x87_wait); }

void mmx_enter(Lifter& l) {
    const Value fsw = l.get(Type::I16, x87_slot(offsetof(X87, fsw)));
    l.set(x87_slot(offsetof(X87, fsw)), l.b.andi(fsw, 0xffff & ~u64{fsw::TOP}));
    l.set(x87_slot(offsetof(X87, valid)), l.konst(Type::I8, 0xff));
}

Value mm(Lifter& l, unsigned reg) { return l.get(Type::I64, x87_register_slot(reg, offsetof(X87Reg, significand))); }

void set_mm(Lifter& l, unsigned reg, Value v) {
    l.set(x87_register_slot(reg, offsetof(X87Reg, significand)), v);
    l.set(x87_register_slot(reg, offsetof(X87Reg, sign_exponent)), l.konst(Type::I16, 0xffff));
}

}  // namespace tandem::cpu::x86

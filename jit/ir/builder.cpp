#include "jit/ir/builder.h"

#include "base/bits.h"
#include "jit/ir/eval.h"

namespace tandem::jit::ir {
namespace {

constexpr bool commutes(Op op) {
    switch (op) {
        case Op::Add:
        case Op::Mul:
        case Op::MulHiU:
        case Op::MulHiS:
        case Op::And:
        case Op::Or:
        case Op::Xor: return true;
        default: return false;
    }
}

// op(x, right) == x.
constexpr bool is_identity(Op op, unsigned width, u64 right) {
    switch (op) {
        case Op::Add:
        case Op::Sub:
        case Op::Or:
        case Op::Xor: return right == 0;
        case Op::And: return right == mask(width);
        case Op::Mul: return right == 1;
        case Op::Shl:
        case Op::Shr:
        case Op::Sar:
        case Op::Rol:
        case Op::Ror: return (right & (width - 1)) == 0;
        default: return false;
    }
}

}  // namespace

Value Builder::konst(Type t, u64 value) { return emit(Op::Const, t, {}, value & mask(width_of(t))); }

Value Builder::konst_v(Vec128 value) {
    block_.vector_constants.push_back(value);
    return emit(Op::ConstV, Type::V128, {}, block_.vector_constants.size() - 1);
}

Value Builder::konst_v(const Vec256& value) {
    block_.vector_constants.push_back(value.lo);
    block_.vector_constants.push_back(value.hi);
    return emit(Op::ConstV, Type::V256, {}, block_.vector_constants.size() - 2);
}

Value Builder::v_op(Op op, std::initializer_list<Value> args, u8 imm) {
    const std::string_view signature = info(op).signature;
    const bool own = signature[0] == 'V' && signature[2] == 'V';
    return emit(op, own ? type_of(*args.begin()) : Type::V128, args, 0, imm);
}

Value Builder::v_low(Value v) {
    const Inst& inner = block_.at(v);
    if (inner.op == Op::VCombine || inner.op == Op::VZext) return inner.args[0];
    return emit(Op::VLow, Type::V128, {v});
}

Value Builder::v_high(Value v) {
    const Inst& inner = block_.at(v);
    if (inner.op == Op::VCombine) return inner.args[1];
    if (inner.op == Op::VZext) return konst_v(Vec128{});
    return emit(Op::VHigh, Type::V128, {v});
}

Value Builder::v_combine(Value lo, Value hi) {
    const Inst& low = block_.at(lo);
    const Inst& high = block_.at(hi);
    if (low.op == Op::VLow && high.op == Op::VHigh && low.args[0] == high.args[0]) return low.args[0];
    return emit(Op::VCombine, Type::V256, {lo, hi});
}

Value Builder::unary(Op op, Value a) {
    const Type t = type_of(a);
    u64 c = 0;
    if (constant(a, c)) return konst(t, eval_unary(op, width_of(t), c));
    const Inst& inner = block_.at(a);
    const bool involution = op == Op::Neg || op == Op::Not || op == Op::Bswap;
    if (involution && inner.op == op) return inner.args[0];
    return emit(op, t, {a});
}

Value Builder::binary(Op op, Value a, Value b) {
    const Type t = type_of(a);
    const unsigned width = width_of(t);
    u64 ca = 0;
    u64 cb = 0;
    const bool left = constant(a, ca);
    const bool right = constant(b, cb);
    if (left && right) return konst(t, eval_binary(op, width, ca, cb));
    if (left && commutes(op)) return binary(op, b, a);
    if (right && is_identity(op, width, cb)) return a;
    if (right && cb == 0 && (op == Op::And || op == Op::Mul)) return b;
    if (a == b) {
        if (op == Op::And || op == Op::Or) return a;
        if (op == Op::Sub || op == Op::Xor) return konst(t, 0);
    }
    return emit(op, t, {a, b});
}

Value Builder::carry3(Op op, Value a, Value b, Value cin) {
    const Type t = type_of(a);
    u64 ca = 0;
    u64 cb = 0;
    u64 cc = 0;
    const Type result = op == Op::CarryOut || op == Op::BorrowOut ? Type::I8 : t;
    const bool no_carry_in = constant(cin, cc) && cc == 0;
    if (constant(a, ca) && constant(b, cb) && constant(cin, cc)) {
        return konst(result, eval_carry(op, width_of(t), ca, cb, cc));
    }
    if (no_carry_in && op == Op::AddC) return add(a, b);
    if (no_carry_in && op == Op::SubB) return sub(a, b);
    if (no_carry_in && op == Op::BorrowOut) return icmp(Cond::Ult, a, b);
    return emit(op, result, {a, b, cin});
}

Value Builder::zext(Type t, Value a) {
    if (type_of(a) == t) return a;
    u64 c = 0;
    if (constant(a, c)) return konst(t, c);
    const Inst& inner = block_.at(a);
    return emit(Op::ZExt, t, {inner.op == Op::ZExt ? inner.args[0] : a});
}

Value Builder::sext(Type t, Value a) {
    if (type_of(a) == t) return a;
    u64 c = 0;
    if (constant(a, c)) return konst(t, static_cast<u64>(sign_extend(c, width_of(type_of(a)))));
    const Inst& inner = block_.at(a);
    if (inner.op == Op::ZExt) return zext(t, inner.args[0]);
    return emit(Op::SExt, t, {inner.op == Op::SExt ? inner.args[0] : a});
}

Value Builder::trunc(Type t, Value a) {
    if (type_of(a) == t) return a;
    u64 c = 0;
    if (constant(a, c)) return konst(t, c);
    const Inst& inner = block_.at(a);
    if (inner.op == Op::Trunc) return trunc(t, inner.args[0]);
    if (inner.op == Op::ZExt || inner.op == Op::SExt) {
        const Value source = inner.args[0];
        if (size_of(type_of(source)) >= size_of(t)) return trunc(t, source);
        return inner.op == Op::ZExt ? zext(t, source) : sext(t, source);
    }
    return emit(Op::Trunc, t, {a});
}

Value Builder::zext_or_trunc(Type t, Value a) { return size_of(t) < size_of(type_of(a)) ? trunc(t, a) : zext(t, a); }

Value Builder::icmp(Cond c, Value a, Value b) {
    const unsigned width = width_of(type_of(a));
    u64 ca = 0;
    u64 cb = 0;
    if (constant(a, ca) && constant(b, cb)) return konst(Type::I8, eval_icmp(c, width, ca, cb) ? 1 : 0);
    if (a == b) return konst(Type::I8, eval_icmp(c, width, 0, 0) ? 1 : 0);
    return emit(Op::ICmp, Type::I8, {a, b}, 0, static_cast<u32>(c));
}

Value Builder::select(Value cond, Value a, Value b) {
    u64 c = 0;
    if (constant(cond, c)) return c != 0 ? a : b;
    if (a == b) return a;
    return emit(Op::Select, type_of(a), {cond, a, b});
}

void Builder::call_if(Value cond, u32 helper, std::initializer_list<Value> args) {
    u64 c = 0;
    if (constant(cond, c)) {
        if (c != 0) call(helper, Type::I32, args);
        return;
    }
    const Value id = emit(Op::CallIf, Type::Void, {cond}, helper);
    Inst& i = block_.insts[id];
    for (const Value v : args) i.args[i.nargs++] = static_cast<u16>(v);
}

}  // namespace tandem::jit::ir

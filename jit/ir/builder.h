// Appends instructions to a Block. The only way lifters make IR. Cheap by design: translation is on a boot's critical path,
// so the builder folds constants and trivial identities as it goes, and nothing else.
// Not thread-safe; one builder per translation.
#pragma once

#include <initializer_list>

#include "jit/ir/ir.h"

namespace tandem::jit::ir {

class Builder {
public:
    explicit Builder(Block& block) : block_(block) {}

    Block& block() { return block_; }
    [[nodiscard]] Type type_of(Value v) const { return block_.type_of(v); }
    // True and the value when `v` is a Const.
    bool constant(Value v, u64& out) const {
        const Inst& i = block_.at(v);
        out = i.imm;
        return i.op == Op::Const;
    }

    Value konst(Type t, u64 value);  // truncated to t
    Value konst_v(Vec128 value);
    Value konst_v(const Vec256& value);
    Value get(Type t, u32 slot) { return emit(Op::GetState, t, {}, slot); }
    void set(u32 slot, Value v) { emit(Op::SetState, Type::Void, {v}, slot); }

    Value unary(Op op, Value a);            // Neg, Not, Clz, Ctz, Popcnt, Bswap
    Value binary(Op op, Value a, Value b);  // Add .. Xor, MulHi*, shifts and rotates
    Value add(Value a, Value b) { return binary(Op::Add, a, b); }
    Value sub(Value a, Value b) { return binary(Op::Sub, a, b); }
    Value and_(Value a, Value b) { return binary(Op::And, a, b); }
    Value or_(Value a, Value b) { return binary(Op::Or, a, b); }
    Value xor_(Value a, Value b) { return binary(Op::Xor, a, b); }
    Value addi(Value a, u64 imm) { return binary(Op::Add, a, konst(type_of(a), imm)); }
    Value andi(Value a, u64 imm) { return binary(Op::And, a, konst(type_of(a), imm)); }
    Value shli(Value a, u8 n) { return binary(Op::Shl, a, konst(Type::I8, n)); }
    Value shri(Value a, u8 n) { return binary(Op::Shr, a, konst(Type::I8, n)); }
    Value sari(Value a, u8 n) { return binary(Op::Sar, a, konst(Type::I8, n)); }
    Value carry3(Op op, Value a, Value b, Value cin);  // AddC, CarryOut, SubB, BorrowOut

    // Conversions; a no-op when `a` already has type t.
    Value zext(Type t, Value a);
    Value sext(Type t, Value a);
    Value trunc(Type t, Value a);
    Value zext_or_trunc(Type t, Value a);
    Value deposit(Value base, Value field, unsigned lsb) { return emit(Op::Deposit, type_of(base), {base, field}, lsb); }
    Value icmp(Cond c, Value a, Value b);  // I8, 0 or 1
    Value icmpi(Cond c, Value a, u64 imm) { return icmp(c, a, konst(type_of(a), imm)); }
    Value select(Value cond, Value a, Value b);

    Value load(Type t, Value addr, u32 mem_flags, u64 disp = 0) { return emit(Op::Load, t, {addr}, disp, mem_flags); }
    void store(Value addr, Value v, u32 mem_flags, u64 disp = 0) { emit(Op::Store, Type::Void, {addr, v}, disp, mem_flags); }
    Value atomic(Op op, Value addr, Value v, u32 mem_flags) { return emit(op, type_of(v), {addr, v}, 0, mem_flags); }
    Value atomic_cas(Value addr, Value expected, Value desired, u32 mem_flags) {
        return emit(Op::AtomicCas, type_of(desired), {addr, expected, desired}, 0, mem_flags);
    }
    void fence() { emit(Op::Fence, Type::Void, {}); }

    Value call(u32 helper, Type result, std::initializer_list<Value> args = {}) {
        return emit(Op::Call, result, args, helper);
    }
    // CallIf; a known condition makes it nothing or a plain call.
    void call_if(Value cond, u32 helper, std::initializer_list<Value> args = {});
    void insn_start(u64 pc, u32 length) { emit(Op::InsnStart, Type::Void, {}, pc, length); }

    Value v_from(Value a) { return emit(Op::VFromI, Type::V128, {a}); }
    Value v_extract(Type t, Value v, u32 lane) { return emit(Op::VExtract, t, {v}, 0, lane); }
    Value v_insert(Value v, Value a, u32 lane) { return emit(Op::VInsert, Type::V128, {v, a}, 0, lane); }
    // A row of vector_ops.inc. Without a type: that of the first V argument, V128 for rows that have none (the widening
    // ones).
    Value v_op(Op op, std::initializer_list<Value> args, u8 imm = 0);
    Value v_op(Type t, Op op, std::initializer_list<Value> args, u8 imm = 0) { return emit(op, t, args, 0, imm); }
    Value v_to_int(Op op, Type t, std::initializer_list<Value> args) { return emit(op, t, args); }

    Value v_low(Value v);
    Value v_high(Value v);
    Value v_combine(Value lo, Value hi);
    Value v_zext(Value v) { return emit(Op::VZext, Type::V256, {v}); }
    // Op::MaskLoadD/Q, MaskStoreD/Q.
    Value mask_load(Op op, Value addr, Value mask, u32 mem_flags, u64 disp = 0) {
        return emit(op, type_of(mask), {addr, mask}, disp, mem_flags);
    }
    void mask_store(Op op, Value addr, Value mask, Value v, u32 mem_flags, u64 disp = 0) {
        emit(op, Type::Void, {addr, mask, v}, disp, mem_flags);
    }

    void jump(u64 pc) { emit(Op::Jump, Type::Void, {}, pc); }
    void branch(Value cond, u64 taken, u64 fallthrough) {
        emit(Op::Branch, Type::Void, {cond}, taken);
        block_.fallthrough = fallthrough;
    }
    void jump_indirect(Value pc, JumpHint hint = JumpHint::None) {
        emit(Op::JumpInd, Type::Void, {pc}, 0, static_cast<u32>(hint));
    }
    void leave(LeaveReason why) { emit(Op::Leave, Type::Void, {}, static_cast<u64>(why)); }

    // Raw append, no folding.
    Value emit(Op op, Type t, std::initializer_list<Value> args, u64 imm = 0, u32 aux = 0) {
        Inst i;
        i.op = op;
        i.type = t;
        i.aux = aux;
        i.imm = imm;
        for (Value v : args) i.args[i.nargs++] = static_cast<u16>(v);
        block_.insts.push_back(i);
        return static_cast<Value>(block_.insts.size() - 1);
    }

private:
    Block& block_;
};

}  // namespace tandem::jit::ir

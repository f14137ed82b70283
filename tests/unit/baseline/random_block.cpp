#include "tests/unit/baseline/random_block.h"

#include <iterator>

#include "base/bits.h"
#include "jit/ir/vector_row.h"
#include "tests/unit/baseline/machine.h"

namespace tandem::jit::test {

namespace {

// Rows by signature, in the order of the IR's list.
constexpr ir::Op kRows[] = {
#define TANDEM_VROW(Form, Name, text, mnemonic, encoding, widths) ir::Op::Name,
#include "jit/ir/vector_ops.inc"
};

}  // namespace

u16 RandomBlock::emit(Op op, Type t, std::initializer_list<u16> args, u64 imm, u32 aux) {
    ir::Inst i;
    i.op = op;
    i.type = t;
    i.imm = imm;
    i.aux = aux;
    for (const u16 a : args) i.args[i.nargs++] = a;
    block_.insts.push_back(i);
    const u16 v = static_cast<u16>(block_.insts.size() - 1);
    if (t != Type::Void) by_type_[static_cast<unsigned>(t)].push_back(v);
    return v;
}

u16 RandomBlock::constant(Type t) {
    if (ir::is_vector(t)) {
        constexpr u64 kWords[] = {0, ~u64{0}, 0x0102030405060708, 0x7ff0000000000001, 0x3ff00000bf800000};
        const u64 lo = pick(3) == 0 ? random_() : kWords[pick(5)];
        const size_t index = block_.vector_constants.size();
        const u64 hi = pick(2) != 0 ? lo : random_();
        block_.vector_constants.push_back({lo, hi});
        if (t == Type::V256) block_.vector_constants.push_back({lo, pick(2) != 0 ? hi : random_()});
        return emit(Op::ConstV, t, {}, index);
    }
    u64 v = random_();
    switch (pick(6)) {
        case 0: v = pick(4); break;
        case 1: v = ~pick(3); break;
        case 2: v = u64{1} << pick(64); break;
        case 3: v = mask(static_cast<unsigned>(8 << pick(4))); break;
        case 4: v = pick(1000); break;
        default: break;
    }
    return emit(Op::Const, t, {}, v & mask(ir::width_of(t)));
}

u16 RandomBlock::value(Type t) {
    auto& known = by_type_[static_cast<unsigned>(t)];
    if (known.empty() || chance(12)) return constant(t);
    const size_t back = std::min<size_t>(known.size(), shape_.reach_back);
    return known[known.size() - 1 - pick(back)];
}

u16 RandomBlock::boolean() {
    if (booleans_.empty() || chance(40)) {
        const Type t = any_int();
        u16 a = value(t);
        if (chance(25)) a = emit(Op::And, t, {a, value(t)});
        const u16 b = chance(40) ? emit(Op::Const, t, {}, 0) : value(t);
        booleans_.push_back(emit(Op::ICmp, Type::I8, {a, b}, 0, static_cast<u32>(pick(10))));
    }
    const size_t back = std::min<size_t>(booleans_.size(), 3);
    return booleans_[booleans_.size() - 1 - pick(back)];
}

// I64 slots at 0..127, I32 at 128.., I16 at 192.., I8 at 224.., V128 at 256.., V256 at 512.., whose halves are V128 slots
// too
u32 RandomBlock::slot(Type t) {
    switch (t) {
        case Type::I64: return static_cast<u32>(pick(12) * 8);
        case Type::I32: return static_cast<u32>(128 + pick(4) * 4);
        case Type::I16: return static_cast<u32>(192 + pick(3) * 2);
        case Type::I8: return static_cast<u32>(224 + pick(4));
        case Type::V256: return static_cast<u32>(512 + pick(4) * 64);
        default:
            if (shape_.wide_vectors && pick(2) != 0) return static_cast<u32>(512 + pick(4) * 64 + pick(2) * 16);
            return static_cast<u32>(256 + pick(6) * 16);
    }
}

void RandomBlock::get() {
    if (chance(3)) {
        emit(Op::GetState, Type::I64, {}, kPcOffset);
        return;
    }
    const Type t = chance(shape_.vector_percent) ? any_vector() : chance(60) ? Type::I64 : any_int();
    emit(Op::GetState, t, {}, slot(t));
}

void RandomBlock::set() {
    if (chance(2)) {
        emit(Op::SetState, Type::Void, {value(Type::I64)}, kPcOffset);
        return;
    }
    const Type t = chance(shape_.vector_percent) ? any_vector() : chance(60) ? Type::I64 : any_int();
    emit(Op::SetState, Type::Void, {value(t)}, slot(t));
}

void RandomBlock::carry_pair() {
    const Type t = any_int();
    const u16 a = value(t), b = value(t);
    const bool adds = pick(2) != 0;
    const u16 cin = chance(50) ? emit(Op::Const, Type::I8, {}, 0) : boolean();
    const Op sum = adds ? Op::AddC : Op::SubB, carry = adds ? Op::CarryOut : Op::BorrowOut;
    const bool plain = block_.insts[cin].op == Op::Const && chance(50);
    for (unsigned n = 0, first = static_cast<unsigned>(pick(2)); n < 2; ++n) {
        if (chance(15)) continue;
        if (n == first) {
            booleans_.push_back(emit(carry, Type::I8, {a, b, cin}));
        } else if (plain) {
            emit(adds ? Op::Add : Op::Sub, t, {a, b});
        } else {
            emit(sum, t, {a, b, cin});
        }
    }
}

void RandomBlock::integer() {
    const Type t = any_int(), w = word();
    switch (pick(16)) {
        case 0:
            emit(static_cast<Op>(static_cast<unsigned>(Op::Shl) + pick(3)), w,
                 {value(w), chance(50) ? constant(Type::I8) : value(Type::I8)});
            return;
        case 1:
            emit(pick(2) != 0 ? Op::Rol : Op::Ror, t, {value(t), chance(50) ? constant(Type::I8) : value(Type::I8)});
            return;
        case 2: {
            const u16 a = value(w), b = value(w);
            if (chance(60)) emit(Op::Mul, w, {a, b});
            if (chance(60)) emit(pick(2) != 0 ? Op::MulHiU : Op::MulHiS, w, {a, b});
            if (chance(30)) emit(Op::Mul, w, {a, b});
            return;
        }
        case 3: carry_pair(); return;
        case 4: emit(pick(3) == 0 ? Op::Clz : pick(2) != 0 ? Op::Ctz : Op::Popcnt, w, {value(w)}); return;
        case 5: {
            const Type swapped = static_cast<Type>(2 + pick(3));
            emit(Op::Bswap, swapped, {value(swapped)});
            return;
        }
        case 6: {
            const unsigned from = static_cast<unsigned>(1 + pick(3)), to = from + 1 + static_cast<unsigned>(pick(4 - from));
            emit(pick(2) != 0 ? Op::ZExt : Op::SExt, static_cast<Type>(to), {value(static_cast<Type>(from))});
            return;
        }
        case 7: {
            const unsigned from = static_cast<unsigned>(2 + pick(3)), to = static_cast<unsigned>(1 + pick(from - 1));
            emit(Op::Trunc, static_cast<Type>(to), {value(static_cast<Type>(from))});
            return;
        }
        case 8: {
            const unsigned whole = static_cast<unsigned>(2 + pick(3)), part = static_cast<unsigned>(1 + pick(whole - 1));
            const unsigned places = ir::size_of(static_cast<Type>(whole)) - ir::size_of(static_cast<Type>(part)) + 1;
            emit(Op::Deposit, static_cast<Type>(whole), {value(static_cast<Type>(whole)), value(static_cast<Type>(part))},
                 chance(50) ? 0 : pick(places) * 8);
            return;
        }
        case 9: {
            const Type s = chance(shape_.vector_percent) ? any_vector() : t;
            const u16 c = boolean();
            const u16 a = value(s), b = value(s);
            emit(Op::Select, s, {c, a, b});
            return;
        }
        case 10: boolean(); return;
        case 11: emit(pick(2) != 0 ? Op::Neg : Op::Not, t, {value(t)}); return;
        case 12: {  // scaled index
            const u16 n = emit(Op::Const, Type::I8, {}, pick(5));
            const u16 s = emit(Op::Shl, w, {value(w), n});
            emit(Op::Add, w, {value(w), s});
            return;
        }
        default: break;
    }
    constexpr Op kPlain[] = {Op::Add, Op::Add, Op::Sub, Op::And, Op::Or, Op::Xor, Op::Mul};
    const Type p = chance(60) ? Type::I64 : t;
    emit(kPlain[pick(std::size(kPlain))], p, {value(p), value(p)});
}

// Mostly within the toy's memory; often near another access, sometimes near the end of a page.
u16 RandomBlock::address(u64& displacement) {
    if (last_address_ != 0xffff && chance(60)) {
        displacement = last_displacement_ + pick(64) - 32;
        if (chance(30)) return emit(Op::Add, Type::I64, {last_address_, emit(Op::Const, Type::I64, {}, pick(100) - 50)});
        if (chance(20)) displacement = last_displacement_;
        return last_address_;
    }
    const u16 limit = emit(Op::Const, Type::I64, {}, chance(80) ? 0x3fff8 : 0x3ffff);
    u16 offset = emit(Op::And, Type::I64, {value(Type::I64), limit});
    if (chance(30)) offset = emit(Op::Or, Type::I64, {offset, emit(Op::Const, Type::I64, {}, 0xfd0)});
    const u16 base = emit(Op::Const, Type::I64, {}, chance(30) ? kMemoryBase - 64 : kMemoryBase);
    displacement = block_.insts[base].imm == kMemoryBase ? 0 : 64;
    u16 sum = emit(Op::Add, Type::I64, {offset, base});
    if (chance(40)) {
        displacement += 16;
        sum = emit(Op::Add, Type::I64, {sum, emit(Op::Const, Type::I64, {}, ~u64{15})});
    }
    last_address_ = sum;
    last_displacement_ = displacement;
    return sum;
}

void RandomBlock::memory() {
    u64 disp = 0;
    const u16 a = address(disp);
    const Type t = chance(shape_.vector_percent) ? any_vector() : any_int();
    u32 aux = static_cast<u32>(pick(4));
    if (chance(10)) aux |= ir::MemFlags::kAligned;
    if (shape_.wide_vectors && chance(20)) return masked_memory(a, disp, aux);
    switch (pick(5)) {
        case 0:
        case 1: emit(Op::Load, t, {a}, disp, aux | (chance(20) ? ir::MemFlags::kForWrite : 0)); return;
        case 2:
        case 3: emit(Op::Store, Type::Void, {a, value(t)}, disp, aux); return;
        default: break;
    }
    const Type i = any_int();
    const Op op = static_cast<Op>(static_cast<unsigned>(Op::AtomicXchg) + pick(6));
    if (op == Op::AtomicCas) {
        const u16 expected = chance(50) ? emit(Op::Load, i, {a}, disp, aux) : value(i);
        emit(op, i, {a, expected, value(i)}, disp, aux);
    } else {
        emit(op, i, {a, value(i)}, disp, aux);
    }
}

void RandomBlock::masked_memory(u16 address, u64 displacement, u32 flags) {
    const Type t = any_vector();
    const bool quads = pick(2) != 0;
    if (pick(2) != 0) {
        emit(quads ? Op::MaskLoadQ : Op::MaskLoadD, t, {address, value(t)}, displacement, flags);
    } else {
        emit(quads ? Op::MaskStoreQ : Op::MaskStoreD, Type::Void, {address, value(t), value(t)}, displacement, flags);
    }
}

void RandomBlock::vector_row() {
    Op op = kRows[pick(std::size(kRows))];
    while (!shape_.wide_vectors && ir::vector_row(op).encoding == ir::VectorEncoding::Avx)
        op = kRows[pick(std::size(kRows))];
    const ir::VectorRow& row = ir::vector_row(op);
    Type t = any_vector();
    if (!row.defined_for(t)) t = t == Type::V128 ? Type::V256 : Type::V128;
    const std::string_view signature = ir::info(op).signature;
    u32 imm = row.has_immediate() ? kRowImmediates[pick(std::size(kRowImmediates))] : 0;
    if (op >= Op::CmpPS && op <= Op::CmpSD) imm = static_cast<u32>(pick(shape_.wide_vectors ? 32 : 8));
    const Type result = signature[0] == 'V'                ? t
                        : signature[0] == 'X'              ? Type::V128
                        : row.form == ir::VectorForm::FTOI ? word()
                                                           : Type::I32;
    u16 args[3] = {};
    for (size_t n = 2; n < signature.size(); ++n) {
        args[n - 2] = value(signature[n] == 'V' ? t : signature[n] == 'X' ? Type::V128 : word());
    }
    switch (signature.size()) {
        case 3: emit(op, result, {args[0]}, 0, imm); return;
        case 4: emit(op, result, {args[0], args[1]}, 0, imm); return;
        default: emit(op, result, {args[0], args[1], args[2]}, 0, imm); return;
    }
}

void RandomBlock::vector() {
    const Type t = any_int(), w = word();
    switch (pick(shape_.wide_vectors ? 12 : 8)) {
        case 0: emit(Op::VFromI, Type::V128, {value(w)}); return;
        case 1: emit(Op::VExtract, t, {value(Type::V128)}, 0, static_cast<u32>(pick(16 / ir::size_of(t)))); return;
        case 2:
            emit(Op::VInsert, Type::V128, {value(Type::V128), value(t)}, 0, static_cast<u32>(pick(16 / ir::size_of(t))));
            return;
        case 8: emit(Op::VLow, Type::V128, {value(Type::V256)}); return;
        case 9: emit(Op::VHigh, Type::V128, {value(Type::V256)}); return;
        case 10: emit(Op::VCombine, Type::V256, {value(Type::V128), value(Type::V128)}); return;
        case 11: emit(Op::VZext, Type::V256, {value(Type::V128)}); return;
        default: return vector_row();
    }
}

void RandomBlock::call() {
    if (shape_.leaves && chance(40)) {
        emit(Op::CallIf, Type::Void, {boolean(), value(Type::I64), value(any_int()), value(any_int())}, kLeaveNoting);
        return;
    }
    switch (pick(shape_.leaves ? 6 : 5)) {
        case 0:
            emit(Op::Call, Type::I64, {value(Type::I64), value(Type::I32), value(Type::I16), value(Type::I8)}, kMix);
            return;
        case 1: emit(Op::Call, Type::I64, {}, kHashState); return;
        case 2: emit(Op::Call, Type::Void, {value(Type::I64)}, kScramble); return;
        case 3: emit(Op::Call, Type::I32, {value(Type::I64), value(Type::I64)}, kOpaque); return;
        case 4:
            emit(Op::Call, Type::I64, {value(Type::I64), value(Type::I64), value(Type::I64), value(Type::I64)}, kCount5);
            return;
        default: emit(Op::Call, Type::I32, {value(Type::I64)}, kMaybeLeave); return;
    }
}

void RandomBlock::end() {
    switch (pick(5)) {
        case 0: emit(Op::Jump, Type::Void, {}, 0x2000 + pick(2) * 0x7000000000); return;
        case 1:
        case 2:
            block_.fallthrough = 0x3000;
            emit(Op::Branch, Type::Void, {boolean()}, pick(2) != 0 ? 0x2000 : 0x1000);
            return;
        case 3: emit(Op::JumpInd, Type::Void, {value(Type::I64)}); return;
        default: emit(Op::Leave, Type::Void, {}, static_cast<u64>(ir::LeaveReason::Halt)); return;
    }
}

void RandomBlock::operation() {
    if (chance(12)) {
        emit(Op::InsnStart, Type::Void, {}, pc_ += 3, 3);
    } else if (chance(18)) {
        get();
    } else if (chance(22)) {
        set();
    } else if (chance(shape_.memory_percent)) {
        memory();
    } else if (chance(shape_.call_percent)) {
        call();
    } else if (chance(shape_.vector_percent)) {
        vector();
    } else if (chance(1)) {
        emit(Op::Fence, Type::Void, {});
    } else {
        integer();
    }
}

ir::Block RandomBlock::make() {
    block_.key = {0x1800, 0, 5};
    pc_ = 0x1800;
    for (unsigned n = 0; n < shape_.operations; ++n) operation();
    end();
    return block_;
}

}  // namespace tandem::jit::test

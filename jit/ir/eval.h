// The meaning of the integer operations, in one place: the builder folds constants with it and the interpreter executes it.
// Values are held zero-extended in 64 bits. Called with a constant operation and width everything folds to one host
// operation.
#pragma once

#include <bit>

#include "base/bits.h"
#include "base/types.h"
#include "jit/ir/ir.h"

namespace tandem::jit::ir {

// Rotates the low `width` bits of `a` left by `count` (taken modulo the width).
constexpr u64 rotate_left(u64 a, unsigned width, unsigned count) {
    count &= width - 1;
    return count == 0 ? a : (a << count | a >> (width - count)) & mask(width);
}

// Neg, Not, Clz, Ctz, Popcnt, Bswap.
constexpr u64 eval_unary(Op op, unsigned width, u64 a) {
    switch (op) {
        case Op::Neg: return (0 - a) & mask(width);
        case Op::Not: return ~a & mask(width);
        case Op::Clz: return static_cast<u64>(std::countl_zero(a)) - (64 - width);
        case Op::Ctz: return a == 0 ? width : static_cast<u64>(std::countr_zero(a));
        case Op::Popcnt: return static_cast<u64>(std::popcount(a));
        case Op::Bswap: return __builtin_bswap64(a) >> (64 - width);
        default: return 0;
    }
}

// Add .. Xor, MulHi*, shifts and rotates.
constexpr u64 eval_binary(Op op, unsigned width, u64 a, u64 b) {
    const unsigned count = static_cast<unsigned>(b) & (width - 1);
    switch (op) {
        case Op::Add: return (a + b) & mask(width);
        case Op::Sub: return (a - b) & mask(width);
        case Op::Mul: return (a * b) & mask(width);
        case Op::MulHiU: return static_cast<u64>(static_cast<u128>(a) * b >> width);
        case Op::MulHiS:
            return static_cast<u64>(static_cast<i128>(sign_extend(a, width)) * sign_extend(b, width) >> width) & mask(width);
        case Op::And: return a & b;
        case Op::Or: return a | b;
        case Op::Xor: return a ^ b;
        case Op::Shl: return (a << count) & mask(width);
        case Op::Shr: return a >> count;
        case Op::Sar: return static_cast<u64>(sign_extend(a, width) >> count) & mask(width);
        case Op::Rol: return rotate_left(a, width, count);
        case Op::Ror: return rotate_left(a, width, width - count);
        default: return 0;
    }
}

// AddC, CarryOut, SubB, BorrowOut.
constexpr u64 eval_carry(Op op, unsigned width, u64 a, u64 b, u64 cin) {
    const u128 sum = static_cast<u128>(a) + b + cin;
    const u128 difference = static_cast<u128>(a) - b - cin;
    switch (op) {
        case Op::AddC: return static_cast<u64>(sum) & mask(width);
        case Op::CarryOut: return static_cast<u64>(sum >> width) & 1;
        case Op::SubB: return static_cast<u64>(difference) & mask(width);
        case Op::BorrowOut: return static_cast<u64>(difference >> width) & 1;
        default: return 0;
    }
}

constexpr bool eval_icmp(Cond cond, unsigned width, u64 a, u64 b) {
    const i64 sa = sign_extend(a, width);
    const i64 sb = sign_extend(b, width);
    switch (cond) {
        case Cond::Eq: return a == b;
        case Cond::Ne: return a != b;
        case Cond::Ult: return a < b;
        case Cond::Ule: return a <= b;
        case Cond::Ugt: return a > b;
        case Cond::Uge: return a >= b;
        case Cond::Slt: return sa < sb;
        case Cond::Sle: return sa <= sb;
        case Cond::Sgt: return sa > sb;
        case Cond::Sge: return sa >= sb;
    }
    return false;
}

constexpr u64 eval_deposit(u64 base, u64 field, unsigned field_width, unsigned lsb) {
    const u64 m = mask(field_width) << lsb;
    return (base & ~m) | ((field << lsb) & m);
}

}  // namespace tandem::jit::ir

// One x87 operation on the host's own x87 unit, under the guest's control word.
//
// The operation runs with the guest's exception masks: an unmasked x87 exception is reported by the next waiting instruction
// only (Intel SDM volume 1, 8.7), and the flags are collected and cleared by non-waiting instructions before there is one.
// So the outcome is the processor's in every case: rounding, precision control, C1, results of masked and unmasked
// exceptions. Every function expects and leaves the host's x87 as the ABI has it between calls (stack empty, control word
// 0x37F). Pure apart from that; any thread.
#pragma once

#include "base/types.h"
#include "cpu/x86/state.h"

namespace tandem::cpu::x86::host_x87 {

// `status` is the status word after the operation (flags that it raised, ES, condition codes); `value` is meaningless when
// an unmasked exception kept the result from being written.
struct Outcome {
    X87Reg value;
    u16 status = 0;
};
// For instructions that push: `top` is the new ST(0), `next` what the old one became.
struct PairOutcome {
    X87Reg top;
    X87Reg next;
    u16 status = 0;
};
// What a store writes, in its low bytes.
struct StoreOutcome {
    std::array<u64, 2> bits{};
    u16 status = 0;
};

// The guest's control word, and the exception flags that it has set already: those need not be told apart from newly raised
// ones, which saves an expensive FNCLEX in the ordinary case. `known` must be 0 unless all exceptions are masked.
struct Control {
    u16 fcw = 0x37f;
    u16 known = 0;
};

// In the encoding order of ModRM.reg (SDM volume 2, tables ). Com and ComP only set condition codes.
enum class Arith : u8 { Add, Mul, Com, ComP, Sub, SubR, Div, DivR };
enum class Source : u8 { Register, Real32, Real64, Int32, Int16 };

// ST(0) `op` a register / a memory operand of `source`'s format in the low bytes of `operand`.
Outcome arith(Arith op, Control control, const X87Reg& st0, const X87Reg& operand);
Outcome arith(Arith op, Control control, const X87Reg& st0, Source source, u64 operand);

enum class Unary : u8 { Tst, Xam, Sqrt, RndInt, F2xm1, Sin, Cos };
Outcome unary(Unary op, Control control, const X87Reg& st0);

// Operations on ST(0) and ST(1); the value belongs to ST(0) for the first three, to ST(1) after a pop for the others.
enum class Binary : u8 { Prem, Prem1, Scale, Atan, Yl2x, Yl2xp1 };
Outcome binary(Binary op, Control control, const X87Reg& st0, const X87Reg& st1);

enum class Pushing : u8 { SinCos, Tan, Extract };
PairOutcome pushing(Pushing op, Control control, const X87Reg& st0);

// FUCOM: condition codes in status.
Outcome unordered_compare(Control control, const X87Reg& st0, const X87Reg& operand);

enum class Constant : u8 { One, L2T, L2E, Pi, Lg2, Ln2, Zero };
Outcome constant(Constant which, Control control);

enum class Format : u8 { Real32, Real64, Int16, Int32, Int64, Bcd };
Outcome load(Format format, Control control, const std::array<u64, 2>& bits);
StoreOutcome store(Format format, Control control, const X87Reg& st0);
// FISTTP: Int16, Int32 and Int64 only.
StoreOutcome store_truncated(Format format, Control control, const X87Reg& st0);

}  // namespace tandem::cpu::x86::host_x87

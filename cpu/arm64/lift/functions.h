// The lift functions that rows name, declared from the rows themselves.
#pragma once

namespace tandem::cpu::arm64 {

class Lifter;

#define A64(pattern, name, feature, lift) void lift(Lifter&);
#define A64C(pattern, name, feature, lift, allocated) void lift(Lifter&);
#include "cpu/arm64/decode/rows.inc"
#undef A64
#undef A64C

}  // namespace tandem::cpu::arm64

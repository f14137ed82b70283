// MMX forms of opcodes that exist for XMM registers too: the 128-bit operation on the low halves.
#pragma once

#include "cpu/x86/lift/vector.h"

namespace tandem::cpu::x86 {

// Each lifts the MMX form of the function of the same name in vector_ops.cpp.
void mmx_binary(Lifter& l, Op op);
void mmx_unary(Lifter& l, Op op);
void mmx_shift(Lifter& l, Op by_register, Op by_immediate);
void mmx_align(Lifter& l);
void mmx_to_gpr(Lifter& l, Op op);
void mmx_insert_word(Lifter& l);
void mmx_extract_word(Lifter& l);
void mmx_move_doubleword(Lifter& l);  // MOVD, MOVQ with an MMX operand

}  // namespace tandem::cpu::x86

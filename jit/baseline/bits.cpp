// Bit counting, with sequences for hosts that lack the instructions.
#include "jit/baseline/compiler.h"

namespace tandem::jit::baseline {

using ir::Inst;
using ir::Op;
using ir::Type;
using namespace asmjit;

void Compiler::count_zeros(Value v, const Inst& inst) {
    const Type t = inst.type;
    const bool leading = inst.op == Op::Clz;
    const Reg a = regs_.use(inst.args[0]);
    if (leading ? host_.lzcnt : host_.tzcnt) {
        const Reg d = regs_.define(v);
        code_.emit(leading ? x86::Inst::kIdLzcnt : x86::Inst::kIdTzcnt, gp_op(d, t), gp_op(a, t));
        regs_.info(v).clean = true;
        return;
    }
    // BSF and BSR leave the destination undefined for zero: substitute what makes the result the width.
    const u32 width = ir::width_of(t);
    const Reg none = regs_.temp();
    const Reg d = regs_.define(v);
    code_.mov(gp32(none), leading ? 2 * width - 1 : width);
    code_.emit(leading ? x86::Inst::kIdBsr : x86::Inst::kIdBsf, gp_op(d, t), gp_op(a, t));
    code_.cmove(gp_op(d, t), gp_op(none, t));
    if (leading) code_.xor_(gp32(d), width - 1);
    regs_.info(v).clean = true;
}

void Compiler::popcnt(Value v, const Inst& inst) {
    const Type t = inst.type;
    regs_.info(v).clean = true;
    if (host_.popcnt) {
        const Reg a = regs_.use(inst.args[0]);
        code_.popcnt(gp_op(regs_.define(v), t), gp_op(a, t));
        return;
    }
    // Sums of adjacent 1-, 2- and 4-bit fields, then of the bytes by a multiplication.
    const Reg d = regs_.define_copy(v, inst.args[0]);
    const Reg s = regs_.temp();
    const Reg m = regs_.temp();
    const auto constant = [&](u64 bytes) { code_.mov(gp_op(m, t), static_cast<i64>(truncate(bytes, t))); };
    constant(0x5555555555555555);
    code_.mov(gp_op(s, t), gp_op(d, t));
    code_.shr(gp_op(s, t), 1);
    code_.and_(gp_op(s, t), gp_op(m, t));
    code_.sub(gp_op(d, t), gp_op(s, t));
    constant(0x3333333333333333);
    code_.mov(gp_op(s, t), gp_op(d, t));
    code_.shr(gp_op(s, t), 2);
    code_.and_(gp_op(s, t), gp_op(m, t));
    code_.and_(gp_op(d, t), gp_op(m, t));
    code_.add(gp_op(d, t), gp_op(s, t));
    constant(0x0f0f0f0f0f0f0f0f);
    code_.mov(gp_op(s, t), gp_op(d, t));
    code_.shr(gp_op(s, t), 4);
    code_.add(gp_op(d, t), gp_op(s, t));
    code_.and_(gp_op(d, t), gp_op(m, t));
    constant(0x0101010101010101);
    code_.imul(gp_op(d, t), gp_op(m, t));
    code_.shr(gp_op(d, t), static_cast<u8>(ir::width_of(t) - 8));
}

}  // namespace tandem::jit::baseline

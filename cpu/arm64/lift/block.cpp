#include "cpu/arm64/lift/block.h"

#include <cstring>

#include "cpu/arm64/lift/lifter.h"

namespace tandem::cpu::arm64 {
namespace {

// Bounds a block's IR well below what 16-bit value names can hold; one instruction makes far fewer than the difference.
constexpr std::size_t kMaxBlockIr = 8192;

void lift_instruction(Lifter& l, u32 word, u64 pc) {
    l.begin_instruction(word, pc);
    if (l.ended()) return;
    const Row* row = decode(word);
    if (row == nullptr || !l.model.has(row->feature)) return l.undefined();
    if (row->group == RowGroup::Simd && l.mode.fp_trapped()) {
        l.call(HelperId::raise_fp_trap);
        return l.leave();
    }
    row->lift(l);
}

}  // namespace

jit::LiftStatus lift_block(const CpuModel& model, const jit::ir::BlockKey& key, const jit::CodeWindow& code,
                           unsigned max_insns, jit::ir::Block& out) {
    const ModeBits mode{key.mode};
    Lifter l(out, model, mode);
    out.key = key;
    if (mode.single()) max_insns = 1;
    if ((key.pc & 3) != 0) {
        out.guest_insns = 1;
        out.guest_bytes = 1;
        l.b.insn_start(key.pc, 4);
        l.call(HelperId::raise_pc_alignment);
        l.leave();
        return jit::LiftStatus::Ok;
    }
    u64 pc = key.pc;
    std::size_t offset = 0;
    for (unsigned n = 0; !l.ended(); ++n) {
        if (n == max_insns || offset + 4 > code.first.size() || out.insts.size() > kMaxBlockIr) {
            l.fall_through(pc);
            break;
        }
        u32 word = 0;
        std::memcpy(&word, code.first.data() + offset, sizeof word);
        lift_instruction(l, word, pc);
        offset += 4;
        pc += 4;
        out.guest_insns = n + 1;
        out.guest_bytes = static_cast<u32>(offset);
    }
    return jit::LiftStatus::Ok;
}

}  // namespace tandem::cpu::arm64

// Data movement, exchanges and conditional moves (Intel SDM volume 2).
#include <array>

#include "base/plant.h"
#include "cpu/x86/lift/lifter.h"

namespace tandem::cpu::x86 {
namespace {

using jit::ir::int_type;

void lift_mov(Lifter& l) { l.write(0, l.read(1)); }

void lift_movzx(Lifter& l) { l.write(0, l.b.zext(l.type(0), l.read(1))); }
void lift_movsx(Lifter& l) {
    if (plant::active(plant::Fault::MovsxZeroes)) return l.write(0, l.b.zext(l.type(0), l.read(1)));
    l.write(0, l.b.sext(l.type(0), l.read(1)));
}

void lift_movbe(Lifter& l) { l.write(0, l.b.unary(Op::Bswap, l.read(1))); }

// BSWAP of a 16-bit register is undefined; current processors clear it.
void lift_bswap(Lifter& l) {
    if (l.op(0).size == 2) return l.write(0, l.konst(Type::I16, 0));
    l.write(0, l.b.unary(Op::Bswap, l.read(0)));
}

void lift_lea(Lifter& l) {
    const Value offset = l.effective(l.insn.mem, l.insn.address_size);
    l.write(0, l.b.zext_or_trunc(l.type(0), offset));
}

void lift_xlat(Lifter& l) {
    const Type t = int_type(l.insn.address_size);
    const Value table = l.gpr(RBX, l.insn.address_size);
    const Value offset = l.b.add(table, l.b.zext(t, l.gpr(RAX, 1)));
    l.set_gpr(RAX, l.load(Type::I8, l.segmented(l.insn.mem.segment, offset, 1, false)));
}

// XCHG with memory is atomic without a LOCK prefix.
void lift_xchg(Lifter& l) {
    if (l.is_mem(0) || l.is_mem(1)) {
        const unsigned mem = l.is_mem(0) ? 0 : 1;
        const Value given = l.read(1 - mem);
        l.write(1 - mem, l.atomic(Op::AtomicXchg, mem, given));
        return;
    }
    const Value first = l.read(0);
    const Value second = l.read(1);
    l.write(0, second);
    l.write(1, first);
}

void lift_xadd(Lifter& l) {
    const Value addend = l.read(1);
    const bool locked = l.insn.lock;
    const Value old = locked ? l.atomic(Op::AtomicAdd, 0, addend) : l.read(0);
    const Value sum = l.b.add(old, addend);
    if (l.is_mem(0)) {
        if (!locked) l.write(0, sum);
        l.write(1, old);
    } else {
        l.write(1, old);
        l.write(0, sum);
    }
    l.flags_add(sum, old, addend);
}

void lift_cmpxchg(Lifter& l) {
    const Value expected = l.gpr(RAX, l.op(0).size);
    const Value desired = l.read(1);
    const Value accumulator = l.b.get(Type::I64, Lifter::gpr_slot(RAX));
    Value old = kNone;
    if (l.insn.lock) {
        old = l.b.atomic_cas(l.linear(0), expected, desired, l.mem_flags(l.op(0).size));
    } else {
        old = l.read(0);
    }
    const Value equal = l.b.icmp(Cond::Eq, expected, old);
    if (!l.insn.lock && l.is_mem(0)) l.write(0, l.b.select(equal, desired, old));
    // The accumulator is written (and its upper half cleared) only when the comparison fails.
    const Value loaded = l.op(0).size < 4 ? l.b.deposit(accumulator, old, 0) : l.zext64(old);
    if (!plant::active(plant::Fault::CmpxchgAccumulator)) {
        l.b.set(Lifter::gpr_slot(RAX), l.b.select(equal, accumulator, loaded));
    }
    if (!l.is_mem(0)) l.write_when(equal, 0, desired);
    l.flags_sub(l.b.sub(expected, old), expected, old);
}

Value pair(Lifter& l, unsigned high, unsigned low) {
    const Value upper = l.b.shli(l.zext64(l.gpr(high, 4)), 32);
    return l.b.or_(upper, l.zext64(l.gpr(low, 4)));
}

void lift_cmpxchg8b(Lifter& l) {
    const Value expected = pair(l, RDX, RAX);
    const Value old = l.b.atomic_cas(l.linear(0), expected, pair(l, RCX, RBX), l.mem_flags(8));
    const Value equal = l.b.icmp(Cond::Eq, expected, old);
    const Value low = l.b.andi(old, mask(32));
    const Value high = l.b.shri(old, 32);
    l.b.set(Lifter::gpr_slot(RAX), l.b.select(equal, l.gpr(RAX, 8), low));
    l.b.set(Lifter::gpr_slot(RDX), l.b.select(equal, l.gpr(RDX, 8), high));
    l.merge_flags(eflags::ZF, l.at_flag(eflags::ZF, equal));
}

void lift_cmpxchg16b(Lifter& l) {
    l.call(HelperId::cmpxchg16b, {l.linear(0), l.imm32(l.mode.data_mmu())});
    l.merge_flags(eflags::ZF, l.at_flag(eflags::ZF, l.scratch(0)));
}

void lift_cmovcc(Lifter& l) {
    const Value moved = l.read(1);
    const Value kept = l.read(0);
    l.write(0, l.b.select(l.condition(l.insn.condition()), moved, kept));
}

void lift_setcc(Lifter& l) { l.write(0, l.condition(l.insn.condition())); }

// CBW, CWDE, CDQE.
void lift_cbw(Lifter& l) {
    const unsigned bytes = l.insn.operand_size;
    l.set_gpr(RAX, l.b.sext(int_type(bytes), l.gpr(RAX, bytes / 2)));
}

// CWD, CDQ, CQO.
void lift_cwd(Lifter& l) {
    const unsigned bytes = l.insn.operand_size;
    const Type wide = bytes == 2 ? Type::I32 : int_type(bytes);
    const Value sign = l.b.sari(l.b.sext(wide, l.gpr(RAX, bytes)), static_cast<u8>(bytes * 8 - 1));
    l.set_gpr(RDX, l.b.trunc(int_type(bytes), sign));
}

void lift_nop(Lifter&) {}
void lift_pause(Lifter& l) {
    l.call(HelperId::spin_wait);
    if (l.mode.has(ModeBits::kSvmGuest)) l.continue_in_mode();  // its filter has perhaps opened a window
}

// The address is checked as a byte load would.
void lift_cache_line(Lifter& l) { l.load(Type::I8, l.address(0, 1)); }

constexpr auto kRows = std::to_array<LiftRow>({
    {Opcode::MOV, lift_mov},
    {Opcode::MOVNTI, lift_mov},
    {Opcode::MOVZX, lift_movzx},
    {Opcode::MOVSX, lift_movsx},
    {Opcode::MOVSXD, lift_movsx},
    {Opcode::MOVBE, lift_movbe},
    {Opcode::BSWAP, lift_bswap},
    {Opcode::LEA, lift_lea},
    {Opcode::XLAT, lift_xlat},
    {Opcode::XCHG, lift_xchg},
    {Opcode::XADD, lift_xadd},
    {Opcode::CMPXCHG, lift_cmpxchg},
    {Opcode::CMPXCHG8B, lift_cmpxchg8b},
    {Opcode::CMPXCHG16B, lift_cmpxchg16b},
    {Opcode::CMOVCC, lift_cmovcc},
    {Opcode::SETCC, lift_setcc},
    {Opcode::CBW, lift_cbw},
    {Opcode::CWD, lift_cwd},
    {Opcode::NOP, lift_nop},
    {Opcode::PAUSE, lift_pause},
    {Opcode::ENDBR32, lift_nop},
    {Opcode::ENDBR64, lift_nop},
    {Opcode::PREFETCH, lift_nop},
    {Opcode::CLFLUSH, lift_cache_line},
    {Opcode::CLFLUSHOPT, lift_cache_line},
    {Opcode::CLWB, lift_cache_line},
});

}  // namespace

std::span<const LiftRow> move_rows() { return kRows; }

}  // namespace tandem::cpu::x86

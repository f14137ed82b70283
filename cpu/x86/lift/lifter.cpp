#include "cpu/x86/lift/lifter.h"

#include <cstddef>

namespace tandem::cpu::x86 {

using jit::ir::Inst;
using jit::ir::int_type;
using jit::ir::MemFlags;
using jit::ir::size_of;

namespace {

constexpr u32 segment_slot(unsigned seg, std::size_t field) {
    return static_cast<u32>(offsetof(State, seg) + seg * sizeof(Segment) + field);
}

}  // namespace

void Lifter::begin_instruction(const Instruction& i, u64 at) {
    insn = i;
    pc = at;
    next = at + i.length;
    if (mode.code() != Mode::Bits64) next &= mask(32);
    address_ = {};
    sp_bias = 0;
    in_shadow = shadow_open_ || mode.has(ModeBits::kShadow);
    shadow_open_ = false;
    const bool first = b.block().insts.empty();
    b.insn_start(pc, i.length);
    if (first && mode.has(ModeBits::kLastBranch)) call(HelperId::branch_arrived, {imm64(pc)});
    if (mode.has(ModeBits::kPauseWindow)) call(HelperId::pause_window_step);
    if (mode.has(ModeBits::kDebug)) call(HelperId::debug_begin);
    if (pc == sought_pc) call(HelperId::hold_if_sought);
    if (mode.has(ModeBits::kShadow)) {
        set(offsetof(State, sti_shadow), konst(Type::I8, 0));
        set(offsetof(State, mov_ss_shadow), konst(Type::I8, 0));
    }
}

bool Lifter::is_mem(unsigned i) const { return op(i).kind == OperandKind::Mem || op(i).kind == OperandKind::MOffs; }

Value Lifter::read(unsigned i) {
    const Operand& o = op(i);
    switch (o.kind) {
        case OperandKind::Gpr: return gpr(o.reg, o.size);
        case OperandKind::GprHigh8: return gpr_high(o.reg);
        case OperandKind::Imm: return read_imm(i, op(0).kind == OperandKind::Imm ? int_type(insn.operand_size) : type(0));
        case OperandKind::Mem:
        case OperandKind::MOffs: return load(type(i), address(i), (o.access & kAccessWrite) != 0 ? MemFlags::kForWrite : 0);
        default: return konst(type(i), 0);
    }
}

void Lifter::write(unsigned i, Value v) {
    const Operand& o = op(i);
    switch (o.kind) {
        case OperandKind::Gpr: set_gpr(o.reg, v); break;
        case OperandKind::GprHigh8: set_gpr_high(o.reg, v); break;
        case OperandKind::Mem:
        case OperandKind::MOffs: store(address(i), v); break;
        default: break;
    }
}

void Lifter::write_when(Value cond, unsigned i, Value v) {
    const Operand& o = op(i);
    const Value old = b.get(Type::I64, gpr_slot(o.reg));
    const bool high = o.kind == OperandKind::GprHigh8;
    const Value written = o.size >= 4 ? zext64(v) : b.deposit(old, v, high ? 8 : 0);
    b.set(gpr_slot(o.reg), b.select(cond, written, old));
}

Address Lifter::address(unsigned i, unsigned size) {
    if (address_.base != kNone) return address_;
    if (size == 0) size = op(i).size;
    const MemoryOperand& m = insn.mem;
    const bool write = (op(i).access & kAccessWrite) != 0;
    u64 disp = 0;
    Value offset = kNone;
    // With 64-bit addresses the sum wraps where the linear address does, so the displacement can stay in the operation.
    if (insn.address_size == 8 && !m.rip_relative && (m.base != MemoryOperand::kNoReg || m.index != MemoryOperand::kNoReg)) {
        MemoryOperand without = m;
        without.disp = 0;
        disp = static_cast<u64>(m.disp);
        offset = effective(without, 8);
    } else {
        offset = effective(m, insn.address_size);
    }
    address_ = segmented(m.segment, offset, size, write, disp);
    return address_;
}

Address Lifter::address_beyond(unsigned i, Value extra) {
    const Value offset = b.add(effective(insn.mem, insn.address_size), extra);
    address_ = segmented(insn.mem.segment, offset, op(i).size, (op(i).access & kAccessWrite) != 0);
    return address_;
}

Value Lifter::gpr(unsigned reg, unsigned bytes) { return b.trunc(int_type(bytes), b.get(Type::I64, gpr_slot(reg))); }

void Lifter::set_gpr(unsigned reg, Value v) {
    const unsigned bytes = size_of(b.type_of(v));
    if (bytes < 4) v = b.deposit(b.get(Type::I64, gpr_slot(reg)), v, 0);
    b.set(gpr_slot(reg), zext64(v));
}

Value Lifter::gpr_high(unsigned reg) { return b.trunc(Type::I8, b.shri(b.get(Type::I64, gpr_slot(reg)), 8)); }

void Lifter::set_gpr_high(unsigned reg, Value v) { b.set(gpr_slot(reg), b.deposit(b.get(Type::I64, gpr_slot(reg)), v, 8)); }

Value Lifter::zext64(Value v) {
    if (b.type_of(v) == Type::I64) return v;
    const auto& insts = b.block().insts;
    constexpr std::size_t kLookBack = 6;
    const std::size_t first = insts.size() > kLookBack ? insts.size() - kLookBack : 0;
    for (std::size_t i = insts.size(); i-- > first;) {
        const Inst& inst = insts[i];
        if (inst.op == Op::ZExt && inst.type == Type::I64 && inst.args[0] == v) return static_cast<Value>(i);
    }
    return b.zext(Type::I64, v);
}

// --- Memory

u32 Lifter::mem_flags(unsigned bytes) const {
    const bool check = mode.has(ModeBits::kAlignCheck) && bytes > 1;
    return mode.data_mmu() | (check ? MemFlags::kAligned : 0);
}

Value Lifter::load(Type t, const Address& a, u32 flags) { return b.load(t, a.base, mem_flags(size_of(t)) | flags, a.disp); }

void Lifter::store(const Address& a, Value v, u32 flags) {
    b.store(a.base, v, mem_flags(size_of(b.type_of(v))) | flags, a.disp);
}

Value Lifter::effective(const MemoryOperand& m, unsigned address_size) {
    const Type t = int_type(address_size);
    if (m.rip_relative) return b.konst(t, next + static_cast<u64>(m.disp));
    Value sum = kNone;
    if (m.base != MemoryOperand::kNoReg) sum = gpr(m.base, address_size);
    if (m.base == RSP && sp_bias != 0) sum = b.addi(sum, sp_bias);
    if (m.index != MemoryOperand::kNoReg) {
        Value index = gpr(m.index, address_size);
        if (m.scale > 1) index = b.shli(index, m.scale == 2 ? 1 : m.scale == 4 ? 2 : 3);
        sum = sum == kNone ? index : b.add(sum, index);
    }
    return sum == kNone ? b.konst(t, static_cast<u64>(m.disp)) : b.addi(sum, static_cast<u64>(m.disp));
}

// The linear address of an offset in a segment whose limit is known to the state only; #GP(0) or #SS(0) outside it.
Value Lifter::limited(unsigned seg, Value offset64, unsigned size) {
    const Value base = b.get(Type::I64, segment_slot(seg, offsetof(Segment, base)));
    u64 known = 0;
    const bool small =
        (b.constant(offset64, known) && known + size <= 0x10000) ||
        (size == 1 && b.block().at(offset64).op == Op::ZExt && b.type_of(b.block().at(offset64).args[0]) == Type::I16);
    if (!small) {
        const Value limit = b.zext(Type::I64, b.get(Type::I32, segment_slot(seg, offsetof(Segment, limit))));
        raise_if(b.icmp(Cond::Ugt, b.addi(offset64, size - 1), limit), seg == SS ? kSS : kGP);
    }
    return b.andi(b.add(base, offset64), mask(32));
}

Address Lifter::segmented(unsigned seg, Value offset, unsigned size, bool write, u64 disp) {
    Address a{zext64(offset), disp};
    if (size == 0) size = 1;
    if (mode.is64()) {
        if (seg == FS || seg == GS) a.base = b.add(a.base, b.get(Type::I64, segment_slot(seg, offsetof(Segment, base))));
    } else {
        a = {flat(a), 0};
        // A code segment is never writable in protected mode.
        const bool refused = write && seg == CS && mode.protected_mode();
        const SegmentClass known = refused ? SegmentClass::Checked : mode.segment(seg);
        if (known == SegmentClass::Simple) a.base = limited(seg, a.base, size);
        if (known == SegmentClass::Checked) {
            call(HelperId::check_segment, {imm32(seg), a.base, imm32(size), imm32(write ? 1 : 0)});
            const Value base = b.get(Type::I64, segment_slot(seg, offsetof(Segment, base)));
            a.base = b.andi(b.add(base, a.base), mask(32));
        }
    }
    if (mode.has(ModeBits::kDebug)) call(HelperId::debug_data, {flat(a), imm32(size), imm32(write ? 1 : 0)});
    return a;
}

// --- Stack

Value Lifter::sp() { return gpr(RSP, mode.stack_bytes()); }
void Lifter::set_sp(Value v) { set_gpr(RSP, v); }

void Lifter::push(Value v) {
    const unsigned bytes = size_of(b.type_of(v));
    const Value top = b.addi(sp(), ~u64{0} - bytes + 1);
    store(stack(top, bytes, true), v);
    set_sp(top);
}

Value Lifter::pop(Type t) { return load(t, stack(sp(), size_of(t), false)); }

// --- Helpers and exceptions

Value Lifter::call(HelperId id, std::initializer_list<Value> args) {
    const jit::Helper& h = helper(id);
    if ((h.flags & jit::kWritesState) != 0) {
        flags_ = {};
        cc_op_.reset();
    }
    return b.call(static_cast<u32>(id), h.result, args);
}

void Lifter::raise_if(Value cond, Vector vector, u32 error) {
    b.call_if(cond, static_cast<u32>(HelperId::raise_exception), {imm32(vector), imm32(error)});
}

void Lifter::raise(Vector vector, u32 error) {
    call(HelperId::raise_exception, {imm32(vector), imm32(error)});
    leave(LeaveReason::Exception);
}

// --- Ends of the block

u64 Lifter::wrap_target(u64 target) const { return target & mask(insn.operand_size * 8u); }

// Whether a target (0 or 1) lies beyond CS's limit or is not canonical.
Value Lifter::outside_code(Value target64) {
    if (mode.is64()) {
        const auto unused = static_cast<u8>(64 - mode.linear_bits());
        return b.icmp(Cond::Ne, b.sari(b.shli(target64, unused), unused), target64);
    }
    if (mode.segment(CS) == SegmentClass::Flat) return konst(Type::I8, 0);
    u64 known = 0;
    const Inst& made = b.block().at(target64);
    const bool word = made.op == Op::ZExt && b.type_of(made.args[0]) == Type::I16;
    const bool small = word || (b.constant(target64, known) && known <= 0xffff);
    if (small && mode.segment(CS) == SegmentClass::Simple) return konst(Type::I8, 0);
    return b.icmp(Cond::Ugt, target64, b.zext(Type::I64, b.get(Type::I32, segment_slot(CS, offsetof(Segment, limit)))));
}

void Lifter::check_target(Value target, Value taken) {
    const Value outside = outside_code(zext64(target));
    raise_if(taken == kNone ? outside : b.and_(taken, outside), kGP);
}

// Through the dispatcher when the mode of the next instruction differs (shadow, debugging).
void Lifter::finish(Value rip) {
    set_rip(rip);
    leave(LeaveReason::Lookup);
}

void Lifter::note_branch(Value taken) {
    if (mode.has(ModeBits::kDebug)) call(HelperId::debug_branch, {taken});
    note_last_branch(taken);
}

void Lifter::note_last_branch(Value taken) {
    if (mode.has(ModeBits::kLastBranch)) call(HelperId::branch_noted, {imm64(pc), taken});
}

void Lifter::jump(u64 target) {
    if (!falling_through_) note_branch(konst(Type::I8, 1));
    if (mode.single()) return finish(imm64(target));
    b.jump(target);
    ended_ = true;
}

void Lifter::branch(Value cond, u64 target) {
    note_branch(cond);
    if (mode.single()) return finish(b.select(cond, imm64(target), imm64(next)));
    b.branch(cond, target, next);
    ended_ = true;
}

void Lifter::jump_indirect(Value target, jit::ir::JumpHint hint) {
    const Value rip = zext64(target);
    note_branch(konst(Type::I8, 1));
    if (mode.single()) return finish(rip);
    b.jump_indirect(rip, hint);
    ended_ = true;
}

void Lifter::leave_next() { finish(imm64(next)); }

void Lifter::leave(LeaveReason why) {
    b.leave(why);
    ended_ = true;
}

void Lifter::continue_in_mode() {
    if (mode.single()) return leave_next();
    call(HelperId::continue_at, {imm64(next)});
}

void Lifter::fall_through(u64 at) {
    falling_through_ = true;
    if (!shadow_open_) return jump(at);
    set(offsetof(State, sti_shadow), konst(Type::I8, 1));
    finish(imm64(at));
}

}  // namespace tandem::cpu::x86

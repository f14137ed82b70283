// Guest memory accesses: the soft-TLB check inline (frame.h), everything else out of line.
#include "jit/baseline/compiler.h"
#include "jit/runtime/line_marks.h"
#include "jit/runtime/slow_paths.h"

namespace tandem::jit::baseline {

using ir::Inst;
using ir::MemFlags;
using ir::Op;
using ir::Type;
using namespace asmjit;

namespace {

x86::Mem at(Reg base, Reg host, i32 displacement, Type t) {
    return x86::ptr(gp64(base), gp64(host), 0, displacement, ir::size_of(t));
}

}  // namespace

Compiler::Address Compiler::address(const Inst& inst) {
    Value base = inst.args[0];
    u64 displacement = inst.imm;
    if (const Inst& sum = inst_of(base); sum.op == Op::Add && regs_.info(base).skip) {  // absorbed: see Analysis::can_fold
        base = sum.args[0];
        displacement += inst_of(sum.args[1]).imm;
    }
    u64 constant = 0;
    if (regs_.constant(base, constant)) {
        const Reg r = regs_.temp();
        code_.mov(gp64(r), static_cast<i64>(constant + displacement));
        return {r, 0};
    }
    const Reg b = regs_.use(base);
    if (fits_i32(displacement) && fits_i32(displacement + 32)) return {b, static_cast<i32>(displacement)};
    const Reg r = regs_.temp();
    code_.mov(gp64(r), static_cast<i64>(displacement));
    code_.add(gp64(r), gp64(b));
    return {r, 0};
}

// The bytes that an access touches, relative to a value that other accesses' addresses may also be made from.
bool Compiler::span_of(const Inst& inst, Span& out) const {
    constexpr i64 kLimit = i64{1} << 30;
    Value v = regs_.root(inst.args[0]);
    i64 displacement = static_cast<i64>(inst.imm);
    while (inst_of(v).op == Op::Add && is_const(*block_, inst_of(v).args[1]) && type_of(v) == Type::I64) {
        if (displacement < -kLimit || displacement > kLimit) return false;
        const i64 imm = static_cast<i64>(inst_of(inst_of(v).args[1]).imm);
        if (imm < -kLimit || imm > kLimit) return false;
        displacement += imm;
        v = regs_.root(inst_of(v).args[0]);
    }
    const u32 size = ir::size_of(inst.op == Op::Store ? type_of(inst.args[1]) : inst.type);
    out = {v, displacement, displacement + static_cast<i64>(size) - 1};
    return inst_of(v).op != Op::Const && displacement >= -kLimit && displacement <= kLimit;
}

// Whether a load or store that follows soon is likely to be on the same page, so that keeping what is known pays.
bool Compiler::used_again(const Span& span, u32 mmu, bool writable) const {
    constexpr size_t kWindow = 32;
    constexpr i64 kNear = 1024;
    const size_t end = std::min(block_->insts.size(), size_t{now_} + kWindow);
    for (size_t n = size_t{now_} + 1; n < end; ++n) {
        const Inst& i = block_->insts[n];
        if (i.op == Op::Call) return false;
        if ((i.op != Op::Load && i.op != Op::Store) || (i.aux & MemFlags::kMmuMask) != mmu) continue;
        Span other;
        if ((i.op == Op::Store && !writable) || !span_of(i, other) || other.root != span.root) continue;
        if (other.low - span.low < kNear && span.low - other.low < kNear) return true;
    }
    return false;
}

// Jumps to the slow path, which finds the state as it is here.
void Compiler::slow_when(SlowAccess& access, Cc condition) {
    access.dirty_begin = static_cast<u32>(dirty_.size());
    regs_.snapshot_dirty(dirty_);
    access.dirty_end = static_cast<u32>(dirty_.size());
    access.vectors = regs_.upper_halves() ? VectorsKept::Ymm : regs_.vectors_live() ? VectorsKept::Xmm : VectorsKept::None;
    access.store_pc = pc_pending_;
    access.pc = pc_;
    access.jump = code_.jump(condition);
}

// Emits the check for an access of `type`; afterwards access.result holds what to add to the guest address (`host`, if the
// caller gave one and it is not kept for later accesses).
Compiler::SlowAccess Compiler::translate(const Inst& inst, Type type, bool write, Reg host) {
    SlowAccess access;
    access.type = type;
    access.mem_flags = inst.aux;
    const bool for_write = write || (inst.aux & MemFlags::kForWrite) != 0;
    const u32 mmu = inst.aux & MemFlags::kMmuMask;
    Span span;
    const bool spanned = !ir::is_masked_access(inst.op) && span_of(inst, span) && (inst.aux & MemFlags::kAligned) == 0;
    if (spanned && regs_.has_pair() && memo_.span.root == span.root && memo_.mmu == mmu && (memo_.writable || !for_write)) {
        regs_.lock_pair();
        access.address = address(inst);
        if (check_again(access, span, for_write)) return access;
    } else {
        access.address = address(inst);
    }
    const bool plain = (inst.op == Op::Load || inst.op == Op::Store) && (inst.aux & MemFlags::kExclusive) == 0;
    const bool keep = spanned && plain && used_again(span, mmu, for_write);
    if (keep) regs_.drop_pair();
    access.scratch = regs_.temp();
    if (keep || host == kNoReg) host = regs_.temp();
    check_page(access, for_write, host);
    access.result = keep ? access.scratch : host;
    code_.op(Opcode::Load, true, access.result, access.scratch, static_cast<i32>(offsetof(TlbEntry, addend)));
    if (keep) {
        memo_ = {host, access.scratch, span, mmu, for_write};
        access.forget = host;
        regs_.keep_pair(host, access.scratch);
    }
    return access;
}

// The check when the page may be the one that was found last. False: nothing emitted, it cannot be told from that.
bool Compiler::check_again(SlowAccess& access, const Span& span, bool for_write) {
    Span& known = memo_.span;
    const bool above = span.low >= known.low, below = span.high <= known.high;
    if ((!above && !below) || for_write > memo_.writable) return false;
    access.scratch = regs_.temp();
    access.result = memo_.host;
    const auto [base, displacement] = access.address;
    if (above && below) {
        code_.cmp(gp64(memo_.page), -1);
        slow_when(access, Cc::E);
        return true;
    }
    // One end of the access is on the known page; the other one decides.
    const i32 far = displacement + (above ? static_cast<i32>(span.high - span.low) : 0);
    code_.op(Opcode::Lea, true, access.scratch, base, far);
    code_.and_imm(true, access.scratch, static_cast<i32>(kPageMask));
    code_.op(Opcode::Cmp, true, access.scratch, memo_.page);
    slow_when(access, Cc::NE);
    (above ? known.high : known.low) = above ? span.high : span.low;
    access.forget = memo_.page;
    return true;
}

// The whole check: access.scratch becomes the TLB entry, `host` the page of the access's last byte.
void Compiler::check_page(SlowAccess& access, bool for_write, Reg host) {
    const auto [base, displacement] = access.address;
    const i32 size = static_cast<i32>(ir::size_of(access.type));
    const Reg entry = access.scratch;
    const i32 view =
        TANDEM_HEADER(tlb) + static_cast<i32>((access.mem_flags & MemFlags::kMmuMask) % kMmuModes * sizeof(TlbView));
    constexpr u8 kEntryShift = 7;  // page number times sizeof(TlbEntry)
    static_assert(kPageBits - kEntryShift == 5 && sizeof(TlbEntry) == 1u << 5);
    if (displacement == 0 && host_.bmi2) {
        code_.rorx(gp64(entry), gp64(base), kEntryShift);  // what is rotated in at the top, the mask takes away
    } else {
        code_.op(Opcode::Lea, true, entry, base, displacement);
        code_.shr_imm(true, entry, kEntryShift);
    }
    code_.op(Opcode::And, true, entry, kRbp, view + static_cast<i32>(offsetof(TlbView, mask_bytes)));
    code_.op(Opcode::Add, true, entry, kRbp, view + static_cast<i32>(offsetof(TlbView, entries)));
    const bool aligned = (access.mem_flags & MemFlags::kAligned) != 0 && size > 1;
    const i32 reach = displacement + (aligned ? 0 : size - 1);
    if (reach == 0) {
        code_.op(Opcode::Load, true, host, base);
    } else {
        code_.op(Opcode::Lea, true, host, base, reach);
    }
    if (aligned) {
        code_.test(gp_exact(host, Type::I8), size - 1);
        access.jump_misaligned = code_.jump(Cc::NE);
    }
    code_.and_imm(true, host, static_cast<i32>(kPageMask));
    const size_t tag = for_write ? offsetof(TlbEntry, write_tag) : offsetof(TlbEntry, read_tag);
    code_.op(Opcode::Cmp, true, host, entry, static_cast<i32>(tag));
    slow_when(access, Cc::NE);
}

void Compiler::finish_access(SlowAccess& access) {
    access.resume = code_.position();
    slow_.push_back(access);
}

// Registers for the checks below, taken before translate() looks where everything is.
Compiler::MarkRegisters Compiler::mark_registers(const Inst& inst) {
    if ((inst.aux & (MemFlags::kExclusive | MemFlags::kClearsMarks)) == 0) return {};
    const Reg cell = regs_.temp();
    return {cell, regs_.temp()};
}

// regs.cell becomes the address of the access's cell (jit/runtime/line_marks.h).
void Compiler::find_cell(const SlowAccess& access, const MarkRegisters& regs) {
    const Reg cell = regs.cell, other = regs.other;
    code_.lea(gp64(cell), x86::ptr(gp64(access.address.base), gp64(access.result), 0, access.address.displacement));
    code_.op(Opcode::Load, true, other, cell);
    code_.shr_imm(true, other, LineMarks::kCellBits);
    code_.xor_(gp32(cell), gp32(other));
    code_.and_imm(false, cell, static_cast<i32>(LineMarks::kOffsetMask));
    code_.op(Opcode::Add, true, cell, kRbp, TANDEM_HEADER(line_marks));
}

// On the slow path unless the line has this vCPU's mark.
void Compiler::require_mark(SlowAccess& access, const MarkRegisters& regs) {
    find_cell(access, regs);
    code_.op(Opcode::Load, false, regs.other, kRbp, TANDEM_HEADER(own_mark));
    code_.test(x86::ptr(gp64(regs.cell), 0, 4), gp32(regs.other));
    access.jump_marks = code_.jump(Cc::E);
}

// LineMarks::claim() of a line that has this vCPU's mark and no other, else on the slow path. `expected` is a copy of rax.
void Compiler::claim_line(SlowAccess& access, const MarkRegisters& regs, Reg expected) {
    find_cell(access, regs);
    code_.op(Opcode::Load, false, kRax, kRbp, TANDEM_HEADER(own_mark));
    code_.load_imm32(regs.other, LineMarks::kLocked);
    code_.lock().cmpxchg(x86::ptr(gp64(regs.cell), 0, 4), gp32(regs.other));
    access.jump_marks = code_.jump(Cc::NE);
    code_.op(Opcode::Load, true, kRax, expected);
}

// On the slow path when the line has another vCPU's mark, and the access takes marks away.
void Compiler::refuse_marks(SlowAccess& access, const MarkRegisters& regs) {
    if (regs.cell == kNoReg) return;
    find_cell(access, regs);
    code_.op(Opcode::Load, false, regs.other, kRbp, TANDEM_HEADER(other_marks));
    code_.test(x86::ptr(gp64(regs.cell), 0, 4), gp32(regs.other));
    access.jump_marks = code_.jump(Cc::NE);
}

void Compiler::load(Value v, const Inst& inst) {
    const Type t = inst.type;
    const Reg d = regs_.define(v);
    const MarkRegisters marks = mark_registers(inst);
    SlowAccess access = translate(inst, t, false, ir::is_vector(t) ? kNoReg : d);
    if (marks.cell != kNoReg) require_mark(access, marks);
    const Reg host = access.result;
    access.path = SlowPath::Load;
    access.result = d;
    const x86::Mem m = at(access.address.base, host, access.address.displacement, t);
    switch (t) {
        case Type::V128:
        case Type::V256: code_.load_vector(vec(d, t), m); break;
        case Type::I8:
        case Type::I16: code_.movzx(gp32(d), m); break;
        default: code_.mov(gp_op(d, t), m); break;
    }
    regs_.info(v).clean = !ir::is_vector(t) || code_.vex();
    finish_access(access);
}

void Compiler::store(const Inst& inst) {
    const Value value = inst.args[1];
    const Type t = type_of(value);
    u64 imm = 0;
    const bool constant = regs_.constant(value, imm) && (t != Type::I64 || fits_i32(imm));
    const Reg r = constant ? kNoReg : regs_.use(value);
    SlowAccess access = translate(inst, t, true, kNoReg);
    const x86::Mem m = at(access.address.base, access.result, access.address.displacement, t);
    access.path = SlowPath::Store;
    access.result = kNoReg;
    access.operand[0] = r;
    access.constant = constant;
    access.imm = imm;
    if (constant) {
        code_.mov(m, t == Type::I32 ? static_cast<i64>(static_cast<i32>(static_cast<u32>(imm))) : static_cast<i64>(imm));
    } else if (ir::is_vector(t)) {
        code_.store_vector(m, vec(r, t));
    } else {
        code_.mov(m, gp_exact(r, t));
    }
    finish_access(access);
}

// Exchange and add: the host's instructions leave the old value in the operand's register.
void Compiler::atomic(Value v, const Inst& inst) {
    const Type t = inst.type;
    const Reg operand = regs_.use(inst.args[1]);
    const Reg d = regs_.temp();
    const MarkRegisters marks = mark_registers(inst);
    SlowAccess access = translate(inst, t, true, kNoReg);
    refuse_marks(access, marks);
    const x86::Mem m = at(access.address.base, access.result, access.address.displacement, t);
    access.path = SlowPath::Atomic;
    access.atomic = static_cast<u8>(static_cast<unsigned>(inst.op) - static_cast<unsigned>(Op::AtomicXchg));
    access.operand[0] = operand;
    access.result = d;
    regs_.copy(d, operand, t);
    if (inst.op == Op::AtomicXchg) {
        code_.xchg(m, gp_exact(d, t));
    } else {
        code_.lock().xadd(m, gp_exact(d, t));
    }
    regs_.define_in(v, d);
    finish_access(access);
}

// And, or, exclusive or: one locked instruction when nobody wants the old value, else a loop.
void Compiler::atomic_loop(Value v, const Inst& inst) {
    namespace I = x86::Inst;
    const Type t = inst.type;
    constexpr InstId kIds[] = {I::kIdAnd, I::kIdOr, I::kIdXor};
    const InstId id = kIds[static_cast<unsigned>(inst.op) - static_cast<unsigned>(Op::AtomicAnd)];
    const bool wanted = regs_.info(v).uses != 0;
    if (wanted) regs_.claim(kRax);
    const Reg operand = regs_.use(inst.args[1]);
    const MarkRegisters marks = mark_registers(inst);
    SlowAccess access = translate(inst, t, true, kNoReg);
    refuse_marks(access, marks);
    const x86::Mem m = at(access.address.base, access.result, access.address.displacement, t);
    access.path = SlowPath::Atomic;
    access.atomic = static_cast<u8>(static_cast<unsigned>(inst.op) - static_cast<unsigned>(Op::AtomicXchg));
    access.operand[0] = operand;
    access.result = wanted ? Reg{kRax} : kNoReg;
    if (!wanted) {
        code_.lock();
        code_.emit(id, m, gp_exact(operand, t));
        finish_access(access);
        return;
    }
    const Reg result = access.scratch;
    code_.mov(gp_exact(kRax, t), m);
    const u32 again = code_.position();
    code_.mov(gp_op(result, t), gp_op(kRax, t));
    code_.emit(id, gp_op(result, t), gp_op(operand, t));
    code_.lock().cmpxchg(m, gp_exact(result, t));
    code_.jump_short_back(Cc::NE, again);
    regs_.define_in(v, kRax);
    finish_access(access);
}

void Compiler::atomic_cas(Value v, const Inst& inst) {
    const Type t = inst.type;
    regs_.claim_with(kRax, inst.args[1]);
    const Reg desired = regs_.use(inst.args[2]);
    const bool exclusive = (inst.aux & MemFlags::kExclusive) != 0;
    const Reg expected = exclusive ? regs_.temp() : Reg{kRax};
    if (exclusive) code_.op(Opcode::Load, true, expected, kRax);
    const MarkRegisters marks = mark_registers(inst);
    SlowAccess access = translate(inst, t, true, kNoReg);
    if (exclusive) {
        claim_line(access, marks, expected);
    } else {
        refuse_marks(access, marks);
    }
    const x86::Mem m = at(access.address.base, access.result, access.address.displacement, t);
    access.path = SlowPath::Atomic;
    access.atomic = static_cast<u8>(static_cast<unsigned>(inst.op) - static_cast<unsigned>(Op::AtomicXchg));
    access.operand[0] = expected;
    access.operand[1] = desired;
    access.result = kRax;
    code_.lock().cmpxchg(m, gp_exact(desired, t));
    if (exclusive) {  // LineMarks::release()
        code_.op(Opcode::Load, false, marks.other, kRbp, TANDEM_HEADER(own_mark));
        code_.op(Opcode::Store, false, marks.other, marks.cell, 0);
    }
    regs_.define_in(v, kRax);
    finish_access(access);
}

// On a page that is mapped the host's instruction does as the guest's would; what is not goes element by element.
void Compiler::mask_load(Value v, const Inst& inst) {
    if (!host_.avx) {
        unsupported_ = "host lacks AVX";
        return;
    }
    const Type t = inst.type;
    const Reg mask = regs_.use(inst.args[1]);
    const Reg d = regs_.define(v);
    SlowAccess access = translate(inst, t, false, kNoReg);
    access.path = SlowPath::Load;
    access.mask = mask;
    access.element = static_cast<u8>(ir::masked_element(inst.op));
    const x86::Mem m = at(access.address.base, access.result, access.address.displacement, t);
    access.result = d;
    code_.emit(access.element == 4 ? x86::Inst::kIdVmaskmovps : x86::Inst::kIdVmaskmovpd, vec(d, t), vec(mask, t), m);
    regs_.info(v).clean = true;
    finish_access(access);
}

void Compiler::mask_store(const Inst& inst) {
    if (!host_.avx) {
        unsupported_ = "host lacks AVX";
        return;
    }
    const Type t = type_of(inst.args[2]);
    const Reg mask = regs_.use(inst.args[1]);
    const Reg value = regs_.use(inst.args[2]);
    SlowAccess access = translate(inst, t, true, kNoReg);
    access.path = SlowPath::Store;
    access.mask = mask;
    access.element = static_cast<u8>(ir::masked_element(inst.op));
    const x86::Mem m = at(access.address.base, access.result, access.address.displacement, t);
    access.result = kNoReg;
    access.operand[0] = value;
    code_.emit(access.element == 4 ? x86::Inst::kIdVmaskmovps : x86::Inst::kIdVmaskmovpd, m, vec(mask, t), vec(value, t));
    finish_access(access);
}

// Every slot that was dirty there, from where its content was then. Nothing changes for the code that resumes.
void Compiler::emit_dirty_stores(u32 begin, u32 end, Reg scratch) {
    for (u32 n = begin; n < end; ++n) {
        const DirtySlot& d = dirty_[n];
        const x86::Mem m = frame(d.offset, ir::size_of(d.type));
        if (d.from == DirtySlot::From::Register) {
            if (ir::is_vector(d.type)) {
                code_.store_vector(m, vec(d.reg, d.type));
            } else if (d.type == Type::I64 || d.type == Type::I32) {
                code_.op(Opcode::Store, d.type == Type::I64, d.reg, kRbp, static_cast<i32>(d.offset));
            } else {
                code_.mov(m, gp_exact(d.reg, d.type));
            }
        } else if (d.from == DirtySlot::From::Constant) {
            if (d.type == Type::I32 || (d.type == Type::I64 && fits_i32(d.imm))) {
                code_.store_imm(d.type == Type::I64, kRbp, static_cast<i32>(d.offset),
                                static_cast<i32>(static_cast<u32>(d.imm)));
                continue;
            }
            code_.mov(gp64(scratch), static_cast<i64>(d.imm));
            code_.mov(m, gp_exact(scratch, d.type));
        } else {
            for (i32 part = 0; part < static_cast<i32>(ir::size_of(d.type)); part += 8) {
                const bool in_frame = d.from == DirtySlot::From::Frame;
                const Type t = ir::is_vector(d.type) ? Type::I64 : d.type;
                code_.mov(gp_exact(scratch, t), in_frame ? frame(d.where + part) : stack(d.where + part));
                code_.mov(frame(d.offset + static_cast<u32>(part)), gp_exact(scratch, t));
            }
        }
    }
}

void Compiler::emit_slow_access(const SlowAccess& access) {
    const Type t = access.type;
    const Reg scratch = access.scratch;
    code_.bind(access.jump);
    if (access.jump_misaligned != 0) code_.bind(access.jump_misaligned);
    if (access.jump_marks != 0) code_.bind(access.jump_marks);
    if (access.address.displacement != 0) {
        code_.op(Opcode::Lea, true, scratch, access.address.base, access.address.displacement);
        code_.op(Opcode::Store, true, scratch, kRsp, kArgumentArea);
    } else {
        code_.op(Opcode::Store, true, access.address.base, kRsp, kArgumentArea);
    }
    for (i32 n = 0; n < 2; ++n) {
        const Reg r = access.operand[n];
        const i32 to = kArgumentArea + 8 + n * 8;
        if (r == kNoReg) continue;
        if (t == Type::V256) {
            code_.store_vector(frame(TANDEM_HEADER(scratch[kScratchValue])), ymm(r));
        } else if (t == Type::V128) {
            code_.store_vector(stack(to), xmm(r));
        } else if (t == Type::I8 || t == Type::I16) {
            code_.movzx(gp32(scratch), gp_exact(r, t));
            code_.mov(stack(to), gp64(scratch));
        } else if (t == Type::I64) {
            code_.op(Opcode::Store, true, r, kRsp, to);
        } else {
            code_.op(Opcode::Load, false, scratch, r);
            code_.op(Opcode::Store, true, scratch, kRsp, to);
        }
    }
    if (access.mask != kNoReg) code_.store_vector(frame(TANDEM_HEADER(scratch[kScratchMask])), vec(access.mask, t));
    if (access.constant) {
        code_.mov(gp64(scratch), static_cast<i64>(access.imm));
        code_.mov(stack(kArgumentArea + 8), gp64(scratch));
    }
    emit_dirty_stores(access.dirty_begin, access.dirty_end, scratch);
    if (access.store_pc) store_pc(access.pc);
    code_.mov(stack(kArgumentArea + 24, 4),
              static_cast<i32>(
                  access_spec(access.mem_flags, ir::size_of(t), access.element != 0 ? access.element : access.atomic)));
    code_.call_outside(thunks_.slow[static_cast<unsigned>(access.path)][static_cast<unsigned>(access.vectors)]);
    if (access.result != kNoReg) {
        const x86::Mem result = frame(TANDEM_HEADER(scratch), ir::size_of(t));
        if (ir::is_vector(t)) {
            code_.load_vector(vec(access.result, t), result);
        } else if (t == Type::I8 || t == Type::I16) {
            code_.movzx(gp32(access.result), result);
        } else {
            code_.op(Opcode::Load, t == Type::I64, access.result, kRbp, TANDEM_HEADER(scratch));
        }
    }
    if (access.forget != kNoReg) code_.or_(gp64(access.forget), -1);
    code_.jump_back(access.resume);
}

}  // namespace tandem::jit::baseline

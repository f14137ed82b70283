#include "cpu/arm64/lift/lifter.h"

namespace tandem::cpu::arm64 {
namespace {

constexpr u32 kPcSlot = offsetof(State, pc);
constexpr u32 kPstateSlot = offsetof(State, pstate);
constexpr u32 kLimitSlot = offsetof(TranslateState, count_limit);

constexpr u32 counted_slot(Counted what) {
    return static_cast<u32>(offsetof(TranslateState, counted) + sizeof(u64) * static_cast<unsigned>(what));
}

}  // namespace

void Lifter::begin_instruction(u32 instruction, u64 at) {
    word = instruction;
    const bool first = pc == 0 && next == 0;
    if (!first) clear_btype();
    retire();
    retired_ = false;
    pc = at;
    next = at + 4;
    b.insn_start(pc, 4);
    if (first && mode.has(ModeBits::kCount)) {
        const Value near = b.icmp(Cond::Uge, get(Type::I64, counted_slot(Counted::Instruction)), get(Type::I64, kLimitSlot));
        call_if(near, HelperId::pmu_poll);
    }
    if (mode.has(ModeBits::kStepPending)) {
        call(HelperId::software_step);
    } else if (mode.has(ModeBits::kBreakpoints)) {
        call(HelperId::hardware_breakpoint);
    }
    if (mode.has(ModeBits::kIl)) return raise(static_cast<u32>(Ec::IllegalState), 0);
    if (!mode.has(ModeBits::kBti) || !first) return;
    const Value old = get(Type::I64, kPstateSlot);
    call_if(b.icmpi(Cond::Ne, b.andi(old, pstate::kBtype), 0), HelperId::branch_target, {imm32(word)});
    btype_open_ = true;
}

// --- Registers

Value Lifter::x(unsigned reg, Type t) { return reg == 31 ? b.konst(t, 0) : b.trunc(t, b.get(Type::I64, x_slot(reg))); }

Value Lifter::x_sp(unsigned reg, Type t) { return reg == 31 ? b.trunc(t, b.get(Type::I64, sp_slot())) : x(reg, t); }

void Lifter::set_x(unsigned reg, Value value) {
    if (reg != 31) b.set(x_slot(reg), zext64(value));
}

void Lifter::set_x_sp(unsigned reg, Value value) { b.set(reg == 31 ? sp_slot() : x_slot(reg), zext64(value)); }

// --- Memory

void Lifter::watch(const Address& a, unsigned bytes, u32 access, u32 flags) {
    if (!mode.has(ModeBits::kWatchpoints)) return;
    const bool unprivileged = (flags & MemFlags::kMmuMask) != mode.data_mmu();
    call(HelperId::watch_access, {flat(a), imm32(bytes), imm32(access | (unprivileged ? u32{kWatchUnprivileged} : 0))});
}

Value Lifter::load(Type t, const Address& a, u32 flags) {
    watch(a, jit::ir::size_of(t), (flags & MemFlags::kForWrite) != 0 ? kWatchStore : kWatchLoad, flags);
    const Value value = b.load(t, a.base, flags, a.disp);
    count(Counted::Load);
    return value;
}

void Lifter::store(const Address& a, Value value, u32 flags) {
    watch(a, jit::ir::size_of(b.type_of(value)), kWatchStore, flags);
    tells_others();
    b.store(a.base, value, flags, a.disp);
    count(Counted::Store);
}

Value Lifter::base_register(unsigned reg) {
    const Value base = x_sp(reg);
    if (reg == 31 && mode.has(ModeBits::kSpAlign)) {
        call_if(b.icmpi(Cond::Ne, b.andi(base, 15), 0), HelperId::raise_sp_alignment);
    }
    return base;
}

Addressing Lifter::unsigned_offset(unsigned log2_bytes) {
    return {{base_register(rn()), u64{field(21, 10)} << log2_bytes}, false, kNone};
}

Addressing Lifter::unscaled_offset() { return {{base_register(rn()), static_cast<u64>(sfield(20, 12))}, false, kNone}; }

Addressing Lifter::post_index() {
    const Value base = base_register(rn());
    return {{base, 0}, true, b.addi(base, static_cast<u64>(sfield(20, 12)))};
}

Addressing Lifter::pre_index() {
    const Value base = base_register(rn());
    const u64 offset = static_cast<u64>(sfield(20, 12));
    return {{base, offset}, true, b.addi(base, offset)};
}

Addressing Lifter::register_offset(unsigned log2_bytes) {
    Value offset = kNone;
    switch (field(15, 13)) {
        case 2: offset = zext64(x(rm(), Type::I32)); break;
        case 6: offset = b.sext(Type::I64, x(rm(), Type::I32)); break;
        default: offset = x(rm()); break;
    }
    if (is(12) && log2_bytes != 0) offset = b.shli(offset, static_cast<u8>(log2_bytes));
    return {{b.add(base_register(rn()), offset), 0}, false, kNone};
}

Addressing Lifter::pair(unsigned log2_bytes) {
    const Value base = base_register(rn());
    const u64 offset = static_cast<u64>(sfield(21, 15)) << log2_bytes;
    switch (field(24, 23)) {
        case 1: return {{base, 0}, true, b.addi(base, offset)};
        case 3: return {{base, offset}, true, b.addi(base, offset)};
        default: return {{base, offset}, false, kNone};
    }
}

void Lifter::write_back(const Addressing& a) {
    if (a.write_back) set_x_sp(rn(), a.new_base);
}

// --- Helpers and exceptions

Value Lifter::call(HelperId id, std::initializer_list<Value> args) {
    const jit::Helper& h = helper(id);
    if ((h.flags & jit::kWritesState) != 0) {
        flags_ = {};
        cc_op_known_ = false;
    }
    return b.call(static_cast<u32>(id), h.result, args);
}

void Lifter::check_pauth_trap() {
    if (mode.has(ModeBits::kPauthTrap)) call(HelperId::raise_pauth_trap);
}

void Lifter::undefined() { raise(static_cast<u32>(Ec::Unknown), 0); }

void Lifter::raise(u32 ec, u32 iss) {
    retired_ = true;  // it is not
    call(HelperId::raise_exception, {imm32(ec), imm32(iss)});
    leave();
}

// --- Ends of the block

// The instruction was the only one of its block and is done (DDI 0487, D2.11: SSAdvance).
// PSTATE.BTYPE is 0 after any instruction but an indirect branch; a fault of the first one still shows it.
void Lifter::clear_btype() {
    if (!btype_open_) return;
    btype_open_ = false;
    set(kPstateSlot, b.andi(get(Type::I64, kPstateSlot), ~pstate::kBtype));
}

void Lifter::set_btype(Value type) {
    btype_open_ = false;
    const Value rest = b.andi(get(Type::I64, kPstateSlot), ~pstate::kBtype);
    set(kPstateSlot, b.or_(rest, b.shli(type, pstate::kBtypeShift)));
}

void Lifter::count(Counted what, unsigned many) {
    if (!mode.has(ModeBits::kCount)) return;
    const u32 slot = counted_slot(what);
    set(slot, b.addi(get(Type::I64, slot), many));
}

void Lifter::tells_others() {
    if (!mode.has(ModeBits::kShared) || std::exchange(told_, true)) return;
    set(offsetof(TranslateState, exclusive_told), imm(Type::I8, 1));
}

void Lifter::tells_nothing_yet() {
    told_ = false;
    set(offsetof(TranslateState, exclusive_told), imm(Type::I8, 0));
}

void Lifter::retire() {
    if (!retired_) count(Counted::Instruction);
    retired_ = true;
}

void Lifter::complete() {
    clear_btype();
    retire();
    if (!mode.has(ModeBits::kStepActive)) return;
    set(kPstateSlot, b.andi(get(Type::I64, kPstateSlot), ~pstate::kSs));
    const bool load_exclusive = (word & 0x3fc00000) == 0x08400000;
    set(offsetof(TranslateState, stepped), imm32(load_exclusive ? kStepped | kSteppedExclusive : u32{kStepped}));
}

void Lifter::jump(u64 target) {
    clear_btype();
    retire();
    if (mode.single()) {
        set(kPcSlot, imm64(target));
        return leave();
    }
    b.jump(target);
    ended_ = true;
}

void Lifter::branch(Value cond, u64 target) {
    clear_btype();
    count(Counted::Branch);
    retire();
    if (mode.single()) {
        set(kPcSlot, b.select(cond, imm64(target), imm64(next)));
        return leave();
    }
    b.branch(cond, target, next);
    ended_ = true;
}

Value Lifter::branch_address(Value target) {
    const bool low = mode.has(ModeBits::kTbi0);
    const bool high = mode.has(ModeBits::kTbi1);
    if (!mode.has(ModeBits::kTwoRanges)) return low ? b.andi(target, mask(56)) : target;
    if (!low && !high) return target;
    const Value top = b.shli(target, 8);
    if (low && high) return b.sari(top, 8);
    const Value upper = b.sari(top, 63);  // bit 55 everywhere
    if (low) return b.and_(target, b.or_(upper, imm64(mask(56))));
    return b.or_(target, b.and_(upper, imm64(~mask(56))));
}

void Lifter::jump_indirect(Value target, jit::ir::JumpHint hint) {
    const Value to = branch_address(target);
    clear_btype();
    count(Counted::Branch);
    retire();
    if (mode.single()) {
        set(kPcSlot, to);
        return leave();
    }
    b.jump_indirect(to, hint);
    ended_ = true;
}

void Lifter::leave_next() {
    set(kPcSlot, imm64(next));
    leave();
}

void Lifter::leave(LeaveReason why) {
    complete();
    b.leave(why);
    ended_ = true;
}

void Lifter::continue_in_mode() {
    if (mode.single()) return leave_next();
    retire();
    call(HelperId::continue_at, {imm64(next)});
}

void Lifter::fall_through(u64 at) { jump(at); }

}  // namespace tandem::cpu::arm64

// System instructions: operands are fetched and results stored here, the rest is system/system.h.
#include <array>

#include "cpu/x86/lift/lifter.h"

namespace tandem::cpu::x86 {
namespace {

// arg of the tables below: a HelperId, and what follows the call.
enum After : u32 { kGoOn = 0, kEndBlock = 1u << 16, kSameMode = 2u << 16, kAfterMask = 3u << 16 };

HelperId helper_of(const Lifter& l) { return static_cast<HelperId>(l.arg & 0xffff); }
void after(Lifter& l) {
    switch (l.arg & kAfterMask) {
        case kEndBlock: return l.leave_next();
        case kSameMode: return l.continue_in_mode();
        default: return;
    }
}

void lift_plain(Lifter& l) {
    l.call(helper_of(l));
    after(l);
}

// CLI and STI where IOPL allows them outright.
void lift_cli(Lifter& l) {
    if (!l.mode.has(ModeBits::kIoplOk)) return lift_plain(l);
    const Value flags = l.get(Type::I64, offsetof(State, rflags));
    l.set(offsetof(State, rflags), l.b.andi(flags, ~eflags::IF));
}

void lift_sti(Lifter& l) {
    // A guest's #VMEXIT tells of the shadow, by the mode of the block.
    if (!l.mode.has(ModeBits::kIoplOk) || l.mode.single() || l.mode.has(ModeBits::kSvmGuest)) return lift_plain(l);
    l.call(HelperId::enable_interrupts, {l.imm64(l.next)});
    l.open_shadow();
}

// One 16-bit selector or machine-status word.
void lift_word(Lifter& l) {
    l.call(helper_of(l), {l.b.zext(Type::I32, l.b.trunc(Type::I16, l.read(0)))});
    after(l);
}

void lift_verify(Lifter& l) {
    const Value selector = l.b.zext(Type::I32, l.read(0));
    l.call(HelperId::verify_segment, {selector, l.imm32(l.arg)});
}

// LAR, LSL: the destination and ZF = 1 only for a selector that passes.
void lift_inspect(Lifter& l) {
    const Value selector = l.b.zext(Type::I32, l.b.trunc(Type::I16, l.read(1)));
    l.call(helper_of(l), {selector});
    const Value passed = l.b.icmpi(Cond::Ne, l.scratch(1), 0);
    l.write(0, l.b.select(passed, l.b.trunc(l.type(0), l.scratch(0)), l.read(0)));
    l.merge_flags(eflags::ZF, l.at_flag(eflags::ZF, passed));
}

void lift_arpl(Lifter& l) {
    const Value source = l.b.zext(Type::I32, l.read(1));
    const Value destination = l.b.zext(Type::I32, l.read(0));
    l.call(HelperId::arpl, {destination, source});
    const Value adjusted = l.b.icmpi(Cond::Ne, l.scratch(1), 0);
    l.write(0, l.b.trunc(Type::I16, l.scratch(0)));
    l.merge_flags(eflags::ZF, l.at_flag(eflags::ZF, adjusted));
}

// SLDT, STR, SMSW. arg: SystemStore.
void lift_store_system(Lifter& l) {
    l.call(HelperId::store_system, {l.imm32(l.arg)});
    l.write(0, l.b.trunc(l.type(0), l.scratch(0)));
}

// LGDT, LIDT, SGDT, SIDT: a 16-bit limit and a base of 4 bytes, or 8 in 64-bit mode. arg: HelperId, bit 16 for the IDT.
void lift_table(Lifter& l) {
    const u32 bytes = l.mode.is64() ? 8 : l.insn.operand_size;
    const Value va = l.linear(0, l.mode.is64() ? 10 : 6);
    l.call(helper_of(l), {l.imm32(l.arg >> 16), va, l.imm32(bytes)});
}

// MOV_CR, MOV_DR. arg: 0 control, 1 debug.
void lift_mov_control(Lifter& l) {
    const bool debug = l.arg != 0;
    if (l.op(0).kind == OperandKind::Gpr) {
        l.call(debug ? HelperId::mov_from_dr : HelperId::mov_from_cr, {l.imm32(l.op(1).reg)});
        return l.write(0, l.b.trunc(l.type(0), l.scratch(0)));
    }
    const Value value = l.zext64(l.read(1));
    l.call(debug ? HelperId::mov_to_dr : HelperId::mov_to_cr, {l.imm32(l.op(0).reg), value});
    l.leave_next();
}

void lift_invlpg(Lifter& l) {
    l.call(HelperId::invlpg, {l.linear(0, 1)});
    l.leave_next();
}

void lift_invpcid(Lifter& l) {
    const Value descriptor = l.linear(1, 16);
    l.call(HelperId::invpcid, {l.zext64(l.read(0)), descriptor});
    l.leave_next();
}

constexpr u32 base_slot(unsigned seg) {
    return static_cast<u32>(offsetof(State, seg) + seg * sizeof(Segment) + offsetof(Segment, base));
}

// RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE. arg: the segment.
void lift_read_base(Lifter& l) {
    if (!l.mode.has(ModeBits::kFsGsBase)) return l.raise(kUD);
    l.write(0, l.b.trunc(l.type(0), l.get(Type::I64, base_slot(l.arg))));
}
void lift_write_base(Lifter& l) {
    if (!l.mode.has(ModeBits::kFsGsBase)) return l.raise(kUD);
    l.call(HelperId::write_segment_base, {l.imm32(l.arg), l.zext64(l.read(0))});
}

// The port of IN and OUT: an immediate byte or DX.
Value port(Lifter& l, unsigned operand) {
    const Operand& o = l.op(operand);
    if (o.kind == OperandKind::Imm) return l.imm32(static_cast<u64>(o.imm) & 0xff);
    return l.b.zext(Type::I32, l.gpr(RDX, 2));
}

// Its form beside it: the size, and whether it is an immediate byte.
Value port_spec(Lifter& l, unsigned operand, unsigned size) {
    return l.imm32(l.op(operand).kind == OperandKind::Imm ? size | kPortImmediate : size);
}

void lift_in(Lifter& l) {
    l.call(HelperId::port_in, {port(l, 1), port_spec(l, 1, l.op(0).size)});
    l.write(0, l.b.trunc(l.type(0), l.scratch(0)));
}

void lift_out(Lifter& l) {
    l.call(HelperId::port_out, {port(l, 0), port_spec(l, 0, l.op(1).size), l.b.zext(Type::I32, l.read(1))});
}

void lift_rdpid(Lifter& l) {
    const Value id = l.get(Type::I64, static_cast<u32>(offsetof(State, msr) + offsetof(Msrs, tsc_aux)));
    l.write(0, l.b.zext_or_trunc(l.type(0), l.b.andi(id, mask(32))));
}

// MONITOR checks its address as a byte load; MWAIT may return at once.
void lift_monitor(Lifter& l) {
    l.load(Type::I8, l.segmented(l.insn.mem.segment, l.gpr(RAX, l.insn.address_size), 1, false));
}

void lift_fence(Lifter& l) { l.b.fence(); }
void lift_nop(Lifter&) {}

constexpr u32 go_on(HelperId id) { return static_cast<u32>(id) | kGoOn; }
constexpr u32 end_block(HelperId id) { return static_cast<u32>(id) | kEndBlock; }
constexpr u32 same_mode(HelperId id) { return static_cast<u32>(id) | kSameMode; }
constexpr u32 table(HelperId id, u32 which) { return static_cast<u32>(id) | which << 16; }

constexpr auto kRows = std::to_array<LiftRow>({
    {Opcode::CLI, lift_cli, go_on(HelperId::cli)},
    {Opcode::STI, lift_sti, end_block(HelperId::sti)},
    {Opcode::CLAC, lift_plain, end_block(HelperId::clac)},
    {Opcode::STAC, lift_plain, end_block(HelperId::stac)},
    {Opcode::CLTS, lift_plain, same_mode(HelperId::clts)},
    {Opcode::CPUID, lift_plain, go_on(HelperId::cpuid)},
    {Opcode::RDTSC, lift_plain, go_on(HelperId::rdtsc)},
    {Opcode::RDTSCP, lift_plain, go_on(HelperId::rdtscp)},
    {Opcode::RDPMC, lift_plain, go_on(HelperId::rdpmc)},
    {Opcode::RDMSR, lift_plain, go_on(HelperId::rdmsr)},
    {Opcode::WRMSR, lift_plain, same_mode(HelperId::wrmsr)},
    {Opcode::RDPKRU, lift_plain, go_on(HelperId::rdpkru)},
    {Opcode::WRPKRU, lift_plain, go_on(HelperId::wrpkru)},
    {Opcode::XGETBV, lift_plain, go_on(HelperId::xgetbv)},
    {Opcode::XSETBV, lift_plain, end_block(HelperId::xsetbv)},
    {Opcode::SWAPGS, lift_plain, go_on(HelperId::swapgs)},
    {Opcode::INVD, lift_plain, go_on(HelperId::privileged)},
    {Opcode::WBINVD, lift_plain, go_on(HelperId::privileged)},
    {Opcode::WBNOINVD, lift_plain, go_on(HelperId::privileged)},
    {Opcode::VMCALL, lift_plain, same_mode(HelperId::hypercall)},
    {Opcode::VMMCALL, lift_plain, same_mode(HelperId::hypercall)},
    {Opcode::LLDT, lift_word, go_on(HelperId::lldt)},
    {Opcode::LTR, lift_word, go_on(HelperId::ltr)},
    {Opcode::LMSW, lift_word, end_block(HelperId::lmsw)},
    {Opcode::VERR, lift_verify, 0},
    {Opcode::VERW, lift_verify, 1},
    {Opcode::LAR, lift_inspect, go_on(HelperId::lar)},
    {Opcode::LSL, lift_inspect, go_on(HelperId::lsl)},
    {Opcode::ARPL, lift_arpl},
    {Opcode::SLDT, lift_store_system, static_cast<u32>(SystemStore::Sldt)},
    {Opcode::STR, lift_store_system, static_cast<u32>(SystemStore::Str)},
    {Opcode::SMSW, lift_store_system, static_cast<u32>(SystemStore::Smsw)},
    {Opcode::LGDT, lift_table, table(HelperId::load_table, 0)},
    {Opcode::LIDT, lift_table, table(HelperId::load_table, 1)},
    {Opcode::SGDT, lift_table, table(HelperId::store_table, 0)},
    {Opcode::SIDT, lift_table, table(HelperId::store_table, 1)},
    {Opcode::MOV_CR, lift_mov_control, 0},
    {Opcode::MOV_DR, lift_mov_control, 1},
    {Opcode::INVLPG, lift_invlpg},
    {Opcode::INVPCID, lift_invpcid},
    {Opcode::RDFSBASE, lift_read_base, FS},
    {Opcode::RDGSBASE, lift_read_base, GS},
    {Opcode::WRFSBASE, lift_write_base, FS},
    {Opcode::WRGSBASE, lift_write_base, GS},
    {Opcode::IN, lift_in},
    {Opcode::OUT, lift_out},
    {Opcode::RDPID, lift_rdpid},
    {Opcode::MONITOR, lift_monitor},
    {Opcode::MWAIT, lift_nop},
    {Opcode::LFENCE, lift_fence},
    {Opcode::MFENCE, lift_fence},
    {Opcode::SFENCE, lift_fence},
    {Opcode::SERIALIZE, lift_fence},
});

}  // namespace

std::span<const LiftRow> system_rows() { return kRows; }

}  // namespace tandem::cpu::x86

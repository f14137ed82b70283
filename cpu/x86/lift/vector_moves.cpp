// SSE data movement, element insertion and extraction, string comparisons, and the instructions on SSE and extended state.
#include "cpu/x86/fpu/strings.h"
#include "cpu/x86/fpu/xsave.h"
#include "cpu/x86/lift/mmx.h"
#include "cpu/x86/lift/vector.h"

namespace tandem::cpu::x86 {

namespace {

unsigned dest(const Lifter& l) { return l.op(0).reg; }

// All 128 or 256 bits, either way. Non-temporal hints have no effect here.
void move_all(Lifter& l) {
    const Value v = vector_operand(l, 1);
    is_xmm(l, 0) ? set_vec(l, dest(l), v) : store_operand(l, 0, v);
}

// MOVSS, MOVSD: register forms merge, loads clear the rest. arg: the merging operation.
void move_scalar(Lifter& l) {
    const unsigned last = l.insn.operand_count - 1u;
    const Value v = vector_operand(l, last);
    if (!is_xmm(l, 0)) return store_operand(l, 0, l.b.v_extract(l.type(0), v, 0));
    set_vec(l, dest(l), is_xmm(l, last) ? l.b.v_op(static_cast<Op>(l.arg), {first_source(l), v}) : v);
}

// MOVD, MOVQ: zero-extended into a register; the low bits out of one.
void move_low(Lifter& l) {
    if (is_mm(l, 0) || is_mm(l, 1)) return mmx_move_doubleword(l);
    if (!is_xmm(l, 1)) return set_vec(l, dest(l), vector_operand(l, 1));
    const Value v = l.b.v_extract(is_xmm(l, 0) ? Type::I64 : l.type(0), xmm(l, l.op(1).reg), 0);
    if (is_xmm(l, 0)) return set_vec(l, dest(l), l.b.v_from(v));
    l.is_mem(0) ? store_operand(l, 0, v) : l.set_gpr(dest(l), v);
}

// MOVLPS, MOVHPS and the PD forms. arg: the 64-bit lane.
void move_half(Lifter& l) {
    if (!is_xmm(l, 0)) return store_operand(l, 0, l.b.v_extract(Type::I64, xmm(l, l.op(1).reg), l.arg));
    const Value v = load_operand(l, second_index(l));
    set_vec(l, dest(l), l.b.v_insert(first_source(l), v, l.arg));
}

// MOVHLPS, MOVLHPS.
void move_across(Lifter& l) {
    const Value src = second_source(l);
    set_vec(l, dest(l), l.b.v_op(static_cast<Op>(l.arg), {first_source(l), src}));
}

// PINSRB .. PINSRQ, PEXTRB .. PEXTRQ, EXTRACTPS. arg: bytes of the element.
u32 lane_of(const Lifter& l) { return last_imm8(l) & (16 / l.arg - 1); }

void insert(Lifter& l) {
    if (is_mm(l, 0)) return mmx_insert_word(l);
    const unsigned i = second_index(l);
    const Value v = l.is_mem(i) ? load_operand(l, i) : l.gpr(l.op(i).reg, l.arg);
    set_vec(l, dest(l), l.b.v_insert(first_source(l), v, lane_of(l)));
}

void extract(Lifter& l) {
    if (is_mm(l, 1)) return mmx_extract_word(l);
    const Value v = l.b.v_extract(jit::ir::int_type(l.arg), xmm(l, l.op(1).reg), lane_of(l));
    if (l.is_mem(0)) return store_operand(l, 0, v);
    l.set_gpr(dest(l), l.arg < 4 ? l.b.zext(Type::I32, v) : v);
}

void insertps(Lifter& l) {
    const Value src = second_source(l);
    const u8 control = l.is_mem(second_index(l)) ? last_imm8(l) & 0x3f : last_imm8(l);  // a memory operand has no COUNT_S
    set_vec(l, dest(l), l.b.v_op(Op::InsertPS, {first_source(l), src}, control));
}

// MASKMOVQ, MASKMOVDQU: to DS:rDI, or the overriding segment.
void masked_move(Lifter& l) {
    const bool mmx = is_mm(l, 0);
    if (mmx) mmx_wait(l);
    const unsigned size = mmx ? 8 : 16;
    const unsigned segment = l.insn.segment_prefix == 0xff ? unsigned{DS} : l.insn.segment_prefix;
    const Value va = l.flat(l.segmented(segment, l.gpr(RDI, l.insn.address_size), size, true));
    l.set(scratch_vec_slot(0), vector_operand(l, 0));
    l.set(scratch_vec_slot(1), vector_operand(l, 1));
    l.call(HelperId::masked_store, {va, l.imm32(size | l.mode.data_mmu() << 8)});
    if (mmx) mmx_enter(l);
}

// PCMPxSTRx. arg: bit 0 explicit lengths, bit 1 the mask form.
void compare_string(Lifter& l) {
    const Value second = vector_operand(l, 1);
    l.set(scratch_vec_slot(0), xmm(l, dest(l)));
    l.set(scratch_vec_slot(1), second);
    const bool explicit_lengths = (l.arg & 1) != 0;
    const auto length = [&](unsigned reg) {
        if (!explicit_lengths) return l.imm64(0);
        return l.insn.operand_size == 8 ? l.gpr(reg, 8) : l.b.sext(Type::I64, l.gpr(reg, 4));
    };
    const Value control = l.imm32(imm8(l, 2) | (explicit_lengths ? 0x100 : 0));
    const Value first_length = length(RAX);
    const Value result = l.call(HelperId::compare_strings, {control, first_length, length(RDX)});
    if ((l.arg & 2) != 0) {
        set_vec(l, 0, l.get(Type::V128, scratch_vec_slot(2)));
    } else {
        l.set_gpr(RCX, l.b.trunc(Type::I32, l.b.shri(result, 32)));
    }
    l.set_flags(l.b.andi(result, mask(32)));
}

void load_mxcsr(Lifter& l) {
    const Value v = load_operand(l, 0);
    l.call(HelperId::ldmxcsr, {v});
    l.leave_next();
}

void store_mxcsr(Lifter& l) {
    const Value v = l.call(HelperId::stmxcsr);
    store_operand(l, 0, v);
}

// FXSAVE and the XSAVE family. arg: helper, form and what is checked, packed by state_arg().
struct StateArg {
    u32 value;
    [[nodiscard]] HelperId helper() const { return static_cast<HelperId>(value & 0xffff); }
    [[nodiscard]] XsaveForm form() const { return static_cast<XsaveForm>((value >> 16) & 3); }
    [[nodiscard]] bool extended() const { return bit(value, 18); }
    [[nodiscard]] bool restores() const { return bit(value, 19); }
};
enum StateFlags : u32 { kExtended = 1u << 18, kRestores = 1u << 19 };
constexpr u32 state_arg(HelperId helper, XsaveForm form, u32 flags) {
    return static_cast<u32>(helper) | static_cast<u32>(form) << 16 | flags;
}

void processor_state(Lifter& l) {
    const StateArg how{l.arg};
    if (how.extended() && !l.mode.has(ModeBits::kOsXsave)) return l.raise(kUD);
    const bool unavailable = l.mode.has(ModeBits::kTs) || (!how.extended() && l.mode.has(ModeBits::kEm));
    if (unavailable) return l.raise(kNM);
    const Value va = l.linear(0, 512);
    l.call(how.helper(), {l.imm32(XsaveSpec::make(how.form(), l.insn.rex_w(), l.mode.data_mmu()).value), va});
    if (how.restores()) l.leave_next();
}

constexpr u32 op(Op o) { return static_cast<u32>(o); }

constexpr LiftRow kRows[] = {
// A legacy instruction and its VEX twin.
#define BOTH(opcode, ...) \
    {Opcode::opcode, __VA_ARGS__}, { Opcode::V##opcode, __VA_ARGS__ }
    BOTH(MOVAPS, move_all),
    BOTH(MOVAPD, move_all),
    BOTH(MOVUPS, move_all),
    BOTH(MOVUPD, move_all),
    BOTH(MOVDQA, move_all),
    BOTH(MOVDQU, move_all),
    BOTH(LDDQU, move_all),
    BOTH(MOVNTPS, move_all),
    BOTH(MOVNTPD, move_all),
    BOTH(MOVNTDQ, move_all),
    BOTH(MOVNTDQA, move_all),
    BOTH(MOVSS, move_scalar, op(Op::MovSS)),
    BOTH(MOVSD, move_scalar, op(Op::MovSD)),
    BOTH(MOVD, move_low),
    BOTH(MOVQ, move_low),
    BOTH(MOVLPS, move_half, 0),
    BOTH(MOVLPD, move_half, 0),
    BOTH(MOVHPS, move_half, 1),
    BOTH(MOVHPD, move_half, 1),
    BOTH(MOVHLPS, move_across, op(Op::MovHLPS)),
    BOTH(MOVLHPS, move_across, op(Op::MovLHPS)),
    BOTH(PINSRB, insert, 1),
    BOTH(PINSRW, insert, 2),
    BOTH(PINSRD, insert, 4),
    BOTH(PINSRQ, insert, 8),
    BOTH(PEXTRB, extract, 1),
    BOTH(PEXTRW, extract, 2),
    BOTH(PEXTRD, extract, 4),
    BOTH(PEXTRQ, extract, 8),
    BOTH(EXTRACTPS, extract, 4),
    BOTH(INSERTPS, insertps),
    {Opcode::MASKMOVQ, masked_move},
    BOTH(MASKMOVDQU, masked_move),
    BOTH(PCMPISTRI, compare_string, 0),
    BOTH(PCMPESTRI, compare_string, 1),
    BOTH(PCMPISTRM, compare_string, 2),
    BOTH(PCMPESTRM, compare_string, 3),
    BOTH(LDMXCSR, load_mxcsr),
    BOTH(STMXCSR, store_mxcsr),
#undef BOTH
    {Opcode::FXSAVE, processor_state, state_arg(HelperId::fxsave, XsaveForm::Xsave, 0)},
    {Opcode::FXRSTOR, processor_state, state_arg(HelperId::fxrstor, XsaveForm::Xsave, kRestores)},
    {Opcode::XSAVE, processor_state, state_arg(HelperId::xsave, XsaveForm::Xsave, kExtended)},
    {Opcode::XSAVEOPT, processor_state, state_arg(HelperId::xsave, XsaveForm::Xsaveopt, kExtended)},
    {Opcode::XSAVEC, processor_state, state_arg(HelperId::xsave, XsaveForm::Xsavec, kExtended)},
    {Opcode::XSAVES, processor_state, state_arg(HelperId::xsave, XsaveForm::Xsaves, kExtended)},
    {Opcode::XRSTOR, processor_state, state_arg(HelperId::xrstor, XsaveForm::Xsave, kExtended | kRestores)},
    {Opcode::XRSTORS, processor_state, state_arg(HelperId::xrstor, XsaveForm::Xsaves, kExtended | kRestores)},
};

}  // namespace

std::span<const LiftRow> vector_moves_rows() { return kRows; }

}  // namespace tandem::cpu::x86

// What VEX encodings have beyond twins of legacy instructions: halves of YMM registers, masked accesses, gathers, and FMA.
#include "cpu/x86/fpu/gather.h"
#include "cpu/x86/lift/vector.h"

namespace tandem::cpu::x86 {

namespace {

unsigned dest(const Lifter& l) { return l.op(0).reg; }

// VZEROUPPER, VZEROALL: of the registers that exist in the mode. arg: 1 for all bits.
void zero_registers(Lifter& l) {
    const bool all = l.arg != 0;
    const Value zero = all ? l.b.konst_v(jit::ir::Vec256{}) : l.b.konst_v(jit::ir::Vec128{});
    for (unsigned i = 0; i < (l.mode.is64() ? 16u : 8u); ++i) l.set(all ? vec_slot(i) : vec_high_slot(i), zero);
}

void broadcast_half(Lifter& l) {
    const Value v = load_operand(l, 1);
    set_vec(l, dest(l), l.b.v_combine(v, v));
}

void insert_half(Lifter& l) {
    const Value v = vector_operand(l, 2);
    const Value first = vector_operand(l, 1);
    const bool high = bit(last_imm8(l), 0);
    set_vec(l, dest(l), high ? l.b.v_combine(l.b.v_low(first), v) : l.b.v_combine(v, l.b.v_high(first)));
}

void extract_half(Lifter& l) {
    const Value v = vector_operand(l, 1);
    const Value half = bit(last_imm8(l), 0) ? l.b.v_high(v) : l.b.v_low(v);
    is_xmm(l, 0) ? set_vec(l, dest(l), half) : store_operand(l, 0, half);
}

// VCVTPS2PH. Its memory operand may be 8 bytes.
void narrow_to_half(Lifter& l) {
    const Value src = vector_operand(l, 1);
    const SimdCheck check = SimdCheck::make(SimdElements::PackedSingle, SimdArith::NarrowHalf, last_imm8(l));
    const Value v =
        with_exceptions(l, check, {src, src}, [&] { return l.b.v_op(Type::V128, Op::CvtPS2PH, {src}, last_imm8(l)); });
    if (is_xmm(l, 0)) return set_vec(l, dest(l), v);
    store_operand(l, 0, l.op(0).size == 16 ? v : l.b.v_extract(Type::I64, v, 0));
}

// VMASKMOVPS, VPMASKMOVD and the 64-bit forms. arg: the load in the low half, the store in the high one. Elements that are
// masked out do not fault, and misalignment never does.
void masked_access(Lifter& l) {
    const Value mask = vector_operand(l, 1);
    const u32 flags = l.mode.data_mmu();
    if (l.is_mem(0)) {
        const Address to = l.address(0);
        return l.b.mask_store(static_cast<Op>(l.arg >> 16), to.base, mask, vector_operand(l, 2), flags, to.disp);
    }
    const Address from = l.address(2);
    set_vec(l, dest(l), l.b.mask_load(static_cast<Op>(l.arg & 0xffff), from.base, mask, flags, from.disp));
}
constexpr u32 masked(Op load, Op store) { return static_cast<u32>(load) | static_cast<u32>(store) << 16; }

// VGATHERDPS and relatives. arg: bytes of an index.
void gather_elements(Lifter& l) {
    MemoryOperand base = l.insn.mem;
    base.index = MemoryOperand::kNoReg;
    const Value offset = l.zext64(l.effective(base, l.insn.address_size));
    GatherSpec spec;
    spec.destination = l.op(0).reg;
    spec.mask = l.op(2).reg;
    spec.index = l.insn.mem.index;
    spec.element_bytes = l.op(1).size;
    spec.index_bytes = static_cast<u8>(l.arg);
    spec.scale = l.insn.mem.scale;
    spec.address_bytes = l.insn.address_size;
    spec.wide = l.insn.vex_l;
    spec.segment = l.insn.mem.segment;
    spec.mmu = static_cast<u8>(l.mode.data_mmu());
    l.call(HelperId::gather, {l.imm64(spec.pack()), offset});
}

void fused(Lifter& l) {
    const Value third = vector_operand(l, 2);
    const Value second = vector_operand(l, 1);
    const Value first = vector_operand(l, 0);
    const VectorArg how{l.arg};
    const SimdCheck check = SimdCheck::make(how.check().elements(), SimdArith::Fused, l.insn.opcode_byte);
    set_vec(l, dest(l),
            with_exceptions(l, check, {first, second, third}, [&] { return l.b.v_op(how.op(), {first, second, third}); }));
}
constexpr u32 fused_arg(Op op, SimdElements elements) { return VectorArg::of(op, elements, SimdArith::Fused).value; }

constexpr LiftRow kRows[] = {
    {Opcode::VZEROUPPER, zero_registers, 0},
    {Opcode::VZEROALL, zero_registers, 1},
    {Opcode::VBROADCASTF128, broadcast_half},
    {Opcode::VBROADCASTI128, broadcast_half},
    {Opcode::VINSERTF128, insert_half},
    {Opcode::VINSERTI128, insert_half},
    {Opcode::VEXTRACTF128, extract_half},
    {Opcode::VEXTRACTI128, extract_half},
    {Opcode::VCVTPS2PH, narrow_to_half},
    {Opcode::VMASKMOVPS, masked_access, masked(Op::MaskLoadD, Op::MaskStoreD)},
    {Opcode::VMASKMOVPD, masked_access, masked(Op::MaskLoadQ, Op::MaskStoreQ)},
    {Opcode::VPMASKMOVD, masked_access, masked(Op::MaskLoadD, Op::MaskStoreD)},
    {Opcode::VPMASKMOVQ, masked_access, masked(Op::MaskLoadQ, Op::MaskStoreQ)},
    {Opcode::VGATHERDPS, gather_elements, 4},
    {Opcode::VGATHERDPD, gather_elements, 4},
    {Opcode::VGATHERQPS, gather_elements, 8},
    {Opcode::VGATHERQPD, gather_elements, 8},
    {Opcode::VPGATHERDD, gather_elements, 4},
    {Opcode::VPGATHERDQ, gather_elements, 4},
    {Opcode::VPGATHERQD, gather_elements, 8},
    {Opcode::VPGATHERQQ, gather_elements, 8},
#define ELEMENTS(opcode, op, suffix, elements) \
    {Opcode::opcode##suffix, fused, fused_arg(Op::op##suffix, SimdElements::elements)}
#define PACKED(opcode, op) ELEMENTS(opcode, op, PS, PackedSingle), ELEMENTS(opcode, op, PD, PackedDouble)
#define SCALAR(opcode, op) ELEMENTS(opcode, op, SS, ScalarSingle), ELEMENTS(opcode, op, SD, ScalarDouble)
#define PACKED_ORDERS(opcode, op) PACKED(opcode##132, op##132), PACKED(opcode##213, op##213), PACKED(opcode##231, op##231)
#define ORDERS(opcode, op) \
    PACKED_ORDERS(opcode, op), SCALAR(opcode##132, op##132), SCALAR(opcode##213, op##213), SCALAR(opcode##231, op##231)
    ORDERS(VFMADD, FMAdd),
    ORDERS(VFMSUB, FMSub),
    ORDERS(VFNMADD, FNMAdd),
    ORDERS(VFNMSUB, FNMSub),
    PACKED_ORDERS(VFMADDSUB, FMAddSub),
    PACKED_ORDERS(VFMSUBADD, FMSubAdd),
#undef ORDERS
#undef PACKED_ORDERS
#undef SCALAR
#undef PACKED
#undef ELEMENTS
};

}  // namespace

std::span<const LiftRow> vex_rows() { return kRows; }

}  // namespace tandem::cpu::x86

#include "jit/interp/vector_rows.h"

#include <iterator>

#include "jit/interp/vector_kernels.h"
#include "jit/ir/vector_row.h"

// Rows with an immediate: 256 routines of 16 bytes each, one per value, made by the assembler. They follow the C calling
// convention for __m128i f(__m128i, __m128i). Shape: s one register operand, 1 source and destination, 2 two arguments.
// clang-format off
asm(R"(
    .macro tandem_row1 mnemonic, value
    \mnemonic $\value, %xmm0, %xmm0
    .endm
    .macro tandem_rows mnemonic, value
    \mnemonic $\value, %xmm0
    .endm
    .macro tandem_row2 mnemonic, value
    \mnemonic $\value, %xmm1, %xmm0
    .endm
    .macro tandem_table shape, name, mnemonic
    .pushsection .text
    .p2align 4
    .globl tandem_row_\name
    .hidden tandem_row_\name
tandem_row_\name:
    .set tandem_value, 0
    .rept 256
    .p2align 4
    tandem_row\shape \mnemonic, tandem_value
    ret
    .set tandem_value, tandem_value + 1
    .endr
    .popsection
    .endm
)");
#define TANDEM_IMMEDIATE_TABLE(shape, Name, mnemonic) \
    asm("tandem_table " #shape ", " #Name ", " #mnemonic); \
    extern "C" __attribute__((visibility("hidden"))) const tandem::u8 tandem_row_##Name[256 * 16];
#define TANDEM_TABLE_VOP1(Name, mnemonic)
#define TANDEM_TABLE_VOPX(Name, mnemonic)
#define TANDEM_TABLE_VOP2(Name, mnemonic)
#define TANDEM_TABLE_VOP2S(Name, mnemonic)
#define TANDEM_TABLE_VOP3(Name, mnemonic)
#define TANDEM_TABLE_VTEST(Name, mnemonic)
#define TANDEM_TABLE_VTOI(Name, mnemonic)
#define TANDEM_TABLE_VFP1(Name, mnemonic)
#define TANDEM_TABLE_VFPX(Name, mnemonic)
#define TANDEM_TABLE_VFPN(Name, mnemonic)
#define TANDEM_TABLE_VFPM(Name, mnemonic)
#define TANDEM_TABLE_VFP2(Name, mnemonic)
#define TANDEM_TABLE_FTOI(Name, mnemonic)
#define TANDEM_TABLE_ITOF(Name, mnemonic)
#define TANDEM_TABLE_FCMP(Name, mnemonic)
#define TANDEM_TABLE_VOP1I(Name, mnemonic) TANDEM_IMMEDIATE_TABLE(1, Name, mnemonic)
#define TANDEM_TABLE_VSHI(Name, mnemonic) TANDEM_IMMEDIATE_TABLE(s, Name, mnemonic)
#define TANDEM_TABLE_VFP1I(Name, mnemonic) TANDEM_IMMEDIATE_TABLE(1, Name, mnemonic)
#define TANDEM_TABLE_VOP2I(Name, mnemonic) TANDEM_IMMEDIATE_TABLE(2, Name, mnemonic)
#define TANDEM_TABLE_VFP2I(Name, mnemonic) TANDEM_IMMEDIATE_TABLE(2, Name, mnemonic)
#define TANDEM_ROW_Sse(Form, Name, mnemonic) TANDEM_TABLE_##Form(Name, mnemonic)
#define TANDEM_ROW_SseOnly(Form, Name, mnemonic) TANDEM_TABLE_##Form(Name, mnemonic)
#define TANDEM_ROW_Avx(Form, Name, mnemonic)
#define TANDEM_VROW(Form, Name, text, mnemonic, encoding, widths) TANDEM_ROW_##encoding(Form, Name, mnemonic)
#include "jit/ir/vector_ops.inc"
// clang-format on

namespace tandem::jit::interp {
namespace {

using ir::Op;
using ir::Type;
using ir::VectorForm;

Slot call_immediate_row(const u8* table, const Operands& o) {
    using Routine = __m128i (*)(__m128i, __m128i);
    return vector_slot(reinterpret_cast<Routine>(reinterpret_cast<u64>(table) + u64{o.imm & 0xff} * 16)(o.a, o.b));
}

// EFLAGS ZF, PF, CF as LAHF leaves them in AH.
Slot flags_slot(u32 eax) { return {(eax >> 8) & 0x45}; }

// FP rows are volatile: they read and accumulate MXCSR, which the compiler does not know of.
struct Rows {
    // clang-format off
#define TANDEM_FRESH(Name, mnemonic, how) \
    static Slot Name(const Operands& o) { __m128i r; asm how(#mnemonic " %1, %0" : "=x"(r) : "x"(o.a)); return vector_slot(r); }
#define TANDEM_MERGE(Name, mnemonic, how) \
    static Slot Name(const Operands& o) { __m128i r = o.a; asm how(#mnemonic " %1, %0" : "+x"(r) : "x"(o.b)); return vector_slot(r); }
#define TANDEM_IMMEDIATE(Name) \
    static Slot Name(const Operands& o) { return call_immediate_row(tandem_row_##Name, o); }
#define TANDEM_FLAGS(Name, mnemonic, how) \
    static Slot Name(const Operands& o) { \
        u32 eax = 0; \
        asm how(#mnemonic " %2, %1\n\tlahf" : "=a"(eax) : "x"(o.a), "x"(o.b) : "cc"); \
        return flags_slot(eax); \
    }
#define TANDEM_KERNEL_VOP1(Name, mnemonic) TANDEM_FRESH(Name, mnemonic, )
#define TANDEM_KERNEL_VOPX(Name, mnemonic) TANDEM_FRESH(Name, mnemonic, )
#define TANDEM_KERNEL_VFP1(Name, mnemonic) TANDEM_FRESH(Name, mnemonic, volatile)
#define TANDEM_KERNEL_VFPX(Name, mnemonic) TANDEM_FRESH(Name, mnemonic, volatile)
#define TANDEM_KERNEL_VFPN(Name, mnemonic) TANDEM_FRESH(Name, mnemonic, volatile)
#define TANDEM_KERNEL_VOP2(Name, mnemonic) TANDEM_MERGE(Name, mnemonic, )
#define TANDEM_KERNEL_VOP2S(Name, mnemonic) TANDEM_MERGE(Name, mnemonic, )
#define TANDEM_KERNEL_VFP2(Name, mnemonic) TANDEM_MERGE(Name, mnemonic, volatile)
#define TANDEM_KERNEL_VFPM(Name, mnemonic) TANDEM_MERGE(Name, mnemonic, volatile)
#define TANDEM_KERNEL_VOP1I(Name, mnemonic) TANDEM_IMMEDIATE(Name)
#define TANDEM_KERNEL_VSHI(Name, mnemonic) TANDEM_IMMEDIATE(Name)
#define TANDEM_KERNEL_VOP2I(Name, mnemonic) TANDEM_IMMEDIATE(Name)
#define TANDEM_KERNEL_VFP1I(Name, mnemonic) TANDEM_IMMEDIATE(Name)
#define TANDEM_KERNEL_VFP2I(Name, mnemonic) TANDEM_IMMEDIATE(Name)
#define TANDEM_KERNEL_VTEST(Name, mnemonic) TANDEM_FLAGS(Name, mnemonic, )
#define TANDEM_KERNEL_FCMP(Name, mnemonic) TANDEM_FLAGS(Name, mnemonic, volatile)
#define TANDEM_KERNEL_VOP3(Name, mnemonic) \
    static Slot Name(const Operands& o) { \
        __m128i r = o.a; \
        asm(#mnemonic " %%xmm0, %1, %0" : "+x"(r) : "x"(o.b), "Yz"(o.c)); \
        return vector_slot(r); \
    }
#define TANDEM_KERNEL_VTOI(Name, mnemonic) \
    static Slot Name(const Operands& o) { u32 r = 0; asm(#mnemonic " %1, %0" : "=r"(r) : "x"(o.a)); return {r}; }
#define TANDEM_KERNEL_FTOI(Name, mnemonic) \
    static Slot Name(const Operands& o) { \
        u64 r64 = 0; \
        u32 r32 = 0; \
        if (o.wide) { asm volatile(#mnemonic " %1, %0" : "=r"(r64) : "x"(o.a)); return {r64}; } \
        asm volatile(#mnemonic " %1, %0" : "=r"(r32) : "x"(o.a)); \
        return {r32}; \
    }
#define TANDEM_KERNEL_ITOF(Name, mnemonic) \
    static Slot Name(const Operands& o) { \
        __m128i r = o.a; \
        if (o.wide) { asm volatile(#mnemonic "q %1, %0" : "+x"(r) : "r"(o.integer)); return vector_slot(r); } \
        asm volatile(#mnemonic "l %1, %0" : "+x"(r) : "r"(static_cast<u32>(o.integer))); \
        return vector_slot(r); \
    }
#undef TANDEM_ROW_Sse
#undef TANDEM_ROW_SseOnly
#define TANDEM_ROW_Sse(Form, Name, mnemonic) TANDEM_KERNEL_##Form(Name, mnemonic)
#define TANDEM_ROW_SseOnly(Form, Name, mnemonic) TANDEM_KERNEL_##Form(Name, mnemonic)
#define TANDEM_VROW(Form, Name, text, mnemonic, encoding, widths) TANDEM_ROW_##encoding(Form, Name, mnemonic)
#include "jit/ir/vector_ops.inc"
    // clang-format on
};

constexpr RowFunction kRows[] = {
#define TANDEM_PICK_Sse(Name) &Rows::Name
#define TANDEM_PICK_SseOnly(Name) &Rows::Name
#define TANDEM_PICK_Avx(Name) nullptr
#define TANDEM_VROW(Form, Name, text, mnemonic, encoding, widths) TANDEM_PICK_##encoding(Name),
#include "jit/ir/vector_ops.inc"
};

constexpr unsigned kFirstRow = static_cast<unsigned>(Op::PAddB);
static_assert(kFirstRow + std::size(kRows) == static_cast<unsigned>(Op::Jump),
              "rows are contiguous in the list of operations");

bool extended_compare(const Operands& o) { return o.op >= Op::CmpPS && o.op <= Op::CmpSD && o.imm >= 8; }

Slot run(const Operands& o) {
    const RowFunction kernel = kRows[static_cast<unsigned>(o.op) - kFirstRow];
    if (kernel == nullptr) return avx_kernel(o.op)(o);
    return extended_compare(o) ? compare_extended(o, kernel) : kernel(o);
}

// The part of an immediate that speaks of the high half, where it is not that of the low one.
u32 high_immediate(Op op, u32 imm) {
    switch (op) {
        case Op::BlendPS:
        case Op::PBlendD: return imm >> 4;
        case Op::BlendPD:
        case Op::ShufPD:
        case Op::PermilPDI: return imm >> 2;
        case Op::MPSadBW: return imm >> 3;
        default: return imm;
    }
}

// Bytes of a VOPX or VFPX row's source that make 16 bytes of result; 0: every half is made from the first element.
unsigned source_bytes(Op op) {
    switch (op) {
        case Op::PBroadcastB:
        case Op::PBroadcastW:
        case Op::PBroadcastD:
        case Op::PBroadcastQ: return 0;
        case Op::PMovSXBQ:
        case Op::PMovZXBQ: return 2;
        case Op::PMovSXBD:
        case Op::PMovZXBD:
        case Op::PMovSXWQ:
        case Op::PMovZXWQ: return 4;
        default: return 8;
    }
}

__m128i shifted_down(__m128i v, unsigned bytes) {
    Lanes<u8> lanes(v);
    Lanes<u8> out;
    for (unsigned n = 0; n + bytes < 16; ++n) out.lane[n] = lanes.lane[n + bytes];
    return out.value();
}

// Two 128-bit operations, side by side in most cases.
Slot run_wide(VectorForm form, const Operands& low, const Slot* const args[3]) {
    Operands high = low;
    high.imm = high_immediate(low.op, low.imm);
    const auto upper = [](const Slot* s) { return s == nullptr ? __m128i{} : load_slot({s->upper[0], s->upper[1]}); };
    if (form == VectorForm::VOPX || form == VectorForm::VFPX) {
        high.a = shifted_down(low.a, source_bytes(low.op));
    } else {
        high.a = upper(args[0]);
        if (form != VectorForm::VOP2S) high.b = upper(args[1]);
        high.c = upper(args[2]);
    }
    const Slot l = run(low);
    const Slot h = run(high);
    switch (form) {
        case VectorForm::VFPN:
        case VectorForm::VFPNI: return {l.lo, h.lo};
        case VectorForm::VTEST: return {l.lo & h.lo};
        case VectorForm::VTOI: return {l.lo | h.lo << (low.op == Op::PMovMskB ? 16 : low.op == Op::MovMskPS ? 4 : 2)};
        default: return {l.lo, l.hi, {h.lo, h.hi}};
    }
}

}  // namespace

void execute_vector_row(const ir::Inst& inst, Type vector, Type integer, const Slot* const args[3], Slot& out) {
    const ir::VectorRow& row = ir::vector_row(inst.op);
    if (row.widths == ir::VectorWidths::W256) {
        out = cross_halves(inst.op, *args[0], args[1] == nullptr ? *args[0] : *args[1], inst.aux);
        return;
    }
    Operands o{};
    o.op = inst.op;
    o.a = load_slot(*args[0]);
    if (inst.nargs > 1) {
        o.b = load_slot(*args[1]);
        o.integer = args[1]->lo;
    }
    if (inst.nargs > 2) o.c = load_slot(*args[2]);
    o.imm = inst.aux;
    o.wide = integer == Type::I64;
    out = vector == Type::V256 ? run_wide(row.form, o, args) : run(o);
}

}  // namespace tandem::jit::interp

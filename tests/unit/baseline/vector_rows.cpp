// Every row of vector_ops.inc by inline assembly: the host's own instruction, assembled by the compiler's assembler.
#include <smmintrin.h>

#include "tests/unit/baseline/machine.h"

namespace tandem::jit::test {

namespace {

using Vector = __m128i;

Vector load(const Wide& w) { return _mm_loadu_si128(reinterpret_cast<const Vector*>(&w)); }
Wide store(Vector v) {
    Wide w;
    _mm_storeu_si128(reinterpret_cast<Vector*>(&w), v);
    return w;
}

// Immediates must be assembly-time constants: a table of one function per value.
template <class F, size_t... I>
Vector with_imm(F f, u8 imm, std::index_sequence<I...>) {
    Vector r{};
    static_cast<void>(
        ((imm == kRowImmediates[I] ? (r = f(std::integral_constant<int, kRowImmediates[I]>{}), true) : false) || ...));
    return r;
}
constexpr auto kAllImm = std::make_index_sequence<std::size(kRowImmediates)>{};

}  // namespace

#define ROW_IMM2(mnemonic)                                                 \
    with_imm(                                                              \
        [&](auto i) {                                                      \
            Vector x = a;                                                  \
            asm(#mnemonic " %2, %1, %0" : "+x"(x) : "x"(b), "i"(i.value)); \
            return x;                                                      \
        },                                                                 \
        imm, kAllImm)
#define ROW_IMM1(mnemonic)                                                 \
    with_imm(                                                              \
        [&](auto i) {                                                      \
            Vector x;                                                      \
            asm(#mnemonic " %2, %1, %0" : "=x"(x) : "x"(a), "i"(i.value)); \
            return x;                                                      \
        },                                                                 \
        imm, kAllImm)
#define ROW_SHIFT(mnemonic)                                    \
    with_imm(                                                  \
        [&](auto i) {                                          \
            Vector x = a;                                      \
            asm(#mnemonic " %1, %0" : "+x"(x) : "i"(i.value)); \
            return x;                                          \
        },                                                     \
        imm, kAllImm)

namespace {

// NOLINTNEXTLINE(readability-function-size)
bool row(const ir::Inst& inst, Vector a, Vector b, Vector c, const Wide* args, ir::Type arg1_type, Wide& out) {
    const u8 imm = static_cast<u8>(inst.aux);
    const bool wide = inst.type == ir::Type::I64;
    Vector d = a;
    u64 r = 0;
    u32 r32 = 0;
    switch (inst.op) {
#define TANDEM_ONE(Name, mnemonic)                   \
    case ir::Op::Name:                               \
        asm(#mnemonic " %1, %0" : "=x"(d) : "x"(a)); \
        out = store(d);                              \
        return true;
#define TANDEM_TWO(Name, mnemonic)                   \
    case ir::Op::Name:                               \
        asm(#mnemonic " %1, %0" : "+x"(d) : "x"(b)); \
        out = store(d);                              \
        return true;
#define TANDEM_FLAGS(Name, mnemonic, flags)                                                             \
    case ir::Op::Name:                                                                                  \
        asm volatile(#mnemonic " %2, %1\n pushf\n pop %0" : "=r"(r) : "x"(a), "x"(b) : "cc", "memory"); \
        out = {r & (flags), 0};                                                                         \
        return true;
#define TANDEM_FORM_VOP1(Name, mnemonic) TANDEM_ONE(Name, mnemonic)
#define TANDEM_FORM_VFP1(Name, mnemonic) TANDEM_ONE(Name, mnemonic)
#define TANDEM_FORM_VOP2(Name, mnemonic) TANDEM_TWO(Name, mnemonic)
#define TANDEM_FORM_VFP2(Name, mnemonic) TANDEM_TWO(Name, mnemonic)
#define TANDEM_FORM_VFPM(Name, mnemonic) TANDEM_TWO(Name, mnemonic)
#define TANDEM_FORM_VOPX(Name, mnemonic) TANDEM_ONE(Name, mnemonic)
#define TANDEM_FORM_VFPX(Name, mnemonic) TANDEM_ONE(Name, mnemonic)
#define TANDEM_FORM_VFPN(Name, mnemonic) TANDEM_ONE(Name, mnemonic)
#define TANDEM_FORM_VOP2S(Name, mnemonic) TANDEM_TWO(Name, mnemonic)
#define TANDEM_FORM_VSHI(Name, mnemonic) \
    case ir::Op::Name: out = store(ROW_SHIFT(mnemonic)); return true;
#define TANDEM_FORM_VOP1I(Name, mnemonic) \
    case ir::Op::Name: out = store(ROW_IMM1(mnemonic)); return true;
#define TANDEM_FORM_VFP1I(Name, mnemonic) \
    case ir::Op::Name: out = store(ROW_IMM1(mnemonic)); return true;
#define TANDEM_FORM_VOP2I(Name, mnemonic) \
    case ir::Op::Name: out = store(ROW_IMM2(mnemonic)); return true;
#define TANDEM_FORM_VFP2I(Name, mnemonic) \
    case ir::Op::Name: out = store(ROW_IMM2(mnemonic)); return true;
#define TANDEM_FORM_VOP3(Name, mnemonic)                          \
    case ir::Op::Name:                                            \
        asm(#mnemonic " %2, %1, %0" : "+x"(d) : "x"(b), "Yz"(c)); \
        out = store(d);                                           \
        return true;
#define TANDEM_FORM_VTEST(Name, mnemonic) TANDEM_FLAGS(Name, mnemonic, 0x41)
#define TANDEM_FORM_FCMP(Name, mnemonic) TANDEM_FLAGS(Name, mnemonic, 0x45)
#define TANDEM_FORM_VTOI(Name, mnemonic)               \
    case ir::Op::Name:                                 \
        asm(#mnemonic " %1, %0" : "=r"(r32) : "x"(a)); \
        out = {r32, 0};                                \
        return true;
#define TANDEM_FORM_FTOI(Name, mnemonic)                   \
    case ir::Op::Name:                                     \
        if (wide) {                                        \
            asm(#mnemonic " %1, %0" : "=r"(r) : "x"(a));   \
        } else {                                           \
            asm(#mnemonic " %1, %0" : "=r"(r32) : "x"(a)); \
        }                                                  \
        out = {wide ? r : r32, 0};                         \
        return true;
#define TANDEM_FORM_ITOF(Name, mnemonic)                                             \
    case ir::Op::Name:                                                               \
        if (arg1_type == ir::Type::I64) {                                            \
            asm(#mnemonic "q %1, %0" : "+x"(d) : "r"(args[1].lo));                   \
        } else {                                                                     \
            asm(#mnemonic "l %1, %0" : "+x"(d) : "r"(static_cast<u32>(args[1].lo))); \
        }                                                                            \
        out = store(d);                                                              \
        return true;
#define TANDEM_ROW_Sse(Form, Name, mnemonic) TANDEM_FORM_##Form(Name, mnemonic)
#define TANDEM_ROW_SseOnly(Form, Name, mnemonic) TANDEM_FORM_##Form(Name, mnemonic)
#define TANDEM_ROW_Avx(Form, Name, mnemonic)
#define TANDEM_VROW(Form, Name, text, mnemonic, encoding, widths) TANDEM_ROW_##encoding(Form, Name, mnemonic)
#include "jit/ir/vector_ops.inc"
        default: return false;
    }
}

}  // namespace

bool evaluate_vector_row(const ir::Inst& inst, const Wide* args, ir::Type arg1_type, Wide& out) {
    return row(inst, load(args[0]), load(args[1]), load(args[2]), args, arg1_type, out);
}

}  // namespace tandem::jit::test

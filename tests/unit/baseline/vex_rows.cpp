// Every row of vector_ops.inc that has a VEX form, by inline assembly, for xmm and ymm registers.
#include <immintrin.h>

#include <utility>

#include "tests/unit/baseline/machine.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,aes,pclmul"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,aes,pclmul")
#endif

namespace tandem::jit::test {

namespace {

using Half = __m128i;

template <class V>
V load(const Wide& w) {
    V v;
    __builtin_memcpy(&v, &w, sizeof v);
    return v;
}
template <class V>
Wide store(V v) {
    Wide w;
    __builtin_memcpy(static_cast<void*>(&w), &v, sizeof v);
    return w;
}

// Immediates must be assembly-time constants: one instruction per value.
template <class F, size_t... I>
auto with_imm(F f, u8 imm, std::index_sequence<I...>) {
    decltype(f(std::integral_constant<int, 0>{})) r{};
    static_cast<void>(
        ((imm == kRowImmediates[I] ? (r = f(std::integral_constant<int, kRowImmediates[I]>{}), true) : false) || ...));
    return r;
}
constexpr auto kAllImm = std::make_index_sequence<std::size(kRowImmediates)>{};

template <class V>
constexpr bool defined_for(ir::VectorWidths w) {
    return (static_cast<unsigned>(w) & (sizeof(V) == 16 ? 1u : 2u)) != 0;
}

#define UNARY(mnemonic, To, From)                                          \
    {                                                                      \
        To d;                                                              \
        asm("v" #mnemonic " %1, %0" : "=x"(d) : "x"(load<From>(args[0]))); \
        out = store(d);                                                    \
    }
#define UNARY_IMM(mnemonic, To, From)                                                            \
    out = store(with_imm(                                                                        \
        [&](auto i) {                                                                            \
            To d;                                                                                \
            asm("v" #mnemonic " %2, %1, %0" : "=x"(d) : "x"(load<From>(args[0])), "i"(i.value)); \
            return d;                                                                            \
        },                                                                                       \
        imm, kAllImm));
#define BINARY(mnemonic, Second)                                                                        \
    {                                                                                                   \
        V d;                                                                                            \
        asm("v" #mnemonic " %2, %1, %0" : "=x"(d) : "x"(load<V>(args[0])), "x"(load<Second>(args[1]))); \
        out = store(d);                                                                                 \
    }
#define FLAGS(mnemonic, flags)                                      \
    {                                                               \
        u64 r = 0;                                                  \
        asm volatile("v" #mnemonic " %2, %1\n pushf\n pop %0"       \
                     : "=r"(r)                                      \
                     : "x"(load<V>(args[0])), "x"(load<V>(args[1])) \
                     : "cc", "memory");                             \
        out = {r & (flags)};                                        \
    }
#define FORM_VOP1(mnemonic) UNARY(mnemonic, V, V)
#define FORM_VFP1(mnemonic) UNARY(mnemonic, V, V)
#define FORM_VOPX(mnemonic) UNARY(mnemonic, V, Half)
#define FORM_VFPX(mnemonic) UNARY(mnemonic, V, Half)
#define FORM_VFPN(mnemonic) UNARY(mnemonic, Half, V)
#define FORM_VOP1I(mnemonic) UNARY_IMM(mnemonic, V, V)
#define FORM_VSHI(mnemonic) UNARY_IMM(mnemonic, V, V)
#define FORM_VFP1I(mnemonic) UNARY_IMM(mnemonic, V, V)
#define FORM_VFPNI(mnemonic) UNARY_IMM(mnemonic, Half, V)
#define FORM_VOP2(mnemonic) BINARY(mnemonic, V)
#define FORM_VFP2(mnemonic) BINARY(mnemonic, V)
#define FORM_VFPM(mnemonic) BINARY(mnemonic, V)
#define FORM_VOP2S(mnemonic) BINARY(mnemonic, Half)
#define FORM_VOP2I(mnemonic)                                                                                             \
    out = store(with_imm(                                                                                                \
        [&](auto i) {                                                                                                    \
            V d;                                                                                                         \
            asm("v" #mnemonic " %3, %2, %1, %0" : "=x"(d) : "x"(load<V>(args[0])), "x"(load<V>(args[1])), "i"(i.value)); \
            return d;                                                                                                    \
        },                                                                                                               \
        imm, kAllImm));
#define FORM_VFP2I(mnemonic) FORM_VOP2I(mnemonic)
#define FORM_VOP3(mnemonic)                                                         \
    {                                                                               \
        V d;                                                                        \
        asm("v" #mnemonic " %3, %2, %1, %0"                                         \
            : "=x"(d)                                                               \
            : "x"(load<V>(args[0])), "x"(load<V>(args[1])), "x"(load<V>(args[2]))); \
        out = store(d);                                                             \
    }
#define FORM_VFP3(mnemonic)                                                                        \
    {                                                                                              \
        V d = load<V>(args[0]);                                                                    \
        asm("v" #mnemonic " %2, %1, %0" : "+x"(d) : "x"(load<V>(args[1])), "x"(load<V>(args[2]))); \
        out = store(d);                                                                            \
    }
#define FORM_VTEST(mnemonic) FLAGS(mnemonic, 0x41)
#define FORM_FCMP(mnemonic) FLAGS(mnemonic, 0x45)
#define FORM_VTOI(mnemonic)                                             \
    {                                                                   \
        u32 r = 0;                                                      \
        asm("v" #mnemonic " %1, %0" : "=r"(r) : "x"(load<V>(args[0]))); \
        out = {r};                                                      \
    }
#define FORM_FTOI(mnemonic)                                             \
    if (inst.type == ir::Type::I64) {                                   \
        u64 r = 0;                                                      \
        asm("v" #mnemonic " %1, %0" : "=r"(r) : "x"(load<V>(args[0]))); \
        out = {r};                                                      \
    } else {                                                            \
        u32 r = 0;                                                      \
        asm("v" #mnemonic " %1, %0" : "=r"(r) : "x"(load<V>(args[0]))); \
        out = {r};                                                      \
    }
#define FORM_ITOF(mnemonic)                                                                                         \
    {                                                                                                               \
        V d;                                                                                                        \
        if (arg1_type == ir::Type::I64) {                                                                           \
            asm("v" #mnemonic "q %2, %1, %0" : "=x"(d) : "x"(load<V>(args[0])), "r"(args[1].lo));                   \
        } else {                                                                                                    \
            asm("v" #mnemonic "l %2, %1, %0" : "=x"(d) : "x"(load<V>(args[0])), "r"(static_cast<u32>(args[1].lo))); \
        }                                                                                                           \
        out = store(d);                                                                                             \
    }

// NOLINTNEXTLINE(readability-function-size)
template <class V>
bool row(const ir::Inst& inst, const Wide* args, ir::Type arg1_type, Wide& out) {
    const u8 imm = static_cast<u8>(inst.aux);
    (void)arg1_type;
    switch (inst.op) {
#define ROW_Sse(Form, Name, mnemonic, widths)                     \
    case ir::Op::Name:                                            \
        if constexpr (defined_for<V>(ir::VectorWidths::widths)) { \
            FORM_##Form(mnemonic)                                 \
        }                                                         \
        return true;
#define ROW_Avx(Form, Name, mnemonic, widths) ROW_Sse(Form, Name, mnemonic, widths)
#define ROW_SseOnly(Form, Name, mnemonic, widths)
#define TANDEM_VROW(Form, Name, text, mnemonic, encoding, widths) ROW_##encoding(Form, Name, mnemonic, widths)
#include "jit/ir/vector_ops.inc"
        default: return false;
    }
}

}  // namespace

bool evaluate_vex_row(const ir::Inst& inst, ir::Type vector, const Wide* args, ir::Type arg1_type, Wide& out) {
    out = {};
    const bool done =
        vector == ir::Type::V256 ? row<__m256i>(inst, args, arg1_type, out) : row<Half>(inst, args, arg1_type, out);
    _mm256_zeroupper();
    return done;
}

}  // namespace tandem::jit::test

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

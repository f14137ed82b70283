#include "cpu/x86/fpu/host_x87.h"

#include <array>

namespace tandem::cpu::x86::host_x87 {

namespace {

constexpr u16 kHostControl = 0x37f;  // the ABI's

// Operands are pushed under the host's control word, before this; FLD of an 80-bit value raises nothing. FNCLEX and FLDCW
// are slow: flags are cleared when one that matters is set, and the host's own control word is not loaded.
#define ENTER                                                                                        \
    "fnstsw %%ax\n\ttestb %b[unknown], %%al\n\tjz 1f\n\tfnclex\n1:\tcmpw $0x37f, %[cw]\n\tje 1f\n\t" \
    "fldcw %[cw]\n1:\t"
// Status to AX, then back to masked exceptions. `on_unmasked` runs when ES is set and has to clear it (FLDCW waits).
#define LEAVE(on_unmasked)                                          \
    "\n\tfnstsw %%ax\n\ttestb %%al, %%al\n\tjns 1f\n\t" on_unmasked \
    "\n1:\tcmpw $0x37f, %[cw]\n\tje 1f\n\t"                         \
    "fldcw %[host]\n1:\t"
#define CONTROLS [cw] "m"(c.fcw), [host] "m"(kHostControl), [unknown] "q"(static_cast<u8>(~c.known & 0x7f))
#define STACK_CLOBBERS "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "cc", "memory"

using RegisterFn = Outcome (*)(Control, const X87Reg&, const X87Reg&);
using MemoryFn = Outcome (*)(Control, const X87Reg&, u64);
using UnaryFn = Outcome (*)(Control, const X87Reg&);
using PushingFn = PairOutcome (*)(Control, const X87Reg&);
using ConstantFn = Outcome (*)(Control);
using LoadFn = Outcome (*)(Control, const std::array<u64, 2>&);
using StoreFn = StoreOutcome (*)(Control, const X87Reg&);

// Each macro makes a captureless function around one instruction text.

// Operands in st(0) and st(1); the result is st(0) and nothing is popped.
#define TWO_REGISTERS(insn)                                                                               \
    [](Control c, const X87Reg& a, const X87Reg& b) -> Outcome {                                          \
        Outcome o;                                                                                        \
        asm volatile("fldt %[b]\n\tfldt %[a]\n\t" ENTER insn LEAVE("fnclex") "fstpt %[r]\n\tfstp %%st(0)" \
                     : "=&a"(o.status), [r] "=m"(o.value)                                                 \
                     : [a] "m"(a), [b] "m"(b), CONTROLS                                                   \
                     : STACK_CLOBBERS);                                                                   \
        return o;                                                                                         \
    }

// The same for an instruction that pops, unless an unmasked exception stops it.
#define TWO_REGISTERS_POP(insn)                                                                     \
    [](Control c, const X87Reg& a, const X87Reg& b) -> Outcome {                                    \
        Outcome o;                                                                                  \
        asm volatile("fldt %[b]\n\tfldt %[a]\n\t" ENTER insn LEAVE("fnclex") "fstpt %[r]\n\tfninit" \
                     : "=&a"(o.status), [r] "=m"(o.value)                                           \
                     : [a] "m"(a), [b] "m"(b), CONTROLS                                             \
                     : STACK_CLOBBERS);                                                             \
        return o;                                                                                   \
    }

#define REGISTER_MEMORY(insn, type)                                                  \
    [](Control c, const X87Reg& a, u64 operand) -> Outcome {                         \
        Outcome o;                                                                   \
        const type m = static_cast<type>(operand);                                   \
        asm volatile("fldt %[a]\n\t" ENTER insn " %[m]" LEAVE("fnclex") "fstpt %[r]" \
                     : "=&a"(o.status), [r] "=m"(o.value)                            \
                     : [a] "m"(a), [m] "m"(m), CONTROLS                              \
                     : STACK_CLOBBERS);                                              \
        return o;                                                                    \
    }

#define ONE_REGISTER(insn)                                                   \
    [](Control c, const X87Reg& a) -> Outcome {                              \
        Outcome o;                                                           \
        asm volatile("fldt %[a]\n\t" ENTER insn LEAVE("fnclex") "fstpt %[r]" \
                     : "=&a"(o.status), [r] "=m"(o.value)                    \
                     : [a] "m"(a), CONTROLS                                  \
                     : STACK_CLOBBERS);                                      \
        return o;                                                            \
    }

// A zero lies below the operand, for the case that the instruction does not push.
#define PUSHING(insn)                                                                                          \
    [](Control c, const X87Reg& a) -> PairOutcome {                                                            \
        PairOutcome o;                                                                                         \
        asm volatile("fldz\n\tfldt %[a]\n\t" ENTER insn LEAVE("fnclex") "fstpt %[r0]\n\tfstpt %[r1]\n\tfninit" \
                     : "=&a"(o.status), [r0] "=m"(o.top), [r1] "=m"(o.next)                                    \
                     : [a] "m"(a), CONTROLS                                                                    \
                     : STACK_CLOBBERS);                                                                        \
        return o;                                                                                              \
    }

#define CONSTANT(insn)                                       \
    [](Control c) -> Outcome {                               \
        Outcome o;                                           \
        asm volatile(ENTER insn LEAVE("fnclex") "fstpt %[r]" \
                     : "=&a"(o.status), [r] "=m"(o.value)    \
                     : CONTROLS                              \
                     : STACK_CLOBBERS);                      \
        return o;                                            \
    }

// An unmasked invalid operand keeps FLD from pushing; a zero takes the place.
#define LOAD(insn)                                                                                      \
    [](Control c, const std::array<u64, 2>& bits) -> Outcome {                                          \
        Outcome o;                                                                                      \
        asm volatile(ENTER insn " %[m]" LEAVE("fnclex\n\ttestb $1, %%al\n\tjz 1f\n\tfldz") "fstpt %[r]" \
                     : "=&a"(o.status), [r] "=m"(o.value)                                               \
                     : [m] "m"(bits), CONTROLS                                                          \
                     : STACK_CLOBBERS);                                                                 \
        return o;                                                                                       \
    }

#define STORE(insn)                                                                    \
    [](Control c, const X87Reg& a) -> StoreOutcome {                                   \
        StoreOutcome o;                                                                \
        asm volatile("fldt %[a]\n\t" ENTER insn " %[m]" LEAVE("fnclex") "fstp %%st(0)" \
                     : "=&a"(o.status), [m] "+m"(o.bits)                               \
                     : [a] "m"(a), CONTROLS                                            \
                     : STACK_CLOBBERS);                                                \
        return o;                                                                      \
    }

// Stores that exist with a pop only; it does not happen on some unmasked exceptions.
#define STORE_POP(insn)                                                 \
    [](Control c, const X87Reg& a) -> StoreOutcome {                    \
        StoreOutcome o;                                                 \
        asm volatile("fldt %[a]\n\t" ENTER insn " %[m]" LEAVE("fninit") \
                     : "=&a"(o.status), [m] "+m"(o.bits)                \
                     : [a] "m"(a), CONTROLS                             \
                     : STACK_CLOBBERS);                                 \
        return o;                                                       \
    }

// Rows in the order of Arith; FCOMP's pop is the caller's.
constexpr std::array<RegisterFn, 8> kArithRegister = {
    TWO_REGISTERS("fadd %%st(1), %%st"), TWO_REGISTERS("fmul %%st(1), %%st"),  TWO_REGISTERS("fcom %%st(1)"),
    TWO_REGISTERS("fcom %%st(1)"),       TWO_REGISTERS("fsub %%st(1), %%st"),  TWO_REGISTERS("fsubr %%st(1), %%st"),
    TWO_REGISTERS("fdiv %%st(1), %%st"), TWO_REGISTERS("fdivr %%st(1), %%st"),
};

#define MEMORY_ROWS(add, mul, com, sub, subr, div, divr, type)                                                        \
    {REGISTER_MEMORY(add, type), REGISTER_MEMORY(mul, type),  REGISTER_MEMORY(com, type), REGISTER_MEMORY(com, type), \
     REGISTER_MEMORY(sub, type), REGISTER_MEMORY(subr, type), REGISTER_MEMORY(div, type), REGISTER_MEMORY(divr, type)}

// Indexed by Source - 1, then Arith.
constexpr std::array<std::array<MemoryFn, 8>, 4> kArithMemory = {{
    MEMORY_ROWS("fadds", "fmuls", "fcoms", "fsubs", "fsubrs", "fdivs", "fdivrs", u32),
    MEMORY_ROWS("faddl", "fmull", "fcoml", "fsubl", "fsubrl", "fdivl", "fdivrl", u64),
    MEMORY_ROWS("fiaddl", "fimull", "ficoml", "fisubl", "fisubrl", "fidivl", "fidivrl", u32),
    MEMORY_ROWS("fiadds", "fimuls", "ficoms", "fisubs", "fisubrs", "fidivs", "fidivrs", u16),
}};

constexpr std::array<UnaryFn, 7> kUnary = {
    ONE_REGISTER("ftst"),  ONE_REGISTER("fxam"), ONE_REGISTER("fsqrt"), ONE_REGISTER("frndint"),
    ONE_REGISTER("f2xm1"), ONE_REGISTER("fsin"), ONE_REGISTER("fcos"),
};

constexpr std::array<RegisterFn, 6> kBinary = {
    TWO_REGISTERS("fprem"),      TWO_REGISTERS("fprem1"),    TWO_REGISTERS("fscale"),
    TWO_REGISTERS_POP("fpatan"), TWO_REGISTERS_POP("fyl2x"), TWO_REGISTERS_POP("fyl2xp1"),
};

constexpr std::array<PushingFn, 3> kPushing = {PUSHING("fsincos"), PUSHING("fptan"), PUSHING("fxtract")};

constexpr RegisterFn kUnorderedCompare = TWO_REGISTERS("fucom %%st(1)");

constexpr std::array<ConstantFn, 7> kConstant = {
    CONSTANT("fld1"),   CONSTANT("fldl2t"), CONSTANT("fldl2e"), CONSTANT("fldpi"),
    CONSTANT("fldlg2"), CONSTANT("fldln2"), CONSTANT("fldz"),
};

constexpr std::array<LoadFn, 6> kLoad = {LOAD("flds"),  LOAD("fldl"),   LOAD("filds"),
                                         LOAD("fildl"), LOAD("fildll"), LOAD("fbld")};
constexpr std::array<StoreFn, 6> kStore = {STORE("fsts"),  STORE("fstl"),        STORE("fists"),
                                           STORE("fistl"), STORE_POP("fistpll"), STORE_POP("fbstp")};
// Indexed by Format - Int16.
constexpr std::array<StoreFn, 3> kStoreTruncated = {STORE_POP("fisttps"), STORE_POP("fisttpl"), STORE_POP("fisttpll")};

template <class E>
constexpr std::size_t index(E e) {
    return static_cast<std::size_t>(e);
}

}  // namespace

Outcome arith(Arith op, Control control, const X87Reg& st0, const X87Reg& operand) {
    return kArithRegister[index(op)](control, st0, operand);
}

Outcome arith(Arith op, Control control, const X87Reg& st0, Source source, u64 operand) {
    return kArithMemory[index(source) - 1][index(op)](control, st0, operand);
}

Outcome unary(Unary op, Control control, const X87Reg& st0) { return kUnary[index(op)](control, st0); }

Outcome binary(Binary op, Control control, const X87Reg& st0, const X87Reg& st1) {
    return kBinary[index(op)](control, st0, st1);
}

PairOutcome pushing(Pushing op, Control control, const X87Reg& st0) { return kPushing[index(op)](control, st0); }

Outcome unordered_compare(Control control, const X87Reg& st0, const X87Reg& operand) {
    return kUnorderedCompare(control, st0, operand);
}

Outcome constant(Constant which, Control control) { return kConstant[index(which)](control); }

Outcome load(Format format, Control control, const std::array<u64, 2>& bits) { return kLoad[index(format)](control, bits); }

StoreOutcome store(Format format, Control control, const X87Reg& st0) { return kStore[index(format)](control, st0); }

StoreOutcome store_truncated(Format format, Control control, const X87Reg& st0) {
    return kStoreTruncated[index(format) - index(Format::Int16)](control, st0);
}

}  // namespace tandem::cpu::x86::host_x87

// The VFMADD family (Intel SDM volume 1, 14.5).
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "jit/interp/vector_kernels.h"
#include "jit/runtime/fp_control.h"

namespace tandem::jit::interp {
namespace {

using ir::Op;

// MXCSR (Intel SDM volume 1, 10.2.3).
constexpr u32 kInvalid = 1, kDenormal = 2, kUnderflow = 16, kInexact = 32, kFlags = 0x3f, kDaz = 64, kMasks = 0x1f80,
              kRounding = 0x6000, kFtz = 0x8000;

// x * y + z with the signs of the product and of z changed as the row says.
template <class T>
class Element {
public:
    Element(T x, T y, T z, bool negate_product, bool negate_z)
        : x_(x), y_(y), z_(z), negate_product_(negate_product), negate_z_(negate_z) {}

    // Raises its exceptions in MXCSR, which it finds and leaves with the guest's control bits.
    T run() {
        const u32 control = host_fp_control();
        u32 flags = 0;
        T result = 0;
        const bool denormal = denormal_operand((control & kDaz) != 0);
        if (std::isnan(x_) || std::isnan(y_) || std::isnan(z_)) {
            if (signalling(x_) || signalling(y_) || signalling(z_)) flags |= kInvalid;
            result = quiet(std::isnan(x_) ? x_ : std::isnan(y_) ? y_ : z_);
        } else {
            result = computed(control, flags);
            if (denormal && (flags & kInvalid) == 0) flags |= kDenormal;
        }
        set_host_fp_control(control | flags);
        return result;
    }

private:
    using Bits = std::conditional_t<sizeof(T) == 4, u32, u64>;
    static constexpr Bits kQuiet = sizeof(T) == 4 ? Bits{1} << 22 : Bits{1} << (sizeof(Bits) * 8 - 13);

    static bool signalling(T v) { return std::isnan(v) && (std::bit_cast<Bits>(v) & kQuiet) == 0; }
    static T quiet(T v) { return std::bit_cast<T>(static_cast<Bits>(std::bit_cast<Bits>(v) | kQuiet)); }

    // By its bits: comparisons see a zero where MXCSR.DAZ is set.
    static bool is_denormal(T v) {
        constexpr Bits kFraction = (kQuiet << 1) - 1;
        constexpr Bits kMagnitude = ~Bits{0} >> 1;
        const Bits bits = std::bit_cast<Bits>(v) & kMagnitude;
        return bits != 0 && bits <= kFraction;
    }

    // Zeroes the operands that MXCSR.DAZ takes for zero; otherwise whether there is a denormal.
    bool denormal_operand(bool daz) {
        bool found = false;
        for (T* v : {&x_, &y_, &z_}) {
            if (!is_denormal(*v)) continue;
            found = true;
            if (daz) *v = std::copysign(T{0}, *v);
        }
        return found && !daz;
    }

    T computed(u32 control, u32& flags) {
        set_host_fp_control(kMasks | (control & kRounding));
        const volatile T x = negate_product_ ? -x_ : x_;
        const volatile T y = y_;
        const volatile T z = negate_z_ ? -z_ : z_;
        volatile T sum = std::fma(x, y, z);
        T result = sum;
        flags |= host_fp_control() & kFlags & ~kDenormal;
        if (std::isnan(result)) {  // the default NaN
            return std::bit_cast<T>(static_cast<Bits>(~Bits{0} << (sizeof(T) == 4 ? 22 : sizeof(Bits) * 8 - 13)));
        }
        // Tiny is also what rounds to the smallest normal number only because its exponent is bounded.
        if ((control & kFtz) != 0 && (is_denormal(result) || (flags & kUnderflow) != 0)) {
            flags |= kUnderflow | kInexact;
            result = std::copysign(T{0}, result);
        }
        return result;
    }

    T x_, y_, z_;
    bool negate_product_, negate_z_;
};

// What a row says, by its distance from the first: kind, order of operands, element.
struct Shape {
    enum class Kind : u8 { Add, Sub, NegAdd, NegSub, AddSub, SubAdd } kind;
    u8 order;  // 0: 132, 1: 213, 2: 231
    bool is_double;
    bool scalar;
};

Shape shape_of(Op op) {
    constexpr unsigned kPlain = 4 * 3 * 4;
    const unsigned n = static_cast<unsigned>(op) - static_cast<unsigned>(Op::FMAdd132PS);
    if (n < kPlain) {
        return {static_cast<Shape::Kind>(n / 12), static_cast<u8>(n / 4 % 3), (n & 1) != 0, (n & 2) != 0};
    }
    const unsigned m = n - kPlain;
    return {static_cast<Shape::Kind>(4 + m / 6), static_cast<u8>(m / 2 % 3), (m & 1) != 0, false};
}

template <class T>
Slot computed_lanes(const Operands& o, const Shape& s) {
    const Lanes<T> a(o.a), b(o.b), c(o.c);
    Lanes<T> to(o.a);
    for (unsigned n = 0; n < (s.scalar ? 1u : to.kCount); ++n) {
        const T x = s.order == 0 ? a.lane[n] : b.lane[n];
        const T y = s.order == 1 ? a.lane[n] : c.lane[n];
        const T z = s.order == 0 ? b.lane[n] : s.order == 1 ? c.lane[n] : a.lane[n];
        using Kind = Shape::Kind;
        const bool odd = (n & 1) != 0;
        const bool negate_product = s.kind == Kind::NegAdd || s.kind == Kind::NegSub;
        const bool negate_z = s.kind == Kind::Sub || s.kind == Kind::NegSub || (s.kind == Kind::AddSub && !odd) ||
                              (s.kind == Kind::SubAdd && odd);
        to.lane[n] = Element<T>(x, y, z, negate_product, negate_z).run();
    }
    return vector_slot(to.value());
}

#define TANDEM_FMA_Sse(Form, Name, mnemonic)
#define TANDEM_FMA_SseOnly(Form, Name, mnemonic)
#define TANDEM_FMA_Avx(Form, Name, mnemonic) TANDEM_FMA_##Form(Name, mnemonic)
#define TANDEM_FMA_VOP1I(Name, mnemonic)
#define TANDEM_FMA_VOPX(Name, mnemonic)
#define TANDEM_FMA_VOP2(Name, mnemonic)
#define TANDEM_FMA_VOP2I(Name, mnemonic)
#define TANDEM_FMA_VTEST(Name, mnemonic)
#define TANDEM_FMA_VFPX(Name, mnemonic)
#define TANDEM_FMA_VFPNI(Name, mnemonic)
#define TANDEM_VROW(Form, Name, text, mnemonic, encoding, widths) TANDEM_FMA_##encoding(Form, Name, mnemonic)
struct HostRows {
#define TANDEM_FMA_VFP3(Name, mnemonic)                                           \
    static Slot Name(const Operands& o) {                                         \
        __m128i r = o.a;                                                          \
        asm volatile("v" #mnemonic " %2, %1, %0" : "+x"(r) : "x"(o.b), "x"(o.c)); \
        return vector_slot(r);                                                    \
    }
#include "jit/ir/vector_ops.inc"
};
#undef TANDEM_FMA_VFP3
#define TANDEM_FMA_VFP3(Name, mnemonic) &HostRows::Name,
#define TANDEM_VROW(Form, Name, text, mnemonic, encoding, widths) TANDEM_FMA_##encoding(Form, Name, mnemonic)
constexpr RowFunction kHostRows[] = {
#include "jit/ir/vector_ops.inc"
};

const bool kHostFuses = __builtin_cpu_supports("fma") != 0;

}  // namespace

Slot fused_multiply_add_computed(const Operands& o) {
    const Shape s = shape_of(o.op);
    return s.is_double ? computed_lanes<double>(o, s) : computed_lanes<float>(o, s);
}

Slot fused_multiply_add(const Operands& o) {
    if (!kHostFuses) return fused_multiply_add_computed(o);
    return kHostRows[static_cast<unsigned>(o.op) - static_cast<unsigned>(Op::FMAdd132PS)](o);
}

}  // namespace tandem::jit::interp

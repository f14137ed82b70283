#include "jit/interp/interpreter.h"

#include <bit>
#include <catch2/catch.hpp>
#include <cstring>

#include "jit/ir/builder.h"
#include "jit/ir/verifier.h"
#include "jit/runtime/fp_control.h"
#include "toy_guest.h"

namespace tandem::jit::interp {
namespace {

using ir::Builder;
using ir::Op;
using ir::Type;
using ir::Value;
using ir::Vec128;

Options interpreted() {
    Options o;
    o.tier = Tier::Interp;
    return o;
}

// Evaluates expressions built over constants that the builder cannot see: they come from the guest's registers.
struct Evaluator {
    toy::Machine m{interpreted()};
    Interpreter interpreter{m.guest};
    ir::Block block;
    Builder b{block};
    unsigned used = 0;

    Evaluator() { b.insn_start(0, 1); }

    Value integer(Type t, u64 v) {
        m.state().r[used] = v;
        return b.trunc(t, b.get(Type::I64, 8 * used++));
    }
    Value vector(Vec128 v) { return b.konst_v(v); }

    void run() {
        b.jump(1);
        const auto verified = ir::verify(block, &m.guest);
        INFO((verified.ok() ? std::string() : verified.error().message));
        REQUIRE(verified.ok());
        REQUIRE(interpreter.run(m.vcpu->state(), block) == ir::LeaveReason::None);
    }
    u64 result(Value v) {
        b.set(48, b.zext(Type::I64, v));
        run();
        return m.state().r[6];
    }
    Vec128 vector_result(Value v) {
        b.set(48, b.v_extract(Type::I64, v, 0));
        b.set(56, b.v_extract(Type::I64, v, 1));
        run();
        return {m.state().r[6], m.state().r[7]};
    }
};

Vec128 vop(Op op, std::initializer_list<Vec128> args, u8 imm = 0) {
    Evaluator e;
    std::array<Value, 3> v{};
    unsigned n = 0;
    for (const Vec128& a : args) v[n++] = e.vector(a);
    switch (n) {
        case 1: return e.vector_result(e.b.v_op(op, {v[0]}, imm));
        case 2: return e.vector_result(e.b.v_op(op, {v[0], v[1]}, imm));
        default: return e.vector_result(e.b.v_op(op, {v[0], v[1], v[2]}, imm));
    }
}

u64 to_int(Op op, Type t, std::initializer_list<Vec128> args) {
    Evaluator e;
    std::array<Value, 2> v{};
    unsigned n = 0;
    for (const Vec128& a : args) v[n++] = e.vector(a);
    return e.result(n == 1 ? e.b.v_to_int(op, t, {v[0]}) : e.b.v_to_int(op, t, {v[0], v[1]}));
}

Vec128 doubles(double lo, double hi = 0) { return {std::bit_cast<u64>(lo), std::bit_cast<u64>(hi)}; }
Vec128 floats(float a, float b = 0, float c = 0, float d = 0) {
    const auto pack = [](float x, float y) { return u64{std::bit_cast<u32>(y)} << 32 | std::bit_cast<u32>(x); };
    return {pack(a, b), pack(c, d)};
}

constexpr u32 kZf = 1u << 6, kPf = 1u << 2, kCf = 1;

}  // namespace

// Unlike constants, which the builder folds, these run.
TEST_CASE("integer operations", "[interp]") {
    const auto binary = [](Op op, Type t, u64 x, u64 y) {
        Evaluator e;
        const Value a = e.integer(t, x);
        return e.result(e.b.emit(op, t, {a, e.integer(t, y)}));
    };
    const auto shift = [](Op op, Type t, u64 x, u64 n) {
        Evaluator e;
        const Value a = e.integer(t, x);
        return e.result(e.b.emit(op, t, {a, e.integer(Type::I8, n)}));
    };
    const auto unary = [](Op op, Type t, u64 x) {
        Evaluator e;
        return e.result(e.b.emit(op, t, {e.integer(t, x)}));
    };
    CHECK(binary(Op::Add, Type::I8, 0xff, 0x02) == 0x01);
    CHECK(binary(Op::Sub, Type::I32, 0, 1) == 0xffffffff);
    CHECK(binary(Op::MulHiU, Type::I32, 0xffffffff, 0xffffffff) == 0xfffffffe);
    CHECK(binary(Op::MulHiS, Type::I64, ~u64{0}, 5) == ~u64{0});
    CHECK(shift(Op::Shl, Type::I32, 1, 35) == 8);
    CHECK(shift(Op::Sar, Type::I64, u64{1} << 63, 62) == ~u64{1});
    CHECK(shift(Op::Ror, Type::I8, 0x01, 1) == 0x80);
    CHECK(shift(Op::Rol, Type::I16, 0x8001, 17) == 0x0003);
    CHECK(unary(Op::Neg, Type::I16, 1) == 0xffff);
    CHECK(unary(Op::Clz, Type::I64, 1) == 63);
    CHECK(unary(Op::Popcnt, Type::I32, 0xf0f0) == 8);
    CHECK(unary(Op::Bswap, Type::I32, 0x11223344) == 0x44332211);
    Evaluator e;
    const Value base = e.integer(Type::I64, 0x1111111111111111);
    CHECK(e.result(e.b.deposit(base, e.integer(Type::I16, 0xabcd), 8)) == 0x1111111111abcd11);
}

TEST_CASE("carry chains", "[interp]") {
    const auto chain = [](Op op, Type t, u64 x, u64 y, u64 c) {
        Evaluator e;
        const Value a = e.integer(t, x);
        const Value b = e.integer(t, y);
        const Type result = op == Op::CarryOut || op == Op::BorrowOut ? Type::I8 : t;
        return e.result(e.b.emit(op, result, {a, b, e.integer(Type::I8, c)}));
    };
    CHECK(chain(Op::AddC, Type::I64, ~u64{0}, ~u64{0}, 1) == ~u64{0});
    CHECK(chain(Op::CarryOut, Type::I64, ~u64{0}, ~u64{0}, 1) == 1);
    CHECK(chain(Op::CarryOut, Type::I8, 0xfe, 0x01, 0) == 0);
    CHECK(chain(Op::CarryOut, Type::I8, 0xfe, 0x01, 1) == 1);
    CHECK(chain(Op::SubB, Type::I16, 0, 0xffff, 1) == 0);
    CHECK(chain(Op::BorrowOut, Type::I16, 0, 0xffff, 1) == 1);
    CHECK(chain(Op::BorrowOut, Type::I32, 5, 4, 1) == 0);
}

TEST_CASE("vector lanes", "[interp]") {
    const Vec128 v{0x8877665544332211, 0xffeeddccbbaa9988};
    Evaluator e;
    CHECK(e.result(e.b.v_extract(Type::I8, e.vector(v), 9)) == 0x99);
    Evaluator f;
    const Value inserted = f.b.v_insert(f.vector(v), f.integer(Type::I16, 0x1234), 5);
    CHECK(f.vector_result(inserted) == Vec128{v.lo, 0xffeeddcc12349988});
}

TEST_CASE("vector rows", "[interp]") {
    const Vec128 bytes{0x0706050403020100, 0x0f0e0d0c0b0a0908};
    const Vec128 ones{~u64{0}, ~u64{0}};
    CHECK(vop(Op::PAddB, {bytes, ones}) == Vec128{0x06050403020100ff, 0x0e0d0c0b0a090807});
    CHECK(vop(Op::PAddUSB, {bytes, ones}) == ones);
    // The destination is argument 0: PANDN inverts it.
    CHECK(vop(Op::PAndN, {bytes, ones}) == Vec128{~bytes.lo, ~bytes.hi});
    CHECK(vop(Op::PMulLW, {{0x0003, 0}, {0xffff, 0}}) == Vec128{0xfffd, 0});
    CHECK(vop(Op::PUnpckLBW, {{0x1111111111111111, 0}, {0x2222222222222222, 0}}) ==
          Vec128{0x2211221122112211, 0x2211221122112211});
    CHECK(vop(Op::PShufB, {bytes, {0x8000000000000f0e, 0}}) == Vec128{0x0000000000000f0e, 0});
    CHECK(vop(Op::MovHLPS, {{1, 2}, {3, 4}}) == Vec128{4, 2});
    CHECK(vop(Op::PBlendVB, {{0x11, 0}, {0x22, 0x33}, {0x80, 0}}) == Vec128{0x22, 0});
    CHECK(vop(Op::PAbsD, {{0xffffffff00000001, 0x80000000}}) == Vec128{0x100000001, 0x80000000});
    CHECK(vop(Op::AesImc, {{0, 0}}) == Vec128{0, 0});
}

TEST_CASE("vector rows with every kind of immediate", "[interp]") {
    const Vec128 v{0x2222222211111111, 0x4444444433333333};
    CHECK(vop(Op::PShufD, {v}, 0x1b) == Vec128{0x3333333344444444, 0x1111111122222222});
    CHECK(vop(Op::PSllDI, {v}, 4) == Vec128{0x2222222011111110, 0x4444444033333330});
    CHECK(vop(Op::PSllDI, {v}, 32) == Vec128{0, 0});
    CHECK(vop(Op::PSrlDQ, {v}, 8) == Vec128{v.hi, 0});
    CHECK(vop(Op::PSrlDQ, {v}, 255) == Vec128{0, 0});
    CHECK(vop(Op::PAlignR, {{1, 2}, {3, 4}}, 8) == Vec128{4, 1});
    CHECK(vop(Op::ShufPD, {{1, 2}, {3, 4}}, 1) == Vec128{2, 3});
    CHECK(vop(Op::CmpSD, {doubles(1, 9), doubles(2)}, 1) == Vec128{~u64{0}, std::bit_cast<u64>(9.0)});
    CHECK(vop(Op::RoundPD, {doubles(1.5, -1.5)}, 1) == doubles(1, -2));
}

TEST_CASE("floating-point rows", "[interp]") {
    CHECK(vop(Op::AddSD, {doubles(1.5, 7), doubles(2.25, 8)}) == doubles(3.75, 7));
    CHECK(vop(Op::SubPS, {floats(4, 3, 2, 1), floats(1, 1, 1, 1)}) == floats(3, 2, 1, 0));
    CHECK(vop(Op::SqrtSD, {doubles(5, 6), doubles(16, 1)}) == doubles(4, 6));
    CHECK(vop(Op::CvtSS2SD, {doubles(5, 6), floats(0.5f)}) == doubles(0.5, 6));
    CHECK(to_int(Op::CvtTSD2SI, Type::I32, {doubles(-3.9)}) == 0xfffffffd);
    CHECK(to_int(Op::CvtSD2SI, Type::I64, {doubles(-3.9)}) == ~u64{3});
    CHECK(to_int(Op::PMovMskB, Type::I32, {{0x8000000000000080, 0x80}}) == 0x181);
    CHECK(to_int(Op::UComISD, Type::I32, {doubles(1), doubles(1)}) == kZf);
    CHECK(to_int(Op::UComISD, Type::I32, {doubles(1), doubles(2)}) == kCf);
    CHECK(to_int(Op::ComISS, Type::I32, {floats(3), floats(2)}) == 0);
    CHECK(to_int(Op::UComISD, Type::I32, {doubles(__builtin_nan("")), doubles(2)}) == (kZf | kPf | kCf));
    CHECK(to_int(Op::PTest, Type::I32, {{1, 0}, {2, 0}}) == kZf);
    CHECK(to_int(Op::PTest, Type::I32, {{3, 0}, {2, 0}}) == kCf);
    Evaluator e;
    const Value wide = e.b.v_op(Op::CvtSI2SD, {e.vector(doubles(0, 5)), e.integer(Type::I64, u64{1} << 40)});
    CHECK(e.vector_result(wide) == doubles(1099511627776.0, 5));
    Evaluator f;
    const Value narrow = f.b.v_op(Op::CvtSI2SS, {f.vector(floats(0, 5)), f.integer(Type::I32, 0xffffffff)});
    CHECK(f.vector_result(narrow) == floats(-1, 5));
}

TEST_CASE("floating-point rows use and set the live MXCSR", "[interp]") {
    const u32 saved = host_fp_control();
    constexpr u32 kInexact = 1u << 5;
    set_host_fp_control((saved & ~0x3fu & ~0x6000u) | 0x4000);  // round up
    const Vec128 third = vop(Op::DivSD, {doubles(1), doubles(3)});
    const u32 after = host_fp_control();
    set_host_fp_control(saved);
    CHECK(third.lo == std::bit_cast<u64>(1.0 / 3) + 1);
    CHECK((after & kInexact) != 0);
}

}  // namespace tandem::jit::interp

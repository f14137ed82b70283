#include <catch2/catch.hpp>

#include "jit/ir/builder.h"
#include "jit/ir/eval.h"
#include "jit/ir/printer.h"
#include "jit/ir/verifier.h"
#include "toy_guest.h"

namespace tandem::jit::ir {
namespace {

constexpr u32 kSlot = 8;

struct Fixture {
    Block block;
    Builder b{block};
    toy::ToyGuest guest;

    Value unknown(Type t, u32 slot = kSlot) { return b.get(t, slot); }
    u64 constant(Value v) {
        u64 c = 0;
        REQUIRE(b.constant(v, c));
        return c;
    }
    // The verifier's complaint, or an empty string.
    std::string complaint() {
        const auto r = verify(block, &guest);
        return r.ok() ? std::string() : r.error().message;
    }
    void finish() { b.jump(0); }
};

}  // namespace

TEST_CASE_METHOD(Fixture, "the builder folds constants", "[ir]") {
    const auto k = [&](Type t, u64 v) { return b.konst(t, v); };
    CHECK(constant(b.add(k(Type::I8, 0xff), k(Type::I8, 2))) == 1);
    CHECK(constant(b.sub(k(Type::I16, 0), k(Type::I16, 1))) == 0xffff);
    CHECK(constant(b.binary(Op::Mul, k(Type::I32, 0x10001), k(Type::I32, 0x10001))) == 0x20001);
    CHECK(constant(b.binary(Op::MulHiU, k(Type::I64, ~u64{0}), k(Type::I64, ~u64{0}))) == ~u64{0} - 1);
    CHECK(constant(b.binary(Op::MulHiS, k(Type::I32, 0xffffffff), k(Type::I32, 2))) == 0xffffffff);
    CHECK(constant(b.binary(Op::Shl, k(Type::I32, 1), k(Type::I8, 33))) == 2);
    CHECK(constant(b.binary(Op::Sar, k(Type::I32, 0x80000000), k(Type::I8, 31))) == 0xffffffff);
    CHECK(constant(b.binary(Op::Rol, k(Type::I8, 0x81), k(Type::I8, 1))) == 0x03);
    CHECK(constant(b.binary(Op::Ror, k(Type::I16, 1), k(Type::I8, 16))) == 1);
    CHECK(constant(b.unary(Op::Clz, k(Type::I32, 0))) == 32);
    CHECK(constant(b.unary(Op::Ctz, k(Type::I64, 0))) == 64);
    CHECK(constant(b.unary(Op::Bswap, k(Type::I16, 0x1234))) == 0x3412);
    CHECK(constant(b.carry3(Op::CarryOut, k(Type::I64, ~u64{0}), k(Type::I64, 0), k(Type::I8, 1))) == 1);
    CHECK(constant(b.carry3(Op::SubB, k(Type::I8, 0), k(Type::I8, 0), k(Type::I8, 1))) == 0xff);
    CHECK(constant(b.carry3(Op::BorrowOut, k(Type::I8, 0), k(Type::I8, 0xff), k(Type::I8, 1))) == 1);
    CHECK(constant(b.sext(Type::I64, k(Type::I8, 0x80))) == ~u64{0x7f});
    CHECK(constant(b.icmp(Cond::Slt, k(Type::I8, 0x80), k(Type::I8, 0))) == 1);
    CHECK(constant(b.icmp(Cond::Ult, k(Type::I8, 0x80), k(Type::I8, 0))) == 0);
}

TEST_CASE_METHOD(Fixture, "the builder drops identities", "[ir]") {
    const Value x = unknown(Type::I32);
    CHECK(b.addi(x, 0) == x);
    CHECK(b.andi(x, 0xffffffff) == x);
    CHECK(constant(b.andi(x, 0)) == 0);
    CHECK(constant(b.xor_(x, x)) == 0);
    CHECK(b.or_(x, x) == x);
    CHECK(b.shli(x, 32) == x);
    CHECK(b.zext(Type::I32, x) == x);
    CHECK(b.trunc(Type::I32, b.zext(Type::I64, x)) == x);
    CHECK(b.unary(Op::Not, b.unary(Op::Not, x)) == x);
    CHECK(b.select(b.konst(Type::I8, 0), b.konst(Type::I32, 5), x) == x);
    CHECK(constant(b.icmp(Cond::Uge, x, x)) == 1);
    // A constant on the left of a commutative operation moves to the right.
    const Value sum = b.add(b.konst(Type::I32, 5), x);
    CHECK(block.at(sum).args[0] == x);
    // sext(zext) is a zext; trunc(sext) of a narrower value stays a sext.
    const Value byte = unknown(Type::I8, 0);
    CHECK(block.at(b.sext(Type::I64, b.zext(Type::I16, byte))).op == Op::ZExt);
    CHECK(block.at(b.trunc(Type::I16, b.sext(Type::I64, byte))).op == Op::SExt);
}

TEST_CASE_METHOD(Fixture, "the verifier accepts a good block", "[ir]") {
    b.insn_start(0x1000, 3);
    const Value a = b.load(Type::I64, unknown(Type::I64), MemFlags::kForWrite | 1);
    const Value v = b.v_from(a);
    b.set(kSlot, b.v_extract(Type::I64, b.v_op(Op::PSllDI, {v}, 3), 1));
    b.branch(b.icmpi(Cond::Eq, a, 0), 1, 2);
    CHECK(complaint().empty());
    CHECK(print(block, &guest).find("r1") != std::string::npos);
}

TEST_CASE_METHOD(Fixture, "the verifier rejects what breaks a rule", "[ir]") {
    const auto rejected = [&](const char* part) {
        const std::string why = complaint();
        INFO("complaint: " << why);
        CHECK(why.find(part) != std::string::npos);
    };
    b.insn_start(0x1000, 1);
    const Value x64 = unknown(Type::I64);
    const Value x8 = b.trunc(Type::I8, x64);
    const Value x16 = b.trunc(Type::I16, x64);
    const Value v = b.v_from(x64);
    SECTION("nothing at all") {
        block.insts.clear();
        rejected("without instructions");
    }
    SECTION("no terminator") { rejected("does not end with a terminator"); }
    SECTION("a terminator in the middle") {
        b.jump(1);
        b.jump(2);
        rejected("before the end");
    }
    SECTION("an argument that comes later") {
        b.emit(Op::Neg, Type::I64, {50});
        finish();
        rejected("no earlier instruction");
    }
    SECTION("a missing argument") {
        b.emit(Op::Add, Type::I64, {x64});
        finish();
        rejected("1 arguments where 2");
    }
    SECTION("an argument beyond the count") {
        block.insts[x8].args[2] = 0;
        finish();
        rejected("beyond the count");
    }
    SECTION("types that differ") {
        b.emit(Op::Add, Type::I64, {x64, x8});
        finish();
        rejected("is i8, not i64");
    }
    SECTION("compared types that differ") {
        b.emit(Op::ICmp, Type::I8, {x64, x8});
        finish();
        rejected("common type");
    }
    SECTION("a vector where an integer is due") {
        b.emit(Op::Neg, Type::V128, {v});
        finish();
        rejected("result may not be v128");
    }
    SECTION("an address that is not i64") {
        b.emit(Op::Load, Type::I8, {x8});
        finish();
        rejected("is i8, not i64");
    }
    SECTION("a boolean constant that is neither 0 nor 1") {
        const Value two = b.konst(Type::I8, 2);
        b.emit(Op::Branch, Type::Void, {two});
        rejected("neither 0 nor 1");
    }
    SECTION("a shift of a narrow type") {
        b.emit(Op::Shl, Type::I16, {x16, x8});
        finish();
        rejected("only i32 and i64");
    }
    SECTION("a zext that does not widen") {
        b.emit(Op::ZExt, Type::I8, {x64});
        finish();
        rejected("not wider");
    }
    SECTION("a trunc that does not narrow") {
        b.emit(Op::Trunc, Type::I64, {x8});
        finish();
        rejected("not narrower");
    }
    SECTION("a constant too large for its type") {
        b.emit(Op::Const, Type::I8, {}, 0x100);
        finish();
        rejected("does not fit");
    }
    SECTION("a slot with two types") {
        b.emit(Op::GetState, Type::I32, {}, kSlot);
        finish();
        rejected("overlaps");
    }
    SECTION("overlapping slots") {
        b.set(kSlot + 4, x64);
        finish();
        rejected("overlaps");
    }
    SECTION("a slot outside the state") {
        b.get(Type::I64, sizeof(toy::State) - 4);
        finish();
        rejected("outside the guest state");
    }
    SECTION("a deposit that does not fit") {
        b.deposit(x64, x8, 57);
        finish();
        rejected("exceeds");
    }
    SECTION("an unknown condition") {
        b.emit(Op::ICmp, Type::I8, {x64, x64}, 0, 10);
        finish();
        rejected("unknown condition");
    }
    SECTION("unknown memory flags") {
        b.load(Type::I8, x64, 1u << 11);
        finish();
        rejected("unknown memory flags");
    }
    SECTION("an MMU index that does not exist") {
        b.load(Type::I8, x64, 5);
        finish();
        rejected("no such MMU index");
    }
    SECTION("for-write on a store") {
        b.store(x64, x8, MemFlags::kForWrite);
        finish();
        rejected("load's flag");
    }
    SECTION("a lane that does not exist") {
        b.v_extract(Type::I64, v, 2);
        finish();
        rejected("no such lane");
    }
    SECTION("an immediate beyond eight bits") {
        b.emit(Op::PShufD, Type::V128, {v}, 0, 256);
        finish();
        rejected("8 bits");
    }
    SECTION("a helper that does not exist") {
        b.call(99, Type::I32);
        finish();
        rejected("no such helper");
    }
    SECTION("a helper with the wrong result") {
        b.call(0, Type::I64);
        finish();
        rejected("the helper returns i32");
    }
    SECTION("a helper with the wrong arguments") {
        b.call(0, Type::I32, {x64});
        finish();
        rejected("takes 0 arguments");
    }
    SECTION("leaving without a reason") {
        b.leave(LeaveReason::None);
        rejected("unknown reason");
    }
    SECTION("memory before the first instruction") {
        block.clear();
        b.load(Type::I8, b.konst(Type::I64, 0), 0);
        finish();
        rejected("outside a guest instruction");
    }
    SECTION("a vector constant that does not exist") {
        b.emit(Op::ConstV, Type::V128, {}, 3);
        finish();
        rejected("no such vector constant");
    }
}

}  // namespace tandem::jit::ir

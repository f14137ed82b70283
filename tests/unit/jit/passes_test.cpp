#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstring>
#include <iostream>
#include <random>

#include "jit/interp/interpreter.h"
#include "jit/ir/builder.h"
#include "jit/ir/printer.h"
#include "jit/ir/verifier.h"
#include "jit/passes/passes.h"
#include "toy_guest.h"

namespace tandem::jit::passes {
namespace {

using ir::Block;
using ir::Builder;
using ir::Op;
using ir::Type;
using ir::Value;

struct Fixture {
    Block block;
    Builder b{block};
    toy::ToyGuest guest;

    void optimise() {
        REQUIRE(ir::verify(block, &guest).ok());
        run(block, guest);
        INFO(ir::print(block, &guest));
        const auto verified = ir::verify(block, &guest);
        INFO((verified.ok() ? std::string() : verified.error().message));
        CHECK(verified.ok());
    }
    [[nodiscard]] long count(Op op) const {
        return std::count_if(block.insts.begin(), block.insts.end(), [op](const ir::Inst& i) { return i.op == op; });
    }
};

}  // namespace

TEST_CASE_METHOD(Fixture, "a state write that a later one covers goes", "[passes]") {
    b.insn_start(0, 1);
    const Value x = b.get(Type::I64, 0);
    b.set(8, b.addi(x, 1));
    SECTION("straight on") {
        b.insn_start(1, 1);
        b.set(8, b.addi(x, 2));
        b.jump(2);
        optimise();
        CHECK(count(Op::SetState) == 1);
        CHECK(count(Op::Add) == 1);
    }
    SECTION("but not across an access that may fault") {
        b.insn_start(1, 1);
        b.store(x, x, 0);
        b.set(8, b.addi(x, 2));
        b.jump(2);
        optimise();
        CHECK(count(Op::SetState) == 2);
    }
    SECTION("but not across a helper that reads state") {
        b.insn_start(1, 1);
        b.call(0, Type::I32);
        b.set(8, b.addi(x, 2));
        b.jump(2);
        optimise();
        CHECK(count(Op::SetState) == 2);
    }
    SECTION("and never the last one") {
        b.jump(2);
        optimise();
        CHECK(count(Op::SetState) == 1);
    }
}

TEST_CASE_METHOD(Fixture, "state reads are forwarded", "[passes]") {
    b.insn_start(0, 1);
    const Value x = b.addi(b.get(Type::I64, 0), 1);
    b.set(0, x);
    b.insn_start(1, 1);
    SECTION("from the last write and the last read") {
        b.set(8, b.add(b.get(Type::I64, 0), b.get(Type::I64, 16)));
        b.set(24, b.get(Type::I64, 16));
        b.jump(2);
        optimise();
        CHECK(count(Op::GetState) == 2);
    }
    SECTION("across accesses that may fault") {
        b.store(x, x, 0);
        b.set(8, b.get(Type::I64, 0));
        b.jump(2);
        optimise();
        CHECK(count(Op::GetState) == 1);
    }
    SECTION("but not across a helper that writes state") {
        b.call(0, Type::I32);
        b.set(8, b.get(Type::I64, 0));
        b.jump(2);
        optimise();
        CHECK(count(Op::GetState) == 2);
    }
    SECTION("and a write of what is there goes") {
        b.set(0, b.get(Type::I64, 0));
        b.jump(2);
        optimise();
        CHECK(count(Op::SetState) == 1);
    }
}

TEST_CASE_METHOD(Fixture, "the pc slot follows the current instruction", "[passes]") {
    b.insn_start(0x10, 1);
    b.set(0, b.get(Type::I64, offsetof(toy::State, pc)));
    b.insn_start(0x11, 1);
    b.set(8, b.get(Type::I64, offsetof(toy::State, pc)));
    b.jump(0x12);
    optimise();
    CHECK(count(Op::GetState) == 2);
}

TEST_CASE_METHOD(Fixture, "unused values go, effects stay", "[passes]") {
    b.insn_start(0, 1);
    const Value x = b.get(Type::I64, 0);
    b.addi(b.shli(x, 3), 7);
    const Value v = b.v_from(x);
    b.v_op(Op::PAddB, {v, v});
    b.v_op(Op::AddSD, {v, v});  // accumulates MXCSR flags
    b.load(Type::I64, x, 0);
    b.jump(1);
    optimise();
    CHECK(count(Op::Add) == 0);
    CHECK(count(Op::Shl) == 0);
    CHECK(count(Op::PAddB) == 0);
    CHECK(count(Op::AddSD) == 1);
    CHECK(count(Op::Load) == 1);
}

namespace {

// Random straight-line code over the toy's registers.
void random_block(Block& block, std::mt19937& rng) {
    block.clear();
    Builder b(block);
    const auto pick = [&](u32 n) { return static_cast<u32>(rng() % n); };
    for (u64 n = 0; n < 8; ++n) {
        b.insn_start(n, 1);
        const Value x = b.get(Type::I64, 8 * pick(8));
        const Value y = b.get(Type::I64, 8 * pick(8));
        constexpr std::array kOps{Op::Add, Op::Sub, Op::Xor, Op::And, Op::Mul};
        const Value z = b.binary(kOps[pick(kOps.size())], x, y);
        if (pick(4) == 0) b.set(8 * pick(8), b.load(Type::I64, b.andi(z, 0xfff8), 0));
        b.set(8 * pick(8), z);
        if (pick(3) == 0) b.set(8 * pick(8), y);
    }
    b.jump(8);
}

}  // namespace

TEST_CASE("passes do not change what a block does", "[passes]") {
    Options options;
    options.tier = Tier::Interp;
    toy::Machine m(options);
    std::mt19937 rng(20261);
    interp::Interpreter interpreter(m.guest);
    for (int round = 0; round < 500; ++round) {
        Block block;
        random_block(block, rng);
        toy::State start;
        for (u64& r : start.r) r = u64{rng()} << 32 | rng();
        for (u64 at = 0; at < 0x10000; at += 8 * 64) m.word(at) = rng();
        m.state() = start;
        CHECK(interpreter.run(m.vcpu->state(), block) == ir::LeaveReason::None);
        const toy::State plain = m.state();
        const std::size_t before = block.insts.size();
        run(block, m.guest);
        REQUIRE(ir::verify(block, &m.guest).ok());
        CHECK(block.insts.size() <= before);
        m.state() = start;
        CHECK(interpreter.run(m.vcpu->state(), block) == ir::LeaveReason::None);
        REQUIRE(std::memcmp(&plain, &m.state(), sizeof plain) == 0);
    }
}

TEST_CASE("time of the passes", "[.benchmark]") {
    toy::ToyGuest guest;
    std::mt19937 rng(1);
    std::vector<Block> blocks(2000);
    std::size_t insts = 0;
    for (Block& block : blocks) {
        random_block(block, rng);
        insts += block.insts.size();
    }
    const auto start = std::chrono::steady_clock::now();
    for (Block& block : blocks) run(block, guest);
    const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - start;
    std::cout << "passes: " << spent.count() / static_cast<double>(blocks.size()) << " ns for a block of "
              << insts / blocks.size() << " operations\n";
}

}  // namespace tandem::jit::passes

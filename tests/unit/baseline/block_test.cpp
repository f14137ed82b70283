// Hand-made blocks: how blocks are entered, linked, redirected and left, and what the code looks like to the dispatcher.
#include <catch2/catch.hpp>
#include <thread>

#include "jit/baseline/backend.h"
#include "jit/ir/builder.h"
#include "jit/runtime/hot_counters.h"
#include "tests/unit/baseline/machine.h"

namespace tandem::jit::test {

namespace {

using ir::Builder;
using ir::Cond;
using ir::LeaveReason;
using ir::Type;

struct Fixture {
    ToyGuest guest;
    BackendContext context;
    std::unique_ptr<Backend> backend;
    Machine machine;

    explicit Fixture(Options options = small()) {
        context.guest = &guest;
        context.options = options;
        auto made = create_baseline_backend(context);
        REQUIRE(made.ok());
        backend = std::move(made).value();
    }
    static Options small() {
        Options o;
        o.tier = Tier::Baseline;
        o.code_cache_bytes = 128 << 10;
        return o;
    }
    template <class F>
    std::unique_ptr<TranslatedBlock> block(u64 pc, F fill) {
        auto b = std::make_unique<TranslatedBlock>();
        b->ir = std::make_unique<ir::Block>();
        b->key = b->ir->key = {pc, 0, 5};
        Builder builder(*b->ir);
        fill(builder);
        REQUIRE(backend->compile(*b).ok());
        return b;
    }
    u64 slot(u32 offset) {
        u64 v;
        std::memcpy(&v, machine.state() + offset, 8);
        return v;
    }
    void set_slot(u32 offset, u64 v) { std::memcpy(machine.state() + offset, &v, 8); }
    LeaveReason enter(const TranslatedBlock& b) { return backend->enter(machine.state(), b.entry.load()); }
    LinkSlot* left_through() { return reinterpret_cast<LinkSlot*>(machine.header().leave_detail); }
};

// A block that adds `n` to slot 0 and goes on at `next`.
auto adds(u64 n, u64 next) {
    return [=](Builder& b) {
        b.insn_start(b.block().key.pc, 4);
        b.set(0, b.addi(b.get(Type::I64, 0), n));
        b.jump(next);
    };
}

// Counts slot 0 down, branching to itself until it is zero.
void count_down(Builder& b) {
    const u64 pc = b.block().key.pc;
    b.insn_start(pc, 4);
    const ir::Value v = b.addi(b.get(Type::I64, 0), ~u64{0});
    b.set(0, v);
    b.branch(b.icmpi(Cond::Ne, v, 0), pc, pc + 16);
}

}  // namespace

TEST_CASE("direct jumps: stub, link, unlink", "[baseline]") {
    Fixture f;
    auto a = f.block(0x1000, adds(1, 0x1400));
    auto b = f.block(0x1400, adds(100, 0x1800));
    REQUIRE(a->exits.size() == 1);
    CHECK(a->exits[0]->target_pc == 0x1400);
    CHECK(reinterpret_cast<u64>(a->exits[0]->site) % 4 == 0);
    CHECK(f.enter(*a) == LeaveReason::Lookup);
    CHECK(f.machine.pc() == 0x1400);
    CHECK(f.left_through() == a->exits[0].get());
    f.backend->link(*a->exits[0], *b);
    CHECK(f.enter(*a) == LeaveReason::Lookup);
    CHECK(f.machine.pc() == 0x1800);
    CHECK(f.left_through() == b->exits[0].get());
    CHECK(f.slot(0) == 102);
    f.backend->unlink(*a->exits[0]);
    CHECK(f.enter(*a) == LeaveReason::Lookup);
    CHECK(f.machine.pc() == 0x1400);
    CHECK(f.slot(0) == 103);
}

TEST_CASE("a backward branch leaves when attention is asked for", "[baseline]") {
    Fixture f;
    auto loop = f.block(0x1000, count_down);
    LinkSlot* taken = loop->exits[0]->target_pc == 0x1000 ? loop->exits[0].get() : loop->exits[1].get();
    f.backend->link(*taken, *loop);
    f.set_slot(0, 1000);
    CHECK(f.enter(*loop) == LeaveReason::Lookup);
    CHECK(f.slot(0) == 0);
    CHECK(f.machine.pc() == 0x1010);
    f.set_slot(0, ~u64{0});
    std::thread waker([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        f.machine.header().attention.store(1);
    });
    CHECK(f.enter(*loop) == LeaveReason::Attention);
    waker.join();
    CHECK(f.machine.pc() == 0x1000);
    CHECK(f.slot(0) > 1000);
}

TEST_CASE("links are patched while another thread runs through them", "[baseline]") {
    Fixture f;
    auto loop = f.block(0x1000, count_down);
    LinkSlot* taken = loop->exits[0]->target_pc == 0x1000 ? loop->exits[0].get() : loop->exits[1].get();
    f.set_slot(0, u64{1} << 60);
    u64 left = 0;
    std::atomic<bool> done{false};
    std::thread vcpu([&] {
        for (; left < 200 && f.slot(0) > 0; ++left) {
            if (f.enter(*loop) != LeaveReason::Lookup || f.machine.pc() != 0x1000) break;
        }
        done = true;
    });
    while (!done) {
        f.backend->link(*taken, *loop);
        std::this_thread::yield();
        f.backend->unlink(*taken);
    }
    vcpu.join();
    CHECK(left == 200);
    CHECK(f.slot(0) < (u64{1} << 60));
}

TEST_CASE("redirect sends every entry to the new code, near or far", "[baseline]") {
    Fixture f;
    auto a = f.block(0x1000, adds(1, 0x2000));
    auto b = f.block(0x1000, adds(1000, 0x2000));
    f.backend->redirect(*a, b->code);
    CHECK(f.enter(*a) == LeaveReason::Lookup);
    CHECK(f.slot(0) == 1000);
    f.backend->redirect(*a, a->code);
    CHECK(f.enter(*a) == LeaveReason::Lookup);
    CHECK(f.slot(0) == 1001);
    Fixture far;  // its code memory is elsewhere
    auto c = far.block(0x1000, adds(7, 0x4000));
    f.backend->redirect(*a, c->code);
    CHECK(f.enter(*a) == LeaveReason::Lookup);
    CHECK(f.slot(0) == 1008);
    CHECK(f.machine.pc() == 0x4000);
    const u64 used = f.backend->code_bytes_used();
    f.backend->release(*a);
    CHECK(f.backend->code_bytes_used() < used);
}

TEST_CASE("an indirect jump finds its target in the jump cache and checks the whole key", "[baseline]") {
    Fixture f;
    auto jump = f.block(0x1000, [](Builder& b) {
        b.insn_start(0x1000, 2);
        b.jump_indirect(b.get(Type::I64, 8));
    });
    auto target = f.block(0x123456789000, adds(5, 0x3000));
    f.set_slot(8, target->key.pc);
    CHECK(f.enter(*jump) == LeaveReason::Lookup);
    CHECK(f.machine.pc() == target->key.pc);
    CHECK(f.machine.header().leave_detail == kLeaveSameMode);
    CHECK(f.slot(0) == 0);
    JumpCacheEntry& entry = f.machine.jump_cache()[jump_cache_index(target->key.pc)];
    entry = {target->key, target->entry.load()};
    CHECK(f.enter(*jump) == LeaveReason::Lookup);
    CHECK(f.slot(0) == 5);
    CHECK(f.machine.pc() == 0x3000);
    entry.key.mode = 6;
    CHECK(f.enter(*jump) == LeaveReason::Lookup);
    CHECK(f.slot(0) == 5);
    entry.key = target->key;
    entry.key.base = 16;
    CHECK(f.enter(*jump) == LeaveReason::Lookup);
    CHECK(f.slot(0) == 5);
    entry.key = target->key;
    f.machine.header().attention = 1;
    CHECK(f.enter(*jump) == LeaveReason::Attention);
    CHECK(f.machine.pc() == target->key.pc);
    CHECK(f.slot(0) == 5);
}

TEST_CASE("an empty jump cache entry is no block at address 0", "[baseline]") {
    Fixture f;
    auto b = std::make_unique<TranslatedBlock>();
    b->ir = std::make_unique<ir::Block>();
    Builder builder(*b->ir);
    builder.jump_indirect(builder.get(Type::I64, 8));
    REQUIRE(f.backend->compile(*b).ok());
    CHECK(f.enter(*b) == LeaveReason::Lookup);
    CHECK(f.machine.pc() == 0);
}

TEST_CASE("hot blocks ask for the next tier before they execute", "[baseline]") {
    Options options = Fixture::small();
    options.tier = Tier::Auto;
    options.llvm_threshold = 100;
    Fixture f(options);
    auto a = f.block(0x1000, adds(1, 0x1400));
    set_hot_counter(f.machine.header(), 0, 2);
    // Another vCPU counts for itself.
    Machine other;
    set_hot_counter(other.header(), 0, 1);
    other.header().mode = f.machine.header().mode;
    run_compiled(*f.backend, other, *a);
    f.enter(*a);
    f.enter(*a);
    CHECK(f.slot(0) == 2);
    CHECK(f.left_through() == a->exits[0].get());
    CHECK(f.enter(*a) == LeaveReason::Lookup);
    CHECK(f.slot(0) == 2);
    CHECK(f.machine.pc() == 0x1000);
    CHECK(f.machine.header().leave_detail == (reinterpret_cast<u64>(a.get()) | 1));
}

TEST_CASE("a direct jump to another page goes through the jump cache", "[baseline]") {
    Fixture f;
    const u64 far = GENERATE(u64{0x2000}, u64{0x123456789000}, u64{0xffffffff81000000});
    auto jump = f.block(0x1000, adds(1, far));
    auto target = f.block(far, adds(5, far + 8));
    CHECK(jump->exits.empty());
    CHECK(f.enter(*jump) == LeaveReason::Lookup);
    CHECK(f.machine.pc() == far);
    CHECK(f.machine.header().leave_detail == kLeaveSameMode);
    JumpCacheEntry& entry = f.machine.jump_cache()[jump_cache_index(far)];
    entry = {target->key, target->entry.load()};
    CHECK(f.enter(*jump) == LeaveReason::Lookup);
    CHECK(f.machine.pc() == far + 8);
    CHECK(f.slot(0) == 1 + 6);
    entry.key.mode = 6;
    CHECK(f.enter(*jump) == LeaveReason::Lookup);
    CHECK(f.slot(0) == 8);
}

TEST_CASE("a region runs in place of its first block and goes on as it returns", "[baseline]") {
    Fixture f;
    auto block = f.block(0x1000, adds(1, 0x1400));
    auto next = f.block(0x2000, adds(5, 0x2400));
    // Returns what slot 8 says, with pc at 0x2000.
    const auto region = [](void* state) -> u32 {
        const u64 pc = 0x2000;
        std::memcpy(static_cast<u8*>(state) + kPcOffset, &pc, 8);
        u64 reason = 0;
        std::memcpy(&reason, static_cast<u8*>(state) + 8, 8);
        return static_cast<u32>(reason);
    };
    const void* entry = f.backend->make_region_entry(region);
    REQUIRE(entry != nullptr);
    f.backend->redirect(*block, entry);
    CHECK(f.enter(*block) == LeaveReason::Lookup);
    CHECK(f.machine.header().leave_detail == kLeaveSameMode);
    CHECK(f.machine.pc() == 0x2000);
    CHECK(f.slot(0) == 0);
    f.machine.header().mode = 5;
    f.machine.jump_cache()[jump_cache_index(0x2000)] = {next->key, next->entry.load()};
    CHECK(f.enter(*block) == LeaveReason::Lookup);
    CHECK(f.slot(0) == 5);
    f.set_slot(8, static_cast<u64>(LeaveReason::Halt));
    CHECK(f.enter(*block) == LeaveReason::Halt);
    f.backend->redirect(*block, block->code);
    CHECK(f.enter(*block) == LeaveReason::Lookup);
    CHECK(f.slot(0) == 6);
    f.backend->release_region_entry(entry);
}

TEST_CASE("a full code cache says so, and room made is room to use", "[baseline]") {
    Fixture f;
    std::vector<std::unique_ptr<TranslatedBlock>> blocks;
    bool full = false;
    for (unsigned n = 0; n < 5000 && !full; ++n) {
        auto b = std::make_unique<TranslatedBlock>();
        b->ir = std::make_unique<ir::Block>();
        b->key = b->ir->key = {0x1000, 0, 5};
        Builder builder(*b->ir);
        adds(1, 0x2000)(builder);
        const auto r = f.backend->compile(*b);
        full = !r.ok();
        if (full) {
            CHECK(r.error().code == Errc::Busy);
            CHECK(b->entry.load() == nullptr);
            f.backend->release(*blocks[1]);
            f.backend->release(*blocks[0]);
            CHECK(f.backend->compile(*b).ok());
            CHECK(f.enter(*b) == LeaveReason::Lookup);
        }
        blocks.push_back(std::move(b));
    }
    CHECK(full);
    CHECK(f.backend->code_bytes_used() <= 128 << 10);
}

TEST_CASE("a fault in the middle shows the state of exactly that instruction", "[baseline]") {
    Fixture f;
    constexpr u64 kFaulting = kMemoryBase + 7 * kPageSize;
    REQUIRE(kind_of(kFaulting) == PageKind::Fault);
    auto block = f.block(0xffffffff81000000, [](Builder& b) {
        const u64 pc = 0xffffffff81000000;
        b.insn_start(pc, 4);
        b.set(0, b.konst(Type::I64, 0x1122334455667788));
        b.set(8, b.get(Type::I64, 16));
        b.insn_start(pc + 4, 4);
        const ir::Value loaded = b.load(Type::I64, b.get(Type::I64, 24), 0);
        b.set(0, loaded);
        b.set(16, b.addi(b.get(Type::I64, 16), 1));
        b.insn_start(pc + 8, 1);
        b.jump(pc + 0x100);
    });
    f.set_slot(16, 77);
    f.set_slot(24, kFaulting);
    CHECK(f.enter(*block) == LeaveReason::Exception);
    CHECK(f.machine.pc() == 0xffffffff81000004);
    CHECK(f.slot(0) == 0x1122334455667788);
    CHECK(f.slot(8) == 77);
    CHECK(f.slot(16) == 77);
    f.set_slot(24, kMemoryBase);
    CHECK(f.enter(*block) == LeaveReason::Lookup);
    CHECK(f.machine.pc() == 0xffffffff81000100);
    CHECK(f.slot(8) == 77);
    CHECK(f.slot(16) == 78);
    CHECK(f.machine.slow_accesses == 1);
}

TEST_CASE("exact instruction counting", "[baseline]") {
    Options options = Fixture::small();
    options.count_instructions = true;
    Fixture f(options);
    auto block = f.block(0x1000, [](Builder& b) {
        for (u64 n = 0; n < 5; ++n) {
            b.insn_start(0x1000 + n, 1);
            if (n == 3) b.store(b.get(Type::I64, 24), b.get(Type::I64, 0), 0);
        }
        b.jump(0x2000);
    });
    f.set_slot(24, kMemoryBase);
    f.enter(*block);
    CHECK(f.machine.header().instructions == 5);
    f.set_slot(24, 0);
    CHECK(f.enter(*block) == LeaveReason::Exception);
    CHECK(f.machine.header().instructions == 8);
}

TEST_CASE("blocks that cannot be compiled are refused whole", "[baseline]") {
    Fixture f;
    TranslatedBlock empty;
    CHECK(f.backend->compile(empty).error().code == Errc::Unsupported);
    TranslatedBlock bad;
    bad.ir = std::make_unique<ir::Block>();
    Builder builder(*bad.ir);
    builder.set(kStateBytes - 4, builder.konst(Type::I64, 1));
    builder.jump(0);
    CHECK(f.backend->compile(bad).error().code == Errc::Unsupported);
    baseline::HostFeatures old = baseline::HostFeatures::detect();
    auto& row = old.vector[static_cast<unsigned>(ir::Op::AesEnc)];
    row.legacy_supported = row.xmm_supported = false;
    auto backend = baseline::create_backend(f.context, old);
    REQUIRE(backend.ok());
    TranslatedBlock aes;
    aes.ir = std::make_unique<ir::Block>();
    Builder b(*aes.ir);
    const ir::Value v = b.get(Type::V128, 256);
    b.set(256, b.v_op(ir::Op::AesEnc, {v, v}));
    b.jump(0);
    CHECK((*backend)->compile(aes).error().code == Errc::Unsupported);
    CHECK(f.backend->compile(aes).ok());
}

}  // namespace tandem::jit::test

// The LLVM tier on hand-built regions: loops, memory through the soft TLB, faults with precise state, attention, vectors.
#include <catch2/catch.hpp>

#include <array>
#include <cstring>
#include <new>

#include "jit/ir/builder.h"
#include "jit/runtime/region_compiler.h"
#include "jit/runtime/slow_paths.h"

using namespace tandem;
using namespace tandem::jit;
using ir::Builder;
using ir::Cond;
using ir::LeaveReason;
using ir::Op;
using ir::Type;

namespace {

// Toy state: r[0..7] at 0.., pc at 64, v[0..1] at 80...
struct ToyState {
    u64 r[8] = {};
    u64 pc = 0;
    u64 pad = 0;
    ir::Vec128 v[4];
};
constexpr u32 r_slot(unsigned n) { return n * 8; }
constexpr u32 v_slot(unsigned n) { return 80 + n * 16; }

class ToyGuest final : public Guest {
public:
    [[nodiscard]] const StateLayout& layout() const override { return layout_; }
    [[nodiscard]] std::span<const Helper> helpers() const override { return helpers_; }
    ir::BlockKey current_key(void*) const override { return {}; }
    LiftStatus lift(const ir::BlockKey&, const CodeWindow&, unsigned, ir::Block&) const override { return LiftStatus::Ok; }
    [[nodiscard]] unsigned fetch_mmu(u64) const override { return 0; }
    bool translate(void*, u64, Access, unsigned, Translation&) const override { return false; }
    void alignment_fault(void*, u64, Access, unsigned) const override {}
    LeaveReason deliver_exception(void*) const override { return LeaveReason::Lookup; }
    bool poll_interrupts(void*) const override { return false; }
    [[nodiscard]] std::string disassemble(const ir::BlockKey&, std::span<const u8>) const override { return {}; }

private:
    static u32 double_r1_may_leave(void* state) {
        auto* s = static_cast<ToyState*>(state);
        if (s->r[1] > 1000) return static_cast<u32>(LeaveReason::Exception);
        s->r[1] *= 2;
        return 0;
    }
    const StateLayout layout_{sizeof(ToyState), offsetof(ToyState, pc), {}};
    const std::array<Helper, 1> helpers_{
        {{"double_r1", reinterpret_cast<const void*>(&double_r1_may_leave), Type::I32, 0, kWritesState | kMayLeave}}};
};

struct Frame {
    FrameHeader header;
    ToyState state;
};

// Slow paths: an address at or above 1 MiB faults; below, plain memory.
std::array<u8, 1 << 16> g_memory;
unsigned g_slow_calls = 0;
ToyState g_seen_at_fault;

u32 slow_load(void* state, u64 va, u32 spec) {
    ++g_slow_calls;
    if (va >= 1 << 20) {
        g_seen_at_fault = *static_cast<ToyState*>(state);
        return static_cast<u32>(LeaveReason::Exception);
    }
    auto& h = header_of(state);
    h.scratch[0] = h.scratch[1] = 0;
    std::memcpy(h.scratch, &g_memory[va & 0xffff], spec >> 16 & 0xff);
    return 0;
}
u32 slow_store(void* state, u64 va, u32 spec, u64 low, u64 high) {
    ++g_slow_calls;
    if (va >= 1 << 20) {
        g_seen_at_fault = *static_cast<ToyState*>(state);
        return static_cast<u32>(LeaveReason::Exception);
    }
    const u64 both[2] = {low, high};
    std::memcpy(&g_memory[va & 0xffff], both, spec >> 16 & 0xff);
    return 0;
}
u32 slow_atomic(void*, u64, u32, u64, u64) { return static_cast<u32>(LeaveReason::Interpret); }

struct Fixture {
    ToyGuest guest;
    std::unique_ptr<RegionCompiler> compiler;
    Frame frame;
    std::array<TlbEntry, 16> tlb;

    Fixture() {
        RegionCompilerOptions options;
        options.guest = &guest;
        options.slow_load = slow_load;
        options.slow_store = slow_store;
        options.slow_atomic = slow_atomic;
        options.verify = true;
        auto loaded = load_region_compiler(options);
        INFO((loaded ? "" : loaded.error().message));
        REQUIRE(loaded.ok());
        compiler = std::move(loaded).value();
        frame.header.tlb[0] = {(tlb.size() - 1) * sizeof(TlbEntry), tlb.data()};
        g_memory.fill(0);
        g_slow_calls = 0;
    }
    // Maps the 4 KiB page at va to g_memory.
    void map(u64 va, bool writable) {
        TlbEntry& e = tlb[(va >> 12) & 15];
        e.read_tag = va & kPageMask;
        e.write_tag = writable ? va & kPageMask : TlbEntry::kInvalidTag;
        e.addend = reinterpret_cast<u64>(&g_memory[va & 0xf000]) - (va & kPageMask);
    }
    LeaveReason run(const Region& region) {
        auto compiled = compiler->compile(region);
        INFO((compiled ? "" : compiled.error().message));
        REQUIRE(compiled.ok());
        const auto reason = static_cast<LeaveReason>(compiled->function(&frame.state));
        compiler->release(compiled->handle);
        return reason;
    }
};

// do { r0 += mem64[r1]; r1 += 8; } while (--r2), at pc 0x100; then pc 0x200.
Region summing_loop() {
    Region region;
    region.blocks.resize(1);
    ir::Block& block = region.blocks[0];
    block.key.pc = 0x100;
    Builder b(block);
    b.insn_start(0x100, 4);
    const auto address = b.get(Type::I64, r_slot(1));
    const auto loaded = b.load(Type::I64, address, 0);
    b.set(r_slot(0), b.add(b.get(Type::I64, r_slot(0)), loaded));
    b.insn_start(0x104, 4);
    b.set(r_slot(1), b.addi(address, 8));
    b.insn_start(0x108, 4);
    const auto left = b.addi(b.get(Type::I64, r_slot(2)), ~u64{0});
    b.set(r_slot(2), left);
    b.branch(b.icmpi(Cond::Ne, left, 0), 0x100, 0x200);
    return region;
}

}  // namespace

TEST_CASE("a loop over mapped memory runs to its end without the slow path") {
    Fixture f;
    f.map(0x3000, false);
    u64 expected = 0;
    for (u64 i = 0; i < 512; ++i) {
        const u64 value = i * 0x9e3779b97f4a7c15;
        std::memcpy(&g_memory[0x3000 + i * 8], &value, 8);
        expected += value;
    }
    f.frame.state.r[1] = 0x3000;
    f.frame.state.r[2] = 512;
    CHECK(f.run(summing_loop()) == LeaveReason::None);
    CHECK(f.frame.state.r[0] == expected);
    CHECK(f.frame.state.r[1] == 0x4000);
    CHECK(f.frame.state.r[2] == 0);
    CHECK(f.frame.state.pc == 0x200);
    CHECK(g_slow_calls == 0);
}

TEST_CASE("a fault inside a loop shows the state at the instruction's start") {
    Fixture f;
    f.frame.state.r[1] = (1 << 20) - 24;  // three loads by the slow path, the fourth faults
    f.frame.state.r[2] = 100;
    std::memset(&g_memory[0xffe8], 1, 24);
    CHECK(f.run(summing_loop()) == LeaveReason::Exception);
    CHECK(g_slow_calls == 4);
    CHECK(f.frame.state.pc == 0x100);
    CHECK(f.frame.state.r[1] == 1 << 20);
    CHECK(f.frame.state.r[2] == 97);
    CHECK(f.frame.state.r[0] == 3 * 0x0101010101010101u);
    CHECK(std::memcmp(&g_seen_at_fault, &f.frame.state, sizeof(ToyState)) == 0);
}

TEST_CASE("attention stops a loop at its back edge") {
    Fixture f;
    f.map(0x3000, false);
    f.frame.state.r[1] = 0x3000;
    f.frame.state.r[2] = 100;
    f.frame.header.attention = 1;
    CHECK(f.run(summing_loop()) == LeaveReason::Attention);
    CHECK(f.frame.state.r[2] == 99);
    CHECK(f.frame.state.pc == 0x100);
}

TEST_CASE("stores go to mapped pages, others through the slow path; accesses that cross a page are slow") {
    Fixture f;
    f.map(0x5000, true);
    Region region;
    region.blocks.resize(1);
    Builder b(region.blocks[0]);
    b.insn_start(0, 1);
    const auto value = b.get(Type::I64, r_slot(0));
    b.store(b.konst(Type::I64, 0x5010), value, 0);
    b.store(b.konst(Type::I64, 0x5ffc), value, 0);                      // crosses
    b.store(b.konst(Type::I64, 0x7000), b.trunc(Type::I16, value), 0);  // not mapped
    b.store(b.konst(Type::I64, 0x5013), b.trunc(Type::I32, value), ir::MemFlags::kAligned);
    b.jump(0x40);
    f.frame.state.r[0] = 0x1122334455667788;
    CHECK(f.run(region) == LeaveReason::None);
    CHECK(g_slow_calls == 3);
    u64 at = 0;
    std::memcpy(&at, &g_memory[0x5ffc], 8);
    CHECK(at == 0x1122334455667788);
    CHECK(g_memory[0x7001] == 0x77);
    CHECK(g_memory[0x7002] == 0);
    CHECK(g_memory[0x5013] == 0x88);
}

TEST_CASE("helpers see the state, may change it, and may leave") {
    Fixture f;
    Region region;
    region.blocks.resize(1);
    region.blocks[0].key.pc = 0x10;
    Builder b(region.blocks[0]);
    b.insn_start(0x10, 2);
    b.set(r_slot(1), b.addi(b.get(Type::I64, r_slot(1)), 1));
    b.insn_start(0x12, 2);
    b.call(0, Type::I32);
    const auto doubled = b.get(Type::I64, r_slot(1));
    b.branch(b.icmpi(Cond::Ult, doubled, 5000), 0x10, 0x20);
    f.frame.state.r[1] = 1;
    CHECK(f.run(region) == LeaveReason::Exception);  // 2*2, 5*2, 11*2, ... until above 1000
    CHECK(f.frame.state.r[1] == 1535);
    CHECK(f.frame.state.pc == 0x12);
}

TEST_CASE("vector rows are the host's instructions") {
    Fixture f;
    Region region;
    region.blocks.resize(1);
    Builder b(region.blocks[0]);
    b.insn_start(0, 1);
    const auto x = b.get(Type::V128, v_slot(0));
    const auto y = b.get(Type::V128, v_slot(1));
    b.set(v_slot(2), b.v_op(Op::AddPD, {x, y}));
    b.set(v_slot(3), b.v_op(Op::PShufD, {b.v_op(Op::PSllDQ, {x}, 4)}, 0x1b));
    b.set(r_slot(0), b.zext(Type::I64, b.v_to_int(Op::UComISD, Type::I32, {x, y})));
    b.set(r_slot(1), b.v_to_int(Op::CvtTSD2SI, Type::I64, {y}));
    b.set(r_slot(2), b.zext(Type::I64, b.v_to_int(Op::PTest, Type::I32, {x, x})));
    b.set(r_slot(3), b.v_extract(Type::I64, b.v_op(Op::CvtSI2SD, {y, b.konst(Type::I64, 7)}), 0));
    b.jump(0);
    const double in[4] = {1.5, -2.0, 40.25, 8.0};
    std::memcpy(f.frame.state.v, in, sizeof in);
    f.frame.header.attention = 1;
    CHECK(f.run(region) == LeaveReason::Attention);
    double sum[2];
    std::memcpy(sum, &f.frame.state.v[2], sizeof sum);
    CHECK(sum[0] == 41.75);
    CHECK(sum[1] == 6.0);
    // x shifted left by a doubleword, then reversed: lane 0 is x's doubleword 2, lane 3 is zero.
    CHECK((f.frame.state.v[3].lo & 0xffffffff) == (f.frame.state.v[0].hi & 0xffffffff));
    CHECK(f.frame.state.v[3].hi >> 32 == 0);
    CHECK(f.frame.state.r[0] == 1);  // less: CF
    CHECK(f.frame.state.r[1] == 40);
    CHECK(f.frame.state.r[2] == 1);  // x AND NOT x is zero: CF; x AND x is not: no ZF
    double seven = 0;
    std::memcpy(&seven, &f.frame.state.r[3], 8);
    CHECK(seven == 7.0);
}

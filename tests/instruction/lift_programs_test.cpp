// General-purpose instructions in every mode of the processor, on every tier of the translator, against hand-computed
// results: what programs in 64-bit user mode (instruction_test.cpp) cannot reach.
#include <catch2/catch.hpp>
#include <cstring>
#include <string_view>
#include <vector>

#include "accel/diff/bare_vcpu.h"
#include "cpu/x86/system/system.h"

namespace tandem::cpu::x86 {
namespace {

using namespace accel::diff;
using namespace std::string_view_literals;

enum class Start : u8 { Real, Flat32, Long64 };

enum class Where : u8 { Gpr, FsBase, Mem16, Mem32, Mem64, Flags, Carry, Vector, Rip };

struct Item {
    Where where;
    u64 index;  // register, or address
    u64 value;
};

struct Program {
    const char* name;
    Start start;
    std::string_view code;
    std::vector<Item> before;
    std::vector<Item> after;
};

const std::vector<Program>& programs() {
    static const std::vector<Program> kPrograms{
#include "tests/instruction/lift_programs.inc"
    };
    return kPrograms;
}

constexpr u64 kCode = 0x1000;
constexpr u64 kPageTables = 0x100000;
constexpr u64 kMemory = 0x200000;

// One processor with 2 MiB of memory; in 64-bit mode that much is mapped, linear = physical.
class Machine {
public:
    explicit Machine(jit::Tier tier) {
        jit::Options options;
        options.tier = tier;
        options.baseline_threshold = 0;
        options.llvm_threshold = 1;
        options.verify_ir = true;
        auto bare = BareVcpu::create(options, kMemory);
        if (bare.ok()) bare_ = std::move(bare).value();
    }
    [[nodiscard]] bool available() const { return bare_ != nullptr; }
    [[nodiscard]] u64 regions_compiled() const { return bare_->regions_compiled(); }

    TranslateState& run(const Program& p) {
        // Code that is the same again stays translated, and so may become hot.
        const bool again = std::memcmp(bare_->memory() + kCode, p.code.data(), p.code.size()) == 0;
        std::memset(bare_->memory(), 0, kMemory);
        std::memcpy(bare_->memory() + kCode, p.code.data(), p.code.size());
        if (!again) bare_->translator().memory_written(0, kMemory);
        bare_->clear_state();
        enter(p.start);
        for (const Item& i : p.before) put(i);
        TranslateState& state = bare_->state();
        import_flags(state);
        bare_->vcpu().state_replaced();
        for (unsigned i = 0; i < 1000; ++i) {
            const auto why = bare_->vcpu().run();
            if (why == jit::ir::LeaveReason::Halt || state.s.pending.valid) break;
        }
        export_flags(state);
        return state;
    }

    u64 load(u64 address, unsigned size) const {
        u64 value = 0;
        std::memcpy(&value, bare_->memory() + address, size);
        return value;
    }

private:
    void put(const Item& i) {
        if (i.where == Where::Gpr) bare_->state().s.gpr[i.index] = i.value;
        if (i.where == Where::FsBase) bare_->state().s.seg[FS].base = i.value;
        if (i.where == Where::Mem32) std::memcpy(bare_->memory() + i.index, &i.value, 4);
    }

    void enter(Start start) {
        State& s = bare_->state().s;
        constexpr u16 kData = access::P | access::S | access::Writable | access::Accessed;
        const bool real = start == Start::Real;
        const u16 size = real ? u16{0} : static_cast<u16>(access::DB | access::G);
        for (Segment& seg : s.seg) seg = {0, real ? 0xffff : ~0u, 0, static_cast<u16>(kData | size)};
        s.seg[CS].access = static_cast<u16>(s.seg[CS].access | access::Code);
        s.idtr = {0, 0x3ff};
        s.rip = kCode;
        s.rflags = 2;
        s.cr0 = cr0::ET;
        if (!real) s.cr0 |= cr0::PE | cr0::NE;
        if (start == Start::Long64) enter_long_mode();
    }

    void enter_long_mode() {
        State& s = bare_->state().s;
        u64 next_table = kPageTables + 0x1000;
        bare_->map(kPageTables, next_table, 0, 0, kPagePresent | kPageWritable | kPageLarge);
        s.cr3 = kPageTables;
        s.cr4 = cr4::PAE | cr4::OSFXSR;
        s.msr.efer = efer::LME | efer::LMA;
        s.cr0 |= cr0::PG | cr0::WP;
        s.seg[CS].access = static_cast<u16>((s.seg[CS].access & ~access::DB) | access::L);
    }

    std::unique_ptr<BareVcpu> bare_;
};

u64 found(const Machine& m, const TranslateState& t, const Item& i) {
    switch (i.where) {
        case Where::Gpr: return t.s.gpr[i.index];
        case Where::FsBase: return t.s.seg[FS].base;
        case Where::Mem16: return m.load(i.index, 2);
        case Where::Mem32: return m.load(i.index, 4);
        case Where::Mem64: return m.load(i.index, 8);
        case Where::Flags: return t.s.rflags & eflags::Arithmetic;
        case Where::Carry: return t.s.rflags & eflags::CF;
        case Where::Vector: return t.s.pending.valid ? t.s.pending.vector : ~u64{0};
        case Where::Rip: return t.s.rip;
    }
    return 0;
}

const char* text_of(Where w) {
    constexpr const char* kNames[] = {"gpr", "fs base", "mem16", "mem32", "mem64", "flags", "carry", "vector", "rip"};
    return kNames[static_cast<unsigned>(w)];
}

// `times`: how often each program runs; its last result counts.
void run_all(jit::Tier tier, unsigned times = 1) {
    Machine machine(tier);
    if (!machine.available()) {
        WARN("skipped: this host has no code generator for the tier");
        return;
    }
    for (const Program& p : programs()) {
        for (unsigned i = 1; i < times; ++i) machine.run(p);
        const TranslateState& t = machine.run(p);
        bool faults = false;
        for (const Item& i : p.after) {
            INFO(p.name << ": " << text_of(i.where) << " " << std::hex << i.index);
            CHECK(found(machine, t, i) == i.value);
            faults = faults || i.where == Where::Vector;
        }
        INFO(p.name << ": vector " << unsigned{t.s.pending.vector} << " rip " << std::hex << t.s.rip);
        CHECK(t.s.pending.valid == faults);
    }
    if (tier == jit::Tier::Llvm) CHECK(machine.regions_compiled() >= programs().size());
}

}  // namespace

TEST_CASE("Programs on the interpreter") { run_all(jit::Tier::Interp); }
TEST_CASE("Programs on baseline code") { run_all(jit::Tier::Baseline); }
// The second run makes a block hot, and the third starts in its region.
TEST_CASE("Programs on the LLVM tier") { run_all(jit::Tier::Llvm, 3); }

}  // namespace tandem::cpu::x86

// General-purpose instructions in every mode of the processor, on every tier of the translator, against hand-computed
// results: what programs in 64-bit user mode (instruction_test.cpp) cannot reach.
#include <catch2/catch.hpp>
#include <cstring>
#include <new>
#include <string_view>
#include <vector>

#include "cpu/x86/guest.h"
#include "cpu/x86/system/system.h"
#include "jit/runtime/translator.h"

namespace tandem::cpu::x86 {
namespace {

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

// Ends a run at the first exception instead of delivering it.
class StoppingGuest final : public jit::Guest {
public:
    explicit StoppingGuest(const CpuModel& model) : guest_(create_guest(model)) {}

    const jit::StateLayout& layout() const override { return guest_->layout(); }
    std::span<const jit::Helper> helpers() const override { return guest_->helpers(); }
    jit::ir::BlockKey current_key(void* state) const override { return guest_->current_key(state); }
    jit::LiftStatus lift(const jit::ir::BlockKey& key, const jit::CodeWindow& code, unsigned max_insns,
                         jit::ir::Block& out) const override {
        return guest_->lift(key, code, max_insns, out);
    }
    unsigned fetch_mmu(u64 mode) const override { return guest_->fetch_mmu(mode); }
    bool translate(void* state, u64 va, jit::Access access, unsigned mmu, jit::Translation& out) const override {
        return guest_->translate(state, va, access, mmu, out);
    }
    void alignment_fault(void* state, u64 va, jit::Access access, unsigned mmu) const override {
        guest_->alignment_fault(state, va, access, mmu);
    }
    jit::ir::LeaveReason deliver_exception(void*) const override { return jit::ir::LeaveReason::Exit; }
    bool poll_interrupts(void*) const override { return false; }
    std::string disassemble(const jit::ir::BlockKey& key, std::span<const u8> code) const override {
        return guest_->disassemble(key, code);
    }

private:
    std::unique_ptr<jit::Guest> guest_;
};

class NoBus final : public jit::Bus {
public:
    u64 mmio_read(void*, u64, unsigned) override { return ~u64{0}; }
    void mmio_write(void*, u64, u64, unsigned) override {}
};

class NoPlatform final : public Platform {
public:
    u32 port_in(u16, unsigned) override { return ~0u; }
    void port_out(u16, u32, unsigned) override {}
    bool msr_read(u32, u64&) override { return false; }
    bool msr_write(u32, u64) override { return false; }
    bool apic_base_write(u64) override { return false; }
    u8 cr8_read() override { return 0; }
    void cr8_write(u8) override {}
    bool interrupt_pending() override { return false; }
    int acknowledge_interrupt() override { return -1; }
    bool take_nmi() override { return false; }
    u64 tsc() override { return 0; }
    u64 hypercall(u64, u64, u64, u64, u64) override { return 0; }
    void shutdown(u64) override {}
};

constexpr u64 kCode = 0x1000;
constexpr u64 kPageTables = 0x100000;
constexpr u64 kMemory = 0x200000;

// One processor with 2 MiB of memory; in 64-bit mode that much is mapped, linear = physical.
class Machine {
public:
    explicit Machine(jit::Tier tier) : model_(CpuModel::create("max").value()), guest_(model_), storage_(kMemory + 0x1000) {
        memory_ = storage_.data() + (0x1000 - reinterpret_cast<u64>(storage_.data()) % 0x1000);
        jit::Options options;
        options.tier = tier;
        options.baseline_threshold = 0;
        options.verify_ir = true;
        auto translator = jit::create_translator(guest_, bus_, options);
        if (!translator.ok()) return;
        translator_ = std::move(translator).value();
        REQUIRE(translator_->add_slot({0, kMemory, memory_, false}).ok());
        vcpu_ = translator_->create_vcpu(nullptr).value();
        state_ = new (vcpu_->state()) TranslateState();
    }
    [[nodiscard]] bool available() const { return translator_ != nullptr; }

    TranslateState& run(const Program& p) {
        std::memset(memory_, 0, kMemory);
        std::memcpy(memory_ + kCode, p.code.data(), p.code.size());
        translator_->memory_written(0, kMemory);
        *state_ = TranslateState();
        state_->model = &model_;
        state_->platform = &platform_;
        enter(p.start);
        for (const Item& i : p.before) put(i);
        import_flags(*state_);
        vcpu_->state_replaced();
        for (unsigned i = 0; i < 1000; ++i) {
            const auto why = vcpu_->run();
            if (why == jit::ir::LeaveReason::Halt || state_->s.pending.valid) break;
        }
        export_flags(*state_);
        return *state_;
    }

    u64 load(u64 address, unsigned size) const {
        u64 value = 0;
        std::memcpy(&value, memory_ + address, size);
        return value;
    }

private:
    void put(const Item& i) {
        if (i.where == Where::Gpr) state_->s.gpr[i.index] = i.value;
        if (i.where == Where::FsBase) state_->s.seg[FS].base = i.value;
        if (i.where == Where::Mem32) std::memcpy(memory_ + i.index, &i.value, 4);
    }

    void enter(Start start) {
        State& s = state_->s;
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
        State& s = state_->s;
        const u64 entries[] = {(kPageTables + 0x1000) | 3, (kPageTables + 0x2000) | 3, 0x83};
        for (u64 i = 0; i < 3; ++i) std::memcpy(memory_ + kPageTables + i * 0x1000, &entries[i], 8);
        s.cr3 = kPageTables;
        s.cr4 = cr4::PAE | cr4::OSFXSR;
        s.msr.efer = efer::LME | efer::LMA;
        s.cr0 |= cr0::PG | cr0::WP;
        s.seg[CS].access = static_cast<u16>((s.seg[CS].access & ~access::DB) | access::L);
    }

    CpuModel model_;
    StoppingGuest guest_;
    NoBus bus_;
    NoPlatform platform_;
    std::vector<u8> storage_;
    u8* memory_ = nullptr;
    std::unique_ptr<jit::Translator> translator_;
    std::unique_ptr<jit::VcpuTranslator> vcpu_;
    TranslateState* state_ = nullptr;
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

void run_all(jit::Tier tier) {
    Machine machine(tier);
    if (!machine.available()) {
        WARN("skipped: this host has no code generator for the tier");
        return;
    }
    for (const Program& p : programs()) {
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
}

}  // namespace

TEST_CASE("Programs on the interpreter") { run_all(jit::Tier::Interp); }
TEST_CASE("Programs on baseline code") { run_all(jit::Tier::Baseline); }

}  // namespace tandem::cpu::x86

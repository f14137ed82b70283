#include "cpu/arm64/guest.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "cpu/arm64/decode/disassemble.h"
#include "cpu/arm64/helpers.h"
#include "cpu/arm64/lift/block.h"
#include "cpu/arm64/mode.h"
#include "cpu/arm64/system/mmu.h"
#include "cpu/arm64/system/system.h"

namespace tandem::cpu::arm64 {
namespace {

using jit::ir::Type;

TranslateState& state_of(void* state) { return *static_cast<TranslateState*>(state); }

constexpr auto kXNames = std::to_array<std::string_view>(
    {"x0",  "x1",  "x2",  "x3",  "x4",  "x5",  "x6",  "x7",  "x8",  "x9",  "x10", "x11", "x12", "x13", "x14", "x15",
     "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30"});
constexpr auto kVNames = std::to_array<std::string_view>(
    {"v0",  "v1",  "v2",  "v3",  "v4",  "v5",  "v6",  "v7",  "v8",  "v9",  "v10", "v11", "v12", "v13", "v14", "v15",
     "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"});
constexpr auto kSpNames = std::to_array<std::string_view>({"sp_el0", "sp_el1", "sp_el2"});

std::vector<jit::StateSlot> make_slots() {
    std::vector<jit::StateSlot> slots;
    const auto add = [&](std::size_t offset, Type type, std::string_view name) {
        slots.push_back({static_cast<u32>(offset), type, name});
    };
    for (unsigned i = 0; i < kXNames.size(); ++i) add(offsetof(State, x) + 8 * i, Type::I64, kXNames[i]);
    for (unsigned i = 0; i < kSpNames.size(); ++i) add(offsetof(State, sp) + 8 * i, Type::I64, kSpNames[i]);
    add(offsetof(State, pc), Type::I64, "pc");
    add(offsetof(State, pstate), Type::I64, "pstate");
    for (unsigned i = 0; i < kVNames.size(); ++i) add(offsetof(State, v) + 16 * i, Type::V128, kVNames[i]);
    add(offsetof(State, fpcr), Type::I32, "fpcr");
    add(offsetof(State, fpsr), Type::I32, "fpsr");
    add(offsetof(TranslateState, cc_op), Type::I32, "cc_op");
    add(offsetof(TranslateState, cc_a), Type::I64, "cc_a");
    add(offsetof(TranslateState, cc_b), Type::I64, "cc_b");
    add(offsetof(TranslateState, scratch), Type::I64, "scratch0");
    add(offsetof(TranslateState, scratch) + 8, Type::I64, "scratch1");
    return slots;
}

class Arm64Guest final : public jit::Guest {
public:
    explicit Arm64Guest(const CpuModel& model) : model_(model), slots_(make_slots()) {
        layout_ = {sizeof(TranslateState), offsetof(State, pc), slots_};
    }

    const jit::StateLayout& layout() const override { return layout_; }
    std::span<const jit::Helper> helpers() const override { return helper_table(); }

    jit::ir::BlockKey current_key(void* state) const override {
        const TranslateState& t = state_of(state);
        jit::FrameHeader& header = jit::header_of(state);
        header.mode = ModeBits::of(t).value();
        header.base = 0;
        return {t.s.pc, 0, header.mode};
    }

    jit::LiftStatus lift(const jit::ir::BlockKey& key, const jit::CodeWindow& code, unsigned max_insns,
                         jit::ir::Block& out) const override {
        return lift_block(model_, key, code, max_insns, out);
    }

    unsigned fetch_mmu(u64 mode) const override { return ModeBits{mode}.fetch_mmu(); }

    // Of the EL2&0 regime it is the same index.
    u32 private_mmus() const override { return 1u << kMmuEl0; }
    jit::AddressSpace address_space(const void* state) const override {
        return arm64::address_space(*static_cast<const TranslateState*>(state));
    }

    bool translate(void* state, u64 va, jit::Access access, unsigned mmu, jit::Translation& out) const override {
        return arm64::translate(state_of(state), va, access, mmu, out);
    }

    void alignment_fault(void* state, u64 va, jit::Access access, unsigned mmu) const override {
        TranslateState& t = state_of(state);
        arm64::alignment_fault(t, va, access, mmu, !ModeBits::of(t).has(ModeBits::kAlign));
    }
    bool bus_error(void* state, u64 va, jit::Access access, unsigned mmu) const override {
        arm64::external_abort(state_of(state), va, access, mmu);
        return true;
    }

    jit::ir::LeaveReason deliver_exception(void* state) const override { return arm64::deliver_exception(state_of(state)); }
    bool poll_interrupts(void* state) const override { return arm64::poll_interrupts(state_of(state)); }

    std::string disassemble(const jit::ir::BlockKey& key, std::span<const u8> code) const override;

private:
    const CpuModel& model_;
    std::vector<jit::StateSlot> slots_;
    jit::StateLayout layout_;
};

std::string Arm64Guest::disassemble(const jit::ir::BlockKey& key, std::span<const u8> code) const {
    std::string text;
    for (std::size_t at = 0; at + 4 <= code.size(); at += 4) {
        u32 word = 0;
        std::copy_n(code.data() + at, sizeof word, reinterpret_cast<u8*>(&word));
        text += fmt::format("{:#x}:  {}\n", key.pc + at, disassemble_one(word, key.pc + at));
    }
    return text;
}

}  // namespace

std::unique_ptr<jit::Guest> create_guest(const CpuModel& model) { return std::make_unique<Arm64Guest>(model); }

}  // namespace tandem::cpu::arm64

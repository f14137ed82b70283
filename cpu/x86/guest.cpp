#include "cpu/x86/guest.h"

#include <capstone/capstone.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "cpu/x86/helpers.h"
#include "cpu/x86/lift/block.h"
#include "cpu/x86/lift/helpers.h"
#include "cpu/x86/mode.h"
#include "cpu/x86/system/system.h"

namespace tandem::cpu::x86 {
namespace {

using jit::ir::Type;

TranslateState& state_of(void* state) { return *static_cast<TranslateState*>(state); }

constexpr std::array<std::string_view, 16> kGprNames{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                                     "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
constexpr std::array<std::string_view, 6> kSegmentNames{"es", "cs", "ss", "ds", "fs", "gs"};
constexpr std::array<std::string_view, 6> kSegmentBaseNames{"es.base", "cs.base", "ss.base",
                                                            "ds.base", "fs.base", "gs.base"};

std::vector<jit::StateSlot> make_slots() {
    std::vector<jit::StateSlot> slots;
    auto add = [&](std::size_t offset, Type type, std::string_view name) {
        slots.push_back({static_cast<u32>(offset), type, name});
    };
    for (unsigned i = 0; i < kGprNames.size(); ++i) add(offsetof(State, gpr) + 8 * i, Type::I64, kGprNames[i]);
    for (unsigned i = 0; i < kSegmentNames.size(); ++i) {
        const std::size_t segment = offsetof(State, seg) + i * sizeof(Segment);
        add(segment + offsetof(Segment, selector), Type::I16, kSegmentNames[i]);
        add(segment + offsetof(Segment, base), Type::I64, kSegmentBaseNames[i]);
    }
    add(offsetof(State, rip), Type::I64, "rip");
    add(offsetof(State, rflags), Type::I64, "rflags");
    add(offsetof(TranslateState, cc_op), Type::I32, "cc_op");
    add(offsetof(TranslateState, cc_dst), Type::I64, "cc_dst");
    add(offsetof(TranslateState, cc_src), Type::I64, "cc_src");
    add(offsetof(TranslateState, cc_src2), Type::I64, "cc_src2");
    add(offsetof(TranslateState, df_step), Type::I64, "df_step");
    add(offsetof(TranslateState, scratch), Type::I64, "scratch0");
    add(offsetof(TranslateState, scratch) + 8, Type::I64, "scratch1");
    add(offsetof(State, cr0), Type::I64, "cr0");
    add(offsetof(State, cr2), Type::I64, "cr2");
    add(offsetof(State, cr3), Type::I64, "cr3");
    add(offsetof(State, cr4), Type::I64, "cr4");
    add(offsetof(State, mxcsr), Type::I32, "mxcsr");
    return slots;
}

// The 64-bit instruction at s.rip, as far as its first page holds it. Faults decode it again for what nothing else needs to
// know.
bool current_instruction(TranslateState& t, Instruction& insn) {
    std::array<u8, kMaxInstructionLength> bytes;
    const u64 room = jit::kPageSize - (t.s.rip & ~jit::kPageMask);
    const auto size = static_cast<unsigned>(std::min<u64>(room, bytes.size()));
    if (!jit::load_bytes(&t, t.s.rip, fetch_mmu(t.s), bytes.data(), size)) return false;
    return decode({bytes.data(), size}, Mode::Bits64, insn) == DecodeStatus::Ok;
}

// The linear address of a 64-bit instruction's memory operand, as its registers stand before it.
u64 operand_address(const State& s, const Instruction& insn) {
    const MemoryOperand& m = insn.mem;
    u64 va = static_cast<u64>(m.disp);
    if (m.rip_relative) va += s.rip + insn.length;
    if (m.base != MemoryOperand::kNoReg) va += s.gpr[m.base];
    if (m.index != MemoryOperand::kNoReg) va += s.gpr[m.index] * m.scale;
    if (insn.address_size == 4) va &= 0xffffffff;
    return m.segment == FS || m.segment == GS ? va + s.seg[m.segment].base : va;
}

// Whether the instruction at s.rip reaches `va` through its stack pointer or an operand in SS: in 64-bit mode its fault is
// #SS instead of #GP.
bool is_stack_access(TranslateState& t, u64 va) {
    Instruction insn;
    if (!current_instruction(t, insn)) return false;
    for (unsigned i = 0; i < insn.operand_count; ++i) {
        if (insn.op[i].kind != OperandKind::Mem) continue;
        if (insn.mem.segment == SS) return true;
        // PUSH and CALL read their operand before they write to the stack.
        if (insn.opcode != Opcode::POP && va == operand_address(t.s, insn)) return false;
    }
    const u64 distance = va - t.s.gpr[RSP] + 64;
    switch (insn.opcode) {
        case Opcode::PUSH:
        case Opcode::POP:
        case Opcode::CALL:
        case Opcode::RET:
        case Opcode::PUSHF:
        case Opcode::POPF: return distance < 128;
        case Opcode::ENTER:
        case Opcode::LEAVE: return true;
        default: return false;
    }
}

class X86Guest final : public jit::Guest {
public:
    X86Guest(const CpuModel& model, const std::atomic<u64>* sought_pc)
        : model_(model), sought_pc_(sought_pc), slots_(make_slots()) {
        layout_ = {sizeof(TranslateState), offsetof(State, rip), slots_};
    }

    const jit::StateLayout& layout() const override { return layout_; }
    std::span<const jit::Helper> helpers() const override { return helper_table(); }

    jit::ir::BlockKey current_key(void* state) const override {
        const TranslateState& t = state_of(state);
        jit::FrameHeader& header = jit::header_of(state);
        const ModeBits mode = ModeBits::of(t);
        header.mode = mode.value();
        header.base = mode.is64() ? 0 : t.s.seg[CS].base;
        return {t.s.rip, header.base, header.mode};
    }

    jit::LiftStatus lift(const jit::ir::BlockKey& key, const jit::CodeWindow& code, unsigned max_insns,
                         jit::ir::Block& out) const override {
        return lift_block(model_, key, code, max_insns, out, sought_pc_ != nullptr ? sought_pc_->load() : ~u64{0});
    }

    unsigned fetch_mmu(u64 mode) const override { return ModeBits{mode}.fetch_mmu(); }

    bool translate(void* state, u64 va, jit::Access access, unsigned mmu, jit::Translation& out) const override {
        TranslateState& t = state_of(state);
        if (access != jit::Access::Execute && !canonical(t.s, va) && is_stack_access(t, va)) {
            raise(t, kSS);
            return false;
        }
        return x86::translate(t, va, access, mmu, out);
    }

    u32 private_mmus() const override { return 1u << kMmuUser; }

    // Without PCIDs a load of CR3 ends all that is not global (SDM volume 3, 4.10.4.1): one space does for all.
    jit::AddressSpace address_space(const void* state) const override {
        const State& s = static_cast<const TranslateState*>(state)->s;
        if ((s.cr4 & cr4::PCIDE) == 0) return {};
        return {{s.cr3, 0}, s.cr3 & kPcidMask};
    }

    // The canonical address check comes before paging and sees all bytes (SDM volume 3, 3.3.7.1). An 80-bit operand is
    // accessed as its significand and then the rest.
    bool check_crossing(void* state, u64 va, unsigned size) const override {
        TranslateState& t = state_of(state);
        if (size == 10) size = 8;
        if (!long_mode(t.s) || (canonical(t.s, va) && canonical(t.s, va + size - 1))) return true;
        raise(t, code64(t.s) && is_stack_access(t, va) ? kSS : kGP);
        return false;
    }

    void alignment_fault(void* state, u64, jit::Access, unsigned) const override {
        TranslateState& t = state_of(state);
        const ModeBits mode = ModeBits::of(t);
        // Operands that must be aligned anyway raise #GP before alignment checking sees them (SDM volume 3, table 6-2).
        Instruction insn;
        const bool must_align = mode.is64() && current_instruction(t, insn) && (insn.flags & kRowAligned) != 0;
        raise(t, mode.has(ModeBits::kAlignCheck) && !must_align ? kAC : kGP);
    }

    jit::ir::LeaveReason deliver_exception(void* state) const override { return x86::deliver_exception(state_of(state)); }
    bool poll_interrupts(void* state) const override { return x86::poll_interrupts(state_of(state)); }

    std::string disassemble(const jit::ir::BlockKey& key, std::span<const u8> code) const override;

private:
    const CpuModel& model_;
    const std::atomic<u64>* sought_pc_;
    std::vector<jit::StateSlot> slots_;
    jit::StateLayout layout_;
};

std::string X86Guest::disassemble(const jit::ir::BlockKey& key, std::span<const u8> code) const {
    const Mode mode = ModeBits{key.mode}.code();
    const cs_mode size = mode == Mode::Bits64 ? CS_MODE_64 : mode == Mode::Bits32 ? CS_MODE_32 : CS_MODE_16;
    csh engine = 0;
    if (cs_open(CS_ARCH_X86, size, &engine) != CS_ERR_OK) return {};
    cs_insn* insns = nullptr;
    const std::size_t count = cs_disasm(engine, code.data(), code.size(), key.pc, 0, &insns);
    std::string text;
    std::size_t covered = 0;
    for (std::size_t i = 0; i < count; ++i) {
        text += fmt::format("{:#x}:  {} {}\n", insns[i].address, insns[i].mnemonic, insns[i].op_str);
        covered += insns[i].size;
    }
    if (count != 0) cs_free(insns, count);
    cs_close(&engine);
    for (; covered < code.size(); ++covered) text += fmt::format("{:#x}:  .byte {:#04x}\n", key.pc + covered, code[covered]);
    return text;
}

}  // namespace

std::unique_ptr<jit::Guest> create_guest(const CpuModel& model, const std::atomic<u64>* sought_pc) {
    return std::make_unique<X86Guest>(model, sought_pc);
}

}  // namespace tandem::cpu::x86

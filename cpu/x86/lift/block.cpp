#include "cpu/x86/lift/block.h"

#include <algorithm>
#include <array>

#include "base/plant.h"
#include "cpu/x86/lift/lifter.h"

namespace tandem::cpu::x86 {
namespace {

// Bounds a block's IR well below what 16-bit value names can hold; one instruction makes far fewer than the difference.
constexpr std::size_t kMaxBlockIr = 8192;

struct LiftTable {
    std::array<const LiftRow*, static_cast<std::size_t>(Opcode::Count_)> rows{};

    LiftTable() {
#define TANDEM_X86_LIFT_TABLE(name) add(name##_rows());
#include "cpu/x86/lift/tables.inc"
#undef TANDEM_X86_LIFT_TABLE
    }
    void add(std::span<const LiftRow> table) {
        for (const LiftRow& row : table) rows[static_cast<std::size_t>(row.opcode)] = &row;
    }
};

const LiftRow* row_of(Opcode opcode) {
    static const LiftTable kTable;
    return kTable.rows[static_cast<std::size_t>(opcode)];
}

// The exception that the mode makes of an instruction of this row, whatever its operands.
std::optional<Vector> refused(const Instruction& i, ModeBits mode) {
    if ((i.flags & kRowProtected) != 0 && !mode.protected_mode()) return kUD;
    if ((i.flags & kRowSse) != 0 && (mode.has(ModeBits::kEm) || !mode.has(ModeBits::kOsFxsr))) return kUD;
    if ((i.flags & kRowMmx) != 0 && mode.has(ModeBits::kEm)) return kUD;
    // SVM's own look for EFER.SVME first.
    if ((i.flags & kRowCpl0) != 0 && i.feature != Feature::SVM && mode.cpl() != 0 &&
        !plant::active(plant::Fault::MissedPrivilege)) {
        const bool smap = i.opcode == Opcode::CLAC || i.opcode == Opcode::STAC;
        return smap ? kUD : kGP;
    }
    if ((i.flags & kRowAvx) != 0 && !mode.has(ModeBits::kAvx)) return kUD;
    if ((i.flags & (kRowSse | kRowAvx | kRowMmx | kRowX87)) != 0 && mode.has(ModeBits::kTs)) return kNM;
    if ((i.flags & kRowX87) != 0 && mode.has(ModeBits::kEm)) return kNM;
    return std::nullopt;
}

// Whether the model offers the instruction, possibly as the older one that its encoding stands for.
bool offered(const CpuModel& model, Instruction& i) {
    if ((i.flags & kRowAvx) != 0 && !model.has(Feature::AVX)) return false;
    if (i.feature == kNoFeature || model.has(i.feature)) return true;
    if (i.fallback == Opcode::Invalid_) return false;
    i.opcode = i.fallback;
    return true;
}

// Instruction fetches beyond the code segment's limit are #GP(0). Real-mode-like segments hold at least 64 KiB.
void check_fetch_limit(Lifter& l) {
    if (!l.mode.is64()) l.check_target(l.imm64(l.pc + l.insn.length - 1));
}

void lift_instruction(Lifter& l, Instruction insn, u64 pc, DecodeStatus status) {
    if (status != DecodeStatus::Ok) insn = Instruction{};
    l.begin_instruction(insn, pc);
    if (status == DecodeStatus::TooLong) return l.raise(kGP);
    if (status != DecodeStatus::Ok) return l.raise(kUD);
    check_fetch_limit(l);
    if (!offered(l.model, l.insn)) return l.raise(kUD);
    const LiftRow* row = row_of(l.insn.opcode);
    if (row == nullptr) return l.raise(kUD);
    if (const auto vector = refused(l.insn, l.mode)) return l.raise(*vector);
    if (l.mode.has(ModeBits::kSvmGuest)) lift_intercepts(l);
    l.arg = row->arg;
    row->lift(l);
}

// The bytes of an instruction that begins at `offset` and crosses into the second page.
std::span<const u8> across_pages(const jit::CodeWindow& code, std::size_t offset,
                                 std::array<u8, kMaxInstructionLength>& buffer) {
    const std::size_t head = std::min(code.first.size() - offset, buffer.size());
    const std::size_t tail = std::min(code.second.size(), buffer.size() - head);
    std::copy_n(code.first.begin() + static_cast<std::ptrdiff_t>(offset), head, buffer.begin());
    std::copy_n(code.second.begin(), tail, buffer.begin() + static_cast<std::ptrdiff_t>(head));
    return {buffer.data(), head + tail};
}

}  // namespace

jit::LiftStatus lift_block(const CpuModel& model, const jit::ir::BlockKey& key, const jit::CodeWindow& code,
                           unsigned max_insns, jit::ir::Block& out, u64 sought_pc) {
    const ModeBits mode{key.mode};
    Lifter l(out, model, mode);
    l.sought_pc = sought_pc;
    out.key = key;
    if (mode.single()) max_insns = 1;
    u64 pc = key.pc;
    std::size_t offset = 0;
    std::array<u8, kMaxInstructionLength> buffer;
    for (unsigned n = 0; !l.ended(); ++n) {
        if (n == max_insns || offset >= code.first.size() || out.insts.size() > kMaxBlockIr) {
            l.fall_through(pc);
            break;
        }
        Instruction insn;
        DecodeStatus status = decode(code.first.subspan(offset), mode.code(), insn);
        if (status == DecodeStatus::Truncated) {
            if (n != 0) {
                l.fall_through(pc);
                break;
            }
            if (code.second.empty()) return jit::LiftStatus::NeedSecondPage;
            status = decode(across_pages(code, offset, buffer), mode.code(), insn);
        }
        lift_instruction(l, insn, pc, status);
        offset += std::max<std::size_t>(l.insn.length, 1);
        pc = l.next;
        out.guest_insns = n + 1;
        out.guest_bytes = static_cast<u32>(offset);
    }
    return jit::LiftStatus::Ok;
}

}  // namespace tandem::cpu::x86

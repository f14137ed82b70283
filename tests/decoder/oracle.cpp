#include "tests/decoder/oracle.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bits.h"

namespace tandem::cpu::x86 {
namespace {

constexpr u64 kAddress = 0x10000;

std::string gpr_name(unsigned reg, unsigned size) {
    static constexpr const char* kLow[] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
    if (size == 1) {
        static constexpr const char* kBytes[] = {"al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"};
        return reg < 8 ? kBytes[reg] : fmt::format("r{}b", reg);
    }
    if (reg >= 8) return fmt::format("r{}{}", reg, size == 2 ? "w" : size == 4 ? "d" : "");
    return fmt::format("{}{}", size == 2 ? "" : size == 4 ? "e" : "r", kLow[reg]);
}

std::string vector_name(unsigned reg, unsigned size) { return fmt::format("{}mm{}", size == 32 ? 'y' : 'x', reg); }

constexpr const char* kSegments[] = {"es", "cs", "ss", "ds", "fs", "gs"};

std::string memory_text(std::string_view segment, const std::string& base, const std::string& index, int scale, u64 disp) {
    std::string text = fmt::format("[{}:{}", segment, base);
    if (!index.empty()) text += fmt::format("+{}*{}", index, scale);
    return text + fmt::format("+{:#x}]", disp);
}

u64 address_mask(const Instruction& insn) { return mask(insn.address_size * 8u); }

std::string memory_text(const Instruction& insn, const Operand& op) {
    const MemoryOperand& m = insn.mem;
    auto name = [&](u8 reg) { return reg == MemoryOperand::kNoReg ? std::string() : gpr_name(reg, insn.address_size); };
    // Capstone tells of an override, not of the default segment.
    const char* segment = insn.segment_prefix <= GS ? kSegments[insn.segment_prefix] : "";
    std::string base = m.rip_relative ? (insn.address_size == 4 ? "eip" : "rip") : name(m.base);
    if (op.kind == OperandKind::StringSrc) base = name(RSI);
    if (op.kind == OperandKind::StringDst) {
        segment = "";
        base = name(RDI);
    }
    const std::string index = m.vector_index != 0 ? vector_name(m.index, m.vector_index) : name(m.index);
    return memory_text(segment, base, index, m.scale, static_cast<u64>(m.disp) & address_mask(insn));
}

std::string operand_text(const Instruction& insn, const Operand& op) {
    switch (op.kind) {
        case OperandKind::None: return "none";
        case OperandKind::Gpr: return gpr_name(op.reg, op.size);
        case OperandKind::GprHigh8: return fmt::format("{}h", "acdb"[op.reg]);
        case OperandKind::Seg: return kSegments[op.reg];
        case OperandKind::Cr: return fmt::format("cr{}", op.reg);
        case OperandKind::Dr: return fmt::format("dr{}", op.reg);
        case OperandKind::St: return fmt::format("st({})", op.reg);
        case OperandKind::Mm: return fmt::format("mm{}", op.reg);
        case OperandKind::Xmm: return vector_name(op.reg, op.size);
        case OperandKind::Imm: return fmt::format("{:#x}", static_cast<u64>(op.imm) & mask(op.size * 8u));
        case OperandKind::Rel: {
            u64 target = kAddress + insn.length + static_cast<u64>(op.imm);
            return fmt::format("{:#x}", target & mask(insn.operand_size * 8u));
        }
        case OperandKind::Far: return fmt::format("{:#x}, {:#x}", insn.selector, static_cast<u64>(op.imm));
        default: return memory_text(insn, op);
    }
}

}  // namespace

// The decoders list operands in different orders (XCHG, BT, Capstone's AT&T heritage): only the set is compared.
static std::string joined(std::vector<std::string> operands) {
    std::sort(operands.begin(), operands.end());
    return fmt::format("{}", fmt::join(operands, ", "));
}

std::string operands_text(const Instruction& insn) {
    std::vector<std::string> list;
    for (unsigned i = 0; i < insn.operand_count; ++i) list.push_back(operand_text(insn, insn.op[i]));
    return joined(std::move(list));
}

static std::string lower(std::string_view text) {
    std::string result(text);
    for (char& c : result) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    return result;
}

std::string hex(std::span<const u8> bytes) { return fmt::format("{:02x}", fmt::join(bytes, " ")); }

Oracle::Oracle(Mode mode) : mode_(mode) {
    constexpr cs_mode kModes[] = {CS_MODE_16, CS_MODE_32, CS_MODE_64};
    cs_open(CS_ARCH_X86, kModes[static_cast<unsigned>(mode)], &handle_);
    cs_option(handle_, CS_OPT_DETAIL, CS_OPT_ON);
    insn_ = cs_malloc(handle_);
}

Oracle::~Oracle() {
    cs_free(insn_, 1);
    cs_close(&handle_);
}

std::string Oracle::operands(const cs_insn& insn, const Instruction& ours) const {
    const cs_x86& x86 = insn.detail->x86;
    std::vector<std::string> list;
    auto name = [this](x86_reg reg) {
        return reg == X86_REG_INVALID || reg == X86_REG_EIZ || reg == X86_REG_RIZ ? "" : cs_reg_name(handle_, reg);
    };
    for (unsigned i = 0; i < x86.op_count; ++i) {
        const cs_x86_op& op = x86.operands[i];
        if (op.type == X86_OP_REG) {
            list.emplace_back(name(op.reg));
        } else if (op.type == X86_OP_MEM) {
            const bool ignored = mode_ == Mode::Bits64 && op.mem.segment != X86_REG_FS && op.mem.segment != X86_REG_GS;
            const bool destination =
                ours.operand_count > i && (ours.flags & kRowString) != 0 && op.mem.segment == X86_REG_ES;
            list.push_back(memory_text(ignored || destination ? "" : name(op.mem.segment), name(op.mem.base),
                                       name(op.mem.index), op.mem.scale,
                                       static_cast<u64>(op.mem.disp) & address_mask(ours)));
        } else {
            unsigned size = 8;
            for (unsigned k = 0; k < ours.operand_count; ++k) {
                if (ours.op[k].kind == OperandKind::Imm && (k == i || size == 8)) size = ours.op[k].size;
                if (ours.op[k].kind == OperandKind::Rel) size = ours.operand_size;
            }
            list.push_back(fmt::format("{:#x}", static_cast<u64>(op.imm) & mask(size * 8u)));
        }
    }
    return joined(std::move(list));
}

Comparison Oracle::compare(std::span<const u8> bytes) {
    Comparison c;
    c.status = decode(bytes, mode_, c.ours);
    const u8* code = bytes.data();
    size_t size = bytes.size();
    u64 address = kAddress;
    const bool theirs = cs_disasm_iter(handle_, &code, &size, &address, insn_);
    if (theirs) {
        c.capstone_mnemonic = insn_->mnemonic;
        c.capstone_text = operands(*insn_, c.ours);
    }
    if (c.status == DecodeStatus::Ok) c.ours_text = operands_text(c.ours);
    if (c.status != DecodeStatus::Ok) {
        c.difference = theirs ? Difference::OnlyCapstone : Difference::None;
    } else if (!theirs) {
        c.difference = Difference::OnlyOurs;
    } else if (insn_->size != c.ours.length) {
        c.difference = Difference::Length;
    } else if (c.ours.vex && lower(opcode_name(c.ours.opcode)) != c.capstone_mnemonic) {
        c.difference = Difference::Mnemonic;
    } else if (c.ours_text != c.capstone_text) {
        c.difference = Difference::Operands;
    }
    return c;
}

}  // namespace tandem::cpu::x86

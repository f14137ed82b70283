#include <algorithm>
#include <cstring>
#include <type_traits>

#include "base/bits.h"
#include "cpu/x86/decode/forms.h"
#include "cpu/x86/decode/instruction.h"
#include "cpu/x86/decode/lookup.h"

namespace tandem::cpu::x86 {
namespace {

using namespace decode_rows;

// What a prefix byte is. REX is told apart by value, as it exists in 64-bit mode only.
enum class PrefixKind : u8 { None, OperandSize, AddressSize, Lock, Repne, Rep, Es, Cs, Ss, Ds, Fs, Gs };

constexpr std::array<PrefixKind, 256> kPrefixKinds = [] {
    std::array<PrefixKind, 256> kinds{};
    kinds[0x26] = PrefixKind::Es;
    kinds[0x2e] = PrefixKind::Cs;
    kinds[0x36] = PrefixKind::Ss;
    kinds[0x3e] = PrefixKind::Ds;
    kinds[0x64] = PrefixKind::Fs;
    kinds[0x65] = PrefixKind::Gs;
    kinds[0x66] = PrefixKind::OperandSize;
    kinds[0x67] = PrefixKind::AddressSize;
    kinds[0xf0] = PrefixKind::Lock;
    kinds[0xf2] = PrefixKind::Repne;
    kinds[0xf3] = PrefixKind::Rep;
    return kinds;
}();

// SDM volume 2, table 2-1: base and index of 16-bit ModRM forms.
struct Address16 {
    u8 base, index;
};
constexpr u8 kNone = MemoryOperand::kNoReg;
constexpr Address16 kAddress16[8] = {{RBX, RSI},   {RBX, RDI},   {RBP, RSI},   {RBP, RDI},
                                     {RSI, kNone}, {RDI, kNone}, {RBP, kNone}, {RBX, kNone}};

constexpr u8 kRexB = 1, kRexX = 2, kRexR = 4, kRexW = 8;

class Decoder {
public:
    Decoder(std::span<const u8> bytes, Mode mode, Instruction& out)
        : start_(bytes.data()),
          at_(bytes.data()),
          end_(bytes.data() + std::min<size_t>(bytes.size(), kMaxInstructionLength)),
          mode_(mode),
          insn_(out) {}

    DecodeStatus run();

private:
    [[nodiscard]] DecodeStatus short_of_bytes() const {
        return end_ - start_ == static_cast<std::ptrdiff_t>(kMaxInstructionLength) ? DecodeStatus::TooLong
                                                                                   : DecodeStatus::Truncated;
    }
    [[nodiscard]] bool has(size_t count) const { return static_cast<size_t>(end_ - at_) >= count; }
    // Little-endian field of 1, 2, 4 or 8 bytes, sign-extended. The caller has checked has(count).
    i64 take(unsigned count);

    DecodeStatus prefixes(u8& byte);
    DecodeStatus opcode_map(u8 byte, Map& map);
    DecodeStatus vex(u8 byte, Map& map);
    const Row* find(const Slot& slot) const;
    void set_sizes(const Row& row);
    DecodeStatus memory();
    void vector_index(const Row& row);
    [[nodiscard]] bool distinct_registers() const;
    DecodeStatus memory32();
    DecodeStatus operand(const FormInfo& form, u8 access, Operand& out);
    DecodeStatus immediate(const FormInfo& form, Operand& out);
    bool reg_operand(OperandKind kind, u8 size, u8 number, u8 extension, Operand& out) const;
    [[nodiscard]] u8 size_of(u8 code) const;
    [[nodiscard]] u8 rex(u8 bit) const { return (rex_ & bit) != 0 ? 8 : 0; }

    const u8* start_;
    const u8* at_;
    const u8* end_;
    Mode mode_;
    Instruction& insn_;
    u8 rex_ = 0;            // R, X, B and W, also from VEX
    bool vex_w_ = false;    // VEX.W, also where it does not count as REX.W
    bool has_rex_ = false;  // a REX prefix: SPL, BPL, SIL, DIL instead of AH, CH, DH, BH
    bool address_override_ = false;
    u8 sib_ = 0;
};

template <class T>
i64 load_signed(const u8* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

i64 Decoder::take(unsigned count) {
    const u8* at = at_;
    at_ += count;
    switch (count) {
        case 1: return load_signed<i8>(at);
        case 2: return load_signed<i16>(at);
        case 4: return load_signed<i32>(at);
        default: return load_signed<i64>(at);
    }
}

// Leaves the first opcode byte in `byte`. A REX prefix counts only right before the opcode (SDM volume 2, 2.2.1).
DecodeStatus Decoder::prefixes(u8& byte) {
    for (;;) {
        if (!has(1)) return short_of_bytes();
        byte = *at_++;
        if (mode_ == Mode::Bits64 && (byte & 0xf0) == 0x40) {
            rex_ = byte;
            continue;
        }
        const PrefixKind kind = kPrefixKinds[byte];
        if (kind == PrefixKind::None) break;
        rex_ = 0;
        switch (kind) {
            case PrefixKind::OperandSize: insn_.prefix_66 = true; break;
            case PrefixKind::AddressSize: address_override_ = true; break;
            case PrefixKind::Lock: insn_.lock = true; break;
            case PrefixKind::Repne: insn_.rep = Rep::Repne; break;
            case PrefixKind::Rep: insn_.rep = Rep::Rep; break;
            case PrefixKind::Fs: insn_.segment_prefix = FS; break;
            case PrefixKind::Gs: insn_.segment_prefix = GS; break;
            default:
                // ES, CS, SS and DS overrides are ignored in 64-bit mode.
                if (mode_ != Mode::Bits64)
                    insn_.segment_prefix = static_cast<u8>(static_cast<u8>(kind) - static_cast<u8>(PrefixKind::Es));
                break;
        }
    }
    has_rex_ = rex_ != 0;
    insn_.rex = rex_;
    return DecodeStatus::Ok;
}

// Consumes escape bytes; the opcode byte ends up in insn_.opcode_byte.
DecodeStatus Decoder::opcode_map(u8 byte, Map& map) {
    map = Map::One;
    if (byte == 0x0f) {
        if (!has(1)) return short_of_bytes();
        byte = *at_++;
        map = Map::Two;
        if (byte == 0x38 || byte == 0x3a) {
            if (!has(1)) return short_of_bytes();
            map = byte == 0x38 ? Map::Esc38 : Map::Esc3A;
            byte = *at_++;
        }
    } else if (byte == 0xc4 || byte == 0xc5) {
        // Outside 64-bit mode these are LES and LDS unless what would be their ModRM has a register (SDM volume 2, 2.3.5).
        if (!has(1)) return short_of_bytes();
        if (mode_ == Mode::Bits64 || *at_ >= 0xc0) return vex(byte, map);
    }
    insn_.opcode_byte = byte;
    return DecodeStatus::Ok;
}

DecodeStatus Decoder::vex(u8 byte, Map& map) {
    // SDM volume 2, 2.3.2 to 2.3.4: LOCK, 66, F2, F3 or REX before VEX is #UD.
    if (insn_.lock || insn_.prefix_66 || insn_.rep != Rep::None || has_rex_) return DecodeStatus::Invalid;
    const bool three = byte == 0xc4;
    if (!has(three ? 3 : 2)) return short_of_bytes();
    const u8 p0 = *at_++;
    u8 last = p0;
    unsigned map_select = 1;
    rex_ = static_cast<u8>((p0 & 0x80) != 0 ? 0 : kRexR);
    if (three) {
        rex_ = static_cast<u8>(rex_ | ((p0 & 0x40) != 0 ? 0 : kRexX) | ((p0 & 0x20) != 0 ? 0 : kRexB));
        map_select = p0 & 0x1f;
        last = *at_++;
        vex_w_ = (last & 0x80) != 0;
        if (vex_w_) rex_ |= kRexW;
    }
    if (map_select < 1 || map_select > 3) return DecodeStatus::Invalid;
    map = static_cast<Map>(static_cast<unsigned>(Map::Vex0F) + map_select - 1);
    insn_.vex = true;
    insn_.vex_l = (last & 4) != 0;
    insn_.vex_vvvv = static_cast<u8>((~last >> 3) & 15);
    if (mode_ != Mode::Bits64) {
        rex_ = 0;
    }
    constexpr Rep kRep[4] = {Rep::None, Rep::None, Rep::Rep, Rep::Repne};
    insn_.prefix_66 = (last & 3) == 1;
    insn_.rep = kRep[last & 3];
    insn_.opcode_byte = *at_++;
    return DecodeStatus::Ok;
}

const Row* Decoder::find(const Slot& slot) const {
    const u8 prefix = insn_.rep == Rep::Rep ? PF3 : insn_.rep == Rep::Repne ? PF2 : insn_.prefix_66 ? P66 : NP;
    u32 excluded = mode_ == Mode::Bits64 ? kRowNo64 : kRowOnly64;
    excluded |= (rex_ & kRexW) != 0 ? kRowNoRexW : kRowRexW;
    if ((rex_ & kRexB) != 0) excluded |= kRowNoRexB;
    if (insn_.vex) excluded |= (insn_.vex_l ? kRowVexL0 : kRowVexL1) | (vex_w_ ? kRowVexW0 : kRowVexW1);
    const u16* order = kLookup.order + slot.first;
    for (unsigned i = 0; i < slot.count; ++i) {
        const Row& row = kRowTable[order[i]];
        if ((row.prefix & prefix) != 0 && (row.flags & excluded) == 0 && row.modrm.fits(insn_.modrm)) {
            insn_.row = order[i];
            return &row;
        }
    }
    return nullptr;
}

void Decoder::set_sizes(const Row& row) {
    // A mandatory 66 is no operand-size prefix.
    const bool toggle = insn_.prefix_66 && row.prefix != P66;
    if (mode_ == Mode::Bits64) {
        if ((row.flags & kRowForce64) != 0 || (rex_ & kRexW) != 0) {
            insn_.operand_size = 8;
        } else {
            insn_.operand_size = toggle ? 2 : (row.flags & kRowDefault64) != 0 ? 8 : 4;
        }
        insn_.address_size = address_override_ ? 4 : 8;
    } else {
        const bool wide = mode_ == Mode::Bits32;
        insn_.operand_size = wide != toggle ? 4 : 2;
        insn_.address_size = wide != address_override_ ? 4 : 2;
    }
}

DecodeStatus Decoder::memory() {
    MemoryOperand& m = insn_.mem;
    if (insn_.address_size != 2) return memory32();
    const unsigned mod = insn_.modrm_mod();
    const unsigned rm = insn_.modrm_rm();
    unsigned displacement = mod == 1 ? 1 : mod == 2 ? 2 : 0;
    if (mod == 0 && rm == 6) {
        displacement = 2;
    } else {
        m.base = kAddress16[rm].base;
        m.index = kAddress16[rm].index;
        if (m.base == RBP) m.segment = SS;
    }
    if (!has(displacement)) return short_of_bytes();
    if (displacement != 0) m.disp = take(displacement);
    return DecodeStatus::Ok;
}

DecodeStatus Decoder::memory32() {
    MemoryOperand& m = insn_.mem;
    const unsigned mod = insn_.modrm_mod();
    unsigned displacement = mod == 1 ? 1 : mod == 2 ? 4 : 0;
    u8 base = insn_.modrm_rm();
    bool no_base = mod == 0 && base == 5;
    if (base == 4) {
        if (!has(1)) return short_of_bytes();
        const u8 sib = sib_ = *at_++;
        base = sib & 7;
        no_base = mod == 0 && base == 5;
        const u8 index = static_cast<u8>(((sib >> 3) & 7) | rex(kRexX));
        if (index != RSP) {
            m.index = index;
            m.scale = static_cast<u8>(1 << (sib >> 6));
        }
    } else if (no_base) {
        m.rip_relative = mode_ == Mode::Bits64;
    }
    if (no_base) {
        displacement = 4;
    } else {
        m.base = static_cast<u8>(base | rex(kRexB));
        if (m.base == RSP || m.base == RBP) m.segment = SS;
    }
    if (!has(displacement)) return short_of_bytes();
    if (displacement != 0) m.disp = take(displacement);
    return DecodeStatus::Ok;
}

// What memory() took for a general register is a vector register, and 4 is one like any other (SDM volume 2, 2.3.12).
void Decoder::vector_index(const Row& row) {
    MemoryOperand& m = insn_.mem;
    if (m.index == MemoryOperand::kNoReg) m.index = RSP;
    m.scale = static_cast<u8>(1 << (sib_ >> 6));
    m.vector_index = size_of(kForms[static_cast<size_t>(row.forms[1])].size);
    if (m.vector_index == 8) m.vector_index = 16;
}

// SDM volume 2, VGATHER: "If any pair of the index, mask, or destination registers are the same, this instruction results a
// UD fault."
bool Decoder::distinct_registers() const {
    const u8 destination = insn_.op[0].reg, mask = insn_.op[2].reg, index = insn_.mem.index;
    return destination != mask && destination != index && mask != index;
}

u8 Decoder::size_of(u8 code) const {
    const u8 operand = insn_.operand_size;
    switch (code) {
        case V:
        case IV: return operand;
        case Z: return operand == 2 ? 2 : 4;
        case Y: return operand == 8 ? 8 : 4;
        case R: return mode_ == Mode::Bits64 ? 8 : 4;
        case P: return static_cast<u8>(operand + 2);
        case S: return mode_ == Mode::Bits64 ? 10 : 6;
        case A: return static_cast<u8>(operand * 2);
        case X: return insn_.vex_l ? 32 : 16;
        case XHalf: return insn_.vex_l ? 16 : 8;
        case XQuarter: return insn_.vex_l ? 8 : 4;
        case XEighth: return insn_.vex_l ? 4 : 2;
        default: return code;
    }
}

bool Decoder::reg_operand(OperandKind kind, u8 size, u8 number, u8 extension, Operand& out) const {
    out.kind = kind;
    out.size = size;
    out.reg = number;
    switch (kind) {
        case OperandKind::Gpr:
            if (size == 1 && !has_rex_ && number >= 4) {
                out.kind = OperandKind::GprHigh8;
                out.reg = number & 3;
                return true;
            }
            out.reg = number | extension;
            return true;
        case OperandKind::Xmm: out.reg = number | extension; return true;
        case OperandKind::Seg:
            // CS cannot be loaded by MOV (SDM volume 2, "MOV": #UD).
            return number <= GS && !(number == CS && (out.access & kAccessWrite) != 0);
        case OperandKind::Cr:
            out.reg = number | extension;
            return out.reg == 0 || (out.reg >= 2 && out.reg <= 4) || out.reg == 8;
        case OperandKind::Dr: return extension == 0;
        default: return true;
    }
}

DecodeStatus Decoder::immediate(const FormInfo& form, Operand& out) {
    unsigned bytes = size_of(form.size);
    if (form.size == P) bytes = insn_.operand_size;
    if (form.source == Source::MOffs) bytes = insn_.address_size;
    if (form.source == Source::Rel && form.size == Z && mode_ == Mode::Bits64) bytes = 4;
    const bool far = form.source == Source::Far;
    if (!has(bytes + (far ? 2 : 0))) return short_of_bytes();
    out.kind = form.kind;
    out.imm = take(bytes);
    out.size = insn_.operand_size;
    switch (form.source) {
        case Source::UImm:
            out.imm = static_cast<i64>(static_cast<u64>(out.imm) & mask(bytes * 8));
            out.size = form.size;
            break;
        case Source::Far:
            out.imm = static_cast<i64>(static_cast<u64>(out.imm) & mask(bytes * 8));
            insn_.selector = static_cast<u16>(take(2));
            out.size = size_of(P);
            break;
        case Source::MOffs:
            insn_.mem.disp = static_cast<i64>(static_cast<u64>(out.imm) & mask(bytes * 8));
            out.imm = 0;
            out.size = size_of(form.size);
            break;
        default: break;
    }
    return DecodeStatus::Ok;
}

DecodeStatus Decoder::operand(const FormInfo& form, u8 access, Operand& out) {
    out.access = access;
    bool ok = true;
    switch (form.source) {
        case Source::None: break;
        case Source::Rm:
            if (insn_.modrm_mod() == 3) {
                ok = reg_operand(form.kind, size_of(form.size), insn_.modrm_rm(), rex(kRexB), out);
            } else {
                out.kind = OperandKind::Mem;
                out.size = size_of(form.memory_size);
            }
            break;
        case Source::RegField: ok = reg_operand(form.kind, size_of(form.size), insn_.modrm_reg(), rex(kRexR), out); break;
        case Source::Vvvv:
            // Outside 64-bit mode the top bit of a register in vvvv is ignored (SDM volume 2, 2.3.5.6).
            ok = reg_operand(form.kind, size_of(form.size), insn_.vex_vvvv & 7,
                             mode_ == Mode::Bits64 ? insn_.vex_vvvv & 8 : 0, out);
            break;
        case Source::Is4: {
            if (!has(1)) return short_of_bytes();
            const u8 number = static_cast<u8>(*at_++ >> 4);
            ok = reg_operand(form.kind, size_of(form.size), number & 7, mode_ == Mode::Bits64 ? number & 8 : 0, out);
            break;
        }
        case Source::OpcodeReg:
            ok = reg_operand(form.kind, size_of(form.size), insn_.opcode_byte & 7, rex(kRexB), out);
            break;
        case Source::FixedGpr:
        case Source::FixedSeg:
        case Source::FixedSt0:
        case Source::FixedXmm0:
            out.kind = form.kind;
            out.size = size_of(form.size);
            out.reg = form.reg;
            break;
        case Source::One:
            out.kind = OperandKind::Imm;
            out.size = 1;
            out.imm = 1;
            break;
        case Source::StringSrc:
        case Source::StringDst:
            out.kind = form.kind;
            out.size = size_of(form.size);
            break;
        case Source::Xlat:
            out.kind = OperandKind::Mem;
            out.size = 1;
            insn_.mem.base = RBX;
            break;
        default: return immediate(form, out);
    }
    return ok ? DecodeStatus::Ok : DecodeStatus::Invalid;
}

constexpr u8 operand_access(RowAccess access, unsigned index) {
    switch (access) {
        case RowAccess::N: return kAccessNone;
        case RowAccess::R: return kAccessRead;
        case RowAccess::W: return index == 0 ? kAccessWrite : kAccessRead;
        case RowAccess::RW: return index == 0 ? kAccessReadWrite : kAccessRead;
        case RowAccess::XX: return index < 2 ? kAccessReadWrite : kAccessRead;
        case RowAccess::WW: return index < 2 ? kAccessWrite : kAccessRead;
        case RowAccess::XRX: return index != 1 ? kAccessReadWrite : kAccessRead;
    }
    return kAccessNone;
}

Opcode fallback_of(Opcode opcode) {
    switch (opcode) {
        case Opcode::TZCNT: return Opcode::BSF;
        case Opcode::LZCNT: return Opcode::BSR;
        case Opcode::WBNOINVD: return Opcode::WBINVD;
        default: return Opcode::Invalid_;
    }
}

DecodeStatus Decoder::run() {
    u8 byte = 0;
    Map map{};
    DecodeStatus status = prefixes(byte);
    if (status == DecodeStatus::Ok) status = opcode_map(byte, map);
    if (status != DecodeStatus::Ok) return status;

    const Slot& candidates = kLookup.slots[static_cast<unsigned>(map)][insn_.opcode_byte];
    if (candidates.count == 0) return DecodeStatus::Invalid;
    insn_.has_modrm = candidates.modrm;
    if (candidates.modrm) {
        if (!has(1)) return short_of_bytes();
        insn_.modrm = *at_++;
    }
    const Row* row = find(candidates);
    if (row == nullptr) return DecodeStatus::Invalid;
    if (row->modrm.mod == ModRmMatch::kIgnored) insn_.modrm |= 0xc0;

    insn_.mode = mode_;
    insn_.opcode = row->opcode;
    insn_.feature = row->feature;
    insn_.flags = row->flags;
    if ((row->flags & kRowFallback) != 0) insn_.fallback = fallback_of(row->opcode);
    set_sizes(*row);

    const bool memory_form = row->modrm.present && insn_.modrm_mod() != 3;
    if (insn_.lock && ((row->flags & kRowLock) == 0 || !memory_form)) return DecodeStatus::Invalid;
    if (insn_.vex_l && (row->flags & kRowAvxInteger) != 0) insn_.feature = Feature::AVX2;
    if (memory_form) {
        const bool vsib = (row->flags & kRowVsib) != 0;
        if (vsib && (insn_.address_size == 2 || insn_.modrm_rm() != 4)) return DecodeStatus::Invalid;
        status = memory();
        if (status != DecodeStatus::Ok) return status;
        if (vsib) vector_index(*row);
    }
    bool uses_vvvv = false;
    for (unsigned i = 0; i < row->forms.size() && row->forms[i] != Form::None; ++i) {
        const FormInfo& form = kForms[static_cast<size_t>(row->forms[i])];
        status = operand(form, operand_access(row->access, i), insn_.op[i]);
        if (status != DecodeStatus::Ok) return status;
        insn_.operand_count = static_cast<u8>(i + 1);
        uses_vvvv = uses_vvvv || form.source == Source::Vvvv;
    }
    // SDM volume 2, 2.3.5: an unused vvvv must be 1111b.
    if (insn_.vex && !uses_vvvv && insn_.vex_vvvv != 0) return DecodeStatus::Invalid;
    if ((row->flags & kRowVsib) != 0 && !distinct_registers()) return DecodeStatus::Invalid;
    if (insn_.segment_prefix <= GS) insn_.mem.segment = insn_.segment_prefix;
    insn_.length = static_cast<u8>(at_ - start_);
    return DecodeStatus::Ok;
}

// Copied by memcpy: the compiler would clear an Instruction by REP STOS, which costs more than the rest of many decodes.
constexpr Instruction kBlank;

constexpr std::string_view kOpcodeNames[] = {
    "invalid",
#define TANDEM_X86_OPCODE(name) #name,
#define TANDEM_X86_ROW(...)
#include "cpu/x86/decode/opcodes.inc"
#undef TANDEM_X86_OPCODE
#undef TANDEM_X86_ROW
};

}  // namespace

DecodeStatus decode(std::span<const u8> bytes, Mode mode, Instruction& out) {
    static_assert(std::is_trivially_copyable_v<Instruction>);
    std::memcpy(&out, &kBlank, sizeof out);
    return Decoder(bytes, mode, out).run();
}

std::string_view opcode_name(Opcode opcode) {
    return opcode < Opcode::Count_ ? kOpcodeNames[static_cast<size_t>(opcode)] : kOpcodeNames[0];
}

}  // namespace tandem::cpu::x86

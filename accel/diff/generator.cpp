#include "accel/diff/generator.h"

#include <cpuid.h>

#include <algorithm>
#include <cstring>

#include "accel/diff/compare.h"
#include "accel/diff/random_values.h"
#include "base/bits.h"

namespace tandem::accel::diff {

using namespace cpu::x86;
using namespace cpu::x86::decode_rows;

namespace {

// What is not tried on hardware, and why. Between translators only random numbers are left out.
struct Exclusion {
    const char* reason;
    std::initializer_list<Opcode> opcodes;
};
const Exclusion kExclusions[] = {
    {"enters the host's kernel, or its debugger interface",
     {Opcode::SYSCALL, Opcode::SYSENTER, Opcode::SYSEXIT, Opcode::SYSRET, Opcode::INT, Opcode::INT1, Opcode::INT3,
      Opcode::INTO, Opcode::VMCALL, Opcode::VMMCALL}},
    {"answers differ from run to run, or from CPU model to CPU model",
     {Opcode::CPUID, Opcode::RDTSC, Opcode::RDTSCP, Opcode::RDPMC, Opcode::RDRAND, Opcode::RDSEED, Opcode::RDPID,
      Opcode::XGETBV, Opcode::RDPKRU, Opcode::WRPKRU, Opcode::SERIALIZE, Opcode::XSAVE, Opcode::XSAVEC, Opcode::XSAVEOPT,
      Opcode::XRSTOR, Opcode::FXSAVE, Opcode::FXRSTOR}},
    {"depends on the host kernel's descriptor tables",
     {Opcode::SLDT, Opcode::STR, Opcode::SMSW, Opcode::SGDT, Opcode::SIDT, Opcode::LAR, Opcode::LSL, Opcode::VERR,
      Opcode::VERW, Opcode::CALL_FAR, Opcode::JMP_FAR, Opcode::RET_FAR, Opcode::IRET, Opcode::LSS, Opcode::LFS, Opcode::LGS,
      Opcode::LES, Opcode::LDS}},
    {"the child needs its FS and GS", {Opcode::WRFSBASE, Opcode::WRGSBASE, Opcode::RDFSBASE}},
    {"estimates: bits differ between processors",
     {Opcode::RCPPS, Opcode::RCPSS, Opcode::RSQRTPS, Opcode::RSQRTSS, Opcode::VRCPPS, Opcode::VRCPSS, Opcode::VRSQRTPS,
      Opcode::VRSQRTSS}},
    {"the host's hypervisor or kernel decides between #UD and #GP",
     {Opcode::VMREAD, Opcode::VMWRITE, Opcode::INVEPT, Opcode::INVVPID, Opcode::VMRUN, Opcode::VMLOAD, Opcode::VMSAVE,
      Opcode::STGI, Opcode::CLGI, Opcode::SKINIT, Opcode::INVLPGA, Opcode::MONITOR, Opcode::MWAIT, Opcode::XSETBV,
      Opcode::XSAVES, Opcode::XRSTORS}},
};

bool excluded(const Row& row, const World& world, Rules rules) {
    if ((row.flags & (world.is64() ? kRowNo64 : kRowOnly64)) != 0) return true;
    if (rules == Rules::Translators) return row.opcode == Opcode::RDRAND || row.opcode == Opcode::RDSEED;
    // They would change the world that the experiment ends in.
    if (world.cpl == 0 && (row.flags & kRowCpl0) != 0) return true;
    for (const Exclusion& e : kExclusions) {
        if (std::find(e.opcodes.begin(), e.opcodes.end(), row.opcode) != e.opcodes.end()) return true;
    }
    const bool to_segment = (row.opcode == Opcode::MOV_SEG && row.forms[0] == Form::Sw) ||
                            (row.opcode == Opcode::POP && row.forms[0] >= Form::rES && row.forms[0] <= Form::rGS);
    return to_segment;
}

bool has_form(const Row& row, std::initializer_list<Form> forms) {
    return std::any_of(row.forms.begin(), row.forms.end(),
                       [forms](Form f) { return std::find(forms.begin(), forms.end(), f) != forms.end(); });
}

// Appends one encoding of the row; the tail is random.
unsigned encode(Rng& rng, const Row& row, Mode mode, Rules rules, u8* out) {
    unsigned at = 0;
    auto chance = [&rng](unsigned percent) { return rng() % 100 < percent; };
    const bool vex = row.map >= Map::Vex0F;
    const bool wide = mode == Mode::Bits64;
    if (wide && chance(3)) out[at++] = 0x65;  // in 32-bit code GS is a null segment
    if (rules == Rules::Translators && chance(4)) out[at++] = pick<u8>(rng, {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65});
    if (chance(5)) out[at++] = 0x67;
    if (vex) {
        const u8 pp = row.prefix == P66 ? 1 : row.prefix == PF3 ? 2 : row.prefix == PF2 ? 3 : 0;
        const bool two_bytes = row.map == Map::Vex0F && (row.flags & (kRowVexW1 | kRowRexW)) == 0 && chance(40);
        out[at++] = two_bytes ? 0xc5 : 0xc4;
        if (!two_bytes) {
            out[at++] = static_cast<u8>((wide ? rng() & 0xe0 : 0xe0) |
                                        (static_cast<u8>(row.map) - static_cast<u8>(Map::Vex0F) + 1u));
        }
        // Without such an operand the register has to be 1111B.
        const bool all_ones =
            has_form(row, {Form::Hx, Form::Hdq, Form::By, Form::VMdx, Form::VMqx, Form::VMqh}) ? chance(33) : chance(90);
        u8 last = static_cast<u8>((rng() & 0x84) | (all_ones ? 0x78 : rng() & 0x78) | pp);
        if ((row.flags & kRowVexL0) != 0) last &= 0xfb;
        if ((row.flags & kRowVexL1) != 0) last |= 4;
        if ((row.flags & (kRowVexW0 | kRowNoRexW)) != 0) last &= 0x7f;
        if ((row.flags & (kRowVexW1 | kRowRexW)) != 0) last |= 0x80;
        if (two_bytes && !wide) last |= 0xc0;
        out[at++] = last;
    } else {
        if (chance((row.flags & kRowLock) != 0 ? 15 : 1)) out[at++] = 0xf0;
        if (row.prefix == Any || row.prefix == NPor66) {
            if (chance(20)) out[at++] = 0x66;
            if ((row.flags & kRowString) != 0 && chance(60)) out[at++] = pick<u8>(rng, {0xf2, 0xf3});
        } else if (row.prefix != NP) {
            out[at++] = row.prefix == P66 ? 0x66 : row.prefix == PF3 ? 0xf3 : 0xf2;
        }
        if (wide && (chance(40) || (row.flags & kRowRexW) != 0)) {
            u8 rex = static_cast<u8>(0x40 | (rng() & 15));
            if ((row.flags & kRowRexW) != 0) rex |= 8;
            if ((row.flags & kRowNoRexW) != 0) rex &= 0xf7;
            out[at++] = rex;
        }
        if (row.map != Map::One) out[at++] = 0x0f;
        if (row.map == Map::Esc38) out[at++] = 0x38;
        if (row.map == Map::Esc3A) out[at++] = 0x3a;
    }
    u8 opcode = row.byte;
    if ((row.flags & kRowPlusReg) != 0) opcode = static_cast<u8>(opcode + rng() % 8);
    if ((row.flags & kRowPlusCond) != 0) opcode = static_cast<u8>(opcode + rng() % 16);
    out[at++] = opcode;
    if (row.modrm.present) {
        u8 modrm = static_cast<u8>((rng() & ~u64{row.modrm.mask}) | row.modrm.value);
        if (row.modrm.mod == ModRmMatch::kRegister || (row.modrm.mod == ModRmMatch::kAnyMod && chance(40))) modrm |= 0xc0;
        if (row.modrm.mod == ModRmMatch::kMemory && modrm >= 0xc0) modrm &= 0xbf;
        if (has_form(row, {Form::VMdx, Form::VMqx, Form::VMqh})) modrm = static_cast<u8>((modrm & 0xf8) | 4);  // SIB
        out[at++] = modrm;
    }
    const u64 tail[2] = {integer(rng), integer(rng)};
    std::memcpy(out + at, tail, sizeof tail);
    return at;
}

// Replaces the displacement of a decoded operand in its bytes; false when it cannot be found, or the code is given (empty).
bool patch_displacement(std::span<u8> code, const Instruction& insn, u64 value, unsigned bytes) {
    if (code.empty()) return false;
    for (unsigned at = 1; at + bytes <= insn.length; ++at) {
        if (std::memcmp(&code[at], &insn.mem.disp, bytes) != 0) continue;
        u8 saved[8];
        std::memcpy(saved, &code[at], bytes);
        std::memcpy(&code[at], &value, bytes);
        Instruction again;
        const u64 m = mask(bytes * 8);
        if (decode(code, insn.mode, again) == DecodeStatus::Ok && again.length == insn.length &&
            again.opcode == insn.opcode && (static_cast<u64>(again.mem.disp) & m) == (value & m)) {
            return true;
        }
        std::memcpy(&code[at], saved, bytes);
    }
    return false;
}

// The indexes of a gather: near each other, now and then anywhere.
void steer_vector_index(Rng& rng, const Instruction& insn, CpuImage& in) {
    const bool quadwords = insn.opcode == Opcode::VGATHERQPS || insn.opcode == Opcode::VGATHERQPD ||
                           insn.opcode == Opcode::VPGATHERQD || insn.opcode == Opcode::VPGATHERQQ;
    const auto index = [&]() -> u64 {
        const u64 value = rng() % 32 == 0 ? integer(rng) : rng() % 256 - 128;
        return quadwords ? value : value & 0xffffffff;
    };
    const auto lane = [&] {
        const u64 low = index();
        return quadwords ? low : low | index() << 32;
    };
    in.fx.xmm[insn.mem.index] = {lane(), lane()};
    in.ymm_high[insn.mem.index] = {lane(), lane()};
}

// Makes the memory operand point at `target`; with empty `code` by registers alone.
void steer_memory(Rng& rng, std::span<u8> code, const Instruction& insn, CpuImage& in, u64 at_rip, u64 target) {
    const unsigned disp_bytes = insn.address_size == 2 ? 2 : 4;
    MemoryOperand m = insn.mem;
    if (m.vector_index != 0) {
        steer_vector_index(rng, insn, in);
        m.index = MemoryOperand::kNoReg;
    }
    if (insn.op[0].kind == OperandKind::MOffs || insn.op[1].kind == OperandKind::MOffs) {
        patch_displacement(code, insn, target, insn.address_size);
        return;
    }
    if (m.rip_relative || m.base == MemoryOperand::kNoReg) {
        u64 disp = m.rip_relative ? target - (at_rip + insn.length) : target;
        if (code.empty() && m.index != MemoryOperand::kNoReg && rng() % 8 != 0) {
            in.gpr[m.index] = (target - static_cast<u64>(m.disp)) / m.scale;
            // Aligned as the target is, or nowhere near.
            const u64 shift = (target - static_cast<u64>(m.disp)) % m.scale;
            if (target % 16 == 0 && shift != 0) in.gpr[m.index] = rng();
        } else if (m.index != MemoryOperand::kNoReg) {
            in.gpr[m.index] = rng() % 256;
            disp -= in.gpr[m.index] * m.scale;
        }
        patch_displacement(code, insn, disp, disp_bytes);
        return;
    }
    u64 rest = target - static_cast<u64>(m.disp);
    if (m.segment == GS) rest -= kData;
    if (m.index != MemoryOperand::kNoReg && m.index != m.base) {
        if (m.index != RSP) in.gpr[m.index] = rng() % 3 == 0 ? integer(rng) : rng() % 512;
        rest -= in.gpr[m.index] * m.scale;
    } else if (m.index == m.base) {
        rest /= m.scale + 1u;
    }
    if (insn.address_size == 2 && insn.mode != Mode::Bits16) return;  // nothing is mapped that low
    if (insn.address_size == 4) rest = (rest & 0xffffffff) | (rng() % 2 == 0 ? 0 : rng() << 32);
    in.gpr[m.base] = rest;
}

unsigned memory_size(const Instruction& insn) {
    for (const Operand& op : insn.op) {
        if (op.kind == OperandKind::Mem || op.kind == OperandKind::MOffs) return op.size;
    }
    return 0;
}

bool has_memory(const Instruction& insn) {
    return std::any_of(std::begin(insn.op), std::end(insn.op),
                       [](const Operand& op) { return op.kind == OperandKind::Mem || op.kind == OperandKind::MOffs; });
}

void steer_strings(Rng& rng, const Instruction& insn, CpuImage& in, u64 base) {
    const u64 upper = insn.address_size == 4 && rng() % 2 == 0 ? rng() << 32 : 0;
    in.gpr[RSI] = (address(rng, 8) - base) | upper;
    in.gpr[RDI] = (rng() % 3 == 0 ? in.gpr[RSI] + rng() % 32 - 16 : address(rng, 8) - base) | upper;
    if (insn.segment_prefix == GS) in.gpr[RSI] -= kData - base;
    in.gpr[RCX] = (rng() % 8 == 0 ? rng() % 5000 : rng() % 40) | (insn.address_size == 4 ? rng() << 32 : 0);
}

// Selectors of descriptors that there are.
void steer_selectors(Rng& rng, std::span<u8> code, const Instruction& insn, CpuImage& in) {
    constexpr Opcode kTaking[] = {Opcode::MOV_SEG, Opcode::LTR,  Opcode::LLDT, Opcode::LAR,
                                  Opcode::LSL,     Opcode::VERR, Opcode::VERW, Opcode::ARPL};
    if (std::find(std::begin(kTaking), std::end(kTaking), insn.opcode) != std::end(kTaking)) {
        for (const Operand& op : insn.op) {
            if (op.kind == OperandKind::Gpr && rng() % 8 != 0) in.gpr[op.reg & 15] = selector(rng);
        }
    }
    if (code.empty() || insn.op[0].kind != OperandKind::Far || rng() % 8 == 0) return;
    // The selector comes last, behind an offset of the operand's size.
    const u16 target = selector(rng);
    const u32 offset = static_cast<u32>(kCodeStart + rng() % 0x100);
    std::memcpy(&code[insn.length - 2u], &target, 2);
    if (rng() % 2 == 0) std::memcpy(&code[insn.length - 2u - insn.operand_size], &offset, insn.operand_size);
}

// Sets registers, and displacements unless `code` is empty, so that the instruction gets somewhere. False: it must not run.
bool steer(Rng& rng, std::span<u8> code, const Instruction& insn, CpuImage& in, u64 at_rip, const World& world,
           Rules rules) {
    const u64 base = world.data_base();
    if (insn.segment_prefix == FS && rules == Rules::Hardware) return false;
    if ((insn.flags & kRowString) != 0) steer_strings(rng, insn, in, base);
    if (has_memory(insn)) {
        u64 target = address(rng, memory_size(insn)) - base;
        // A locked access across cache lines makes the host's kernel slow the child down.
        if (insn.lock || insn.opcode == Opcode::XCHG) target &= ~u64{15};
        // Bit strings: the bit offset register moves the address.
        const bool bit_string = insn.opcode >= Opcode::Invalid_ && insn.op[1].kind == OperandKind::Gpr &&
                                (insn.opcode == Opcode::BT || insn.opcode == Opcode::BTS || insn.opcode == Opcode::BTR ||
                                 insn.opcode == Opcode::BTC);
        if (bit_string && rng() % 4 != 0) {
            in.gpr[insn.op[1].reg & 15] = static_cast<u64>(sign_extend(rng(), 13));
            target = kData - base + 0x800 + (rng() % 0x1000 & (insn.lock ? ~u64{15} : ~u64{0}));
        }
        steer_memory(rng, code, insn, in, at_rip, target);
    }
    if (rules == Rules::Translators) steer_selectors(rng, code, insn, in);
    switch (insn.opcode) {
        case Opcode::LEAVE:
        case Opcode::ENTER: in.gpr[RBP] = address(rng, 8) - base; break;
        case Opcode::XLAT: in.gpr[RBX] = address(rng, 1) - base - (in.gpr[RAX] & 0xff); break;
        case Opcode::MASKMOVQ:
        case Opcode::MASKMOVDQU:
        case Opcode::VMASKMOVDQU: in.gpr[RDI] = address(rng, 16) - base; break;
        case Opcode::DIV:
        case Opcode::IDIV:
            if (rng() % 2 == 0) in.gpr[RDX] = rng() % 2 == 0 ? 0 : in.gpr[RDX] & 0xff;
            break;
        default: break;
    }
    if (rng() % 16 == 0) in.gpr[RSP] = address(rng, 8) - base;
    return true;
}

// A near branch into its own bytes would decode them anew, or never end.
bool jumps_into_itself(const Instruction& insn, u64 at_rip, u64 start) {
    if (insn.op[0].kind != OperandKind::Rel) return false;
    const u64 target = at_rip + insn.length + static_cast<u64>(insn.op[0].imm);
    return target + kMaxCode > start && target < start + kMaxCode + 64;
}

}  // namespace

namespace {

// Legacy encodings of extensions without rows: GFNI, MOVDIRI, MOVDIR64B and ENQCMD, PTWRITE, CET, WAITPKG, user interrupts,
// SGX.
bool unknown_extension(std::span<const u8> code) {
    size_t at = 0;
    bool two = false;
    u8 prefix = 0;
    for (; at < code.size(); ++at) {
        const u8 b = code[at];
        const bool segment = (b & 0xe7) == 0x26 || b == 0x64 || b == 0x65;
        if (b == 0xf2 || b == 0xf3 || b == 0x66) prefix = b;
        if (!segment && (b & 0xf0) != 0x40 && b != 0x66 && b != 0x67 && b != 0xf0 && b != 0xf2 && b != 0xf3) break;
    }
    two = code[at] == 0x0f;
    if (!two) return code[at] == 0xc4 || code[at] == 0xc5 || code[at] == 0x62 || code[at] == 0x8f;
    const u8 opcode = code[at + 1];
    const u8 third = code[at + 2];
    if (opcode == 0x38) return third == 0xcf || (third >= 0xf5 && third <= 0xfc) || (third >= 0xd8 && third <= 0xdf);
    if (opcode == 0x3a) return third == 0xce || third == 0xcf || third == 0xf0;
    return opcode == 0x01 || (opcode == 0xae && prefix != 0) || (opcode == 0xc7 && prefix != 0) || opcode == 0x05 ||
           opcode == 0x34;
}

}  // namespace

TestCase undefined_encoding(Rng& rng) {
    constexpr u8 kPrefixes[] = {0x66, 0xf2, 0xf3, 0xf0, 0x48, 0x44, 0x41};
    for (;;) {
        TestCase test;
        random_state(rng, test.in, worlds()[0], Rules::Hardware);
        test.length = kMaxInstructionLength;
        for (u8& b : std::span(test.code).first(test.length)) b = static_cast<u8>(rng());
        unsigned at = 0;
        while (rng() % 2 != 0 && at < 3) test.code[at++] = kPrefixes[rng() % std::size(kPrefixes)];
        if (rng() % 4 != 0) test.code[at++] = 0x0f;
        if (at != 0 && test.code[at - 1] == 0x0f && rng() % 3 == 0) test.code[at] = rng() % 2 != 0 ? 0x38 : 0x3a;
        const std::span<const u8> code = std::span(test.code).first(test.length);
        Instruction insn;
        if (decode(code, Mode::Bits64, insn) == DecodeStatus::Invalid && !unknown_extension(code)) return test;
    }
}

namespace {

// VEX encodings of extensions without rows: AVX-512's mask instructions, AMX, AVX-VNNI and its successors, AVX-IFMA,
// AVX-NE-CONVERT, CMPCCXADD, GFNI, SHA512, SM3, SM4.
bool unknown_vex_extension(unsigned map, u8 opcode) {
    const auto within = [opcode](u8 first, u8 last) { return opcode >= first && opcode <= last; };
    switch (map) {
        case 1: return within(0x41, 0x4b) || within(0x90, 0x99);
        case 2:
            return within(0x48, 0x53) || within(0x5c, 0x5f) || within(0x6b, 0x6f) || opcode == 0x72 || within(0xb0, 0xb5) ||
                   within(0xcb, 0xd3) || opcode == 0xda || within(0xe0, 0xef);
        default: return within(0x30, 0x33) || opcode == 0xce || opcode == 0xcf || opcode == 0xde;
    }
}

}  // namespace

TestCase undefined_vex_encoding(Rng& rng) {
    for (;;) {
        TestCase test;
        random_state(rng, test.in, worlds()[0], Rules::Hardware);
        test.length = kMaxInstructionLength;
        for (u8& b : std::span(test.code).first(test.length)) b = static_cast<u8>(rng());
        const auto map = static_cast<unsigned>(rng() % 3 + 1);
        const bool two_bytes = map == 1 && rng() % 2 == 0;
        test.code[0] = two_bytes ? 0xc5 : 0xc4;
        if (!two_bytes) test.code[1] = static_cast<u8>((test.code[1] & 0xe0) | map);
        if (rng() % 2 == 0) test.code[two_bytes ? 1 : 2] |= 0x78;
        Instruction insn;
        const std::span<const u8> code = std::span(test.code).first(test.length);
        if (decode(code, Mode::Bits64, insn) == DecodeStatus::Invalid &&
            !unknown_vex_extension(map, code[two_bytes ? 2 : 3])) {
            return test;
        }
    }
}

bool host_has(Feature feature) {
    struct Bit {
        u32 leaf, subleaf;
        int reg;
        unsigned bit;
    };
    enum { eax, ebx, ecx, edx };
    static constexpr Bit kBits[] = {
#define TANDEM_X86_FEATURE(id, name, leaf, subleaf, reg, bit) {leaf, subleaf, reg, bit},
#include "cpu/x86/models/features.inc"
#undef TANDEM_X86_FEATURE
    };
    if (feature == kNoFeature) return true;
    const Bit& b = kBits[static_cast<size_t>(feature)];
    if (b.leaf >= 0x40000000 && b.leaf < 0x80000000) return false;
    u32 regs[4] = {};
    if (__get_cpuid_count(b.leaf, b.subleaf, &regs[0], &regs[1], &regs[2], &regs[3]) == 0) return false;
    return bit(regs[b.reg], b.bit);
}

Generator::Generator(std::span<const std::string> only, unsigned world, Rules rules,
                     const std::function<bool(Feature)>& offers)
    : index_(static_cast<u8>(world)), world_(worlds()[world]), rules_(rules) {
    for (const Row& row : decode_rows::rows()) {
        if (excluded(row, world_, rules) || !offers(row.feature)) continue;
        if (!only.empty() && std::find(only.begin(), only.end(), opcode_name(row.opcode)) == only.end()) continue;
        rows_.push_back(&row);
    }
}

void Generator::fill_memory(Rng& rng, std::span<u8> memory) {
    for (size_t at = 0; at + 8 <= memory.size(); at += 8) {
        u64 value = quadword(rng);
        if (rng() % 16 == 0) value = kCodePage + rng() % 0x1000;
        if (rng() % 16 == 0) value = address(rng, 8);
        // Far pointers, and what far returns and IRET pop.
        if (rng() % 16 == 0) value = selector(rng);
        if (rng() % 16 == 0) value = (kCodePage + rng() % 0x1000) | u64{selector(rng)} << 32;
        const bool in_table = at >= 0x1000 && at < 0x1000 + kDescriptors * 8;
        if (in_table && rng() % 4 != 0) value = descriptor(rng);
        std::memcpy(&memory[at], &value, 8);
    }
}

bool Generator::append(Rng& rng, TestCase& test, bool last) const {
    u8 bytes[48] = {};
    encode(rng, *rows_[rng() % rows_.size()], world_.mode, rules_, bytes);
    const u64 rip = test.in.rip + test.length;
    const std::span<u8> code{bytes, kMaxInstructionLength};
    Instruction insn;
    if (decode(code, world_.mode, insn) != DecodeStatus::Ok || test.length + insn.length > kMaxCode) return false;
    if (insn.lock && rules_ == Rules::Hardware && (!last || test.length != 0)) return false;
    if (!steer(rng, code, insn, test.in, rip, world_, rules_) || jumps_into_itself(insn, rip, world_.start())) return false;
    std::memcpy(&test.code[test.length], bytes, insn.length);
    const bool first = test.length == 0;
    test.length = static_cast<u8>(test.length + insn.length);
    if (rules_ == Rules::Translators) return true;
    // What an instruction leaves undefined must not reach the next one; nor may FNSTENV show pointers that the host keeps
    // without selectors (CPUID.7.EBX[13]). POPF comes last: TF and AC would change what the rest does on the host.
    const bool shows_pointers = insn.opcode == Opcode::FNSTENV || insn.opcode == Opcode::FNSAVE;
    if (!first && shows_pointers) return false;
    return last || (undefined_flags(insn, test.in, first) == 0 && insn.opcode != Opcode::POPF);
}

TestCase Generator::make(u64 seed, unsigned longest) const {
    Rng rng(seed * 0x9e3779b97f4a7c15 + 1);
    for (;;) {
        TestCase test;
        test.seed = seed;
        test.world = index_;
        random_state(rng, test.in, world_, rules_);
        unsigned wanted = longest > 1 && rng() % 4 == 0 ? 2 + static_cast<unsigned>(rng() % (longest - 1)) : 1;
        bool ok = true;
        while (wanted-- > 0 && ok) ok = append(rng, test, wanted == 0);
        if (!world_.is64()) truncate(test.in);
        if (ok && test.length != 0) return test;
    }
}

TestCase Generator::vary(const TestCase& test, u64 index) const {
    constexpr unsigned kAttempts = 8;
    if (index == 0) return test;
    Rng rng((test.seed * 0x9e3779b97f4a7c15 + 1) ^ (index * 0xd1342543de82ef95));
    const std::vector<Instruction> list = instructions(test);
    for (unsigned attempt = 0; attempt < kAttempts; ++attempt) {
        TestCase other = test;
        other.variant = index;
        random_state(rng, other.in, world_, rules_);
        u64 rip = other.in.rip;
        bool ok = true;
        for (const Instruction& insn : list) {
            steer(rng, {}, insn, other.in, rip, world_, rules_);
            rip += insn.length;
        }
        for (const Instruction& insn : list) {
            if (rules_ == Rules::Hardware && &insn != &list.back())
                ok = ok && undefined_flags(insn, other.in, &insn == &list.front()) == 0;
        }
        if (!world_.is64()) truncate(other.in);
        if (ok) return other;
    }
    return test;
}

}  // namespace tandem::accel::diff

// The decoder against Capstone on seeded random bytes. Where the two differ the table below must say why the decoder is
// right; an unexplained difference fails. TANDEM_DECODER_COUNT sets the number of byte strings for each mode and generator.
#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <map>
#include <random>
#include <set>

#include "cpu/x86/decode/rows.h"
#include "tests/decoder/oracle.h"

namespace tandem::cpu::x86 {
namespace {

// What the legacy prefixes of some bytes are, for the table's conditions.
struct Prefixes {
    bool p66 = false, p67 = false, lock = false, rep = false, rex = false, rex_w = false, rex_r = false,
         fs_gs_then_other = false;
    unsigned count = 0;
};

Prefixes scan(std::span<const u8> bytes, Mode mode) {
    Prefixes p;
    bool fs_gs = false;
    for (const u8 b : bytes) {
        if (mode == Mode::Bits64 && (b & 0xf0) == 0x40) {
            p.rex = true;
            p.rex_w = p.rex_w || (b & 8) != 0;
            p.rex_r = p.rex_r || (b & 4) != 0;
        } else if (b == 0x66) {
            p.p66 = true;
        } else if (b == 0x67) {
            p.p67 = true;
        } else if (b == 0xf0) {
            p.lock = true;
        } else if (b == 0xf2 || b == 0xf3) {
            p.rep = true;
        } else if (b == 0x64 || b == 0x65) {
            fs_gs = true;
        } else if (b == 0x26 || b == 0x2e || b == 0x36 || b == 0x3e) {
            p.fs_gs_then_other = p.fs_gs_then_other || fs_gs;
        } else {
            break;
        }
        ++p.count;
    }
    return p;
}

struct Case {
    Comparison c;
    Prefixes p;
    Mode mode;
    u8 first;  // byte after the prefixes
    std::array<u8, 16> bytes;

    [[nodiscard]] bool is(std::initializer_list<Opcode> list) const {
        return std::find(list.begin(), list.end(), c.ours.opcode) != list.end();
    }
    [[nodiscard]] bool says(std::initializer_list<std::string_view> starts) const {
        return std::any_of(starts.begin(), starts.end(),
                           [this](std::string_view s) { return c.capstone_mnemonic.starts_with(s); });
    }
    [[nodiscard]] bool vex() const { return first == 0xc4 || first == 0xc5; }
    // Whether the decoder takes it with these bits of the last VEX byte set or inverted.
    [[nodiscard]] bool would_decode(u8 set, u8 invert) const {
        std::array<u8, 16> other = bytes;
        u8& last = other[p.count + (first == 0xc4 ? 2 : 1)];
        last = static_cast<u8>((last | set) ^ invert);
        Instruction insn;
        return decode(std::span(other).first(kMaxInstructionLength), mode, insn) == DecodeStatus::Ok;
    }
    [[nodiscard]] bool mandatory() const { return p.p66 || p.rep; }
};

using O = Opcode;
using D = Difference;

struct Explanation {
    Difference difference;
    bool (*applies)(const Case&);
    const char* reason;
};

const Explanation kExplanations[] = {
    {D::OnlyCapstone,
     [](const Case& c) { return c.says({"k", "llwpcb", "slwpcb", "lwp", "blc", "bls", "tzmsk", "t1mskc", "bextr"}); },
     "AVX-512, XOP, TBM, LWP have no rows: their CPUID bits are not offered"},
    {D::OnlyCapstone, [](const Case& c) { return c.first == 0x62 || c.first == 0x8f; },
     "EVEX and XOP encodings have no rows: the features are not offered"},
    {D::OnlyCapstone,
     [](const Case& c) {
         return c.first == 0xc4 && c.says({"vfmaddp", "vfmadds", "vfmsubp", "vfmsuba", "vfmsubs", "vfnmaddp", "vfnmadds",
                                           "vfnmsubp", "vfnmsubs", "vpermil2"});
     },
     "FMA4 and XOP are not offered"},
    {D::OnlyCapstone, [](const Case& c) { return c.says({"femms", "pf", "pi2f", "pmulhrw", "pswapd", "pavgusb"}); },
     "3DNow! is absent: 0F 0E and 0F 0F are #UD"},
    {D::OnlyCapstone,
     [](const Case& c) {
         return c.says(
             {"getsec", "encl", "montmul", "xcrypt", "xsha", "xstore", "monitorx", "mwaitx", "xabort", "wrss", "rdssp"});
     },
     "SMX, SGX, PadLock, MONITORX, CET are not offered"},
    {D::OnlyCapstone, [](const Case& c) { return c.p.lock; },
     "SDM volume 2, LOCK: #UD unless the destination is memory and the instruction is one of the listed; Capstone forgets "
     "this with F2/F3"},
    {D::OnlyCapstone, [](const Case& c) { return c.mandatory() && c.first == 0x0f; },
     "SDM volume 2, 3.1.1.2 (NP) and table A-3: no such mandatory prefix; Capstone falls back to the row without one"},
    {D::OnlyCapstone, [](const Case& c) { return c.p.p67 && c.p.rex_w; }, "Capstone takes 67 with REX.W for a 66"},
    {D::OnlyCapstone, [](const Case& c) { return c.says({"mov"}) && c.first == 0x8e; }, "SDM volume 2, MOV: MOV CS is #UD"},
    {D::OnlyCapstone, [](const Case& c) { return c.is({O::MOV_CR, O::MOV_DR}); },
     "SDM volume 2, MOV control and debug registers: CR1, CR5 to CR7, CR9 and up, DR8 and up are #UD"},
    {D::OnlyCapstone, [](const Case& c) { return c.says({"swapgs"}); }, "SDM volume 2, SWAPGS: only in 64-bit mode"},
    {D::OnlyCapstone, [](const Case& c) { return c.vex() && (c.mandatory() || c.p.lock || c.p.rex); },
     "SDM volume 2, 2.3.2 to 2.3.4: 66, F2, F3, LOCK or REX before VEX is #UD"},
    {D::OnlyCapstone, [](const Case& c) { return c.vex() && c.would_decode(0x78, 0); },
     "SDM volume 2, 2.3.5: vvvv that names no operand must be 1111b"},
    {D::OnlyCapstone, [](const Case& c) { return c.first == 0xc4 && c.would_decode(0x78, 0x80); },
     "SDM volume 2, each instruction's page: W0 and W1 are the only encodings of those that say so, in every mode"},
    {D::OnlyCapstone, [](const Case& c) { return c.vex() && (c.would_decode(0, 4) || c.would_decode(0x78, 4)); },
     "SDM volume 2, each instruction's page: L must be 0 where it says LZ or 128 alone, 1 where it says 256 alone"},
    {D::OnlyCapstone, [](const Case& c) { return c.says({"vgather", "vpgather"}); },
     "SDM volume 2, VGATHER: a SIB byte, no 16-bit addresses, three different registers"},

    {D::OnlyOurs,
     [](const Case& c) {
         return c.is({O::NOP, O::PREFETCH, O::UD0, O::LFENCE, O::MFENCE, O::SFENCE, O::CLZERO, O::RDPKRU, O::WRPKRU,
                      O::SERIALIZE, O::ENDBR64, O::ENDBR32, O::SALC, O::FFREEP, O::RDPID, O::PTEST});
     },
     "SDM volume 2, table A-3: reserved NOPs, any rm of the fences, UD0; newer instructions"},
    {D::OnlyOurs,
     [](const Case& c) {
         return c.is({O::VAESENC, O::VAESENCLAST, O::VAESDEC, O::VAESDECLAST, O::VPCLMULQDQ, O::VBROADCASTI128});
     },
     "Capstone lacks VAES, VPCLMULQDQ and VBROADCASTI128"},
    {D::OnlyOurs, [](const Case& c) { return c.is({O::MOV_SEG}) && c.p.rex_r; },
     "SDM volume 2, 2.2.1.2: REX.R is ignored where reg is not a general-purpose or vector register"},
    {D::OnlyOurs, [](const Case& c) { return c.mode == Mode::Bits16 && c.mandatory(); },
     "Capstone lacks most mandatory prefixes in 16-bit code"},
    {D::OnlyOurs, [](const Case& c) { return c.mandatory() && c.p.count > 1; },
     "Capstone wants the mandatory prefix right before REX and the opcode, and loses a 66 beside F2 or F3"},
    {D::OnlyOurs, [](const Case& c) { return c.p.p66 && c.p.rex_w; },
     "SDM volume 2, 2.2.1.2: REX.W takes precedence over 66; a 66 that is mandatory stays so"},

    {D::Length, [](const Case& c) { return c.mode == Mode::Bits64 && (c.c.ours.flags & kRowForce64) != 0 && c.p.p66; },
     "SDM volume 2, Jcc, CALL, JMP, RET: 66 is ignored on near branches in 64-bit mode"},
    {D::Length, [](const Case& c) { return c.is({O::UD0, O::UD1}); }, "SDM volume 2, UD: UD0 and UD1 have a ModRM byte"},
    {D::Length, [](const Case& c) { return c.p.p66 && c.p.rep && c.is({O::PUSH, O::TEST, O::IMUL, O::MOV}); },
     "Capstone loses a 66 beside F2 or F3"},
    {D::Length, [](const Case& c) { return c.p.p67 && c.p.rex_w; }, "Capstone takes 67 with REX.W for a 66"},
    {D::Length, [](const Case& c) { return c.is({O::EXTRQ, O::INSERTQ}); },
     "Capstone lacks EXTRQ and INSERTQ in 16-bit code"},
    {D::Length, [](const Case& c) { return c.is({O::XBEGIN}); }, "SDM volume 2, XBEGIN: 66 selects rel16"},
    {D::Length, [](const Case& c) { return c.p.p66 && c.p.rep; }, "Capstone loses a 66 beside F2 or F3"},

    {D::Operands,
     [](const Case& c) {
         return c.is({O::BLENDVPS, O::BLENDVPD, O::PBLENDVB, O::SHA256RNDS2, O::XLAT, O::INVLPGA, O::SKINIT, O::VMLOAD,
                      O::VMSAVE, O::VMRUN, O::AAM, O::AAD, O::CMPPS, O::CMPPD, O::CMPSS, O::CMPSD, O::PAUSE, O::NOP,
                      O::CLZERO});
     },
     "operands that one of the two leaves implicit; CMPxx pseudo-mnemonics swallow the predicate"},
    {D::Mnemonic, [](const Case& c) { return c.is({O::VCMPPS, O::VCMPPD, O::VCMPSS, O::VCMPSD}); },
     "VCMPxx pseudo-mnemonics"},
    {D::Mnemonic, [](const Case& c) { return c.is({O::VCVTPD2PS, O::VCVTPD2DQ, O::VCVTTPD2DQ}); },
     "Capstone appends the size of a memory operand"},
    {D::Mnemonic, [](const Case& c) { return c.mode != Mode::Bits64 && c.is({O::VPINSRD, O::VPEXTRD, O::VMOVD}); },
     "SDM volume 2, VPINSRD: outside 64-bit mode W is ignored where it selects 64 bits"},
    {D::Operands, [](const Case& c) { return c.is({O::VCMPPS, O::VCMPPD, O::VCMPSS, O::VCMPSD}); },
     "VCMPxx pseudo-mnemonics swallow the predicate"},
    {D::Operands,
     [](const Case& c) {
         return c.mode != Mode::Bits64 && c.is({O::VPINSRD, O::VPEXTRD, O::VMOVD, O::VBLENDVPS, O::VBLENDVPD, O::VPBLENDVB});
     },
     "SDM volume 2, 2.3.5 and VPINSRD: outside 64-bit mode W is ignored where it selects 64 bits, and so is bit 7 of /is4"},
    {D::Operands, [](const Case& c) { return (c.c.ours.flags & kRowX87) != 0; },
     "Capstone leaves ST(0) implicit, or lists it twice for aliases"},
    {D::Operands,
     [](const Case& c) {
         return c.is({O::LAR,      O::LSL,      O::VMOVMSKPS, O::VMOVMSKPD, O::VPMOVMSKB, O::VPEXTRW, O::MOVMSKPS,
                      O::MOVMSKPD, O::PMOVMSKB, O::PEXTRW,    O::MOV_SEG,   O::MOVSXD,    O::RDPID,   O::IN,
                      O::OUT,      O::POP,      O::PUSH,      O::SLDT,      O::STR,       O::SMSW});
     },
     "register shown with another size; the bits that count are the same (SDM volume 2, each instruction's operation)"},
    {D::Operands, [](const Case& c) { return c.is({O::CALL_FAR, O::JMP_FAR}); },
     "far pointers are listed selector first or offset first"},
    {D::Operands, [](const Case& c) { return (c.c.ours.flags & kRowString) != 0; },
     "Capstone drops an ES override of a string source"},
    {D::Operands, [](const Case& c) { return c.p.p67 && c.p.rex_w; }, "Capstone takes 67 with REX.W for a 66"},
    {D::Operands, [](const Case& c) { return c.p.p66 && c.p.rep; }, "Capstone loses a 66 beside F2 or F3"},
    {D::Operands, [](const Case& c) { return c.p.p66 && c.p.rex_w; },
     "SDM volume 2, 2.2.1.2: REX.W takes precedence over 66, which stays a mandatory prefix"},
    {D::Operands, [](const Case& c) { return c.p.fs_gs_then_other; },
     "SDM volume 2, 2.1.1 with volume 1, 3.4.2.1: CS, DS, ES, SS overrides are ignored in 64-bit mode, an FS or GS before "
     "them is not"},
    {D::Operands,
     [](const Case& c) { return (c.c.ours.flags & kRowBranch) != 0 && (c.p.p66 || c.p.p67 || c.mode == Mode::Bits16); },
     "Capstone wraps branch targets by the code segment's or the address size, not by the operand size"},
    {D::Operands, [](const Case& c) { return c.mode == Mode::Bits16 && c.mandatory(); },
     "Capstone lacks most mandatory prefixes in 16-bit code"},
    {D::Operands, [](const Case& c) { return c.mandatory() && c.p.count > 1; },
     "Capstone wants the mandatory prefix right before REX and the opcode"},
    {D::Operands, [](const Case& c) { return c.is({O::XCHG}) && c.p.count > 1; },
     "Capstone shows XCHG with its 66 lost or as NOP"},
};

using Generator = void (*)(std::mt19937_64&, Mode, std::array<u8, 16>&);

void random_bytes(std::mt19937_64& rng, Mode, std::array<u8, 16>& out) {
    for (u8& b : out) b = static_cast<u8>(rng());
}

template <size_t N>
void maybe(std::mt19937_64& rng, unsigned percent, const u8 (&choice)[N], std::array<u8, 16>& out, unsigned& at) {
    if (rng() % 100 < percent) out[at++] = choice[rng() % N];
}

// Prefixes, an opcode from a random row, random bytes for the rest.
void from_rows(std::mt19937_64& rng, Mode mode, std::array<u8, 16>& out) {
    using namespace decode_rows;
    random_bytes(rng, mode, out);
    const auto all = rows();
    const Row& row = all[rng() % all.size()];
    unsigned at = 0;
    const bool vex = row.map >= Map::Vex0F;
    maybe(rng, 8, {0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65}, out, at);
    maybe(rng, 8, {0x67}, out, at);
    if (!vex) {
        maybe(rng, (row.flags & kRowLock) != 0 ? 20 : 2, {0xf0}, out, at);
        if (row.prefix == Any || row.prefix == NPor66) {
            maybe(rng, 25, {0x66, 0x66, 0xf2, 0xf3}, out, at);
        } else if (row.prefix != NP) {
            out[at++] = row.prefix == P66 ? 0x66 : row.prefix == PF3 ? 0xf3 : 0xf2;
        }
        if (mode == Mode::Bits64)
            maybe(rng, (row.flags & kRowRexW) != 0 ? 80 : 30, {0x40, 0x41, 0x42, 0x44, 0x48, 0x4f}, out, at);
        if (row.map != Map::One) out[at++] = 0x0f;
        if (row.map == Map::Esc38) out[at++] = 0x38;
        if (row.map == Map::Esc3A) out[at++] = 0x3a;
    } else {
        const u8 pp = row.prefix == P66 ? 1 : row.prefix == PF3 ? 2 : row.prefix == PF2 ? 3 : 0;
        const bool two_bytes = row.map == Map::Vex0F && rng() % 2 != 0;
        out[at++] = two_bytes ? 0xc5 : 0xc4;
        if (!two_bytes) {
            out[at] = static_cast<u8>((out[at] & 0xe0) | (static_cast<u8>(row.map) - static_cast<u8>(Map::Vex0F) + 1));
            if (mode != Mode::Bits64) out[at] |= 0xc0;
            ++at;
        }
        out[at] = static_cast<u8>((out[at] & 0xfc) | pp);
        if (rng() % 2 != 0) out[at] |= 0x78;
        if (two_bytes && mode != Mode::Bits64) out[at] |= 0xc0;
        ++at;
    }
    u8 opcode = row.byte;
    if ((row.flags & kRowPlusReg) != 0) opcode = static_cast<u8>(opcode + rng() % 8);
    if ((row.flags & kRowPlusCond) != 0) opcode = static_cast<u8>(opcode + rng() % 16);
    out[at++] = opcode;
    if (row.modrm.present) {
        u8 modrm = static_cast<u8>((out[at] & ~row.modrm.mask) | row.modrm.value);
        if (row.modrm.mod == ModRmMatch::kRegister) modrm |= 0xc0;
        if (row.modrm.mod == ModRmMatch::kMemory && modrm >= 0xc0) modrm &= 0xbf;
        out[at] = modrm;
    }
}

unsigned iterations() {
    const char* text = std::getenv("TANDEM_DECODER_COUNT");
    return text != nullptr ? static_cast<unsigned>(std::strtoul(text, nullptr, 10)) : 300000;
}

void run(Mode mode, Generator generate, u64 seed, std::set<unsigned>& reached) {
    Oracle oracle(mode);
    std::mt19937_64 rng(seed);
    std::array<u8, 16> bytes{};
    std::map<std::string, unsigned> unexplained;
    const unsigned count = iterations();
    for (unsigned i = 0; i < count; ++i) {
        generate(rng, mode, bytes);
        const std::span<const u8> code = std::span(bytes).first(kMaxInstructionLength);
        Case test{oracle.compare(code), scan(code, mode), mode, 0, bytes};
        test.first = code[std::min<size_t>(test.p.count, kMaxInstructionLength - 1)];
        if (test.c.status == DecodeStatus::Ok) reached.insert(test.c.ours.row);
        if (test.c.difference == Difference::None) continue;
        const bool explained = std::any_of(std::begin(kExplanations), std::end(kExplanations), [&](const Explanation& e) {
            return e.difference == test.c.difference && e.applies(test);
        });
        if (explained) continue;
        const std::string key = fmt::format("{} {} / {}", static_cast<int>(test.c.difference),
                                            opcode_name(test.c.ours.opcode), test.c.capstone_mnemonic);
        if (unexplained[key]++ == 0) {
            UNSCOPED_INFO(fmt::format("seed {} #{} mode {}: {}: {}: ours '{}', Capstone '{}'", seed, i,
                                      static_cast<int>(mode), key, hex(code), test.c.ours_text, test.c.capstone_text));
        }
    }
    CHECK(unexplained.empty());
}

}  // namespace

TEST_CASE("decoder agrees with Capstone") {
    std::set<unsigned> reached;
    for (const Mode mode : {Mode::Bits16, Mode::Bits32, Mode::Bits64}) {
        run(mode, random_bytes, 1, reached);
        run(mode, from_rows, 2, reached);
    }
    for (unsigned row = 0; row < decode_rows::rows().size(); ++row) {
        if (!reached.contains(row))
            FAIL_CHECK("row " << row << " never reached: " << opcode_name(decode_rows::rows()[row].opcode));
    }
}

TEST_CASE("the decoder never reads past the bytes it is given and Truncated is monotonic") {
    std::mt19937_64 rng(3);
    std::array<u8, 16> bytes{};
    for (unsigned i = 0; i < 100000; ++i) {
        const Mode mode = static_cast<Mode>(i % 3);
        from_rows(rng, mode, bytes);
        Instruction whole;
        if (decode(std::span(bytes).first(15), mode, whole) != DecodeStatus::Ok) continue;
        Instruction part;
        // A heap block of the exact size, so that a sanitizer sees an overrun.
        const std::vector<u8> exact(bytes.begin(), bytes.begin() + whole.length);
        REQUIRE(decode(exact, mode, part) == DecodeStatus::Ok);
        const std::vector<u8> cut(bytes.begin(), bytes.begin() + whole.length - 1);
        REQUIRE(decode(cut, mode, part) == DecodeStatus::Truncated);
    }
}

}  // namespace tandem::cpu::x86

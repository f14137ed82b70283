// Which exceptions x87, MMX and SSE instructions raise before they execute, and what they leave behind (SDM volume 1, 8.6
// to 8.7 and 11.5; volume 2, 2.4; volume 3, 2.5).
#include <catch2/catch.hpp>
#include <initializer_list>
#include <vector>

#include "cpu/x86/fpu/mxcsr.h"
#include "cpu/x86/fpu/x87.h"
#include "cpu/x86/system/system.h"
#include "lifted.h"

using namespace tandem;
using namespace tandem::cpu::x86;
using namespace tandem::test;

namespace {

constexpr u64 kData = 0x2000;
constexpr int kNoException = -1;
const std::vector<u8> kFld1 = {0xd9, 0xe8}, kFldz = {0xd9, 0xee}, kFdivp = {0xde, 0xf9}, kFnclex = {0xdb, 0xe2},
                      kFnstswAx = {0xdf, 0xe0}, kFwait = {0x9b}, kPaddb = {0x0f, 0xfc, 0xc1}, kEmms = {0x0f, 0x77},
                      kAddps = {0x0f, 0x58, 0xc1}, kPaddbXmm = {0x66, 0x0f, 0xfc, 0xc1}, kFxsave = {0x0f, 0xae, 0x06},
                      kXsave = {0x0f, 0xae, 0x26}, kLdmxcsr = {0x0f, 0xae, 0x16}, kPshufw = {0x0f, 0x70, 0xc1, 0x00},
                      kMovntiRsi = {0x0f, 0xc3, 0x06};

class Processor : public LiftedRunner {
public:
    Processor() { state().gpr[RSI] = state().gpr[RDI] = kData; }
    // The vector that the instruction raised, or kNoException.
    int execute(const std::vector<u8>& bytes) {
        state().pending = {};
        const Outcome outcome = run(bytes);
        INFO(outcome.error);
        REQUIRE(outcome.error.empty());
        return state().pending.valid ? state().pending.vector : kNoException;
    }
    // ZE unmasked, and 1 / 0 executed.
    void divide_by_zero() {
        state().x87.fcw = 0x37b;
        state().x87.valid = 0;
        REQUIRE(execute(kFld1) == kNoException);
        REQUIRE(execute(kFldz) == kNoException);
        REQUIRE(execute(kFdivp) == kNoException);
        REQUIRE((state().x87.fsw & (fsw::ES | fsw::ZE | fsw::B)) == (fsw::ES | fsw::ZE | fsw::B));
    }
};

}  // namespace

TEST_CASE("an unmasked x87 exception waits for the next waiting instruction") {
    Processor p;
    p.divide_by_zero();
    const X87 before = p.state().x87;
    for (const auto& waiting : {kFld1, kFwait, kPaddb, kEmms}) CHECK(p.execute(waiting) == kMF);
    CHECK(p.state().x87 == before);
    CHECK(p.execute(kFnstswAx) == kNoException);
    CHECK((p.state().gpr[RAX] & 0xffff) == before.fsw);
    CHECK(p.execute(kFnclex) == kNoException);
    CHECK(p.execute(kFld1) == kNoException);
}

TEST_CASE("without CR0.NE the error goes out on FERR# and the instruction executes") {
    Processor p;
    p.divide_by_zero();
    p.state().cr0 &= ~cr0::NE;
    CHECK(p.execute(kFwait) == kNoException);
    CHECK(p.execute(kFld1) == kNoException);
}

TEST_CASE("an unmasked exception before the computation leaves the operands on the stack") {
    Processor p;
    p.divide_by_zero();
    CHECK(((p.state().x87.fsw >> 11) & 7) == 6);
    CHECK(p.state().x87.valid == 0xc0);
    CHECK(p.state().x87.reg[7] == X87Reg{u64{1} << 63, 0x3fff});
    CHECK(p.state().x87.reg[6] == X87Reg{0, 0});
}

TEST_CASE("FOP, FIP and FDP name the last instruction and its operand") {
    Processor p;
    p.state().x87.valid = 0xff;
    p.state().seg[CS].selector = 0x33;
    p.state().seg[DS].selector = 0x2b;
    REQUIRE(p.execute({0xd8, 0x46, 0x10}) == kNoException);  // FADD dword [RSI + 16]
    CHECK(p.state().x87.fop == 0x046);
    CHECK(p.state().x87.fip == LiftedRunner::kPc);
    CHECK(p.state().x87.fdp == kData + 16);
    REQUIRE(p.execute({0xdc, 0xc1}) == kNoException);  // FADD ST(1), ST(0): no operand in memory
    CHECK(p.state().x87.fop == 0x4c1);
    CHECK(p.state().x87.fdp == kData + 16);
    REQUIRE(p.execute({0xd9, 0x2e}) == kNoException);  // FLDCW is a control instruction
    CHECK(p.state().x87.fop == 0x4c1);
}

TEST_CASE("CR0 and CR4 make instructions unavailable") {
    struct Row {
        const std::vector<u8>& bytes;
        u64 set_cr0, clear_cr4;
        int vector;
    };
    const Row rows[] = {
        {kFld1, cr0::EM, 0, kNM},
        {kFld1, cr0::TS, 0, kNM},
        {kFwait, cr0::TS, 0, kNM},
        {kFwait, cr0::EM, 0, kNoException},
        {kPaddb, cr0::EM, 0, kUD},
        {kPaddb, cr0::TS, 0, kNM},
        {kPaddb, 0, cr4::OSFXSR, kNoException},
        {kPshufw, 0, cr4::OSFXSR, kNoException},
        {kAddps, cr0::EM, 0, kUD},
        {kAddps, cr0::TS, 0, kNM},
        {kAddps, 0, cr4::OSFXSR, kUD},
        {kAddps, cr0::TS, cr4::OSFXSR, kUD},
        {kLdmxcsr, 0, cr4::OSFXSR, kUD},
        {kFxsave, cr0::TS, 0, kNM},
        {kFxsave, cr0::EM, 0, kNM},
        {kFxsave, 0, cr4::OSFXSR, kNoException},
        {kXsave, cr0::TS, 0, kNM},
        {kXsave, 0, cr4::OSXSAVE, kUD},
        {kMovntiRsi, cr0::TS | cr0::EM, 0, kNoException},
    };
    for (const Row& row : rows) {
        Processor p;
        p.state().cr0 |= row.set_cr0;
        p.state().cr4 &= ~row.clear_cr4;
        CAPTURE(&row - rows);
        CHECK(p.execute(row.bytes) == row.vector);
    }
}

TEST_CASE("FWAIT ignores TS without MP") {
    Processor p;
    p.state().cr0 = (p.state().cr0 | cr0::TS) & ~cr0::MP;
    CHECK(p.execute(kFwait) == kNoException);
}

TEST_CASE("128-bit operands of legacy SSE must be aligned, but for the exceptions") {
    struct Row {
        std::vector<u8> bytes;
        int vector;
    };
    const Row rows[] = {
        {{0x0f, 0x28, 0x06}, kGP},                          // MOVAPS load
        {{0x0f, 0x29, 0x06}, kGP},                          // and store
        {{0x66, 0x0f, 0xe7, 0x06}, kGP},                    // MOVNTDQ
        {{0x66, 0x0f, 0xfc, 0x06}, kGP},                    // PADDB
        {{0x0f, 0x58, 0x06}, kGP},                          // ADDPS
        {{0x66, 0x0f, 0x38, 0x17, 0x06}, kGP},              // PTEST
        {{0x0f, 0x10, 0x06}, kNoException},                 // MOVUPS
        {{0xf2, 0x0f, 0xf0, 0x06}, kNoException},           // LDDQU
        {{0xf3, 0x0f, 0x58, 0x06}, kNoException},           // ADDSS
        {{0x0f, 0x5a, 0x06}, kNoException},                 // CVTPS2PD, 64 bits
        {{0x66, 0x0f, 0x3a, 0x62, 0x06, 0}, kNoException},  // PCMPISTRM
        {{0x0f, 0xfc, 0x06}, kNoException},                 // PADDB mm
        {{0x0f, 0xae, 0x06}, kGP},                          // FXSAVE
    };
    for (const Row& row : rows) {
        Processor p;
        p.state().gpr[RSI] = kData + 4;
        CAPTURE(&row - rows);
        CHECK(p.execute(row.bytes) == row.vector);
    }
}

TEST_CASE("a faulting operand leaves MMX and x87 state alone") {
    Processor p;
    p.state().x87.fsw = 3 << 11;
    p.state().x87.valid = 0x12;
    p.state().gpr[RSI] = FlatVcpu::kSize;
    const X87 before = p.state().x87;
    for (const auto& bytes : std::vector<std::vector<u8>>{{0x0f, 0xfc, 0x06},
                                                          {0x0f, 0x6f, 0x06},
                                                          {0x0f, 0x7f, 0x06},
                                                          {0xd9, 0x06},
                                                          {0xdd, 0x1e},
                                                          {0xdd, 0x36},
                                                          {0xd9, 0x36}}) {
        CAPTURE(+bytes[0], +bytes[1]);
        CHECK(p.execute(bytes) == kPF);
        CHECK(p.state().x87 == before);
    }
}

TEST_CASE("LDMXCSR refuses reserved bits") {
    Processor p;
    p.vcpu.memory[kData + 2] = 1;
    CHECK(p.execute(kLdmxcsr) == kGP);
    CHECK(p.state().mxcsr == mxcsr::Default);
}

TEST_CASE("#XM leaves the destination as it was, and is #UD without CR4.OSXMMEXCPT") {
    Processor p;
    p.state().mxcsr = mxcsr::Default & ~(mxcsr::ZE << 7);
    p.state().vec[0].lane = {0x3f800000, 0};
    p.state().vec[1].lane = {0, 0};
    const Vector512 before = p.state().vec[0];
    const std::vector<u8> divss = {0xf3, 0x0f, 0x5e, 0xc1};
    CHECK(p.execute(divss) == kXM);
    CHECK(p.state().vec[0] == before);
    CHECK(p.state().mxcsr == ((mxcsr::Default & ~(mxcsr::ZE << 7)) | mxcsr::ZE));
    p.state().cr4 &= ~cr4::OSXMMEXCPT;
    CHECK(p.execute(divss) == kUD);
}

TEST_CASE("VDPPS: an invalid product of one half stops the underflow of the other from being seen") {
    Processor p;
    const u32 unmasked = mxcsr::Default & ~((mxcsr::IE | mxcsr::UE) << 7);
    p.state().cr4 |= cr4::OSXSAVE;
    p.state().xcr0 = 7;
    p.state().mxcsr = unmasked;
    p.state().vec[1].lane = {0x0da24260'0da24260, 0x0da24260'0da24260, 0x7f800001, 0};
    p.state().vec[2].lane = p.state().vec[1].lane;
    CHECK(p.execute({0xc4, 0xe3, 0x75, 0x40, 0xc2, 0xff}) == kXM);
    CHECK(p.state().mxcsr == (unmasked | mxcsr::IE));
}

TEST_CASE("VCVTPS2PH: what an unmasked underflow reports beside itself") {
    const u32 unmasked = mxcsr::Default & ~(mxcsr::UE << 7);
    struct Row {
        u64 source;
        u32 flags;  // as the host's processor sets them
    };
    for (const Row& row : {Row{0x00100000, mxcsr::UE | mxcsr::PE | mxcsr::DE}, Row{0x00800000, mxcsr::UE},
                           Row{0x33800000, mxcsr::UE}, Row{0x33c00000, mxcsr::UE}, Row{0x38800000, 0}}) {
        Processor p;
        p.state().cr4 |= cr4::OSXSAVE;
        p.state().xcr0 = 7;
        p.state().mxcsr = unmasked;
        p.state().vec[0].lane = {row.source, 0};
        CAPTURE(row.source);
        CHECK(p.execute({0xc4, 0xe3, 0x79, 0x1d, 0xc1, 0x04}) == (row.flags != 0 ? kXM : kNoException));
        CHECK(p.state().mxcsr == (unmasked | row.flags));
    }
}

TEST_CASE("MASKMOVDQU touches the selected bytes only") {
    Processor p;
    const std::vector<u8> maskmovdqu = {0x66, 0x0f, 0xf7, 0xc1};
    p.state().vec[0].lane = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    p.state().vec[1].lane = {0x8000000000000080, 0};
    p.state().gpr[RDI] = FlatVcpu::kSize - 8;
    CHECK(p.execute(maskmovdqu) == kNoException);
    CHECK(p.vcpu.memory[FlatVcpu::kSize - 8] == 0x00);
    CHECK(p.vcpu.memory[FlatVcpu::kSize - 1] == 0x07);
    p.vcpu.memory[FlatVcpu::kSize - 8] = 0x55;
    p.state().vec[1].lane = {0x80, 0x80};
    CHECK(p.execute(maskmovdqu) == kPF);
    CHECK(p.vcpu.memory[FlatVcpu::kSize - 8] == 0x55);
}

TEST_CASE("alignment of x87 operands is checked at CPL 3 when asked for") {
    const std::vector<u8> fld_m64 = {0xdd, 0x06}, fld_m80 = {0xdb, 0x2e}, fldenv = {0xd9, 0x26};
    for (const bool checked : {false, true}) {
        Processor p;
        p.state().seg[SS].access |= 3 << 5;
        p.state().cr0 |= cr0::AM;
        p.state().rflags |= checked ? eflags::AC : 0;
        p.state().gpr[RSI] = kData + 4;
        CAPTURE(checked);
        CHECK(p.execute(fld_m64) == (checked ? kAC : kNoException));
        CHECK(p.execute(fld_m80) == (checked ? kAC : kNoException));
        CHECK(p.execute(fldenv) == kNoException);
    }
}

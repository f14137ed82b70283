// Encodings where decoders go wrong, by hand from the SDM, volume 2.
#include <catch2/catch.hpp>
#include <initializer_list>
#include <vector>

#include "cpu/x86/decode/instruction.h"

namespace tandem::cpu::x86 {
namespace {

struct Decoded {
    DecodeStatus status;
    Instruction insn;
};

Decoded run(Mode mode, std::initializer_list<int> bytes) {
    std::vector<u8> code;
    for (int b : bytes) code.push_back(static_cast<u8>(b));
    Decoded d{};
    d.status = decode(code, mode, d.insn);
    return d;
}

constexpr Mode k16 = Mode::Bits16, k32 = Mode::Bits32, k64 = Mode::Bits64;

void is(Mode mode, std::initializer_list<int> bytes, Opcode opcode) {
    const Decoded d = run(mode, bytes);
    INFO("expected " << opcode_name(opcode) << ", got " << opcode_name(d.insn.opcode));
    REQUIRE(d.status == DecodeStatus::Ok);
    CHECK(d.insn.opcode == opcode);
    CHECK(d.insn.length == bytes.size());
}

void undefined(Mode mode, std::initializer_list<int> bytes) { CHECK(run(mode, bytes).status == DecodeStatus::Invalid); }

}  // namespace

TEST_CASE("aliases decode as what they alias") {
    is(k32, {0x82, 0xc0, 0x01}, Opcode::ADD);
    undefined(k64, {0x82, 0xc0, 0x01});
    is(k64, {0xd0, 0xf0}, Opcode::SHL);
    is(k64, {0xf6, 0xc8, 0x01}, Opcode::TEST);
    is(k64, {0xf7, 0xc8, 1, 2, 3, 4}, Opcode::TEST);
    is(k64, {0xdc, 0xd1}, Opcode::FCOM);
    is(k64, {0xdf, 0xc1}, Opcode::FFREEP);
    is(k32, {0xd6}, Opcode::SALC);
    undefined(k64, {0xd6});
}

TEST_CASE("groups have holes") {
    undefined(k64, {0xc6, 0xc8, 0});
    undefined(k64, {0xfe, 0xd0});
    undefined(k64, {0xff, 0xf8});
    undefined(k64, {0xff, 0xd8 /* CALL far register */});
    undefined(k64, {0xff, 0xe8});
    undefined(k32, {0x8f, 0xc8});
    undefined(k32, {0x62, 0xc0});
    undefined(k32, {0x8d, 0xc0});
    undefined(k32, {0x8c, 0xf0});
    undefined(k32, {0x8e, 0xc8 /* MOV CS */});
    undefined(k64, {0x0f, 0x20, 0xc8 /* CR1 */});
    undefined(k64, {0x44, 0x0f, 0x21, 0xc0 /* DR8 */});
    undefined(k64, {0x0f, 0xba, 0xd8, 1});
    undefined(k64, {0x0f, 0x04});
    undefined(k64, {0x0f, 0x0f, 0xc0, 0x9e /* 3DNow! */});
}

TEST_CASE("NOP, PAUSE and XCHG share 90") {
    is(k64, {0x90}, Opcode::NOP);
    is(k64, {0xf3, 0x90}, Opcode::PAUSE);
    is(k64, {0xf3, 0x49, 0x90}, Opcode::PAUSE);  // REX.B or not, as Intel's processors have it
    is(k64, {0x48, 0x90}, Opcode::NOP);
    is(k64, {0x41, 0x90}, Opcode::XCHG);
    is(k64, {0x0f, 0x1f, 0x44, 0x00, 0x00}, Opcode::NOP);
    is(k64, {0xf3, 0x0f, 0x1e, 0xfa}, Opcode::ENDBR64);
    is(k64, {0x0f, 0x1e, 0xfa}, Opcode::NOP);
    is(k64, {0x0f, 0x0d, 0x08}, Opcode::PREFETCH);
}

TEST_CASE("UD0 and UD1 have a ModRM byte, UD2 has not") {
    is(k64, {0x0f, 0x0b}, Opcode::UD2);
    is(k64, {0x0f, 0xb9, 0x44, 0x88, 0x01}, Opcode::UD1);
    is(k64, {0x0f, 0xff, 0xc0}, Opcode::UD0);
}

TEST_CASE("the last of F2 and F3 is the mandatory prefix, before 66") {
    is(k64, {0xf2, 0xf3, 0x0f, 0x58, 0xc1}, Opcode::ADDSS);
    is(k64, {0xf3, 0xf2, 0x0f, 0x58, 0xc1}, Opcode::ADDSD);
    is(k64, {0xf3, 0x66, 0x0f, 0x58, 0xc1}, Opcode::ADDSS);
    is(k64, {0x66, 0x0f, 0x58, 0xc1}, Opcode::ADDPD);
    undefined(k64, {0xf3, 0x0f, 0xfc, 0xc1});
    const Decoded d = run(k64, {0x66, 0xf3, 0x0f, 0xb8, 0xc1});
    REQUIRE(d.status == DecodeStatus::Ok);
    CHECK(d.insn.opcode == Opcode::POPCNT);
    CHECK(d.insn.operand_size == 2);
    is(k64, {0x66, 0xf2, 0x0f, 0x38, 0xf1, 0xc1}, Opcode::CRC32);
    is(k64, {0x66, 0x0f, 0x38, 0xf1, 0x00}, Opcode::MOVBE);
}

TEST_CASE("TZCNT and LZCNT fall back to BSF and BSR") {
    Decoded d = run(k64, {0xf3, 0x0f, 0xbc, 0xc1});
    CHECK(d.insn.opcode == Opcode::TZCNT);
    CHECK(d.insn.feature == Feature::BMI1);
    CHECK(d.insn.fallback == Opcode::BSF);
    d = run(k64, {0xf3, 0x0f, 0xbd, 0xc1});
    CHECK(d.insn.opcode == Opcode::LZCNT);
    CHECK(d.insn.fallback == Opcode::BSR);
}

TEST_CASE("REX counts only right before the opcode") {
    CHECK(run(k64, {0x48, 0x66, 0x89, 0xc8}).insn.operand_size == 2);
    CHECK(run(k64, {0x66, 0x48, 0x89, 0xc8}).insn.operand_size == 8);
    CHECK(run(k64, {0x40, 0x88, 0xe0}).insn.op[1].reg == RSP);
    CHECK(run(k64, {0x40, 0x88, 0xe0}).insn.op[1].kind == OperandKind::Gpr);
    CHECK(run(k64, {0x88, 0xe0}).insn.op[1].kind == OperandKind::GprHigh8);
    CHECK(run(k64, {0x88, 0xe0}).insn.op[1].reg == RAX);
    is(k32, {0x48}, Opcode::DEC);
}

TEST_CASE("LOCK needs a lockable instruction with a memory destination") {
    is(k64, {0xf0, 0x01, 0x08}, Opcode::ADD);
    undefined(k64, {0xf0, 0x01, 0xc8});
    undefined(k64, {0xf0, 0x03, 0x08});
    undefined(k64, {0xf0, 0x39, 0x08});
    undefined(k64, {0xf0, 0x0f, 0xa3, 0x08});
    undefined(k64, {0xf0, 0x90});
    undefined(k64, {0xf0, 0x8b, 0x08});
    is(k64, {0xf0, 0x87, 0x08}, Opcode::XCHG);
    is(k64, {0xf0, 0x48, 0x0f, 0xc7, 0x08}, Opcode::CMPXCHG16B);
    is(k64, {0xf0, 0x0f, 0xc7, 0x08}, Opcode::CMPXCHG8B);
    undefined(k64, {0x0f, 0xc7, 0xc8});
}

TEST_CASE("near branches keep 64 bits with 66, far ones and stack operations do not") {
    Decoded d = run(k64, {0x66, 0xe8, 1, 2, 3, 4});
    REQUIRE(d.status == DecodeStatus::Ok);
    CHECK(d.insn.length == 6);
    CHECK(d.insn.operand_size == 8);
    d = run(k32, {0x66, 0xe8, 1, 2});
    CHECK(d.insn.length == 4);
    CHECK(d.insn.operand_size == 2);
    CHECK(run(k64, {0x66, 0x50}).insn.operand_size == 2);
    CHECK(run(k64, {0x50}).insn.operand_size == 8);
    CHECK(run(k64, {0xcf}).insn.operand_size == 4);
    CHECK(run(k64, {0x48, 0xcf}).insn.operand_size == 8);
    d = run(k64, {0x66, 0x0f, 0x85, 0xfc, 0xff, 0xff, 0xff});
    CHECK(d.insn.op[0].imm == -4);
    CHECK(d.insn.condition() == 5);
}

TEST_CASE("memory operands") {
    Decoded d = run(k64, {0x8b, 0x05, 0x10, 0, 0, 0});
    CHECK(d.insn.mem.rip_relative);
    CHECK(d.insn.mem.disp == 16);
    d = run(k32, {0x8b, 0x05, 0x10, 0, 0, 0});
    CHECK_FALSE(d.insn.mem.rip_relative);
    d = run(k64, {0x8b, 0x04, 0x25, 0x10, 0, 0, 0});
    CHECK_FALSE(d.insn.mem.rip_relative);
    CHECK(d.insn.mem.base == MemoryOperand::kNoReg);
    d = run(k64, {0x4a, 0x8b, 0x44, 0xa4, 0xf0});
    CHECK(d.insn.mem.base == RSP);
    CHECK(d.insn.mem.index == R12);
    CHECK(d.insn.mem.scale == 4);
    CHECK(d.insn.mem.disp == -16);
    CHECK(d.insn.mem.segment == SS);
    d = run(k16, {0x8b, 0x42, 0x80});
    CHECK(d.insn.mem.base == RBP);
    CHECK(d.insn.mem.index == RSI);
    CHECK(d.insn.mem.segment == SS);
    CHECK(d.insn.address_size == 2);
    d = run(k16, {0x8b, 0x0e, 0x34, 0x12});
    CHECK(d.insn.mem.base == MemoryOperand::kNoReg);
    CHECK(d.insn.mem.disp == 0x1234);
    CHECK(d.insn.mem.segment == DS);
    d = run(k64, {0x41, 0x8b, 0x45, 0x00});
    CHECK(d.insn.mem.base == R13);
    CHECK(d.insn.mem.segment == DS);
}

TEST_CASE("segment overrides ES, CS, SS, DS do nothing in 64-bit mode") {
    CHECK(run(k64, {0x2e, 0x8b, 0x08}).insn.mem.segment == DS);
    CHECK(run(k32, {0x2e, 0x8b, 0x08}).insn.mem.segment == CS);
    CHECK(run(k64, {0x64, 0x8b, 0x08}).insn.mem.segment == FS);
    CHECK(run(k32, {0x65, 0xa4}).insn.mem.segment == GS);
}

TEST_CASE("memory offsets are as wide as addresses") {
    Decoded d = run(k64, {0xa1, 1, 2, 3, 4, 5, 6, 7, 0x88});
    CHECK(d.insn.length == 9);
    CHECK(d.insn.op[1].kind == OperandKind::MOffs);
    CHECK(static_cast<u64>(d.insn.mem.disp) == 0x8807060504030201);
    d = run(k64, {0x67, 0xa1, 1, 2, 3, 0x84});
    CHECK(d.insn.length == 6);
    CHECK(d.insn.mem.disp == 0x84030201);
    CHECK(run(k32, {0x67, 0xa0, 1, 0xf2}).insn.mem.disp == 0xf201);
}

TEST_CASE("fifteen bytes are the limit") {
    std::vector<u8> code(14, 0x66);
    code.push_back(0x90);
    Instruction insn;
    CHECK(decode(code, k64, insn) == DecodeStatus::Ok);
    CHECK(insn.length == 15);
    code.insert(code.begin(), 0x66);
    CHECK(decode(code, k64, insn) == DecodeStatus::TooLong);
    CHECK(decode(std::vector<u8>(15, 0x66), k64, insn) == DecodeStatus::TooLong);
    CHECK(decode(std::vector<u8>(14, 0x66), k64, insn) == DecodeStatus::Truncated);
}

TEST_CASE("every strict prefix of an instruction is Truncated") {
    const std::vector<u8> code{0xf0, 0x48, 0x81, 0x84, 0xcb, 1, 2, 3, 4, 5, 6, 7, 8};
    Instruction insn;
    REQUIRE(decode(code, k64, insn) == DecodeStatus::Ok);
    for (size_t n = 0; n < code.size(); ++n) CHECK(decode(std::span(code).first(n), k64, insn) == DecodeStatus::Truncated);
}

TEST_CASE("VEX encodings") {
    is(k64, {0xc4, 0xe2, 0x70, 0xf2, 0xc2}, Opcode::ANDN);
    is(k32, {0xc4, 0xe2, 0x70, 0xf2, 0xc2}, Opcode::ANDN);
    is(k32, {0xc4, 0x00}, Opcode::LES);
    undefined(k64, {0xc4, 0x00, 0, 0});
    undefined(k64, {0xc4, 0xe2, 0x74, 0xf2, 0xc2 /* L = 1 */});
    undefined(k64, {0x66, 0xc4, 0xe2, 0x70, 0xf2, 0xc2});
    undefined(k64, {0x48, 0xc4, 0xe2, 0x70, 0xf2, 0xc2});
    undefined(k64, {0xf0, 0xc4, 0xe2, 0x70, 0xf2, 0x02});
    is(k64, {0xc4, 0xe3, 0x7b, 0xf0, 0xc2, 5}, Opcode::RORX);
    undefined(k64, {0xc4, 0xe3, 0x73, 0xf0, 0xc2, 5 /* vvvv used */});
    undefined(k32, {0xc4, 0xe3, 0xbb, 0xf0, 0xc2, 5 /* so is its top bit */});
    is(k32, {0xc4, 0xe2, 0x30, 0xf2, 0xc2}, Opcode::ANDN);
    const Decoded d = run(k64, {0xc4, 0xc2, 0xb0, 0xf2, 0xc2});
    CHECK(d.insn.op[0].size == 8);
    CHECK(d.insn.op[1].reg == R9);
    CHECK(d.insn.op[2].reg == R10);
}

TEST_CASE("VEX vector encodings") {
    is(k64, {0xc5, 0xf8, 0x77}, Opcode::VZEROUPPER);
    is(k64, {0xc5, 0xfc, 0x77}, Opcode::VZEROALL);
    undefined(k64, {0xc5, 0xf0, 0x77 /* vvvv used */});
    is(k32, {0xc5, 0xf8, 0x77}, Opcode::VZEROUPPER);
    is(k32, {0xc5, 0x38}, Opcode::LDS);
    undefined(k64, {0x66, 0xc5, 0xf8, 0x77});
    undefined(k64, {0xf3, 0xc5, 0xf8, 0x77});
    undefined(k64, {0xf0, 0xc5, 0xf8, 0x77});
    undefined(k64, {0x41, 0xc5, 0xf8, 0x77});
    is(k64, {0x67, 0x65, 0xc5, 0xf8, 0x77}, Opcode::VZEROUPPER);
    // VADDSS ignores L, VDPPD and VMOVD do not.
    is(k64, {0xc5, 0xfe, 0x58, 0xc1}, Opcode::VADDSS);
    undefined(k64, {0xc4, 0xe3, 0x7d, 0x41, 0xc1, 0});
    undefined(k64, {0xc5, 0xfd, 0x6e, 0xc1});
    // W: VPERMILPS has W0 alone, FMA tells single from double by it in every mode.
    undefined(k64, {0xc4, 0xe2, 0xf9, 0x0c, 0xc1});
    undefined(k32, {0xc4, 0xe2, 0xf9, 0x0c, 0xc1});
    is(k64, {0xc4, 0xe2, 0xf1, 0x98, 0xc1}, Opcode::VFMADD132PD);
    is(k32, {0xc4, 0xe2, 0xf1, 0x98, 0xc1}, Opcode::VFMADD132PD);
    is(k32, {0xc4, 0xe2, 0x71, 0x98, 0xc1}, Opcode::VFMADD132PS);
    // Outside 64-bit mode W does not make a VMOVQ.
    is(k64, {0xc4, 0xe1, 0xf9, 0x6e, 0xc1}, Opcode::VMOVQ);
    is(k32, {0xc4, 0xe1, 0xf9, 0x6e, 0xc1}, Opcode::VMOVD);
    undefined(k64, {0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc1 /* EVEX */});
}

TEST_CASE("VEX vector operands") {
    Decoded d = run(k64, {0xc4, 0x41, 0x34, 0x58, 0xc2});  // VADDPS ymm8, ymm9, ymm10
    REQUIRE(d.status == DecodeStatus::Ok);
    CHECK(d.insn.op[0].reg == 8);
    CHECK(d.insn.op[1].reg == 9);
    CHECK(d.insn.op[2].reg == 10);
    for (unsigned i = 0; i < 3; ++i) CHECK(d.insn.op[i].size == 32);
    CHECK(d.insn.feature == Feature::AVX);
    // 256-bit integer operations are AVX2.
    CHECK(run(k64, {0xc5, 0xf1, 0xfe, 0xc2}).insn.feature == Feature::AVX);
    CHECK(run(k64, {0xc5, 0xf5, 0xfe, 0xc2}).insn.feature == Feature::AVX2);
    CHECK(run(k64, {0xc4, 0xe2, 0x79, 0x18, 0x00}).insn.feature == Feature::AVX);
    CHECK(run(k64, {0xc4, 0xe2, 0x79, 0x18, 0xc0}).insn.feature == Feature::AVX2);
    // The register in the immediate; outside 64-bit mode its top bit is ignored.
    CHECK(run(k64, {0xc4, 0xe3, 0x71, 0x4a, 0xc2, 0xf7}).insn.op[3].reg == 15);
    CHECK(run(k32, {0xc4, 0xe3, 0x71, 0x4a, 0xc2, 0xf7}).insn.op[3].reg == 7);
}

TEST_CASE("gathers") {
    Decoded d = run(k64, {0xc4, 0xe2, 0x6d, 0x92, 0x4c, 0xa0, 0x10});  // VGATHERDPS ymm1, [rax+ymm4*4+16], ymm2
    REQUIRE(d.status == DecodeStatus::Ok);
    CHECK(d.insn.opcode == Opcode::VGATHERDPS);
    CHECK(d.insn.mem.base == RAX);
    CHECK(d.insn.mem.index == 4);
    CHECK(d.insn.mem.scale == 4);
    CHECK(d.insn.mem.vector_index == 32);
    CHECK(d.insn.op[1].size == 4);
    CHECK(d.insn.op[2].access == kAccessReadWrite);
    d = run(k64, {0xc4, 0xe2, 0x6d, 0x93, 0x0c, 0xc8});  // index and destination ymm1
    CHECK(d.status == DecodeStatus::Invalid);
    undefined(k64, {0xc4, 0xe2, 0x75, 0x92, 0x0c, 0xa0 /* destination and mask */});
    undefined(k64, {0xc4, 0xe2, 0x5d, 0x92, 0x0c, 0xa0 /* index and mask */});
    undefined(k64, {0xc4, 0xe2, 0x6d, 0x92, 0x08 /* no SIB */});
    undefined(k64, {0xc4, 0xe2, 0x6d, 0x92, 0xcc /* register */});
    undefined(k16, {0xc4, 0xe2, 0x6d, 0x92, 0x0c, 0xa0 /* 16-bit addresses */});
    is(k16, {0x67, 0xc4, 0xe2, 0x6d, 0x92, 0x0c, 0xa0}, Opcode::VGATHERDPS);
    CHECK(run(k64, {0xc4, 0xe2, 0xed, 0x92, 0x0c, 0xa0}).insn.mem.vector_index == 16);  // VGATHERDPD ymm, xmm index
    CHECK(run(k64, {0xc4, 0xe2, 0x6d, 0x93, 0x0c, 0xa0}).insn.op[0].size == 16);        // VGATHERQPS xmm, ymm index
}

TEST_CASE("MOV to and from control registers ignores mod") {
    const Decoded d = run(k64, {0x0f, 0x22, 0x1c /* mod 0, rm 4 */});
    REQUIRE(d.status == DecodeStatus::Ok);
    CHECK(d.insn.length == 3);
    CHECK(d.insn.op[0].kind == OperandKind::Cr);
    CHECK(d.insn.op[0].reg == 3);
    CHECK(d.insn.op[1].reg == RSP);
    CHECK(d.insn.op[1].size == 8);
}

TEST_CASE("immediates are extended as the manual says") {
    CHECK(run(k64, {0x48, 0x83, 0xc0, 0xff}).insn.op[1].imm == -1);
    CHECK(run(k64, {0x48, 0x05, 0, 0, 0, 0x80}).insn.op[1].imm == -0x80000000LL);
    CHECK(run(k64, {0xcd, 0x80}).insn.op[0].imm == 0x80);
    CHECK(run(k64, {0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8}).insn.op[1].imm == 0x0807060504030201);
    const Decoded d = run(k32, {0x9a, 1, 2, 3, 0x84, 5, 0x86});
    CHECK(d.insn.op[0].imm == 0x84030201);
    CHECK(d.insn.selector == 0x8605);
    const Decoded e = run(k64, {0xc8, 0xfe, 0xff, 0x1f});
    CHECK(e.insn.op[0].imm == 0xfffe);
    CHECK(e.insn.op[1].imm == 0x1f);
}

}  // namespace tandem::cpu::x86

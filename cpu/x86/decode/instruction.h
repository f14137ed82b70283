// A decoded x86 instruction, and the decoder. Rows of the instruction set are in opcodes.inc; names are those of the Intel
// SDM, volume 2.
#pragma once

#include <span>
#include <string_view>

#include "base/types.h"
#include "cpu/x86/model.h"
#include "cpu/x86/state.h"

namespace tandem::cpu::x86 {

// What the code segment says: CS.L and CS.D. Virtual-8086 and real mode are Bits16.
enum class Mode : u8 { Bits16, Bits32, Bits64 };

// One id per mnemonic; operand kinds and sizes tell the rest. Differences from the manual's mnemonics:
// JCC, SETCC, CMOVCC stand for all conditions (Instruction::condition()); MOVS, CMPS, SCAS, LODS, STOS, INS, OUTS for all
// sizes; MOV_SEG, MOV_CR, MOV_DR are MOV to or from those registers; *_FAR are the forms that load CS; CBW, CWD, PUSHA,
// POPA, PUSHF, POPF, IRET, CMPXCHG8B and so on stand for all operand sizes (operand_size tells).
enum class Opcode : u16 {
    Invalid_,
#define TANDEM_X86_OPCODE(name) name,
#define TANDEM_X86_ROW(...)
#include "cpu/x86/decode/opcodes.inc"
#undef TANDEM_X86_OPCODE
#undef TANDEM_X86_ROW
    Count_
};

// The enumerator as text.
std::string_view opcode_name(Opcode opcode);

enum class OperandKind : u8 {
    None,
    Gpr,        // reg: 0..15 (State::gpr index), size: 1, 2, 4, 8
    GprHigh8,   // AH CH DH BH: reg is 0..3, the register whose bits 15:8 it is
    Seg,        // reg: SegReg
    Cr,         // reg: 0..15
    Dr,         // reg: 0..7
    St,         // reg: i of ST(i)
    Mm,         // reg: 0..7
    Xmm,        // reg: 0..15; size: bytes of it that take part, 32 for a YMM register
    Imm,        // imm: sign-extended to 64 bits where the manual sign-extends it to the operand size, else zero-extended
    Rel,        // imm: displacement of a near branch, relative to the next instruction; target wraps at operand_size
    Mem,        // Instruction::mem; size 0 where only the address is used or the size depends on state (FXSAVE, LEA ...)
    MOffs,      // like Mem with only a displacement (mem.disp is the zero-extended offset)
    Far,        // immediate far pointer: imm is the offset (operand_size wide), Instruction::selector the selector
    StringSrc,  // mem.segment:[rSI], address_size wide; size: of one element
    StringDst,  // ES:[rDI]
};

enum OperandAccess : u8 { kAccessNone = 0, kAccessRead = 1, kAccessWrite = 2, kAccessReadWrite = 3 };

struct Operand {
    OperandKind kind = OperandKind::None;
    u8 size = 0;    // bytes
    u8 access = 0;  // OperandAccess
    u8 reg = 0;
    i64 imm = 0;
};

struct MemoryOperand {
    static constexpr u8 kNoReg = 0xff;
    u8 segment = DS;            // effective SegReg: default or override (in 64-bit mode only FS and GS matter)
    u8 base = kNoReg;           // State::gpr index
    u8 index = kNoReg;          // or, for VSIB, a vector register
    u8 scale = 1;               // 1, 2, 4, 8
    bool rip_relative = false;  // disp counts from the next instruction
    u8 vector_index = 0;        // bytes of the index register when it is a vector register, else 0
    i64 disp = 0;               // sign-extended; the sum wraps at address_size
};

enum class Rep : u8 { None, Rep /* F3 */, Repne /* F2 */ };

// Properties of a row.
enum RowFlags : u32 {
    kRowNo64 = 1u << 0,       // #UD in 64-bit mode
    kRowOnly64 = 1u << 1,     // #UD outside it
    kRowLock = 1u << 2,       // LOCK allowed when the first operand is memory
    kRowDefault64 = 1u << 3,  // operand size is 64 in 64-bit mode, 16 with 66
    kRowForce64 = 1u << 4,    // operand size is 64 in 64-bit mode, whatever the prefixes
    kRowPlusReg = 1u << 5,    // the opcode's low three bits are a register: the row stands for eight opcodes
    kRowPlusCond = 1u << 6,   // the opcode's low four bits are a condition: the row stands for sixteen opcodes
    kRowProtected = 1u << 7,  // #UD in real-address and virtual-8086 mode
    kRowCpl0 = 1u << 8,       // #GP(0) outside CPL 0
    kRowIopl = 1u << 9,       // depends on IOPL or the I/O permission map
    kRowBranch = 1u << 10,    // changes rIP other than by moving on (or always faults): ends a block
    kRowString = 1u << 11,    // REP counts
    kRowNoRexW = 1u << 12,    // W must be 0 (outside 64-bit mode it is)
    kRowRexW = 1u << 13,      // W must be 1
    kRowVexL0 = 1u << 14,     // VEX: L must be 0
    kRowAlias = 1u << 15,     // a second encoding of an instruction, not in the manual's opcode table under that name
    kRowFallback = 1u << 16,  // without the feature it decodes as Instruction::fallback instead of #UD
    kRowAligned = 1u << 17,   // memory operand of 16 bytes must be aligned, else #GP(0) (legacy SSE)
    kRowX87 = 1u << 18,       // #NM by CR0.EM/TS; pending x87 exceptions are reported first unless kRowNoWait
    kRowNoWait = 1u << 19,
    kRowMmx = 1u << 20,         // uses MMX registers: #UD by CR0.EM, #NM by CR0.TS, #MF, resets TOP
    kRowNoRexB = 1u << 22,      // REX.B must be 0
    kRowSse = 1u << 21,         // #UD by CR0.EM or !CR4.OSFXSR, #NM by CR0.TS
    kRowVexL1 = 1u << 23,       // VEX: L must be 1
    kRowVexW0 = 1u << 24,       // VEX: W must be 0, in every mode
    kRowVexW1 = 1u << 25,       // VEX: W must be 1, in every mode
    kRowAvx = 1u << 26,         // needs AVX state: #UD by !CR4.OSXSAVE or XCR0[2:1] != 3, #NM by CR0.TS
    kRowAvxInteger = 1u << 27,  // with VEX.L = 1 it is part of AVX2
    kRowVsib = 1u << 28,        // a gather: SIB byte with a vector register as index; registers must differ
};

// No CPUID feature needed.
constexpr Feature kNoFeature = Feature::Count_;

struct Instruction {
    Opcode opcode = Opcode::Invalid_;
    Feature feature = kNoFeature;        // the caller raises #UD, or takes `fallback`, when the model lacks it
    Opcode fallback = Opcode::Invalid_;  // TZCNT -> BSF, LZCNT -> BSR, WBNOINVD -> WBINVD ...
    u32 flags = 0;                       // RowFlags
    Mode mode = Mode::Bits16;
    u8 length = 0;        // bytes, 1..15
    u8 operand_size = 0;  // bytes: 2, 4, 8
    u8 address_size = 0;  // bytes: 2, 4, 8
    // Prefixes
    bool lock = false;
    bool prefix_66 = false;
    Rep rep = Rep::None;       // the last of F2 and F3, also when it is a mandatory prefix
    u8 rex = 0;                // 0, or 0x40..0x4f
    u8 segment_prefix = 0xff;  // SegReg, or 0xff: none that counts
    // Encoding
    u8 opcode_byte = 0;  // last opcode byte
    bool has_modrm = false;
    u8 modrm = 0;
    bool vex = false;
    bool vex_l = false;
    u8 vex_vvvv = 0;
    u16 selector = 0;  // of a Far operand
    u16 row = 0;       // index of the row, for tests
    u8 operand_count = 0;
    Operand op[4];
    MemoryOperand mem;

    [[nodiscard]] u8 condition() const { return opcode_byte & 15; }  // of JCC, SETCC, CMOVCC
    [[nodiscard]] u8 modrm_mod() const { return modrm >> 6; }
    [[nodiscard]] u8 modrm_reg() const { return (modrm >> 3) & 7; }  // without REX.R
    [[nodiscard]] u8 modrm_rm() const { return modrm & 7; }          // without REX.B
    [[nodiscard]] bool rex_w() const { return (rex & 8) != 0; }
};

constexpr unsigned kMaxInstructionLength = 15;

enum class DecodeStatus : u8 {
    Ok,
    Truncated,  // `bytes` ends within the instruction
    Invalid,    // #UD
    TooLong,    // #GP(0): longer than 15 bytes
};

// Decodes the instruction at the start of `bytes`. CPUID features, CPL and CRx are the caller's to check. `out` is valid
// after Ok only. Any thread; no allocation.
DecodeStatus decode(std::span<const u8> bytes, Mode mode, Instruction& out);

}  // namespace tandem::cpu::x86

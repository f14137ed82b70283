// The host code of one block while it is made: an AsmJit assembler over a buffer that is reused from block to block, plus
// the few forms whose bytes must be known exactly (relative jumps and calls). Displacements within the block are final when
// bound; those to addresses outside are recorded and resolved when the code is copied to its place.
#pragma once

#include <asmjit/asmjit.h>

#include <vector>

#include "base/types.h"

namespace tandem::jit::baseline {

// x86 condition codes as encoded in Jcc, SETcc and CMOVcc (Intel SDM vol. 1 appendix B).
enum class Cc : u8 { O, NO, B, AE, E, NE, BE, A, S, NS, P, NP, L, GE, LE, G };
constexpr Cc negate(Cc c) { return static_cast<Cc>(static_cast<u8>(c) ^ 1); }

// Opcodes of the general-register forms that HostCode encodes itself (Intel SDM vol. 2): reg, r/m; Store: r/m, reg.
enum class Opcode : u8 { Add = 0x03, And = 0x23, Sub = 0x2b, Cmp = 0x3b, Store = 0x89, Load = 0x8b, Lea = 0x8d };

class HostCode : public asmjit::x86::Assembler {
public:
    static constexpr u32 kMaxBytes = 1u << 20;
    static constexpr u32 kSlack = 1u << 14;  // what one IR instruction can need at most

    HostCode();
    void begin();  // forgets everything emitted
    // Whether vector code is VEX-encoded, as it must be where upper halves of vector registers are in use.
    void use_vex(bool vex) { vex_ = vex; }
    [[nodiscard]] bool vex() const { return vex_; }
    [[nodiscard]] u32 position() const { return static_cast<u32>(offset()); }
    [[nodiscard]] bool nearly_full() const { return remainingSpace() < kSlack; }

    // A jump or call whose rel32 field is at the returned offset; bind() makes it reach the current position.
    u32 jump();
    u32 jump(Cc condition);
    using Assembler::bind;
    void bind(u32 rel32) { patch(rel32, position()); }
    void patch(u32 rel32, u32 to);
    void jump_back(u32 to) { patch(jump(), to); }
    // Short forms, for targets known to be near: the returned offset is of the rel8 field.
    u32 jump_short(Cc condition);
    void bind_short(u32 rel8);
    void jump_short_back(Cc condition, u32 to);
    // To an address outside the block, within reach of a rel32.
    void jump_outside(const void* to);
    void jump_outside(Cc condition, const void* to);
    void call_outside(const void* to);
    // Pads so that the rel32 field of the next jump() or jump(Cc) is 4-byte aligned.
    void align_link(bool conditional);
    // The same for a jump(Cc), by moving what was emitted since `start`, which must be free of relative addresses.
    void align_link_from(u32 start);
    void entry_nop();  // 5 bytes

    // The general-register forms that most of the code consists of, at a fraction of the assembler's cost. Registers by
    // hardware number; `wide`: 64-bit operands, else 32-bit.
    void op(Opcode opcode, bool wide, u8 reg, u8 base, i32 displacement);  // with [base + displacement]
    void op(Opcode opcode, bool wide, u8 reg, u8 other);                   // with a register
    void store_imm(bool wide, u8 base, i32 displacement, i32 imm);
    void load_imm32(u8 reg, u32 imm);  // zero-extended
    void and_imm(bool wide, u8 reg, i32 imm);
    void shr_imm(bool wide, u8 reg, u8 count);
    // Whole vector registers: an xmm, or with VEX a ymm. An xmm move clears the upper half when VEX-encoded.
    void move_vector(const asmjit::x86::Vec& to, const asmjit::x86::Vec& from);
    void load_vector(const asmjit::x86::Vec& to, const asmjit::x86::Mem& from);
    void store_vector(const asmjit::x86::Mem& to, const asmjit::x86::Vec& from);
    void byte(u8 b) { *_bufferPtr++ = b; }
    void qword(u64 v);
    void pad(u32 bytes);  // with NOPs

    // Copies to `write`, an alias of executable address `execute`.
    void copy_to(u8* write, const u8* execute) const;

private:
    struct Outside {
        u32 at;
        const void* to;
    };
    void rel32_outside(const void* to);
    void rex(bool wide, u8 reg, u8 base);
    void memory_operand(u8 reg, u8 base, i32 displacement);
    void dword(u32 v);

    asmjit::CodeHolder code_;
    std::vector<Outside> outside_;
    bool vex_ = false;
};

}  // namespace tandem::jit::baseline

// How a row of opcodes.inc is held: for the decoder, and for tests that generate instructions from the rows.
#pragma once

#include <array>
#include <span>

#include "cpu/x86/decode/instruction.h"

namespace tandem::cpu::x86::decode_rows {

enum class Map : u8 { One, Two, Esc38, Esc3A, Vex0F, Vex38, Vex3A, Count_ };

// Mandatory prefixes that a row takes, as a mask: bit 0 none, bit 1 66, bit 2 F3, bit 3 F2.
enum Prefix : u8 { NP = 1, P66 = 2, NPor66 = 3, PF3 = 4, PF2 = 8, Any = 15 };

// The ModRM bytes that a row takes: (modrm & mask) == value, and mod as `mod` says.
struct ModRmMatch {
    enum Mod : u8 { kAnyMod, kMemory, kRegister, kIgnored /* register, whatever mod says */ };
    bool present = false;
    u8 mask = 0;
    u8 value = 0;
    Mod mod = kAnyMod;

    [[nodiscard]] constexpr bool fits(u8 modrm) const {
        if ((modrm & mask) != value) return false;
        return mod == kAnyMod || mod == kIgnored || (mod == kRegister) == (modrm >= 0xc0);
    }
};

// Operand notation of the SDM, volume 2, appendix A.2.1 and A.2.2. Additions: Er Gr (8 bytes in 64-bit mode, else 4), Ez (2
// or 4 by operand size), sIb (Ib sign-extended), Iv (up to 8 bytes), I1 (the constant 1), RdMb RdMw RvMw UdqMd (register of
// one size, memory of another), Zb Zv (register in the opcode), Mxlat (XLAT's table), rES... (segment registers), DXw (DX).
// x stands for 16 bytes, or 32 with VEX.L; Wh We Wo are a half, a quarter and an eighth of it in memory; L is the register
// in bits 7:4 of an immediate; VMdx VMqx VMqh are VSIB operands of 4 or 8 bytes whose index is a whole or half a vector.
enum class Form : u8 {
    None,
    Eb,
    Ew,
    Ed,
    Eq,
    Ev,
    Ey,
    Ez,
    Er,
    Gb,
    Gw,
    Gv,
    Gy,
    Gr,
    By,
    RdMb,
    RdMw,
    RvMw,
    UdqMd,
    M,
    Mb,
    Mw,
    Md,
    Mq,
    Mt,
    Mdq,
    My,
    Mp,
    Ms,
    Ma,
    Mxlat,
    Sw,
    Cd,
    Dd,
    Rd,
    Ib,
    sIb,
    Iw,
    Iz,
    Iv,
    I1,
    Jb,
    Jz,
    Ap,
    Ob,
    Ov,
    Xb,
    Xv,
    Xz,
    Yb,
    Yv,
    Yz,
    AL,
    AX,
    rAX,
    eAX,
    CL,
    DXw,
    Zb,
    Zv,
    rES,
    rCS,
    rSS,
    rDS,
    rFS,
    rGS,
    St0,
    Sti,
    Pq,
    Qq,
    Qd,
    Vdq,
    Vq,
    Vd,
    Wdq,
    Wq,
    Wd,
    Ww,
    XMM0,
    Vx,
    Hx,
    Hdq,
    Wx,
    Wh,
    We,
    Wo,
    Wb,
    Mx,
    Lx,
    VMdx,
    VMqx,
    VMqh,
    Count_
};

enum class RowAccess : u8 { N, R, W, RW, XX, WW, XRX };

struct Row {
    Map map;
    Prefix prefix;
    u8 byte;
    ModRmMatch modrm;
    Opcode opcode;
    RowAccess access;
    Feature feature;
    u32 flags;
    std::array<Form, 4> forms;
};

// All rows, in the order of opcodes.inc.
std::span<const Row> rows();

}  // namespace tandem::cpu::x86::decode_rows

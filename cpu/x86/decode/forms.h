// How the operand notation of opcodes.inc becomes operands: a table for the decoder.
#pragma once

#include <array>

#include "cpu/x86/decode/rows.h"

namespace tandem::cpu::x86::decode_rows {

// Where an operand is encoded.
enum class Source : u8 {
    None,
    Rm,
    RegField,
    Vvvv,
    Is4,
    OpcodeReg,
    FixedGpr,
    FixedXmm0,
    FixedSeg,
    FixedSt0,
    UImm,
    SImm,
    One,
    Rel,
    Far,
    MOffs,
    StringSrc,
    StringDst,
    Xlat
};

// Sizes that the instruction settles; smaller values are sizes in bytes.
enum Size : u8 { V = 0x80, Z, Y, R, P, S, A, IV, X, XHalf, XQuarter, XEighth };

// How a Form becomes an Operand.
struct FormInfo {
    Source source;
    OperandKind kind;  // of the register, where there is one
    u8 size;           // of the register or the immediate
    u8 memory_size;    // where memory is possible
    u8 reg;            // of the fixed ones
};

constexpr std::array<FormInfo, static_cast<size_t>(Form::Count_)> kForms = [] {
    using enum OperandKind;
    std::array<FormInfo, static_cast<size_t>(Form::Count_)> t{};
    auto set = [&t](Form form, Source source, OperandKind kind, u8 size, u8 memory_size = 0, u8 reg = 0) {
        t[static_cast<size_t>(form)] = {source, kind, size, memory_size, reg};
    };
    auto rm = [&set](Form form, OperandKind kind, u8 size, u8 memory_size) {
        set(form, Source::Rm, kind, size, memory_size);
    };
    rm(Form::Eb, Gpr, 1, 1);
    rm(Form::Ew, Gpr, 2, 2);
    rm(Form::Ed, Gpr, 4, 4);
    rm(Form::Eq, Gpr, 8, 8);
    rm(Form::Ev, Gpr, V, V);
    rm(Form::Ey, Gpr, Y, Y);
    rm(Form::Ez, Gpr, Z, Z);
    rm(Form::Er, Gpr, R, R);
    rm(Form::RdMb, Gpr, 4, 1);
    rm(Form::RdMw, Gpr, 4, 2);
    rm(Form::RvMw, Gpr, V, 2);
    rm(Form::UdqMd, Xmm, 16, 4);
    rm(Form::M, Gpr, 0, 0);
    rm(Form::Mb, Gpr, 0, 1);
    rm(Form::Mw, Gpr, 0, 2);
    rm(Form::Md, Gpr, 0, 4);
    rm(Form::Mq, Gpr, 0, 8);
    rm(Form::Mt, Gpr, 0, 10);
    rm(Form::Mdq, Gpr, 0, 16);
    rm(Form::My, Gpr, 0, Y);
    rm(Form::Mp, Gpr, 0, P);
    rm(Form::Ms, Gpr, 0, S);
    rm(Form::Ma, Gpr, 0, A);
    rm(Form::Rd, Gpr, R, 0);
    rm(Form::Sti, St, 10, 0);
    rm(Form::Qq, Mm, 8, 8);
    rm(Form::Qd, Mm, 8, 4);
    rm(Form::Wdq, Xmm, 16, 16);
    rm(Form::Wq, Xmm, 8, 8);
    rm(Form::Wd, Xmm, 4, 4);
    rm(Form::Ww, Xmm, 2, 2);
    set(Form::Gb, Source::RegField, Gpr, 1);
    set(Form::Gw, Source::RegField, Gpr, 2);
    set(Form::Gv, Source::RegField, Gpr, V);
    set(Form::Gy, Source::RegField, Gpr, Y);
    set(Form::Gr, Source::RegField, Gpr, R);
    set(Form::By, Source::Vvvv, Gpr, Y);
    set(Form::Sw, Source::RegField, Seg, 2);
    set(Form::Cd, Source::RegField, Cr, R);
    set(Form::Dd, Source::RegField, Dr, R);
    set(Form::Pq, Source::RegField, Mm, 8);
    set(Form::Vdq, Source::RegField, Xmm, 16);
    set(Form::Vq, Source::RegField, Xmm, 8);
    set(Form::Vd, Source::RegField, Xmm, 4);
    set(Form::Zb, Source::OpcodeReg, Gpr, 1);
    set(Form::Zv, Source::OpcodeReg, Gpr, V);
    set(Form::Ib, Source::UImm, Imm, 1);
    set(Form::Iw, Source::UImm, Imm, 2);
    set(Form::sIb, Source::SImm, Imm, 1);
    set(Form::Iz, Source::SImm, Imm, Z);
    set(Form::Iv, Source::SImm, Imm, IV);
    set(Form::I1, Source::One, Imm, 1);
    set(Form::Jb, Source::Rel, Rel, 1);
    set(Form::Jz, Source::Rel, Rel, Z);
    set(Form::Ap, Source::Far, Far, P);
    set(Form::Ob, Source::MOffs, MOffs, 1);
    set(Form::Ov, Source::MOffs, MOffs, V);
    set(Form::Xb, Source::StringSrc, StringSrc, 1);
    set(Form::Xv, Source::StringSrc, StringSrc, V);
    set(Form::Xz, Source::StringSrc, StringSrc, Z);
    set(Form::Yb, Source::StringDst, StringDst, 1);
    set(Form::Yv, Source::StringDst, StringDst, V);
    set(Form::Yz, Source::StringDst, StringDst, Z);
    set(Form::Mxlat, Source::Xlat, Mem, 1);
    set(Form::AL, Source::FixedGpr, Gpr, 1, 0, RAX);
    set(Form::AX, Source::FixedGpr, Gpr, 2, 0, RAX);
    set(Form::rAX, Source::FixedGpr, Gpr, V, 0, RAX);
    set(Form::eAX, Source::FixedGpr, Gpr, Z, 0, RAX);
    set(Form::CL, Source::FixedGpr, Gpr, 1, 0, RCX);
    set(Form::DXw, Source::FixedGpr, Gpr, 2, 0, RDX);
    set(Form::rES, Source::FixedSeg, Seg, 2, 0, ES);
    set(Form::rCS, Source::FixedSeg, Seg, 2, 0, CS);
    set(Form::rSS, Source::FixedSeg, Seg, 2, 0, SS);
    set(Form::rDS, Source::FixedSeg, Seg, 2, 0, DS);
    set(Form::rFS, Source::FixedSeg, Seg, 2, 0, FS);
    set(Form::rGS, Source::FixedSeg, Seg, 2, 0, GS);
    set(Form::St0, Source::FixedSt0, St, 10);
    set(Form::XMM0, Source::FixedXmm0, Xmm, 16);
    set(Form::Vx, Source::RegField, Xmm, X);
    set(Form::Hx, Source::Vvvv, Xmm, X);
    set(Form::Hdq, Source::Vvvv, Xmm, 16);
    set(Form::Lx, Source::Is4, Xmm, X);
    rm(Form::Wx, Xmm, X, X);
    rm(Form::Wh, Xmm, XHalf, XHalf);
    rm(Form::We, Xmm, XQuarter, XQuarter);
    rm(Form::Wo, Xmm, XEighth, XEighth);
    rm(Form::Wb, Xmm, 1, 1);
    rm(Form::Mx, Gpr, 0, X);
    // The size of a VSIB operand's "register" is that of its index.
    rm(Form::VMdx, Xmm, X, 4);
    rm(Form::VMqx, Xmm, X, 8);
    rm(Form::VMqh, Xmm, XHalf, 8);
    return t;
}();

}  // namespace tandem::cpu::x86::decode_rows

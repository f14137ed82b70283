#include "jit/baseline/host_code.h"

#include <cstring>

namespace tandem::jit::baseline {

namespace {

// Intel SDM vol. 2 "NOP": recommended multi-byte forms.
constexpr u8 kNops[8][8] = {
    {0x90},
    {0x66, 0x90},
    {0x0f, 0x1f, 0x00},
    {0x0f, 0x1f, 0x40, 0x00},
    {0x0f, 0x1f, 0x44, 0x00, 0x00},
    {0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00},
    {0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00},
    {0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
};

}  // namespace

HostCode::HostCode() {
    code_.init(asmjit::Environment::host());
    code_.attach(this);
    code_.reserveBuffer(&code_.textSection()->buffer(), kMaxBytes);
    begin();
}

void HostCode::begin() {
    setOffset(0);
    outside_.clear();
}

void HostCode::dword(u32 v) {
    std::memcpy(_bufferPtr, &v, sizeof v);
    _bufferPtr += sizeof v;
}

void HostCode::qword(u64 v) {
    std::memcpy(_bufferPtr, &v, sizeof v);
    _bufferPtr += sizeof v;
}

void HostCode::pad(u32 bytes) {
    while (bytes != 0) {
        const u32 n = bytes < 8 ? bytes : 8;
        std::memcpy(_bufferPtr, kNops[n - 1], n);
        _bufferPtr += n;
        bytes -= n;
    }
}

u32 HostCode::jump() {
    byte(0xe9);
    const u32 at = position();
    dword(0);
    return at;
}

u32 HostCode::jump(Cc condition) {
    byte(0x0f);
    byte(static_cast<u8>(0x80 | static_cast<u8>(condition)));
    const u32 at = position();
    dword(0);
    return at;
}

void HostCode::patch(u32 rel32, u32 to) {
    const u32 displacement = to - (rel32 + 4);
    std::memcpy(_bufferData + rel32, &displacement, sizeof displacement);
}

u32 HostCode::jump_short(Cc condition) {
    byte(static_cast<u8>(0x70 | static_cast<u8>(condition)));
    byte(0);
    return position() - 1;
}

void HostCode::bind_short(u32 rel8) { _bufferData[rel8] = static_cast<u8>(position() - (rel8 + 1)); }

void HostCode::jump_short_back(Cc condition, u32 to) {
    byte(static_cast<u8>(0x70 | static_cast<u8>(condition)));
    byte(static_cast<u8>(to - (position() + 1)));
}

void HostCode::rel32_outside(const void* to) {
    outside_.push_back({position(), to});
    dword(0);
}

void HostCode::jump_outside(const void* to) {
    byte(0xe9);
    rel32_outside(to);
}

void HostCode::jump_outside(Cc condition, const void* to) {
    byte(0x0f);
    byte(static_cast<u8>(0x80 | static_cast<u8>(condition)));
    rel32_outside(to);
}

void HostCode::call_outside(const void* to) {
    byte(0xe8);
    rel32_outside(to);
}

void HostCode::align_link(bool conditional) {
    const u32 opcode_bytes = conditional ? 2 : 1;
    pad((4 - (position() + opcode_bytes) % 4) % 4);
}

void HostCode::align_link_from(u32 start) {
    const u32 bytes = (4 - (position() + 2) % 4) % 4;
    const u32 length = position() - start;
    u8 moved[64];
    if (bytes == 0 || length > sizeof moved) return;
    std::memcpy(moved, _bufferData + start, length);
    _bufferPtr = _bufferData + start;
    pad(bytes);
    std::memcpy(_bufferPtr, moved, length);
    _bufferPtr += length;
}

void HostCode::entry_nop() { pad(5); }

void HostCode::rex(bool wide, u8 reg, u8 base) {
    const u8 prefix = static_cast<u8>(0x40 | (wide ? 8 : 0) | (reg >> 3) << 2 | base >> 3);
    if (prefix != 0x40) byte(prefix);
}

// ModRM, SIB and displacement (Intel SDM vol. 2, 2.1.5): rsp and r12 as base need a SIB byte, rbp and r13 a displacement.
void HostCode::memory_operand(u8 reg, u8 base, i32 displacement) {
    const bool none = displacement == 0 && (base & 7) != 5;
    const bool small = displacement == static_cast<i8>(displacement);
    const unsigned mod = none ? 0 : small ? 1 : 2;
    byte(static_cast<u8>(mod << 6 | (reg & 7u) << 3 | (base & 7u)));
    if ((base & 7) == 4) byte(0x24);
    if (none) return;
    if (small) {
        byte(static_cast<u8>(displacement));
    } else {
        dword(static_cast<u32>(displacement));
    }
}

void HostCode::op(Opcode opcode, bool wide, u8 reg, u8 base, i32 displacement) {
    rex(wide, reg, base);
    byte(static_cast<u8>(opcode));
    memory_operand(reg, base, displacement);
}

void HostCode::op(Opcode opcode, bool wide, u8 reg, u8 other) {
    rex(wide, reg, other);
    byte(static_cast<u8>(opcode));
    byte(static_cast<u8>(0xc0 | (reg & 7) << 3 | (other & 7)));
}

void HostCode::store_imm(bool wide, u8 base, i32 displacement, i32 imm) {
    rex(wide, 0, base);
    byte(0xc7);
    memory_operand(0, base, displacement);
    dword(static_cast<u32>(imm));
}

void HostCode::load_imm32(u8 reg, u32 imm) {
    rex(false, 0, reg);
    byte(static_cast<u8>(0xb8 | (reg & 7)));
    dword(imm);
}

void HostCode::and_imm(bool wide, u8 reg, i32 imm) {
    const bool small = imm == static_cast<i8>(imm);
    rex(wide, 0, reg);
    byte(small ? 0x83 : 0x81);
    byte(static_cast<u8>(0xe0 | (reg & 7)));
    if (small) {
        byte(static_cast<u8>(imm));
    } else {
        dword(static_cast<u32>(imm));
    }
}

void HostCode::shr_imm(bool wide, u8 reg, u8 count) {
    rex(wide, 0, reg);
    byte(0xc1);
    byte(static_cast<u8>(0xe8 | (reg & 7)));
    byte(count);
}

void HostCode::move_vector(const asmjit::x86::Vec& to, const asmjit::x86::Vec& from) {
    emit(vex_ ? asmjit::x86::Inst::kIdVmovaps : asmjit::x86::Inst::kIdMovaps, to, from);
}
void HostCode::load_vector(const asmjit::x86::Vec& to, const asmjit::x86::Mem& from) {
    emit(vex_ ? asmjit::x86::Inst::kIdVmovups : asmjit::x86::Inst::kIdMovups, to, from);
}
void HostCode::store_vector(const asmjit::x86::Mem& to, const asmjit::x86::Vec& from) {
    emit(vex_ ? asmjit::x86::Inst::kIdVmovups : asmjit::x86::Inst::kIdMovups, to, from);
}

void HostCode::copy_to(u8* write, const u8* execute) const {
    std::memcpy(write, _bufferData, position());
    for (const Outside& o : outside_) {
        const i64 displacement = static_cast<const u8*>(o.to) - (execute + o.at + 4);
        const i32 rel32 = static_cast<i32>(displacement);
        std::memcpy(write + o.at, &rel32, sizeof rel32);
    }
}

}  // namespace tandem::jit::baseline

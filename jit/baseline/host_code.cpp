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

void HostCode::entry_nop() { pad(5); }

void HostCode::copy_to(u8* write, const u8* execute) const {
    std::memcpy(write, _bufferData, position());
    for (const Outside& o : outside_) {
        const i64 displacement = static_cast<const u8*>(o.to) - (execute + o.at + 4);
        const i32 rel32 = static_cast<i32>(displacement);
        std::memcpy(write + o.at, &rel32, sizeof rel32);
    }
}

}  // namespace tandem::jit::baseline

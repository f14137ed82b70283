// One experiment: code bytes, the state they start in, and what came of it. The same form for the host's processor and for
// Tandem.
#pragma once

#include <array>
#include <string>

#include "base/types.h"

namespace tandem::instruction_test {

// Where things are, on the host as in the guest. Below 4 GiB, so that 32-bit addresses reach them.
constexpr u64 kCodePage = 0x1000'0000;
constexpr u64 kCodeStart = kCodePage + 0x800;
constexpr u64 kData = 0x2000'0000;  // two pages, readable and writable
constexpr u64 kDataSize = 0x2000;
constexpr u64 kReadOnly = kData + kDataSize;  // one page; what follows is not mapped
constexpr u64 kReadOnlySize = 0x1000;
constexpr u8 kStop = 0xf4;  // HLT: #GP(0) in user mode; fills the code page and so ends every experiment
constexpr unsigned kMaxCode = 32;

// FXSAVE64 image (SDM volume 1, table 10-2).
struct alignas(16) FxImage {
    u16 fcw = 0x37f;
    u16 fsw = 0;
    u8 ftw = 0;
    u8 reserved0 = 0;
    u16 fop = 0;
    u64 fip = 0;
    u64 fdp = 0;
    u32 mxcsr = 0x1f80;
    u32 mxcsr_mask = 0xffff;
    std::array<std::array<u8, 16>, 8> st{};
    std::array<std::array<u64, 2>, 16> xmm{};
    std::array<u8, 96> reserved1{};
};
static_assert(sizeof(FxImage) == 512);

struct CpuImage {
    std::array<u64, 16> gpr{};  // in encoding order: RAX RCX RDX RBX RSP ...
    u64 rip = kCodeStart;
    u64 rflags = 0x202;
    FxImage fx;
    std::array<std::array<u64, 2>, 16> ymm_high{};  // bits 255:128; zero on hosts without AVX
};

struct TestCase {
    CpuImage in;
    bool compatibility = false;  // 32-bit code segment
    u64 seed = 0;
    u64 variant = 0;  // Generator::vary()
    u8 length = 0;    // of the code
    std::array<u8, kMaxCode> code{};
};

// A run of changed data bytes.
struct MemoryChange {
    u64 hash = 0;                // of all data bytes; 0 when nothing changed
    u16 offset = 0;              // of the first changed byte
    u16 end = 0;                 // after the last
    std::array<u8, 80> bytes{};  // from offset on
};

struct Outcome {
    CpuImage out;
    u32 vector = 0;
    u32 error = 0;
    u64 cr2 = 0;  // after #PF, else 0
    MemoryChange memory;
    static constexpr u32 kHang = 0xfe;
};

// 32-bit code knows the low halves of eight registers only.
void truncate(CpuImage& image);

// What `now` changed of `before` (kDataSize bytes each).
MemoryChange memory_change(const u8* before, const u8* now);

}  // namespace tandem::instruction_test

// One experiment: code bytes, the state they start in, and what came of it. The same form for every processor that runs it.
#pragma once

#include <array>
#include <string_view>

#include "accel/diff/world.h"
#include "base/types.h"

namespace tandem::accel::diff {

constexpr unsigned kMaxCode = 96;

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
    u8 world = 0;  // index into worlds()
    u64 seed = 0;
    u64 variant = 0;  // Generator::vary()
    u8 length = 0;    // of the code
    std::array<u8, kMaxCode> code{};
};

inline const World& world_of(const TestCase& test) { return worlds()[test.world]; }
inline cpu::x86::Mode mode_of(const TestCase& test) { return world_of(test).mode; }
// Linear address of the code.
inline u64 code_address(const TestCase& test) { return test.in.rip + world_of(test).code_base(); }

// A run of changed bytes.
struct MemoryChange {
    u64 hash = 0;                // of all changed bytes; 0 when nothing changed
    u32 offset = 0;              // of the first changed byte
    u32 end = 0;                 // after the last
    std::array<u8, 80> bytes{};  // from offset on
    bool operator==(const MemoryChange&) const = default;
};

// Registers beyond those of user mode, of processors that show them.
struct SystemImage {
    bool present = false;
    std::array<cpu::x86::Segment, 6> seg{};
    cpu::x86::Segment ldtr, tr;
    cpu::x86::DescriptorTable gdtr, idtr;
    u64 cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0, xcr0 = 0, dr6 = 0, dr7 = 0;
    std::array<u64, 4> dr{};
    u32 pkru = 0;
    cpu::x86::Msrs msr;
    cpu::x86::Activity activity = cpu::x86::Activity::Running;
    bool sti_shadow = false, mov_ss_shadow = false, nmi_blocked = false;
    MemoryChange tables;  // of the page tables: accessed and dirty bits
    MemoryChange code;    // of the code page, where it is writable
    void visit(auto& v) {
        v("seg", seg);
        v("ldtr", ldtr);
        v("tr", tr);
        v("gdtr", gdtr);
        v("idtr", idtr);
        v("cr0", cr0);
        v("cr2", cr2);
        v("cr3", cr3);
        v("cr4", cr4);
        v("xcr0", xcr0);
        v("dr6", dr6);
        v("dr7", dr7);
        v("dr", dr);
        v("pkru", pkru);
        v("msr", msr);
        v("activity", activity);
        v("sti_shadow", sti_shadow);
        v("mov_ss_shadow", mov_ss_shadow);
        v("nmi_blocked", nmi_blocked);
    }
    bool operator==(const SystemImage&) const = default;
};

// Why nothing can be said about an experiment.
enum class Skip : u8 { None, NoEnd, NotEmulated, Undeliverable };
inline constexpr std::size_t kSkips = 4;
std::string_view reason_of(Skip skip);

struct Outcome {
    CpuImage out;
    Skip skip = Skip::None;
    bool memory_open = false;  // what is in memory is not known wholly
    bool doubtful = false;     // an exception that may be one of KVM's emulator only
    u32 vector = 0;
    u32 error = 0;
    u64 cr2 = 0;  // after #PF, else 0
    MemoryChange memory;
    SystemImage system;
    // In place of a vector: the experiment was cut off, or halted.
    static constexpr u32 kHang = 0xfe;
    static constexpr u32 kHalted = 0x100;
    static constexpr u32 kShutdown = 0x101;
};

// 32-bit and 16-bit code knows the low halves of eight registers only.
void truncate(CpuImage& image);

// What `now` changed of `before` (`size` bytes each, a multiple of 8).
MemoryChange memory_change(const u8* before, const u8* now, u64 size = kDataSize);

}  // namespace tandem::accel::diff

// Address translation without recording anything: what Guest::translate, AT instructions and fault syndromes are made of
// (DDI 0487, D8 "The AArch64 Virtual Memory System Architecture").
#pragma once

#include "cpu/arm64/mode.h"
#include "cpu/arm64/system/system.h"

namespace tandem::cpu::arm64 {

// Fault status codes (ESR_ELx.DFSC) without the level.
enum class FaultCode : u8 {
    AddressSize = 0x00,
    Translation = 0x04,
    AccessFlag = 0x08,
    Permission = 0x0c,
    External = 0x10,        // nothing answers at the address
    ExternalOnWalk = 0x14,  // nothing answers at a table's address
    Alignment = 0x21,
};

struct Fault {
    FaultCode code = FaultCode::Translation;
    u8 level = 0;
    bool stage2 = false;
    bool walk = false;  // stage 2, on an access to a stage 1 table
    u64 ipa = 0;        // of a stage 2 fault
    [[nodiscard]] u32 status() const { return static_cast<u32>(code) | (code == FaultCode::Alignment ? 0 : level); }
};

struct Mapping {
    u64 address = 0;
    u64 page_size = jit::kPageSize;
    bool read = true;
    bool write = true;
    bool execute = true;
    bool global = true;
    bool guarded = false;
    bool device = false;            // Device memory by a descriptor of either stage
    bool device_by_stage2 = false;  // by that of stage 2 alone
    u8 attributes = 0xff;           // as in MAIR_ELx
    u8 shareability = 0;            // as in PAR_EL1.SH
};

// What a translation is for.
struct WalkRequest {
    u64 va = 0;
    jit::Access access = jit::Access::Read;
    unsigned mmu = kMmuEl1;
    bool stage1_only = false;  // AT S1E*: the result is an intermediate physical address
    bool check = true;         // false: permissions are reported in the mapping, not enforced
    bool update = true;        // hardware access flag and dirty state
};

// What a translator's MMU index stands for at the current level.
inline unsigned regime_mmu(const TranslateState& t, unsigned index) {
    return host_mode(t) && index < kHostMmuBias ? index + kHostMmuBias : index;
}

// False: `fault` says why.
bool walk(TranslateState& t, const WalkRequest& request, Mapping& out, Fault& fault);

// The instruction word at s.pc, read without side effects; false when that faults.
bool current_word(TranslateState& t, u32& word);

// TLB maintenance of this PE's soft TLB and, for the Inner and Outer Shareable forms, the others'. `va` as the address in
// TLBI's argument.
void invalidate_all(TranslateState& t, bool broadcast);
void invalidate_non_global(TranslateState& t, bool broadcast);
void invalidate_pages(TranslateState& t, u64 va, u64 pages, bool broadcast);  // of 4 KiB
void invalidate_asid(TranslateState& t, u64 asid, bool broadcast);
// The address space of EL0, and with it the EL1&0 or EL2&0 regime.
jit::AddressSpace address_space(const TranslateState& t);
// After a change of what address_space() looks at.
void switch_address_space(TranslateState& t);

}  // namespace tandem::cpu::arm64

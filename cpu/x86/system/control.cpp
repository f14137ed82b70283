// Control registers: SDM volume 3, 2.5, 4.10.4 and 9.8; volume 2 "MOV - Move to/from Control Registers".
#include "base/log.h"
#include "cpu/x86/fpu/mxcsr.h"
#include "cpu/x86/fpu/xsave.h"
#include "cpu/x86/system/limits.h"
#include "cpu/x86/system/svm.h"

namespace tandem::cpu::x86 {

namespace {

bool pae_without_long_mode(u64 cr0_value, u64 cr4_value, u64 efer_value) {
    return (cr0_value & cr0::PG) != 0 && (cr4_value & cr4::PAE) != 0 && (efer_value & efer::LMA) == 0;
}

void flush(TranslateState& t, bool keep_global, const char* why) {
    log::trace(log::Mmu, "mmu: TLB flush{} for {}", keep_global ? " but for global pages" : "", why);
    jit::tlb_flush(&t, keep_global);
}

// Entering IA-32e mode (SDM volume 3, 9.8.5).
bool check_long_mode_entry(TranslateState& t) {
    const State& s = t.s;
    const bool tss16 = usable(s.tr) && (s.tr.access & 0xf) == 3;
    return ((s.cr4 & cr4::PAE) != 0 && (s.seg[CS].access & access::L) == 0 && !tss16) || fault(t, kGP);
}

bool valid_cr0(const State& s, u64 value) {
    const bool paging = (value & cr0::PG) != 0;
    const bool ends_paging = (s.cr0 & cr0::PG) != 0 && !paging;
    if ((value >> 32) != 0 || (paging && (value & cr0::PE) == 0)) return false;
    if ((value & cr0::NW) != 0 && (value & cr0::CD) == 0) return false;
    return !ends_paging || ((s.cr4 & cr4::PCIDE) == 0 && !code64(s));
}

bool write_cr0(TranslateState& t, u64 value) {
    State& s = t.s;
    const bool paging = (value & cr0::PG) != 0;
    const bool was_paging = (s.cr0 & cr0::PG) != 0;
    if (!valid_cr0(s, value)) return fault(t, kGP);
    u64 new_efer = s.msr.efer;
    if (paging && !was_paging && (new_efer & efer::LME) != 0) {
        if (!check_long_mode_entry(t)) return false;
        new_efer |= efer::LMA;
    }
    if (!paging) new_efer &= ~efer::LMA;
    value = (value & kCr0Defined) | cr0::ET;
    const u64 changed = s.cr0 ^ value;
    const bool reload = (changed & (cr0::PG | cr0::CD | cr0::NW)) != 0 && pae_without_long_mode(value, s.cr4, new_efer);
    if (reload && !load_pdptes(t, s.cr3)) return false;
    s.cr0 = value;
    s.msr.efer = new_efer;
    if ((changed & cr0::PG) != 0)
        flush(t, false, "CR0.PG");
    else if ((changed & (cr0::WP | cr0::PE)) != 0)
        flush(t, true, "CR0.WP");
    return true;
}

constexpr u64 kNoFlush = u64{1} << 63;  // of CR3, with PCIDs
bool valid_cr3(const TranslateState& t, u64 value) {
    if ((t.s.cr4 & cr4::PCIDE) != 0) value &= ~kNoFlush;
    return !long_mode(t.s) || (value >> t.model->physical_bits()) == 0;
}

bool write_cr3(TranslateState& t, u64 value) {
    State& s = t.s;
    const bool pcid = (s.cr4 & cr4::PCIDE) != 0;
    const bool no_flush = pcid && (value & kNoFlush) != 0;
    if (!valid_cr3(t, value)) return fault(t, kGP);
    if (pcid) value &= ~kNoFlush;
    if (pae_without_long_mode(s.cr0, s.cr4, s.msr.efer) && !load_pdptes(t, value)) return false;
    s.cr3 = value;
    // SDM volume 3, 4.10.4.1: what is not global of the PCID that is loaded; without PCIDs, of all.
    if (!pcid) {
        flush(t, true, "CR3");
    } else if (!no_flush) {
        jit::tlb_flush_space(&t, value & kPcidMask);
    }
    jit::tlb_switch(&t);
    return true;
}

bool valid_cr4(const TranslateState& t, u64 value) {
    const State& s = t.s;
    const u64 changed = s.cr4 ^ value;
    if ((value & ~cr4_allowed(*t.model)) != 0) return false;
    if (long_mode(s) && ((value & cr4::PAE) == 0 || (changed & cr4::LA57) != 0)) return false;
    return (changed & value & cr4::PCIDE) == 0 || (long_mode(s) && (s.cr3 & 0xfff) == 0);
}

bool write_cr4(TranslateState& t, u64 value) {
    State& s = t.s;
    const u64 changed = s.cr4 ^ value;
    if (!valid_cr4(t, value)) return fault(t, kGP);
    constexpr u64 kReload = cr4::PAE | cr4::PGE | cr4::PSE | cr4::SMEP;
    const bool reload = (changed & kReload) != 0 && pae_without_long_mode(s.cr0, value, s.msr.efer);
    if (reload && !load_pdptes(t, s.cr3)) return false;
    s.cr4 = value;
    constexpr u64 kFlush = cr4::PAE | cr4::PGE | cr4::PSE | cr4::SMEP | cr4::SMAP | cr4::PCIDE | cr4::PKE | cr4::LA57;
    if ((changed & kFlush) != 0) flush(t, false, "CR4");
    if ((changed & cr4::PCIDE) != 0) jit::tlb_switch(&t);
    return true;
}

bool valid_cr(const State& s, u32 index) {
    return index == 0 || index == 2 || index == 3 || index == 4 || (index == 8 && code64(s));
}

}  // namespace

bool check_control_read(TranslateState& t, u32 index) {
    if (!valid_cr(t.s, index)) return fault(t, kUD);
    return require_cpl0(t);
}

bool check_control_write(TranslateState& t, u32 index, u64 value) {
    if (!check_control_read(t, index)) return false;
    if (!code64(t.s)) value &= 0xffffffff;
    const bool valid = index == 0   ? valid_cr0(t.s, value)
                       : index == 3 ? valid_cr3(t, value)
                       : index == 4 ? valid_cr4(t, value)
                                    : index != 8 || (value & ~u64{15}) == 0;
    return valid || fault(t, kGP);
}

bool require_cpl0(TranslateState& t) { return !protected_mode(t.s) || cpl(t.s) == 0 || fault(t, kGP); }

LeaveReason mov_to_cr(TranslateState* t, u32 index, u64 value) {
    State& s = t->s;
    if (!check_control_read(*t, index)) return failed(*t);
    if (!code64(s)) value &= 0xffffffff;
    switch (index) {
        case 0: return done(*t, write_cr0(*t, value));
        case 2: s.cr2 = value; break;
        case 3: return done(*t, write_cr3(*t, value));
        case 4: return done(*t, write_cr4(*t, value));
        default:
            if ((value & ~u64{15}) != 0) return raise(*t, kGP);
            set_task_priority(*t, static_cast<u8>(value));
            break;
    }
    return LeaveReason::None;
}

LeaveReason mov_from_cr(TranslateState* t, u32 index) {
    const State& s = t->s;
    if (!check_control_read(*t, index)) return failed(*t);
    switch (index) {
        case 0: t->scratch[0] = s.cr0; break;
        case 2: t->scratch[0] = s.cr2; break;
        case 3: t->scratch[0] = s.cr3; break;
        case 4: t->scratch[0] = s.cr4; break;
        default: t->scratch[0] = task_priority(*t); break;
    }
    return LeaveReason::None;
}

// LMSW cannot clear PE.
LeaveReason lmsw(TranslateState* t, u32 value) {
    if (!require_cpl0(*t)) return failed(*t);
    constexpr u64 kWritable = cr0::PE | cr0::MP | cr0::EM | cr0::TS;
    const u64 kept = t->s.cr0 & (~kWritable | cr0::PE);
    return done(*t, write_cr0(*t, kept | (value & kWritable)));
}

LeaveReason clts(TranslateState* t) {
    if (!require_cpl0(*t)) return failed(*t);
    t->s.cr0 &= ~cr0::TS;
    return LeaveReason::None;
}

LeaveReason rdpkru(TranslateState* t) {
    State& s = t->s;
    if ((s.cr4 & cr4::PKE) == 0) return raise(*t, kUD);
    if (static_cast<u32>(s.gpr[RCX]) != 0) return raise(*t, kGP);
    s.gpr[RAX] = s.pkru;
    s.gpr[RDX] = 0;
    return LeaveReason::None;
}

LeaveReason wrpkru(TranslateState* t) {
    State& s = t->s;
    if ((s.cr4 & cr4::PKE) == 0) return raise(*t, kUD);
    if (static_cast<u32>(s.gpr[RCX]) != 0 || static_cast<u32>(s.gpr[RDX]) != 0) return raise(*t, kGP);
    set_pkru(*t, static_cast<u32>(s.gpr[RAX]));
    return LeaveReason::None;
}

void set_pkru(TranslateState& t, u32 value) {
    if (t.s.pkru == value) return;
    t.s.pkru = value;
    // Soft TLB entries hold the rights that the keys gave.
    if ((t.s.cr4 & cr4::PKE) != 0) flush(t, false, "PKRU");
}

LeaveReason xgetbv(TranslateState* t) {
    State& s = t->s;
    if ((s.cr4 & cr4::OSXSAVE) == 0) return raise(*t, kUD);
    const auto index = static_cast<u32>(s.gpr[RCX]);
    const bool in_use = index == 1 && t->model->has(Feature::XGETBV1);
    if (index != 0 && !in_use) return raise(*t, kGP);
    // "If XCR0[1] = 1 and MXCSR does not have its RESET value of 1F80H" bit 1 is set too (SDM volume 2, XGETBV).
    const u64 mxcsr_in_use = read_mxcsr(*t) != mxcsr::Default ? 2 : 0;
    const u64 value = in_use ? s.xcr0 & (xsave_in_use(s) | mxcsr_in_use) : s.xcr0;
    s.gpr[RAX] = value & 0xffffffff;
    s.gpr[RDX] = value >> 32;
    return LeaveReason::None;
}

LeaveReason xsetbv(TranslateState* t) {
    State& s = t->s;
    if ((s.cr4 & cr4::OSXSAVE) == 0) return raise(*t, kUD);
    if (!require_cpl0(*t)) return failed(*t);
    constexpr u64 kX87 = 1, kSse = 2, kAvx = 4, kAvx512 = 0xe0;
    const u64 value = (s.gpr[RDX] << 32) | (s.gpr[RAX] & 0xffffffff);
    const bool valid = static_cast<u32>(s.gpr[RCX]) == 0 && (value & ~xsave_components(*t->model)) == 0 &&
                       (value & kX87) != 0 && ((value & kAvx) == 0 || (value & kSse) != 0) &&
                       ((value & kAvx512) == 0 || (value & (kAvx512 | kAvx)) == (kAvx512 | kAvx));
    if (!valid) return raise(*t, kGP);
    s.xcr0 = value;
    return LeaveReason::None;
}

}  // namespace tandem::cpu::x86

#include "accel/lockstep/latitude.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "accel/diff/compare.h"
#include "cpu/x86/system/registers.h"

namespace tandem::accel::lockstep {

using namespace cpu::x86;
using O = Opcode;

namespace {

constexpr u64 kArithmetic = 0x8d5;
constexpr u64 kResume = 0x10000;  // RFLAGS.RF

// A segment register that holds no segment keeps what the processor likes in its hidden part, but for the bases of FS and GS
// in 64-bit mode.
void level_segment(Segment& s, bool null_means_none, bool has_base) {
    constexpr u16 kPresent = 0x80, kHidden = 0x0f00;  // bits 11:8 are not attributes
    s.access = static_cast<u16>(s.access & ~kHidden);
    const bool null = null_means_none && (s.selector & ~3) == 0;
    if ((s.access & kPresent) != 0 && !null) return;
    if (!has_base) s.base = 0;
    s.limit = 0;
    s.access = 0;
}

struct Row {
    const char* what;
    void (*level)(State& s);
};

const Row kRows[] = {
    {"hidden parts of segment registers that hold no segment; attributes that no instruction shows",
     [](State& s) {
         constexpr u16 kAccessed = 1;  // set by whoever loads the register, or not
         const bool selectors = (s.cr0 & cr0::PE) != 0 && (s.rflags & eflags::VM) == 0;
         for (unsigned i = 0; i < s.seg.size(); ++i) {
             level_segment(s.seg[i], selectors, i == FS || i == GS);
             if (s.seg[i].access != 0) s.seg[i].access |= kAccessed;
         }
         level_segment(s.ldtr, selectors, false);
         level_segment(s.tr, false, false);
     }},
    {"RFLAGS.RF, which has no effect without an instruction breakpoint", [](State& s) { s.rflags &= ~kResume; }},
    {"x87 opcode, instruction and operand pointers, which processors save in their own ways (SDM volume 1, 8.1.8)",
     [](State& s) {
         s.x87.fop = s.x87.fcs = s.x87.fds = 0;
         s.x87.fip = s.x87.fdp = 0;
     }},
    {"the time-stamp counter's offset, and MSRs that KVM keeps by itself (TSC_ADJUST, MISC_ENABLE, MTRRs, machine check, "
     "SPEC_CTRL, APIC base)",
     [](State& s) {
         const Msrs reset;
         s.msr.tsc_offset = s.msr.tsc_adjust = s.msr.misc_enable = s.msr.spec_ctrl = s.msr.apic_base = 0;
         s.msr.mtrr_def_type = s.msr.mcg_status = s.msr.mcg_ctl = 0;
         s.msr.mtrr_fixed = reset.mtrr_fixed;
         s.msr.mtrr_variable = reset.mtrr_variable;
     }},
    {"page-directory pointers outside PAE paging",
     [](State& s) {
         constexpr u64 kPg = u64{1} << 31, kPae = u64{1} << 5, kLma = u64{1} << 10;
         if ((s.cr0 & kPg) == 0 || (s.cr4 & kPae) == 0 || (s.msr.efer & kLma) != 0) s.pdpte = {};
     }},
};

// Registers that an instruction fills with what no two processors agree on, and whose value counts. CPUID's is the
// translator's: KVM may add features of the host's, which the translator's processor lacks.
struct ValueRow {
    Opcode opcode;
    bool native;
    std::initializer_list<Gpr> registers;
};
const ValueRow kValues[] = {
    {O::RDTSC, true, {RAX, RDX}},
    {O::RDTSCP, true, {RAX, RDX}},
    {O::RDMSR, true, {RAX, RDX}},
    {O::CPUID, false, {RAX, RBX, RCX, RDX}},
};

}  // namespace

void level_native(State& state) {
    for (const Row& row : kRows) row.level(state);
}

std::optional<Instruction> decode_at(const State& state, std::span<const u8> code) {
    const bool wide = (state.seg[CS].access & access::DB) != 0;
    const Mode mode = code64(state) ? Mode::Bits64 : wide ? Mode::Bits32 : Mode::Bits16;
    Instruction insn;
    if (decode(code, mode, insn) != DecodeStatus::Ok) return {};
    return insn;
}

bool repeats(const Instruction& insn) { return (insn.flags & kRowString) != 0 && insn.rep != Rep::None; }

bool holds_traps(const Instruction& insn) {
    const bool loads = insn.opcode == O::MOV_SEG || insn.opcode == O::POP;
    return loads && insn.op[0].kind == cpu::x86::OperandKind::Seg && insn.op[0].reg == cpu::x86::SS;
}

u64 undefined_flags(const Instruction& insn, const State& before) {
    diff::CpuImage in;
    in.gpr[RCX] = before.gpr[RCX];
    return diff::undefined_flags(insn, in, true);
}

void level_values(const Instruction& insn, State& native, State& other) {
    if (insn.opcode == O::RDRAND || insn.opcode == O::RDSEED) {
        other.gpr[insn.op[0].reg] = native.gpr[insn.op[0].reg];
        other.rflags = (other.rflags & ~kArithmetic) | (native.rflags & kArithmetic);
        return;
    }
    for (const ValueRow& row : kValues) {
        if (row.opcode != insn.opcode) continue;
        for (const Gpr reg : row.registers) (row.native ? other : native).gpr[reg] = (row.native ? native : other).gpr[reg];
    }
}

namespace {

constexpr u64 kAccessedDirty = 0x60;

// Pages that hold paging structures (SDM volume 3, 4.2).
class Tables {
public:
    Tables(const State& s, const devices::GuestMemory& memory) : memory_(memory) {
        constexpr u64 kAddress = 0x000f'ffff'ffff'f000;
        if ((s.cr0 & cr0::PG) == 0) return;
        if ((s.cr4 & cr4::PAE) == 0) {
            entry_ = 4;
            add(s.cr3 & 0xffff'f000, 2);
        } else if ((s.msr.efer & efer::LMA) != 0) {
            add(s.cr3 & kAddress, (s.cr4 & cr4::LA57) != 0 ? 5 : 4);
        } else {
            for (const u64 pointer : s.pdpte) {
                if ((pointer & 1) != 0) add(pointer & kAddress, 2);
            }
        }
    }
    [[nodiscard]] bool contains(u64 page) const { return std::ranges::binary_search(sorted(), page); }
    [[nodiscard]] unsigned entry() const { return entry_; }

private:
    void add(u64 page, unsigned level) {
        constexpr std::size_t kMost = 100'000;
        constexpr u64 kPresent = 1, kLarge = 0x80, kAddress = 0x000f'ffff'ffff'f000;
        const u8* const host = page_of(memory_, page);
        if (host == nullptr || pages_.size() > kMost) return;
        pages_.push_back(page);
        if (level == 1) return;
        for (unsigned at = 0; at < kPage; at += entry_) {
            u64 entry = 0;
            std::memcpy(&entry, host + at, entry_);
            const bool large = level <= 3 && (entry & kLarge) != 0;
            if ((entry & kPresent) != 0 && !large) add(entry & (entry_ == 4 ? 0xffff'f000 : kAddress), level - 1);
        }
    }
    [[nodiscard]] const std::vector<u64>& sorted() const {
        if (!tidy_) tidy(pages_);
        tidy_ = true;
        return pages_;
    }

    const devices::GuestMemory& memory_;
    unsigned entry_ = 8;
    mutable std::vector<u64> pages_;
    mutable bool tidy_ = false;
};

bool same_but_for_accessed_dirty(const u8* a, const u8* b, unsigned entry) {
    for (unsigned at = 0; at < kPage; at += entry) {
        u64 left = 0, right = 0;
        std::memcpy(&left, a + at, entry);
        std::memcpy(&right, b + at, entry);
        if (((left ^ right) & ~kAccessedDirty) != 0 || (left != right && (left & 1) == 0)) return false;
    }
    return true;
}

}  // namespace

void level_tables(const State& state, const devices::GuestMemory& native, devices::GuestMemory& other,
                  const std::vector<u64>& pages) {
    if ((state.cr0 & cr0::PG) == 0) return;
    std::optional<Tables> tables;
    for (const u64 page : pages) {
        const u8* const a = page_of(native, page);
        const u8* const b = page_of(other, page);
        if (a == nullptr || b == nullptr || std::memcmp(a, b, kPage) == 0) continue;
        if (!tables) tables.emplace(state, native);
        if (tables->contains(page) && same_but_for_accessed_dirty(a, b, tables->entry())) copy_page(native, other, page);
    }
}

std::vector<std::string> catalogue() {
    std::vector<std::string> lines;
    for (const Row& row : kRows) lines.push_back(fmt::format("- {}", row.what));
    lines.emplace_back(
        "- accessed and dirty bits of paging structures: KVM sets them when it fills its own tables, or the processor when "
        "it walks");
    return lines;
}

}  // namespace tandem::accel::lockstep

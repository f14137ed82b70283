// What CPUID answers: SDM volume 2 "CPUID"; AMD APM volume 3, appendix E; KVM's leaves 0x400000xx (contract H1).
#include <algorithm>
#include <bit>

#include "base/bits.h"
#include "cpu/x86/fpu/xsave.h"
#include "cpu/x86/models/feature_table.h"

namespace tandem::cpu::x86 {

namespace {

constexpr u32 kMaxBasic = 0x16, kMaxExtended = 0x80000008, kSvmLeaf = 0x8000000a, kHypervisor = 0x40000000,
              kMaxHypervisor = 0x40000001;

u32 word_of(std::string_view text, std::size_t offset) {
    u32 word = 0;
    for (std::size_t i = 0; i < 4 && offset + i < text.size(); ++i) {
        word |= u32{static_cast<u8>(text[offset + i])} << (8 * i);
    }
    return word;
}

u32 max_extended(const CpuModel& model) { return model.has(Feature::SVM) ? kSvmLeaf : kMaxExtended; }

constexpr u32 kAsids = 0x8000;

// Deterministic cache parameters (leaf 4).
enum class Sharing : u8 { Core, Package };
struct CacheRow {
    u8 type;  // 1 data, 2 instruction, 3 unified
    u8 level;
    u16 ways;
    u32 sets;
    Sharing shared;
};
constexpr u32 kLineBytes = 64;
constexpr CacheRow kCaches[] = {
    {1, 1, 8, 64, Sharing::Core},         // 32 KiB
    {2, 1, 8, 64, Sharing::Core},         // 32 KiB
    {3, 2, 16, 2048, Sharing::Core},      // 2 MiB
    {3, 3, 16, 16384, Sharing::Package},  // 16 MiB
};

}  // namespace

// One function per leaf, or group of leaves, that is more than feature bits.
class CpuidLeaves {
public:
    CpuidLeaves(const CpuModel& model, const CpuModel::Dynamic& dynamic)
        : m_(model), d_(dynamic), topology_(model.topology(std::max(dynamic.cpu_count, 1u))) {}

    CpuidResult answer(u32 leaf, u32 subleaf) const {
        CpuidResult r = features(leaf, takes_subleaf(leaf) ? subleaf : 0);
        switch (leaf) {
            case 0: r = {kMaxBasic, word_of(m_.vendor_, 0), word_of(m_.vendor_, 8), word_of(m_.vendor_, 4)}; break;
            case 1: version(r); break;
            case 2:
                if (!m_.amd()) r = {0x00feff01, 0, 0, 0};
                break;
            case 4: r = cache(subleaf); break;
            case 7: structured_features(subleaf, r); break;
            case 0xb: r = topology(subleaf); break;
            case 0xd: xsave(subleaf, r); break;
            case 0x16: r = {d_.tsc_khz / 1000, d_.tsc_khz / 1000, d_.tsc_khz != 0 ? 100u : 0u, 0}; break;
            case kHypervisor: r = {kMaxHypervisor, 0x4b4d564b, 0x564b4d56, 0x4d}; break;
            case 0x80000000:
                r = {max_extended(m_), word_of(m_.vendor_, 0), word_of(m_.vendor_, 8), word_of(m_.vendor_, 4)};
                break;
            case 0x80000001: extended_version(r); break;
            case 0x80000002:
            case 0x80000003:
            case 0x80000004: r = brand((leaf - 0x80000002) * 16); break;
            case 0x80000006: r.ecx = 2048u << 16 | 8u << 12 | kLineBytes; break;
            case 0x80000008: address_sizes(r); break;
            case kSvmLeaf: virtualization(r); break;
            default: break;
        }
        return r;
    }

private:
    // Of the other leaves' answers ECX is no part (SDM volume 2, "CPUID").
    static bool takes_subleaf(u32 leaf) { return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd; }

    [[nodiscard]] CpuidResult features(u32 leaf, u32 subleaf) const {
        CpuidResult r;
        for (const FeatureRow& row : feature_table()) {
            if (row.leaf == leaf && row.subleaf == subleaf && m_.has(row.id)) r.*row.reg |= 1u << row.bit;
        }
        return r;
    }

    [[nodiscard]] bool has_leaf(u32 leaf, u32 subleaf) const {
        const CpuidResult r = features(leaf, subleaf);
        return (r.eax | r.ebx | r.ecx | r.edx) != 0;
    }

    void structured_features(u32 subleaf, CpuidResult& r) const {
        constexpr u32 kOspke = 1u << 4;
        constexpr u64 kCr4Pke = u64{1} << 22;
        if (subleaf == 0 && (d_.cr4 & kCr4Pke) != 0) r.ecx |= kOspke;
        if (subleaf == 0) r.eax = has_leaf(7, 2) ? 2 : has_leaf(7, 1) ? 1 : 0;
    }

    void version(CpuidResult& r) const {
        constexpr u32 kApic = 1u << 9, kHtt = 1u << 28, kOsxsave = 1u << 27;
        constexpr u64 kCr4Osxsave = 1u << 18;
        r.eax = m_.signature_;
        const u32 ids = std::min(u32{1} << topology_.package_shift(), 0xffu);
        r.ebx = (d_.apic_id & 0xff) << 24 | ids << 16 | (kLineBytes / 8) << 8;
        if ((d_.cr4 & kCr4Osxsave) != 0) r.ecx |= kOsxsave;
        if (!d_.apic_enabled) r.edx &= ~kApic;
        if (topology_.package_count() < 2) r.edx &= ~kHtt;
    }

    [[nodiscard]] CpuidResult cache(u32 subleaf) const {
        if (m_.amd() || subleaf >= std::size(kCaches)) return {};
        const CacheRow& c = kCaches[subleaf];
        const unsigned shift = c.shared == Sharing::Package ? topology_.package_shift() : topology_.core_shift();
        const u32 sharing = (u32{1} << shift) - 1;
        const u32 cores = std::min((u32{1} << (topology_.package_shift() - topology_.core_shift())) - 1, 0x3fu);
        constexpr u32 kSelfInitializing = 1u << 8;
        return {c.type | u32{c.level} << 5 | kSelfInitializing | (sharing & 0xfff) << 14 | cores << 26,
                (c.ways - 1u) << 22 | (kLineBytes - 1), c.sets - 1, 0};
    }

    // Extended topology.
    [[nodiscard]] CpuidResult topology(u32 subleaf) const {
        constexpr u32 kSmt = 1, kCore = 2;
        CpuidResult r{0, 0, subleaf & 0xff, d_.apic_id};
        if (subleaf == 0) {
            r.eax = topology_.core_shift();
            r.ebx = topology_.threads & 0xffff;
            r.ecx |= kSmt << 8;
        } else if (subleaf == 1) {
            r.eax = topology_.package_shift();
            r.ebx = topology_.package_count() & 0xffff;
            r.ecx |= kCore << 8;
        }
        return r;
    }

    void xsave(u32 subleaf, CpuidResult& r) const {
        if (!m_.has(Feature::XSAVE)) {
            r = {};
            return;
        }
        const u64 supported = xsave_components(m_);
        if (subleaf == 0) {
            r = {static_cast<u32>(supported), xsave_area_size(d_.xcr0, false), xsave_area_size(supported, false),
                 static_cast<u32>(supported >> 32)};
        } else if (subleaf == 1) {
            r.ebx = m_.has(Feature::XSAVEC) ? xsave_area_size(d_.xcr0 | d_.xss, true) : 0;
        } else {
            const XsavePlace place = xsave_place(subleaf);
            r = {};
            if (bit(supported, subleaf)) r = {place.size, place.offset, 0, 0};
        }
    }

    void extended_version(CpuidResult& r) const {
        if (!m_.amd()) return;
        constexpr u32 kRepeated = 0x0183f3ff;  // bits that leaf 1 EDX has too
        r.eax = m_.signature_;
        r.edx |= features(1, 0).edx & kRepeated;
        constexpr u32 kCmpLegacy = 1u << 1;  // leaf 1's HTT tells of cores
        if (topology_.package_count() > 1) r.ecx |= kCmpLegacy;
    }

    [[nodiscard]] CpuidResult brand(std::size_t offset) const {
        return {word_of(m_.brand_, offset), word_of(m_.brand_, offset + 4), word_of(m_.brand_, offset + 8),
                word_of(m_.brand_, offset + 12)};
    }

    void address_sizes(CpuidResult& r) const {
        r.eax = m_.physical_bits() | m_.linear_bits() << 8;
        if (m_.amd()) r.ecx = ((topology_.package_count() - 1) & 0xff) | topology_.package_shift() << 12;
    }

    // Revision and number of ASIDs (APM volume 3, E.4.9).
    void virtualization(CpuidResult& r) const {
        if (!m_.has(Feature::SVM)) return;
        r.eax = 1;
        r.ebx = kAsids;
    }

    const CpuModel& m_;
    const CpuModel::Dynamic& d_;
    const Topology topology_;
};

CpuidResult CpuModel::cpuid(u32 leaf, u32 subleaf, const Dynamic& d) const {
    const CpuidLeaves leaves(*this, d);
    // Beyond the highest leaf Intel processors answer as for the highest basic leaf, AMD processors zero.
    const bool basic = leaf <= kMaxBasic;
    const bool extended = leaf >= 0x80000000 && leaf <= max_extended(*this);
    const bool hypervisor = leaf >= kHypervisor && leaf < kHypervisor + 0x10000;
    if (basic || extended || hypervisor) return leaves.answer(leaf, subleaf);
    return amd() ? CpuidResult{} : leaves.answer(kMaxBasic, subleaf);
}

}  // namespace tandem::cpu::x86

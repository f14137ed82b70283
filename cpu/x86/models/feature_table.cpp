#include "cpu/x86/models/feature_table.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#include <array>

#include "base/bits.h"

namespace tandem::cpu::x86 {

namespace {

constexpr FeatureRow kFeatures[] = {
#define TANDEM_X86_FEATURE(id, name, leaf, subleaf, reg, bit) {Feature::id, name, leaf, subleaf, &CpuidResult::reg, bit},
#include "cpu/x86/models/features.inc"
#undef TANDEM_X86_FEATURE
};

void append(std::string& text, u32 word) {
    for (unsigned i = 0; i < 4; ++i) text += static_cast<char>(word >> (8 * i));
}

}  // namespace

std::span<const FeatureRow> feature_table() { return kFeatures; }
const FeatureRow& feature_row(Feature f) { return kFeatures[static_cast<unsigned>(f)]; }

#if defined(__x86_64__) || defined(__i386__)
bool HostCpuid::available() const { return true; }
CpuidResult HostCpuid::leaf(u32 leaf, u32 subleaf) const {
    CpuidResult r;
    if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
    return r;
}
#else
bool HostCpuid::available() const { return false; }
CpuidResult HostCpuid::leaf(u32, u32) const { return {}; }
#endif

bool HostCpuid::has(const FeatureRow& row) const { return bit(leaf(row.leaf, row.subleaf).*row.reg, row.bit); }

std::string HostCpuid::vendor() const {
    const CpuidResult r = leaf(0, 0);
    std::string text;
    for (const u32 word : {r.ebx, r.edx, r.ecx}) append(text, word);
    return text;
}

std::string HostCpuid::brand() const {
    std::string text;
    for (u32 i = 0x80000002; i <= 0x80000004; ++i) {
        const CpuidResult r = leaf(i, 0);
        for (const u32 word : {r.eax, r.ebx, r.ecx, r.edx}) append(text, word);
    }
    return text.substr(0, text.find('\0'));
}

}  // namespace tandem::cpu::x86

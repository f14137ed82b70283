// Feature rows as data, and the host's CPUID.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "cpu/x86/model.h"

namespace tandem::cpu::x86 {

struct FeatureRow {
    Feature id;
    std::string_view name;
    u32 leaf;
    u32 subleaf;
    u32 CpuidResult::* reg;
    u8 bit;
};

// In the order of Feature.
std::span<const FeatureRow> feature_table();
const FeatureRow& feature_row(Feature f);

// CPUID of the processor that runs this program.
class HostCpuid {
public:
    // False on hosts that are not x86; the rest is then empty.
    [[nodiscard]] bool available() const;
    [[nodiscard]] CpuidResult leaf(u32 leaf, u32 subleaf) const;
    [[nodiscard]] bool has(const FeatureRow& row) const;
    [[nodiscard]] std::string vendor() const;
    [[nodiscard]] std::string brand() const;
    [[nodiscard]] u32 signature() const { return leaf(1, 0).eax; }
    [[nodiscard]] unsigned physical_bits() const { return leaf(0x80000008, 0).eax & 0xff; }
};

}  // namespace tandem::cpu::x86

// CPU models: what CPUID says and, by the same bits, what decodes and works. A feature is offered only when it is
// implemented.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "cpu/x86/topology.h"

namespace tandem::cpu::x86 {

// Features by CPUID bit; rows (name as QEMU's -cpu spells it, leaf, subleaf, register, bit) are in models/features.inc.
enum class Feature : u16 {
#define TANDEM_X86_FEATURE(id, name, leaf, subleaf, reg, bit) id,
#include "cpu/x86/models/features.inc"
#undef TANDEM_X86_FEATURE
    Count_
};

struct CpuidResult {
    u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
};

class CpuModel {
public:
    // "NAME[,+feat][,-feat][,feat=on|off][,property=value]..." e.g. "qemu64,+aes,vendor=AuthenticAMD". Errors name the
    // unknown model or feature, list the known ones, and refuse features that the engine (`ceiling`: what it implements)
    // lacks. The KVM leaves 0x40000000 and 0x40000001 are always offered (contract H1).
    static Result<CpuModel> create(std::string_view spec);
    // This model less `features` and whatever needs one of them, with at most `physical_bits` address bits: what is left
    // where another engine can do less. Its name stays.
    [[nodiscard]] CpuModel without(std::span<const Feature> features, unsigned physical_bits) const;
    // Features that this model has and `other` lacks, by the names that -cpu has for them; "phys-bits" where it has more.
    [[nodiscard]] std::vector<std::string> beyond(const CpuModel& other) const;
    // One line per model, for -cpu help.
    static std::string help();

    [[nodiscard]] bool has(Feature f) const {
        return (bits_[static_cast<unsigned>(f) / 64] >> (static_cast<unsigned>(f) % 64) & 1) != 0;
    }
    [[nodiscard]] const std::string& name() const { return name_; }
    // Whether the guest sees an AMD processor; otherwise an Intel one.
    [[nodiscard]] bool amd() const { return vendor_ == "AuthenticAMD"; }
    [[nodiscard]] unsigned physical_bits() const { return phys_bits_; }
    // Linear address bits that the processor has; CR4.LA57 says how many the current paging mode uses.
    [[nodiscard]] unsigned linear_bits() const { return has(Feature::LA57) ? 57 : 48; }
    // Family, model and stepping (CPUID leaf 1 EAX).
    [[nodiscard]] u32 signature() const { return signature_; }

    // How the processors are arranged; set before vCPUs are made. For a machine with another number of processors it does
    // not count: they are then the cores of one socket.
    void set_topology(const Topology& topology) { topology_ = topology; }
    [[nodiscard]] Topology topology(u32 cpu_count) const {
        return topology_.count() == cpu_count ? topology_ : Topology{1, cpu_count, 1};
    }

    // CPUID as seen by a vCPU: static leaves from the model; dynamic bits (OSXSAVE, APIC enable, XSAVE size) from the
    // arguments.
    struct Dynamic {
        u32 apic_id = 0;
        u32 cpu_count = 1;
        u64 cr4 = 0;
        u64 xcr0 = 1;
        u64 xss = 0;
        bool apic_enabled = true;
        u32 tsc_khz = 0;
    };
    [[nodiscard]] CpuidResult cpuid(u32 leaf, u32 subleaf, const Dynamic& d) const;

private:
    friend class CpuModelBuilder;
    friend class CpuidLeaves;
    std::string name_;
    std::string vendor_;
    std::string brand_;
    u32 signature_ = 0;  // leaf 1 EAX
    unsigned phys_bits_ = 40;
    Topology topology_;
    u64 bits_[8] = {};
};

}  // namespace tandem::cpu::x86

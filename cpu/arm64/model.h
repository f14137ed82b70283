// What one model of processor offers: its features, and what its identification registers say.
#pragma once

#include <array>
#include <bitset>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/types.h"

namespace tandem::cpu::arm64 {

enum class Feature : u8 {
#define TANDEM_ARM64_FEATURE(name, text) name,
#include "cpu/arm64/features.inc"
#undef TANDEM_ARM64_FEATURE
    Count_
};
std::string_view to_string(Feature feature);

// Identification registers that differ between models; MPIDR and the like follow from the machine.
struct IdRegisters {
    u64 midr_el1 = 0, revidr_el1 = 0, aidr_el1 = 0;
    u64 ctr_el0 = 0, dczid_el0 = 4, clidr_el1 = 0;
    std::array<u64, 6> ccsidr_el1{};  // by CSSELR_EL1[3:0]
    u64 id_aa64pfr0_el1 = 0, id_aa64pfr1_el1 = 0;
    u64 id_aa64dfr0_el1 = 0, id_aa64dfr1_el1 = 0;
    u64 id_aa64isar0_el1 = 0, id_aa64isar1_el1 = 0, id_aa64isar2_el1 = 0;
    u64 id_aa64mmfr0_el1 = 0, id_aa64mmfr1_el1 = 0, id_aa64mmfr2_el1 = 0;
};

class CpuModel {
public:
    // `cortex-a57`, `cortex-a72`, `neoverse-n1` or `max`. NotFound names the known ones.
    static Result<CpuModel> named(std::string_view name);
    // "NAME[,+feat][,-feat][,feat=on|off][,REGISTER.FIELD=NUMBER][,midr_el1=NUMBER]..." e.g. "max,-sha3,
    // id_aa64isar0_el1.aes=1": features by the manual's names without FEAT_, fields of identification registers, and MIDR,
    // REVIDR and AIDR, which say whose processor it is (contract R3). A feature and the fields that tell of it change
    // together. NotFound: an unknown name, with the known ones; InvalidArgument: no such value, or a feature without the one
    // that it needs; Unsupported: more than is implemented, naming register, field, wanted and the most possible.
    static Result<CpuModel> create(std::string_view spec);

    [[nodiscard]] const std::string& name() const { return name_; }
    // Whether create() was told of more than the name.
    [[nodiscard]] bool changed() const { return changed_; }
    [[nodiscard]] bool has(Feature f) const { return features_[static_cast<std::size_t>(f)]; }
    [[nodiscard]] const IdRegisters& id() const { return id_; }
    [[nodiscard]] unsigned physical_bits() const { return physical_bits_; }
    // Whether EL2 exists; set by the machine before vCPUs are made. ID_AA64PFR0_EL1.EL2 follows.
    void set_el2(bool present);
    [[nodiscard]] bool has_el2() const { return el2_; }
    // GIC system registers (ID_AA64PFR0_EL1.GIC); set by the machine with a GICv3.
    void set_gic_registers(bool present);

private:
    friend class CpuModelBuilder;
    std::string name_;
    bool changed_ = false;
    std::bitset<static_cast<std::size_t>(Feature::Count_)> features_;
    IdRegisters id_;
    unsigned physical_bits_ = 40;
    bool el2_ = false;
};

}  // namespace tandem::cpu::arm64

// The fields of identification registers: which features they tell of, and what they are called (DDI 0487, D19.2).
#pragma once

#include <span>
#include <string_view>

#include "cpu/arm64/model.h"

namespace tandem::cpu::arm64 {

constexpr unsigned kIdFieldBits = 4;

// A field's value where the model has the feature. Of rows for one field those with higher values come later, and imply
// those before them.
struct IdField {
    u64 IdRegisters::* reg;
    u8 shift;
    Feature feature;
    u8 value;
};
std::span<const IdField> id_fields();

struct IdFieldName {
    std::string_view reg;  // lower case, as -cpu has it
    u64 IdRegisters::* member;
    std::string_view name;
    u8 shift;
};
std::span<const IdFieldName> id_field_names();

// ID_AA64MMFR0_EL1.PARange.
constexpr u8 kPaRangeShift = 0;
// The largest that fits into `physical_bits`.
unsigned parange(unsigned physical_bits);
// Of PARange `value`; 0: not one that is implemented.
unsigned physical_bits_of(u64 parange);

}  // namespace tandem::cpu::arm64

// Seeded streams of words made from the decoder's rows: the fixed bits of a row, anything in the others.
#pragma once

#include <random>
#include <vector>

#include "cpu/arm64/decode/rows.h"
#include "tests/reference/machine_state.h"

namespace tandem::reference_test {

using Random = std::mt19937_64;

// Rows of the SIMD&FP group; those that access memory are told apart.
struct SimdRows {
    std::vector<const cpu::arm64::Row*> data;
    std::vector<const cpu::arm64::Row*> memory;
};
SimdRows simd_rows();

// An allocated word that decodes to `row`.
u32 random_word(const cpu::arm64::Row& row, Random& random);
// Vectors full of special values, small and large numbers; FPCR with its rounding mode only, or also with DN, FZ, FZ16, AHP.
enum class Control { Nearest, Rounding, Any };
void randomize(MachineState& state, Random& random, Control control);

}  // namespace tandem::reference_test

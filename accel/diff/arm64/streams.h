// Seeded streams of words made from the decoder's rows: the fixed bits of a row, anything in the others.
#pragma once

#include <random>
#include <vector>

#include "accel/diff/arm64/machine_state.h"
#include "cpu/arm64/decode/rows.h"

namespace tandem::accel::diff::arm64 {

using Random = std::mt19937_64;

// Rows of a group; those that access memory are told apart.
struct GroupRows {
    std::vector<const cpu::arm64::Row*> data;
    std::vector<const cpu::arm64::Row*> memory;
};
GroupRows simd_rows();
// Without branches, system instructions and what is relative to the program counter.
GroupRows general_rows();

// An allocated word that decodes to `row`.
u32 random_word(const cpu::arm64::Row& row, Random& random);
// Vectors full of special values, small and large numbers; FPCR with its rounding mode only, or also with DN, FZ, FZ16, AHP.
enum class Control { Nearest, Rounding, Any };
void randomize(MachineState& state, Random& random, Control control);
// The same with numbers in the general-purpose registers that carry, overflow and are equal now and then.
void randomize_integers(MachineState& state, Random& random, Control control = Control::Nearest);

// Whether an access leaves nothing CONSTRAINED UNPREDICTABLE: no base that is also loaded or the status, no register that is
// loaded twice. False for accesses relative to SP as well.
bool predictable(const cpu::arm64::Row& row, u32 word);
// The word with an offset that keeps the access within the data, and ordered accesses aligned.
u32 within_data(const cpu::arm64::Row& row, u32 word);

}  // namespace tandem::accel::diff::arm64

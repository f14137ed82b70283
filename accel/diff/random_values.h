// Random values that matter: at the edges of their ranges, in the formats that instructions know, and near faults.
#pragma once

#include <initializer_list>

#include "accel/diff/generator.h"

namespace tandem::accel::diff {

template <class T>
T pick(Rng& rng, std::initializer_list<T> list) {
    return *(list.begin() + rng() % list.size());
}

u64 integer(Rng& rng);

// An address for an operand of `size` bytes: mostly good, sometimes across pages, read-only, unmapped or not canonical.
u64 address(Rng& rng, unsigned size);

// Eight bytes of integers or floating-point values.
u64 quadword(Rng& rng);

// Most lie in the GDT of translators' experiments, which is data (world.cpp).
constexpr u64 kDescriptors = 64;
u16 selector(Rng& rng);

// A descriptor that may be loaded or gone through: of a segment, or a gate (SDM volume 3, figures 3-8 and 5-8). What the
// parts do not say is random.
u64 descriptor(Rng& rng);

// Registers and flags that the world allows.
void random_state(Rng& rng, CpuImage& in, const World& world, Rules rules);

}  // namespace tandem::accel::diff

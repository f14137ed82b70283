// A vCPU that changes between worlds, as a hypervisor's processor between the hypervisor and its guests (AMD's ASIDs), has
// translations for each of the last few. It begins in world 0. The TLB maintenance of memory.h is of the current one.
// All functions: vCPU thread.
#pragma once

#include <array>

#include "base/types.h"

namespace tandem::jit {

// What the translations of a world depend on, in the guest's own terms.
using WorldStamp = std::array<u64, 8>;
// The translations of world `id` are in effect from here on. `left` is kept with the world that is left; what was kept with
// the new one, valid until the next call, or null when that has no translations.
const WorldStamp* tlb_enter_world(void* state, u64 id, const WorldStamp& left);
// Invalidates all translations of all worlds, or those of a page in one of them.
void tlb_flush_worlds(void* state);
void tlb_flush_world_page(void* state, u64 id, u64 va);

}  // namespace tandem::jit

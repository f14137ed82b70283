#include "cpu/arm64/state.h"

namespace tandem::cpu::arm64 {

void reset(State& state, unsigned el) {
    state = {};
    state.pstate = pstate::kDaif | u64{el} << pstate::kElShift | pstate::kSp;
}

}  // namespace tandem::cpu::arm64

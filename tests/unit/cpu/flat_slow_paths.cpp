// The compiled tiers' and the interpreter's way to guest memory, on FlatVcpu.
#include <cstring>

#include "cpu/x86/system/system.h"
#include "flat_memory.h"
#include "jit/guest/memory.h"
#include "jit/runtime/slow_paths.h"

using namespace tandem;

namespace {

struct Spec {
    u32 value;
    [[nodiscard]] unsigned size() const { return (value >> 16) & 0xff; }
    [[nodiscard]] unsigned mmu() const { return value & jit::ir::MemFlags::kMmuMask; }
    [[nodiscard]] bool misaligned(u64 va) const {
        return (value & jit::ir::MemFlags::kAligned) != 0 && (va & (size() - 1)) != 0;
    }
};

u32 alignment_fault(void* state) {
    return static_cast<u32>(raise(*static_cast<cpu::x86::TranslateState*>(state), cpu::x86::kGP));
}
u32 status(void* state, bool ok) { return ok ? 0 : static_cast<u32>(jit::leave_status(state)); }

}  // namespace

extern "C" {

u32 tandem_slow_load(void* state, u64 va, u32 value) {
    const Spec spec{value};
    if (spec.misaligned(va)) return alignment_fault(state);
    auto& scratch = jit::header_of(state).scratch;
    scratch[0] = scratch[1] = 0;
    return status(state, jit::load_bytes(state, va, spec.mmu(), scratch, spec.size()));
}

u32 tandem_slow_store(void* state, u64 va, u32 value, u64 low, u64 high) {
    const Spec spec{value};
    if (spec.misaligned(va)) return alignment_fault(state);
    const u64 data[2] = {low, high};
    return status(state, jit::store_bytes(state, va, spec.mmu(), data, spec.size()));
}

u32 tandem_slow_atomic(void*, u64, u32, u64, u64) { return static_cast<u32>(jit::ir::LeaveReason::Exit); }
}

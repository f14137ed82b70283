// VGATHER and VPGATHER (SDM volume 2).
#pragma once

#include "cpu/x86/system/system.h"
#include "cpu/x86/translate_state.h"

namespace tandem::cpu::x86 {

// A gather as its helper sees it.
struct GatherSpec {
    u8 destination = 0, mask = 0, index = 0;  // vector registers
    u8 element_bytes = 4;                     // 4 or 8
    u8 index_bytes = 4;                       // 4 or 8
    u8 scale = 1;
    u8 address_bytes = 8;  // 4 or 8
    bool wide = false;     // VEX.L
    u8 segment = DS;
    u8 mmu = 0;

    [[nodiscard]] constexpr u64 pack() const {
        return u64{destination} | u64{mask} << 4 | u64{index} << 8 | u64{element_bytes} << 12 | u64{index_bytes} << 16 |
               u64{scale} << 20 | u64{address_bytes} << 24 | u64{wide} << 28 | u64{segment} << 32 | u64{mmu} << 36;
    }
    static constexpr GatherSpec unpack(u64 v) {
        const auto field = [v](unsigned at) { return static_cast<u8>(v >> at & 15); };
        return {field(0),  field(4),  field(8),       field(12), field(16),
                field(20), field(24), field(28) != 0, field(32), field(36)};
    }
    // Elements: as many as fit both the destination and the index register.
    [[nodiscard]] constexpr unsigned elements() const {
        const unsigned wider = element_bytes > index_bytes ? element_bytes : index_bytes;
        return (wide ? 32u : 16u) / wider;
    }
};

// `offset`: base and displacement of the operand. Elements are loaded from the lowest on; each one's mask is cleared when it
// is in the destination, so that a fault finds the instruction ready to be started again.
LeaveReason gather(TranslateState* t, u64 spec, u64 offset);

}  // namespace tandem::cpu::x86

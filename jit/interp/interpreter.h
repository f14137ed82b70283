// Executes IR as it stands: the tier for cold code and the reference that the compiled tiers are tested against.
#pragma once

#include <span>
#include <vector>

#include "jit/guest/guest.h"
#include "jit/interp/vector_rows.h"
#include "jit/ir/ir.h"

namespace tandem::jit::interp {

// One per vCPU; holds the value array. vCPU thread only. The host's MXCSR must be the guest's.
class Interpreter {
public:
    explicit Interpreter(const Guest& guest) : helpers_(guest.helpers()), pc_offset_(guest.layout().pc_offset) {}

    // Runs a verified block on the guest state. None: the block's jump was taken, the pc slot holds its target and the mode
    // is unchanged. Otherwise as LeaveReason says, with the pc slot at the instruction boundary reached.
    ir::LeaveReason run(void* state, const ir::Block& block);

    // Guest instructions completed by all runs so far.
    [[nodiscard]] u64 completed() const { return completed_; }

private:
    friend struct Execution;
    std::span<const Helper> helpers_;
    u32 pc_offset_;
    std::vector<Slot> values_;
    u64 completed_ = 0;
};

}  // namespace tandem::jit::interp

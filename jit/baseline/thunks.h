// Code that all blocks share: the way in and out, and the calls of the soft MMU's slow paths with every register preserved.
#pragma once

#include "base/result.h"
#include "jit/baseline/code_memory.h"
#include "jit/baseline/host_code.h"

namespace tandem::jit::baseline {

enum class SlowPath : u8 { Load, Store, Atomic };
// Which vector registers a slow path preserves. With Ymm it also leaves their upper halves clear for the host's code.
enum class VectorsKept : u8 { None, Xmm, Ymm };

struct Thunks {
    u32 (*enter)(void* state, const void* entry) = nullptr;
    const void* epilogue = nullptr;      // leaves with eax = LeaveReason
    const void* leave_lookup = nullptr;  // rax = leave_detail; leaves with Lookup
    const void* leave_attention = nullptr;
    const void* region_return = nullptr;  // eax = what a region's function returned
    // [SlowPath][VectorsKept]: arguments at [rsp] (see registers.h), general registers preserved, leaves when told to.
    const void* slow[3][3] = {};
};

// Emits the shared code into `memory`. Error: Busy when it does not fit.
Result<Thunks> make_thunks(HostCode& code, CodeMemory& memory, u32 pc_offset);

// Emits a call of a function anywhere in the address space. Clobbers rax when it is far.
void call_function(HostCode& code, const CodeMemory& memory, const void* function);

}  // namespace tandem::jit::baseline

// The LLVM tier as the dispatcher sees it. Implemented by the module tandem-llvm, which is loaded when the first region is
// hot, so that LLVM stays off the start-up path. No LLVM type appears here.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "jit/guest/guest.h"
#include "jit/ir/ir.h"
#include "jit/runtime/translator.h"

namespace tandem::jit {

// Blocks that are compiled as one function. blocks[0] is where it is entered; the others are reached by direct jumps from
// within. All have the entry's base and mode. Blocks are copies: the compiler works on its own thread.
struct Region {
    std::vector<ir::Block> blocks;
};

// What a region's function returns.
//   LeaveReason::None: go on at the pc slot (which is set) with the next block's lookup;
//   anything else: leave to the dispatcher with it.
using RegionFunction = u32 (*)(void* state);

struct CompiledRegion {
    RegionFunction function = nullptr;
    u64 code_bytes = 0;
    u64 handle = 0;  // for release()
};

class RegionCompiler {
public:
    virtual ~RegionCompiler() = default;
    // Compiles one region; milliseconds. Any one thread at a time. Internal: LLVM refused it (with its message).
    virtual Result<CompiledRegion> compile(const Region& region) = 0;
    // Frees the code of a region that no vCPU is in or will enter.
    virtual void release(u64 handle) = 0;
};

struct RegionCompilerOptions {
    const Guest* guest = nullptr;
    // The functions of jit/runtime/slow_paths.h, which live in the program.
    u32 (*slow_load)(void*, u64, u32) = nullptr;
    u32 (*slow_store)(void*, u64, u32, u64, u64) = nullptr;
    u32 (*slow_atomic)(void*, u64, u32, u64, u64) = nullptr;
    bool verify = false;
    bool count_instructions = false;  // keep FrameHeader::instructions exact, and heed instruction_limit
    // Where -d llvm goes; null when it is off. (The module has no logger of its own.)
    void (*log)(std::string_view text) = nullptr;
    // Only regions with a block that overlaps these guest addresses are logged (-dfilter).
    u64 log_address_low = 0;
    u64 log_address_high = ~u64{0};
};

// Loads the module from the directory of the program (or $TANDEM_LLVM_MODULE). Unsupported, with the loader's reason, when
// it is not there.
Result<std::unique_ptr<RegionCompiler>> load_region_compiler(const RegionCompilerOptions& options);

// The module's one entry point.
extern "C" RegionCompiler* tandem_create_region_compiler(const RegionCompilerOptions* options, std::string* error);

}  // namespace tandem::jit

// Between the dispatcher (jit/runtime) and the compiled tiers (jit/baseline, jit/llvm).
//
// Calling convention of all compiled code: a block is jumped to with rbp = frame pointer and rsp 16-byte aligned with the
// trampoline's frame below it (Backend::kSpillBytes of scratch at [rsp]); every guest slot is in memory; all other registers
// are free. It ends by jumping to another block's entry, or to the trampoline's epilogue with eax = LeaveReason. So tiers
// jump into each other freely. pc is not stored on direct jumps; every way out of compiled code stores it.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "jit/guest/guest.h"
#include "jit/ir/ir.h"
#include "jit/runtime/translator.h"

namespace tandem::jit {

struct TranslatedBlock;

// What FrameHeader::leave_detail says beside LeaveReason::Lookup when compiled code left: 0, guest state such as the mode
// may have changed; an address with bit 0 clear, the LinkSlot of the exit taken; with bit 0 set, the TranslatedBlock that
// has become hot, about to be executed; or:
constexpr u64 kLeaveSameMode = 2;  // a jump in the same mode whose target is not in the jump cache

// One direct exit of a compiled block. Its jump goes to `stub` until linked. The stub stores target_pc into the pc slot and
// the slot's address into FrameHeader::leave_detail, and leaves with LeaveReason::Lookup; the dispatcher may then link it.
struct LinkSlot {
    TranslatedBlock* from = nullptr;
    u64 target_pc = 0;
    u8* site = nullptr;  // executable address of the jump's rel32 field (4-byte aligned, so patching is atomic)
    const u8* stub = nullptr;
    TranslatedBlock* to = nullptr;  // linked target, in whose `incoming` this slot is
};

// A block in the machine-wide table. Owned by the dispatcher; guarded by its lock except where noted.
struct TranslatedBlock {
    ir::BlockKey key;
    u64 phys[2] = {~u64{0}, ~u64{0}};  // guest-physical addresses: of the first byte; of the second page, if any
    u32 guest_bytes = 0;
    u32 guest_insns = 0;
    std::unique_ptr<ir::Block> ir;            // optimised IR, kept while the interpreter or a later tier may need it
    std::atomic<const void*> entry{nullptr};  // compiled code to jump to; null: interpret
    u32 hot_slot = 0;                         // of the counters in jit/runtime/hot_counters.h
    bool invalid = false;
    std::vector<std::unique_ptr<LinkSlot>> exits;
    std::vector<LinkSlot*> incoming;
    const u8* code = nullptr;  // baseline code, for dumps and eviction
    u32 code_bytes = 0;
};

// A code generator. compile/link/unlink/release are called under the dispatcher's lock.
class Backend {
public:
    static constexpr u32 kSpillBytes = 3072;  // spill area at [rsp] that compiled code may use

    virtual ~Backend() = default;
    // Compiles block.ir; sets entry, code, code_bytes and exits. Errors: Busy when the code cache has no room (the
    // dispatcher evicts and tries again); Unsupported when the block is too large or needs what the host lacks, which stays
    // so (the dispatcher leaves it to the interpreter). Nothing of the block is changed then. With Tier::Auto and a non-zero
    // Options::llvm_threshold the code counts hot_slot's counter down at entry; below zero asks for the LLVM tier.
    virtual Result<void> compile(TranslatedBlock& block) = 0;
    // Patches a slot's jump to go to `target.entry` (or, when that is out of a jump's reach, to `target.code`, which
    // redirect() may have sent on) / back to its stub. Atomic for running vCPUs. LinkSlot::to and TranslatedBlock::incoming
    // are the caller's.
    virtual void link(LinkSlot& slot, TranslatedBlock& target) = 0;
    virtual void unlink(LinkSlot& slot) = 0;
    // Gives a block's code memory back; no vCPU is in it.
    virtual void release(TranslatedBlock& block) = 0;
    // Redirects a block's existing entry to new code (tier-up): every jump to the old entry reaches the new one. Its own
    // code as new entry undoes it.
    virtual void redirect(TranslatedBlock& block, const void* new_entry) = 0;
    // Code to redirect a block to that calls a region's function (jit/runtime/region_compiler.h) and goes on as it returns,
    // through the jump cache when it says None. Null when there is no room. release_region_entry(): no vCPU is in it.
    virtual const void* make_region_entry(u32 (*function)(void* state)) = 0;
    virtual void release_region_entry(const void* entry) = 0;
    // Runs compiled code until it leaves. vCPU threads.
    virtual ir::LeaveReason enter(void* state, const void* entry) = 0;
    [[nodiscard]] virtual u64 code_bytes_used() const = 0;
};

struct BackendContext {
    const Guest* guest = nullptr;
    Options options;
};
// jit/baseline. Unsupported on hosts other than x86-64.
Result<std::unique_ptr<Backend>> create_baseline_backend(const BackendContext& context);

}  // namespace tandem::jit

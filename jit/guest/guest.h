// What the translator asks of a guest architecture; cpu/<isa> implements it. One instance serves all vCPUs of a machine;
// every function may be called from any vCPU thread and from the compile thread where noted, so implementations are
// immutable after construction.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/types.h"
#include "jit/guest/frame.h"
#include "jit/guest/memory.h"
#include "jit/ir/ir.h"

namespace tandem::jit {

// A function that IR calls. C calling convention; argument 0 is the frame pointer, then the Call's integer arguments.
// I8/I16 arguments arrive zero-extended to 32 bits.
enum HelperFlags : u8 {
    kPure = 1,         // depends on and changes nothing but its arguments; may be removed or merged
    kReadsState = 2,   // reads guest state: all written slots and the pc slot are in memory before the call
    kWritesState = 4,  // may write any slot (including pc): nothing cached survives
    kMayLeave = 8,     // returns a LeaveReason (I32); not None leaves the block with it. Implies kReadsState
};

struct Helper {
    std::string_view name;
    const void* function = nullptr;
    ir::Type result = ir::Type::Void;
    u8 arguments = 0;
    u8 flags = 0;
};

// A named piece of guest state, for dumps.
struct StateSlot {
    u32 offset = 0;
    ir::Type type = ir::Type::I64;
    std::string_view name;
};

struct StateLayout {
    u32 size = 0;       // bytes of guest state
    u32 pc_offset = 0;  // the I64 slot that holds the pc register
    std::span<const StateSlot> slots;
};

// Where lift() reads code from: a window of host bytes starting at the block's first byte.
struct CodeWindow {
    std::span<const u8> first;   // from key.address() to the end of its page at most
    std::span<const u8> second;  // start of the following page when it can be fetched from; else empty
};

enum class LiftStatus : u8 {
    Ok,
    NeedSecondPage,  // the very first instruction crosses into a page that the window does not have
};

// Result of Guest::translate.
struct Translation {
    u64 phys = 0;        // guest-physical address of the access
    u64 page_size = 0;   // of the guest's mapping: 4 KiB and up
    bool read = false;   // what may be cached in the TLB besides the access asked for; a page whose dirty bit is
    bool write = false;  //   clear is not writable yet
    bool execute = false;
    bool global = false;
};

// What tells one address space from another, for the MMU indexes that are private to address spaces: two that compare equal
// have the same translations, as long as what one of them had is not invalidated.
struct AddressSpace {
    std::array<u64, 2> roots{};  // table bases and all that goes with them
    u64 id = 0;                  // the identifier that maintenance names (ASID, PCID); several spaces may share one
    bool operator==(const AddressSpace&) const = default;
};

class Guest {
public:
    virtual ~Guest() = default;

    [[nodiscard]] virtual const StateLayout& layout() const = 0;
    [[nodiscard]] virtual std::span<const Helper> helpers() const = 0;

    // The key of the code that `state` is about to execute. Also refreshes FrameHeader::mode and base.
    virtual ir::BlockKey current_key(void* state) const = 0;
    // Translates at most `max_insns` (>= 1) guest instructions at key into `out` (cleared by the caller). Undecodable or
    // disallowed code becomes IR that raises the guest's exception. An instruction that would cross into a missing second
    // page ends the block before it, or is answered NeedSecondPage when it is the first. Any thread.
    virtual LiftStatus lift(const ir::BlockKey& key, const CodeWindow& code, unsigned max_insns, ir::Block& out) const = 0;

    // The MMU index that instruction fetches use in this mode.
    [[nodiscard]] virtual unsigned fetch_mmu(u64 mode) const = 0;
    // Page walk. False: the fault is recorded as the pending exception. vCPU thread.
    virtual bool translate(void* state, u64 va, Access access, unsigned mmu, Translation& out) const = 0;
    // The MMU indexes, as bits, whose translations the soft TLB keeps apart by address space, so that they outlive a switch:
    // those of user code. The others' translations that are not global go at every switch (tlb_switch()).
    [[nodiscard]] virtual u32 private_mmus() const { return 0; }
    // The address space that the private indexes translate in now. vCPU thread.
    [[nodiscard]] virtual AddressSpace address_space(const void* /*state*/) const { return {}; }
    // Before an access that crosses into another page is resolved page by page: false when the span as a whole is not
    // allowed (the exception is recorded), whatever its pages say. vCPU thread.
    virtual bool check_crossing(void*, u64 /*va*/, unsigned /*size*/) const { return true; }
    // Records the exception for a misaligned kAligned access (x86: #GP(0); arm64: alignment fault). vCPU thread.
    virtual void alignment_fault(void* state, u64 va, Access access, unsigned mmu) const = 0;
    // An access to an address where nothing answers. True: it is an exception, which is recorded (arm64: external abort);
    // false: it is complete, as on x86. vCPU thread.
    virtual bool bus_error(void*, u64 /*va*/, Access, unsigned /*mmu*/) const { return false; }
    // Delivers the pending exception (vector through IDT or VBAR, nested faults included). The reason says how to go on:
    // Lookup normally, Exit when the machine must act (triple fault). vCPU thread.
    virtual ir::LeaveReason deliver_exception(void* state) const = 0;
    // Delivers an interrupt that is pending and allowed now, if any. True when state changed. vCPU thread.
    virtual bool poll_interrupts(void* state) const = 0;

    // Disassembly for -d and reports (Capstone lives behind it). Any thread.
    [[nodiscard]] virtual std::string disassemble(const ir::BlockKey& key, std::span<const u8> code) const = 0;
};

}  // namespace tandem::jit

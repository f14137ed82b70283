// The translator as the accelerator layer uses it: one Translator per machine, one VcpuTranslator per vCPU.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "jit/guest/guest.h"

namespace tandem::jit {

// Llvm: as Auto, but everything is compiled, and what is hot goes through LLVM before its vCPU goes on, loop or not; with
// llvm_threshold 1 that is every block that runs a second time.
enum class Tier : u8 { Interp, Baseline, Llvm, Auto };

struct Options {
    Tier tier = Tier::Auto;
    u32 baseline_threshold = 2;  // executions on the interpreter before a block is compiled (Auto)
    // Executions of a block before its region goes to LLVM (Auto, Llvm); 0: never, which Tier::Llvm refuses. High, because a
    // region costs some 60 ms of another core: below it a boot pays for code that is soon over.
    u32 llvm_threshold = 1'000'000;
    u64 code_cache_bytes = 64 << 20;  // bound on generated code; oldest code is evicted beyond it
    u32 max_block_insns = 64;         // 1 forces one-instruction blocks (tests)
    bool verify_ir = false;           // run the verifier after every step
    bool count_instructions = false;  // keep FrameHeader::instructions exact
    u64 log_address_low = 0;          // -d in_asm,ir,... only for blocks that overlap this range of guest addresses
    u64 log_address_high = ~u64{0};
};

// A range of guest-physical addresses backed by host memory. The owner keeps it mapped while it is registered.
struct MemorySlot {
    u64 gpa = 0;
    u64 size = 0;
    u8* host = nullptr;
    bool readonly = false;  // writes go to the bus
};

// Everything physical that is not a memory slot. Called on vCPU threads, without any lock of the translator's held.
class Bus {
public:
    virtual ~Bus() = default;
    // `size` is 1, 2, 4 or 8; the access never crosses an 8-byte boundary. `owner` is FrameHeader::owner. False: nothing
    // answers at that address, which Guest::bus_error() hears of; a read has a value all the same.
    virtual bool mmio_read(void* owner, u64 gpa, unsigned size, u64& value) = 0;
    virtual bool mmio_write(void* owner, u64 gpa, u64 value, unsigned size) = 0;
};

// Counters since start; approximate while vCPUs run.
struct Statistics {
    u64 blocks_lifted = 0;
    u64 blocks_compiled_baseline = 0;
    u64 regions_compiled_llvm = 0;
    u64 guest_bytes_translated = 0;
    u64 code_bytes = 0;
    u64 tlb_misses = 0;
    u64 tlb_flushes = 0;
    u64 dispatches = 0;  // returns to the dispatcher
    u64 interpreted_insns = 0;
    u64 invalidated_blocks = 0;  // by writes to code
    u64 evictions = 0;
    u64 translate_nanoseconds = 0;  // lift + passes + baseline
    u64 llvm_nanoseconds = 0;       // background thread
};

class VcpuTranslator {
public:
    virtual ~VcpuTranslator() = default;

    // The guest state inside this vCPU's frame: layout().size zeroed bytes at creation. Access only while run() is not
    // running, or from helpers on its thread.
    virtual void* state() = 0;

    // Runs guest code until something other than ordinary execution is due: Halt, Exit or Attention. The guest state is
    // complete and canonical afterwards. vCPU thread only.
    virtual ir::LeaveReason run() = 0;
    // Executes exactly one guest instruction (on the interpreter), interrupts not polled; exceptions it raises are
    // delivered.
    virtual ir::LeaveReason step() = 0;

    // Makes run() return Attention soon. Any thread, async-signal-safe.
    virtual void request_attention() = 0;
    // Whether run() or step() may be executing guest code. Any thread. A caller that stored something before, and sees
    // false, knows that guest code which runs later, and its Guest callbacks, see what was stored.
    [[nodiscard]] virtual bool running() const = 0;
    // Drops cached translations of virtual addresses after the owner replaced the state from outside.
    virtual void state_replaced() = 0;
    // Takes away all marks that the vCPU's exclusive loads have left (jit/runtime/line_marks.h): what it claims to have
    // marked it did not mark here. Like state().
    virtual void drop_line_marks() = 0;
};

class Translator {
public:
    virtual ~Translator() = default;

    virtual Result<std::unique_ptr<VcpuTranslator>> create_vcpu(void* owner) = 0;
    // Only while no vCPU runs.
    virtual Result<void> add_slot(const MemorySlot& slot) = 0;
    virtual Result<void> remove_slot(u64 gpa) = 0;
    // Something other than a vCPU of this translator (DMA, debugger) wrote guest memory: drops stale translations. Any
    // thread.
    virtual void memory_written(u64 gpa, u64 size) = 0;
    [[nodiscard]] virtual Statistics statistics() const = 0;
};

// `guest` and `bus` must outlive the translator. Errors: InvalidArgument (options), Unsupported (host or tier), Io (code
// memory).
Result<std::unique_ptr<Translator>> create_translator(const Guest& guest, Bus& bus, const Options& options);

}  // namespace tandem::jit

// What the vCPUs of a translator share: physical memory, the table of translations, the code generator.
//
// One lock guards the table and everything reached from it; it is taken when a block is not in the jump cache, never by
// compiled code and never while the guest's or the embedding program's callbacks run (lift() excepted, which calls nothing).
//
// A block that leaves the table may still be executing on some vCPU. It is destroyed when every vCPU has passed through its
// dispatcher (a quiescent point) after the block was unlinked: the core counts epochs, vCPUs publish the last one they saw.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "jit/runtime/backend.h"
#include "jit/runtime/block_table.h"
#include "jit/runtime/hot_counters.h"
#include "jit/runtime/hot_regions.h"
#include "jit/runtime/line_marks.h"
#include "jit/runtime/physical_memory.h"

namespace tandem::jit {

class Vcpu;

// A counter with one writer and any number of readers.
class Counter {
public:
    void add(u64 n = 1) { value_.store(get() + n, std::memory_order_relaxed); }
    [[nodiscard]] u64 get() const { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<u64> value_{0};
};

struct VcpuCounters {
    Counter tlb_misses;
    Counter tlb_flushes;
    Counter dispatches;
    Counter interpreted;
};

class Core final : public Translator {
public:
    static constexpr u64 kOffline = ~u64{0};

    Core(const Guest& guest, Bus& bus, const Options& options, std::unique_ptr<Backend> backend);
    ~Core() override;
    Core(const Core&) = delete;
    Core& operator=(const Core&) = delete;

    Result<std::unique_ptr<VcpuTranslator>> create_vcpu(void* owner) override;
    Result<void> add_slot(const MemorySlot& slot) override;
    Result<void> remove_slot(u64 gpa) override;
    void memory_written(u64 gpa, u64 size) override;
    [[nodiscard]] Statistics statistics() const override;

    [[nodiscard]] const Guest& guest() const { return guest_; }
    [[nodiscard]] Bus& bus() const { return bus_; }
    [[nodiscard]] const Options& options() const { return options_; }
    [[nodiscard]] const PhysicalMemory& memory() const { return memory_; }
    [[nodiscard]] Backend* backend() const { return backend_.get(); }
    std::mutex& lock() { return lock_; }
    // Serialises atomics that the host cannot do in one operation.
    std::mutex& atomics_lock() { return atomics_lock_; }
    // Whether vCPUs have counters (jit/runtime/hot_counters.h).
    [[nodiscard]] bool has_hot_counters() const { return hot_ != nullptr; }
    [[nodiscard]] u64 epoch() const { return epoch_.load(std::memory_order_acquire); }

    // --- Under the lock
    void attach(Vcpu& vcpu);
    void detach(Vcpu& vcpu);
    [[nodiscard]] BlockNode* lookup(u64 phys, const ir::BlockKey& key) const { return table_.find(phys, key); }
    // Lifts the block at `key`, whose code starts at `phys`; `second_phys` is ~0 or the page that follows virtually. Null:
    // the first instruction needs the second page.
    BlockNode* translate(const ir::BlockKey& key, u64 phys, u64 second_phys, Vcpu& caller);
    // Compiles when that is possible. The calling vCPU holds no block but this one.
    void compile(BlockNode& block, Vcpu& caller);
    void link(LinkSlot& slot, BlockNode& target);
    // The block's baseline code has run often: asks for the region around it.
    void heat(BlockNode& block);
    // Waits until every region that was asked for is installed or given up; lets go of the lock meanwhile.
    void settle(std::unique_lock<std::mutex>& lock) {
        if (hot_) hot_->settle(lock);
    }
    // Drops the blocks that overlap `size` bytes at an offset of the page.
    void invalidate(CodePage& page, u64 offset, u64 size);
    [[nodiscard]] static bool overlaps_code(const CodePage& page, u64 offset, u64 size);
    // Takes a block out of use; destroyed when no vCPU can be in it.
    void retire(BlockNode& block);

    // --- Without the lock
    // A write from outside generated code, e.g. by a page walk: drops translations of the bytes. They may cross pages.
    void written(u64 gpa, u64 size);
    // From now on ordinary stores to the page of `phys`, which is memory, look at the marks of lines (line_marks.h). One
    // that another vCPU has begun before may still miss them. vCPU threads.
    void watch(u64 phys);
    [[nodiscard]] bool logs(const ir::BlockKey& key, u32 bytes) const;
    // Verifies when asked to; a defect is reported, not hidden.
    void check(const ir::Block& block, const char* stage) const;

private:
    struct RetiredIr {
        std::unique_ptr<ir::Block> block;
        u64 epoch = 0;
    };

    void protect(const PhysicalMemory::Range& range, CodePage& page);
    void flag_stores(PageInfo& info, const u8* host_page);
    std::unique_ptr<ir::Block> take_ir();
    void give_ir(std::unique_ptr<ir::Block> block);
    void optimise(BlockNode& block);
    bool generate(BlockNode& block, Vcpu& caller);
    // How often the block may run before heat(), on every vCPU.
    void set_heat(const BlockNode& block, i32 executions);
    void unlink_exits(BlockNode& block);
    bool add_to_region(Region& region, std::vector<BlockNode*>& members, BlockNode& block);
    void evict(const BlockNode& keep, Vcpu& caller);
    void reclaim();
    u64 advance_epoch() { return epoch_.fetch_add(1, std::memory_order_acq_rel) + 1; }
    void log_lifted(const ir::Block& block, const CodeWindow& code) const;
    void flush_vcpus();

    const Guest& guest_;
    Bus& bus_;
    const Options options_;
    std::unique_ptr<Backend> backend_;
    std::unique_ptr<HotRegions> hot_;  // null: no tier above the baseline
    PhysicalMemory memory_;

    std::mutex lock_;
    std::mutex atomics_lock_;
    BlockTable table_;
    HotSlots hot_slots_;
    LineMarks line_marks_;
    std::vector<Vcpu*> vcpus_;
    std::vector<std::unique_ptr<BlockNode>> retired_;
    std::vector<RetiredIr> retired_ir_;
    std::vector<std::unique_ptr<ir::Block>> ir_pool_;
    ir::Block scratch_;
    u64 ir_bytes_ = 0;  // of the blocks in the table
    std::atomic<u64> epoch_{1};

    struct {
        Counter lifted, compiled, bytes, invalidated, evictions, nanoseconds;
        Counter code_bytes;
        std::array<Counter, 4> departed;  // of vCPUs that are gone: VcpuCounters in order
    } counters_;
    mutable std::mutex vcpus_lock_;  // vcpus_ against statistics(); inside lock_
};

}  // namespace tandem::jit

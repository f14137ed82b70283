// Tier-up: regions of hot blocks, compiled by the LLVM module on a thread of its own while the baseline code goes on.
//
// A region is made of blocks of one guest page that reach each other by direct jumps, so that whoever executes its first
// block has the others mapped too. When it is ready, the first block's code jumps to it; when one of its blocks goes, the
// jump is undone and the region's code is freed once no vCPU can be in it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "jit/runtime/backend.h"
#include "jit/runtime/region_compiler.h"

namespace tandem::jit {

struct BlockNode;

struct HotRegion {
    std::vector<BlockNode*> members;  // [0] is where it is entered; emptied when one of them goes
    CompiledRegion code;
    const void* entry = nullptr;  // what the first block is redirected to, once installed
    u64 retired = 0;              // epoch after which no vCPU can be in it
};

class HotRegions {
public:
    // `core_lock` is the translator's. The module is loaded when the first region is requested.
    HotRegions(const Guest& guest, const Options& options, Backend& backend, std::mutex& core_lock);
    ~HotRegions();
    HotRegions(const HotRegions&) = delete;
    HotRegions& operator=(const HotRegions&) = delete;

    // Ends the worker; without the translator's lock. What is queued is dropped.
    void stop();

    // --- Under the translator's lock
    [[nodiscard]] bool wants_more() const {
        return !unavailable_.load(std::memory_order_relaxed) && queued_ < kMaxQueued && regions_.size() < kMaxRegions;
    }
    void request(Region region, std::vector<BlockNode*> members);
    // A block leaves the table: so do its regions. `epoch` is the one after which they are free.
    void drop(BlockNode& block, u64 epoch);
    // Waits, giving the translator's lock up meanwhile, until nothing is queued.
    void settle(std::unique_lock<std::mutex>& core_lock);
    // Frees what was dropped up to the epoch.
    void reclaim(u64 epoch);

    [[nodiscard]] u64 compiled() const { return compiled_.load(std::memory_order_relaxed); }
    [[nodiscard]] u64 nanoseconds() const { return nanoseconds_.load(std::memory_order_relaxed); }

private:
    static constexpr unsigned kMaxQueued = 64;
    static constexpr std::size_t kMaxRegions = 8192;  // bounds the memory of their code
    struct Job {
        Region source;
        HotRegion* region = nullptr;
    };

    void work();
    void finish(HotRegion& region, Result<CompiledRegion> result);
    void forget(HotRegion& region);

    const Guest& guest_;
    const Options options_;
    Backend& backend_;
    std::mutex& core_lock_;

    // Guarded by the translator's lock.
    std::vector<std::unique_ptr<HotRegion>> regions_;
    unsigned queued_ = 0;
    std::condition_variable settled_;  // queued_ fell to zero

    std::mutex queue_lock_;  // inside the translator's lock, or alone
    std::condition_variable wake_;
    std::deque<Job> jobs_;
    std::vector<u64> releases_;
    bool stop_ = false;

    std::unique_ptr<RegionCompiler> compiler_;  // the worker's
    std::atomic<bool> unavailable_{false};
    std::atomic<u64> compiled_{0};
    std::atomic<u64> nanoseconds_{0};
    std::thread worker_;
};

}  // namespace tandem::jit

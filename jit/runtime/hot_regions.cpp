#include "jit/runtime/hot_regions.h"

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>

#include "base/log.h"
#include "jit/runtime/block_table.h"
#include "jit/runtime/slow_paths.h"

namespace tandem::jit {
namespace {

u64 thread_nanoseconds() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<u64>(t.tv_sec) * 1'000'000'000 + static_cast<u64>(t.tv_nsec);
}

}  // namespace

HotRegions::HotRegions(const Guest& guest, const Options& options, Backend& backend, std::mutex& core_lock)
    : guest_(guest), options_(options), backend_(backend), core_lock_(core_lock) {}

HotRegions::~HotRegions() { stop(); }

void HotRegions::stop() {
    {
        std::lock_guard guard(queue_lock_);
        stop_ = true;
    }
    wake_.notify_one();
    if (worker_.joinable()) worker_.join();
}

void HotRegions::request(Region region, std::vector<BlockNode*> members) {
    auto owned = std::make_unique<HotRegion>();
    owned->members = std::move(members);
    for (BlockNode* member : owned->members) member->regions.push_back(owned.get());
    {
        std::lock_guard guard(queue_lock_);
        jobs_.push_back({std::move(region), owned.get()});
    }
    regions_.push_back(std::move(owned));
    ++queued_;
    if (!worker_.joinable()) worker_ = std::thread([this] { work(); });
    wake_.notify_one();
}

// Its blocks know it no longer, and the first one's code runs again.
void HotRegions::forget(HotRegion& region) {
    if (region.entry != nullptr) backend_.redirect(*region.members[0], region.members[0]->code);
    for (BlockNode* member : region.members) std::erase(member->regions, &region);
    region.members.clear();
}

void HotRegions::drop(BlockNode& block, u64 epoch) {
    while (!block.regions.empty()) {
        HotRegion& region = *block.regions.back();
        forget(region);
        region.retired = epoch;
    }
}

void HotRegions::settle(std::unique_lock<std::mutex>& core_lock) {
    settled_.wait(core_lock, [this] { return queued_ == 0; });
}

void HotRegions::reclaim(u64 epoch) {
    std::erase_if(regions_, [&](const std::unique_ptr<HotRegion>& region) {
        // Without code it is still being compiled.
        if (region->retired == 0 || region->retired > epoch || region->code.function == nullptr) return false;
        if (region->entry != nullptr) backend_.release_region_entry(region->entry);
        std::lock_guard guard(queue_lock_);
        releases_.push_back(region->code.handle);
        wake_.notify_one();
        return true;
    });
}

void HotRegions::finish(HotRegion& region, Result<CompiledRegion> result) {
    std::lock_guard guard(core_lock_);
    if (--queued_ == 0) settled_.notify_all();
    if (!result.ok()) {
        if (compiler_) log::warn("a hot region stays with its baseline code: {}", result.error().message);
        forget(region);
        std::erase_if(regions_, [&](const auto& r) { return r.get() == &region; });
        return;
    }
    region.code = *result;
    compiled_.fetch_add(1, std::memory_order_relaxed);
    if (region.members.empty()) return;  // dropped meanwhile; reclaim() frees it
    region.entry = backend_.make_region_entry(region.code.function);
    if (region.entry != nullptr) backend_.redirect(*region.members[0], region.entry);
}

namespace {

// The compiler leaves tens of megabytes of freed memory behind; when it has nothing to do they go back to the system, at
// most once a second.
class FreedMemory {
public:
    void give_back() {
#if defined(__GLIBC__)
        constexpr u64 kPause = 1'000'000'000;
        const auto now = static_cast<u64>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
        if (now - last_ < kPause) return;
        last_ = now;
        malloc_trim(0);
#endif
    }

private:
    u64 last_ = 0;
};

}  // namespace

void HotRegions::work() {
    // Where processors are scarce the guest's own threads go first; they are what is waited for, but for Tier::Llvm.
    constexpr int kNiceness = 5;
    if (options_.tier != Tier::Llvm) setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNiceness);
    RegionCompilerOptions options;
    options.guest = &guest_;
    options.slow_load = &tandem_slow_load;
    options.slow_store = &tandem_slow_store;
    options.slow_atomic = &tandem_slow_atomic;
    options.verify = options_.verify_ir;
    options.count_instructions = options_.count_instructions;
    if (log::enabled(log::Llvm)) options.log = [](std::string_view text) { log::write(text); };
    options.log_address_low = options_.log_address_low;
    options.log_address_high = options_.log_address_high;
    auto loaded = load_region_compiler(options);
    if (loaded.ok()) {
        compiler_ = std::move(loaded).value();
    } else {
        log::info("{}", loaded.error().message);
        unavailable_.store(true, std::memory_order_relaxed);
    }
    FreedMemory freed;
    std::unique_lock lock(queue_lock_);
    for (;;) {
        wake_.wait(lock, [this] { return stop_ || !jobs_.empty() || !releases_.empty(); });
        if (stop_) return;
        for (const u64 handle : releases_) compiler_->release(handle);
        releases_.clear();
        if (jobs_.empty()) continue;
        // The latest first: what waits longest may be over.
        Job job = std::move(jobs_.back());
        jobs_.pop_back();
        lock.unlock();
        const u64 start = thread_nanoseconds();
        Result<CompiledRegion> result = Error{Errc::Unsupported, "no LLVM tier"};
        if (compiler_) result = compiler_->compile(job.source);
        nanoseconds_.fetch_add(thread_nanoseconds() - start);
        finish(*job.region, std::move(result));
        lock.lock();
        if (!jobs_.empty()) continue;
        lock.unlock();
        freed.give_back();
        lock.lock();
    }
}

}  // namespace tandem::jit

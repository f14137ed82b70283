// Guest-physical memory as the translator knows it: the registered slots and, for every page of them, what translation has
// to remember about it.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "base/result.h"
#include "jit/runtime/translator.h"

namespace tandem::jit {

struct BlockNode;

// A page that holds, or held, translated code. Lives as long as its slot.
struct CodePage {
    static constexpr unsigned kGranuleBits = 6;
    static constexpr std::size_t kGranules = kPageSize >> kGranuleBits;
    u64 phys = 0;
    const u8* host = nullptr;
    std::atomic<u64> granules{0};  // bit n: bytes 64n .. 64n+63 hold translated code (or may, while a block is being made)
    // All blocks with bytes in the page, how many cover each granule, and which granules have any: guarded by the
    // translator's lock. A page may have very many, one for each address that a library is mapped at.
    BlockNode* blocks = nullptr;
    std::array<u32, kGranules> covering{};
    u64 covered = 0;

    // The granules that [offset, offset + size) of a page touches; size >= 1 and within the page.
    static u64 granule_mask(u64 offset, u64 size) {
        const u64 first = offset >> kGranuleBits;
        const u64 last = (offset + size - 1) >> kGranuleBits;
        return (~u64{0} >> (63 - (last - first))) << first;
    }
};

struct PageInfo {
    std::atomic<CodePage*> code{nullptr};
    std::atomic<u32> write_cached{0};  // some vCPU's soft TLB may hold the page with an unflagged write tag
    std::atomic<u32> watched{0};       // stores take other vCPUs' marks of lines away (Core::watch): 1 soon, 2 from now on
};

class PhysicalMemory {
public:
    struct Range {
        MemorySlot slot;
        PageInfo* pages = nullptr;  // slot.size / kPageSize, zero pages of the host until used
        [[nodiscard]] bool contains(u64 gpa) const { return gpa - slot.gpa < slot.size; }
        [[nodiscard]] u8* host(u64 gpa) const { return slot.host + (gpa - slot.gpa); }
        [[nodiscard]] PageInfo& page(u64 gpa) const { return pages[(gpa - slot.gpa) >> kPageBits]; }
    };

    PhysicalMemory() = default;
    ~PhysicalMemory();
    PhysicalMemory(const PhysicalMemory&) = delete;
    PhysicalMemory& operator=(const PhysicalMemory&) = delete;

    // InvalidArgument: unaligned, empty, wrapping, overlapping or without host memory; Io: no memory for the page table.
    Result<void> add(const MemorySlot& slot);
    Result<void> remove(u64 gpa);

    // Null when gpa is in no slot. Any thread, while the layout does not change.
    [[nodiscard]] const Range* find(u64 gpa) const {
        for (const Range& r : ranges_) {
            if (r.contains(gpa)) return &r;
        }
        return nullptr;
    }
    [[nodiscard]] CodePage* code_page(u64 gpa) const {
        const Range* r = find(gpa);
        return r != nullptr ? r->page(gpa).code.load(std::memory_order_acquire) : nullptr;
    }
    // The record of the page that holds gpa (which is in `range`), made when it is new. Under the translator's lock.
    CodePage& make_code_page(const Range& range, u64 gpa);
    [[nodiscard]] const std::vector<Range>& ranges() const { return ranges_; }

private:
    std::vector<Range> ranges_;
    std::vector<std::unique_ptr<CodePage>> code_pages_;
};

}  // namespace tandem::jit

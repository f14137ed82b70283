#include "jit/runtime/physical_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>

#include "base/bits.h"

namespace tandem::jit {
namespace {

u64 table_bytes(const MemorySlot& slot) { return (slot.size >> kPageBits) * sizeof(PageInfo); }

}  // namespace

PhysicalMemory::~PhysicalMemory() {
    for (const Range& r : ranges_) munmap(r.pages, table_bytes(r.slot));
}

Result<void> PhysicalMemory::add(const MemorySlot& slot) {
    const bool aligned = is_aligned(slot.gpa | slot.size, kPageSize);
    if (!aligned || slot.size == 0 || slot.host == nullptr || slot.gpa + (slot.size - 1) < slot.gpa) {
        return invalid(
            fmt::format("memory slot {:#x}+{:#x}: unaligned, empty, wrapping or without memory", slot.gpa, slot.size));
    }
    for (const Range& r : ranges_) {
        if (slot.gpa - r.slot.gpa < r.slot.size || r.slot.gpa - slot.gpa < slot.size) {
            return invalid(
                fmt::format("memory slot {:#x}+{:#x} overlaps {:#x}+{:#x}", slot.gpa, slot.size, r.slot.gpa, r.slot.size));
        }
    }
    // Anonymous memory is zero, which is PageInfo's initial state, and costs nothing for pages that never hold code.
    void* table =
        mmap(nullptr, table_bytes(slot), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (table == MAP_FAILED) return io_error("cannot allocate a memory slot's page table");
    ranges_.push_back({slot, static_cast<PageInfo*>(table)});
    // Largest first: find() is a short linear search and nearly all accesses are to RAM.
    std::sort(ranges_.begin(), ranges_.end(), [](const Range& a, const Range& b) { return a.slot.size > b.slot.size; });
    return {};
}

Result<void> PhysicalMemory::remove(u64 gpa) {
    const auto it = std::find_if(ranges_.begin(), ranges_.end(), [&](const Range& r) { return r.slot.gpa == gpa; });
    if (it == ranges_.end()) return Error{Errc::NotFound, fmt::format("no memory slot starts at {:#x}", gpa)};
    std::erase_if(code_pages_, [&](const auto& page) { return it->contains(page->phys); });
    munmap(it->pages, table_bytes(it->slot));
    ranges_.erase(it);
    return {};
}

CodePage& PhysicalMemory::make_code_page(const Range& range, u64 gpa) {
    PageInfo& info = range.page(gpa);
    if (CodePage* existing = info.code.load(std::memory_order_relaxed)) return *existing;
    auto page = std::make_unique<CodePage>();
    page->phys = gpa & kPageMask;
    page->host = range.host(page->phys);
    info.code.store(page.get(), std::memory_order_release);
    code_pages_.push_back(std::move(page));
    return *code_pages_.back();
}

}  // namespace tandem::jit

#include "devices/fabric/guest_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "base/bits.h"

namespace tandem::devices {
namespace {

constexpr u64 kPage = 4096;
constexpr u64 kHugePage = 2ull << 20;

}  // namespace

GuestMemory::~GuestMemory() {
    for (const auto& r : ranges_) munmap(r.host, r.size);
}

Result<void> GuestMemory::add(std::string name, u64 gpa, u64 size, bool readonly) {
    if (size == 0 || !is_aligned(gpa, kPage) || !is_aligned(size, kPage)) {
        return invalid(
            fmt::format("memory '{}': base {:#x} and size {:#x} must be multiples of 4 KiB, size not 0", name, gpa, size));
    }
    if (gpa + size - 1 < gpa) return invalid(fmt::format("memory '{}': {:#x} + {:#x} wraps", name, gpa, size));
    for (const auto& r : ranges_) {
        if (gpa < r.gpa + r.size && r.gpa < gpa + size) {
            return invalid(fmt::format("memory '{}' at {:#x} overlaps '{}' at {:#x}", name, gpa, r.name, r.gpa));
        }
    }
    // Over-allocated and trimmed so that guest and host huge pages coincide.
    const u64 slack = size >= kHugePage ? kHugePage : 0;
    void* p = mmap(nullptr, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return io_error(fmt::format("cannot map {} bytes for memory '{}'", size, name));
    auto* host = static_cast<u8*>(p);
    if (slack != 0) {
        const u64 address = reinterpret_cast<u64>(host);
        const u64 skip = (gpa - address) & (kHugePage - 1);
        if (skip != 0) munmap(host, skip);
        host += skip;
        if (slack != skip) munmap(host + size, slack - skip);
        // Best effort: without huge pages it is only slower.
        (void)madvise(host, size, MADV_HUGEPAGE);
    }
    (void)madvise(host, size, MADV_DONTDUMP);
    MemoryRange range{std::move(name), gpa, size, host, readonly};
    const auto at = std::ranges::upper_bound(ranges_, gpa, {}, &MemoryRange::gpa);
    ranges_.insert(at, std::move(range));
    return {};
}

u64 GuestMemory::ram_bytes() const {
    u64 total = 0;
    for (const auto& r : ranges_) {
        if (!r.readonly) total += r.size;
    }
    return total;
}

std::span<u8> GuestMemory::span(u64 gpa, u64 size) const {
    for (const auto& r : ranges_) {
        if (gpa >= r.gpa && gpa - r.gpa < r.size) {
            const u64 offset = gpa - r.gpa;
            return {r.host + offset, static_cast<std::size_t>(std::min(size, r.size - offset))};
        }
    }
    return {};
}

bool GuestMemory::read(u64 gpa, void* out, u64 size) const {
    auto* to = static_cast<u8*>(out);
    while (size > 0) {
        const auto part = span(gpa, size);
        if (part.empty()) return false;
        std::memcpy(to, part.data(), part.size());
        to += part.size();
        gpa += part.size();
        size -= part.size();
    }
    return true;
}

bool GuestMemory::write(u64 gpa, const void* in, u64 size) {
    const auto* from = static_cast<const u8*>(in);
    while (size > 0) {
        const auto part = span(gpa, size);
        if (part.empty()) return false;
        std::memcpy(part.data(), from, part.size());
        commit(gpa, part.size());
        from += part.size();
        gpa += part.size();
        size -= part.size();
    }
    return true;
}

}  // namespace tandem::devices

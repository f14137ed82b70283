#include "accel/lockstep/image.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace tandem::accel::lockstep {
namespace {

constexpr std::array<u8, kPage> kZeros{};

}  // namespace

Result<void> clone(const devices::GuestMemory& memory, devices::GuestMemory& copy) {
    for (const auto& range : memory.ranges()) {
        TANDEM_TRY(copy.add(range.name, range.gpa, range.size, range.readonly));
        u8* const to = copy.span(range.gpa, range.size).data();
        for (u64 at = 0; at < range.size; at += kPage) {
            if (std::memcmp(range.host + at, kZeros.data(), kPage) != 0) std::memcpy(to + at, range.host + at, kPage);
        }
    }
    return {};
}

u8* page_of(const devices::GuestMemory& memory, u64 address) {
    const auto span = memory.span(address & ~(kPage - 1), kPage);
    return span.size() == kPage ? span.data() : nullptr;
}

void copy_page(const devices::GuestMemory& from, devices::GuestMemory& to, u64 address) {
    const u8* const source = page_of(from, address);
    u8* const target = page_of(to, address);
    if (source == nullptr || target == nullptr || std::memcmp(source, target, kPage) == 0) return;
    std::memcpy(target, source, kPage);
    to.commit(address & ~(kPage - 1), kPage);
}

void tidy(std::vector<u64>& pages) {
    std::sort(pages.begin(), pages.end());
    pages.erase(std::unique(pages.begin(), pages.end()), pages.end());
}

}  // namespace tandem::accel::lockstep

// Copies of a machine's memory, page by page.
#pragma once

#include <vector>

#include "base/result.h"
#include "devices/fabric/guest_memory.h"

namespace tandem::accel::lockstep {

constexpr u64 kPage = 4096;

// Gives `copy` the same ranges as `memory`, and their contents. Pages of zeros take no host memory.
Result<void> clone(const devices::GuestMemory& memory, devices::GuestMemory& copy);
// The host memory of a page, or null.
u8* page_of(const devices::GuestMemory& memory, u64 address);
// Copies one page and tells the engine that has `to` mapped.
void copy_page(const devices::GuestMemory& from, devices::GuestMemory& to, u64 address);
// Sorts, and leaves each page once.
void tidy(std::vector<u64>& pages);

}  // namespace tandem::accel::lockstep

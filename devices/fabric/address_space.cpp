#include "devices/fabric/address_space.h"

#include <algorithm>
#include <mutex>

#include "base/bits.h"

namespace tandem::devices {

const IoRegion* AddressSpace::overlapping(const IoRegion& region) const {
    for (const auto& r : regions_) {
        if (region.base <= r.base + (r.size - 1) && r.base <= region.base + (region.size - 1)) return &r;
    }
    return nullptr;
}

void AddressSpace::insert(IoRegion region) {
    attach_doorbells(region);
    const auto at = std::ranges::upper_bound(regions_, region.base, {}, &IoRegion::base);
    regions_.insert(at, std::move(region));
}

void AddressSpace::erase(Regions::iterator at) {
    detach_doorbells(*at);
    regions_.erase(at);
}

// A bell that the host does not take is a register like any other.
void AddressSpace::attach_doorbells(const IoRegion& region) {
    if (doorbell_host_ == nullptr) return;
    for (Doorbell bell : region.handler->doorbells()) {
        bell.address += region.base;
        if (auto added = doorbell_host_->add_doorbell(kind_, bell); added) {
            attached_.push_back({region.base, bell});
        } else if (refused_.allow()) {
            log::info("{}: doorbell of '{}' at {:#x}: {}", name_, region.name, bell.address, added.error().message);
        }
    }
}

void AddressSpace::detach_doorbells(const IoRegion& region) {
    std::erase_if(attached_, [&](const Attached& a) {
        if (a.base != region.base) return false;
        doorbell_host_->remove_doorbell(kind_, a.bell);
        return true;
    });
}

void AddressSpace::set_doorbell_host(DoorbellHost* host) {
    std::unique_lock guard(lock_);
    if (host == doorbell_host_) return;
    for (const IoRegion& region : regions_) detach_doorbells(region);
    doorbell_host_ = host;
    for (const IoRegion& region : regions_) attach_doorbells(region);
}

Result<void> AddressSpace::add(IoRegion region) {
    if (region.size == 0 || region.handler == nullptr || region.base + (region.size - 1) < region.base) {
        return invalid(fmt::format("{}: region '{}' at {:#x} size {:#x} is empty, wraps or has no handler", name_,
                                   region.name, region.base, region.size));
    }
    std::unique_lock guard(lock_);
    if (const IoRegion* other = overlapping(region)) {
        return invalid(fmt::format("{}: region '{}' at {:#x} overlaps '{}' at {:#x}", name_, region.name, region.base,
                                   other->name, other->base));
    }
    insert(std::move(region));
    return {};
}

Result<void> AddressSpace::remove(u64 base) {
    std::unique_lock guard(lock_);
    const auto at = std::ranges::find(regions_, base, &IoRegion::base);
    if (at == regions_.end()) return Error{Errc::NotFound, fmt::format("{}: no region starts at {:#x}", name_, base)};
    erase(at);
    return {};
}

Result<void> AddressSpace::move(u64 from, u64 to) {
    std::unique_lock guard(lock_);
    const auto at = std::ranges::find(regions_, from, &IoRegion::base);
    if (at == regions_.end()) return Error{Errc::NotFound, fmt::format("{}: no region starts at {:#x}", name_, from)};
    IoRegion region = std::move(*at);
    erase(at);
    IoRegion moved = region;
    moved.base = to;
    const bool wraps = to + (moved.size - 1) < to;
    const IoRegion* other = wraps ? nullptr : overlapping(moved);
    if (wraps || other != nullptr) {
        Error e = invalid(wraps ? fmt::format("{}: region '{}' would wrap at {:#x}", name_, moved.name, to)
                                : fmt::format("{}: region '{}' moved to {:#x} overlaps '{}' at {:#x}", name_, moved.name, to,
                                              other->name, other->base));
        insert(std::move(region));
        return e;
    }
    insert(std::move(moved));
    return {};
}

AddressSpace::Target AddressSpace::find(u64 address) const {
    std::shared_lock guard(lock_);
    auto at = std::ranges::upper_bound(regions_, address, {}, &IoRegion::base);
    if (at == regions_.begin()) return {};
    --at;
    const u64 offset = address - at->base;
    if (offset >= at->size) return {};
    return {at->handler, offset, at->size - offset};
}

void AddressSpace::report_unclaimed(const char* what, u64 address, unsigned size) {
    if (log::enabled(log::GuestErrors) && unclaimed_.allow()) {
        log::write(fmt::format("guest_errors: {}: unclaimed {} of {} bytes at {:#x}", name_, what, size, address));
    }
}

u64 AddressSpace::read(u64 address, unsigned size) {
    u64 value = 0;
    (void)read(address, size, value);
    return value;
}

bool AddressSpace::read(u64 address, unsigned size, u64& value) {
    const Target t = find(address);
    if (t.handler != nullptr && t.left >= size) {
        value = t.handler->io_read(t.offset, size) & mask(size * 8);
        return true;
    }
    // Straddling an end, from either side: byte by byte.
    if (size == 1 || (t.handler == nullptr && find(address + size - 1).handler == nullptr)) {
        report_unclaimed("read", address, size);
        value = mask(size * 8);
        return false;
    }
    value = 0;
    for (unsigned i = 0; i < size; ++i) value |= read(address + i, 1) << (8 * i);
    return true;
}

bool AddressSpace::write(u64 address, u64 value, unsigned size) {
    const Target t = find(address);
    if (t.handler != nullptr && t.left >= size) {
        t.handler->io_write(t.offset, value & mask(size * 8), size);
        return true;
    }
    if (size == 1 || (t.handler == nullptr && find(address + size - 1).handler == nullptr)) {
        report_unclaimed("write", address, size);
        return false;
    }
    for (unsigned i = 0; i < size; ++i) write(address + i, bits(value, 8 * i + 7, 8 * i), 1);
    return true;
}

std::vector<IoRegion> AddressSpace::regions() const {
    std::shared_lock guard(lock_);
    return regions_;
}

}  // namespace tandem::devices

// Maps address ranges (MMIO or I/O ports) to device handlers. Layout changes (PCI BARs) take a writer lock; dispatch takes a
// reader lock only to find the handler and holds none while the handler runs.
#pragma once

#include <memory>
#include <shared_mutex>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "base/types.h"
#include "devices/fabric/doorbells.h"

namespace tandem::devices {

// A device's registers. Offsets are relative to the region; size is 1, 2, 4 or 8. Handlers do their own locking.
class IoHandler {
public:
    virtual ~IoHandler() = default;
    virtual u64 io_read(u64 offset, unsigned size) = 0;
    virtual void io_write(u64 offset, u64 value, unsigned size) = 0;
    // Which of the registers are doorbells, for an engine that rings them itself. Called with the address space's lock held.
    virtual std::vector<Doorbell> doorbells() { return {}; }
};

struct IoRegion {
    std::string name;
    u64 base = 0;
    u64 size = 0;
    IoHandler* handler = nullptr;
};

class AddressSpace {
public:
    explicit AddressSpace(std::string name, DoorbellHost::Space kind = DoorbellHost::Space::Memory)
        : name_(std::move(name)), kind_(kind) {}

    // InvalidArgument: empty, wrapping, or overlapping an existing region (both are named).
    Result<void> add(IoRegion region);
    // NotFound when no region starts at base.
    Result<void> remove(u64 base);
    // Moves the region that starts at `from` to `to` in one step.
    Result<void> move(u64 from, u64 to);

    // An access nobody claims reads as all ones and is swallowed; both log under guest_errors. An access that straddles a
    // region's end is split into bytes.
    u64 read(u64 address, unsigned size);
    // As the one above; false: nobody claims any of its bytes.
    bool read(u64 address, unsigned size, u64& value);
    // False: nobody claims any of its bytes.
    bool write(u64 address, u64 value, unsigned size);

    // Who rings the doorbells of all regions, present and to come, or null: writes reach their handlers. It outlives its
    // use.
    void set_doorbell_host(DoorbellHost* host);

    [[nodiscard]] std::vector<IoRegion> regions() const;

private:
    struct Target {
        IoHandler* handler = nullptr;  // null: nobody claims the address
        u64 offset = 0;                // within the region
        u64 left = 0;                  // bytes from the address to the region's end
    };
    [[nodiscard]] Target find(u64 address) const;
    [[nodiscard]] const IoRegion* overlapping(const IoRegion& region) const;
    void insert(IoRegion region);
    using Regions = std::vector<IoRegion>;
    void erase(Regions::iterator at);
    void attach_doorbells(const IoRegion& region);
    void detach_doorbells(const IoRegion& region);
    void report_unclaimed(const char* what, u64 address, unsigned size);

    struct Attached {
        u64 base = 0;   // of its region
        Doorbell bell;  // at its address
    };

    std::string name_;
    const DoorbellHost::Space kind_;
    mutable std::shared_mutex lock_;
    Regions regions_;  // sorted by base
    DoorbellHost* doorbell_host_ = nullptr;
    std::vector<Attached> attached_;  // what it has
    log::RateLimit unclaimed_, refused_;
};

}  // namespace tandem::devices

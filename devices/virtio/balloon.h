// virtio-balloon (virtio 1.2, 5.5): pages that the guest gives up go back to the host.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "devices/virtio/device.h"

namespace tandem::devices::virtio {

constexpr u32 kBalloonClass = 0x00ff00;  // PCI class: unclassified

class Balloon : public VirtioDevice {
public:
    // How many pages of 4 KiB the guest is asked to give up, and how many it has. Any thread.
    virtual void set_target(u32 pages) = 0;
    [[nodiscard]] virtual u32 target() const = 0;
    [[nodiscard]] virtual u32 actual() const = 0;

    // The guest's own view of its memory (5.5.6.4), by tag: swap in, swap out, major faults, minor faults, free, total,
    // available memory, disk caches, huge pages allocated and failed.
    static constexpr std::size_t kStatistics = 10;
    struct Statistics {
        std::array<u64, kStatistics> value{};
        u16 present = 0;  // bit for each tag
    };
    // What the guest said last; asks for new numbers.
    virtual Statistics statistics() = 0;

protected:
    using VirtioDevice::VirtioDevice;
};

struct BalloonOptions {
    std::string name;
    bool deflate_on_oom = false;
    bool free_page_reporting = false;  // the guest tells which pages it does not use, without being asked
};
std::unique_ptr<Balloon> create_balloon(GuestMemory& memory, const BalloonOptions& options);

}  // namespace tandem::devices::virtio

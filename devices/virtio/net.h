// virtio-net (virtio 1.2, 5.1) on a host network.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "devices/fabric/backends.h"
#include "devices/virtio/device.h"

namespace tandem::devices::virtio {

using MacAddress = std::array<u8, 6>;

struct NetOptions {
    std::string name;  // of the device, for messages
    MacAddress mac{};
    u16 mtu = 0;  // what the driver is told to use (VIRTIO_NET_F_MTU); 0: nothing
    u16 rx_queue_size = 256;
    u16 tx_queue_size = 256;
    // Features to offer where the back end has them.
    bool mergeable = true;
    bool offloads = true;  // checksums and segmentation, both ways
    bool control = true;   // the control queue, with receive modes, address and VLAN filters
};
constexpr u16 kMinMtu = 68;          // 5.1.4.1
constexpr u32 kNetClass = 0x020000;  // PCI class: Ethernet controller

// All of the device's work is done by one thread of its own, which alone calls the back end: bells, frames and timers wake
// it. InvalidArgument names the property that is out of range; Io: the host has no descriptors left.
Result<std::unique_ptr<VirtioDevice>> create_net(GuestMemory& memory, std::unique_ptr<NetBackend> network,
                                                 const NetOptions& options);

// "52:54:00:12:34:56"; an error when it is malformed or a group address.
Result<MacAddress> parse_mac(std::string_view text);

}  // namespace tandem::devices::virtio

// virtio-rng (virtio 1.2, 5.4): the host's random numbers.
#pragma once

#include <memory>
#include <string>

#include "devices/virtio/device.h"

namespace tandem::devices::virtio {

constexpr u32 kRngClass = 0x00ff00;  // PCI class: unclassified

// Small requests, which are all that Linux makes, are answered on the thread that rings the bell; larger ones by a thread of
// the device's own. The bytes are getrandom(2)'s.
std::unique_ptr<VirtioDevice> create_rng(GuestMemory& memory, std::string name);

}  // namespace tandem::devices::virtio

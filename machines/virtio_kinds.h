// The kinds of virtio device that -device may add.
#pragma once

#include <memory>
#include <span>

#include "base/result.h"
#include "devices/fabric/guest_memory.h"
#include "devices/virtio/device.h"
#include "machines/device_properties.h"
#include "machines/machine.h"

namespace tandem::machines {

// What a device is made from. Its back ends move out of `config`.
struct VirtioRequest {
    const DeviceConfig& device;
    const DeviceProperties& properties;
    MachineConfig& config;
    devices::GuestMemory& memory;
    unsigned same_kind = 0;  // devices of this kind that were added before
};

struct VirtioKind {
    std::string_view stem;  // "virtio-blk": the driver is called so with -pci or -device behind it
    std::string_view help;
    u32 pci_class;
    std::span<const PropertyRow> properties;  // beside those of the transport
    Result<std::unique_ptr<devices::virtio::VirtioDevice>> (*create)(const VirtioRequest& request);
    const char* boot_path = nullptr;  // how firmware names it on its bus, {} for the address; null: nothing starts from it
};
std::span<const VirtioKind> virtio_kinds();

}  // namespace tandem::machines

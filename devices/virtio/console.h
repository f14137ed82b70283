// virtio-console (virtio 1.2, 5.3) with several ports on host character streams.
#pragma once

#include <memory>
#include <string>

#include "devices/fabric/backends.h"
#include "devices/virtio/device.h"

namespace tandem::devices::virtio {

constexpr u32 kConsoleClass = 0x078000;  // PCI class: other communication controller
constexpr u32 kMaxConsolePorts = 31;

class SerialBus : public VirtioDevice {
public:
    struct Port {
        std::string name;      // what the guest finds it by (/dev/virtio-ports/NAME); may be empty
        bool console = false;  // a console (hvc) rather than a plain stream
        u32 number = 0;        // 0: the next free one. Port 0 exists too, but only as the first console
        std::unique_ptr<CharBackend> stream;
    };
    // Set-up, before the driver starts. Errors: no free port, or the number is taken or out of range.
    virtual Result<void> add_port(Port port) = 0;

protected:
    using VirtioDevice::VirtioDevice;
};

// Ports are numbered from 0 to `ports` - 1. Guest output is written by a thread of the device's own, host input by the
// streams' threads. `ports`: 1..kMaxConsolePorts.
std::unique_ptr<SerialBus> create_serial_bus(GuestMemory& memory, std::string name, u32 ports);

}  // namespace tandem::devices::virtio

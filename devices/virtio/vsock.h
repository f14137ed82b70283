// virtio-vsock (virtio 1.2, 5.10): stream sockets between the guest and programs on the host, by Unix sockets. A program
// that connects to PATH and writes "CONNECT PORT\n" is connected to the guest's port and reads "OK HOSTPORT\n" first; a
// guest that connects to the host's port P reaches who listens on PATH_P.
#pragma once

#include <memory>
#include <string>

#include "devices/char/stream_backend.h"
#include "devices/virtio/device.h"

namespace tandem::devices::virtio {

constexpr u32 kVsockClass = 0x078000;  // PCI class: communication controller
constexpr u64 kMinGuestCid = 3;        // 0 to 2 are reserved (5.10.4)
constexpr u64 kMaxGuestCid = 0xfffffffe;

// The host's side. Called on the device's thread only.
class VsockHost {
public:
    virtual ~VsockHost() = default;
    // Descriptor that becomes readable when a program wants a connection; -1: none ever does.
    [[nodiscard]] virtual int listener() const = 0;
    // That connection, non-blocking; not valid when it is gone already.
    virtual Fd accept() = 0;
    // A connected non-blocking stream to who serves a port of the host; not valid when nobody does.
    virtual Fd dial(u32 port) = 0;
};

// Listens on a Unix socket at `path`, which is removed at the end. Busy: somebody listens there; Io, with path and reason.
Result<std::unique_ptr<VsockHost>> listen_for_vsock(const std::string& path);

struct VsockOptions {
    std::string name;  // of the device, for messages
    u64 guest_cid = kMinGuestCid;
};

// Connections belong to their process: a restored machine's driver is told that all are gone (5.10.6.7). Up to 1023 at a
// time. Io: the host has no descriptors left; InvalidArgument: the CID is reserved.
Result<std::unique_ptr<VirtioDevice>> create_vsock(GuestMemory& memory, std::unique_ptr<VsockHost> host,
                                                   const VsockOptions& options);

}  // namespace tandem::devices::virtio

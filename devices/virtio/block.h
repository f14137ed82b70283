// virtio-blk (virtio 1.2, 5.2) on a host disk.
#pragma once

#include <memory>
#include <string>

#include "devices/fabric/backends.h"
#include "devices/virtio/device.h"
#include "devices/virtio/worker_pool.h"

namespace tandem::devices::virtio {

struct BlockOptions {
    std::string name;    // of the device, for messages
    std::string serial;  // at most 20 bytes; what VIRTIO_BLK_T_GET_ID answers
    u16 queues = 1;      // 1..kMaxBlockQueues
    u32 logical_block_size = 512;
};
constexpr u16 kMaxBlockQueues = 16;
constexpr u32 kBlockClass = 0x010000;  // PCI class: mass storage

// InvalidArgument names the property that is out of range.
Result<std::unique_ptr<VirtioDevice>> create_block(GuestMemory& memory, std::unique_ptr<BlockBackend> disk,
                                                   const BlockOptions& options);

}  // namespace tandem::devices::virtio

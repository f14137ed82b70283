// The virtio devices that the configuration adds to the board: one row for each kind, whatever its transport.
#include "machines/virtio_kinds.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "devices/virtio/balloon.h"
#include "devices/virtio/block.h"
#include "devices/virtio/console.h"
#include "devices/virtio/net.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/vsock.h"

namespace tandem::machines {

using namespace devices;

namespace {

using Created = Result<std::unique_ptr<virtio::VirtioDevice>>;

// The property that names the back end, which must be given.
Result<std::string> back_end(const VirtioRequest& r, const char* property) {
    auto id = r.properties.text(property);
    if (!id) return invalid(fmt::format("device '{}' needs the property '{}'", r.device.driver, property));
    return *std::move(id);
}

// A name that no other device has.
std::string label(const VirtioRequest& r) {
    if (const auto id = r.properties.text("id")) return fmt::format("{} '{}'", r.device.driver, *id);
    return r.same_kind == 0 ? r.device.driver : fmt::format("{} {}", r.device.driver, r.same_kind + 1);
}

template <class T>
Result<T> in_device(Result<T> result, const VirtioRequest& r) {
    if (!result.ok()) return std::move(result).error().context(fmt::format("device '{}'", r.device.driver));
    return result;
}

constexpr std::array<PropertyRow, 5> kBlockProperties{{
    {"drive", "id of the -drive it shows (required)"},
    {"serial", "up to 20 characters that the guest reads as the disk's serial number"},
    {"num-queues", "request queues, 1 to 16 (default: one for each processor)"},
    {"logical_block_size", "512 (default) or 4096"},
    {"bootindex", "place in the order in which firmware tries devices, from 0"},
}};

Created create_block(const VirtioRequest& r) {
    virtio::BlockOptions options;
    TANDEM_TRY_ASSIGN(const std::string id, back_end(r, "drive"));
    options.name = fmt::format("{} '{}'", r.device.driver, id);
    options.serial = r.properties.text("serial").value_or("");
    const u64 usual_queues = std::min<u64>(r.config.cpus, virtio::kMaxBlockQueues);
    TANDEM_TRY_ASSIGN(const u64 queues, r.properties.number("num-queues", usual_queues, 1, virtio::kMaxBlockQueues));
    TANDEM_TRY_ASSIGN(const u64 block_size, r.properties.number("logical_block_size", 512, 512, 4096));
    options.queues = static_cast<u16>(queues);
    options.logical_block_size = static_cast<u32>(block_size);
    TANDEM_TRY_ASSIGN(auto disk, in_device(take_drive(r.config, id), r));
    return virtio::create_block(r.memory, std::move(disk), options);
}

constexpr std::array<PropertyRow, 8> kNetProperties{{
    {"netdev", "id of the -netdev it is a port of (required)"},
    {"mac", "Ethernet address (default 52:54:00:12:34:56 and following)"},
    {"host_mtu", "largest packet the driver is told to send, 68 to 65535 (default: not told)"},
    {"rx_queue_size", "receive buffers, a power of two from 16 to 1024 (default 256)"},
    {"tx_queue_size", "transmit buffers, a power of two from 16 to 1024 (default 256)"},
    {"mrg_rxbuf", "on (default) or off: large packets take several receive buffers"},
    {"ctrl_vq", "on (default) or off: the driver chooses what it receives"},
    {"bootindex", "place in the order in which firmware tries devices, from 0"},
}};

Created create_net(const VirtioRequest& r) {
    virtio::NetOptions options;
    TANDEM_TRY_ASSIGN(const std::string id, back_end(r, "netdev"));
    options.name = fmt::format("{} '{}'", r.device.driver, id);
    options.mac = {0x52, 0x54, 0x00, 0x12, 0x34, static_cast<u8>(0x56 + r.same_kind)};
    if (const auto mac = r.properties.text("mac")) {
        TANDEM_TRY_ASSIGN(options.mac, in_device(virtio::parse_mac(*mac), r));
    }
    TANDEM_TRY_ASSIGN(const u64 mtu, r.properties.number("host_mtu", 0, virtio::kMinMtu, 65535));
    TANDEM_TRY_ASSIGN(const u64 rx, r.properties.number("rx_queue_size", 256, 16, virtio::kMaxQueueSize));
    TANDEM_TRY_ASSIGN(const u64 tx, r.properties.number("tx_queue_size", 256, 16, virtio::kMaxQueueSize));
    TANDEM_TRY_ASSIGN(options.mergeable, r.properties.flag("mrg_rxbuf", true));
    TANDEM_TRY_ASSIGN(options.control, r.properties.flag("ctrl_vq", true));
    options.mtu = static_cast<u16>(mtu);
    options.rx_queue_size = static_cast<u16>(rx);
    options.tx_queue_size = static_cast<u16>(tx);
    TANDEM_TRY_ASSIGN(auto network, in_device(take_network(r.config, id), r));
    return virtio::create_net(r.memory, std::move(network), options);
}

constexpr std::array<PropertyRow, 1> kRngProperties{{
    {"rng", "id of an -object rng-random or rng-builtin (default: the host's random numbers, as with them)"},
}};

Created create_rng(const VirtioRequest& r) {
    const auto source = r.properties.text("rng");
    if (source && std::ranges::find(r.config.random_sources, *source) == r.config.random_sources.end()) {
        return Error{Errc::NotFound, fmt::format("device '{}': there is no -object '{}'", r.device.driver, *source)};
    }
    return virtio::create_rng(r.memory, label(r));
}

constexpr std::array<PropertyRow, 1> kSerialProperties{{
    {"max_ports", "ports, 1 to 31 (default 31); the first is for a console"},
}};

Created create_serial(const VirtioRequest& r) {
    TANDEM_TRY_ASSIGN(const u64 ports,
                      r.properties.number("max_ports", virtio::kMaxConsolePorts, 1, virtio::kMaxConsolePorts));
    return Created(virtio::create_serial_bus(r.memory, label(r), static_cast<u32>(ports)));
}

constexpr std::array<PropertyRow, 2> kBalloonProperties{{
    {"deflate-on-oom", "off (default) or on: a guest in need may take pages back by itself"},
    {"free-page-reporting", "off (default) or on: pages that the guest does not use go back to the host"},
}};

Created create_balloon(const VirtioRequest& r) {
    if (r.same_kind != 0) return invalid(fmt::format("device '{}': a machine has one balloon", r.device.driver));
    virtio::BalloonOptions options{label(r)};
    TANDEM_TRY_ASSIGN(options.deflate_on_oom, r.properties.flag("deflate-on-oom", false));
    TANDEM_TRY_ASSIGN(options.free_page_reporting, r.properties.flag("free-page-reporting", false));
    return Created(virtio::create_balloon(r.memory, options));
}

constexpr std::array<PropertyRow, 2> kVsockProperties{{
    {"guest-cid", "the guest's address, 3 to 4294967294 (required)"},
    {"path",
     "Unix socket for the host's programs: \"CONNECT PORT\" there; the guest's to the host's port P go to PATH_P "
     "(required)"},
}};

Created create_vsock(const VirtioRequest& r) {
    TANDEM_TRY_ASSIGN([[maybe_unused]] const std::string cid, back_end(r, "guest-cid"));
    TANDEM_TRY_ASSIGN(const std::string path, back_end(r, "path"));
    virtio::VsockOptions options{label(r)};
    TANDEM_TRY_ASSIGN(options.guest_cid, r.properties.number("guest-cid", 0, virtio::kMinGuestCid, virtio::kMaxGuestCid));
    TANDEM_TRY_ASSIGN(auto host, in_device(virtio::listen_for_vsock(path), r));
    return virtio::create_vsock(r.memory, std::move(host), options);
}

constexpr std::array<VirtioKind, 6> kKinds{{
    {"virtio-blk", "virtio disk", virtio::kBlockClass, kBlockProperties, create_block, "scsi@{}/disk@0,0"},
    {"virtio-net", "virtio network card", virtio::kNetClass, kNetProperties, create_net, "ethernet@{}/ethernet-phy@0"},
    {"virtio-rng", "virtio source of random numbers", virtio::kRngClass, kRngProperties, create_rng},
    {"virtio-serial", "virtio console and serial ports", virtio::kConsoleClass, kSerialProperties, create_serial},
    {"virtio-balloon", "virtio memory balloon", virtio::kBalloonClass, kBalloonProperties, create_balloon},
    {"virtio-vsock", "virtio sockets between guest and host", virtio::kVsockClass, kVsockProperties, create_vsock},
}};

}  // namespace

std::span<const VirtioKind> virtio_kinds() { return kKinds; }

}  // namespace tandem::machines

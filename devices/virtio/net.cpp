#include "devices/virtio/net.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <charconv>
#include <cstring>
#include <deque>
#include <mutex>

#include "devices/virtio/cursor.h"
#include "devices/virtio/device_loop.h"
#include "devices/virtio/net_filter.h"

namespace tandem::devices::virtio {
namespace {

constexpr u16 kDeviceId = 1;
constexpr u16 kReceiveQueue = 0, kTransmitQueue = 1, kControlQueue = 2;
constexpr u16 kControlQueueSize = 64;
constexpr std::size_t kHeaderSize = 12;  // with num_buffers, as VERSION_1 has it (5.1.6)
constexpr std::size_t kMinFrame = 14, kMaxFrame = 65536 + 18;
constexpr std::size_t kMaxControl = 64 << 10;
constexpr std::size_t kBacklogFrames = 256;  // received and waiting for buffers of the guest
constexpr unsigned kBurst = 256;             // frames sent before the network is looked at again

// 5.1.3
enum Feature : u64 {
    Checksum = 1u << 0,
    GuestChecksum = 1u << 1,
    Mtu = 1u << 3,
    Mac = 1u << 5,
    GuestTso4 = 1u << 7,
    GuestTso6 = 1u << 8,
    GuestEcn = 1u << 9,
    HostTso4 = 1u << 11,
    HostTso6 = 1u << 12,
    HostEcn = 1u << 13,
    MergeBuffers = 1u << 15,
    LinkStatus = 1u << 16,
    ControlQueue = 1u << 17,
    ControlRx = 1u << 18,
    ControlVlan = 1u << 19,
    ControlRxExtra = 1u << 20,
    ControlMac = 1u << 23,
};
// 5.1.6.5
enum ControlGroup : u8 { ReceiveMode = 0, MacGroup = 1, VlanGroup = 2 };
constexpr u8 kExtraModes = 2;
constexpr u8 kAck = 0, kNak = 1;
constexpr u16 kLinkUp = 1;

struct Header {
    FrameHeader frame;
    u16 buffers = 0;
};
static_assert(sizeof(Header) == kHeaderSize);

// struct virtio_net_config (5.1.4), as far as its features are offered.
struct Config {
    MacAddress mac{};
    u16 status = 0;
    u16 queue_pairs = 0;
    u16 mtu = 0;
};
static_assert(sizeof(Config) == 12);

class Net final : public VirtioDevice {
public:
    Net(GuestMemory& memory, std::unique_ptr<NetBackend> network, const NetOptions& options, Fd wake)
        : VirtioDevice(memory, {options.name, kDeviceId, features_of(*network, options), queues_of(options)}),
          mtu_(options.mtu),
          network_(std::move(network)),
          filter_(options.mac),
          loop_(std::move(wake), "tandem-net",
                {[this](std::vector<pollfd>& fds, int& timeout_ms) {
                     if (busy_) timeout_ms = 0;
                     network_->watch(fds, timeout_ms, backlog_.size() < kBacklogFrames);
                 },
                 [this](std::span<const pollfd> fds) { round(fds); }}) {}

    void drain() const override { loop_.drain(); }
    int own_bell(u16) override {
        untold_ = (1u << queue_count()) - 1;
        return loop_.wake_descriptor();
    }

    u32 config_read(u32 offset, unsigned size) override {
        Config config{{}, kLinkUp, 1, mtu_};
        {
            std::lock_guard guard(filter_lock_);
            config.mac = filter_.mac();
        }
        std::array<u8, sizeof(Config) + 4> bytes{};
        std::memcpy(bytes.data(), &config, sizeof config);
        u32 value = 0;
        if (offset < sizeof config) std::memcpy(&value, bytes.data() + offset, std::min<std::size_t>(size, 4));
        return value;
    }
    void config_write(u32, u32, unsigned) override {}

protected:
    void queue_ready(u16 index) override {
        rung_.fetch_or(1u << index);
        loop_.wake();
    }
    void reset_config() override {
        std::lock_guard guard(filter_lock_);
        filter_.reset();
    }
    [[nodiscard]] std::vector<u8> capture_config() const override {
        std::lock_guard guard(filter_lock_);
        return filter_.save();
    }
    Result<void> apply_config(const std::vector<u8>& config) override {
        std::lock_guard guard(filter_lock_);
        if (!filter_.restore(config)) return Error{Errc::Corrupt, fmt::format("{}: saved filters are damaged", name())};
        return {};
    }

private:
    struct Frame {
        FrameHeader header;
        std::vector<u8> bytes;
    };

    static u64 features_of(const NetBackend& network, const NetOptions& o) {
        u64 features = Mac | LinkStatus;
        if (o.mtu != 0) features |= Mtu;
        if (o.mergeable) features |= MergeBuffers;
        if (o.control) features |= ControlQueue | ControlRx | ControlRxExtra | ControlVlan | ControlMac;
        if (o.offloads && network.takes_unfinished()) features |= Checksum | HostTso4 | HostTso6 | HostEcn;
        if (o.offloads) features |= GuestChecksum;
        if (o.offloads && network.gives_unfinished()) features |= GuestTso4 | GuestTso6 | GuestEcn;
        return features;
    }
    static std::vector<u16> queues_of(const NetOptions& o) {
        std::vector<u16> sizes{o.rx_queue_size, o.tx_queue_size};
        if (o.control) sizes.push_back(kControlQueueSize);
        return sizes;
    }

    void round(std::span<const pollfd> fds) {
        adopt_features();
        const u32 rung = rung_.exchange(0) | untold_;
        if ((rung & 1u << kControlQueue) != 0) control();
        if ((rung & 1u << kTransmitQueue) != 0 || busy_) transmit();
        network_->serve(fds, [this](const FrameHeader& header, std::span<const u8> frame) {
            if (backlog_.size() < kBacklogFrames) backlog_.push_back({header, {frame.begin(), frame.end()}});
        });
        deliver();
    }

    void adopt_features() {
        const u64 features = driver_features();
        const bool running = (status() & status::kDriverOk) != 0;
        if (!running) backlog_.clear();
        if (features == adopted_) return;
        adopted_ = features;
        const auto has = [&](u64 f) { return (features & f) != 0; };
        network_->set_offloads({has(GuestChecksum), has(GuestTso4), has(GuestTso6), has(GuestEcn)});
    }

    // Guest to network.
    void transmit() {
        Chain chain;
        busy_ = false;
        for (unsigned n = 0; take(kTransmitQueue, chain) == Queue::Pop::Chain;) {
            Cursor in(chain.readable);
            const u64 size = in.left();
            Header header;
            if (!in.copy_out(&header, sizeof header)) return fail(chain, "no packet header");
            const bool fits = size - kHeaderSize >= kMinFrame && size - kHeaderSize <= kMaxFrame;
            outgoing_.resize(fits ? size - kHeaderSize : 0);
            if (fits) (void)in.copy_out(outgoing_.data(), outgoing_.size());
            complete(kTransmitQueue, chain, 0);
            if (fits && sensible(header.frame, outgoing_.size())) network_->send(header.frame, outgoing_);
            if (++n == kBurst) {
                busy_ = true;
                return;
            }
        }
    }

    // 5.1.6.2.1: what the driver asks for must be negotiated and lie inside the frame; such a frame is dropped otherwise.
    [[nodiscard]] bool sensible(const FrameHeader& h, std::size_t size) const {
        const bool checksum = (h.flags & FrameHeader::kNeedsChecksum) != 0;
        if (checksum && ((adopted_ & Checksum) == 0 || h.checksum_start + h.checksum_offset + 2u > size)) return false;
        switch (h.gso_type & ~FrameHeader::kGsoEcn) {
            case FrameHeader::kGsoNone: return h.gso_type == FrameHeader::kGsoNone;
            case FrameHeader::kGsoTcp4: return checksum && h.gso_size != 0 && (adopted_ & HostTso4) != 0;
            case FrameHeader::kGsoTcp6: return checksum && h.gso_size != 0 && (adopted_ & HostTso6) != 0;
            default: return false;
        }
    }

    // Network to guest: the frames in order, until the guest has no buffers left.
    void deliver() {
        while (!backlog_.empty()) {
            const Frame& frame = backlog_.front();
            bool wanted = false;
            {
                std::lock_guard guard(filter_lock_);
                wanted = filter_.accepts(frame.bytes, (adopted_ & ControlVlan) != 0);
            }
            if (wanted && !place(frame)) return;
            backlog_.pop_front();
        }
    }

    // False: not now. True: delivered, or it will never fit.
    bool place(const Frame& frame) {
        const u64 total = kHeaderSize + frame.bytes.size();
        const bool merge = (adopted_ & MergeBuffers) != 0;
        std::vector<Chain> chains;
        u64 room = 0;
        while (room < total) {
            Chain chain;
            const Queue::Pop popped = take(kReceiveQueue, chain);
            if (popped != Queue::Pop::Chain) {
                give_back(kReceiveQueue, static_cast<u16>(chains.size()));
                return popped == Queue::Pop::Broken;
            }
            const u64 piece = Cursor(chain.writable).left();
            chains.push_back(std::move(chain));
            if (piece < kHeaderSize || (!merge && piece < total)) {
                if (piece >= kHeaderSize) {
                    // A frame larger than the driver's buffers; they are still good for the next one.
                    give_back(kReceiveQueue, static_cast<u16>(chains.size()));
                } else {
                    const Chain bad = std::move(chains.back());
                    chains.pop_back();
                    give_back(kReceiveQueue, static_cast<u16>(chains.size()));
                    fail(bad, "a receive buffer has no room for the packet header");
                }
                return true;
            }
            room += piece;
        }
        fill(frame, chains);
        return true;
    }

    void fill(const Frame& frame, std::vector<Chain>& chains) {
        Header header{frame.header, static_cast<u16>(chains.size())};
        if ((adopted_ & GuestChecksum) == 0) header.frame.flags = 0;
        std::vector<Queue::Used> used;
        std::span<const u8> rest(frame.bytes);
        for (Chain& chain : chains) {
            Cursor out(chain.writable);
            u64 written = 0;
            if (used.empty()) written = out.copy_in(dma(), {reinterpret_cast<const u8*>(&header), sizeof header});
            const u64 body = out.copy_in(dma(), rest);
            rest = rest.subspan(body);
            used.push_back({chain.head, static_cast<u32>(written + body)});
        }
        complete(kReceiveQueue, used);
    }

    // Receive modes, addresses and VLANs (5.1.6.5).
    void control() {
        Chain chain;
        while (take(kControlQueue, chain) == Queue::Pop::Chain) {
            Cursor in(chain.readable);
            Cursor out(chain.writable);
            if (out.left() == 0) return fail(chain, "no room for the control command's answer");
            std::array<u8, 2> command{};
            u8 answer = kNak;
            if (in.copy_out(command.data(), command.size()) && in.left() <= kMaxControl) {
                std::vector<u8> data(in.left());
                (void)in.copy_out(data.data(), data.size());
                if (permitted(command[0], command[1])) {
                    std::lock_guard guard(filter_lock_);
                    answer = filter_.command(command[0], command[1], data) ? kAck : kNak;
                }
            }
            complete(kControlQueue, chain, static_cast<u32>(out.copy_in(dma(), std::span(&answer, 1))));
        }
    }

    [[nodiscard]] bool permitted(u8 group, u8 command) const {
        switch (group) {
            case ReceiveMode: return (adopted_ & (command < kExtraModes ? ControlRx : ControlRxExtra)) != 0;
            case MacGroup: return (adopted_ & (command == 0 ? ControlRx : ControlMac)) != 0;
            case VlanGroup: return (adopted_ & ControlVlan) != 0;
            default: return false;
        }
    }

    const u16 mtu_;
    std::unique_ptr<NetBackend> network_;
    std::atomic<u32> rung_{0};    // by queue
    std::atomic<u32> untold_{0};  // queues whose bells may ring by nothing but the loop's wake-up

    // The loop's own.
    std::deque<Frame> backlog_;
    std::vector<u8> outgoing_;
    u64 adopted_ = ~u64{0};
    bool busy_ = false;

    mutable std::mutex filter_lock_;  // guards filter_; a leaf, taken under the device's lock or without
    NetFilter filter_;
    DeviceLoop loop_;  // last: its thread uses everything above
};

}  // namespace

Result<std::unique_ptr<VirtioDevice>> create_net(GuestMemory& memory, std::unique_ptr<NetBackend> network,
                                                 const NetOptions& options) {
    if (options.mtu != 0 && options.mtu < kMinMtu) {
        return invalid(fmt::format("{}: host_mtu {} is below {}", options.name, options.mtu, kMinMtu));
    }
    for (const auto& [property, size] :
         {std::pair{"rx_queue_size", options.rx_queue_size}, std::pair{"tx_queue_size", options.tx_queue_size}}) {
        if (size < 16 || size > kMaxQueueSize || !std::has_single_bit(size)) {
            return invalid(
                fmt::format("{}: {} {} is not a power of two in 16..{}", options.name, property, size, kMaxQueueSize));
        }
    }
    TANDEM_TRY_ASSIGN(Fd wake, create_wake_descriptor());
    return std::unique_ptr<VirtioDevice>(std::make_unique<Net>(memory, std::move(network), options, std::move(wake)));
}

Result<MacAddress> parse_mac(std::string_view text) {
    const auto bad = [&] { return invalid(fmt::format("'{}' is not an Ethernet address (like 52:54:00:12:34:56)", text)); };
    MacAddress mac{};
    if (text.size() != 3 * mac.size() - 1) return bad();
    for (std::size_t i = 0; i < mac.size(); ++i) {
        const char* first = text.data() + 3 * i;
        const auto [end, error] = std::from_chars(first, first + 2, mac[i], 16);
        if (error != std::errc{} || end != first + 2 || (i + 1 < mac.size() && first[2] != ':')) return bad();
    }
    if ((mac[0] & 1) != 0) return invalid(fmt::format("'{}' is a group address", text));
    return mac;
}

}  // namespace tandem::devices::virtio

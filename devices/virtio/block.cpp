#include "devices/virtio/block.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "devices/virtio/cursor.h"

namespace tandem::devices::virtio {
namespace {

constexpr u64 kSector = 512;
constexpr u16 kDeviceId = 2;
constexpr u16 kQueueSize = 512;               // a request of 1 MiB fits in whatever pages it is
constexpr u32 kMaxSegments = kQueueSize - 2;  // header and status take a descriptor each
constexpr u32 kMaxRangeSectors = 1u << 22;    // 2 GiB for one discard or write-zeroes range
constexpr u32 kMaxRanges = 32;
constexpr std::size_t kIdBytes = 20;
constexpr unsigned kMinThreads = 4, kMaxThreads = 8;  // that wait for the host

// 5.2.3
enum Feature : u64 {
    SegMax = 1u << 2,
    ReadOnly = 1u << 5,
    BlkSize = 1u << 6,
    Flush = 1u << 9,
    Topology = 1u << 10,
    ConfigWce = 1u << 11,
    MultiQueue = 1u << 12,
    Discard = 1u << 13,
    WriteZeroes = 1u << 14,
};
// 5.2.6
enum Type : u32 { In = 0, Out = 1, FlushCache = 4, GetId = 8, DiscardRanges = 11, ZeroRanges = 13 };
enum Status : u8 { Ok = 0, IoError = 1, Unsupported = 2 };

struct Header {
    u32 type;
    u32 reserved;
    u64 sector;
};
static_assert(sizeof(Header) == 16);
struct RangeEntry {
    u64 sector;
    u32 sectors;
    u32 flags;  // bit 0: unmap
};
static_assert(sizeof(RangeEntry) == 16);

// struct virtio_blk_config (5.2.4), offsets and widths.
constexpr u32 kConfigBytes = 60;
constexpr u32 kWriteback = 32;
struct ConfigRow {
    u32 offset;
    unsigned width;
    u64 value;
};

class Block final : public VirtioDevice {
public:
    Block(GuestMemory& memory, std::unique_ptr<BlockBackend> disk, const BlockOptions& options)
        : VirtioDevice(memory,
                       {options.name, kDeviceId, features_of(*disk, options), std::vector<u16>(options.queues, kQueueSize)}),
          serial_(options.serial),
          writeback_(!disk->writes_through()),
          disk_(std::move(disk)),
          pool_(std::clamp<unsigned>(options.queues, kMinThreads, kMaxThreads), options.queues,
                [this](u16 q) { serve(q); }) {
        const u32 granularity = options.logical_block_size / kSector;
        const std::array<ConfigRow, 14> rows{{
            {0, 8, disk_->size_bytes() / kSector},
            {12, 4, kMaxSegments},
            {20, 4, options.logical_block_size},
            {24, 1, options.logical_block_size < 4096 ? 3u : 0u},  // physical block exponent: 4 KiB where smaller is allowed
            {26, 2, 1},                                            // min_io_size, in logical blocks
            {kWriteback, 1, 1},
            {34, 2, options.queues},
            {36, 4, kMaxRangeSectors},
            {40, 4, kMaxRanges},
            {44, 4, std::max(granularity, 8u)},
            {48, 4, kMaxRangeSectors},
            {52, 4, kMaxRanges},
            {56, 1, 1},  // write_zeroes_may_unmap
            {57, 1, 0},
        }};
        for (const auto& row : rows) {
            for (unsigned i = 0; i < row.width; ++i) config_[row.offset + i] = static_cast<u8>(row.value >> (8 * i));
        }
    }

    void drain() const override { pool_.wait_idle(); }

    u32 config_read(u32 offset, unsigned size) override {
        u32 value = 0;
        for (unsigned i = 0; i < size && offset + i < kConfigBytes; ++i) {
            const u8 b = offset + i == kWriteback ? static_cast<u8>(writeback_.load() ? 1 : 0) : config_[offset + i];
            value |= static_cast<u32>(b) << (8 * i);
        }
        return value;
    }
    // Only the cache mode can be written, when it was negotiated (5.2.5).
    void config_write(u32 offset, u32 value, unsigned size) override {
        if (offset == kWriteback && size == 1 && negotiated(ConfigWce)) writeback_ = (value & 1) != 0;
    }

protected:
    void queue_ready(u16 index) override { pool_.ring(index); }
    void reset_config() override { writeback_ = !disk_->writes_through(); }
    [[nodiscard]] std::vector<u8> capture_config() const override { return {static_cast<u8>(writeback_ ? 1 : 0)}; }
    Result<void> apply_config(const std::vector<u8>& config) override {
        if (config.size() != 1) return Error{Errc::Corrupt, fmt::format("{}: saved configuration has another size", name())};
        writeback_ = config[0] != 0;
        return {};
    }

private:
    static u64 features_of(const BlockBackend& disk, const BlockOptions& options) {
        const u64 writable = Discard | WriteZeroes | ConfigWce;
        return SegMax | BlkSize | Flush | Topology | (options.queues > 1 ? u64{MultiQueue} : 0) |
               (disk.readonly() ? u64{ReadOnly} : writable);
    }

    void serve(u16 queue) {
        Chain chain;
        while (take(queue, chain) == Queue::Pop::Chain) {
            // Let another thread go on with the queue while this one waits for the host.
            if (has_more(queue)) pool_.ring(queue);
            execute(queue, chain);
        }
    }

    // A request under way, and where its status byte is.
    struct Request {
        Chain chain;
        Segment status;
        u64 moved = 0;  // bytes that a successful read writes
    };

    void execute(u16 queue, Chain& chain) {
        Cursor in(chain.readable);
        Header header{};
        if (!in.copy_out(&header, sizeof(header))) return fail(chain, "no request header");
        if (chain.writable.empty()) return fail(chain, "no room for the status byte");
        // The status is the last writable byte, wherever the driver put it (2.7.4).
        Segment& last = chain.writable.back();
        Request request;
        request.status = {last.gpa + last.host.size() - 1, last.host.last(1)};
        last.host = last.host.first(last.host.size() - 1);
        if (last.host.empty()) chain.writable.pop_back();
        if (header.type == In || header.type == Out) {
            request.chain = std::move(chain);
            return transfer(queue, header, in, std::move(request));
        }
        const Status status = perform(header, in, chain.writable, request.moved);
        request.chain = std::move(chain);
        finish(queue, request, status);
    }

    void finish(u16 queue, const Request& request, Status status) {
        request.status.host[0] = status;
        dma().written(request.status.gpa, 1);
        complete(queue, request.chain, static_cast<u32>((status == Ok ? request.moved : 0) + 1));
    }

    Status perform(const Header& header, Cursor& in, std::span<const Segment> out, u64& written) {
        switch (header.type) {
            case FlushCache: return outcome(disk_->flush());
            case GetId: return get_id(Cursor(out), written);
            case DiscardRanges:
            case ZeroRanges: return ranges(header.type, in);
            default: return Unsupported;
        }
    }

    // `data`: what follows the header in the readable part.
    void transfer(u16 queue, const Header& header, Cursor data, Request request) {
        const bool write = header.type == Out;
        BlockTransfer t;
        t.write = write;
        t.offset = header.sector * kSector;
        u64 total = 0;
        const auto add = [&](const Segment& s) {
            t.parts.push_back({s.host.data(), s.host.size()});
            total += s.host.size();
        };
        if (write) {
            for (Segment s = data.take(~u64{0}); !s.host.empty(); s = data.take(~u64{0})) add(s);
        } else {
            for (const Segment& s : request.chain.writable) add(s);
            request.moved = total;
        }
        if (total % kSector != 0 || !in_range(header.sector, total) || (write && disk_->readonly())) {
            return finish(queue, request, IoError);
        }
        if (total == 0) return finish(queue, request, Ok);
        const bool stable = write && stable_writes();
        auto shared = std::make_shared<Request>(std::move(request));
        t.done = [this, queue, shared, write](const Result<void>& result) {
            if (!write) tell_written(shared->chain.writable);
            finish(queue, *shared, outcome(result));
        };
        if (!stable && disk_->start(t)) return;
        Result<void> result = write ? disk_->write_parts(t.offset, t.parts) : disk_->read_parts(t.offset, t.parts);
        // A write-through cache means that a completed write is stable (5.2.6.2).
        if (stable && result.ok()) result = disk_->flush();
        t.done(result);
    }

    void tell_written(std::span<const Segment> segments) {
        for (const Segment& s : segments) dma().written(s.gpa, s.host.size());
    }

    [[nodiscard]] bool stable_writes() const {
        const u64 features = driver_features();
        return (features & ConfigWce) != 0 ? !writeback_.load() : (features & Flush) == 0 || disk_->writes_through();
    }

    Status outcome(const Result<void>& result) {
        if (result.ok()) return Ok;
        if (complaints_.allow()) log::warn("{}: {}", name(), result.error().message);
        return IoError;
    }

    [[nodiscard]] bool in_range(u64 sector, u64 bytes) const {
        const u64 size = disk_->size_bytes();
        return sector <= size / kSector && bytes <= size - sector * kSector;
    }

    Status get_id(Cursor out, u64& written) {
        std::array<u8, kIdBytes> id{};
        std::copy_n(serial_.begin(), std::min(serial_.size(), id.size()), id.begin());
        if (out.left() < id.size()) return IoError;
        written = out.copy_in(dma(), id);
        return Ok;
    }

    // 5.2.6.2: each range within the limits and the disk; discard must not carry the unmap flag.
    Status ranges(u32 type, Cursor& in) {
        const u64 bytes = in.left();
        if (bytes == 0 || bytes % sizeof(RangeEntry) != 0 || bytes / sizeof(RangeEntry) > kMaxRanges) return IoError;
        if (disk_->readonly()) return IoError;
        for (u64 left = bytes; left > 0; left -= sizeof(RangeEntry)) {
            RangeEntry range{};
            (void)in.copy_out(&range, sizeof(range));
            const u64 size = range.sectors * kSector;
            const u32 known_flags = type == ZeroRanges ? 1 : 0;
            if ((range.flags & ~known_flags) != 0) return Unsupported;
            if (range.sectors > kMaxRangeSectors || !in_range(range.sector, size)) return IoError;
            const u64 offset = range.sector * kSector;
            const Status status = outcome(type == ZeroRanges ? disk_->write_zeroes(offset, size, (range.flags & 1) != 0)
                                                             : disk_->discard(offset, size));
            if (status != Ok) return status;
        }
        return Ok;
    }

    std::string serial_;
    std::array<u8, kConfigBytes> config_{};
    std::atomic<bool> writeback_;
    log::RateLimit complaints_;
    std::unique_ptr<BlockBackend> disk_;  // waits for what it has begun, which ends in the members above
    WorkerPool pool_;                     // last: its threads stop before anything else goes away
};

}  // namespace

Result<std::unique_ptr<VirtioDevice>> create_block(GuestMemory& memory, std::unique_ptr<BlockBackend> disk,
                                                   const BlockOptions& options) {
    if (options.serial.size() > kIdBytes) {
        return invalid(fmt::format("{}: serial '{}' is longer than {} bytes", options.name, options.serial, kIdBytes));
    }
    if (options.queues == 0 || options.queues > kMaxBlockQueues) {
        return invalid(fmt::format("{}: num-queues {} is not in 1..{}", options.name, options.queues, kMaxBlockQueues));
    }
    if (options.logical_block_size != 512 && options.logical_block_size != 4096) {
        return invalid(
            fmt::format("{}: logical_block_size {} is neither 512 nor 4096", options.name, options.logical_block_size));
    }
    if (disk->size_bytes() % options.logical_block_size != 0) {
        return invalid(fmt::format("{}: the disk's {} bytes are not a multiple of logical_block_size {}", options.name,
                                   disk->size_bytes(), options.logical_block_size));
    }
    return std::unique_ptr<VirtioDevice>(std::make_unique<Block>(memory, std::move(disk), options));
}

}  // namespace tandem::devices::virtio

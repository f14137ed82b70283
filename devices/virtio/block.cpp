#include "devices/virtio/block.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <optional>

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
constexpr u64 kMostAtHand = 2u << 20;                 // bytes that a bell's answer copies before threads take over
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
          set_aside_(options.queues),
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
    // Reads of what the host has in memory end before the driver goes on: that takes less than waking a thread, and its
    // processor is spared going to sleep. The rest is the threads'.
    void queue_rung(u16 queue) override {
        u64 moved = 0;
        Chain chain;
        while (moved < kMostAtHand && take(queue, chain) == Queue::Pop::Chain) {
            std::optional<Request> request = parse(chain);
            if (!request) continue;
            if (read_at_hand(queue, *request)) {
                moved += request->moved;
                continue;
            }
            {
                std::lock_guard guard(set_aside_lock_);
                set_aside_[queue].push_back(std::move(*request));
            }
            return pool_.ring(queue);
        }
        if (moved >= kMostAtHand) pool_.ring(queue);
    }
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

    // A request under way, and where its status byte is.
    struct Request {
        Chain chain;  // without the status byte
        Header header{};
        Segment status;
        u64 moved = 0;  // bytes that a successful read writes

        [[nodiscard]] u64 offset() const { return header.sector * kSector; }
        // What follows the header in the readable part.
        [[nodiscard]] Cursor data() const {
            Cursor cursor(chain.readable);
            Header skipped{};
            (void)cursor.copy_out(&skipped, sizeof(skipped));
            return cursor;
        }
    };

    // The queue's next request that makes sense, first of those set aside.
    std::optional<Request> next(u16 queue) {
        {
            std::lock_guard guard(set_aside_lock_);
            auto& waiting = set_aside_[queue];
            if (!waiting.empty()) {
                std::optional<Request> first(std::move(waiting.front()));
                waiting.pop_front();
                return first;
            }
        }
        Chain chain;
        while (take(queue, chain) == Queue::Pop::Chain) {
            if (auto request = parse(chain)) return request;
        }
        return {};
    }

    std::optional<Request> parse(Chain& chain) {
        Request request;
        const auto refuse = [&](const char* why) -> std::optional<Request> {
            fail(chain, why);
            return {};
        };
        if (!Cursor(chain.readable).copy_out(&request.header, sizeof(Header))) return refuse("no request header");
        if (chain.writable.empty()) return refuse("no room for the status byte");
        // The status is the last writable byte, wherever the driver put it (2.7.4).
        Segment& last = chain.writable.back();
        request.status = {last.gpa + last.host.size() - 1, last.host.last(1)};
        last.host = last.host.first(last.host.size() - 1);
        if (last.host.empty()) chain.writable.pop_back();
        request.chain = std::move(chain);
        return request;
    }

    void serve(u16 queue) {
        while (std::optional<Request> request = next(queue)) {
            // Let another thread go on with the queue while this one waits for the host.
            if (has_more(queue)) pool_.ring(queue);
            if (request->header.type == In || request->header.type == Out) {
                transfer(queue, std::move(*request));
            } else {
                const Status status = perform(*request);
                finish(queue, *request, status);
            }
        }
    }

    static std::vector<iovec> parts_of(std::span<const Segment> segments, u64& total) {
        std::vector<iovec> parts;
        parts.reserve(segments.size());
        for (const Segment& s : segments) {
            parts.push_back({s.host.data(), s.host.size()});
            total += s.host.size();
        }
        return parts;
    }

    // Whether the request was a read that needed no waiting; it is finished then.
    bool read_at_hand(u16 queue, Request& request) {
        if (request.header.type != In) return false;
        u64 total = 0;
        const auto parts = parts_of(request.chain.writable, total);
        if (total == 0 || total % kSector != 0 || !in_range(request.header.sector, total)) return false;
        if (!disk_->read_at_hand(request.offset(), parts)) return false;
        request.moved = total;
        tell_written(request.chain.writable);
        finish(queue, request, Ok);
        return true;
    }

    void finish(u16 queue, const Request& request, Status status) {
        request.status.host[0] = status;
        dma().written(request.status.gpa, 1);
        complete(queue, request.chain, static_cast<u32>((status == Ok ? request.moved : 0) + 1));
    }

    Status perform(Request& request) {
        switch (request.header.type) {
            case FlushCache: return outcome(disk_->flush());
            case GetId: return get_id(Cursor(request.chain.writable), request.moved);
            case DiscardRanges:
            case ZeroRanges: return ranges(request.header.type, request.data());
            default: return Unsupported;
        }
    }

    void transfer(u16 queue, Request request) {
        const bool write = request.header.type == Out;
        BlockTransfer t;
        t.write = write;
        t.offset = request.offset();
        u64 total = 0;
        if (write) {
            std::vector<Segment> segments;
            Cursor data = request.data();
            for (Segment s = data.take(~u64{0}); !s.host.empty(); s = data.take(~u64{0})) segments.push_back(s);
            t.parts = parts_of(segments, total);
        } else {
            t.parts = parts_of(request.chain.writable, total);
            request.moved = total;
        }
        if (total % kSector != 0 || !in_range(request.header.sector, total) || (write && disk_->readonly())) {
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
    Status ranges(u32 type, Cursor in) {
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
    std::mutex set_aside_lock_;                   // a leaf; guards what follows
    std::vector<std::deque<Request>> set_aside_;  // by queue: taken, and left to the threads, which have been rung
    std::unique_ptr<BlockBackend> disk_;          // waits for what it has begun, which ends in the members above
    WorkerPool pool_;                             // last: its threads stop before anything else goes away
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

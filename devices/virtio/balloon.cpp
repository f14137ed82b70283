#include "devices/virtio/balloon.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>

#include "base/bits.h"
#include "devices/virtio/cursor.h"
#include "devices/virtio/worker_pool.h"

namespace tandem::devices::virtio {
namespace {

constexpr u16 kDeviceId = 5, kQueueSize = 128;
// 1 is the deflate queue; only queues of offered features have a number.
constexpr u16 kInflateQueue = 0, kStatisticsQueue = 2, kReportingQueue = 3;
constexpr u64 kPage = 4096;
constexpr unsigned kPfnBits = 12;  // page numbers in the queues are of 4 KiB, whatever the guest's pages (5.5.6)

// 5.5.3
enum Feature : u64 { StatisticsQueue = 1u << 1, DeflateOnOom = 1u << 2, PageReporting = 1u << 5 };
constexpr u32 kConfigActual = 4;  // the target is at 0

struct Statistic {
    u16 tag;
    u64 value;
} __attribute__((packed));
static_assert(sizeof(Statistic) == 10);

class BalloonDevice final : public Balloon {
public:
    BalloonDevice(GuestMemory& memory, const BalloonOptions& options)
        : Balloon(memory, {options.name, kDeviceId, features_of(options),
                           std::vector<u16>(options.free_page_reporting ? 4u : 3u, kQueueSize)}),
          memory_(memory),
          pool_(1, options.free_page_reporting ? 4u : 3u, [this](u16 q) { serve(q); }) {}

    void drain() const override { pool_.wait_idle(); }

    void set_target(u32 pages) override {
        target_ = pages;
        config_changed();
    }
    [[nodiscard]] u32 target() const override { return target_; }
    [[nodiscard]] u32 actual() const override { return actual_; }
    Statistics statistics() override {
        refresh_ = true;
        pool_.ring(kStatisticsQueue);
        std::lock_guard guard(statistics_lock_);
        return statistics_;
    }

    u32 config_read(u32 offset, unsigned size) override {
        const u64 fields = target_.load() | u64{actual_.load()} << 32;
        if (offset + size > 8) return 0;
        return static_cast<u32>(fields >> (8 * offset) & (~u64{0} >> (64 - 8 * size)));
    }
    void config_write(u32 offset, u32 value, unsigned size) override {
        if (offset == kConfigActual && size == 4) actual_ = value;
    }

protected:
    void queue_ready(u16 index) override { pool_.ring(index); }
    // The target is the host's wish and outlives the driver.
    void reset_config() override {
        actual_ = 0;
        refresh_ = false;
    }
    [[nodiscard]] std::vector<u8> capture_config() const override {
        const std::array<u32, 2> fields{target_, actual_};
        std::vector<u8> out(sizeof fields);
        std::memcpy(out.data(), fields.data(), sizeof fields);
        return out;
    }
    Result<void> apply_config(const std::vector<u8>& config) override {
        std::array<u32, 2> fields{};
        if (config.size() != sizeof fields) {
            return Error{Errc::Corrupt, fmt::format("{}: saved configuration has another size", name())};
        }
        std::memcpy(fields.data(), config.data(), sizeof fields);
        target_ = fields[0];
        actual_ = fields[1];
        return {};
    }

private:
    static u64 features_of(const BalloonOptions& o) {
        return StatisticsQueue | (o.deflate_on_oom ? u64{DeflateOnOom} : 0) |
               (o.free_page_reporting ? u64{PageReporting} : 0);
    }

    void serve(u16 queue) {
        if (queue == kStatisticsQueue) return read_statistics();
        Chain chain;
        while (take(queue, chain) == Queue::Pop::Chain) {
            if (queue == kInflateQueue) inflate(Cursor(chain.readable));
            // Reported pages are described by the descriptors themselves (5.5.6.7).
            if (queue == kReportingQueue) {
                for (const Segment& s : chain.writable) discard(s.gpa, s.host.size());
            }
            // Deflated pages come back by being touched.
            complete(queue, chain, 0);
        }
    }

    // Consecutive page numbers go back together.
    void inflate(Cursor pages) {
        u64 first = 0, size = 0;
        for (u32 number = 0; pages.copy_out(&number, sizeof number);) {
            const u64 gpa = u64{number} << kPfnBits;
            if (size != 0 && gpa == first + size) {
                size += kPage;
            } else if (size != 0 && gpa + kPage == first) {
                first = gpa;
                size += kPage;
            } else {
                discard(first, size);
                first = gpa;
                size = kPage;
            }
        }
        discard(first, size);
    }

    // Whole pages inside [gpa, gpa + size); what is not RAM is left alone.
    void discard(u64 gpa, u64 size) {
        const u64 end = align_down(gpa + size, kPage);
        for (gpa = align_up(gpa, kPage); gpa < end;) {
            std::vector<Segment> piece;
            const std::span<u8> host = memory_.span(gpa, end - gpa);
            if (host.empty() || !dma().translate(gpa, host.size(), true, piece)) return;
            (void)madvise(host.data(), host.size(), MADV_DONTNEED);
            dma().written(gpa, host.size());
            gpa += host.size();
        }
    }

    // The driver leaves one buffer with its numbers; giving it back asks for new ones (5.5.6.4).
    void read_statistics() {
        Chain chain;
        while (take(kStatisticsQueue, chain) == Queue::Pop::Chain) {
            Statistics now;
            Cursor in(chain.readable);
            for (Statistic s{}; in.copy_out(&s, sizeof s);) {
                if (s.tag >= now.value.size()) continue;
                now.value[s.tag] = s.value;
                now.present = static_cast<u16>(now.present | 1u << s.tag);
            }
            {
                std::lock_guard guard(statistics_lock_);
                statistics_ = now;
            }
            if (!refresh_.exchange(false)) return give_back(kStatisticsQueue, 1);
            complete(kStatisticsQueue, chain, 0);
        }
    }

    GuestMemory& memory_;
    std::atomic<u32> target_{0}, actual_{0};
    std::atomic<bool> refresh_{false};
    std::mutex statistics_lock_;  // guards statistics_; a leaf
    Statistics statistics_;
    WorkerPool pool_;  // last: its thread stops before anything else goes away
};

}  // namespace

std::unique_ptr<Balloon> create_balloon(GuestMemory& memory, const BalloonOptions& options) {
    return std::make_unique<BalloonDevice>(memory, options);
}

}  // namespace tandem::devices::virtio

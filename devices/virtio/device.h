// The transport-independent part of a virtio device (virtio 1.2, chapters 2 and 3): status, features, queues, reset and the
// life of a request. Concrete devices take requests, serve them on threads of their own and complete them.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "base/log.h"
#include "devices/fabric/state.h"
#include "devices/virtio/queue.h"

namespace tandem::devices::virtio {

namespace feature {
constexpr u64 kIndirect = u64{1} << 28, kEventIndex = u64{1} << 29, kVersion1 = u64{1} << 32;
}
namespace status {
constexpr u8 kAcknowledge = 1, kDriver = 2, kDriverOk = 4, kFeaturesOk = 8, kNeedsReset = 64, kFailed = 128;
}

// The device's way to its driver. Any thread; no lock of the device's is held.
class Transport {
public:
    virtual ~Transport() = default;
    virtual void queue_interrupt(u16 queue) = 0;
    virtual void config_interrupt() = 0;
    // Whether the device may access memory at all.
    [[nodiscard]] virtual bool dma_allowed() const = 0;
};

struct DeviceCoreState {
    u8 status = 0;
    u64 driver_features = 0;
    u8 generation = 0;
    std::vector<QueueState> queues;
    std::vector<u8> config;
    void visit(auto& v) {
        v("status", status);
        v("driver_features", driver_features);
        v("generation", generation);
        v("queues", queues);
        v("config", config);
    }
};

class VirtioDevice {
public:
    struct Description {
        std::string name;
        u16 device_id = 0;
        u64 features = 0;  // device-specific; the common ones are added
        std::vector<u16> queue_sizes;
    };
    VirtioDevice(GuestMemory& memory, Description description);
    virtual ~VirtioDevice() = default;
    VirtioDevice(const VirtioDevice&) = delete;
    VirtioDevice& operator=(const VirtioDevice&) = delete;

    [[nodiscard]] const std::string& name() const { return description_.name; }
    [[nodiscard]] u16 device_id() const { return description_.device_id; }
    [[nodiscard]] u16 queue_count() const { return static_cast<u16>(queues_.size()); }
    void connect(Transport& transport) { transport_ = &transport; }

    // The driver's registers. Any thread.
    [[nodiscard]] u64 offered_features() const { return features_; }
    [[nodiscard]] u64 driver_features() const;
    void set_driver_features(u64 features);
    // 0 while no reset is in progress and the device is in its initial state. Writing 0 starts a reset, which is complete
    // when all requests in flight are; until then the old status is read back.
    [[nodiscard]] u8 status() const;
    void set_status(u8 value);
    [[nodiscard]] u8 generation() const;
    // Queue registers; an index without a queue reads as an all-zero queue and ignores writes.
    [[nodiscard]] QueueState queue(u16 index) const;
    enum class QueueField : u8 { Size, Descriptors, Driver, Device };
    // The largest size the queue can have.
    [[nodiscard]] u16 queue_max(u16 index) const;
    void set_queue_field(u16 index, QueueField field, u64 value);
    void enable_queue(u16 index);
    // The driver rang the queue's bell.
    void notify(u16 index);
    // An event descriptor that a thread of the device's own waits for, which rings queue `index`'s bell too; -1: none. Valid
    // as long as the device.
    [[nodiscard]] virtual int own_bell(u16 /*index*/) { return -1; }
    // Rings all bells: after a restore, or when DMA becomes allowed.
    void kick();

    // Device-specific configuration; offset + size within 256 bytes, little endian.
    virtual u32 config_read(u32 offset, unsigned size) = 0;
    virtual void config_write(u32 offset, u32 value, unsigned size) = 0;

    // While paused no request is taken; pause() waits for those in flight, resume() rings all bells. Idempotent.
    void pause();
    void resume();

    // Completes a reset before it returns. Not for vCPU threads in guest code.
    void reset_now();
    // Waits until every bell that was rung has been answered and nothing is in flight. The machine is stopped.
    virtual void drain() const = 0;
    [[nodiscard]] DeviceCoreState capture() const;
    Result<void> apply(const DeviceCoreState& state);

protected:
    // Queue `index` may have requests. Must not block; called without locks.
    virtual void queue_ready(u16 index) = 0;
    // The driver says so, on a vCPU's thread.
    virtual void queue_rung(u16 index) { queue_ready(index); }
    // Back to initial values; the device's lock is held, nothing is in flight.
    virtual void reset_config() {}
    [[nodiscard]] virtual std::vector<u8> capture_config() const { return {}; }
    virtual Result<void> apply_config(const std::vector<u8>& config) = 0;

    // Takes a request for service; each must be completed or failed. Empty also when the device may not run.
    Queue::Pop take(u16 index, Chain& out);
    [[nodiscard]] bool has_more(u16 index) const;
    void complete(u16 index, const Chain& chain, u32 written);
    // Several requests of one queue, which the driver sees at once.
    void complete(u16 index, std::span<const Queue::Used> used);
    // The last `count` requests taken from the queue are not served now; they will be taken again.
    void give_back(u16 index, u16 count);
    // The device changed its configuration (2.5): a new generation and an interrupt.
    void config_changed();
    // The request makes no sense: the device needs a reset.
    void fail(const Chain& chain, std::string_view why);
    [[nodiscard]] bool negotiated(u64 feature) const { return (driver_features() & feature) != 0; }
    Dma& dma() { return dma_; }

private:
    // Whether queue `index` is in use.
    [[nodiscard]] bool live(u16 index) const;
    void break_device(std::unique_lock<std::mutex>& guard, std::string_view why);
    void finish_reset();
    // So many requests left flight; the lock is held.
    void release(u32 count);

    Description description_;
    u64 features_;
    Dma dma_;
    Transport* transport_ = nullptr;
    log::RateLimit complaints_;

    mutable std::mutex lock_;  // guards everything below
    std::condition_variable idle_;
    std::vector<Queue> queues_;
    u8 status_ = 0;
    bool resetting_ = false;
    bool paused_ = false;
    u64 driver_features_ = 0;
    u8 generation_ = 0;
    u32 in_flight_ = 0;
};

}  // namespace tandem::devices::virtio

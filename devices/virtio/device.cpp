#include "devices/virtio/device.h"

#include <fmt/format.h>

#include "base/bits.h"

namespace tandem::devices::virtio {

VirtioDevice::VirtioDevice(GuestMemory& memory, Description description)
    : description_(std::move(description)),
      features_(description_.features | feature::kVersion1 | feature::kIndirect | feature::kEventIndex),
      dma_(memory) {
    for (const u16 size : description_.queue_sizes) queues_.emplace_back(dma_, size);
}

u64 VirtioDevice::driver_features() const {
    std::lock_guard guard(lock_);
    return driver_features_;
}

void VirtioDevice::set_driver_features(u64 features) {
    std::lock_guard guard(lock_);
    if ((status_ & status::kFeaturesOk) == 0) driver_features_ = features;
}

u8 VirtioDevice::status() const {
    std::lock_guard guard(lock_);
    return status_;
}

u8 VirtioDevice::generation() const {
    std::lock_guard guard(lock_);
    return generation_;
}

void VirtioDevice::set_status(u8 value) {
    {
        std::lock_guard guard(lock_);
        if (resetting_) return;
        if (value == 0) {
            resetting_ = true;
            if (in_flight_ == 0) finish_reset();
            return;
        }
        // 2.2.2: without VERSION_1, or with bits that were not offered, FEATURES_OK does not stick.
        const bool acceptable = (driver_features_ & ~features_) == 0 && (driver_features_ & feature::kVersion1) != 0;
        if ((value & status::kFeaturesOk) != 0 && (status_ & status::kFeaturesOk) == 0 && !acceptable) {
            value = static_cast<u8>(value & ~status::kFeaturesOk);
        }
        // Bits are only ever added by the driver; NEEDS_RESET is the device's.
        const u8 old = status_;
        status_ = static_cast<u8>(old | (value & ~status::kNeedsReset));
        if ((old & status::kDriverOk) != 0 || (status_ & status::kDriverOk) == 0) return;
    }
    kick();
}

QueueState VirtioDevice::queue(u16 index) const {
    std::lock_guard guard(lock_);
    return index < queues_.size() ? queues_[index].capture() : QueueState{};
}

u16 VirtioDevice::queue_max(u16 index) const {
    std::lock_guard guard(lock_);
    return index < queues_.size() ? queues_[index].max_size() : u16{0};
}

void VirtioDevice::set_queue_field(u16 index, QueueField field, u64 value) {
    std::lock_guard guard(lock_);
    if (index >= queues_.size() || queues_[index].enabled() || resetting_) return;
    Queue& q = queues_[index];
    switch (field) {
        case QueueField::Size: q.size = static_cast<u16>(value); break;
        case QueueField::Descriptors: q.descriptors = value; break;
        case QueueField::Driver: q.driver = value; break;
        case QueueField::Device: q.device = value; break;
    }
}

void VirtioDevice::enable_queue(u16 index) {
    std::unique_lock guard(lock_);
    if (index >= queues_.size() || queues_[index].enabled() || resetting_) return;
    const bool indirect = (driver_features_ & feature::kIndirect) != 0;
    const bool event_index = (driver_features_ & feature::kEventIndex) != 0;
    const auto enabled = queues_[index].enable(indirect, event_index);
    if (!enabled.ok()) break_device(guard, fmt::format("queue {}: {}", index, enabled.error().message));
}

bool VirtioDevice::live(u16 index) const {
    std::lock_guard guard(lock_);
    return index < queues_.size() && queues_[index].enabled() && (status_ & status::kDriverOk) != 0;
}

void VirtioDevice::notify(u16 index) {
    if (live(index)) queue_rung(index);
}

void VirtioDevice::kick() {
    for (u16 i = 0; i < queue_count(); ++i) {
        if (live(i)) queue_ready(i);
    }
}

Queue::Pop VirtioDevice::take(u16 index, Chain& out) {
    if (transport_ == nullptr || !transport_->dma_allowed()) return Queue::Pop::Empty;
    std::unique_lock guard(lock_);
    constexpr u8 kRelevant = status::kDriverOk | status::kNeedsReset;
    if (paused_ || resetting_ || (status_ & kRelevant) != status::kDriverOk || !queues_[index].enabled())
        return Queue::Pop::Empty;
    const Queue::Pop result = queues_[index].pop(out);
    if (result == Queue::Pop::Chain) ++in_flight_;
    if (result == Queue::Pop::Broken) break_device(guard, fmt::format("queue {}: {}", index, queues_[index].why()));
    return result;
}

bool VirtioDevice::has_more(u16 index) const {
    std::lock_guard guard(lock_);
    return queues_[index].has_more();
}

void VirtioDevice::complete(u16 index, const Chain& chain, u32 written) {
    const Queue::Used used{chain.head, written};
    complete(index, std::span(&used, 1));
}

void VirtioDevice::complete(u16 index, std::span<const Queue::Used> used) {
    bool interrupt = false;
    {
        std::lock_guard guard(lock_);
        interrupt = queues_[index].push(used);
        if (resetting_) interrupt = false;
        release(static_cast<u32>(used.size()));
    }
    if (interrupt) transport_->queue_interrupt(index);
}

void VirtioDevice::give_back(u16 index, u16 count) {
    if (count == 0) return;
    std::lock_guard guard(lock_);
    queues_[index].unpop(count);
    release(count);
}

void VirtioDevice::config_changed() {
    bool tell = false;
    {
        std::lock_guard guard(lock_);
        ++generation_;
        tell = (status_ & status::kDriverOk) != 0;
    }
    if (tell && transport_ != nullptr) transport_->config_interrupt();
}

void VirtioDevice::fail(const Chain& chain, std::string_view why) {
    std::unique_lock guard(lock_);
    release(1);
    if (!resetting_) break_device(guard, fmt::format("request {}: {}", chain.head, why));
}

void VirtioDevice::release(u32 count) {
    in_flight_ -= count;
    if (in_flight_ > 0) return;
    if (resetting_) finish_reset();
    idle_.notify_all();
}

void VirtioDevice::break_device(std::unique_lock<std::mutex>& guard, std::string_view why) {
    if (complaints_.allow()) log::warn("{}: the guest's driver broke the device: {}", name(), why);
    const bool tell = (status_ & status::kDriverOk) != 0 && (status_ & status::kNeedsReset) == 0;
    status_ |= status::kNeedsReset;
    guard.unlock();
    if (tell && transport_ != nullptr) transport_->config_interrupt();
}

void VirtioDevice::finish_reset() {
    for (auto& q : queues_) q.reset();
    status_ = 0;
    driver_features_ = 0;
    resetting_ = false;
    reset_config();
    idle_.notify_all();
}

void VirtioDevice::pause() {
    {
        std::unique_lock guard(lock_);
        paused_ = true;
        idle_.wait(guard, [&] { return in_flight_ == 0; });
    }
    drain();
}

void VirtioDevice::resume() {
    {
        std::lock_guard guard(lock_);
        if (!paused_) return;
        paused_ = false;
    }
    kick();
}

void VirtioDevice::reset_now() {
    std::unique_lock guard(lock_);
    if (!resetting_) {
        resetting_ = true;
        if (in_flight_ == 0) finish_reset();
    }
    idle_.wait(guard, [&] { return !resetting_; });
}

DeviceCoreState VirtioDevice::capture() const {
    drain();
    std::lock_guard guard(lock_);
    DeviceCoreState state{status_, driver_features_, generation_, {}, capture_config()};
    for (const auto& q : queues_) state.queues.push_back(q.capture());
    return state;
}

Result<void> VirtioDevice::apply(const DeviceCoreState& state) {
    const auto corrupt = [&](std::string_view what) { return Error{Errc::Corrupt, fmt::format("{}: {}", name(), what)}; };
    if (state.queues.size() != queues_.size()) return corrupt("saved state has another number of queues");
    // Before FEATURES_OK a driver may have asked for anything.
    const bool agreed = (state.status & status::kFeaturesOk) != 0;
    if (agreed && (state.driver_features & ~features_) != 0) return corrupt("saved state uses features this device lacks");
    reset_now();
    {
        std::lock_guard guard(lock_);
        const bool indirect = (state.driver_features & feature::kIndirect) != 0;
        const bool event_index = (state.driver_features & feature::kEventIndex) != 0;
        // Queues are built aside, so that a bad one leaves the device as it was.
        std::vector<Queue> queues;
        for (std::size_t i = 0; i < state.queues.size(); ++i) {
            queues.emplace_back(dma_, queues_[i].max_size());
            TANDEM_TRY(queues.back().apply(state.queues[i], indirect, event_index));
        }
        TANDEM_TRY(apply_config(state.config));
        queues_ = std::move(queues);
        status_ = state.status;
        driver_features_ = state.driver_features;
        generation_ = state.generation;
    }
    return {};
}

}  // namespace tandem::devices::virtio

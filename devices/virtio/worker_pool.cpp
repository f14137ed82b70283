#include "devices/virtio/worker_pool.h"

namespace tandem::devices::virtio {

WorkerPool::WorkerPool(unsigned threads, unsigned queues, std::function<void(u16)> serve)
    : serve_(std::move(serve)), waiting_(queues) {
    for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

WorkerPool::~WorkerPool() {
    {
        std::lock_guard guard(lock_);
        quit_ = true;
    }
    wake_.notify_all();
    for (auto& t : threads_) t.join();
}

void WorkerPool::ring(u16 queue) {
    {
        std::lock_guard guard(lock_);
        if (waiting_[queue]) return;
        waiting_[queue] = true;
        rung_.push_back(queue);
    }
    wake_.notify_one();
}

void WorkerPool::wait_idle() const {
    std::unique_lock guard(lock_);
    idle_.wait(guard, [this] { return serving_ == 0 && rung_.empty(); });
}

void WorkerPool::work() {
    std::unique_lock guard(lock_);
    for (;;) {
        wake_.wait(guard, [this] { return quit_ || !rung_.empty(); });
        if (quit_) return;
        const u16 queue = rung_.front();
        rung_.pop_front();
        waiting_[queue] = false;
        ++serving_;
        guard.unlock();
        serve_(queue);
        guard.lock();
        if (--serving_ == 0 && rung_.empty()) idle_.notify_all();
    }
}

}  // namespace tandem::devices::virtio

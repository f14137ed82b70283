// Threads that answer a device's bells, so that no vCPU ever waits for a host file.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/types.h"

namespace tandem::devices::virtio {

// Calls serve(queue) on one of its threads for every queue that was rung; several threads may serve one queue at a time.
class WorkerPool {
public:
    WorkerPool(unsigned threads, unsigned queues, std::function<void(u16 queue)> serve);
    // Waits for running calls; bells that nobody has answered yet are dropped.
    ~WorkerPool();
    WorkerPool(const WorkerPool&) = delete;
    WorkerPool& operator=(const WorkerPool&) = delete;

    // Any thread. Rings before the previous one was answered are merged.
    void ring(u16 queue);
    // Waits until no bell is unanswered and no thread is serving.
    void wait_idle() const;

private:
    void work();

    std::function<void(u16)> serve_;
    mutable std::mutex lock_;
    mutable std::condition_variable idle_;
    std::condition_variable wake_;
    std::deque<u16> rung_;
    std::vector<bool> waiting_;  // by queue: is in rung_
    unsigned serving_ = 0;
    bool quit_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace tandem::devices::virtio

// Transfers by the kernel's io_uring(7): begun by any thread, ended on one of the ring's.
#pragma once

#include <sys/uio.h>

#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>

#include "base/result.h"
#include "base/types.h"

struct io_uring;

namespace tandem::devices::block {

class Uring {
public:
    // Unsupported, with the host's reason, where io_uring is not there or not allowed.
    static Result<std::unique_ptr<Uring>> create();
    // Waits for everything that has begun.
    ~Uring();
    Uring(const Uring&) = delete;
    Uring& operator=(const Uring&) = delete;

    // `ended` is called on the ring's thread with the bytes moved or a negative errno. The memory that `parts` name must
    // stay until then. Any thread; waits when the ring is full.
    void begin(bool write, int fd, u64 offset, std::span<const iovec> parts, std::function<void(i64 moved)> ended);

private:
    struct Transfer;
    Uring();
    void submit(const std::function<void(void* sqe)>& prepare);
    void serve();

    std::unique_ptr<io_uring> ring_;
    std::mutex lock_;  // guards the submission queue; completions belong to the thread
    std::thread thread_;
};

}  // namespace tandem::devices::block

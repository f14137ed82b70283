#include "devices/block/uring.h"

#include <liburing.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace tandem::devices::block {
namespace {

constexpr unsigned kEntries = 256;

}  // namespace

struct Uring::Transfer {
    std::vector<iovec> parts;
    std::function<void(i64)> ended;
};

Uring::Uring() : ring_(std::make_unique<io_uring>()) {}

Result<std::unique_ptr<Uring>> Uring::create() {
    std::unique_ptr<Uring> uring(new Uring);
    if (const int rc = ::io_uring_queue_init(kEntries, uring->ring_.get(), 0); rc != 0) {
        return Error{Errc::Unsupported,
                     std::string("aio=io_uring: the host does not offer it: ") + std::strerror(-rc) + " (use aio=threads)"};
    }
    uring->thread_ = std::thread([u = uring.get()] { u->serve(); });
    return uring;
}

Uring::~Uring() {
    if (!thread_.joinable()) return;
    // Behind everything that has begun; the thread ends when it is alone.
    submit([](void* sqe) {
        ::io_uring_prep_nop(static_cast<io_uring_sqe*>(sqe));
        ::io_uring_sqe_set_flags(static_cast<io_uring_sqe*>(sqe), IOSQE_IO_DRAIN);
    });
    thread_.join();
    ::io_uring_queue_exit(ring_.get());
}

void Uring::submit(const std::function<void(void* sqe)>& prepare) {
    std::lock_guard guard(lock_);
    io_uring_sqe* sqe = ::io_uring_get_sqe(ring_.get());
    while (sqe == nullptr) {
        (void)::io_uring_submit(ring_.get());
        sqe = ::io_uring_get_sqe(ring_.get());
    }
    ::io_uring_sqe_set_data(sqe, nullptr);
    prepare(sqe);
    // EBUSY and EAGAIN: the kernel has no room until something ends, which needs nothing from here.
    for (int rc = -EAGAIN; rc == -EAGAIN || rc == -EBUSY || rc == -EINTR;) {
        rc = ::io_uring_submit(ring_.get());
        if (rc == -EAGAIN || rc == -EBUSY) std::this_thread::yield();
    }
}

void Uring::begin(bool write, int fd, u64 offset, std::span<const iovec> parts, std::function<void(i64)> ended) {
    auto transfer = std::make_unique<Transfer>(std::vector<iovec>(parts.begin(), parts.end()), std::move(ended));
    submit([&](void* entry) {
        auto* sqe = static_cast<io_uring_sqe*>(entry);
        const auto* list = transfer->parts.data();
        const auto count = static_cast<unsigned>(transfer->parts.size());
        if (write) {
            ::io_uring_prep_writev(sqe, fd, list, count, offset);
        } else {
            ::io_uring_prep_readv(sqe, fd, list, count, offset);
        }
        ::io_uring_sqe_set_data(sqe, transfer.release());
    });
}

void Uring::serve() {
    for (;;) {
        io_uring_cqe* cqe = nullptr;
        if (const int rc = ::io_uring_wait_cqe(ring_.get(), &cqe); rc != 0) continue;  // a signal
        const std::unique_ptr<Transfer> transfer(static_cast<Transfer*>(::io_uring_cqe_get_data(cqe)));
        const i64 moved = cqe->res;
        ::io_uring_cqe_seen(ring_.get(), cqe);
        if (!transfer) return;
        transfer->ended(moved);
    }
}

}  // namespace tandem::devices::block

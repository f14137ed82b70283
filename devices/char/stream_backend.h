// The common part of character back ends: a thread between file descriptors and a queue in each direction.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "devices/fabric/backends.h"

namespace tandem::devices {

// Owns a file descriptor.
class Fd {
public:
    Fd() = default;
    explicit Fd(int fd) : fd_(fd) {}
    Fd(Fd&& o) noexcept : fd_(o.release()) {}
    Fd& operator=(Fd&& o) noexcept {
        if (this != &o) reset(o.release());
        return *this;
    }
    ~Fd() { reset(); }
    [[nodiscard]] int get() const { return fd_; }
    [[nodiscard]] bool valid() const { return fd_ >= 0; }
    int release() {
        const int fd = fd_;
        fd_ = -1;
        return fd;
    }
    void reset(int fd = -1);

private:
    int fd_ = -1;
};

class StreamBackend : public CharBackend {
public:
    struct Streams {
        Fd in, out;                 // out may be a duplicate of in; not valid: that direction goes nowhere
        Fd listener;                // server socket: clients come and go
        bool drop_input = false;    // keep reading (and dropping) when the guest does not take it: a person is typing
        bool wait_for_room = true;  // write() may wait for a full queue
    };
    // Fails only when the host has no descriptors left (Io).
    static Result<std::unique_ptr<StreamBackend>> create(Streams streams);
    ~StreamBackend() override;

    void write(std::span<const u8> bytes) override;
    void set_receiver(Receiver receiver) override;
    void resume_input() override;
    void on_focus(std::function<void()>&& f) override;

    // Runs last, when the thread has ended.
    void set_cleanup(std::function<void()> cleanup) { cleanup_ = std::move(cleanup); }
    void start();

private:
    StreamBackend(Streams streams, Fd wake) : streams_(std::move(streams)), wake_(std::move(wake)) {}
    void serve();
    void wake();
    void read_input();
    void offer_input();
    void write_output();
    void accept_client();
    void drop_client();
    [[nodiscard]] bool wants_output();

    Streams streams_;  // the thread's own after start()
    Fd wake_;
    std::function<void()> cleanup_;
    std::deque<u8> input_;

    std::mutex receiver_lock_;  // guards what follows; held while one of its functions runs
    Receiver receiver_;
    std::function<void()> on_focus_;
    bool announced_ = false;  // the client that is connected, to on_focus_
    std::atomic<bool> resumed_{false};

    std::mutex lock_;
    std::condition_variable room_, drained_;
    std::deque<u8> output_;
    bool connected_ = true;
    bool congested_ = false;
    bool quit_ = false;
    std::thread thread_;
};

}  // namespace tandem::devices

#include "frontend/monitor/mux.h"

#include <mutex>

namespace tandem::frontend {

using Receiver = std::function<std::size_t(std::span<const u8>)>;

class Mux::Core {
public:
    explicit Core(std::unique_ptr<devices::CharBackend> stream) : stream_(std::move(stream)) {
        stream_->set_receiver([this](std::span<const u8> bytes) -> std::size_t {
            std::lock_guard guard(lock_);
            if (receivers_[focus_]) return receivers_[focus_](bytes);
            // What comes before its taker waits for it. Once that has gone the stream must not be blocked: the Ctrl-A keys
            // are found on the way here.
            return had_receiver_[focus_] ? bytes.size() : 0;
        });
    }
    ~Core() { stream_->set_receiver({}); }
    Core(const Core&) = delete;
    Core& operator=(const Core&) = delete;

    void write(std::span<const u8> bytes) { stream_->write(bytes); }
    void resume_input() { stream_->resume_input(); }
    void set_receiver(unsigned which, Receiver receiver) {
        {
            std::lock_guard guard(lock_);
            had_receiver_[which] = true;
            receivers_[which] = std::move(receiver);
        }
        stream_->resume_input();
    }
    void set_on_monitor(std::function<void()> f) {
        std::lock_guard guard(lock_);
        on_monitor_ = std::move(f);
    }
    void toggle() {
        std::function<void()> greet;
        {
            std::lock_guard guard(lock_);
            focus_ ^= 1;
            if (focus_ == kMonitor) greet = on_monitor_;
        }
        if (greet) greet();
        stream_->resume_input();
    }

private:
    std::unique_ptr<devices::CharBackend> stream_;
    std::mutex lock_;  // guards what follows; held while a receiver runs, before that receiver's own lock
    std::array<Receiver, 2> receivers_;
    std::array<bool, 2> had_receiver_{};
    std::function<void()> on_monitor_;
    unsigned focus_ = kSerial;
};

class Mux::Port final : public devices::CharBackend {
public:
    Port(std::shared_ptr<Core> core, unsigned which) : core_(std::move(core)), which_(which) {}
    ~Port() override { core_->set_receiver(which_, {}); }
    void write(std::span<const u8> bytes) override { core_->write(bytes); }
    void set_receiver(Receiver receiver) override { core_->set_receiver(which_, std::move(receiver)); }
    void resume_input() override { core_->resume_input(); }

private:
    std::shared_ptr<Core> core_;
    unsigned which_;
};

Mux::Mux(std::unique_ptr<devices::CharBackend> stream) : core_(std::make_shared<Core>(std::move(stream))) {}
std::unique_ptr<devices::CharBackend> Mux::port(unsigned which) { return std::make_unique<Port>(core_, which); }
void Mux::toggle() { core_->toggle(); }
void Mux::set_on_monitor(std::function<void()> f) { core_->set_on_monitor(std::move(f)); }

}  // namespace tandem::frontend

#include "devices/char/mux.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <vector>

namespace tandem::devices {
namespace {

constexpr u8 kEscape = 1;               // Ctrl-A
constexpr std::size_t kPending = 4096;  // bytes that wait for one user
constexpr std::string_view kHelp =
    "\r\n"
    "Ctrl-A h       this help\r\n"
    "Ctrl-A x       end the machine\r\n"
    "Ctrl-A c       to the monitor and back\r\n"
    "Ctrl-A b       a break on the serial line (Linux: SysRq)\r\n"
    "Ctrl-A Ctrl-A  send Ctrl-A\r\n";

}  // namespace

EscapeKeys::Key EscapeKeys::take(u8 byte) {
    if (!escaped_) {
        escaped_ = byte == kEscape;
        return escaped_ ? Key::None : Key::Byte;
    }
    escaped_ = false;
    switch (byte) {
        case kEscape: return Key::Byte;
        case 'x': return Key::Quit;
        case 'c': return Key::Switch;
        case 'b': return Key::Break;
        case 'h':
        case '?': return Key::Help;
        default: return Key::None;
    }
}

class Mux::Core {
public:
    Core(std::unique_ptr<CharBackend> stream, const ConsoleEvents& events, bool person)
        : stream_(std::move(stream)), quit_(events.quit), person_(person) {
        stream_->on_focus([this] { opened(); });
        stream_->set_receiver([this](std::span<const u8> bytes) { return take(bytes); });
    }
    ~Core() {
        stream_->on_focus({});
        stream_->set_receiver({});
    }
    Core(const Core&) = delete;
    Core& operator=(const Core&) = delete;

    bool add_user() {
        std::lock_guard guard(lock_);
        if (count_ == kMaxUsers) return false;
        ++count_;
        return true;
    }
    [[nodiscard]] unsigned last_user() const { return static_cast<unsigned>(count_ - 1); }
    void write(std::span<const u8> bytes) { stream_->write(bytes); }
    void resume_input() { stream_->resume_input(); }
    void set_receiver(unsigned which, Receiver receiver) {
        {
            std::lock_guard guard(lock_);
            User& user = users_[which];
            user.gone = !receiver;
            if (user.gone) user.pending.clear();
            user.receiver = std::move(receiver);
        }
        stream_->resume_input();
    }
    void set_break(unsigned which, std::function<void()> f) {
        std::lock_guard guard(lock_);
        users_[which].on_break = std::move(f);
    }
    void on_focus(unsigned which, std::function<void()> f) {
        std::lock_guard guard(lock_);
        users_[which].on_focus = std::move(f);
        if (opened_ && focus_ == which) turn();
    }

private:
    struct User {
        Receiver receiver;
        std::function<void()> on_break, on_focus;
        std::vector<u8> pending;  // typed for it and not yet taken: at first because it is still being made
        bool gone = false;        // what is typed for it is dropped; the keys are still found
    };

    void opened() {
        std::lock_guard guard(lock_);
        opened_ = true;
        turn();
    }
    void turn() {
        if (users_[focus_].on_focus) users_[focus_].on_focus();
    }
    std::size_t take(std::span<const u8> bytes) {
        std::unique_lock guard(lock_);
        deliver();
        std::size_t used = 0;
        for (const u8 byte : bytes) {
            if (!person_ && users_[focus_].pending.size() >= kPending) break;
            ++used;
            const auto key = keys_.take(byte);
            if (key == EscapeKeys::Key::Byte) {
                keep(byte);
            } else if (key != EscapeKeys::Key::None) {
                act(key, guard);
            }
        }
        deliver();
        return used;
    }
    void keep(u8 byte) {
        User& user = users_[focus_];
        if (!user.gone && user.pending.size() < kPending) user.pending.push_back(byte);
    }
    void deliver() {
        for (std::size_t i = 0; i < count_; ++i) {
            User& user = users_[i];
            if (user.pending.empty() || !user.receiver) continue;
            const std::size_t taken = std::min(user.receiver(user.pending), user.pending.size());
            user.pending.erase(user.pending.begin(), user.pending.begin() + static_cast<std::ptrdiff_t>(taken));
        }
    }
    void act(EscapeKeys::Key key, std::unique_lock<std::mutex>& guard) {
        using Key = EscapeKeys::Key;
        deliver();
        if (key == Key::Switch) {
            if (count_ > 1) focus_ = (focus_ + 1) % count_;
            turn();
        } else if (key == Key::Break) {
            if (users_[focus_].on_break) users_[focus_].on_break();
        } else {
            guard.unlock();
            if (key == Key::Quit && quit_) quit_();
            if (key == Key::Help) stream_->write({reinterpret_cast<const u8*>(kHelp.data()), kHelp.size()});
            guard.lock();
        }
    }

    const std::unique_ptr<CharBackend> stream_;
    const std::function<void()> quit_;
    const bool person_;
    EscapeKeys keys_;  // the stream's thread's
    std::mutex lock_;  // guards what follows; held while a user's functions run, before that user's own lock
    std::array<User, kMaxUsers> users_;
    std::size_t count_ = 0;
    std::size_t focus_ = 0;
    bool opened_ = false;  // somebody has been there
};

class Mux::User final : public CharBackend {
public:
    User(std::shared_ptr<Core> core, unsigned which) : core_(std::move(core)), which_(which) {}
    ~User() override {
        core_->set_receiver(which_, {});
        core_->set_break(which_, {});
        core_->on_focus(which_, {});
    }
    User(const User&) = delete;
    User& operator=(const User&) = delete;
    void write(std::span<const u8> bytes) override { core_->write(bytes); }
    void set_receiver(Receiver receiver) override { core_->set_receiver(which_, std::move(receiver)); }
    void resume_input() override { core_->resume_input(); }
    void set_break(std::function<void()>&& f) override { core_->set_break(which_, std::move(f)); }
    void on_focus(std::function<void()>&& f) override { core_->on_focus(which_, std::move(f)); }
    [[nodiscard]] bool shared() const override { return true; }

private:
    std::shared_ptr<Core> core_;
    unsigned which_;
};

Mux::Mux(std::unique_ptr<CharBackend> stream, const ConsoleEvents& events, bool person)
    : core_(std::make_shared<Core>(std::move(stream), events, person)) {}
Mux::~Mux() = default;

std::unique_ptr<CharBackend> Mux::share() {
    if (!core_->add_user()) return nullptr;
    return std::make_unique<User>(core_, core_->last_user());
}
void Mux::write(std::span<const u8> bytes) { core_->write(bytes); }

}  // namespace tandem::devices

// One character stream for several users, and the Ctrl-A keys by which a person says which of them listens.
#pragma once

#include <functional>
#include <memory>

#include "devices/char/backends.h"

namespace tandem::devices {

// Finds the Ctrl-A keys in what is typed. One stream's state; one thread.
class EscapeKeys {
public:
    enum class Key : u8 { Byte, None, Quit, Switch, Break, Help };
    // What `byte` means; Byte: itself, for the user that listens.
    Key take(u8 byte);

private:
    bool escaped_ = false;
};

// The stream itself. share() gives each user an end of its own, up to kMaxUsers; the first listens until Ctrl-A c turns to
// the next. Output of all is shown. A user's end may outlive this.
class Mux final : public CharBackend {
public:
    static constexpr std::size_t kMaxUsers = 4;

    // `events` (quit) outlive the stream. `person`: somebody types, so that what the guest does not take is dropped rather
    // than kept before a Ctrl-A x.
    Mux(std::unique_ptr<CharBackend> stream, const ConsoleEvents& events, bool person);
    ~Mux() override;

    // Null when there are kMaxUsers.
    std::unique_ptr<CharBackend> share() override;
    [[nodiscard]] bool shared() const override { return true; }
    // Output past the users; there is no input for a stream that they share.
    void write(std::span<const u8> bytes) override;
    void set_receiver(Receiver) override {}
    void resume_input() override {}

private:
    class Core;
    class User;
    std::shared_ptr<Core> core_;
};

}  // namespace tandem::devices

// The stream by which a guest's test suite ends the program: "NNNq" on a console (QEMU's -chardev testdev).
#pragma once

#include <functional>
#include <mutex>

#include "devices/fabric/backends.h"

namespace tandem::devices {

// Takes packets of an optional decimal number and a letter; 'q' calls `exit` with 2 * number + 1, on the writer's thread.
// Whatever else comes is ignored.
class ExitStream final : public CharBackend {
public:
    explicit ExitStream(std::function<void(u32 status)> exit) : exit_(std::move(exit)) {}
    void write(std::span<const u8> bytes) override;
    void set_receiver(std::function<std::size_t(std::span<const u8>)>) override {}
    void resume_input() override {}

private:
    void take(char c);

    std::function<void(u32)> exit_;
    std::mutex lock_;  // guards number_
    u32 number_ = 0;
};

}  // namespace tandem::devices

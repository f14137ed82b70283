#include "devices/char/exit_stream.h"

namespace tandem::devices {

void ExitStream::write(std::span<const u8> bytes) {
    std::lock_guard guard(lock_);
    for (const u8 b : bytes) take(static_cast<char>(b));
}

void ExitStream::take(char c) {
    if (c >= '0' && c <= '9') {
        number_ = number_ * 10 + static_cast<u32>(c - '0');
        return;
    }
    if (c == 'q' && exit_) exit_(number_ << 1 | 1);
    number_ = 0;
}

}  // namespace tandem::devices

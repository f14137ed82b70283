#include "devices/misc/debug_ports.h"

#include <array>

namespace tandem::devices {

void DebugConsole::io_write(u64, u64 value, unsigned size) {
    if (backend_ == nullptr) return;
    std::array<u8, 8> bytes{};
    for (unsigned i = 0; i < size && i < bytes.size(); ++i) bytes[i] = static_cast<u8>(value >> (8 * i));
    backend_->write(std::span(bytes).first(size));
}

}  // namespace tandem::devices

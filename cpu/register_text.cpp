#include <fmt/format.h>

#include "cpu/numbered.h"

namespace tandem::cpu {

std::string register_value_text(std::span<const u8> value) {
    std::string text;
    for (std::size_t i = value.size(); i-- > 0;) {
        if (!text.empty() || value[i] != 0 || i == 0)
            text += text.empty() ? fmt::format("{:x}", value[i]) : fmt::format("{:02x}", value[i]);
    }
    return "0x" + text;
}

}  // namespace tandem::cpu

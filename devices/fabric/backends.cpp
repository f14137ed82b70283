#include "devices/fabric/backends.h"

#include <algorithm>
#include <cstring>

namespace tandem::devices {
namespace {

constexpr u64 kBounce = 1 << 20;

// A position in a list of parts.
class Parts {
public:
    explicit Parts(std::span<const iovec> parts) : parts_(parts) {}
    // The next contiguous piece, or empty at the end.
    [[nodiscard]] std::span<u8> piece() {
        while (!parts_.empty() && used_ == parts_[0].iov_len) {
            parts_ = parts_.subspan(1);
            used_ = 0;
        }
        if (parts_.empty()) return {};
        return {static_cast<u8*>(parts_[0].iov_base) + used_, parts_[0].iov_len - used_};
    }
    void skip(u64 size) { used_ += size; }
    // Calls copy(part, where in `bytes`) for the next bytes.size() bytes.
    template <class Copy>
    void walk(std::span<u8> bytes, Copy copy) {
        while (!bytes.empty()) {
            const auto mine = piece();
            const u64 n = std::min(mine.size(), bytes.size());
            copy(mine.data(), bytes.data(), n);
            bytes = bytes.subspan(n);
            skip(n);
        }
    }

private:
    std::span<const iovec> parts_;
    u64 used_ = 0;
};

u64 total(std::span<const iovec> parts) {
    u64 sum = 0;
    for (const iovec& p : parts) sum += p.iov_len;
    return sum;
}

}  // namespace

Result<void> BlockBackend::read_parts(u64 offset, std::span<const iovec> parts) {
    if (parts.size() == 1) return read(offset, {static_cast<u8*>(parts[0].iov_base), parts[0].iov_len});
    Parts to(parts);
    u64 left = total(parts);
    std::vector<u8> buffer(std::min(left, kBounce));
    while (left > 0) {
        const auto bytes = std::span(buffer).first(std::min<u64>(left, kBounce));
        TANDEM_TRY(read(offset, bytes));
        to.walk(bytes, [](u8* mine, const u8* theirs, u64 n) { std::memcpy(mine, theirs, n); });
        offset += bytes.size();
        left -= bytes.size();
    }
    return {};
}

Result<void> BlockBackend::write_parts(u64 offset, std::span<const iovec> parts) {
    if (parts.size() == 1) return write(offset, {static_cast<const u8*>(parts[0].iov_base), parts[0].iov_len});
    Parts from(parts);
    u64 left = total(parts);
    std::vector<u8> buffer(std::min(left, kBounce));
    while (left > 0) {
        const auto bytes = std::span(buffer).first(std::min<u64>(left, kBounce));
        from.walk(bytes, [](const u8* mine, u8* theirs, u64 n) { std::memcpy(theirs, mine, n); });
        TANDEM_TRY(write(offset, bytes));
        offset += bytes.size();
        left -= bytes.size();
    }
    return {};
}

}  // namespace tandem::devices

#include "devices/virtio/cursor.h"

#include <algorithm>
#include <cstring>

namespace tandem::devices::virtio {

u64 Cursor::left() const {
    u64 total = 0;
    for (const auto& s : segments_) total += s.host.size();
    return total - used_;
}

Segment Cursor::take(u64 size) {
    if (segments_.empty()) return {};
    const Segment& s = segments_.front();
    const u64 n = std::min<u64>(size, s.host.size() - used_);
    const Segment piece{s.gpa + used_, s.host.subspan(used_, n)};
    used_ += n;
    if (used_ == s.host.size()) {
        segments_ = segments_.subspan(1);
        used_ = 0;
    }
    return piece;
}

bool Cursor::copy_out(void* to, u64 size) {
    for (auto* at = static_cast<u8*>(to); size > 0;) {
        const Segment piece = take(size);
        if (piece.host.empty()) return false;
        std::memcpy(at, piece.host.data(), piece.host.size());
        at += piece.host.size();
        size -= piece.host.size();
    }
    return true;
}

u64 Cursor::copy_in(Dma& dma, std::span<const u8> bytes) {
    u64 done = 0;
    while (done < bytes.size()) {
        const Segment piece = take(bytes.size() - done);
        if (piece.host.empty()) break;
        std::memcpy(piece.host.data(), bytes.data() + done, piece.host.size());
        dma.written(piece.gpa, piece.host.size());
        done += piece.host.size();
    }
    return done;
}

}  // namespace tandem::devices::virtio

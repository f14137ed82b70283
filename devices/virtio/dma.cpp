#include "devices/virtio/dma.h"

namespace tandem::devices::virtio {

bool Dma::readonly_at(u64 gpa) const {
    for (const auto& r : memory_.ranges()) {
        if (gpa >= r.gpa && gpa - r.gpa < r.size) return r.readonly;
    }
    return true;
}

bool Dma::translate(u64 gpa, u64 size, bool writable, std::vector<Segment>& out) const {
    if (size == 0 || gpa + (size - 1) < gpa) return false;
    while (size > 0) {
        const std::span<u8> piece = memory_.span(gpa, size);
        if (piece.empty() || (writable && readonly_at(gpa))) return false;
        out.push_back({gpa, piece});
        gpa += piece.size();
        size -= piece.size();
    }
    return true;
}

std::span<u8> Dma::ring(u64 gpa, u64 size, bool writable) const {
    if (gpa + (size - 1) < gpa) return {};
    const std::span<u8> piece = memory_.span(gpa, size);
    if (piece.size() != size || (writable && readonly_at(gpa))) return {};
    return piece;
}

}  // namespace tandem::devices::virtio

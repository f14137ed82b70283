#include "devices/block/overlay.h"

#include <algorithm>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "devices/block/raw_file.h"

namespace tandem::devices::block {
namespace {

// Writes go to the overlay, in clusters copied from the base when they are first touched.
class Overlay final : public BlockBackend {
public:
    Overlay(std::unique_ptr<BlockBackend> base, RawFile overlay)
        : base_(std::move(base)), overlay_(std::move(overlay)), present_(clusters(base_->size_bytes())) {}

    [[nodiscard]] u64 size_bytes() const override { return base_->size_bytes(); }
    [[nodiscard]] bool readonly() const override { return false; }

    Result<void> read(u64 offset, std::span<u8> out) override {
        std::shared_lock guard(lock_);
        while (!out.empty()) {
            const Run run = run_at(offset, out.size());
            const auto piece = out.first(run.size);
            TANDEM_TRY(run.in_overlay ? overlay_.read(offset, piece) : base_->read(offset, piece));
            offset += run.size;
            out = out.subspan(run.size);
        }
        return {};
    }

    // Whole requests in one of the two files; others go piece by piece.
    Result<void> read_parts(u64 offset, std::span<const iovec> parts) override {
        {
            std::shared_lock guard(lock_);
            const Run run = run_at(offset, size_of(parts));
            if (run.size == size_of(parts)) {
                return run.in_overlay ? overlay_.read_parts(offset, parts) : base_->read_parts(offset, parts);
            }
        }
        return BlockBackend::read_parts(offset, parts);
    }
    // Writers hold the lock across transfers.
    bool read_at_hand(u64 offset, std::span<const iovec> parts) override {
        std::shared_lock guard(lock_, std::try_to_lock);
        if (!guard.owns_lock()) return false;
        const Run run = run_at(offset, size_of(parts));
        return run.size == size_of(parts) && !run.in_overlay && base_->read_at_hand(offset, parts);
    }

    Result<void> write(u64 offset, std::span<const u8> in) override {
        TANDEM_TRY(make_present(offset, in.size()));
        std::shared_lock guard(lock_);
        return overlay_.write(offset, in);
    }

    // The overlay does not outlive the process, so nothing needs to reach stable storage.
    Result<void> flush() override { return {}; }

    Result<void> write_zeroes(u64 offset, u64 size, bool may_unmap) override {
        TANDEM_TRY(make_present(offset, size));
        std::shared_lock guard(lock_);
        return overlay_.write_zeroes(offset, size, may_unmap);
    }

    Result<void> discard(u64 offset, u64 size) override { return write_zeroes(offset, size, true); }

    [[nodiscard]] bool holds_changes() const override { return true; }
    Result<void> read_changes(const std::function<Result<void>(u64, std::span<const u8>)>& take) override {
        std::shared_lock guard(lock_);
        std::vector<u8> buffer(kCluster);
        for (u64 c = 0; c < present_.size(); ++c) {
            if (!present_[c]) continue;
            const u64 start = c * kCluster;
            const auto part = std::span(buffer).first(std::min(kCluster, base_->size_bytes() - start));
            TANDEM_TRY(overlay_.read(start, part));
            TANDEM_TRY(take(start, part));
        }
        return {};
    }
    Result<void> drop_changes() override {
        std::unique_lock guard(lock_);
        present_.assign(present_.size(), false);
        return overlay_.discard(0, overlay_.size());
    }
    Result<i64> modified_ns() override { return base_->modified_ns(); }

private:
    static constexpr u64 kCluster = 64 * 1024;
    struct Run {
        bool in_overlay;
        u64 size;
    };

    static u64 clusters(u64 size) { return (size + kCluster - 1) / kCluster; }

    // The longest run from `offset` on that lies in one of the two files. Out-of-range offsets are left to the base to
    // refuse.
    [[nodiscard]] Run run_at(u64 offset, u64 size) const {
        if (offset >= base_->size_bytes() || size > base_->size_bytes() - offset) return {false, size};
        const u64 first = offset / kCluster;
        const bool in_overlay = present_[first];
        u64 next = first + 1;
        while (next * kCluster < offset + size && present_[next] == in_overlay) ++next;
        return {in_overlay, std::min(size, next * kCluster - offset)};
    }

    Result<void> make_present(u64 offset, u64 size) {
        if (offset >= base_->size_bytes() || size > base_->size_bytes() - offset || size == 0) return {};
        const u64 first = offset / kCluster;
        const u64 last = (offset + size - 1) / kCluster;
        {
            std::shared_lock guard(lock_);
            const auto begin = present_.begin();
            if (std::all_of(begin + static_cast<i64>(first), begin + static_cast<i64>(last) + 1, [](bool p) { return p; })) {
                return {};
            }
        }
        std::unique_lock guard(lock_);
        std::vector<u8> buffer(kCluster);
        for (u64 c = first; c <= last; ++c) {
            if (present_[c]) continue;
            const u64 start = c * kCluster;
            const auto part = std::span(buffer).first(std::min(kCluster, base_->size_bytes() - start));
            TANDEM_TRY(base_->read(start, part));
            TANDEM_TRY(overlay_.write(start, part));
            present_[c] = true;
        }
        return {};
    }

    std::unique_ptr<BlockBackend> base_;
    RawFile overlay_;
    std::shared_mutex lock_;  // guards present_; held shared across transfers so that a cluster does not move below one
    std::vector<bool> present_;
};

}  // namespace

Result<std::unique_ptr<BlockBackend>> create_overlay(std::unique_ptr<BlockBackend> base) {
    TANDEM_TRY_ASSIGN(auto overlay, RawFile::create_temporary(base->size_bytes()));
    return std::unique_ptr<BlockBackend>(std::make_unique<Overlay>(std::move(base), std::move(overlay)));
}

}  // namespace tandem::devices::block

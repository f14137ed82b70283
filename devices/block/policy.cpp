#include "devices/block/policy.h"

#include <algorithm>
#include <cstring>

#include "devices/block/raw_file.h"

namespace tandem::devices::block {
namespace {

bool all_zero(const iovec& part) {
    const auto* p = static_cast<const u8*>(part.iov_base);
    return part.iov_len == 0 || (p[0] == 0 && std::memcmp(p, p + 1, part.iov_len - 1) == 0);
}

class Policy final : public BlockBackend {
public:
    Policy(std::unique_ptr<BlockBackend> disk, const DriveOptions& options)
        : disk_(std::move(disk)),
          write_through_(options.write_through),
          no_flush_(options.no_flush),
          discard_(options.discard),
          detect_(options.detect_zeroes) {}

    [[nodiscard]] u64 size_bytes() const override { return disk_->size_bytes(); }
    [[nodiscard]] bool readonly() const override { return disk_->readonly(); }
    [[nodiscard]] bool writes_through() const override { return write_through_; }
    Result<void> read(u64 offset, std::span<u8> out) override { return disk_->read(offset, out); }
    Result<void> read_parts(u64 offset, std::span<const iovec> parts) override { return disk_->read_parts(offset, parts); }
    bool read_at_hand(u64 offset, std::span<const iovec> parts) override { return disk_->read_at_hand(offset, parts); }
    Result<void> write(u64 offset, std::span<const u8> in) override {
        const iovec part{const_cast<u8*>(in.data()), in.size()};
        return write_parts(offset, std::span(&part, 1));
    }
    Result<void> write_parts(u64 offset, std::span<const iovec> parts) override {
        if (is_zeros(parts)) return disk_->write_zeroes(offset, size_of(parts), unmaps());
        return disk_->write_parts(offset, parts);
    }
    bool start(BlockTransfer& t) override { return !(t.write && is_zeros(t.parts)) && disk_->start(t); }
    Result<void> flush() override { return no_flush_ ? Result<void>{} : disk_->flush(); }
    Result<void> write_zeroes(u64 offset, u64 size, bool may_unmap) override {
        return disk_->write_zeroes(offset, size, may_unmap && discard_);
    }
    Result<void> discard(u64 offset, u64 size) override { return discard_ ? disk_->discard(offset, size) : Result<void>{}; }
    [[nodiscard]] bool holds_changes() const override { return disk_->holds_changes(); }
    Result<void> read_changes(const std::function<Result<void>(u64, std::span<const u8>)>& take) override {
        return disk_->read_changes(take);
    }
    Result<void> drop_changes() override { return disk_->drop_changes(); }
    Result<i64> modified_ns() override { return disk_->modified_ns(); }

private:
    [[nodiscard]] bool unmaps() const { return detect_ == DetectZeroes::Unmap && discard_; }
    [[nodiscard]] bool is_zeros(std::span<const iovec> parts) const {
        return detect_ != DetectZeroes::Off && std::ranges::all_of(parts, all_zero);
    }

    std::unique_ptr<BlockBackend> disk_;
    bool write_through_, no_flush_, discard_;
    DetectZeroes detect_;
};

}  // namespace

std::unique_ptr<BlockBackend> apply_policy(std::unique_ptr<BlockBackend> disk, const DriveOptions& options) {
    const bool plain =
        !options.write_through && !options.no_flush && options.discard && options.detect_zeroes == DetectZeroes::Off;
    if (plain) return disk;
    return std::make_unique<Policy>(std::move(disk), options);
}

}  // namespace tandem::devices::block

#include "devices/block/raw_backend.h"

#include "devices/block/page_cache.h"
#include "devices/block/raw_file.h"
#include "devices/block/uring.h"

namespace tandem::devices::block {
namespace {

class RawBackend final : public BlockBackend {
public:
    RawBackend(RawFile file, bool readonly, std::unique_ptr<Uring> uring)
        : file_(std::move(file)), cache_(file_.fd(), file_.size()), readonly_(readonly), uring_(std::move(uring)) {}

    [[nodiscard]] u64 size_bytes() const override { return file_.size(); }
    [[nodiscard]] bool readonly() const override { return readonly_; }
    Result<void> read(u64 offset, std::span<u8> out) override { return file_.read(offset, out); }
    Result<void> write(u64 offset, std::span<const u8> in) override {
        TANDEM_TRY(check_writable());
        return file_.write(offset, in);
    }
    Result<void> read_parts(u64 offset, std::span<const iovec> parts) override { return file_.read_parts(offset, parts); }
    Result<void> write_parts(u64 offset, std::span<const iovec> parts) override {
        TANDEM_TRY(check_writable());
        return file_.write_parts(offset, parts);
    }

    bool read_at_hand(u64 offset, std::span<const iovec> parts) override {
        return file_.cached() && file_.may_transfer(false, offset, parts) && cache_.read(offset, parts);
    }

    bool start(BlockTransfer& t) override {
        if (!uring_ || (t.write && readonly_) || !file_.may_transfer(t.write, t.offset, t.parts)) return false;
        const u64 size = size_of(t.parts);
        uring_->begin(t.write, file_.fd(), t.offset, t.parts, [this, size, t](i64 moved) {
            if (moved == static_cast<i64>(size)) return t.done({});
            // Less than all, or an error: once more in the way that tells why.
            t.done(t.write ? file_.write_parts(t.offset, t.parts) : file_.read_parts(t.offset, t.parts));
        });
        return true;
    }

    Result<void> flush() override { return readonly_ ? Result<void>{} : file_.flush(); }
    Result<void> write_zeroes(u64 offset, u64 size, bool may_unmap) override {
        TANDEM_TRY(check_writable());
        return file_.write_zeroes(offset, size, may_unmap);
    }
    Result<void> discard(u64 offset, u64 size) override {
        TANDEM_TRY(check_writable());
        return file_.discard(offset, size);
    }
    Result<i64> modified_ns() override {
        if (!readonly_) TANDEM_TRY(file_.flush());
        return file_.modified_ns();
    }

private:
    [[nodiscard]] Result<void> check_writable() const {
        if (readonly_) return Error{Errc::Io, "'" + file_.path() + "' is read-only"};
        return {};
    }

    RawFile file_;
    PageCache cache_;
    bool readonly_;
    std::unique_ptr<Uring> uring_;  // last: its thread uses the file
};

}  // namespace

Result<std::unique_ptr<BlockBackend>> open_raw(const DriveOptions& options) {
    const auto access = options.readonly ? RawFile::Access::ReadOnly : RawFile::Access::ReadWrite;
    const auto caching = options.direct ? RawFile::Caching::Direct : RawFile::Caching::Host;
    TANDEM_TRY_ASSIGN(auto file, RawFile::open(options.file, access, caching));
    std::unique_ptr<Uring> uring;
    if (options.io_uring) {
        TANDEM_TRY_ASSIGN(uring, Uring::create());
    }
    return std::unique_ptr<BlockBackend>(std::make_unique<RawBackend>(std::move(file), options.readonly, std::move(uring)));
}

}  // namespace tandem::devices::block

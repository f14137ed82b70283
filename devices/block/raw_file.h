// An open raw image or host block device: bounds, error texts and the host calls. Building block of the back ends in this
// folder.
#pragma once

#include <span>
#include <string>

#include "base/result.h"
#include "base/types.h"

namespace tandem::devices::block {

constexpr u64 kSectorSize = 512;

class RawFile {
public:
    enum class Access : u8 { ReadOnly, ReadWrite };

    // Opens and locks `path`: readers share, a writer is alone. The lock belongs to the open file description, so that a
    // second drive of the same process conflicts like one of another process.
    static Result<RawFile> open(const std::string& path, Access access);
    // A new unlinked sparse file of `size` bytes in $TMPDIR (default /var/tmp).
    static Result<RawFile> create_temporary(u64 size);

    RawFile(RawFile&& other) noexcept;
    RawFile& operator=(RawFile&& other) noexcept;
    ~RawFile();

    [[nodiscard]] u64 size() const { return size_; }
    [[nodiscard]] const std::string& path() const { return path_; }

    // Whole transfers; see BlockBackend for the rules and the errors.
    Result<void> read(u64 offset, std::span<u8> out) const;
    Result<void> write(u64 offset, std::span<const u8> in) const;
    Result<void> flush() const;
    Result<void> write_zeroes(u64 offset, u64 size, bool may_unmap) const;
    Result<void> discard(u64 offset, u64 size) const;
    // Time of the last write, in nanoseconds since 1970; 0 for a block device, which does not tell.
    [[nodiscard]] Result<i64> modified_ns() const;

private:
    RawFile(int fd, std::string path, u64 size, bool block_device)
        : fd_(fd), path_(std::move(path)), size_(size), block_device_(block_device) {}
    Result<void> check_range(const char* verb, u64 offset, u64 size) const;
    // A regular file that somebody shortened is not silently grown again.
    Result<void> check_not_truncated(u64 end) const;
    Result<void> write_zero_bytes(u64 offset, u64 size) const;

    int fd_ = -1;
    std::string path_;
    u64 size_ = 0;
    bool block_device_ = false;
};

}  // namespace tandem::devices::block

// An open raw image or host block device: bounds, error texts and the host calls. Building block of the back ends in this
// folder.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <memory>
#include <shared_mutex>
#include <span>
#include <string>

#include "base/result.h"
#include "base/types.h"

namespace tandem::devices::block {

constexpr u64 kSectorSize = 512;

// The sum of the parts' sizes.
u64 size_of(std::span<const iovec> parts);

class RawFile {
public:
    enum class Access : u8 { ReadOnly, ReadWrite };
    enum class Caching : u8 { Host, Direct };

    // Opens and locks `path`: readers share, a writer is alone. The lock belongs to the open file description, so that a
    // second drive of the same process conflicts like one of another process. Direct: past the host's page cache, which is
    // Unsupported where the file system cannot.
    static Result<RawFile> open(const std::string& path, Access access, Caching caching = Caching::Host);
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
    Result<void> read_parts(u64 offset, std::span<const iovec> parts) const;
    Result<void> write_parts(u64 offset, std::span<const iovec> parts) const;
    // Once it has failed it always does: the host drops what it could not write and would call the next one a success.
    Result<void> flush() const;
    Result<void> write_zeroes(u64 offset, u64 size, bool may_unmap) const;
    Result<void> discard(u64 offset, u64 size) const;
    // Time of the last write, in nanoseconds since 1970; 0 for a block device, which does not tell.
    [[nodiscard]] Result<i64> modified_ns() const;

    // For transfers that others make: the descriptor, and whether this one may go to it as it is (in bounds, aligned as
    // direct I/O wants it, the file still as long as it was).
    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] bool cached() const { return offset_alignment_ == 1; }  // by the host: no direct I/O
    [[nodiscard]] bool may_transfer(bool write, u64 offset, std::span<const iovec> parts) const;

private:
    struct Shared {
        std::shared_mutex
            lock;  // direct I/O in blocks above 512 bytes: who changes a part of one holds it alone, others share
        std::atomic<bool> lost{false};  // a flush has failed
    };
    RawFile(int fd, std::string path, u64 size, bool block_device)
        : fd_(fd), path_(std::move(path)), size_(size), block_device_(block_device), shared_(std::make_unique<Shared>()) {}
    Result<void> find_alignment();
    Result<void> check_range(const char* verb, u64 offset, u64 size) const;
    // A regular file that somebody shortened is not silently grown again.
    Result<void> check_not_truncated(u64 end) const;
    Result<void> write_zero_bytes(u64 offset, u64 size) const;
    [[nodiscard]] bool aligned(u64 offset, std::span<const iovec> parts) const;
    Result<void> transfer(bool to_file, u64 offset, std::span<const iovec> parts) const;
    Result<void> transfer_unaligned(bool to_file, u64 offset, std::span<const iovec> parts) const;

    int fd_ = -1;
    std::string path_;
    u64 size_ = 0;
    bool block_device_ = false;
    u32 offset_alignment_ = 1, memory_alignment_ = 1;  // of transfers; more than 1 for direct I/O
    std::unique_ptr<Shared> shared_;
};

}  // namespace tandem::devices::block

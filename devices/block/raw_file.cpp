#include "devices/block/raw_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "base/bits.h"

namespace tandem::devices::block {
namespace {

// OFD locks (fcntl(2), "Open file description locks") are dropped with the descriptor, whatever way the process ends.
Result<void> lock_file(int fd, const std::string& path, bool exclusive) {
    struct flock request{};
    request.l_type = exclusive ? F_WRLCK : F_RDLCK;
    request.l_whence = SEEK_SET;
    if (::fcntl(fd, F_OFD_SETLK, &request) == 0) return {};
    if (errno == EAGAIN || errno == EACCES) {
        return Error{Errc::Busy, fmt::format("drive file '{}' is in use by another drive or program (locked{})", path,
                                             exclusive ? "" : " for writing")};
    }
    // A file system without locks: nothing to conflict with.
    if (errno == EINVAL || errno == ENOSYS || errno == ENOLCK || errno == EOPNOTSUPP) return {};
    return io_error(fmt::format("cannot lock drive file '{}'", path));
}

Result<u64> measure(int fd, const std::string& path, bool& block_device) {
    struct stat st{};
    if (::fstat(fd, &st) != 0) return io_error(fmt::format("cannot examine drive file '{}'", path));
    block_device = S_ISBLK(st.st_mode);
    if (block_device) {
        u64 bytes = 0;
        if (::ioctl(fd, BLKGETSIZE64, &bytes) != 0) return io_error(fmt::format("cannot get the size of '{}'", path));
        return bytes;
    }
    if (!S_ISREG(st.st_mode)) return invalid(fmt::format("drive file '{}' is neither a file nor a block device", path));
    return static_cast<u64>(st.st_size);
}

}  // namespace

u64 size_of(std::span<const iovec> parts) {
    u64 total = 0;
    for (const iovec& p : parts) total += p.iov_len;
    return total;
}

RawFile::RawFile(RawFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      path_(std::move(other.path_)),
      size_(other.size_),
      block_device_(other.block_device_),
      offset_alignment_(other.offset_alignment_),
      memory_alignment_(other.memory_alignment_),
      shared_(std::move(other.shared_)) {}

RawFile& RawFile::operator=(RawFile&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(path_, other.path_);
    std::swap(size_, other.size_);
    std::swap(block_device_, other.block_device_);
    std::swap(offset_alignment_, other.offset_alignment_);
    std::swap(memory_alignment_, other.memory_alignment_);
    std::swap(shared_, other.shared_);
    return *this;
}

RawFile::~RawFile() {
    if (fd_ >= 0) ::close(fd_);
}

Result<RawFile> RawFile::open(const std::string& path, Access access, Caching caching) {
    const bool writable = access == Access::ReadWrite;
    const bool direct = caching == Caching::Direct;
    const int fd = ::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | (direct ? O_DIRECT : 0));
    if (fd < 0 && direct && errno == EINVAL) {
        return Error{Errc::Unsupported,
                     fmt::format("drive file '{}': its file system has no direct I/O (cache=none, cache=directsync)", path)};
    }
    if (fd < 0) return io_error(fmt::format("cannot open drive file '{}'{}", path, writable ? " for writing" : ""));
    RawFile file(fd, path, 0, false);
    TANDEM_TRY_ASSIGN(file.size_, measure(fd, path, file.block_device_));
    TANDEM_TRY(lock_file(fd, path, writable));
    if (file.size_ == 0) return invalid(fmt::format("drive file '{}' is empty", path));
    if (file.size_ % kSectorSize != 0) {
        return invalid(fmt::format("drive file '{}': size {} is not a multiple of {}", path, file.size_, kSectorSize));
    }
    if (direct) TANDEM_TRY(file.find_alignment());
    return file;
}

// What statx(2) says of direct I/O, or blocks of a page where the host does not say.
Result<void> RawFile::find_alignment() {
    constexpr u32 kPage = 4096;
    offset_alignment_ = memory_alignment_ = kPage;
#ifdef STATX_DIOALIGN
    struct statx st{};
    if (::statx(fd_, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) == 0 && (st.stx_mask & STATX_DIOALIGN) != 0 &&
        st.stx_dio_offset_align != 0) {
        offset_alignment_ = st.stx_dio_offset_align;
        memory_alignment_ = std::max(st.stx_dio_mem_align, 1u);
    }
#endif
    if (size_ % offset_alignment_ == 0) return {};
    return Error{Errc::Unsupported,
                 fmt::format("drive file '{}': direct I/O on this host takes blocks of {} bytes, of which "
                             "its size {} is not a multiple (cache=none, cache=directsync)",
                             path_, offset_alignment_, size_)};
}

Result<RawFile> RawFile::create_temporary(u64 size) {
    const char* env = std::getenv("TMPDIR");
    const std::string dir = env != nullptr && *env != '\0' ? env : "/var/tmp";
    int fd = ::open(dir.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        std::string name = dir + "/tandem-snapshot-XXXXXX";
        fd = ::mkostemp(name.data(), O_CLOEXEC);
        if (fd >= 0) ::unlink(name.c_str());
    }
    if (fd < 0) return io_error(fmt::format("cannot create a snapshot file in '{}'", dir));
    RawFile file(fd, fmt::format("snapshot file in {}", dir), size, false);
    if (::ftruncate(fd, static_cast<off_t>(size)) != 0) {
        return io_error(fmt::format("cannot size a snapshot file in '{}' to {} bytes", dir, size));
    }
    return file;
}

Result<void> RawFile::check_range(const char* verb, u64 offset, u64 size) const {
    if (offset % kSectorSize != 0 || size % kSectorSize != 0) {
        return invalid(fmt::format("'{}': {} of {} bytes at {} is not in whole sectors", path_, verb, size, offset));
    }
    if (offset > size_ || size > size_ - offset) {
        return Error{Errc::Io,
                     fmt::format("'{}': {} of {} bytes at {} passes the end ({} bytes)", path_, verb, size, offset, size_)};
    }
    return {};
}

Result<void> RawFile::check_not_truncated(u64 end) const {
    if (block_device_) return {};
    struct stat st{};
    if (::fstat(fd_, &st) != 0) return io_error(fmt::format("cannot examine '{}'", path_));
    if (static_cast<u64>(st.st_size) < end) {
        return Error{Errc::Io, fmt::format("'{}' was truncated to {} bytes while in use", path_, st.st_size)};
    }
    return {};
}

Result<void> RawFile::read(u64 offset, std::span<u8> out) const {
    const iovec part{out.data(), out.size()};
    return read_parts(offset, std::span(&part, 1));
}

Result<void> RawFile::write(u64 offset, std::span<const u8> in) const {
    const iovec part{const_cast<u8*>(in.data()), in.size()};
    return write_parts(offset, std::span(&part, 1));
}

Result<void> RawFile::read_parts(u64 offset, std::span<const iovec> parts) const {
    TANDEM_TRY(check_range("read", offset, size_of(parts)));
    return aligned(offset, parts) ? transfer(false, offset, parts) : transfer_unaligned(false, offset, parts);
}

Result<void> RawFile::write_parts(u64 offset, std::span<const iovec> parts) const {
    const u64 size = size_of(parts);
    TANDEM_TRY(check_range("write", offset, size));
    TANDEM_TRY(check_not_truncated(offset + size));
    if (!aligned(offset, parts)) return transfer_unaligned(true, offset, parts);
    if (offset_alignment_ <= kSectorSize) return transfer(true, offset, parts);
    std::shared_lock guard(shared_->lock);
    return transfer(true, offset, parts);
}

bool RawFile::may_transfer(bool write, u64 offset, std::span<const iovec> parts) const {
    const u64 size = size_of(parts);
    // Where a block may have to be read and changed, writers hold a lock.
    if (write && offset_alignment_ > kSectorSize) return false;
    return parts.size() <= IOV_MAX && check_range("transfer", offset, size).ok() && aligned(offset, parts) &&
           (!write || check_not_truncated(offset + size).ok());
}

bool RawFile::aligned(u64 offset, std::span<const iovec> parts) const {
    if (offset_alignment_ == 1) return true;
    return offset % offset_alignment_ == 0 && std::ranges::all_of(parts, [this](const iovec& p) {
               return reinterpret_cast<std::uintptr_t>(p.iov_base) % memory_alignment_ == 0 &&
                      p.iov_len % offset_alignment_ == 0;
           });
}

// The host may do less than was asked for.
Result<void> RawFile::transfer(bool to_file, u64 offset, std::span<const iovec> parts) const {
    std::vector<iovec> rest;
    while (!parts.empty()) {
        const auto count = static_cast<int>(std::min<std::size_t>(parts.size(), IOV_MAX));
        const auto at = static_cast<off_t>(offset);
        const ssize_t n = to_file ? ::pwritev(fd_, parts.data(), count, at) : ::preadv(fd_, parts.data(), count, at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return io_error(fmt::format("cannot {} '{}' at {}", to_file ? "write" : "read", path_, offset));
        auto done = static_cast<u64>(n);
        if (done == 0 && size_of(parts) == 0) return {};
        if (done == 0) return Error{Errc::Io, fmt::format("'{}' was truncated while in use: no data at {}", path_, offset)};
        offset += done;
        while (!parts.empty() && done >= parts[0].iov_len) {
            done -= parts[0].iov_len;
            parts = parts.subspan(1);
        }
        if (done == 0) continue;
        std::vector<iovec> shorter(parts.begin(), parts.end());
        shorter[0].iov_base = static_cast<u8*>(shorter[0].iov_base) + done;
        shorter[0].iov_len -= done;
        rest = std::move(shorter);
        parts = rest;
    }
    return {};
}

// Direct I/O for a request that is not as the host wants it: by way of blocks that are.
Result<void> RawFile::transfer_unaligned(bool to_file, u64 offset, std::span<const iovec> parts) const {
    constexpr u64 kChunk = 1 << 20;
    struct Free {
        std::align_val_t alignment;
        void operator()(u8* p) const { ::operator delete[](p, alignment); }
    };
    const std::align_val_t alignment{std::max({offset_alignment_, memory_alignment_, 4096u})};
    const std::unique_ptr<u8[], Free> buffer(static_cast<u8*>(::operator new[](kChunk, alignment)), Free{alignment});
    std::unique_lock guard(shared_->lock, std::defer_lock);
    if (to_file && offset_alignment_ > kSectorSize) guard.lock();
    u64 part_used = 0;
    const u64 end = offset + size_of(parts);
    for (u64 at = align_down(offset, u64{offset_alignment_}); at < end; at += kChunk) {
        const u64 size = std::min(kChunk, align_up(end, u64{offset_alignment_}) - at);
        const iovec block{buffer.get(), size};
        const u64 first = std::max(offset, at), last = std::min(end, at + size);
        const bool covered = first == at && last == at + size;
        if (!to_file || !covered) TANDEM_TRY(transfer(false, at, std::span(&block, 1)));
        for (u64 done = first; done < last;) {
            if (part_used == parts[0].iov_len) {
                parts = parts.subspan(1);
                part_used = 0;
                continue;
            }
            const u64 n = std::min(last - done, parts[0].iov_len - part_used);
            u8* mine = static_cast<u8*>(parts[0].iov_base) + part_used;
            u8* theirs = buffer.get() + (done - at);
            std::memcpy(to_file ? theirs : mine, to_file ? mine : theirs, n);
            part_used += n;
            done += n;
        }
        if (to_file) TANDEM_TRY(transfer(true, at, std::span(&block, 1)));
    }
    return {};
}

Result<void> RawFile::flush() const {
    if (shared_->lost) return Error{Errc::Io, fmt::format("'{}': what an earlier flush could not write is lost", path_)};
    if (::fdatasync(fd_) == 0) return {};
    shared_->lost = true;
    return io_error(fmt::format("cannot flush '{}'", path_));
}

Result<i64> RawFile::modified_ns() const {
    struct stat st{};
    if (::fstat(fd_, &st) != 0) return io_error(fmt::format("cannot examine '{}'", path_));
    if (block_device_) return i64{0};  // writes do not show in its node's time
    return i64{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec;
}

Result<void> RawFile::write_zero_bytes(u64 offset, u64 size) const {
    static constexpr std::array<u8, 65536> kZeroes{};
    while (size > 0) {
        const u64 n = std::min<u64>(size, kZeroes.size());
        TANDEM_TRY(write(offset, std::span(kZeroes).first(n)));
        offset += n;
        size -= n;
    }
    return {};
}

Result<void> RawFile::write_zeroes(u64 offset, u64 size, bool may_unmap) const {
    TANDEM_TRY(check_range("write zeroes", offset, size));
    if (size == 0) return {};
    TANDEM_TRY(check_not_truncated(offset + size));
    if (block_device_) {
        std::array<u64, 2> range{offset, size};
        if (::ioctl(fd_, BLKZEROOUT, range.data()) == 0) return {};
        return write_zero_bytes(offset, size);
    }
    const int mode = FALLOC_FL_KEEP_SIZE | (may_unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
    if (::fallocate(fd_, mode, static_cast<off_t>(offset), static_cast<off_t>(size)) == 0) return {};
    if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL) {
        return io_error(fmt::format("cannot write zeroes to '{}' at {}", path_, offset));
    }
    return write_zero_bytes(offset, size);
}

Result<void> RawFile::discard(u64 offset, u64 size) const {
    TANDEM_TRY(check_range("discard", offset, size));
    if (size == 0) return {};
    TANDEM_TRY(check_not_truncated(offset + size));
    int rc = 0;
    if (block_device_) {
        std::array<u64, 2> range{offset, size};
        rc = ::ioctl(fd_, BLKDISCARD, range.data());
    } else {
        rc = ::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                         static_cast<off_t>(size));
    }
    // A hint: a host that cannot give storage back keeps it.
    if (rc != 0 && errno != EOPNOTSUPP && errno != ENOSYS && errno != ENOTTY) {
        return io_error(fmt::format("cannot discard in '{}' at {}", path_, offset));
    }
    return {};
}

}  // namespace tandem::devices::block

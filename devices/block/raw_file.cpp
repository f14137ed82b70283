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
#include <cstdlib>
#include <utility>

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

RawFile::RawFile(RawFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      path_(std::move(other.path_)),
      size_(other.size_),
      block_device_(other.block_device_) {}

RawFile& RawFile::operator=(RawFile&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(path_, other.path_);
    std::swap(size_, other.size_);
    std::swap(block_device_, other.block_device_);
    return *this;
}

RawFile::~RawFile() {
    if (fd_ >= 0) ::close(fd_);
}

Result<RawFile> RawFile::open(const std::string& path, Access access) {
    const bool writable = access == Access::ReadWrite;
    const int fd = ::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return io_error(fmt::format("cannot open drive file '{}'{}", path, writable ? " for writing" : ""));
    RawFile file(fd, path, 0, false);
    TANDEM_TRY_ASSIGN(file.size_, measure(fd, path, file.block_device_));
    TANDEM_TRY(lock_file(fd, path, writable));
    if (file.size_ == 0) return invalid(fmt::format("drive file '{}' is empty", path));
    if (file.size_ % kSectorSize != 0) {
        return invalid(fmt::format("drive file '{}': size {} is not a multiple of {}", path, file.size_, kSectorSize));
    }
    return file;
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
    TANDEM_TRY(check_range("read", offset, out.size()));
    while (!out.empty()) {
        const ssize_t n = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return io_error(fmt::format("cannot read '{}' at {}", path_, offset));
        if (n == 0) return Error{Errc::Io, fmt::format("'{}' was truncated while in use: no data at {}", path_, offset)};
        offset += static_cast<u64>(n);
        out = out.subspan(static_cast<std::size_t>(n));
    }
    return {};
}

Result<void> RawFile::write(u64 offset, std::span<const u8> in) const {
    TANDEM_TRY(check_range("write", offset, in.size()));
    TANDEM_TRY(check_not_truncated(offset + in.size()));
    while (!in.empty()) {
        const ssize_t n = ::pwrite(fd_, in.data(), in.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return io_error(fmt::format("cannot write '{}' at {}", path_, offset));
        offset += static_cast<u64>(n);
        in = in.subspan(static_cast<std::size_t>(n));
    }
    return {};
}

Result<void> RawFile::flush() const {
    if (::fdatasync(fd_) != 0) return io_error(fmt::format("cannot flush '{}'", path_));
    return {};
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

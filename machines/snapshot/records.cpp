#include "machines/snapshot/records.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace tandem::machines::snapshot {
namespace {

constexpr std::array<char, 8> kMagic{'T', 'A', 'N', 'D', 'E', 'M', 'V', 'M'};

struct FileStart {
    std::array<char, 8> magic = kMagic;
    u32 version = kFileVersion;
    u32 zero = 0;
};
static_assert(sizeof(FileStart) == 16);

struct RecordStart {
    u32 kind = 0;
    u32 size = 0;
    u64 where = 0;
    u32 crc = 0;
    u32 zero = 0;
};
static_assert(sizeof(RecordStart) == 24);

u32 checksum(const RecordStart& start, std::span<const u8> bytes) {
    uLong crc = ::crc32(0, reinterpret_cast<const Bytef*>(&start), offsetof(RecordStart, crc));
    crc = ::crc32(crc, bytes.data(), static_cast<uInt>(bytes.size()));
    return static_cast<u32>(crc);
}

// Two programs that write one file at the same time would mix their bytes.
Result<void> lock_for_writing(int fd, const std::string& path) {
    struct flock request{};
    request.l_type = F_WRLCK;
    request.l_whence = SEEK_SET;
    if (::fcntl(fd, F_OFD_SETLK, &request) == 0 || (errno != EAGAIN && errno != EACCES)) return {};
    return Error{Errc::Busy, fmt::format("'{}' is being written by another program", path)};
}

Result<void> sync_directory(const std::string& path) {
    const std::string parent = std::filesystem::path(path).parent_path().string();
    const int fd = ::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return io_error(fmt::format("cannot open the directory of '{}'", path));
    (void)::fsync(fd);  // some file systems cannot, and then do not need to
    ::close(fd);
    return {};
}

}  // namespace

Result<RecordWriter> RecordWriter::create(std::string path) {
    const std::string part = path + ".part";
    const int fd = ::open(part.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return io_error(fmt::format("cannot create '{}'", part));
    File file(::fdopen(fd, "w+b"));
    if (!file) {
        ::close(fd);
        return io_error(fmt::format("cannot create '{}'", part));
    }
    TANDEM_TRY(lock_for_writing(fd, path));
    if (::ftruncate(fd, 0) != 0) return io_error(fmt::format("cannot empty '{}'", part));
    RecordWriter writer(std::move(path), std::move(file));
    const FileStart start;
    TANDEM_TRY(writer.put(&start, sizeof start));
    return writer;
}

RecordWriter::~RecordWriter() {
    if (file_) ::unlink(part().c_str());
}

Result<void> RecordWriter::put(const void* data, std::size_t size) {
    if (size != 0 && std::fwrite(data, 1, size, file_.get()) != size)
        return io_error(fmt::format("cannot write '{}'", part()));
    bytes_ += size;
    return {};
}

Result<void> RecordWriter::write(Kind kind, u64 where, std::span<const u8> bytes) {
    if (bytes.size() > kMaxRecord) {
        return Error{Errc::Unsupported, fmt::format("'{}': a record of {} bytes is too large", path_, bytes.size())};
    }
    RecordStart start{static_cast<u32>(kind), static_cast<u32>(bytes.size()), where, 0, 0};
    start.crc = checksum(start, bytes);
    TANDEM_TRY(put(&start, sizeof start));
    TANDEM_TRY(put(bytes.data(), bytes.size()));
    ++records_;
    return {};
}

Result<void> RecordWriter::finish() {
    TANDEM_TRY(write(Kind::End, records_, {}));
    if (std::fflush(file_.get()) != 0 || ::fsync(::fileno(file_.get())) != 0) {
        return io_error(fmt::format("cannot write '{}'", part()));
    }
    if (::rename(part().c_str(), path_.c_str()) != 0) return io_error(fmt::format("cannot rename to '{}'", path_));
    file_.reset();
    return sync_directory(path_);
}

Result<RecordReader> RecordReader::open(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return io_error(fmt::format("cannot open snapshot '{}'", path));
    File file(::fdopen(fd, "rb"));
    if (!file) {
        ::close(fd);
        return io_error(fmt::format("cannot open snapshot '{}'", path));
    }
    struct stat st{};
    if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return invalid(fmt::format("snapshot '{}' is not a file", path));
    RecordReader reader(path, std::move(file));
    TANDEM_TRY(reader.rewind());
    return reader;
}

Error RecordReader::corrupt(std::string_view what) const {
    return {Errc::Corrupt, fmt::format("snapshot '{}': {}", path_, what)};
}

Result<void> RecordReader::rewind() {
    struct stat st{};
    if (::fstat(::fileno(file_.get()), &st) != 0 || std::fseek(file_.get(), 0, SEEK_SET) != 0) {
        return io_error(fmt::format("cannot read snapshot '{}'", path_));
    }
    left_ = static_cast<u64>(st.st_size);
    records_ = 0;
    return read_start();
}

Result<void> RecordReader::read_start() {
    FileStart start;
    if (left_ < sizeof start) return corrupt("is not a saved machine (too short)");
    TANDEM_TRY(get(&start, sizeof start));
    if (start.magic != kMagic || start.zero != 0) return corrupt("is not a saved machine");
    if (start.version != kFileVersion) {
        return corrupt(fmt::format("has file version {}, this program reads {}", start.version, kFileVersion));
    }
    return {};
}

Result<void> RecordReader::get(void* to, std::size_t size) {
    if (size > left_) return corrupt("is truncated");
    if (std::fread(to, 1, size, file_.get()) != size) {
        return std::ferror(file_.get()) != 0 ? io_error(fmt::format("cannot read snapshot '{}'", path_))
                                             : corrupt("is truncated");
    }
    left_ -= size;
    return {};
}

Result<Record> RecordReader::next() {
    RecordStart start;
    TANDEM_TRY(get(&start, sizeof start));
    const auto damaged = [&] { return corrupt(fmt::format("record {} is damaged", records_)); };
    if (start.kind < static_cast<u32>(Kind::Header) || start.kind > static_cast<u32>(Kind::End)) return damaged();
    if (start.size > kMaxRecord || start.zero != 0) return damaged();
    Record record{static_cast<Kind>(start.kind), start.where, {}};
    if (start.size > left_) return corrupt("is truncated");
    record.bytes.resize(start.size);
    TANDEM_TRY(get(record.bytes.data(), start.size));
    if (checksum(start, record.bytes) != start.crc) return damaged();
    if (record.kind == Kind::End && (record.where != records_ || left_ != 0)) return corrupt("does not end where it should");
    ++records_;
    return record;
}

}  // namespace tandem::machines::snapshot

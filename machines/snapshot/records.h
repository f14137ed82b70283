// The container of a saved machine: a magic number and a version, then records, each with a checksum of its own.
//
//   file    "TANDEMVM" u32 version  u32 0
//   record  u32 kind  u32 size  u64 where  u32 crc  u32 0  `size` bytes
//   the last record is End; its `where` is the number of records before it
//
// All numbers little endian. crc is CRC-32 (ISO 3309) over kind, size, where and the bytes.
#pragma once

#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace tandem::machines::snapshot {

enum class Kind : u32 { Header = 1, State = 2, Memory = 3, Disk = 4, End = 5 };

constexpr u32 kFileVersion = 1;
constexpr u32 kMaxRecord = 64u << 20;

struct CloseFile {
    void operator()(std::FILE* f) const { std::fclose(f); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

// Writes to `path`.part, which becomes `path` in finish(), on stable storage: an earlier file of that name stays whole until
// then, whatever happens. Errors name the path and the host's reason; Busy: another program writes the same file.
class RecordWriter {
public:
    static Result<RecordWriter> create(std::string path);
    RecordWriter(RecordWriter&&) = default;
    RecordWriter& operator=(RecordWriter&&) = default;
    ~RecordWriter();  // without finish(): what was written is removed

    Result<void> write(Kind kind, u64 where, std::span<const u8> bytes);
    Result<void> finish();
    [[nodiscard]] u64 bytes_written() const { return bytes_; }

private:
    RecordWriter(std::string path, File file) : path_(std::move(path)), file_(std::move(file)) {}
    [[nodiscard]] std::string part() const { return path_ + ".part"; }
    Result<void> put(const void* data, std::size_t size);

    std::string path_;
    File file_;
    u64 records_ = 0;
    u64 bytes_ = 0;
};

struct Record {
    Kind kind = Kind::End;
    u64 where = 0;
    std::vector<u8> bytes;
};

// Reads records in order, with every check the container allows. Corrupt: not such a file, another version, a checksum that
// does not fit, an end that is missing; Io: the host's reason. All name the path.
class RecordReader {
public:
    static Result<RecordReader> open(const std::string& path);

    // The next record; after End nothing may follow.
    Result<Record> next();
    // Starts over with the first record.
    Result<void> rewind();
    [[nodiscard]] Error corrupt(std::string_view what) const;

private:
    RecordReader(std::string path, File file) : path_(std::move(path)), file_(std::move(file)) {}
    Result<void> get(void* to, std::size_t size);
    Result<void> read_start();

    std::string path_;
    File file_;
    u64 records_ = 0;
    u64 left_ = 0;  // bytes of the file that have not been read
};

}  // namespace tandem::machines::snapshot

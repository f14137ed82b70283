// Memory and drive contents as records: pages of zeros left out, the rest compressed.
#pragma once

#include <functional>
#include <memory>

#include "machines/machine.h"
#include "machines/snapshot/records.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace tandem::machines::snapshot {

// A piece of memory or of a drive. In a file: a bitmap with one bit for each 4 KiB page that follows (the others are zeros),
// then those pages as one zstd frame (RFC 8878).
constexpr u64 kPage = 4096;
constexpr u64 kChunk = 1 << 20;
constexpr u64 kBitmapBytes = kChunk / kPage / 8;

class PageCoder {
public:
    PageCoder();
    ~PageCoder();
    PageCoder(const PageCoder&) = delete;
    PageCoder& operator=(const PageCoder&) = delete;

    // `chunk` of at most kChunk bytes (a short last page counts as one); empty when all of it is zeros.
    Result<std::span<const u8>> encode(std::span<const u8> chunk);
    // The reverse, for a chunk of `size` bytes. False: the bytes contradict their format. The result is valid until the next
    // call.
    bool decode(std::span<const u8> bytes, u64 size, std::span<const u8>& chunk);

private:
    struct Free {
        void operator()(ZSTD_CCtx_s* c) const;
        void operator()(ZSTD_DCtx_s* d) const;
    };
    std::unique_ptr<ZSTD_CCtx_s, Free> compressor_;
    std::unique_ptr<ZSTD_DCtx_s, Free> decompressor_;
    std::vector<u8> pages_, packed_, chunk_;
};

Result<void> write_memory(RecordWriter& out, const devices::GuestMemory& memory);
Result<void> write_drives(RecordWriter& out, std::span<const NamedDrive> drives);

// Where the contents of a record belong, checked against the machine.
struct Place {
    devices::BlockBackend* drive = nullptr;  // null: memory at `at`
    u64 at = 0;
    std::span<const u8> bytes;
};
// False: the record does not fit the machine, or its bytes are malformed. `place.bytes` is valid until the coder's next
// call.
bool locate(const Record& record, const MachineParts& parts, PageCoder& coder, Place& place);

}  // namespace tandem::machines::snapshot

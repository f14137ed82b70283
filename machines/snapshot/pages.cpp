#include "machines/snapshot/pages.h"

#include <fmt/format.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>

namespace tandem::machines::snapshot {
namespace {

constexpr int kLevel = 1;  // memory is large, and its copy is read once

// A drive's record says which one above the bits that an offset needs.
constexpr unsigned kDriveShift = 56;

bool is_zero(std::span<const u8> page) {
    return page[0] == 0 && std::memcmp(page.data(), page.data() + 1, page.size() - 1) == 0;
}

}  // namespace

void PageCoder::Free::operator()(ZSTD_CCtx_s* c) const { ::ZSTD_freeCCtx(c); }
void PageCoder::Free::operator()(ZSTD_DCtx_s* d) const { ::ZSTD_freeDCtx(d); }

PageCoder::PageCoder() : compressor_(::ZSTD_createCCtx()), decompressor_(::ZSTD_createDCtx()) {}
PageCoder::~PageCoder() = default;

Result<std::span<const u8>> PageCoder::encode(std::span<const u8> chunk) {
    std::array<u8, kBitmapBytes> bitmap{};
    pages_.clear();
    for (u64 at = 0; at < chunk.size(); at += kPage) {
        const auto page = chunk.subspan(at, std::min(kPage, chunk.size() - at));
        if (is_zero(page)) continue;
        bitmap[at / kPage / 8] |= static_cast<u8>(1u << (at / kPage % 8));
        pages_.insert(pages_.end(), page.begin(), page.end());
    }
    if (pages_.empty()) return std::span<const u8>{};
    packed_.resize(kBitmapBytes + ::ZSTD_compressBound(pages_.size()));
    std::ranges::copy(bitmap, packed_.begin());
    const std::size_t size = ::ZSTD_compressCCtx(compressor_.get(), packed_.data() + kBitmapBytes,
                                                 packed_.size() - kBitmapBytes, pages_.data(), pages_.size(), kLevel);
    if (::ZSTD_isError(size) != 0) {
        return Error{Errc::Internal, fmt::format("cannot compress: {}", ::ZSTD_getErrorName(size))};
    }
    return std::span<const u8>(packed_).first(kBitmapBytes + size);
}

bool PageCoder::decode(std::span<const u8> bytes, u64 size, std::span<const u8>& chunk) {
    if (bytes.size() < kBitmapBytes || size == 0 || size > kChunk) return false;
    const auto present = [&](u64 page) { return (bytes[page / 8] >> (page % 8) & 1) != 0; };
    u64 expected = 0;
    for (u64 page = 0; page < kChunk / kPage; ++page) {
        if (!present(page)) continue;
        if (page * kPage >= size) return false;
        expected += std::min(kPage, size - page * kPage);
    }
    pages_.resize(kChunk);
    const auto packed = bytes.subspan(kBitmapBytes);
    const std::size_t got =
        ::ZSTD_decompressDCtx(decompressor_.get(), pages_.data(), pages_.size(), packed.data(), packed.size());
    if (::ZSTD_isError(got) != 0 || got != expected) return false;
    chunk_.assign(size, 0);
    u64 from = 0;
    for (u64 at = 0; at < size; at += kPage) {
        if (!present(at / kPage)) continue;
        const u64 n = std::min(kPage, size - at);
        std::memcpy(chunk_.data() + at, pages_.data() + from, n);
        from += n;
    }
    chunk = chunk_;
    return true;
}

Result<void> write_memory(RecordWriter& out, const devices::GuestMemory& memory) {
    PageCoder coder;
    for (const auto& range : memory.ranges()) {
        for (u64 at = 0; at < range.size; at += kChunk) {
            const std::span<const u8> chunk(range.host + at, std::min(kChunk, range.size - at));
            TANDEM_TRY_ASSIGN(const auto bytes, coder.encode(chunk));
            if (!bytes.empty()) TANDEM_TRY(out.write(Kind::Memory, range.gpa + at, bytes));
        }
    }
    return {};
}

Result<void> write_drives(RecordWriter& out, std::span<const NamedDrive> drives) {
    PageCoder coder;
    for (std::size_t i = 0; i < drives.size(); ++i) {
        TANDEM_TRY(drives[i].backend->read_changes([&](u64 offset, std::span<const u8> bytes) -> Result<void> {
            // Pieces of zeros too: the image below may have something else there.
            std::vector<u8> record(8);
            const u64 size = bytes.size();
            std::memcpy(record.data(), &size, sizeof size);
            TANDEM_TRY_ASSIGN(const auto packed, coder.encode(bytes));
            record.insert(record.end(), packed.begin(), packed.end());
            return out.write(Kind::Disk, static_cast<u64>(i) << kDriveShift | offset, record);
        }));
    }
    return {};
}

namespace {

bool locate_memory(const Record& record, const MachineParts& parts, PageCoder& coder, Place& place) {
    for (const auto& range : parts.memory.ranges()) {
        if (record.where < range.gpa || record.where - range.gpa >= range.size) continue;
        const u64 offset = record.where - range.gpa;
        if (offset % kChunk != 0) return false;
        place = {nullptr, record.where, {}};
        return coder.decode(record.bytes, std::min(kChunk, range.size - offset), place.bytes);
    }
    return false;
}

bool locate_drive(const Record& record, const MachineParts& parts, PageCoder& coder, Place& place) {
    static constexpr std::array<u8, kChunk> kZeros{};
    const u64 index = record.where >> kDriveShift;
    const u64 offset = record.where & ((u64{1} << kDriveShift) - 1);
    u64 size = 0;
    if (index >= parts.drives.size() || record.bytes.size() < sizeof size) return false;
    std::memcpy(&size, record.bytes.data(), sizeof size);
    devices::BlockBackend& drive = *parts.drives[index].backend;
    const u64 end = drive.size_bytes();
    if (!drive.holds_changes() || size == 0 || size > kChunk || offset > end || size > end - offset) return false;
    place = {&drive, offset, std::span(kZeros).first(size)};
    return record.bytes.size() == sizeof size ||
           coder.decode(std::span(record.bytes).subspan(sizeof size), size, place.bytes);
}

}  // namespace

bool locate(const Record& record, const MachineParts& parts, PageCoder& coder, Place& place) {
    if (record.kind == Kind::Memory) return locate_memory(record, parts, coder, place);
    return record.kind == Kind::Disk && locate_drive(record, parts, coder, place);
}

}  // namespace tandem::machines::snapshot

// Reads of what the host's page cache holds, for a thread that must not wait for a disk.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <span>

#include "base/types.h"

namespace tandem::devices::block {

class PageCache {
public:
    // Of the file `fd`, of `size` bytes, which stays the owner's and open. Any thread may read.
    PageCache(int fd, u64 size) : fd_(fd), size_(size) {}
    ~PageCache();
    PageCache(const PageCache&) = delete;
    PageCache& operator=(const PageCache&) = delete;

    // True: all of it was there and has been read. False: some of it was not, or the host cannot say; the parts may have
    // been filled to some extent. The range lies within the file.
    [[nodiscard]] bool read(u64 offset, std::span<const iovec> parts);

private:
    enum class Way : u8 { NoWait, Resident, None };
    // Whether the file's pages are in memory, as mincore(2) tells.
    [[nodiscard]] bool resident(u64 offset, u64 size) const;
    // Maps the file for resident(), where the answer may be trusted.
    void map();

    const int fd_;
    const u64 size_;
    std::atomic<Way> way_{Way::NoWait};
    std::atomic<u8*> mapped_{nullptr};
};

}  // namespace tandem::devices::block

#include "devices/block/page_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "base/bits.h"
#include "devices/block/raw_file.h"

namespace tandem::devices::block {
namespace {

constexpr u64 kPage = 4096;
constexpr u64 kMostPages = 1024;

// Where neither is the case mincore() answers that everything is in memory.
bool answers_mincore(int fd) {
    struct stat st{};
    if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || ::sysconf(_SC_PAGESIZE) != kPage) return false;
    return st.st_uid == ::geteuid() || (::fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR;
}

}  // namespace

PageCache::~PageCache() {
    if (u8* mapped = mapped_.load(); mapped != nullptr) ::munmap(mapped, size_);
}

bool PageCache::read(u64 offset, std::span<const iovec> parts) {
    const Way way = way_.load(std::memory_order_acquire);
    const u64 size = size_of(parts);
    if (way == Way::None || parts.size() > IOV_MAX || size == 0) return false;
    const bool trusted = way == Way::Resident;
    if (trusted && !resident(offset, size)) return false;
    const ssize_t n =
        ::preadv2(fd_, parts.data(), static_cast<int>(parts.size()), static_cast<off_t>(offset), trusted ? 0 : RWF_NOWAIT);
    if (n == static_cast<ssize_t>(size)) return true;
    if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS) && !trusted) {
        map();
        return way_.load() == Way::Resident && read(offset, parts);
    }
    return false;
}

bool PageCache::resident(u64 offset, u64 size) const {
    const u64 begin = align_down(offset, kPage), end = align_up(offset + size, kPage);
    std::array<unsigned char, kMostPages> pages;
    if (end - begin > kMostPages * kPage) return false;
    if (::mincore(mapped_.load(std::memory_order_acquire) + begin, end - begin, pages.data()) != 0) return false;
    return std::all_of(pages.begin(), pages.begin() + static_cast<std::ptrdiff_t>((end - begin) / kPage),
                       [](unsigned char p) { return (p & 1) != 0; });
}

// The mapping is never read, so a file that becomes shorter does no harm.
void PageCache::map() {
    void* p = answers_mincore(fd_) ? ::mmap(nullptr, size_, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd_, 0) : MAP_FAILED;
    u8* expected = nullptr;
    if (p != MAP_FAILED && !mapped_.compare_exchange_strong(expected, static_cast<u8*>(p))) ::munmap(p, size_);
    way_.store(mapped_.load() != nullptr ? Way::Resident : Way::None, std::memory_order_release);
}

}  // namespace tandem::devices::block

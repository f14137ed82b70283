#include "jit/baseline/code_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cstdlib>

#include "base/bits.h"

namespace tandem::jit::baseline {

namespace {

constexpr u64 kMaxBytes = u64{1} << 30;
constexpr u64 kReach = (u64{1} << 31) - (u64{1} << 20);

// Maps the code executable, preferably within reach of `near`: probes a few places below and above it.
void* map_executable(int fd, u64 bytes, const void* near) {
    const u64 anchor = align_down(reinterpret_cast<u64>(near), u64{1} << 20);
    constexpr u64 kStep = u64{64} << 20;
    for (u64 distance = kStep + bytes; near != nullptr && distance + bytes < kReach; distance += kStep) {
        for (const u64 at : {anchor - distance, anchor + distance}) {
            void* p =
                mmap(reinterpret_cast<void*>(at), bytes, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
            if (p == reinterpret_cast<void*>(at)) return p;
            if (p != MAP_FAILED) munmap(p, bytes);
        }
    }
    return mmap(nullptr, bytes, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
}

}  // namespace

Result<std::unique_ptr<CodeMemory>> CodeMemory::create(u64 bytes, const void* near) {
    if (bytes == 0 || bytes > kMaxBytes) {
        return invalid(fmt::format("code cache of {} bytes: must be at least 1 and at most {}", bytes, kMaxBytes));
    }
    bytes = align_up(bytes, u64{64} << 10);
    std::unique_ptr<CodeMemory> m(new CodeMemory);
    m->bytes_ = bytes;
    m->granules_ = static_cast<u32>(bytes / kGranule);
    m->table_.reset(static_cast<Granule*>(std::calloc(m->granules_, sizeof(Granule))));
    if (!m->table_) return io_error("cannot allocate the code cache's table");
    const int fd = memfd_create("tandem-code", MFD_CLOEXEC);
    if (fd < 0) return io_error("cannot create code memory");
    if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
        close(fd);
        return io_error("cannot size code memory");
    }
    void* w = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    void* x = map_executable(fd, bytes, near);
    close(fd);
    if (w != MAP_FAILED) m->write_ = static_cast<u8*>(w);
    if (x != MAP_FAILED) m->execute_ = static_cast<u8*>(x);
    if (!m->write_ || !m->execute_) return io_error("cannot map code memory");
    for (u32& head : m->heads_) head = kNone;
    m->insert(0, m->granules_);
    return m;
}

CodeMemory::~CodeMemory() {
    if (write_) munmap(write_, bytes_);
    if (execute_) munmap(execute_, bytes_);
}

bool CodeMemory::reaches(const void* p) const {
    const u64 at = reinterpret_cast<u64>(p);
    const u64 low = reinterpret_cast<u64>(execute_);
    const u64 high = low + bytes_;
    return (at >= low ? at - low : high - at) < kReach && (at >= high ? at - low : high - at) < kReach;
}

// Class of an extent that is at least as large as every request of the class.
unsigned CodeMemory::class_of(u32 granules) {
    if (granules < (1u << kSubBits)) return granules;
    const unsigned log = static_cast<unsigned>(std::bit_width(granules)) - 1;
    const unsigned sub = (granules >> (log - kSubBits)) & ((1u << kSubBits) - 1);
    return (log - kSubBits + 1) << kSubBits | sub;
}

void CodeMemory::set_tag(u32 first, u32 granules, u32 flag) {
    table_[first].tag = granules | flag;
    table_[first + granules - 1].tag = granules | flag;
}

void CodeMemory::insert(u32 first, u32 granules) {
    set_tag(first, granules, 0);
    const unsigned c = class_of(granules);
    table_[first].next = heads_[c];
    table_[first].previous = kNone;
    if (heads_[c] != kNone) table_[heads_[c]].previous = first;
    heads_[c] = first;
    occupied_[c / 64] |= u64{1} << (c % 64);
}

void CodeMemory::remove(u32 first) {
    const Granule& g = table_[first];
    const unsigned c = class_of(g.tag);
    if (g.next != kNone) table_[g.next].previous = g.previous;
    if (g.previous != kNone) {
        table_[g.previous].next = g.next;
        return;
    }
    heads_[c] = g.next;
    if (g.next == kNone) occupied_[c / 64] &= ~(u64{1} << (c % 64));
}

// A good fit of the request's own class, else the first extent of a class all of whose members fit, else any that fits.
u32 CodeMemory::find(u32 granules) const {
    constexpr unsigned kTries = 8;
    const unsigned own = class_of(granules);
    u32 e = heads_[own];
    for (unsigned n = 0; n < kTries && e != kNone; ++n, e = table_[e].next) {
        if (table_[e].tag >= granules) return e;
    }
    for (unsigned c = own + 1; c < kClasses; c = (c / 64 + 1) * 64) {
        const u64 word = occupied_[c / 64] & ~mask(c % 64);
        if (word != 0) return heads_[c / 64 * 64 + static_cast<unsigned>(std::countr_zero(word))];
    }
    while (e != kNone && table_[e].tag < granules) e = table_[e].next;
    return e;
}

u8* CodeMemory::allocate(u32 bytes) {
    const u32 want = static_cast<u32>((u64{bytes} + kGranule - 1) / kGranule);
    if (want == 0 || want > granules_) return nullptr;
    const u32 first = find(want);
    if (first == kNone) return nullptr;
    const u32 have = table_[first].tag;
    remove(first);
    if (have > want) insert(first + want, have - want);
    set_tag(first, want, kUsed);
    used_ += u64{want} * kGranule;
    return execute_ + u64{first} * kGranule;
}

void CodeMemory::release(const u8* code) {
    u32 first = static_cast<u32>(static_cast<u64>(code - execute_) / kGranule);
    u32 size = table_[first].tag & ~kUsed;
    used_ -= u64{size} * kGranule;
    if (const u32 after = first + size; after < granules_ && (table_[after].tag & kUsed) == 0) {
        size += table_[after].tag;
        remove(after);
    }
    if (first > 0 && (table_[first - 1].tag & kUsed) == 0) {
        const u32 before = table_[first - 1].tag;
        first -= before;
        remove(first);
        size += before;
    }
    insert(first, size);
}

u32 CodeMemory::free_extents() const {
    u32 n = 0;
    for (u32 g = 0; g < granules_; g += table_[g].tag & ~kUsed) n += (table_[g].tag & kUsed) == 0;
    return n;
}

u64 CodeMemory::largest_free() const {
    u32 best = 0;
    for (u32 g = 0; g < granules_; g += table_[g].tag & ~kUsed) {
        if ((table_[g].tag & kUsed) == 0 && table_[g].tag > best) best = table_[g].tag;
    }
    return u64{best} * kGranule;
}

}  // namespace tandem::jit::baseline

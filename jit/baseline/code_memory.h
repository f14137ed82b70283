// Memory for generated code: one contiguous range, mapped twice. Code is written through one mapping and executed through
// the other, so no page is ever writable and executable at the same address. Not thread-safe: the dispatcher's lock guards
// it.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace tandem::jit::baseline {

class CodeMemory {
public:
    static constexpr u32 kGranule = 32;  // bytes; sizes are multiples of it and blocks are aligned to it

    // `bytes` is rounded up to whole pages; at most 1 GiB, so that any two addresses are within reach of a rel32. `near` is
    // an address outside that generated code calls: the range is placed within reach of it where possible. Errors: Io,
    // InvalidArgument.
    static Result<std::unique_ptr<CodeMemory>> create(u64 bytes, const void* near);
    ~CodeMemory();
    CodeMemory(const CodeMemory&) = delete;
    CodeMemory& operator=(const CodeMemory&) = delete;

    // The executable address of `bytes` of memory, or null when no free extent is large enough.
    u8* allocate(u32 bytes);
    // Gives back what allocate() returned; adjacent free extents merge at once.
    void release(const u8* code);

    [[nodiscard]] u8* writable(const u8* executable) const { return write_ + (executable - execute_); }
    [[nodiscard]] bool contains(const void* p) const {
        const u8* b = static_cast<const u8*>(p);
        return b >= execute_ && b < execute_ + bytes_;
    }
    // True when every byte of the range can reach `p` by a signed 32-bit displacement.
    [[nodiscard]] bool reaches(const void* p) const;
    [[nodiscard]] u64 used() const { return used_; }
    [[nodiscard]] u64 capacity() const { return bytes_; }
    // For tests: number of free extents and the size in bytes of the largest.
    [[nodiscard]] u32 free_extents() const;
    [[nodiscard]] u64 largest_free() const;

private:
    // Two-level segregated fit. Extents are counted in granules; the first and last granule of each carry its tag.
    static constexpr unsigned kSubBits = 3;
    static constexpr unsigned kClasses = 32u << kSubBits;
    static constexpr u32 kNone = ~u32{0};
    static constexpr u32 kUsed = 1u << 31;

    struct Granule {
        u32 tag = 0;  // extent size, with kUsed
        u32 next = kNone;
        u32 previous = kNone;
    };
    struct Unmap {
        void operator()(Granule* g) const { std::free(g); }
    };

    CodeMemory() = default;
    static unsigned class_of(u32 granules);
    void insert(u32 first, u32 granules);
    void remove(u32 first);
    void set_tag(u32 first, u32 granules, u32 flag);
    u32 find(u32 granules) const;

    u8* write_ = nullptr;
    u8* execute_ = nullptr;
    u64 bytes_ = 0;
    u64 used_ = 0;
    u32 granules_ = 0;
    std::unique_ptr<Granule[], Unmap> table_;
    u32 heads_[kClasses];
    u64 occupied_[kClasses / 64] = {};
};

}  // namespace tandem::jit::baseline

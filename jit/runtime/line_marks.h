// Which vCPUs have marked which lines of memory by Load-Exclusive, so that Store-Exclusive sees stores by other vCPUs that
// put back the value that was loaded. A table of cells, one for all the lines that share a hash; a cell has a bit for each
// vCPU, and one that is set while a Store-Exclusive stores. Exclusive stores and atomics look here, ordinary stores only on
// pages that are watched (Core::watch).
//
// A mark (own bit set) says: no other vCPU has stored there by either since it was set.
//   Load-Exclusive    sees that the own bit is set, or sets it; then loads
//   Store-Exclusive   own bit set and not locked -> locked, in one step, which takes all marks; or fails. Then compares and
//                     swaps, then unlocks, leaving the own bit alone
//   atomics           when another's bit is set or the cell is locked: wait until it is not locked and take those bits, in
//                     one step; then do what they do
// Between the load L and the compare-and-swap S of a Store-Exclusive that succeeds no other one has stored: had it locked
// the cell between mark and own lock, it would have taken the mark; had it locked before and stored after L, it would have
// taken the mark when unlocking, and until then the cell cannot be locked again; and after the own lock it has to wait for
// S. An atomic that looked at the cell after the mark has taken it, or found the lock and waited for S. One that had looked
// before may still store after L, one for each other vCPU; S sees any of them by the value, unless two cancel each other out
// that neither waited for the other. The host keeps the order: all steps but the looks are locked operations, and x86 does
// not move loads over earlier loads, nor locked operations over anything.
//
// Somebody always gets on: a mark is lost only to a store, and to a Store-Exclusive whose value another store has changed.
// More lines with one hash than one cost failures, no more. vCPUs beyond the 31st share a bit and with it what it says.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>

#include "jit/guest/frame.h"
#include "jit/guest/spin.h"

namespace tandem::jit {

class LineMarks {
public:
    using Cell = std::atomic<u32>;
    static constexpr u32 kLocked = 1u << 31;
    // Cells lie a host's cache line apart, which is also the size of the lines that are marked.
    static constexpr unsigned kStrideBits = 6, kCellBits = 12;
    static constexpr u64 kBytes = u64{1} << (kStrideBits + kCellBits);
    static constexpr u64 kOffsetMask = kBytes - (u64{1} << kStrideBits);
    // Of the cell of a host address, in bytes: (address ^ address >> kCellBits) & kOffsetMask.
    static constexpr u64 offset(u64 host) { return (host ^ host >> kCellBits) & kOffsetMask; }

    // The table is not touched, nor does it take memory, before marks are used.
    LineMarks() : memory_(std::calloc(1, kBytes + (u64{1} << kStrideBits))) {
        if (!memory_) throw std::bad_alloc();
    }

    // vCPUs come and go under the translator's lock.
    void give(FrameHeader& header) {
        const u32 free = ~given_ & ~kLocked;
        header.own_mark = free != 0 ? free & (0 - free) : kLocked >> 1;
        header.other_marks = ~header.own_mark;
        header.line_marks = reinterpret_cast<Cell*>((reinterpret_cast<u64>(memory_.get()) | ((1u << kStrideBits) - 1)) + 1);
        given_ |= header.own_mark;
    }
    void take(const FrameHeader& header) { given_ &= ~header.own_mark; }

    // --- The vCPU's thread. `host`: the first byte of the access, which does not cross lines.

    static void mark(const FrameHeader& header, const void* host) {
        Cell& c = cell(header, host);
        if ((unlocked(c) & header.own_mark) == 0) c.fetch_or(header.own_mark, std::memory_order_seq_cst);
    }
    // False: the mark is gone. Else release() must follow, without anything that may fail in between.
    [[nodiscard]] static bool claim(const FrameHeader& header, const void* host) {
        Cell& c = cell(header, host);
        u32 seen = unlocked(c);
        do {
            if ((seen & header.own_mark) == 0 || (seen & kLocked) != 0) return false;
        } while (!c.compare_exchange_weak(seen, kLocked, std::memory_order_seq_cst, std::memory_order_acquire));
        return true;
    }
    static void release(const FrameHeader& header, const void* host) {
        cell(header, host).store(header.own_mark, std::memory_order_release);
    }
    static void clear_others(const FrameHeader& header, const void* host) {
        Cell& c = cell(header, host);
        for (u32 seen = unlocked(c); (seen & header.other_marks) != 0;) {
            if ((seen & kLocked) != 0) {
                seen = unlocked(c);
            } else if (c.compare_exchange_weak(seen, seen & header.own_mark, std::memory_order_seq_cst,
                                               std::memory_order_acquire)) {
                return;
            }
        }
    }
    // The vCPU's marks of all lines.
    static void drop(const FrameHeader& header) {
        for (u64 at = 0; at < kBytes; at += u64{1} << kStrideBits) {
            Cell& c = at_offset(header, at);
            if ((c.load(std::memory_order_relaxed) & header.own_mark) != 0) c.fetch_and(~header.own_mark);
        }
    }

private:
    struct Free {
        void operator()(void* p) const { std::free(p); }
    };

    static Cell& at_offset(const FrameHeader& header, u64 bytes) { return header.line_marks[bytes / sizeof(Cell)]; }
    static Cell& cell(const FrameHeader& header, const void* host) {
        return at_offset(header, offset(reinterpret_cast<u64>(host)));
    }
    // The cell's content; waits while it is locked, which is for a few host instructions unless the host stops that thread.
    static u32 unlocked(const Cell& c) {
        constexpr unsigned kSpins = 64;
        u32 seen = c.load(std::memory_order_acquire);
        for (unsigned spins = 0; (seen & kLocked) != 0; ++spins) {
            if (spins < kSpins) {
                spin_wait(1);
            } else {
                sched_yield();
            }
            seen = c.load(std::memory_order_acquire);
        }
        return seen;
    }

    std::unique_ptr<void, Free> memory_;
    u32 given_ = 0;
};

}  // namespace tandem::jit

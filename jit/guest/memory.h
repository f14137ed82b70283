// Guest memory as helpers and page walks see it. Implemented by jit/runtime; used by cpu/.
// All functions: the vCPU's own thread only.
#pragma once

#include <array>

#include "base/types.h"
#include "jit/guest/frame.h"

namespace tandem::jit {

enum class Access : u8 { Read, Write, Execute };

// Virtual accesses through the soft TLB, little endian, any alignment, page crossings handled (both pages are checked before
// anything is written). `state` is the frame pointer; `mmu` an MMU index of the guest.
// False: the access raised an exception, now pending in the guest state (or must be retried on the interpreter: see
// leave_status()); the caller undoes nothing, writes no state and returns at once.
bool load_bytes(void* state, u64 va, unsigned mmu, void* out, unsigned size);
bool store_bytes(void* state, u64 va, unsigned mmu, const void* in, unsigned size);
// Checks that `size` bytes at va (1..4096, at most one page crossing) allow `access`, without accessing them.
bool probe(void* state, u64 va, unsigned mmu, Access access, unsigned size);
// The LeaveReason a kMayLeave helper returns after one of the functions above said false.
ir::LeaveReason leave_status(const void* state);

template <class T>
bool load(void* state, u64 va, unsigned mmu, T& out) {
    return load_bytes(state, va, mmu, &out, sizeof(T));
}
template <class T>
bool store(void* state, u64 va, unsigned mmu, const T& value) {
    return store_bytes(state, va, mmu, &value, sizeof(T));
}

// Compare and swap of 16 bytes at va (a multiple of 16) as one atomic access: host memory by the host's own instruction,
// also on pages with translated code; on a device's page atomic against other locked accesses. `seen` receives what was
// there; memory becomes `desired` when that equals `expected`, and counts as written either way. `flags`: the MMU index and
// ir::MemFlags::kExclusive or kClearsMarks.
bool compare_and_swap_16(void* state, u64 va, u32 flags, const std::array<u64, 2>& expected,
                         const std::array<u64, 2>& desired, std::array<u64, 2>& seen);

// What ir::MemFlags::kExclusive makes of a load and kClearsMarks of an atomic, for helpers that do either by other means:
// marks the line of va, which is about to be read (false as load_bytes()), or takes other vCPUs' marks from that of a host
// address that is about to be written.
bool mark_line(void* state, u64 va, unsigned mmu);
// Before a line is marked: from now on ordinary stores of other vCPUs take its mark as well, as do those to the rest of its
// page. False as load_bytes().
bool watch_line(void* state, u64 va, unsigned mmu);
void clear_line_marks(void* state, const void* host);

// The longest run from va, up to `want` bytes and never past its page, that is plain host memory and allows `access`:
// its host pointer and length. Null when the page is MMIO, holds translated code (for writes), or the access faults;
// the caller then goes byte by byte through load/store, which do the right thing. For string instructions.
u8* direct_span(void* state, u64 va, unsigned mmu, Access access, u64 want, u64& length);

// Physical memory, for page walks: 0 or all-ones semantics of unmapped memory are the bus's.
u64 phys_load(void* state, u64 gpa, unsigned size);
void phys_store(void* state, u64 gpa, u64 value, unsigned size);
// Atomic compare-and-swap of an aligned 4- or 8-byte table entry; true when `expected` was there. Sees self-modifying code.
bool phys_cas(void* state, u64 gpa, u64 expected, u64 desired, unsigned size);

// TLB maintenance of this vCPU. A flush reaches all address spaces.
void tlb_flush(void* state, bool keep_global);
void tlb_flush_page(void* state, u64 va);
// `pages` of kPageSize from va on; costs as much for very many as for some.
void tlb_flush_range(void* state, u64 va, u64 pages);
// Guest::address_space() may have changed, which by itself invalidates nothing: what was there under the same address space
// before is used again.
void tlb_switch(void* state);
// Invalidates everything but global translations of the address spaces with that AddressSpace::id.
void tlb_flush_space(void* state, u64 id);

}  // namespace tandem::jit

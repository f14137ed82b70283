// jit/guest/memory.h and jit/runtime/slow_paths.h on top of Vcpu.
#include "jit/guest/memory.h"

#include <algorithm>
#include <array>
#include <bit>
#include <bitset>
#include <cstring>

#include "base/bits.h"
#include "jit/guest/physical.h"
#include "jit/guest/strict.h"
#include "jit/guest/worlds.h"
#include "jit/ir/strict.h"
#include "jit/runtime/line_marks.h"
#include "jit/runtime/slow_paths.h"
#include "jit/runtime/vcpu.h"

namespace tandem::jit {
namespace {

using ir::LeaveReason;
using ir::MemFlags;
using ir::Op;

// An access as access_spec() packs it.
struct Spec {
    explicit Spec(u32 packed)
        : flags(packed & 0xffff),
          size(packed >> 16 & 0xff),
          element(packed >> 24),
          op(static_cast<Op>(static_cast<unsigned>(Op::AtomicXchg) + (packed >> 24))) {}
    [[nodiscard]] unsigned mmu() const { return flags & MemFlags::kMmuMask; }
    // What strict pages ask for.
    [[nodiscard]] unsigned alignment() const { return ir::StrictAlignment::bytes(flags, element != 0 ? element : size); }
    u32 flags;
    unsigned size;
    unsigned element;  // of a masked access: its bytes; else 0
    Op op;
};

u64 combine(Op op, u64 old, u64 a, u64 b) {
    switch (op) {
        case Op::AtomicAdd: return old + a;
        case Op::AtomicAnd: return old & a;
        case Op::AtomicOr: return old | a;
        case Op::AtomicXor: return old ^ a;
        case Op::AtomicCas: return old == a ? b : old;
        default: return a;
    }
}

// Misaligned addresses within a page are atomic on the host too (Intel SDM vol. 3, 9.1.2.2 "Software Controlled Bus
// Locking").
template <class T>
__attribute__((no_sanitize("alignment"))) u64 host_atomic(u8* host, Op op, u64 a, u64 b) {
    T* p = reinterpret_cast<T*>(host);
    const T operand = static_cast<T>(a);
    constexpr int kOrder = __ATOMIC_SEQ_CST;
    switch (op) {
        case Op::AtomicAdd: return __atomic_fetch_add(p, operand, kOrder);
        case Op::AtomicAnd: return __atomic_fetch_and(p, operand, kOrder);
        case Op::AtomicOr: return __atomic_fetch_or(p, operand, kOrder);
        case Op::AtomicXor: return __atomic_fetch_xor(p, operand, kOrder);
        case Op::AtomicCas: {
            T expected = operand;
            __atomic_compare_exchange_n(p, &expected, static_cast<T>(b), false, kOrder, kOrder);
            return expected;
        }
        default: return __atomic_exchange_n(p, operand, kOrder);
    }
}

u64 host_atomic(u8* host, unsigned size, Op op, u64 a, u64 b) {
    switch (size) {
        case 1: return host_atomic<u8>(host, op, a, b);
        case 2: return host_atomic<u16>(host, op, a, b);
        case 4: return host_atomic<u32>(host, op, a, b);
        default: return host_atomic<u64>(host, op, a, b);
    }
}

// `expected` becomes what was there.
void host_compare_and_swap_16(u8* host, std::array<u64, 2>& expected, const std::array<u64, 2>& desired) {
#if defined(__x86_64__)
    asm volatile("lock cmpxchg16b %[memory]"
                 : [memory] "+m"(*reinterpret_cast<u128*>(host)), "+a"(expected[0]), "+d"(expected[1])
                 : "b"(desired[0]), "c"(desired[1])
                 : "memory", "cc");
#else
    u128 old = static_cast<u128>(expected[1]) << 64 | expected[0];
    const u128 wanted = static_cast<u128>(desired[1]) << 64 | desired[0];
    __atomic_compare_exchange_n(reinterpret_cast<u128*>(host), &old, wanted, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    expected = {static_cast<u64>(old), static_cast<u64>(old >> 64)};
#endif
}

bool is_exclusive(u32 flags) { return (flags & MemFlags::kExclusive) != 0; }

bool mark_line(Vcpu& v, u64 va, unsigned mmu, bool misaligned) {
    Vcpu::Place place;
    if (!v.resolve(va, mmu, Access::Read, place, misaligned)) return false;
    if (place.host != nullptr) LineMarks::mark(v.header(), place.host);
    return true;
}

// The atomic of a place in host memory, with what its flags say of marks.
u64 marked_atomic(const FrameHeader& header, u8* host, const Spec& s, u64 a, u64 b) {
    const u64 expected = a & mask(s.size * 8);
    if (is_exclusive(s.flags)) {
        if (!LineMarks::claim(header, host)) return ~expected & mask(s.size * 8);
        const u64 old = host_atomic(host, s.size, s.op, a, b);
        LineMarks::release(header, host);
        return old;
    }
    if ((s.flags & MemFlags::kClearsMarks) == 0) return host_atomic(host, s.size, s.op, a, b);
    // What stores nothing takes no marks away, so that who waits for a value in a loop of these hinders nobody.
    if (s.op == Op::AtomicCas) {
        const u64 old = host_atomic(host, s.size, Op::AtomicAdd, 0, 0);
        if (old != expected) return old;
    }
    LineMarks::clear_others(header, host);
    return host_atomic(host, s.size, s.op, a, b);
}

// Page crossings and the bus: not atomic against plain accesses, only against each other.
bool locked_atomic(Vcpu& v, u64 va, const Spec& s, u64 a, u64 b, u64& old) {
    std::lock_guard guard(v.core().atomics_lock());
    old = 0;
    if (!v.read(va, s.mmu(), Access::Write, &old, s.size, s.size)) return false;
    const u64 value = combine(s.op, old, a & mask(s.size * 8), b) & mask(s.size * 8);
    return v.write(va, s.mmu(), &value, s.size);
}

bool atomic(Vcpu& v, u64 va, const Spec& s, u64 a, u64 b, u64& old) {
    if (!v.check_alignment(va, s.flags, s.size, Access::Write)) return false;
    if ((va & ~kPageMask) + s.size > kPageSize) return locked_atomic(v, va, s, a, b, old);
    Vcpu::Place place;
    if (!v.resolve(va, s.mmu(), Access::Write, place, (va & (s.size - 1)) != 0)) return false;
    if (!v.strictly_aligned(place, va, s.size, Access::Write)) return false;
    if (place.host == nullptr) return locked_atomic(v, va, s, a, b, old);
    const Vcpu::WriteVerdict verdict = v.judge_write(place, s.size);
    if (verdict == Vcpu::WriteVerdict::Defer) return v.fail(LeaveReason::Interpret);
    old = marked_atomic(v.header(), place.host, s, a, b);
    if (verdict == Vcpu::WriteVerdict::Code) v.core().written(place.phys, s.size);
    return true;
}

// Which bytes a masked access touches.
std::bitset<32> masked_bytes(const Spec& s, const u64* mask) {
    std::bitset<32> bytes;
    for (unsigned n = 0; n < s.size; ++n) {
        const unsigned top = n / s.element * s.element + s.element - 1;
        bytes[n] = (reinterpret_cast<const u8*>(mask)[top] & 0x80) != 0;
    }
    return bytes;
}

// Calls access(offset, length) for each run of bytes that are set, until it says false.
template <class F>
bool for_runs(const std::bitset<32>& bytes, F access) {
    for (unsigned n = 0; n < bytes.size();) {
        unsigned end = n;
        while (end < bytes.size() && bytes[end]) ++end;
        if (end != n && !access(n, end - n)) return false;
        n = end == n ? n + 1 : end;
    }
    return true;
}

// The guest's check of the addresses of all bytes comes before any page is looked at.
bool check_addresses(Vcpu& v, u64 va, const std::bitset<32>& bytes) {
    return for_runs(bytes, [&](unsigned at, unsigned size) {
        return v.core().guest().check_crossing(v.state(), va + at, size) || v.fail(LeaveReason::Exception);
    });
}

bool masked_load(Vcpu& v, u64 va, const Spec& s, u8* value) {
    const auto bytes = masked_bytes(s, &v.header().scratch[kScratchMask]);
    return check_addresses(v, va, bytes) && for_runs(bytes, [&](unsigned at, unsigned size) {
               return v.read(va + at, s.mmu(), Access::Read, value + at, size);
           });
}

// Every page is checked before the first byte is written.
bool masked_store(Vcpu& v, u64 va, const Spec& s, const u8* value) {
    const auto bytes = masked_bytes(s, &v.header().scratch[kScratchMask]);
    return check_addresses(v, va, bytes) &&
           for_runs(bytes,
                    [&](unsigned at, unsigned size) { return probe(v.state(), va + at, s.mmu(), Access::Write, size); }) &&
           for_runs(bytes, [&](unsigned at, unsigned size) { return v.write(va + at, s.mmu(), value + at, size); });
}

u32 status(const Vcpu& v, bool done) { return static_cast<u32>(done ? LeaveReason::None : v.leave_status()); }

}  // namespace

extern "C" {

u32 tandem_slow_load(void* state, u64 va, u32 spec) {
    Vcpu& v = Vcpu::of(state);
    const Spec s(spec);
    const Access access = (s.flags & MemFlags::kForWrite) != 0 ? Access::Write : Access::Read;
    u64 value[4] = {};
    const bool done = v.check_alignment(va, s.flags, s.size, access) &&
                      (!is_exclusive(s.flags) || mark_line(v, va, s.mmu(), (va & (s.alignment() - 1)) != 0)) &&
                      (s.element != 0 ? masked_load(v, va, s, reinterpret_cast<u8*>(value))
                                      : v.read(va, s.mmu(), access, value, s.size, s.alignment()));
    std::memcpy(v.header().scratch, value, std::max(s.size, 16u));
    return status(v, done);
}

u32 tandem_slow_store(void* state, u64 va, u32 spec, u64 low, u64 high) {
    Vcpu& v = Vcpu::of(state);
    const Spec s(spec);
    u64 value[4] = {low, high};
    if (s.size > sizeof low + sizeof high) std::memcpy(value, v.header().scratch, sizeof value);
    if (!v.check_alignment(va, s.flags, s.size, Access::Write)) return status(v, false);
    return status(v, s.element != 0 ? masked_store(v, va, s, reinterpret_cast<const u8*>(value))
                                    : v.write(va, s.mmu(), value, s.size, s.alignment()));
}

u32 tandem_slow_atomic(void* state, u64 va, u32 spec, u64 a, u64 b) {
    Vcpu& v = Vcpu::of(state);
    u64 old = 0;
    const bool done = atomic(v, va, Spec(spec), a, b, old);
    v.header().scratch[0] = old;
    return status(v, done);
}

}  // extern "C"

bool load_bytes(void* state, u64 va, unsigned mmu, void* out, unsigned size) {
    return Vcpu::of(state).read(va, mmu, Access::Read, out, size, std::has_single_bit(size) ? size : 1);
}

bool store_bytes(void* state, u64 va, unsigned mmu, const void* in, unsigned size) {
    return Vcpu::of(state).write(va, mmu, in, size, std::has_single_bit(size) ? size : 1);
}

bool probe(void* state, u64 va, unsigned mmu, Access access, unsigned size) {
    Vcpu& v = Vcpu::of(state);
    const u64 room = kPageSize - (va & ~kPageMask);
    if (size > room && !v.core().guest().check_crossing(state, va, size)) return v.fail(LeaveReason::Exception);
    Vcpu::Place place;
    if (!v.resolve(va, mmu, access, place)) return false;
    return size <= room || v.resolve(va + room, mmu, access, place);
}

bool mark_line(void* state, u64 va, unsigned mmu) { return mark_line(Vcpu::of(state), va, mmu, false); }

bool watch_line(void* state, u64 va, unsigned mmu) {
    Vcpu& v = Vcpu::of(state);
    Vcpu::Place place;
    if (!v.resolve(va, mmu, Access::Read, place)) return false;
    if (place.host != nullptr) v.core().watch(place.phys);
    return true;
}

void clear_line_marks(void* state, const void* host) { LineMarks::clear_others(header_of(state), host); }

bool compare_and_swap_16(void* state, u64 va, u32 flags, const std::array<u64, 2>& expected,
                         const std::array<u64, 2>& desired, std::array<u64, 2>& seen) {
    Vcpu& v = Vcpu::of(state);
    constexpr unsigned kSize = 16;
    const unsigned mmu = flags & MemFlags::kMmuMask;
    Vcpu::Place place;
    if (!v.resolve(va, mmu, Access::Write, place)) return false;
    if (place.host == nullptr) {
        std::lock_guard guard(v.core().atomics_lock());
        if (!v.read(va, mmu, Access::Write, seen.data(), kSize)) return false;
        return v.write(va, mmu, seen == expected ? desired.data() : seen.data(), kSize);
    }
    const Vcpu::WriteVerdict verdict = v.judge_write(place, kSize);
    if (verdict == Vcpu::WriteVerdict::Defer) return v.fail(LeaveReason::Interpret);
    seen = expected;
    if (is_exclusive(flags) && !LineMarks::claim(v.header(), place.host)) {
        seen[0] = ~expected[0];
        return true;
    }
    if ((flags & MemFlags::kClearsMarks) != 0) LineMarks::clear_others(v.header(), place.host);
    host_compare_and_swap_16(place.host, seen, desired);
    if (is_exclusive(flags)) LineMarks::release(v.header(), place.host);
    if (verdict == Vcpu::WriteVerdict::Code) v.core().written(place.phys, kSize);
    return true;
}

ir::LeaveReason leave_status(const void* state) { return Vcpu::of(state).leave_status(); }

u8* direct_span(void* state, u64 va, unsigned mmu, Access access, u64 want, u64& length) {
    Vcpu& v = Vcpu::of(state);
    Vcpu::Place place;
    length = std::min(want, kPageSize - (va & ~kPageMask));
    if (length == 0 || !v.resolve(va, mmu, access, place) || place.host == nullptr || place.strict()) return nullptr;
    if (access == Access::Write && v.judge_write(place, static_cast<unsigned>(length)) != Vcpu::WriteVerdict::Plain) {
        return nullptr;
    }
    if (access == Access::Write) v.take_marks(place, length);
    return place.host;
}

u64 phys_load(void* state, u64 gpa, unsigned size) {
    Vcpu& v = Vcpu::of(state);
    const PhysicalMemory::Range* range = v.core().memory().find(gpa);
    if (range == nullptr || !range->contains(gpa + size - 1)) {
        u64 value = 0;
        (void)v.bus_read(gpa, size, value);
        return value;
    }
    const u8* host = range->host(gpa);
    if (size == 8) return __atomic_load_n(reinterpret_cast<const u64*>(host), __ATOMIC_RELAXED);
    u64 value = 0;
    std::memcpy(&value, host, std::min(size, 8u));
    return value;
}

bool phys_load(void* state, u64 gpa, u64& value) {
    const PhysicalMemory::Range* range = Vcpu::of(state).core().memory().find(gpa);
    if (range == nullptr) return false;
    value = __atomic_load_n(reinterpret_cast<const u64*>(range->host(gpa)), __ATOMIC_RELAXED);
    return true;
}

void phys_store(void* state, u64 gpa, u64 value, unsigned size) {
    Vcpu& v = Vcpu::of(state);
    const PhysicalMemory::Range* range = v.core().memory().find(gpa);
    if (range == nullptr || range->slot.readonly || !range->contains(gpa + size - 1)) {
        (void)v.bus_write(gpa, value, size);
        return;
    }
    std::memcpy(range->host(gpa), &value, std::min(size, 8u));
    v.note_written(gpa);
    v.core().written(gpa, size);
}

bool phys_cas(void* state, u64 gpa, u64 expected, u64 desired, unsigned size) {
    Vcpu& v = Vcpu::of(state);
    const PhysicalMemory::Range* range = v.core().memory().find(gpa);
    if (range == nullptr || range->slot.readonly) {
        u64 value = 0;
        (void)v.bus_read(gpa, size, value);
        if (value != expected) return false;
        (void)v.bus_write(gpa, desired, size);
        return true;
    }
    const bool done = host_atomic(range->host(gpa), size, Op::AtomicCas, expected, desired) == expected;
    if (done) {
        v.note_written(gpa);
        v.core().written(gpa, size);
    }
    return done;
}

void mark_strict(void* state) { Vcpu::of(state).mark_strict(); }
bool misaligned_if_strict(const void* state) { return Vcpu::of(const_cast<void*>(state)).misaligned_if_strict(); }

void tlb_flush(void* state, bool keep_global) { Vcpu::of(state).tlb_flush(keep_global); }
void tlb_flush_page(void* state, u64 va) { Vcpu::of(state).tlb_flush_page(va); }
void tlb_flush_range(void* state, u64 va, u64 pages) { Vcpu::of(state).tlb_flush_range(va, pages); }
void tlb_flush_space(void* state, u64 id) { Vcpu::of(state).tlb_flush_space(id); }
void tlb_switch(void* state) { Vcpu::of(state).tlb_switch(); }
const WorldStamp* tlb_enter_world(void* state, u64 id, const WorldStamp& left) {
    return Vcpu::of(state).tlb_enter_world(id, left);
}
void tlb_flush_worlds(void* state) { Vcpu::of(state).tlb_flush_worlds(); }
void tlb_flush_world_page(void* state, u64 id, u64 va) { Vcpu::of(state).tlb_flush_world_page(id, va); }

}  // namespace tandem::jit

// Guest memory as one vCPU sees it: soft-TLB fills, the bus, and writes to pages that hold translated code.
#include <bit>
#include <cstring>

#include "base/log.h"
#include "jit/runtime/vcpu.h"

namespace tandem::jit {
namespace {

using ir::LeaveReason;
using ir::MemFlags;

constexpr u64 TlbEntry::* tag_of(Access access) {
    switch (access) {
        case Access::Read: return &TlbEntry::read_tag;
        case Access::Write: return &TlbEntry::write_tag;
        case Access::Execute: break;
    }
    return &TlbEntry::exec_tag;
}

bool matches(u64 tag, u64 va) { return tag != TlbEntry::kInvalidTag && ((tag ^ va) & kPageMask) == 0; }

// Accesses of the host's own sizes are single, so that other vCPUs see them whole. Whether a guest's processors race is the
// guest's affair.
__attribute__((no_sanitize("thread"))) void copy_bytes(void* to, const void* from, unsigned size) {
    switch (size) {
        case 1: std::memcpy(to, from, 1); break;
        case 2: std::memcpy(to, from, 2); break;
        case 4: std::memcpy(to, from, 4); break;
        case 8: std::memcpy(to, from, 8); break;
        case 16: std::memcpy(to, from, 16); break;
        default: std::memcpy(to, from, size); break;
    }
}

// The largest access the bus takes at this address: a power of two that stays within eight aligned bytes.
unsigned bus_chunk(u64 phys, unsigned size) { return std::bit_floor(std::min<unsigned>(size, 8 - (phys & 7))); }

}  // namespace

void Vcpu::publish_writable(TlbEntry& entry, u64 page, PageInfo& info) {
    std::atomic_ref tag(entry.write_tag);
    if (info.write_cached.load(std::memory_order_relaxed) == 0) info.write_cached.exchange(1, std::memory_order_seq_cst);
    // Either protect() finds the tag, or this finds that the page has been marked (see Core::protect).
    tag.exchange(page, std::memory_order_seq_cst);
    const CodePage* code = info.code.load(std::memory_order_acquire);
    if ((code != nullptr && code->granules.load(std::memory_order_seq_cst) != 0) ||
        info.watched.load(std::memory_order_seq_cst) != 0) {
        tag.store(page | TlbEntry::kCode, std::memory_order_relaxed);
    }
}

void Vcpu::fill(u64 va, unsigned mmu, Access access, const Translation& t) {
    SoftTlb::Fill f;
    f.page = va & kPageMask;
    f.phys = t.phys & kPageMask;
    f.flags = (t.global ? SoftTlb::kGlobal : 0) | (t.page_size > (u64{4} << 20) ? SoftTlb::kHuge
                                                   : t.page_size > kPageSize    ? SoftTlb::kLarge
                                                                                : 0);
    const PhysicalMemory::Range* range = core_.memory().find(f.phys);
    const u64 mmio = range == nullptr ? TlbEntry::kMmio : 0;
    f.addend = (range != nullptr ? reinterpret_cast<u64>(range->host(f.phys)) : f.phys) - f.page;
    const u64 strict = strict_ ? kStrict : 0;
    if (t.read || access == Access::Read) f.read_tag = f.page | mmio | strict;
    if (t.execute || access == Access::Execute) f.exec_tag = f.page | mmio;
    const bool writable = t.write || access == Access::Write;
    const bool to_bus = range == nullptr || range->slot.readonly;
    if (writable && to_bus) f.write_tag = f.page | TlbEntry::kMmio | strict;
    if (writable && !to_bus && strict_) f.write_tag = f.page | TlbEntry::kCode | strict;
    TlbEntry& entry = tlb().insert(mmu, f);
    if (writable && !to_bus) note_written(f.phys);
    if (writable && !to_bus && !strict_) publish_writable(entry, f.page, range->page(f.phys));
}

void Vcpu::bind() {
    if (tlb().bound()) return;
    if (tlb().bind(core_.guest().address_space(state_))) jump_cache().flush_bank(JumpCache::bank_of(tlb().space()), false);
}

void Vcpu::tlb_flush(bool keep_global) {
    counters_.tlb_flushes.add();
    log::trace(log::Mmu, "TLB flush{}", keep_global ? ", keeping global pages" : "");
    tlb().flush(keep_global);
    jump_cache().flush(keep_global);
}

void Vcpu::tlb_flush_page(u64 va) { worlds_.flush_page(va); }

void Vcpu::tlb_flush_range(u64 va, u64 pages) {
    constexpr u64 kOneByOne = 8;
    if (pages <= kOneByOne) {
        for (u64 n = 0; n < pages; ++n) tlb_flush_page(va + n * kPageSize);
    } else if (tlb().flush_range(va, pages)) {
        jump_cache().flush_range(va, pages);
    } else {
        tlb_flush(false);
    }
}

void Vcpu::tlb_flush_space(u64 id) {
    counters_.tlb_flushes.add();
    log::trace(log::Mmu, "TLB flush of address spaces {:#x}", id);
    const u32 spaces = tlb().flush_space(id);
    jump_cache().flush_bank(JumpCache::kShared, true);
    for (unsigned n = 0; n < SoftTlb::kSpaces; ++n) {
        if ((spaces >> n & 1) != 0) jump_cache().flush_bank(JumpCache::bank_of(n), true);
    }
}

// Code that was fetched through a private index goes on through the dispatcher, which selects another bank.
void Vcpu::tlb_switch() {
    tlb().unbind();
    jump_cache().flush_bank(JumpCache::kShared, true);
    jump_cache().select(JumpCache::kShared);
}

const WorldStamp* Vcpu::tlb_enter_world(u64 id, const WorldStamp& left) {
    std::unique_lock guard(core_.lock(), std::defer_lock);
    if (worlds_.makes(id)) guard.lock();
    return worlds_.change(id, left);
}

void Vcpu::tlb_flush_worlds() {
    counters_.tlb_flushes.add();
    log::trace(log::Mmu, "TLB flush of all worlds");
    worlds_.flush();
}

bool Vcpu::resolve(u64 va, unsigned mmu, Access access, Place& out, bool misaligned) {
    if (tlb().is_private(mmu)) bind();
    for (bool filled = false;; filled = true) {
        const TlbEntry& e = tlb().entry(mmu, va);
        const u64 tag = std::atomic_ref(const_cast<TlbEntry&>(e).*tag_of(access)).load(std::memory_order_relaxed);
        if (matches(tag, va)) {
            out.va = va;
            out.mmu = mmu;
            out.tag = tag;
            out.phys = (tlb().info(mmu, va).phys_flags & kPageMask) | (va & ~kPageMask);
            out.host = (tag & TlbEntry::kMmio) != 0 ? nullptr : reinterpret_cast<u8*>(va + e.addend);
            return true;
        }
        counters_.tlb_misses.add();
        Translation t;
        strict_ = false;
        misaligned_ = misaligned;
        if (filled || !core_.guest().translate(state_, va, access, mmu, t)) return fail(LeaveReason::Exception);
        fill(va, mmu, access, t);
    }
}

bool Vcpu::bus_read(u64 phys, unsigned size, u64& value) {
    const HostFpScope host(*header_);
    return core_.bus().mmio_read(header_->owner, phys, size, value);
}

bool Vcpu::bus_write(u64 phys, u64 value, unsigned size) {
    const HostFpScope host(*header_);
    return core_.bus().mmio_write(header_->owner, phys, value, size);
}

bool Vcpu::read_place(const Place& place, Access access, void* out, unsigned size) {
    if (place.host != nullptr) {
        copy_bytes(out, place.host, size);
        return true;
    }
    auto* to = static_cast<u8*>(out);
    for (u64 at = place.phys; size > 0;) {
        const unsigned n = bus_chunk(at, size);
        u64 value = 0;
        const bool answered = bus_read(at, n, value);
        const u64 va = place.va + (at - place.phys);
        if (!answered && core_.guest().bus_error(state_, va, access, place.mmu)) return fail(LeaveReason::Exception);
        std::memcpy(to, &value, n);
        at += n;
        to += n;
        size -= n;
    }
    return true;
}

Vcpu::WriteVerdict Vcpu::judge_write(const Place& place, unsigned size) {
    if (!place.code()) return WriteVerdict::Plain;
    const PhysicalMemory::Range& range = *core_.memory().find(place.phys);
    PageInfo& info = range.page(place.phys);
    const CodePage* page = info.code.load(std::memory_order_acquire);
    const u64 granules = page != nullptr ? page->granules.load(std::memory_order_acquire) : 0;
    if (granules == 0 && info.watched.load(std::memory_order_acquire) != 0) return WriteVerdict::Plain;
    if (granules == 0) {
        TlbEntry& entry = tlb().entry(place.mmu, place.va);
        if (entry.write_tag == place.tag && !place.strict()) publish_writable(entry, place.va & kPageMask, info);
        return WriteVerdict::Plain;
    }
    const u64 offset = place.phys & ~kPageMask;
    if ((granules & CodePage::granule_mask(offset, size)) == 0) return WriteVerdict::Plain;
    std::lock_guard guard(core_.lock());
    if (!Core::overlaps_code(*page, offset, size)) return WriteVerdict::Plain;
    return stepping_ ? WriteVerdict::Code : WriteVerdict::Defer;
}

void Vcpu::take_marks(const Place& place, u64 size) {
    if (!place.code() || place.host == nullptr) return;
    if (core_.memory().find(place.phys)->page(place.phys).watched.load(std::memory_order_acquire) == 0) return;
    constexpr u64 kLine = u64{1} << LineMarks::kStrideBits;
    const u64 first = reinterpret_cast<u64>(place.host) & (kLine - 1);
    for (u64 at = 0; at < first + size; at += kLine) LineMarks::clear_others(*header_, place.host - first + at);
}

bool Vcpu::write_place(const Place& place, WriteVerdict verdict, const void* in, unsigned size) {
    if (place.host != nullptr) {
        copy_bytes(place.host, in, size);
        if (verdict == WriteVerdict::Code) core_.written(place.phys, size);
        return true;
    }
    const auto* from = static_cast<const u8*>(in);
    for (u64 at = place.phys; size > 0;) {
        const unsigned n = bus_chunk(at, size);
        u64 value = 0;
        std::memcpy(&value, from, n);
        // Read-only memory that is nobody's register swallows what is written to it.
        const bool answered = bus_write(at, value, n) || core_.memory().find(at) != nullptr;
        const u64 va = place.va + (at - place.phys);
        if (!answered && core_.guest().bus_error(state_, va, Access::Write, place.mmu)) {
            return fail(LeaveReason::Exception);
        }
        at += n;
        from += n;
        size -= n;
    }
    return true;
}

bool Vcpu::strictly_aligned(const Place& place, u64 va, unsigned alignment, Access access) {
    if (!place.strict() || (va & (alignment - 1)) == 0) return true;
    core_.guest().alignment_fault(state_, va, access, place.mmu);
    return fail(LeaveReason::Exception);
}

bool Vcpu::read(u64 va, unsigned mmu, Access access, void* out, unsigned size, unsigned alignment) {
    const u64 room = kPageSize - (va & ~kPageMask);
    if (size > room && !core_.guest().check_crossing(state_, va, size)) return fail(LeaveReason::Exception);
    const bool misaligned = (va & (alignment - 1)) != 0;
    Place first;
    if (!resolve(va, mmu, access, first, misaligned) || !strictly_aligned(first, va, alignment, access)) return false;
    if (held(first)) return fail(LeaveReason::Interpret);
    if (size <= room) {
        return read_place(first, access, out, size);
    }
    Place second;
    if (!resolve(va + room, mmu, access, second, misaligned)) return false;
    if (!strictly_aligned(second, va, alignment, access)) return false;
    if (held(second)) return fail(LeaveReason::Interpret);
    return read_place(first, access, out, static_cast<unsigned>(room)) &&
           read_place(second, access, static_cast<u8*>(out) + room, size - static_cast<unsigned>(room));
}

bool Vcpu::write(u64 va, unsigned mmu, const void* in, unsigned size, unsigned alignment) {
    const auto room = static_cast<unsigned>(kPageSize - (va & ~kPageMask));
    const unsigned head = std::min(size, room);
    if (size > head && !core_.guest().check_crossing(state_, va, size)) return fail(LeaveReason::Exception);
    const bool misaligned = (va & (alignment - 1)) != 0;
    Place first;
    if (!resolve(va, mmu, Access::Write, first, misaligned)) return false;
    if (!strictly_aligned(first, va, alignment, Access::Write)) return false;
    const WriteVerdict verdict = judge_write(first, head);
    if (verdict == WriteVerdict::Defer || held(first)) return fail(LeaveReason::Interpret);
    if (head == size) {
        take_marks(first, size);
        return write_place(first, verdict, in, size);
    }
    Place second;
    if (!resolve(va + head, mmu, Access::Write, second, misaligned)) return false;
    if (!strictly_aligned(second, va, alignment, Access::Write)) return false;
    const WriteVerdict second_verdict = judge_write(second, size - head);
    if (second_verdict == WriteVerdict::Defer || held(second)) return fail(LeaveReason::Interpret);
    take_marks(first, head);
    take_marks(second, size - head);
    return write_place(first, verdict, in, head) &&
           write_place(second, second_verdict, static_cast<const u8*>(in) + head, size - head);
}

bool Vcpu::check_alignment(u64 va, u32 mem_flags, unsigned size, Access access) {
    if ((mem_flags & MemFlags::kAligned) == 0 || (va & (size - 1)) == 0) return true;
    core_.guest().alignment_fault(state_, va, access, mem_flags & MemFlags::kMmuMask);
    return fail(LeaveReason::Exception);
}

}  // namespace tandem::jit

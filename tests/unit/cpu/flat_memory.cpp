#include "flat_memory.h"

#include <algorithm>
#include <cstring>

#include "cpu/x86/system/system.h"
#include "jit/guest/memory.h"
#include "jit/guest/strict.h"
#include "jit/guest/worlds.h"

using namespace tandem;

namespace {

test::FlatVcpu& vcpu_of(const void* state) { return *static_cast<test::FlatVcpu*>(jit::header_of(state).owner); }

u8* at(const void* state, u64 gpa) { return vcpu_of(state).memory.data() + gpa; }

// Calls f(host pointer, offset, length) for each page of the access. Beyond the memory: #PF for a not-present page becomes
// pending.
template <class F>
bool for_pages(void* state, u64 va, unsigned mmu, jit::Access access, unsigned size, F f) {
    auto& t = vcpu_of(state).state();
    for (unsigned done = 0; done < size;) {
        const u64 address = va + done;
        const auto length = static_cast<unsigned>(std::min<u64>(size - done, jit::kPageSize - (address & ~jit::kPageMask)));
        jit::Translation page;
        if (!cpu::x86::translate(t, address, access, mmu, page)) return false;
        if (page.phys >= test::FlatVcpu::kSize || length > test::FlatVcpu::kSize - page.phys) {
            cpu::x86::raise(t, cpu::x86::kPF, 0, address);
            return false;
        }
        f(at(state, page.phys), done, length);
        done += length;
    }
    return true;
}

}  // namespace

namespace tandem::jit {

void mark_strict(void*) {}

bool load_bytes(void* state, u64 va, unsigned mmu, void* out, unsigned size) {
    return for_pages(state, va, mmu, Access::Read, size, [out](const u8* host, unsigned offset, unsigned length) {
        std::memcpy(static_cast<u8*>(out) + offset, host, length);
    });
}

bool store_bytes(void* state, u64 va, unsigned mmu, const void* in, unsigned size) {
    if (!probe(state, va, mmu, Access::Write, size)) return false;
    return for_pages(state, va, mmu, Access::Write, size, [in](u8* host, unsigned offset, unsigned length) {
        std::memcpy(host, static_cast<const u8*>(in) + offset, length);
    });
}

bool probe(void* state, u64 va, unsigned mmu, Access access, unsigned size) {
    return for_pages(state, va, mmu, access, size, [](const u8*, unsigned, unsigned) {});
}

bool compare_and_swap_16(void* state, u64 va, u32 mmu, const std::array<u64, 2>& expected, const std::array<u64, 2>& desired,
                         std::array<u64, 2>& seen) {
    return for_pages(state, va, mmu, Access::Write, 16, [&](u8* host, unsigned, unsigned) {
        std::memcpy(seen.data(), host, 16);
        if (seen == expected) std::memcpy(host, desired.data(), 16);
    });
}

bool mark_line(void* state, u64 va, unsigned mmu) { return probe(state, va, mmu, Access::Read, 1); }
void clear_line_marks(void*, const void*) {}

ir::LeaveReason leave_status(const void*) { return ir::LeaveReason::Exception; }

u8* direct_span(void* state, u64 va, unsigned mmu, Access access, u64 want, u64& length) {
    length = std::min(want, kPageSize - (va & ~kPageMask));
    u8* result = nullptr;
    for_pages(state, va, mmu, access, 1, [&](u8* host, unsigned, unsigned) { result = host; });
    if (result == nullptr) vcpu_of(state).state().s.pending = {};
    return result;
}

u64 phys_load(void* state, u64 gpa, unsigned size) {
    u64 value = ~u64{0};
    if (gpa < test::FlatVcpu::kSize) {
        value = 0;
        std::memcpy(&value, at(state, gpa), size);
    }
    return value;
}

void phys_store(void* state, u64 gpa, u64 value, unsigned size) {
    if (gpa < test::FlatVcpu::kSize) std::memcpy(at(state, gpa), &value, size);
}

bool phys_cas(void* state, u64 gpa, u64 expected, u64 desired, unsigned size) {
    if (phys_load(state, gpa, size) != expected) return false;
    phys_store(state, gpa, desired, size);
    return true;
}

void tlb_flush(void* state, bool keep_global) {
    test::FlatVcpu& vcpu = vcpu_of(state);
    ++(keep_global ? vcpu.partial_flushes : vcpu.full_flushes);
}
void tlb_flush_page(void* state, u64) { ++vcpu_of(state).page_flushes; }
void tlb_flush_range(void* state, u64, u64) { ++vcpu_of(state).page_flushes; }
void tlb_flush_space(void* state, u64 id) { vcpu_of(state).spaces_flushed.push_back(id); }
void tlb_switch(void* state) { ++vcpu_of(state).switches; }
// Without translations there is nothing to keep.
const WorldStamp* tlb_enter_world(void*, u64, const WorldStamp&) { return nullptr; }
void tlb_flush_worlds(void*) {}
void tlb_flush_world_page(void*, u64, u64) {}

}  // namespace tandem::jit

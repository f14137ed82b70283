#include "flat_memory.h"

#include <cstring>

#include "jit/guest/memory.h"

using namespace tandem;

namespace {

test::FlatVcpu& vcpu_of(const void* state) { return *static_cast<test::FlatVcpu*>(jit::header_of(state).owner); }

// Out of range: #PF for a not-present page becomes pending.
bool in_range(void* state, u64 va, u64 size) {
    if (va < test::FlatVcpu::kSize && size <= test::FlatVcpu::kSize - va) return true;
    cpu::x86::PendingEvent event;
    event.valid = true;
    event.vector = 14;
    event.has_error = true;
    event.payload = va;
    vcpu_of(state).state().s.pending = event;
    return false;
}

u8* at(const void* state, u64 va) { return vcpu_of(state).memory.data() + va; }

}  // namespace

namespace tandem::jit {

bool load_bytes(void* state, u64 va, unsigned, void* out, unsigned size) {
    if (!in_range(state, va, size)) return false;
    std::memcpy(out, at(state, va), size);
    return true;
}

bool store_bytes(void* state, u64 va, unsigned, const void* in, unsigned size) {
    if (!in_range(state, va, size)) return false;
    std::memcpy(at(state, va), in, size);
    return true;
}

bool probe(void* state, u64 va, unsigned, Access, unsigned size) { return in_range(state, va, size); }

ir::LeaveReason leave_status(const void*) { return ir::LeaveReason::Exception; }

u8* direct_span(void* state, u64 va, unsigned, Access, u64 want, u64& length) {
    length = std::min(want, kPageSize - (va & ~kPageMask));
    return va < test::FlatVcpu::kSize ? at(state, va) : nullptr;
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

void tlb_flush(void*, bool) {}
void tlb_flush_page(void*, u64) {}

}  // namespace tandem::jit

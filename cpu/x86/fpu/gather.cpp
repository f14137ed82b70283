#include "cpu/x86/fpu/gather.h"

#include <cstring>

#include "base/bits.h"
#include "jit/guest/memory.h"

namespace tandem::cpu::x86 {

namespace {

// Elements of a vector register, sign-extended.
i64 get_element(const Vector512& v, unsigned i, unsigned bytes) {
    return bytes == 8 ? static_cast<i64>(v.lane[i]) : static_cast<i32>(v.lane[i / 2] >> (32 * (i % 2)));
}

void set_element(Vector512& v, unsigned i, unsigned bytes, u64 value) {
    std::memcpy(reinterpret_cast<u8*>(v.lane.data()) + i * bytes, &value, bytes);
}

void clear_above(Vector512& v, unsigned bytes) {
    std::memset(reinterpret_cast<u8*>(v.lane.data()) + bytes, 0, sizeof v.lane - bytes);
}

// Loads one element; false when the access faulted, or its limit check.
bool load_element(TranslateState& t, const GatherSpec& how, u64 offset, u64& value) {
    const Segment& segment = t.s.seg[how.segment];
    u64 va = offset;
    if (!code64(t.s)) {
        if (check_segment(&t, how.segment, offset, how.element_bytes, 0) != LeaveReason::None) return false;
        va = (segment.base + offset) & mask(32);
    } else if (how.segment == FS || how.segment == GS) {
        va += segment.base;
    }
    if (debug_active(t)) debug_data(&t, va, how.element_bytes, 0);
    value = 0;
    return jit::load_bytes(&t, va, how.mmu, &value, how.element_bytes);
}

}  // namespace

LeaveReason gather(TranslateState* t, u64 spec, u64 offset) {
    const GatherSpec how = GatherSpec::unpack(spec);
    Vector512& destination = t->s.vec[how.destination];
    Vector512& select = t->s.vec[how.mask];
    const Vector512& index = t->s.vec[how.index];
    const unsigned count = how.elements();
    const unsigned used = count * how.element_bytes;
    // Before anything can fault the mask's elements become all ones or zero.
    const unsigned reach = how.wide ? 32 : 16;
    for (unsigned i = 0; i < reach / how.element_bytes; ++i) {
        const bool wanted = get_element(select, i, how.element_bytes) < 0;
        set_element(select, i, how.element_bytes, wanted ? ~u64{0} : 0);
    }
    clear_above(select, reach);
    for (unsigned i = 0; i < count; ++i) {
        if (get_element(select, i, how.element_bytes) >= 0) continue;
        const u64 scaled = static_cast<u64>(get_element(index, i, how.index_bytes)) * how.scale;
        u64 value = 0;
        if (!load_element(*t, how, (offset + scaled) & mask(how.address_bytes * 8u), value)) {
            return t->s.pending.valid ? LeaveReason::Exception : jit::leave_status(t);
        }
        set_element(destination, i, how.element_bytes, value);
        set_element(select, i, how.element_bytes, 0);
        clear_above(destination, reach);  // at once, as the first write to it does
    }
    // Above the elements the destination is zero, and the mask altogether.
    clear_above(destination, used);
    select = {};
    return LeaveReason::None;
}

}  // namespace tandem::cpu::x86

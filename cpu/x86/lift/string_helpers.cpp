// Repeated string instructions. Registers are written back after each chunk, so that a fault, an interrupt or the debugger
// finds the instruction between two iterations (Intel SDM volume 2, "REP/REPE/REPZ/REPNE/REPNZ").
#include <algorithm>
#include <bit>
#include <cstring>

#include "cpu/x86/lift/helpers.h"
#include "cpu/x86/mode.h"
#include "jit/guest/counting.h"
#include "jit/guest/frame.h"
#include "jit/guest/memory.h"

namespace tandem::cpu::x86 {
namespace {

using jit::Access;

struct LazyFlags {
    u32 op;
    u64 dst, src;

    void restore(TranslateState& t) const {
        t.cc_op = op;
        t.cc_dst = dst;
        t.cc_src = src;
    }
};

class StringRun {
public:
    StringRun(TranslateState& t, StringSpec spec)
        : t_(t), spec_(spec), mode_(ModeBits::of(t)), mmu_(mode_.data_mmu()), mask_(mask(spec.address_size * 8)) {}

    LeaveReason run();

private:
    // One of the two pointers: its register, its segment, and how it is accessed.
    struct Pointer {
        unsigned reg, segment;
        Access access;
    };

    [[nodiscard]] u64 offset(const Pointer& p) const { return t_.s.gpr[p.reg] & mask_; }
    [[nodiscard]] u64 linear(const Pointer& p) const;
    [[nodiscard]] u64 count() const { return spec_.rep == Rep::None ? 1 : t_.s.gpr[RCX] & mask_; }
    void set_register(unsigned reg, u64 value);
    void advance(const Pointer& p, u64 elements);
    void finish_elements(u64 elements);
    [[nodiscard]] bool uses_source() const {
        return spec_.op != StringOp::Stos && spec_.op != StringOp::Scas && spec_.op != StringOp::Ins;
    }
    [[nodiscard]] bool uses_destination() const { return spec_.op != StringOp::Lods && spec_.op != StringOp::Outs; }
    [[nodiscard]] u64 accumulator() const { return t_.s.gpr[RAX] & mask(spec_.size * 8); }

    // Elements that may be done through host pointers from here: none of the segment's limits, the offset's wrap, the page's
    // end and the wanted number is passed.
    u8* span(const Pointer& p, u64& elements);
    [[nodiscard]] u64 room(const Pointer& p) const;
    u64 chunk(u64 most);  // elements done at host speed; 0 when one has to go the slow way
    u64 move_chunk(u64 elements);
    u64 compare_chunk(u64 elements);
    u64 scan_chunk(u64 elements);
    LeaveReason single();  // one element, all checks
    LeaveReason check(const Pointer& p);
    LeaveReason move_single();
    LeaveReason compare_single();
    LeaveReason port_in_single();
    LeaveReason port_out_single();
    bool load(const Pointer& p, u64& value) { return jit::load_bytes(&t_, linear(p), mmu_, &value, spec_.size); }
    bool store(const Pointer& p, u64 value) { return jit::store_bytes(&t_, linear(p), mmu_, &value, spec_.size); }
    void compare(u64 first, u64 second);
    LeaveReason between(LeaveReason why);

    TranslateState& t_;
    const StringSpec spec_;
    const PortForm form_{.string = true, .rep = spec_.rep != Rep::None};
    const ModeBits mode_;
    const unsigned mmu_;
    const u64 mask_;
    const Pointer source_{RSI, spec_.segment, Access::Read};
    const Pointer destination_{RDI, ES,
                               spec_.op == StringOp::Cmps || spec_.op == StringOp::Scas ? Access::Read : Access::Write};
    bool stop_ = false;  // REPE/REPNE's condition ended the repetition
};

u64 StringRun::linear(const Pointer& p) const {
    const u64 at = offset(p);
    if (mode_.is64()) return p.segment == FS || p.segment == GS ? t_.s.seg[p.segment].base + at : at;
    return (t_.s.seg[p.segment].base + at) & mask(32);
}

// A 32-bit register write clears the upper half, a 16-bit one keeps the rest.
void StringRun::set_register(unsigned reg, u64 value) {
    const u64 kept = spec_.address_size == 2 ? t_.s.gpr[reg] & ~mask_ : 0;
    t_.s.gpr[reg] = kept | (value & mask_);
}

void StringRun::advance(const Pointer& p, u64 elements) {
    set_register(p.reg, t_.s.gpr[p.reg] + t_.df_step * elements * spec_.size);
}

void StringRun::finish_elements(u64 elements) {
    if (uses_source()) advance(source_, elements);
    if (uses_destination()) advance(destination_, elements);
    if (spec_.rep != Rep::None) set_register(RCX, t_.s.gpr[RCX] - elements);
}

u64 StringRun::room(const Pointer& p) const {
    const u64 at = offset(p);
    u64 end = spec_.address_size == 8 ? ~u64{0} : mask_ + 1;
    if (!mode_.is64()) {
        const bool code_write = p.segment == CS && p.access == Access::Write && mode_.protected_mode();
        if (code_write || mode_.segment(p.segment) == SegmentClass::Checked) return 0;
        end = std::min(end, u64{t_.s.seg[p.segment].limit} + 1);
        // Linear addresses wrap at 4 GiB.
        end = std::min(end, at + ((u64{1} << 32) - linear(p)));
    }
    return at < end ? end - at : 0;
}

u8* StringRun::span(const Pointer& p, u64& elements) {
    const u64 wanted = std::min(elements * spec_.size, room(p));
    u64 length = 0;
    u8* host = wanted < spec_.size ? nullptr : jit::direct_span(&t_, linear(p), mmu_, p.access, wanted, length);
    elements = host == nullptr ? 0 : std::min(wanted, length) / spec_.size;
    return elements == 0 ? nullptr : host;
}

// Copies in ascending order, which repeats a pattern when the destination lies within the source.
void copy_forward(u8* to, const u8* from, u64 bytes, unsigned size) {
    if (to <= from || to >= from + bytes) {
        std::memmove(to, from, bytes);
        return;
    }
    for (u64 i = 0; i < bytes; i += size) std::memmove(to + i, from + i, size);
}

void fill(u8* to, u64 value, u64 elements, unsigned size) {
    switch (size) {
        case 1: std::memset(to, static_cast<int>(value), elements); return;
        case 2:
            for (u64 i = 0; i < elements; ++i) std::memcpy(to + 2 * i, &value, 2);
            return;
        case 4:
            for (u64 i = 0; i < elements; ++i) std::memcpy(to + 4 * i, &value, 4);
            return;
        default:
            for (u64 i = 0; i < elements; ++i) std::memcpy(to + 8 * i, &value, 8);
    }
}

u64 element_at(const u8* host, u64 index, unsigned size) {
    u64 value = 0;
    std::memcpy(&value, host + index * size, size);
    return value;
}

u64 StringRun::move_chunk(u64 elements) {
    u8* to = nullptr;
    const u8* from = nullptr;
    if (uses_source()) from = span(source_, elements);
    if (uses_destination()) to = span(destination_, elements);
    if (elements == 0) return 0;
    if (spec_.op == StringOp::Movs) copy_forward(to, from, elements * spec_.size, spec_.size);
    if (spec_.op == StringOp::Stos) fill(to, t_.s.gpr[RAX], elements, spec_.size);
    if (spec_.op == StringOp::Lods) {
        const u64 value = element_at(from, elements - 1, spec_.size);
        const u64 kept = spec_.size < 4 ? t_.s.gpr[RAX] & ~mask(spec_.size * 8) : 0;
        t_.s.gpr[RAX] = kept | value;
    }
    return elements;
}

void StringRun::compare(u64 first, u64 second) {
    t_.cc_op = cc_op(CcKind::Sub, spec_.size);
    t_.cc_src = second;
    t_.cc_dst = (first - second) & mask(spec_.size * 8);
    stop_ = (first == second) != (spec_.rep == Rep::Rep);
}

u64 StringRun::compare_chunk(u64 elements) {
    const u8* first = span(source_, elements);
    const u8* second = first == nullptr ? nullptr : span(destination_, elements);
    if (second == nullptr) return 0;
    u64 done = 0;
    if (spec_.rep == Rep::Rep && std::memcmp(first, second, elements * spec_.size) == 0) done = elements - 1;
    while (done < elements && !stop_) {
        compare(element_at(first, done, spec_.size), element_at(second, done, spec_.size));
        ++done;
    }
    return done;
}

u64 StringRun::scan_chunk(u64 elements) {
    const u8* host = span(destination_, elements);
    if (host == nullptr) return 0;
    u64 done = 0;
    if (spec_.rep == Rep::Repne && spec_.size == 1) {
        const void* hit = std::memchr(host, static_cast<int>(accumulator()), elements);
        done = hit == nullptr ? elements - 1 : static_cast<u64>(static_cast<const u8*>(hit) - host);
    }
    while (done < elements && !stop_) {
        compare(accumulator(), element_at(host, done, spec_.size));
        ++done;
    }
    return done;
}

u64 StringRun::chunk(u64 most) {
    const u64 wanted = std::min({count(), jit::kPageSize, most});
    switch (spec_.op) {
        case StringOp::Movs:
        case StringOp::Stos:
        case StringOp::Lods: return move_chunk(wanted);
        case StringOp::Cmps: return compare_chunk(wanted);
        case StringOp::Scas: return scan_chunk(wanted);
        case StringOp::Ins:
        case StringOp::Outs: break;
    }
    return 0;
}

LeaveReason StringRun::check(const Pointer& p) {
    const u32 write = p.access == Access::Write ? 1 : 0;
    if (mode_.has(ModeBits::kDebug)) debug_data(&t_, linear(p), spec_.size, write);
    if (mode_.is64()) return LeaveReason::None;
    return check_segment(&t_, p.segment, offset(p), spec_.size, write);
}

LeaveReason StringRun::move_single() {
    u64 value = t_.s.gpr[RAX];
    if (uses_source()) {
        value = 0;
        if (const LeaveReason why = check(source_); why != LeaveReason::None) return why;
        if (!load(source_, value)) return jit::leave_status(&t_);
    }
    if (spec_.op == StringOp::Lods) {
        const u64 kept = spec_.size < 4 ? t_.s.gpr[RAX] & ~mask(spec_.size * 8) : 0;
        t_.s.gpr[RAX] = kept | value;
        return LeaveReason::None;
    }
    if (const LeaveReason why = check(destination_); why != LeaveReason::None) return why;
    return store(destination_, value) ? LeaveReason::None : jit::leave_status(&t_);
}

// Of two operands the one at ES:[rDI] faults first, as on current processors.
LeaveReason StringRun::compare_single() {
    u64 first = accumulator();
    u64 second = 0;
    if (const LeaveReason why = check(destination_); why != LeaveReason::None) return why;
    if (!load(destination_, second)) return jit::leave_status(&t_);
    if (spec_.op == StringOp::Cmps) {
        first = 0;
        if (const LeaveReason why = check(source_); why != LeaveReason::None) return why;
        if (!load(source_, first)) return jit::leave_status(&t_);
    }
    compare(first, second);
    return LeaveReason::None;
}

// The port is read only when the store cannot fault any more.
LeaveReason StringRun::port_in_single() {
    if (const LeaveReason why = check(destination_); why != LeaveReason::None) return why;
    if (!jit::probe(&t_, linear(destination_), mmu_, Access::Write, spec_.size)) return jit::leave_status(&t_);
    if (held_before(&t_, Hold::Reason::Access)) return LeaveReason::Interpret;
    const u32 value = port_read_unchecked(&t_, static_cast<u32>(t_.s.gpr[RDX] & 0xffff), spec_.size, form_);
    return store(destination_, value) ? LeaveReason::None : jit::leave_status(&t_);
}

LeaveReason StringRun::port_out_single() {
    u64 value = 0;
    if (const LeaveReason why = check(source_); why != LeaveReason::None) return why;
    if (!load(source_, value)) return jit::leave_status(&t_);
    if (held_before(&t_, Hold::Reason::Access)) return LeaveReason::Interpret;
    port_write_unchecked(&t_, static_cast<u32>(t_.s.gpr[RDX] & 0xffff), spec_.size, static_cast<u32>(value), form_);
    return LeaveReason::None;
}

LeaveReason StringRun::single() {
    switch (spec_.op) {
        case StringOp::Cmps:
        case StringOp::Scas: return compare_single();
        case StringOp::Ins: return port_in_single();
        case StringOp::Outs: return port_out_single();
        default: return move_single();
    }
}

// RF is set between two iterations, in what an interrupt or trap pushes there too: an instruction breakpoint is met before
// the first one only (SDM volume 3, 17.3.1.1).
LeaveReason StringRun::between(LeaveReason why) {
    if (mode_.has(ModeBits::kDebug)) t_.s.rflags |= eflags::RF;
    return why;
}

LeaveReason StringRun::run() {
    if (spec_.op == StringOp::Ins || spec_.op == StringOp::Outs) {
        const LeaveReason why = check_io(&t_, static_cast<u32>(t_.s.gpr[RDX] & 0xffff), spec_.size);
        if (why != LeaveReason::None) return why;
    }
    // A count of 0 is written back too: with 32-bit addresses that clears the register's upper half.
    if (spec_.rep != Rep::None && count() == 0) set_register(RCX, 0);
    const jit::FrameHeader& header = jit::header_of(&t_);
    const LazyFlags before{t_.cc_op, t_.cc_dst, t_.cc_src};
    const bool forward = t_.df_step == 1;
    const bool counted = jit::has_instruction_limit(header);
    u64 left = mode_.single() ? 1 : jit::repeat_stride(header);
    while (count() != 0) {
        u64 done = forward && !mode_.single() ? chunk(left) : 0;
        if (done == 0) {
            // An element the direct span refused may have left a pending exception; the checked access decides.
            t_.s.pending.valid = false;
            if (const LeaveReason why = single(); why != LeaveReason::None) {
                // "If a fault occurs during CMPS or SCAS ... the EFLAGS value is restored".
                before.restore(t_);
                return why;
            }
            done = 1;
        }
        finish_elements(done);
        if (spec_.rep == Rep::None) break;
        const bool conditional = spec_.op == StringOp::Cmps || spec_.op == StringOp::Scas;
        if ((conditional && stop_) || count() == 0) break;
        // Between two iterations the instruction can be interrupted or trapped; rip still points at it.
        left -= done;
        if (left == 0) return between(LeaveReason::Lookup);
        // Where instructions are counted exactly, only there.
        if (!counted && header.attention.load(std::memory_order_relaxed) != 0) return between(LeaveReason::Attention);
    }
    return LeaveReason::None;
}

}  // namespace

LeaveReason repeat_string(TranslateState* t, u32 spec) { return StringRun(*t, StringSpec::unpack(spec)).run(); }

}  // namespace tandem::cpu::x86

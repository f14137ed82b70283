// The x87 register stack while one instruction executes: tags, stack faults, exception summary, pointers.
// (SDM volume 1, 8.1 and 8.5.)
#pragma once

#include "cpu/x86/fpu/host_x87.h"
#include "cpu/x86/fpu/x87.h"
#include "jit/guest/memory.h"

namespace tandem::cpu::x86 {

// The QNaN floating-point indefinite (SDM volume 1, table 4-3).
constexpr X87Reg kIndefinite{0xc000000000000000, 0xffff};

class X87Unit {
public:
    X87Unit(TranslateState& t, u32 spec) : t_(t), x_(t.s.x87), spec_{spec} {}

    [[nodiscard]] const X87Spec& spec() const { return spec_; }
    // What an operation runs under.
    [[nodiscard]] host_x87::Control control() const {
        const bool all_masked = (x_.fcw & fsw::Exceptions) == fsw::Exceptions;
        return {x_.fcw, all_masked ? static_cast<u16>(x_.fsw & (fsw::Exceptions | fsw::SF)) : u16{0}};
    }
    [[nodiscard]] TranslateState& state() { return t_; }

    // Operand access; false: return fault().
    bool load(u64 va, void* out, unsigned size) {
        return aligned(va, size) && jit::load_bytes(&t_, va, spec_.mmu(), out, size);
    }
    bool store(u64 va, const void* in, unsigned size) {
        return aligned(va, size) && jit::store_bytes(&t_, va, spec_.mmu(), in, size);
    }
    [[nodiscard]] LeaveReason fault() const { return misaligned_ ? LeaveReason::Exception : jit::leave_status(&t_); }

    // Records FOP, FIP and, for memory operands, FDP: once nothing can fault any more.
    void track();
    void track(u64 va);

    [[nodiscard]] bool empty(unsigned i) const { return !bit(x_.valid, physical(i)); }
    [[nodiscard]] const X87Reg& st(unsigned i) const { return x_.reg[physical(i)]; }
    void set(unsigned i, const X87Reg& value) {
        x_.reg[physical(i)] = value;
        x_.valid = static_cast<u8>(x_.valid | 1u << physical(i));
    }
    void release(unsigned i) { x_.valid = static_cast<u8>(x_.valid & ~(1u << physical(i))); }
    void rotate(unsigned by) { x_.fsw = static_cast<u16>((x_.fsw & ~fsw::TOP) | (((top() + by) & 7) << 11)); }
    void push(const X87Reg& value) {
        rotate(7);
        set(0, value);
    }
    void pop() {
        release(0);
        rotate(1);
    }
    void pop(unsigned count) {
        for (; count != 0; --count) pop();
    }

    // Accumulates the exception flags of `status` and takes over the condition codes in `conditions`.
    void merge(u16 status, u16 conditions) {
        x_.fsw = static_cast<u16>((x_.fsw & ~conditions) | (status & (fsw::Exceptions | fsw::SF | conditions)));
        x87_update_summary(x_);
    }
    // An unmasked exception in `status` that keeps the operation from happening.
    [[nodiscard]] bool blocked(u16 status, u16 kinds = fsw::IE | fsw::DE | fsw::ZE) const {
        return (status & ~x_.fcw & kinds) != 0;
    }
    // Stack faults. True: masked, so the instruction goes on with the indefinite value.
    bool underflow() { return stack_fault(0); }
    bool overflow() { return stack_fault(fsw::C1); }

private:
    // Raises #AC where alignment is checked (SDM volume 3, table 6-7).
    bool aligned(u64 va, unsigned size);
    [[nodiscard]] unsigned top() const { return (x_.fsw >> 11) & 7u; }
    [[nodiscard]] unsigned physical(unsigned i) const { return (top() + i) & 7; }
    bool stack_fault(u16 c1) {
        merge(static_cast<u16>(fsw::IE | fsw::SF | c1), fsw::C1);
        return !blocked(fsw::IE);
    }

    TranslateState& t_;
    X87& x_;
    X87Spec spec_;
    bool misaligned_ = false;
};

}  // namespace tandem::cpu::x86

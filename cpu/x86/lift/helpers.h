// Functions that lifted general-purpose code calls. Conventions as in system/system.h.
#pragma once

#include "cpu/x86/decode/instruction.h"
#include "cpu/x86/system/system.h"
#include "cpu/x86/translate_state.h"

namespace tandem::cpu::x86 {

// lazy_condition's first argument is cc_op | condition code << kConditionShift.
constexpr unsigned kConditionShift = 8;

// compute_flags(), and one of the sixteen conditions (0 or 1). Pure.
u32 lazy_flags(TranslateState*, u32 cc_op, u64 dst, u64 src, u64 src2);
u8 lazy_condition(TranslateState*, u32 selector, u64 dst, u64 src, u64 src2);

// PAUSE: where the machine has more processors than the host, another one gets this one's turn, perhaps the one that holds
// the lock that is waited for.
void spin_wait(TranslateState* t);

// Starts the instruction again unless `done`.
LeaveReason retry_unless(TranslateState* t, u8 done);

// DIV and IDIV of the accumulator pair by a divisor that is zero- or sign-extended to 64 bits; #DE.
LeaveReason divide_unsigned(TranslateState* t, u64 divisor, u32 size);
LeaveReason divide_signed(TranslateState* t, u64 divisor, u32 size);

// CMPXCHG16B on 16-byte aligned `va`, else #GP(0). RDX:RAX written on a mismatch. -> scratch[0]: 1 when they were equal.
LeaveReason cmpxchg16b(TranslateState* t, u64 va, u32 mmu);

// DAA ... AAD on AX; AAM by 0 is #DE.
enum class BcdOp : u32 { Daa, Das, Aaa, Aas, Aam, Aad };
LeaveReason decimal_adjust(TranslateState* t, u32 operation, u32 base);

// RCL and RCR: the rotated value, and the six flags after it. `spec`: rotate_carry_spec() with the masked count in bits 7:0.
// Pure.
constexpr u32 rotate_carry_spec(unsigned size, bool left) { return size << 8 | (left ? 1u : 0u) << 16; }
u64 rotate_carry_value(TranslateState*, u64 value, u32 spec, u64 flags);
u64 rotate_carry_flags(TranslateState*, u64 value, u32 spec, u64 flags);

// PDEP, PEXT, CRC32. Pure.
u64 bit_deposit(TranslateState*, u64 source, u64 selector);
u64 bit_extract(TranslateState*, u64 source, u64 selector);
u32 crc32c(TranslateState*, u32 crc, u64 data, u32 size);

// RDRAND, RDSEED -> scratch[0], from the host's entropy.
LeaveReason random_number(TranslateState* t);
// Leaves before the instruction when the general registers are those that jit::Hold looks for.
LeaveReason hold_if_sought(TranslateState* t);

enum class StringOp : u8 { Movs, Cmps, Stos, Lods, Scas, Ins, Outs };

// A string instruction as its helper sees it. `segment` is that of the source.
struct StringSpec {
    StringOp op = StringOp::Movs;
    unsigned size = 1;
    unsigned address_size = 8;
    unsigned segment = DS;
    Rep rep = Rep::None;

    [[nodiscard]] constexpr u32 pack() const {
        return static_cast<u32>(op) | size << 4 | address_size << 8 | segment << 12 | static_cast<u32>(rep) << 16;
    }
    static constexpr StringSpec unpack(u32 v) {
        return {static_cast<StringOp>(v & 15), v >> 4 & 15, v >> 8 & 15, v >> 12 & 15, static_cast<Rep>(v >> 16)};
    }
};
// Runs the iterations that are left; Attention or Lookup between two of them when something else is due first.
LeaveReason repeat_string(TranslateState* t, u32 spec);

// After an instruction that seldom changes the mode: None while the block's own mode still holds and no event waits to be
// delivered, else Lookup with rip at `next`.
LeaveReason continue_at(TranslateState* t, u64 next);
// STI where IOPL allows it: None while no event waits, so that the shadow need not be seen; else Lookup at `next` with the
// shadow.
LeaveReason enable_interrupts(TranslateState* t, u64 next);

}  // namespace tandem::cpu::x86

// Shared by the files of this folder only.
#pragma once

#include <array>

#include "cpu/x86/system/system.h"
#include "jit/guest/memory.h"

namespace tandem::cpu::x86 {

// What a helper returns after a function below said false.
inline LeaveReason failed(const TranslateState& t) {
    return t.s.pending.valid ? LeaveReason::Exception : jit::leave_status(&t);
}
inline LeaveReason done(const TranslateState& t, bool ok, LeaveReason success = LeaveReason::None) {
    return ok ? success : failed(t);
}
// Raises and says false.
inline bool fault(TranslateState& t, Vector vector, u32 error = 0, u64 payload = 0) {
    raise(t, vector, error, payload);
    return false;
}

// Linear addresses are 32 bits wide outside IA-32e mode.
inline u64 linear(const State& s, u64 va) { return long_mode(s) ? va : va & 0xffffffff; }

// Implicit supervisor accesses: descriptor tables, TSS, IDT.
template <class T>
bool read_system(TranslateState& t, u64 va, T& out) {
    return jit::load(&t, linear(t.s, va), kMmuSupervisor, out);
}
template <class T>
bool write_system(TranslateState& t, u64 va, const T& value) {
    return jit::store(&t, linear(t.s, va), kMmuSupervisor, value);
}

// Flags with the bits of `mask` taken from `image`, arithmetic ones included.
void write_flags(TranslateState& t, u64 image, u64 mask);
u64 read_flags(TranslateState& t);

inline void set_real_segment(Segment& seg, u16 selector) {
    seg.selector = selector;
    seg.base = u64{selector} << 4;
}
// A segment register as virtual-8086 mode has it.
inline Segment vm86_segment(u16 selector) { return {u64{selector} << 4, 0xffff, selector, 0xf3}; }

// --- Descriptors (descriptor.cpp)
// ----------------------------------------------------------------------------------------------

enum SystemType : unsigned {
    kTss16 = 1,
    kLdt = 2,
    kTss16Busy = 3,
    kCallGate16 = 4,
    kTaskGate = 5,
    kIntGate16 = 6,
    kTrapGate16 = 7,
    kTss32 = 9,
    kTss32Busy = 11,
    kCallGate32 = 12,
    kIntGate32 = 14,
    kTrapGate32 = 15
};

struct Descriptor {
    u64 low = 0;
    u64 high = 0;  // second half of a 16-byte system descriptor

    [[nodiscard]] unsigned type() const { return static_cast<unsigned>(bits(low, 43, 40)); }
    [[nodiscard]] bool system() const { return !bit(low, 44); }
    [[nodiscard]] bool code() const { return bit(low, 44) && bit(low, 43); }
    [[nodiscard]] bool data() const { return bit(low, 44) && !bit(low, 43); }
    [[nodiscard]] bool conforming() const { return code() && bit(low, 42); }
    [[nodiscard]] bool readable() const { return data() || bit(low, 41); }
    [[nodiscard]] bool writable() const { return data() && bit(low, 41); }
    [[nodiscard]] unsigned dpl() const { return static_cast<unsigned>(bits(low, 46, 45)); }
    [[nodiscard]] bool present() const { return bit(low, 47); }
    [[nodiscard]] bool long_code() const { return bit(low, 53); }
    [[nodiscard]] bool db() const { return bit(low, 54); }
    [[nodiscard]] u32 limit() const {
        const u32 raw = static_cast<u32>(bits(low, 15, 0) | bits(low, 51, 48) << 16);
        return bit(low, 55) ? raw << 12 | 0xfff : raw;
    }
    [[nodiscard]] u64 base() const { return bits(low, 39, 16) | bits(low, 63, 56) << 24 | (high & 0xffffffff) << 32; }
    // Gates.
    [[nodiscard]] u16 gate_selector() const { return static_cast<u16>(bits(low, 31, 16)); }
    [[nodiscard]] u64 gate_offset() const { return bits(low, 15, 0) | bits(low, 63, 48) << 16 | (high & 0xffffffff) << 32; }
};

constexpr u16 index_of(u16 selector) { return selector & 0xfffc; }
constexpr unsigned rpl_of(u16 selector) { return selector & 3; }
constexpr bool null(u16 selector) { return index_of(selector) == 0; }

enum class Fetch : u8 { Ok, OutsideTable, Fault };
// Reads a descriptor; `wide`: system descriptors have 16 bytes when in IA-32e mode.
Fetch fetch_descriptor(TranslateState& t, u16 selector, Descriptor& out);
// The same; a selector outside its table raises `vector` with the selector and `ext` as error code.
bool require_descriptor(TranslateState& t, u16 selector, Descriptor& out, Vector vector, u32 ext = 0);
// Linear address of a descriptor inside its table's limit; nothing is checked.
u64 descriptor_address(const State& s, u16 selector);
// Sets type bit 0 of a code or data descriptor in memory (locked) and in `d`, unless it is set.
bool mark_accessed(TranslateState& t, u16 selector, Descriptor& d);
// Sets or clears the busy bit of a TSS descriptor in memory (locked).
bool mark_busy(TranslateState& t, u16 selector, bool busy);

Segment to_segment(u16 selector, const Descriptor& d);
// A null selector's register. SS keeps the privilege level in DPL.
inline Segment null_segment(u16 selector, unsigned level = 0) { return {0, 0, selector, static_cast<u16>(level << 5)}; }

// --- Stacks (stack.cpp)
// --------------------------------------------------------------------------------------------------------

// Pushes and pops on a stack that is not in the registers yet. Nothing is committed but memory below SP.
class Stack {
public:
    // The current stack.
    explicit Stack(TranslateState& t, u32 fault_error = 0);
    Stack(TranslateState& t, const Segment& ss, u64 sp, bool flat64, unsigned mmu, u32 fault_error);

    bool push(u64 value, unsigned size);
    bool pop(u64& value, unsigned size);
    void skip(u64 bytes) { sp_ = (sp_ & ~mask_) | ((sp_ + bytes) & mask_); }
    // RSP with this stack pointer in its width.
    void commit();
    [[nodiscard]] u64 sp() const { return sp_; }

private:
    bool check(u64 offset, unsigned size, bool write);

    TranslateState& t_;
    Segment ss_;
    u64 sp_;
    u64 mask_;
    bool flat64_;
    unsigned mmu_;
    u32 fault_error_;
};

// True when the access lies in the segment's limit and its type allows it.
bool segment_allows(const Segment& seg, u64 offset, u64 size, bool write);

// Stack pointers in the TSS (task.cpp). `index` 0..2 for a privilege level. #TS with the TSS selector when the TSS is too
// short.
bool read_tss_stack(TranslateState& t, unsigned level, u32 ext, u16& ss, u64& sp);
// RSPn (ist 0) or ISTn of the 64-bit TSS.
bool read_tss64_stack(TranslateState& t, unsigned level, unsigned ist, u32 ext, u64& sp);
// Loads the descriptor of a stack segment for a more privileged level: #TS and #SS rules of SDM volume 3, 6.12.1 and 5.8.5.
bool load_inner_stack(TranslateState& t, u16 selector, unsigned level, u32 ext, Segment& out);

// --- Transfers
// -----------------------------------------------------------------------------------------------------------------

// The offset is inside the target code segment, or canonical: else #GP(ext).
bool check_target(TranslateState& t, const Segment& cs, u64 offset, u32 ext = 0);
// Commits CS; `level` becomes its RPL.
void set_code(State& s, Segment cs, unsigned level, u64 rip);
// After a return to an outer level, data segments it may not see become null (SDM volume 2 "RET").
void drop_privileged_segments(State& s);

// --- Virtual interrupts (virtual_interrupts.cpp)

// CLI and STI change VIF instead of IF; STI faults while an interrupt is pending (VIP).
bool virtual_interrupt_flag(const State& s);
bool set_virtual_interrupts(TranslateState& t, bool on);
// PUSHF, POPF and IRET of 16 bits in virtual-8086 mode below IOPL 3, with CR4.VME.
bool virtual_flags(const State& s, u32 opsize);
u64 virtual_flags_image(TranslateState& t);
bool check_virtual_flags(TranslateState& t, u64 image);
void write_virtual_flags(TranslateState& t, u64 image);
// INT n in virtual-8086 mode: taken by the task's own handler, to go through the IDT, or refused.
enum class VirtualInterrupt : u8 { Done, Protected, Fault };
VirtualInterrupt virtual_interrupt(TranslateState& t, u8 vector, u64 next);

enum class TaskSwitch : u8 { Jump, Call, Iret, Event };
// SDM volume 3, 7.3. `return_pc` is saved in the old TSS. An event's error code is pushed on the new stack.
// False: an exception is pending, in the old task's context when the switch had not happened yet, else in the new one.
bool switch_task(TranslateState& t, u16 selector, TaskSwitch reason, u64 return_pc, u32 ext = 0, bool has_error = false,
                 u32 error = 0);

// --- Control
// -------------------------------------------------------------------------------------------------------------------

bool require_cpl0(TranslateState& t);
// What an access to a control or debug register, or RDPMC, refuses whoever intercepts it: #UD, #GP(0), #DB for general
// detect.
bool check_control_read(TranslateState& t, u32 index);
bool check_control_write(TranslateState& t, u32 index, u64 value);
bool check_debug_read(TranslateState& t, u32 index);
bool check_debug_write(TranslateState& t, u32 index, u64 value);
bool check_rdpmc(TranslateState& t);
// Bits of EFER that exist on the model, LMA apart.
u64 writable_efer(const CpuModel& model);
// Loads s.pdpte from `cr3`: #GP(0) for reserved bits in a present entry.
bool load_pdptes(TranslateState& t, u64 cr3);

// Raises #DB for a trap that waits or an instruction breakpoint at s.rip, if there is one: true.
bool debug_before_fetch(TranslateState& t);
// Gives RF back to the instruction at s.rip, which has begun with it and is left before it was executed.
void debug_undo(TranslateState& t);
// Notes I/O breakpoint hits (CR4.DE).
void debug_port(TranslateState& t, u16 port, unsigned size);

// Accesses to MSRs without the privilege check. False: #GP(0), raised by the caller.
bool msr_read(TranslateState& t, u32 index, u64& value);
bool msr_write(TranslateState& t, u32 index, u64 value);

}  // namespace tandem::cpu::x86

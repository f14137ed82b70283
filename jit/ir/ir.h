// The intermediate representation: one straight-line block of typed SSA values per guest basic block.
//
// Rules every producer and pass keeps (checked by verify(), jit/ir/verifier.h):
//  - A value is named by the index of the instruction that makes it; arguments name earlier instructions.
//  - Guest state is read and written by GetState/SetState only. Engines may keep written slots in host registers, but
//    whenever the block is left, a kFault operation faults or a helper that reads state runs, memory holds exactly the
//    state of the program order so far, and the pc slot holds the pc of the current InsnStart.
//  - A guest instruction's SetState operations come after its last operation that can fault, so that a fault finds the
//    state as it was before the instruction (precise exceptions). A producer that must do otherwise says why.
//  - Slots do not overlap, and a block accesses each with one type. The exception are vector registers: a slot that a block
//    accesses as V256 it may also access by halves, as V128 at the slot's offset and at its offset + 16. A V128 write
//    changes that half only; a later V256 read sees both.
//  - The last instruction, and only it, is a terminator.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace tandem::jit::ir {

enum class Type : u8 { Void, I8, I16, I32, I64, V128, V256 };

// Bytes; 0 for Void.
constexpr unsigned size_of(Type t) {
    constexpr std::array<u8, 7> kSize{0, 1, 2, 4, 8, 16, 32};
    return kSize[static_cast<unsigned>(t)];
}
constexpr unsigned width_of(Type t) { return size_of(t) * 8; }
constexpr bool is_int(Type t) { return t >= Type::I8 && t <= Type::I64; }
constexpr bool is_vector(Type t) { return t >= Type::V128; }
constexpr Type int_type(unsigned bytes) {
    return bytes == 1 ? Type::I8 : bytes == 2 ? Type::I16 : bytes == 4 ? Type::I32 : Type::I64;
}

enum class Op : u16 {
#define TANDEM_IR_OP(name, text, sig, flags) name,
#include "jit/ir/opcodes.inc"
#undef TANDEM_IR_OP
    Count_
};

enum OpFlags : u8 { kNone = 0, kFault = 1, kSide = 2, kEnd = 4 };

struct OpInfo {
    std::string_view name;
    std::string_view signature;
    u8 flags;
};
const OpInfo& info(Op op);

// ICmp conditions (aux).
enum class Cond : u8 { Eq, Ne, Ult, Ule, Ugt, Uge, Slt, Sle, Sgt, Sge };

// aux of memory operations: which MMU index translates, and extra checks made before the access.
struct MemFlags {
    static constexpr u32 kMmuMask = 0x0f;      // MMU index (Guest defines their meaning)
    static constexpr u32 kForWrite = 1u << 4;  // a load whose page must be writable (first half of a read-modify-write)
    static constexpr u32 kAligned = 1u << 5;   // misaligned address: Guest::alignment_fault
    // Load-Exclusive and Store-Exclusive among several vCPUs (jit/runtime/line_marks.h). A load marks the line for this vCPU
    // before it reads; AtomicCas stores only while the mark is there, and when it is not, the result is not `expected`.
    static constexpr u32 kExclusive = 1u << 6;
    // An atomic that takes other vCPUs' marks of the line away when it stores.
    static constexpr u32 kClearsMarks = 1u << 7;
};

// aux of JumpInd: lets engines predict returns.
enum class JumpHint : u8 { None, Call, Return };

// Why generated code returns to the dispatcher. Also the non-zero statuses of kMayLeave helpers.
enum class LeaveReason : u32 {
    None = 0,
    Lookup = 1,     // mode, code mapping or interrupt state may have changed: find the next block afresh
    Exception = 2,  // the guest recorded a pending exception for Guest::deliver_exception
    Halt = 3,       // wait for an interrupt
    Interpret = 4,  // execute exactly one instruction at pc on the interpreter, with all checks, then go on
    Exit = 5,       // the vCPU's owner wants control (an accel::Exit is pending)
    Attention = 6,  // FrameHeader::attention was set
};

using Value = u32;
constexpr Value kNoValue = 0xffff;

struct Inst {
    Op op = Op::Const;
    Type type = Type::Void;  // of the result
    u8 nargs = 0;
    u32 aux = 0;
    std::array<u16, 4> args{0xffff, 0xffff, 0xffff, 0xffff};
    u64 imm = 0;
};
static_assert(sizeof(Inst) == 24);

struct Vec128 {
    u64 lo = 0;
    u64 hi = 0;
    bool operator==(const Vec128&) const = default;
};

struct Vec256 {
    Vec128 lo;
    Vec128 hi;
    bool operator==(const Vec256&) const = default;
};

// Identifies a translation together with the physical page it was read from: every input that changes what lift() emits.
struct BlockKey {
    u64 pc = 0;    // value of the guest's pc register
    u64 base = 0;  // added to pc to give the virtual address of the code (x86: CS base)
    u64 mode = 0;  // guest-defined mode bits
    bool operator==(const BlockKey&) const = default;
    [[nodiscard]] u64 address() const { return pc + base; }
};

struct Block {
    BlockKey key;
    std::vector<Inst> insts;
    std::vector<Vec128> vector_constants;  // of a V256 both halves, the low one first
    u64 fallthrough = 0;                   // Branch: pc when the condition is false
    u32 guest_bytes = 0;                   // bytes of guest code covered, from key.address() on
    u32 guest_insns = 0;

    void clear() {
        insts.clear();
        vector_constants.clear();
        fallthrough = 0;
        guest_bytes = guest_insns = 0;
    }
    [[nodiscard]] const Inst& at(Value v) const { return insts[v]; }
    [[nodiscard]] Type type_of(Value v) const { return insts[v].type; }
};

}  // namespace tandem::jit::ir

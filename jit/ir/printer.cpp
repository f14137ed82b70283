#include "jit/ir/printer.h"

#include <fmt/format.h>

#include "jit/guest/guest.h"

namespace tandem::jit::ir {
namespace {

// "rax", "vec3+8" inside a named slot, "#1234" for bytes without a name.
std::string slot_name(const Guest* guest, u64 offset) {
    if (guest != nullptr) {
        for (const StateSlot& slot : guest->layout().slots) {
            if (offset == slot.offset) return std::string(slot.name);
            if (offset > slot.offset && offset < slot.offset + size_of(slot.type)) {
                return fmt::format("{}+{}", slot.name, offset - slot.offset);
            }
        }
        if (offset == guest->layout().pc_offset) return "pc";
    }
    return fmt::format("#{}", offset);
}

std::string helper_name(const Guest* guest, u64 index) {
    if (guest != nullptr && index < guest->helpers().size()) return std::string(guest->helpers()[index].name);
    return fmt::format("helper{}", index);
}

std::string memory_flags(u32 flags) {
    std::string text = fmt::format(" mmu{}", flags & MemFlags::kMmuMask);
    if ((flags & MemFlags::kForWrite) != 0) text += " for-write";
    if ((flags & MemFlags::kAligned) != 0) text += " aligned";
    if ((flags & MemFlags::kExclusive) != 0) text += " exclusive";
    if ((flags & MemFlags::kClearsMarks) != 0) text += " clears-marks";
    return text;
}

// What an instruction says besides its arguments: before them, and after them.
struct Decoration {
    std::string before;
    std::string after;
};

Decoration decorate(const Block& block, const Inst& i, const Guest* guest) {
    switch (i.op) {
        case Op::Const: return {fmt::format("{:#x}", i.imm), ""};
        case Op::ConstV: {
            if (i.imm >= block.vector_constants.size()) return {fmt::format("[{}]", i.imm), ""};
            const Vec128& v = block.vector_constants[i.imm];
            if (i.type != Type::V256 || i.imm + 1 >= block.vector_constants.size()) {
                return {fmt::format("{:#018x}:{:016x}", v.hi, v.lo), ""};
            }
            const Vec128& high = block.vector_constants[i.imm + 1];
            return {fmt::format("{:#018x}:{:016x}:{:016x}:{:016x}", high.hi, high.lo, v.hi, v.lo), ""};
        }
        case Op::GetState:
        case Op::SetState: return {slot_name(guest, i.imm), ""};
        case Op::ICmp: return {std::string(to_string(static_cast<Cond>(i.aux))), ""};
        case Op::Deposit: return {"", fmt::format(" at {}", i.imm)};
        case Op::CallIf:
        case Op::Call: return {helper_name(guest, i.imm), ""};
        case Op::InsnStart: return {fmt::format("{:#x} length {}", i.imm, i.aux), ""};
        case Op::Jump: return {fmt::format("{:#x}", i.imm), ""};
        case Op::Branch: return {"", fmt::format(" ? {:#x} : {:#x}", i.imm, block.fallthrough)};
        case Op::JumpInd: {
            constexpr std::array<std::string_view, 3> kHint{"", " call", " return"};
            return {"", std::string(kHint[i.aux % 3])};
        }
        case Op::Leave: return {std::string(to_string(static_cast<LeaveReason>(i.imm))), ""};
        default: break;
    }
    if ((info(i.op).flags & kFault) != 0) {
        return {"", (i.imm != 0 ? fmt::format(" disp {:#x}", i.imm) : std::string()) + memory_flags(i.aux)};
    }
    return {"", i.aux != 0 ? fmt::format(" ${}", i.aux) : std::string()};
}

}  // namespace

std::string_view to_string(Type t) {
    constexpr std::array<std::string_view, 7> kName{"void", "i8", "i16", "i32", "i64", "v128", "v256"};
    return t <= Type::V256 ? kName[static_cast<unsigned>(t)] : "bad-type";
}

std::string_view to_string(Cond c) {
    constexpr std::array<std::string_view, 10> kName{"eq", "ne", "ult", "ule", "ugt", "uge", "slt", "sle", "sgt", "sge"};
    return c <= Cond::Sge ? kName[static_cast<unsigned>(c)] : "bad-condition";
}

std::string_view to_string(LeaveReason r) {
    constexpr std::array<std::string_view, 7> kName{"none", "lookup", "exception", "halt", "interpret", "exit", "attention"};
    return r <= LeaveReason::Attention ? kName[static_cast<unsigned>(r)] : "bad-reason";
}

std::string print(const Block& block, Value index, const Guest* guest) {
    const Inst& i = block.at(index);
    if (i.op >= Op::Count_) return fmt::format("%{} = bad-op {}", index, static_cast<unsigned>(i.op));
    std::string text = i.type == Type::Void ? std::string() : fmt::format("%{}.{} = ", index, to_string(i.type));
    const Decoration d = decorate(block, i, guest);
    text += info(i.op).name;
    if (!d.before.empty()) text += " " + d.before;
    for (unsigned n = 0; n < i.nargs && n < i.args.size(); ++n) {
        text += fmt::format("{} %{}", n != 0 || !d.before.empty() ? "," : "", i.args[n]);
    }
    return text + d.after;
}

std::string print(const Block& block, const Guest* guest) {
    std::string text = fmt::format("block {:#x} base {:#x} mode {:#x}: {} instructions, {} bytes\n", block.key.pc,
                                   block.key.base, block.key.mode, block.guest_insns, block.guest_bytes);
    for (Value v = 0; v < block.insts.size(); ++v) {
        text += fmt::format("{}{}\n", block.insts[v].op == Op::InsnStart ? "  " : "    ", print(block, v, guest));
    }
    return text;
}

}  // namespace tandem::jit::ir

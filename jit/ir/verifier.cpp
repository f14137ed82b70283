#include "jit/ir/verifier.h"

#include <fmt/format.h>

#include "base/bits.h"
#include "jit/guest/guest.h"
#include "jit/ir/printer.h"
#include "jit/ir/strict.h"
#include "jit/ir/vector_row.h"

namespace tandem::jit::ir {
namespace {

// Limits that the signature letters do not express.
enum class Limit : u8 {
    None,
    I32Up,       // own type is I32 or I64
    I16Up,       // own type is I16 .. I64
    Widen,       // own type wider than argument 0
    Narrow,      // own type narrower than argument 0
    Immediate,   // aux is an 8-bit immediate
    Result32,    // own type is I32
    Source32Up,  // last argument is I32 or I64
};

Limit limit_of(Op op) {
    switch (op) {
        case Op::MulHiU:
        case Op::MulHiS:
        case Op::Shl:
        case Op::Shr:
        case Op::Sar:
        case Op::Clz:
        case Op::Ctz:
        case Op::Popcnt: return Limit::I32Up;
        case Op::Bswap: return Limit::I16Up;
        case Op::ZExt:
        case Op::SExt: return Limit::Widen;
        case Op::Trunc: return Limit::Narrow;
        case Op::VFromI: return Limit::Source32Up;
        default: break;
    }
    const VectorRow& row = vector_row(op);
    if (row.has_immediate()) return Limit::Immediate;
    switch (row.form) {
        case VectorForm::VTEST:
        case VectorForm::FCMP: return Limit::Result32;
        case VectorForm::VTOI:
        case VectorForm::FTOI: return Limit::I32Up;
        case VectorForm::ITOF: return Limit::Source32Up;
        default: return Limit::None;
    }
}

class Verifier {
public:
    Verifier(const Block& block, const Guest* guest) : block_(block), guest_(guest) {}

    Result<void> run() {
        if (block_.insts.empty()) return Error{Errc::Internal, "block without instructions"};
        if (block_.insts.size() >= kNoValue) return Error{Errc::Internal, "block with too many instructions to name"};
        for (index_ = 0; index_ < block_.insts.size(); ++index_) {
            if (const std::string why = check(block_.insts[index_]); !why.empty()) {
                return Error{Errc::Internal, fmt::format("block {:#x}, instruction {}: {}: {}", block_.key.pc, index_,
                                                         print(block_, index_, guest_), why)};
            }
        }
        return {};
    }

private:
    struct Slot {
        u64 offset;
        Type type;
    };

    // The broken rule, or an empty string.
    std::string check(const Inst& i) {
        if (i.op >= Op::Count_) return "unknown operation";
        const bool ends = (info(i.op).flags & kEnd) != 0;
        const bool last = index_ + 1 == block_.insts.size();
        if (ends != last) return ends ? "terminator before the end of the block" : "block does not end with a terminator";
        if (i.op == Op::InsnStart) in_instruction_ = true;
        std::string why = check_arguments(i);
        if (why.empty()) why = check_limit(i);
        if (why.empty()) why = check_operation(i);
        return why;
    }

    [[nodiscard]] Type arg_type(const Inst& i, unsigned n) const { return block_.insts[i.args[n]].type; }

    std::string check_arguments(const Inst& i) const {
        const std::string_view signature = info(i.op).signature;
        const std::string_view wanted = signature.substr(2);
        const bool optional = i.op == Op::Call || (i.op == Op::CallIf && i.nargs != 0);
        if (i.nargs > wanted.size() || (!optional && i.nargs != wanted.size())) {
            return fmt::format("{} arguments where {} are due", i.nargs, wanted.size());
        }
        for (unsigned n = 0; n < i.args.size(); ++n) {
            if (n >= i.nargs) {
                if (i.args[n] != kNoValue) return fmt::format("argument {} given beyond the count", n);
            } else if (i.args[n] >= index_) {
                return fmt::format("argument {} names no earlier instruction", n);
            }
        }
        if (std::string why = check_result(signature[0], i); !why.empty()) return why;
        Type common = Type::Void;
        Type vector = signature[0] == 'V' ? i.type : Type::Void;
        for (unsigned n = 0; n < i.nargs; ++n) {
            const Type t = arg_type(i, n);
            if (wanted[n] == 'V' && is_vector(t) && vector == Type::Void) vector = t;
            if (!accepts(wanted[n], wanted[n] == 'V' ? vector : i.type, t, common)) {
                return fmt::format("argument {} is {}, not {}", n, to_string(t),
                                   describe(wanted[n], wanted[n] == 'V' ? vector : i.type));
            }
            if (wanted[n] == 'B' && block_.insts[i.args[n]].op == Op::Const && block_.insts[i.args[n]].imm > 1) {
                return fmt::format("argument {} is neither 0 nor 1", n);
            }
        }
        return {};
    }

    static std::string check_result(char letter, const Inst& i) {
        bool ok = i.type <= Type::V256;
        switch (letter) {
            case '-': ok = i.type == Type::Void; break;
            case 'V': ok = is_vector(i.type); break;
            case 'X': ok = i.type == Type::V128; break;
            case 'Y': ok = i.type == Type::V256; break;
            case 'B': ok = i.type == Type::I8; break;
            default:
                if (i.op == Op::Call) break;
                ok = is_int(i.type) ||
                     (is_vector(i.type) && (i.op == Op::GetState || i.op == Op::Load || i.op == Op::Select));
                break;
        }
        return ok ? std::string() : fmt::format("result may not be {}", to_string(i.type));
    }

    // `common` is the type all I arguments so far agreed on.
    static bool accepts(char letter, Type own, Type t, Type& common) {
        switch (letter) {
            case 'T':
            case 'V': return t == own;
            case 'B':
            case 'C': return t == Type::I8;
            case 'A': return t == Type::I64;
            case 'X': return t == Type::V128;
            case 'Y': return t == Type::V256;
            case 'S': return t != Type::Void;
            case 'I':
                if (!is_int(t) || (common != Type::Void && common != t)) return false;
                common = t;
                return true;
            default: return false;
        }
    }

    static std::string describe(char letter, Type own) {
        switch (letter) {
            case 'T': return std::string(to_string(own));
            case 'B':
            case 'C': return "i8";
            case 'A': return "i64";
            case 'V': return own == Type::Void ? "a vector" : std::string(to_string(own));
            case 'X': return "v128";
            case 'Y': return "v256";
            case 'I': return "an integer of the common type";
            default: return "a value";
        }
    }

    std::string check_limit(const Inst& i) const {
        const auto is32up = [](Type t) { return t == Type::I32 || t == Type::I64; };
        switch (limit_of(i.op)) {
            case Limit::None: return {};
            case Limit::I32Up: return is32up(i.type) ? "" : "only i32 and i64 are defined";
            case Limit::I16Up: return i.type != Type::I8 ? "" : "not defined for i8";
            case Limit::Widen: return size_of(i.type) > size_of(arg_type(i, 0)) ? "" : "result is not wider";
            case Limit::Narrow: return size_of(i.type) < size_of(arg_type(i, 0)) ? "" : "result is not narrower";
            case Limit::Immediate: return i.aux <= 0xff ? "" : "immediate does not fit into 8 bits";
            case Limit::Result32: return i.type == Type::I32 ? "" : "result must be i32";
            case Limit::Source32Up: return is32up(arg_type(i, i.nargs - 1u)) ? "" : "integer argument must be i32 or i64";
        }
        return {};
    }

    std::string check_operation(const Inst& i) {
        if (i.op == Op::CallIf) return check_conditional_call(i);
        if ((info(i.op).flags & kFault) != 0) return check_memory(i);
        if (const VectorRow& row = vector_row(i.op); row.form != VectorForm::None) {
            return row.defined_for(vector_type(block_, i)) ? "" : "not defined for this width";
        }
        switch (i.op) {
            case Op::Const: return (i.imm & ~mask(width_of(i.type))) == 0 ? "" : "value does not fit its type";
            case Op::ConstV:
                return i.imm + size_of(i.type) / 16 <= block_.vector_constants.size() &&
                               i.imm < block_.vector_constants.size()
                           ? ""
                           : "no such vector constant";
            case Op::GetState: return check_slot(i.imm, i.type);
            case Op::SetState: return check_slot(i.imm, arg_type(i, 0));
            case Op::Deposit:
                return i.imm + width_of(arg_type(i, 1)) <= width_of(i.type) && i.imm < 64 ? "" : "field exceeds the value";
            case Op::ICmp: return i.aux <= static_cast<u32>(Cond::Sge) ? "" : "unknown condition";
            case Op::VExtract: return (i.aux + u64{1}) * size_of(i.type) <= 16 ? "" : "no such lane";
            case Op::VInsert: return (i.aux + u64{1}) * size_of(arg_type(i, 1)) <= 16 ? "" : "no such lane";
            case Op::Call: return check_call(i);
            case Op::JumpInd: return i.aux <= static_cast<u32>(JumpHint::Return) ? "" : "unknown hint";
            case Op::Leave: return i.imm != 0 && i.imm <= static_cast<u64>(LeaveReason::Attention) ? "" : "unknown reason";
            default: return {};
        }
    }

    std::string check_memory(const Inst& i) const {
        constexpr u32 kKnown = MemFlags::kMmuMask | MemFlags::kForWrite | MemFlags::kAligned | MemFlags::kExclusive |
                               MemFlags::kClearsMarks | StrictAlignment::kMask;
        if (!in_instruction_) return "memory access outside a guest instruction";
        if ((i.aux & ~kKnown) != 0) return "unknown memory flags";
        if ((i.aux & MemFlags::kMmuMask) >= kMmuModes) return "no such MMU index";
        if ((i.aux & MemFlags::kForWrite) != 0 && i.op != Op::Load) return "for-write is a load's flag";
        const bool exclusive = (i.aux & MemFlags::kExclusive) != 0, clears = (i.aux & MemFlags::kClearsMarks) != 0;
        const bool atomic = i.op >= Op::AtomicXchg && i.op <= Op::AtomicCas;
        if (exclusive && i.op != Op::Load && i.op != Op::AtomicCas) return "exclusive is for loads and compare-and-swap";
        if (exclusive && !is_int(i.type)) return "exclusive accesses are of integers";
        if (clears && (!atomic || exclusive)) return "only atomics that are not exclusive clear marks";
        if (atomic && !is_int(i.type)) return "atomics are for integers";
        return {};
    }

    // One of the V128 halves of a V256 slot.
    static bool is_half(const Slot& whole, u64 offset, Type type) {
        return whole.type == Type::V256 && type == Type::V128 && (offset == whole.offset || offset == whole.offset + 16);
    }

    std::string check_slot(u64 offset, Type type) {
        const u64 size = size_of(type);
        if (guest_ != nullptr && (offset > guest_->layout().size || size > guest_->layout().size - offset)) {
            return "slot lies outside the guest state";
        }
        for (const Slot& s : slots_) {
            if (s.offset == offset && s.type == type) return {};
            if (is_half(s, offset, type) || is_half({offset, type}, s.offset, s.type)) continue;
            if (offset < s.offset + size_of(s.type) && s.offset < offset + size) {
                return fmt::format("slot overlaps the one used as {} at {}", to_string(s.type), s.offset);
            }
        }
        slots_.push_back({offset, type});
        return {};
    }

    std::string check_call(const Inst& i) const {
        for (unsigned n = 0; n < i.nargs; ++n) {
            if (!is_int(arg_type(i, n))) return fmt::format("argument {} is not an integer", n);
        }
        if (is_vector(i.type)) return "helpers return integers or nothing";
        if (guest_ == nullptr) return {};
        const auto helpers = guest_->helpers();
        if (i.imm >= helpers.size()) return "no such helper";
        const Helper& h = helpers[i.imm];
        if (h.result != i.type) return fmt::format("the helper returns {}", to_string(h.result));
        if (h.arguments != i.nargs) return fmt::format("the helper takes {} arguments", h.arguments);
        if ((h.flags & kMayLeave) != 0 && h.result != Type::I32) return "a helper that may leave returns i32";
        if ((h.flags & (kReadsState | kMayLeave)) != 0 && !in_instruction_) return "no instruction has started";
        return {};
    }

    [[nodiscard]] std::string check_conditional_call(const Inst& i) const {
        if (!in_instruction_) return "no instruction has started";
        for (unsigned n = 1; n < i.nargs; ++n) {
            if (!is_int(arg_type(i, n))) return fmt::format("argument {} is not an integer", n);
        }
        if (guest_ == nullptr) return {};
        const auto helpers = guest_->helpers();
        if (i.imm >= helpers.size()) return "no such helper";
        const Helper& h = helpers[i.imm];
        if ((h.flags & kMayLeave) == 0 || h.result != Type::I32)
            return "only a helper that may leave is called on a condition";
        return h.arguments + 1u == i.nargs ? "" : fmt::format("the helper takes {} arguments", h.arguments);
    }

    const Block& block_;
    const Guest* guest_;
    Value index_ = 0;
    bool in_instruction_ = false;
    std::vector<Slot> slots_;
};

}  // namespace

Result<void> verify(const Block& block, const Guest* guest) { return Verifier(block, guest).run(); }

}  // namespace tandem::jit::ir

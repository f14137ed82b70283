#include "jit/interp/interpreter.h"

#include <emmintrin.h>

#include <atomic>
#include <cstring>

#include "jit/ir/eval.h"
#include "jit/ir/vector_row.h"
#include "jit/runtime/slow_paths.h"

namespace tandem::jit::interp {
namespace {

using ir::Inst;
using ir::LeaveReason;
using ir::MemFlags;
using ir::Op;
using ir::Type;

// These three reach guest memory too. Whether a guest's processors race is the guest's affair.
__attribute__((no_sanitize("thread"))) u64 read_bytes(const void* from, unsigned size) {
    switch (size) {
        case 1: return *static_cast<const u8*>(from);
        case 2: {
            u16 v = 0;
            std::memcpy(&v, from, 2);
            return v;
        }
        case 4: {
            u32 v = 0;
            std::memcpy(&v, from, 4);
            return v;
        }
        default: {
            u64 v = 0;
            std::memcpy(&v, from, 8);
            return v;
        }
    }
}

__attribute__((no_sanitize("thread"))) void write_bytes(void* to, const Slot& v, unsigned size) {
    switch (size) {
        case 1: std::memcpy(to, &v.lo, 1); break;
        case 2: std::memcpy(to, &v.lo, 2); break;
        case 4: std::memcpy(to, &v.lo, 4); break;
        case 8: std::memcpy(to, &v.lo, 8); break;
        case 16: std::memcpy(to, &v, 16); break;
        default: std::memcpy(to, &v, 32); break;
    }
}

__attribute__((no_sanitize("thread"))) Slot read_typed(const void* from, Type t) {
    Slot s;
    if (t == Type::V128) {
        std::memcpy(static_cast<void*>(&s), from, 16);
    } else if (t == Type::V256) {
        std::memcpy(static_cast<void*>(&s), from, 32);
    } else {
        s.lo = read_bytes(from, ir::size_of(t));
    }
    return s;
}

// The host address of an access that the soft TLB allows without further ado, or null.
template <u64 TlbEntry::* Tag>
u8* tlb_hit(const FrameHeader& header, u64 va, u32 flags, unsigned size) {
    if ((flags & MemFlags::kAligned) != 0 && (va & (size - 1)) != 0) return nullptr;
    if ((flags & MemFlags::kExclusive) != 0) return nullptr;
    const TlbView& view = header.tlb[flags & MemFlags::kMmuMask];
    const auto* entry =
        reinterpret_cast<const TlbEntry*>(reinterpret_cast<const u8*>(view.entries) + ((va >> 7) & view.mask_bytes));
    const u64 tag = std::atomic_ref(const_cast<TlbEntry*>(entry)->*Tag).load(std::memory_order_relaxed);
    if (((va + size - 1) & kPageMask) != tag || (va & kPageMask) != tag) return nullptr;
    return reinterpret_cast<u8*>(va + entry->addend);
}

u64 call_helper(const Helper& h, void* state, const u64 a[4]) {
    const auto raw = h.function;
    switch (h.arguments) {
        case 0: return reinterpret_cast<u64 (*)(void*)>(reinterpret_cast<u64>(raw))(state);
        case 1: return reinterpret_cast<u64 (*)(void*, u64)>(reinterpret_cast<u64>(raw))(state, a[0]);
        case 2: return reinterpret_cast<u64 (*)(void*, u64, u64)>(reinterpret_cast<u64>(raw))(state, a[0], a[1]);
        case 3: return reinterpret_cast<u64 (*)(void*, u64, u64, u64)>(reinterpret_cast<u64>(raw))(state, a[0], a[1], a[2]);
        default:
            return reinterpret_cast<u64 (*)(void*, u64, u64, u64, u64)>(reinterpret_cast<u64>(raw))(state, a[0], a[1], a[2],
                                                                                                    a[3]);
    }
}

}  // namespace

// One run of one block.
struct Execution {
    Interpreter& interp;
    void* state;
    const ir::Block& block;
    Slot* values;
    u64 started = 0;  // instructions begun

    [[nodiscard]] u8* slot(u64 offset) const { return static_cast<u8*>(state) + offset; }
    [[nodiscard]] u64 arg(const Inst& i, unsigned n) const { return values[i.args[n]].lo; }
    [[nodiscard]] Type arg_type(const Inst& i, unsigned n) const { return block.insts[i.args[n]].type; }
    void set_pc(u64 pc) const { std::memcpy(slot(interp.pc_offset_), &pc, 8); }

    LeaveReason jump(u64 pc) const {
        set_pc(pc);
        interp.completed_ += started;
        return LeaveReason::None;
    }

    // The current instruction did or did not complete, by the reason it leaves with.
    LeaveReason leave(LeaveReason why) const {
        const bool undone = why == LeaveReason::Exception || why == LeaveReason::Interpret || why == LeaveReason::Attention;
        interp.completed_ += started - (undone && started != 0 ? 1 : 0);
        return why;
    }

    LeaveReason load(const Inst& i, Slot& out) const {
        const unsigned size = ir::size_of(i.type);
        const u64 va = arg(i, 0) + i.imm;
        FrameHeader& header = header_of(state);
        const u8* host = (i.aux & MemFlags::kForWrite) != 0 ? tlb_hit<&TlbEntry::write_tag>(header, va, i.aux, size)
                                                            : tlb_hit<&TlbEntry::read_tag>(header, va, i.aux, size);
        if (host != nullptr) {
            out = read_typed(host, i.type);
            return LeaveReason::None;
        }
        const u32 why = tandem_slow_load(state, va, access_spec(i.aux, size));
        out = {header.scratch[0], header.scratch[1], {header.scratch[2], header.scratch[3]}};
        return static_cast<LeaveReason>(why);
    }

    LeaveReason store(const Inst& i) const {
        const unsigned size = ir::size_of(arg_type(i, 1));
        const u64 va = arg(i, 0) + i.imm;
        const Slot& value = values[i.args[1]];
        if (u8* host = tlb_hit<&TlbEntry::write_tag>(header_of(state), va, i.aux, size)) {
            write_bytes(host, value, size);
            return LeaveReason::None;
        }
        if (size == 32) std::memcpy(&header_of(state).scratch[kScratchValue], &value, sizeof value);
        return static_cast<LeaveReason>(tandem_slow_store(state, va, access_spec(i.aux, size), value.lo, value.hi));
    }

    // Masked accesses are the runtime's, as rare as they are.
    [[nodiscard]] u32 masked_spec(const Inst& i, Type t) const {
        std::memcpy(&header_of(state).scratch[kScratchMask], &values[i.args[1]], sizeof(Slot));
        return access_spec(i.aux, ir::size_of(t), ir::masked_element(i.op));
    }

    LeaveReason mask_load(const Inst& i, Slot& out) const {
        const u32 why = tandem_slow_load(state, arg(i, 0) + i.imm, masked_spec(i, i.type));
        std::memcpy(static_cast<void*>(&out), &header_of(state).scratch[kScratchValue], sizeof out);
        return static_cast<LeaveReason>(why);
    }

    LeaveReason mask_store(const Inst& i) const {
        const Slot& value = values[i.args[2]];
        const u32 spec = masked_spec(i, arg_type(i, 2));
        std::memcpy(&header_of(state).scratch[kScratchValue], &value, sizeof value);
        return static_cast<LeaveReason>(tandem_slow_store(state, arg(i, 0) + i.imm, spec, value.lo, value.hi));
    }

    LeaveReason atomic(const Inst& i, Slot& out) const {
        const unsigned which = static_cast<unsigned>(i.op) - static_cast<unsigned>(Op::AtomicXchg);
        const u32 spec = access_spec(i.aux, ir::size_of(i.type), which);
        const u32 why = tandem_slow_atomic(state, arg(i, 0) + i.imm, spec, arg(i, 1), i.nargs > 2 ? arg(i, 2) : 0);
        out = {header_of(state).scratch[0]};
        return static_cast<LeaveReason>(why);
    }

    LeaveReason call(const Inst& i, Slot& out) const {
        const Helper& h = interp.helpers_[i.imm];
        u64 a[4] = {};
        for (unsigned n = 0; n < i.nargs; ++n) a[n] = arg(i, n);
        const u64 result = call_helper(h, state, a);
        out = {result & mask(ir::width_of(i.type))};
        return (h.flags & kMayLeave) != 0 ? static_cast<LeaveReason>(out.lo) : LeaveReason::None;
    }

    [[nodiscard]] LeaveReason call_if(const Inst& i) const {
        if (arg(i, 0) == 0) return LeaveReason::None;
        u64 a[4] = {};
        for (unsigned n = 1; n < i.nargs; ++n) a[n - 1] = arg(i, n);
        return static_cast<LeaveReason>(static_cast<u32>(call_helper(interp.helpers_[i.imm], state, a)));
    }

    void vector_row(const Inst& i, Slot& out) const {
        const Slot* args[3] = {&values[i.args[0]], nullptr, nullptr};
        for (unsigned n = 1; n < i.nargs; ++n) args[n] = &values[i.args[n]];
        const Type integer = ir::is_vector(i.type) ? arg_type(i, i.nargs - 1u) : i.type;
        execute_vector_row(i, ir::vector_type(block, i), integer, args, out);
    }

    [[nodiscard]] Slot vector_constant(const Inst& i) const {
        Slot s;
        std::memcpy(static_cast<void*>(&s), &block.vector_constants[i.imm], ir::size_of(i.type));
        return s;
    }

    static Slot extract(const Inst& i, const Slot& from) {
        const unsigned size = ir::size_of(i.type);
        return {read_bytes(reinterpret_cast<const u8*>(&from) + u64{i.aux} * size, size)};
    }

    [[nodiscard]] Slot insert(const Inst& i) const {
        Slot s = values[i.args[0]];
        const unsigned size = ir::size_of(arg_type(i, 1));
        write_bytes(reinterpret_cast<u8*>(&s) + u64{i.aux} * size, values[i.args[1]], size);
        return s;
    }

    LeaveReason run();
};

// clang-format off
#define TANDEM_UNARY(Name) case Op::Name: out.lo = ir::eval_unary(Op::Name, ir::width_of(i.type), arg(i, 0)); break;
#define TANDEM_BINARY(Name) case Op::Name: out.lo = ir::eval_binary(Op::Name, ir::width_of(i.type), arg(i, 0), arg(i, 1)); break;
#define TANDEM_CARRY(Name) \
    case Op::Name: out.lo = ir::eval_carry(Op::Name, ir::width_of(arg_type(i, 0)), arg(i, 0), arg(i, 1), arg(i, 2)); break;
// Operations that may leave the block.
#define TANDEM_LEAVING(Name, expression) \
    case Op::Name: if (const LeaveReason why = expression; why != LeaveReason::None) return leave(why); break;
// clang-format on

LeaveReason Execution::run() {
    const Inst* i_next = block.insts.data();
    const Inst* const end = i_next + block.insts.size();
    for (Slot* o = values; i_next != end; ++i_next, ++o) {
        const Inst& i = *i_next;
        Slot& out = *o;
        switch (i.op) {
            case Op::Const: out.lo = i.imm; break;
            case Op::ConstV: out = vector_constant(i); break;
            case Op::GetState: out = read_typed(slot(i.imm), i.type); break;
            case Op::SetState:
                write_bytes(slot(i.imm), values[i.args[0]], ir::size_of(arg_type(i, 0)));
                break;
                TANDEM_BINARY(Add)
                TANDEM_BINARY(Sub)
                TANDEM_BINARY(Mul)
                TANDEM_BINARY(MulHiU)
                TANDEM_BINARY(MulHiS)
                TANDEM_BINARY(And)
                TANDEM_BINARY(Or)
                TANDEM_BINARY(Xor)
                TANDEM_UNARY(Neg)
                TANDEM_UNARY(Not)
                TANDEM_BINARY(Shl)
                TANDEM_BINARY(Shr)
                TANDEM_BINARY(Sar)
                TANDEM_BINARY(Rol)
                TANDEM_BINARY(Ror)
                TANDEM_CARRY(AddC)
                TANDEM_CARRY(CarryOut)
                TANDEM_CARRY(SubB)
                TANDEM_CARRY(BorrowOut)
                TANDEM_UNARY(Clz)
                TANDEM_UNARY(Ctz)
                TANDEM_UNARY(Popcnt)
                TANDEM_UNARY(Bswap)
            case Op::ZExt: out.lo = arg(i, 0); break;
            case Op::SExt:
                out.lo = static_cast<u64>(sign_extend(arg(i, 0), ir::width_of(arg_type(i, 0)))) & mask(ir::width_of(i.type));
                break;
            case Op::Trunc: out.lo = arg(i, 0) & mask(ir::width_of(i.type)); break;
            case Op::Deposit:
                out.lo = ir::eval_deposit(arg(i, 0), arg(i, 1), ir::width_of(arg_type(i, 1)), static_cast<unsigned>(i.imm));
                break;
            case Op::ICmp:
                out.lo = ir::eval_icmp(static_cast<ir::Cond>(i.aux), ir::width_of(arg_type(i, 0)), arg(i, 0), arg(i, 1));
                break;
            case Op::Select:
                out = values[i.args[arg(i, 0) != 0 ? 1 : 2]];
                break;
                TANDEM_LEAVING(Load, load(i, out))
                TANDEM_LEAVING(Store, store(i))
                TANDEM_LEAVING(AtomicXchg, atomic(i, out))
                TANDEM_LEAVING(AtomicAdd, atomic(i, out))
                TANDEM_LEAVING(AtomicAnd, atomic(i, out))
                TANDEM_LEAVING(AtomicOr, atomic(i, out))
                TANDEM_LEAVING(AtomicXor, atomic(i, out))
                TANDEM_LEAVING(AtomicCas, atomic(i, out))
                TANDEM_LEAVING(MaskLoadD, mask_load(i, out))
                TANDEM_LEAVING(MaskLoadQ, mask_load(i, out))
                TANDEM_LEAVING(MaskStoreD, mask_store(i))
                TANDEM_LEAVING(MaskStoreQ, mask_store(i))
            case Op::Fence:
                _mm_mfence();
                break;
                TANDEM_LEAVING(Call, call(i, out))
                TANDEM_LEAVING(CallIf, call_if(i))
            case Op::InsnStart:
                set_pc(i.imm);
                ++started;
                break;
            case Op::VFromI: out = {arg(i, 0)}; break;
            case Op::VExtract: out = extract(i, values[i.args[0]]); break;
            case Op::VInsert: out = insert(i); break;
            case Op::VLow: out = {values[i.args[0]].lo, values[i.args[0]].hi}; break;
            case Op::VHigh: out = {values[i.args[0]].upper[0], values[i.args[0]].upper[1]}; break;
            case Op::VCombine:
                out = {values[i.args[0]].lo, values[i.args[0]].hi, {values[i.args[1]].lo, values[i.args[1]].hi}};
                break;
            case Op::VZext: out = {values[i.args[0]].lo, values[i.args[0]].hi}; break;
            case Op::Jump: return jump(i.imm);
            case Op::Branch: return jump(arg(i, 0) != 0 ? i.imm : block.fallthrough);
            case Op::JumpInd: return jump(arg(i, 0));
            case Op::Leave: return leave(static_cast<LeaveReason>(i.imm));
            default: vector_row(i, out); break;
        }
    }
    return leave(LeaveReason::Lookup);
}

LeaveReason Interpreter::run(void* state, const ir::Block& block) {
    if (values_.size() < block.insts.size()) values_.resize(block.insts.size() + 64);
    return Execution{*this, state, block, values_.data()}.run();
}

}  // namespace tandem::jit::interp

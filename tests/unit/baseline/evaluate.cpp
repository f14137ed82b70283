// The evaluator: IR's meaning written down a second time, as plainly as possible.
#include <bit>

#include "base/bits.h"
#include "tests/unit/baseline/machine.h"

namespace tandem::jit::test {

using ir::Cond;
using ir::Inst;
using ir::LeaveReason;
using ir::Op;
using ir::Type;

namespace {

u64 cut(u64 v, Type t) { return v & mask(ir::width_of(t)); }
i64 sext(u64 v, Type t) { return sign_extend(v, ir::width_of(t)); }

bool holds(Cond c, u64 a, u64 b, Type t) {
    const i64 sa = sext(a, t), sb = sext(b, t);
    switch (c) {
        case Cond::Eq: return a == b;
        case Cond::Ne: return a != b;
        case Cond::Ult: return a < b;
        case Cond::Ule: return a <= b;
        case Cond::Ugt: return a > b;
        case Cond::Uge: return a >= b;
        case Cond::Slt: return sa < sb;
        case Cond::Sle: return sa <= sb;
        case Cond::Sgt: return sa > sb;
        case Cond::Sge: return sa >= sb;
    }
    return false;
}

u64 rotate_left(u64 v, unsigned n, unsigned width) {
    n %= width;
    return n == 0 ? v : ((v << n) | (v >> (width - n))) & mask(width);
}

u64 byte_swap(u64 v, unsigned bytes) {
    u64 r = 0;
    for (unsigned i = 0; i < bytes; ++i) r |= ((v >> (8 * i)) & 0xff) << (8 * (bytes - 1 - i));
    return r;
}

u64 lane(const Wide& w, unsigned bytes, u32 index) {
    u64 v = 0;
    std::memcpy(&v, reinterpret_cast<const u8*>(&w) + index * bytes, bytes);
    return v;
}

class Evaluation {
public:
    Evaluation(Machine& machine, const ir::Block& block) : m_(machine), block_(block), values_(block.insts.size()) {}

    Outcome run() {
        set_pc(block_.key.pc);
        for (size_t n = 0; n < block_.insts.size() && !left_; ++n) step(static_cast<u16>(n));
        return out_;
    }

private:
    Type type(u16 v) const { return block_.insts[v].type; }
    void set_pc(u64 pc) { std::memcpy(m_.state() + kPcOffset, &pc, 8); }
    void go(LeaveReason why, bool direct = false) {
        out_ = {why, direct};
        left_ = true;
    }
    // Only jumps within the guest's page may be linked.
    void jump(u64 pc) {
        set_pc(pc);
        go(LeaveReason::Lookup, (pc & kPageMask) == (block_.key.pc & kPageMask));
    }
    void memory(u16 n, const Inst& i);
    void masked(u16 n, const Inst& i);
    void call(u16 n, const Inst& i);
    void call_if(const Inst& i);
    u64 integer(const Inst& i, u64 a, u64 b, u64 c) const;
    void step(u16 n);

    Machine& m_;
    const ir::Block& block_;
    std::vector<Wide> values_;
    Outcome out_;
    bool left_ = false;
};

void Evaluation::memory(u16 n, const Inst& i) {
    const bool store = i.op == Op::Store;
    const u64 va = values_[i.args[0]].lo + i.imm;
    const unsigned size = ir::size_of(store ? type(i.args[1]) : i.type);
    Wide data = store ? values_[i.args[1]] : Wide{};
    if (!m_.access(va, size, i.aux, store, reinterpret_cast<u8*>(&data))) return go(LeaveReason::Exception);
    if (store) return;
    values_[n] = data;
    if (i.op == Op::Load) return;
    const u64 operand = values_[i.args[1]].lo;
    u64 value = data.lo;
    switch (i.op) {
        case Op::AtomicXchg: value = operand; break;
        case Op::AtomicAdd: value += operand; break;
        case Op::AtomicAnd: value &= operand; break;
        case Op::AtomicOr: value |= operand; break;
        case Op::AtomicXor: value ^= operand; break;
        default: value = value == operand ? values_[i.args[2]].lo : value; break;
    }
    m_.access(va, size, i.aux, true, reinterpret_cast<u8*>(&value));
}

void Evaluation::masked(u16 n, const Inst& i) {
    const bool store = i.op == Op::MaskStoreD || i.op == Op::MaskStoreQ;
    const unsigned size = ir::size_of(type(i.args[1]));
    Wide data = store ? values_[i.args[2]] : Wide{};
    const auto* mask = reinterpret_cast<const u8*>(&values_[i.args[1]]);
    if (!m_.masked_access(values_[i.args[0]].lo + i.imm, size, ir::masked_element(i.op), i.aux, store, mask,
                          reinterpret_cast<u8*>(&data))) {
        return go(LeaveReason::Exception);
    }
    if (!store) values_[n] = data;
}

void Evaluation::call(u16 n, const Inst& i) {
    static const ToyGuest guest;
    const Helper& h = guest.helpers()[i.imm];
    u64 a[4] = {};
    for (unsigned k = 0; k < i.nargs; ++k) a[k] = values_[i.args[k]].lo;
    using F = u64 (*)(void*, u64, u64, u64, u64);
    u64 r = reinterpret_cast<F>(reinterpret_cast<u64>(h.function))(m_.state(), a[0], a[1], a[2], a[3]);
    if (h.result == Type::I32) r = cut(r, Type::I32);
    if ((h.flags & kMayLeave) != 0 && r != 0) return go(static_cast<LeaveReason>(r));
    values_[n] = {r, 0};
}

void Evaluation::call_if(const Inst& i) {
    static const ToyGuest guest;
    if (values_[i.args[0]].lo == 0) return;
    u64 a[3] = {};
    for (unsigned k = 1; k < i.nargs; ++k) a[k - 1] = values_[i.args[k]].lo;
    using F = u64 (*)(void*, u64, u64, u64);
    const Helper& h = guest.helpers()[i.imm];
    const u64 r = cut(reinterpret_cast<F>(reinterpret_cast<u64>(h.function))(m_.state(), a[0], a[1], a[2]), Type::I32);
    go(r != 0 ? static_cast<LeaveReason>(r) : LeaveReason::Interpret);
}

u64 Evaluation::integer(const Inst& i, u64 a, u64 b, u64 c) const {
    const Type t = i.type;
    const Type ta = i.nargs != 0 ? type(i.args[0]) : t;
    const unsigned w = ir::width_of(t);
    switch (i.op) {
        case Op::Add: return a + b;
        case Op::Sub: return a - b;
        case Op::Mul: return a * b;
        case Op::MulHiU: return static_cast<u64>((static_cast<u128>(a) * b) >> w);
        case Op::MulHiS: return static_cast<u64>((static_cast<i128>(sext(a, t)) * sext(b, t)) >> w);
        case Op::And: return a & b;
        case Op::Or: return a | b;
        case Op::Xor: return a ^ b;
        case Op::Neg: return -a;
        case Op::Not: return ~a;
        case Op::Shl: return a << (b % w);
        case Op::Shr: return a >> (b % w);
        case Op::Sar: return static_cast<u64>(sext(a, t) >> (b % w));
        case Op::Rol: return rotate_left(a, static_cast<unsigned>(b % w), w);
        case Op::Ror: return rotate_left(a, static_cast<unsigned>(w - b % w), w);
        case Op::AddC: return a + b + c;
        case Op::CarryOut: return static_cast<u64>((static_cast<u128>(a) + b + c) >> ir::width_of(ta)) & 1;
        case Op::SubB: return a - b - c;
        case Op::BorrowOut: return static_cast<u128>(a) < static_cast<u128>(b) + c;
        case Op::Clz: return a == 0 ? w : w - static_cast<unsigned>(std::bit_width(a));
        case Op::Ctz: return a == 0 ? w : static_cast<unsigned>(std::countr_zero(a));
        case Op::Popcnt: return static_cast<unsigned>(std::popcount(a));
        case Op::Bswap: return byte_swap(a, ir::size_of(t));
        case Op::ZExt:
        case Op::Trunc: return a;
        case Op::SExt: return static_cast<u64>(sext(a, ta));
        case Op::Deposit: {
            const u64 m = mask(ir::width_of(type(i.args[1]))) << i.imm;
            return (a & ~m) | (b << i.imm);
        }
        case Op::ICmp: return holds(static_cast<Cond>(i.aux), a, b, ta);
        default: return 0;
    }
}

void Evaluation::step(u16 n) {
    const Inst& i = block_.insts[n];
    Wide args[4];
    for (unsigned k = 0; k < i.nargs; ++k) args[k] = values_[i.args[k]];
    Wide& v = values_[n];
    switch (i.op) {
        case Op::Const: v = {cut(i.imm, i.type), 0}; return;
        case Op::ConstV: std::memcpy(static_cast<void*>(&v), &block_.vector_constants[i.imm], ir::size_of(i.type)); return;
        case Op::GetState: std::memcpy(static_cast<void*>(&v), m_.state() + i.imm, ir::size_of(i.type)); return;
        case Op::SetState: std::memcpy(m_.state() + i.imm, &args[0], ir::size_of(type(i.args[0]))); return;
        case Op::InsnStart: return set_pc(i.imm);
        case Op::Fence: return;
        case Op::Select: v = args[0].lo != 0 ? args[1] : args[2]; return;
        case Op::Call: return call(n, i);
        case Op::CallIf: return call_if(i);
        case Op::VFromI: v = {args[0].lo, 0}; return;
        case Op::VLow:
        case Op::VZext: v = {args[0].lo, args[0].hi}; return;
        case Op::VHigh: v = {args[0].upper[0], args[0].upper[1]}; return;
        case Op::VCombine: v = {args[0].lo, args[0].hi, {args[1].lo, args[1].hi}}; return;
        case Op::MaskLoadD:
        case Op::MaskLoadQ:
        case Op::MaskStoreD:
        case Op::MaskStoreQ: return masked(n, i);
        case Op::VExtract: v = {lane(args[0], ir::size_of(i.type), i.aux), 0}; return;
        case Op::VInsert: {
            v = args[0];
            const unsigned bytes = ir::size_of(type(i.args[1]));
            std::memcpy(reinterpret_cast<u8*>(&v) + i.aux * bytes, &args[1], bytes);
            return;
        }
        case Op::Jump: return jump(i.imm);
        case Op::Branch: return jump(args[0].lo != 0 ? i.imm : block_.fallthrough);
        case Op::JumpInd: set_pc(args[0].lo); return go(LeaveReason::Lookup);
        case Op::Leave: return go(static_cast<LeaveReason>(i.imm));
        default: break;
    }
    if (i.op >= Op::Load && i.op <= Op::AtomicCas) return memory(n, i);
    const Type second = i.nargs > 1 ? type(i.args[1]) : Type::Void;
    const Type vector = ir::vector_type(block_, i);
    if ((has_vex() && evaluate_vex_row(i, vector, args, second, v)) || evaluate_vector_row(i, args, second, v)) {
        if (ir::is_int(i.type)) v.lo = cut(v.lo, i.type);
        return;
    }
    v = {cut(integer(i, args[0].lo, args[1].lo, args[2].lo), i.type), 0};
}

}  // namespace

Outcome Machine::evaluate(const ir::Block& block) { return Evaluation(*this, block).run(); }

}  // namespace tandem::jit::test

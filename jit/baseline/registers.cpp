#include "jit/baseline/registers.h"

#include <bit>

namespace tandem::jit::baseline {

using asmjit::x86::Mem;
using ir::Type;

void Registers::configure(const StateLayout& layout) { slot_index_.assign(layout.size, kNone); }

void Registers::begin(const ir::Block& block) {
    block_ = &block;
    for (const Slot& s : slots_) slot_index_[s.offset] = kNone;
    slots_.clear();
    free_ = kGeneralMask | kVectorMask;
    general_cells_ = vector_cells_ = ~u64{0};
    locked_ = temps_ = pair_ = 0;
    now_ = 0;
    ok_ = true;
    upper_halves_ = false;
}

void Registers::clear_upper_halves() {
    if (upper_halves_) code_.vzeroupper();
    upper_halves_ = false;
}

void Registers::end_inst() {
    free_ |= temps_;
    temps_ = 0;
    for (const u16 v : touched_) release_if_dead(v);
}

void Registers::bind(u16 v, Reg r) {
    owner_[r] = v;
    values_[v].reg = r;
    free_ &= ~reg_bit(r);
}

// In the middle of an instruction: what dies at it may still be wanted by it.
void Registers::release_later(u16 v) {
    if (values_[v].last_use < now_) {
        release_if_dead(v);
    } else {
        touched_.push_back(v);
    }
}

void Registers::unbind(u16 v) {
    ValueInfo& i = values_[v];
    free_ |= reg_bit(i.reg);
    i.reg = kNoReg;
}

// Memory holds these slots' content, so nothing is lost by no longer knowing which value it is.
void Registers::detach_slots(u16 v) {
    if (values_[v].slots == 0) return;
    for (Slot& s : slots_) {
        if (s.value == v) s.value = kNone;
    }
    values_[v].slots = 0;
}

void Registers::release_if_dead(u16 v) {
    ValueInfo& i = values_[v];
    if (needed(i)) return;
    if (i.home == Home::Spill) {
        (vector(v) ? vector_cells_ : general_cells_) |= u64{1} << i.home_index;
        i.home = Home::None;
        if (i.reg == kNoReg) detach_slots(v);
    }
    if (i.slots == 0 && i.reg != kNoReg) unbind(v);
}

// The registers cheapest to encode first, those that instructions need for fixed operands (xmm0 among them) last.
Reg Registers::allocate(u32 candidates) {
    constexpr u32 kGroups[] = {
        reg_bit(kRbx) | reg_bit(kRsi) | reg_bit(kRdi) | kVectorMask << 1,
        reg_bit(kR8) | reg_bit(kR9) | reg_bit(kR10) | reg_bit(kR11),
        reg_bit(kRax) | reg_bit(kR14) | reg_bit(kR15),
        ~u32{0},
    };
    if ((free_ & candidates & ~locked_) == 0 && (pair_ & locked_) == 0) drop_pair();
    const u32 available = free_ & candidates & ~locked_;
    if (available != 0) {
        for (const u32 group : kGroups) {
            if ((available & group) != 0) return static_cast<Reg>(std::countr_zero(available & group));
        }
    }
    u32 rest = candidates & ~locked_ & ~free_;
    unsigned best_cost = ~0u;
    Reg best = kNoReg;
    for (; rest != 0; rest &= rest - 1) {
        const Reg r = static_cast<Reg>(std::countr_zero(rest));
        const unsigned cost = eviction_cost(r);
        if (cost < best_cost) {
            best_cost = cost;
            best = r;
        }
    }
    if (best == kNoReg) {
        ok_ = false;
        return static_cast<Reg>(std::countr_zero(candidates));
    }
    evict(owner_[best]);
    return best;
}

unsigned Registers::eviction_cost(Reg r) const {
    const ValueInfo& v = values_[owner_[r]];
    const unsigned far = 0xffffu - v.last_use;
    if (v.last_use < now_ && v.dirty == 0) return 0;
    if (v.home == Home::Const) return 1u << 16 | far;
    if (v.home != Home::None && v.dirty == 0) return 2u << 16 | far;
    if (v.last_use < now_) return 3u << 16;
    return 4u << 16 | far;
}

Mem Registers::cell(u16 index, bool is_vector) const {
    return is_vector ? stack(kVectorSpill + index * kVectorCell) : stack(kGeneralSpill + index * 8);
}

Mem Registers::home_of(const ValueInfo& v, unsigned size) const {
    Mem m = v.home == Home::Slot ? frame(slots_[v.home_index].offset) : cell(v.home_index, false);
    m.setSize(size);
    return m;
}

// A place in memory for a value that is needed further and is about to lose its register.
void Registers::give_home(u16 v) {
    ValueInfo& i = values_[v];
    if (i.home != Home::None) return;
    for (unsigned s = 0; i.slots != 0 && s < slots_.size(); ++s) {
        if (slots_[s].value == v && !slots_[s].dirty && ir::size_of(slots_[s].type) >= ir::size_of(type_of(v))) {
            i.home = Home::Slot;
            i.home_index = static_cast<u16>(s);
            return;
        }
    }
    u64& cells = vector(v) ? vector_cells_ : general_cells_;
    if (cells == 0) {
        ok_ = false;
        return;
    }
    i.home = Home::Spill;
    i.home_index = static_cast<u16>(std::countr_zero(cells));
    cells &= cells - 1;
    if (vector(v)) {
        code_.store_vector(cell(i.home_index, true), vec(i.reg, type_of(v)));
    } else {
        code_.op(Opcode::Store, true, i.reg, kRsp, kGeneralSpill + i.home_index * 8);
    }
}

void Registers::evict(u16 v) {
    ValueInfo& i = values_[v];
    for (unsigned s = 0; i.dirty != 0 && s < slots_.size(); ++s) {
        if (slots_[s].value == v && slots_[s].dirty) store_slot(slots_[s]);
    }
    if (i.last_use >= now_) {
        give_home(v);
    } else if (i.home == Home::None) {
        detach_slots(v);
    }
    unbind(v);
}

void Registers::copy(Reg to, Reg from, Type t) {
    if (to == from) return;
    if (ir::is_vector(t)) {
        upper_halves_ |= t == Type::V256;
        code_.move_vector(vec(to, t), vec(from, t));
    } else {
        code_.op(Opcode::Load, t == Type::I64, to, from);
    }
}

void Registers::load(u16 v, Reg r) {
    const ValueInfo& i = values_[v];
    const Type t = type_of(v);
    upper_halves_ |= t == Type::V256;
    switch (i.home) {
        case Home::Const:
            if (i.imm <= ~u32{0}) {
                code_.load_imm32(r, static_cast<u32>(i.imm));
            } else {
                code_.mov(gp64(r), static_cast<i64>(i.imm));
            }
            break;
        case Home::Slot:
            switch (t) {
                case Type::V128:
                case Type::V256: code_.load_vector(vec(r, t), frame(slots_[i.home_index].offset)); break;
                case Type::I8: code_.movzx(gp32(r), home_of(i, 1)); break;
                case Type::I16: code_.movzx(gp32(r), home_of(i, 2)); break;
                default:
                    code_.op(Opcode::Load, t == Type::I64, r, kRbp, static_cast<i32>(slots_[i.home_index].offset));
                    break;
            }
            break;
        case Home::Spill:
            if (ir::is_vector(t)) {
                code_.load_vector(vec(r, t), cell(i.home_index, true));
            } else {
                code_.op(Opcode::Load, true, r, kRsp, kGeneralSpill + i.home_index * 8);
            }
            break;
        case Home::None: ok_ = false; break;
    }
}

Reg Registers::use(u16 value) {
    const u16 v = root(value);
    ValueInfo& i = values_[v];
    if (i.reg == kNoReg) {
        const Reg r = allocate(vector(v) ? kVectorMask : kGeneralMask);
        load(v, r);
        bind(v, r);
    }
    locked_ |= reg_bit(i.reg);
    touched_.push_back(v);
    return i.reg;
}

Reg Registers::temp(bool is_vector) {
    const Reg r = allocate(is_vector ? kVectorMask : kGeneralMask);
    free_ &= ~reg_bit(r);
    locked_ |= reg_bit(r);
    temps_ |= reg_bit(r);
    owner_[r] = kNone;
    return r;
}

void Registers::keep_pair(Reg first, Reg second) {
    drop_pair();
    pair_ = reg_bit(first) | reg_bit(second);
    temps_ &= ~pair_;
}

void Registers::drop_pair() {
    free_ |= pair_;
    pair_ = 0;
}

void Registers::define_in(u16 v, Reg r) {
    temps_ &= ~reg_bit(r);
    locked_ |= reg_bit(r);
    bind(v, r);
    touched_.push_back(v);
}

Reg Registers::define(u16 v) {
    const Reg r = allocate(vector(v) ? kVectorMask : kGeneralMask);
    upper_halves_ |= type_of(v) == Type::V256;
    define_in(v, r);
    return r;
}

Reg Registers::define_over(u16 v, u16 source) {
    const u16 s = root(source);
    ValueInfo& i = values_[s];
    if (!dies(s) || i.reg == kNoReg || vector(s) != vector(v)) return define(v);
    const Reg r = i.reg;
    if (i.home == Home::None) detach_slots(s);
    i.reg = kNoReg;
    upper_halves_ |= type_of(v) == Type::V256;
    define_in(v, r);
    return r;
}

Reg Registers::define_copy(u16 v, u16 source) {
    const u16 s = root(source);
    ValueInfo& i = values_[s];
    touched_.push_back(s);
    if (i.reg != kNoReg && dies(s)) return define_over(v, s);
    if (i.reg == kNoReg && i.home != Home::Const && i.last_use > now_) use(s);
    if (i.reg != kNoReg) locked_ |= reg_bit(i.reg);
    const Reg r = define(v);
    if (i.reg != kNoReg) {
        copy(r, i.reg, type_of(v));
    } else {
        load(s, r);
    }
    return r;
}

void Registers::alias(u16 v, u16 source) {
    const u16 s = root(source);
    ValueInfo& i = values_[s];
    values_[v].root = s;
    if (values_[v].last_use > i.last_use) i.last_use = values_[v].last_use;
    touched_.push_back(s);
}

void Registers::vacate(Reg r) {
    if ((pair_ & reg_bit(r)) != 0) drop_pair();
    if ((free_ & reg_bit(r)) != 0) return;
    const u16 v = owner_[r];
    if (v == kNone) {
        ok_ = false;
        return;
    }
    ValueInfo& i = values_[v];
    const u32 same_class = r >= kXmm0 ? kVectorMask : kGeneralMask;
    const u32 available = free_ & same_class & ~locked_;
    if ((i.last_use >= now_ || i.dirty != 0) && i.home != Home::Const && available != 0) {
        const Reg to = allocate(same_class);
        copy(to, r, r >= kXmm0 ? type_of(v) : Type::I64);
        unbind(v);
        bind(v, to);
    } else {
        evict(v);
    }
}

Reg Registers::claim(Reg r) {
    vacate(r);
    free_ &= ~reg_bit(r);
    locked_ |= reg_bit(r);
    temps_ |= reg_bit(r);
    owner_[r] = kNone;
    return r;
}

Reg Registers::claim_with(Reg r, u16 value) {
    const u16 v = root(value);
    const bool here = values_[v].reg == r;
    touched_.push_back(v);
    claim(r);
    if (here) return r;  // it has moved, but its content is still in r
    if (values_[v].reg != kNoReg) {
        copy(r, values_[v].reg, r >= kXmm0 ? Type::V128 : Type::I64);
    } else {
        load(v, r);
    }
    return r;
}

bool Registers::constant(u16 v, u64& out) const {
    const ValueInfo& r = values_[root(v)];
    if (r.home != Home::Const) return false;
    out = truncate(r.imm, type_of(v));
    return true;
}

bool Registers::in_memory(u16 value, Mem& out) {
    const Type t = type_of(value);
    const u16 v = root(value);
    const ValueInfo& i = values_[v];
    const bool homed = i.home == Home::Slot || i.home == Home::Spill;
    const bool usable = t == Type::I32 || t == Type::I64 || (ir::is_vector(t) && code_.vex());
    if (i.reg != kNoReg || !homed || !usable || ir::size_of(t) > ir::size_of(type_of(v)) || i.last_use > now_) return false;
    if (ir::is_vector(t)) {
        out = i.home == Home::Slot ? frame(slots_[i.home_index].offset) : cell(i.home_index, true);
    } else {
        out = home_of(i, ir::size_of(t));
    }
    touched_.push_back(v);
    return true;
}

bool Registers::is_clean(u16 v) const {
    const u16 r = root(v);
    return ir::size_of(type_of(v)) >= ir::size_of(type_of(r)) && values_[r].clean;
}

void Registers::make_const(u16 v, u64 imm) {
    values_[v].home = Home::Const;
    values_[v].imm = imm;
    values_[v].clean = true;
}

Slot* Registers::known_slot(u32 offset, Type type) {
    if (offset >= slot_index_.size() || slot_index_[offset] == kNone) return nullptr;
    Slot& s = slots_[slot_index_[offset]];
    return s.type == type ? &s : nullptr;
}

// The V256 slot that has a half at `offset`.
Slot* Registers::whole_of(u32 offset) {
    Slot* s = known_slot(offset, Type::V256);
    return s != nullptr || offset < 16 ? s : known_slot(offset - 16, Type::V256);
}

// Reads a half of a V256 slot: as a view of its content, or from memory. Memory is not a home that lasts, as the slot's next
// content displaces only what is known to be the whole.
void Registers::get_half(u16 v, u32 offset, Slot& whole) {
    if (whole.value != kNone && whole.offset == offset) {
        alias(v, whole.value);
        return;
    }
    if (whole.dirty) flush(whole);
    code_.load_vector(xmm(define(v)), frame(offset));
    values_[v].clean = code_.vex();
}

// Writes it to memory at once.
void Registers::set_half(u32 offset, u16 v, Slot& whole) {
    if (whole.dirty) flush(whole);
    displace(whole);
    code_.store_vector(frame(offset), xmm(use(v)));
}

Slot* Registers::slot_at(u32 offset, Type type) {
    u16& index = slot_index_[offset];
    if (index == kNone) {
        if (slots_.size() >= kMaxSlots) {
            ok_ = false;
            return nullptr;
        }
        index = static_cast<u16>(slots_.size());
        slots_.push_back({offset, type, false, kNone});
    }
    Slot& s = slots_[index];
    if (s.type == Type::V128 && type == Type::V256) {  // its content was one half
        displace(s);
        s.type = type;
    } else if (s.type != type) {
        ok_ = false;
        return nullptr;
    }
    return &s;
}

void Registers::get_state(u16 v, u32 offset, Type type) {
    if (type == Type::V128) {
        if (Slot* whole = whole_of(offset); whole != nullptr) return get_half(v, offset, *whole);
    } else if (type == Type::V256) {
        for (const u32 half : {offset, offset + 16}) {
            Slot* s = known_slot(half, Type::V128);
            if (s != nullptr && s->dirty) flush(*s);
            if (s != nullptr) displace(*s);
        }
    }
    Slot* s = slot_at(offset, type);
    if (!s) return;
    if (s->value != kNone) {
        alias(v, s->value);
        return;
    }
    ValueInfo& i = values_[v];
    s->value = v;
    i.slots = 1;
    i.clean = true;
    i.home = Home::Slot;
    i.home_index = slot_index_[offset];
}

// The slot's content is about to change.
void Registers::displace(Slot& slot) {
    const u16 v = slot.value;
    if (v == kNone) return;
    ValueInfo& i = values_[v];
    if (slot.dirty) --i.dirty;
    slot.dirty = false;
    if (i.home == Home::Slot && &slots_[i.home_index] == &slot) {
        if (i.reg == kNoReg && (i.last_use >= now_ || i.dirty != 0)) {
            const Reg r = allocate(vector(v) ? kVectorMask : kGeneralMask);
            load(v, r);
            bind(v, r);
        }
        i.home = Home::None;
    }
    slot.value = kNone;
    --i.slots;
    if (i.reg == kNoReg && i.home == Home::None) detach_slots(v);
    release_later(v);
}

void Registers::set_state(u32 offset, Type type, u16 value) {
    if (type == Type::V128) {
        if (Slot* whole = whole_of(offset); whole != nullptr) return set_half(offset, value, *whole);
    } else if (type == Type::V256) {
        if (Slot* high = known_slot(offset + 16, Type::V128); high != nullptr) displace(*high);
    }
    Slot* s = slot_at(offset, type);
    const u16 v = root(value);
    touched_.push_back(v);
    if (!s || s->value == v) return;
    displace(*s);
    ValueInfo& i = values_[v];
    // A zero-extended view whose home is a narrower slot cannot be copied from there as it is.
    const bool narrow = ir::size_of(type_of(v)) < ir::size_of(type);
    if (i.reg == kNoReg && i.home == Home::Slot && ir::size_of(slots_[i.home_index].type) < ir::size_of(type)) use(v);
    if (i.reg == kNoReg && vector(v) && narrow) use(v);
    s->value = v;
    s->dirty = true;
    ++i.slots;
    ++i.dirty;
}

void Registers::forget_slot(u32 offset) {
    if (const u16 index = slot_index_[offset]; index != kNone) displace(slots_[index]);
}

void Registers::store_slot(Slot& slot) {
    ValueInfo& i = values_[slot.value];
    slot.dirty = false;
    --i.dirty;
    const Mem m = frame(slot.offset, ir::size_of(slot.type));
    const i32 offset = static_cast<i32>(slot.offset);
    const bool wide = slot.type == Type::I64;
    const bool word = wide || slot.type == Type::I32;
    if (ir::is_vector(slot.type)) {
        code_.store_vector(m, vec(i.reg, slot.type));
    } else if (i.home == Home::Const && word && (!wide || fits_i32(i.imm) || i.reg == kNoReg)) {
        code_.store_imm(wide && fits_i32(i.imm), kRbp, offset, static_cast<i32>(static_cast<u32>(i.imm)));
        if (wide && !fits_i32(i.imm))
            code_.store_imm(false, kRbp, offset + 4, static_cast<i32>(static_cast<u32>(i.imm >> 32)));
    } else if (i.home == Home::Const && !word) {
        code_.mov(m, static_cast<i64>(truncate(i.imm, slot.type)));
    } else if (word) {
        code_.op(Opcode::Store, wide, i.reg, kRbp, offset);
    } else {
        code_.mov(m, gp_exact(i.reg, slot.type));
    }
}

void Registers::flush(Slot& slot) {
    const u16 v = slot.value;
    ValueInfo& i = values_[v];
    if (i.reg == kNoReg && i.home != Home::Const) {
        const Reg r = allocate(vector(v) ? kVectorMask : kGeneralMask);
        if (!slot.dirty) return;  // making room has stored it
        load(v, r);
        bind(v, r);
    }
    store_slot(slot);
    release_later(v);
}

void Registers::flush_all(u32 except_offset) {
    for (Slot& s : slots_) {
        if (s.dirty && s.offset != except_offset) flush(s);
    }
}

DirtySlot Registers::place_of(u16 v) const {
    const ValueInfo& i = values_[root(v)];
    DirtySlot d;
    // A zero-extended view is as wide as what it views.
    const Type own = type_of(v), viewed = type_of(root(v));
    d.type = ir::size_of(own) <= ir::size_of(viewed) ? own : viewed;
    if (i.reg != kNoReg) {
        d.from = DirtySlot::From::Register;
        d.reg = i.reg;
    } else if (i.home == Home::Const) {
        d.from = DirtySlot::From::Constant;
        d.imm = truncate(i.imm, d.type);
    } else if (i.home == Home::Slot) {
        d.from = DirtySlot::From::Frame;
        d.where = static_cast<i32>(slots_[i.home_index].offset);
    } else {
        d.from = DirtySlot::From::Stack;
        d.where = vector(root(v)) ? kVectorSpill + i.home_index * kVectorCell : kGeneralSpill + i.home_index * 8;
    }
    return d;
}

void Registers::snapshot_dirty(std::vector<DirtySlot>& out) const {
    for (const Slot& s : slots_) {
        if (!s.dirty) continue;
        DirtySlot d = place_of(s.value);
        d.offset = s.offset;
        d.type = s.type;
        if (d.from == DirtySlot::From::Constant) d.imm = truncate(values_[s.value].imm, s.type);
        out.push_back(d);
    }
}

void Registers::save_for_call() {
    drop_pair();
    const u32 caller_saved = ~free_ & (kGeneralMask | kVectorMask) & ~kCalleeSaved & ~temps_;
    for (u32 rest = caller_saved; rest != 0; rest &= rest - 1) {
        const Reg r = static_cast<Reg>(std::countr_zero(rest));
        const u16 v = owner_[r];
        ValueInfo& i = values_[v];
        if (!needed(i)) {
            if (i.home == Home::None) detach_slots(v);
            unbind(v);
            continue;
        }
        const u32 safe = free_ & kCalleeSaved;
        if (r < kXmm0 && i.home == Home::None && safe != 0 && (i.dirty == 0 || i.last_use > now_)) {
            const Reg to = static_cast<Reg>(std::countr_zero(safe));
            copy(to, r, Type::I64);
            unbind(v);
            bind(v, to);
        } else {
            evict(v);
        }
    }
}

void Registers::forget_slots() {
    for (Slot& s : slots_) {
        if (s.value == kNone) continue;
        if (s.dirty) flush(s);
        if (s.value != kNone) displace(s);
    }
}

}  // namespace tandem::jit::baseline

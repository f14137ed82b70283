#include "toy_guest.h"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>

#include "jit/ir/builder.h"
#include "jit/runtime/fp_control.h"

namespace tandem::jit::toy {
namespace {

using ir::Builder;
using ir::LeaveReason;
using ir::Type;
using ir::Value;

State& of(void* state) { return *static_cast<State*>(state); }
constexpr u32 reg(unsigned n) { return static_cast<u32>(offsetof(State, r) + 8 * (n & 7)); }
constexpr u32 kPc = offsetof(State, pc);

enum HelperIndex : u32 { kHelperFlush, kHelperFlushPage, kHelperAsid, kHelperFlushAsid, kHelperInvalid };

u32 helper_flush(void* state) {
    tlb_flush(state, false);
    return static_cast<u32>(LeaveReason::Lookup);
}
u32 helper_flush_page(void* state, u64 va) {
    tlb_flush_page(state, va);
    return static_cast<u32>(LeaveReason::Lookup);
}
u32 helper_asid(void* state, u64 asid) {
    of(state).asid = asid;
    tlb_switch(state);
    return static_cast<u32>(LeaveReason::Lookup);
}
u32 helper_flush_asid(void* state, u64 asid) {
    tlb_flush_space(state, asid);
    return static_cast<u32>(LeaveReason::Lookup);
}
u32 helper_invalid(void* state) {
    of(state).cause = kInvalidInstruction;
    return static_cast<u32>(LeaveReason::Exception);
}

constexpr std::array<unsigned, kInvalid> kLength{1, 6, 3, 3, 3, 3, 3, 5, 2, 3, 1, 1, 3, 2, 2, 2, 1};

// One instruction; true when it ends the block.
bool lift_one(Builder& b, const u8* i, u64 next, u32 flags) {
    const auto r = [&](unsigned n) { return b.get(Type::I64, reg(i[n])); };
    const auto leave_after = [&](HelperIndex helper, std::initializer_list<Value> args) {
        b.set(kPc, b.konst(Type::I64, next));
        b.call(helper, Type::I32, args);
        b.leave(LeaveReason::Lookup);
        return true;
    };
    u32 imm = 0;
    switch (i[0]) {
        case kHalt:
            b.set(kPc, b.konst(Type::I64, next));
            b.leave(LeaveReason::Halt);
            return true;
        case kMovI:
            std::memcpy(&imm, i + 2, 4);
            b.set(reg(i[1]), b.konst(Type::I64, imm));
            return false;
        case kAdd: b.set(reg(i[1]), b.add(r(1), r(2))); return false;
        case kSubI: b.set(reg(i[1]), b.sub(r(1), b.konst(Type::I64, i[2]))); return false;
        case kLoad: b.set(reg(i[1]), b.load(Type::I64, r(2), flags)); return false;
        case kStore: b.store(r(1), r(2), flags); return false;
        case kStoreB: b.store(r(1), b.trunc(Type::I8, r(2)), flags); return false;
        case kXAdd: b.set(reg(i[1]), b.atomic(ir::Op::AtomicAdd, r(2), r(1), flags)); return false;
        case kJnz:
            b.branch(b.icmpi(ir::Cond::Ne, r(1), 0), next + static_cast<u64>(i64{static_cast<i8>(i[2])}), next);
            return true;
        case kJmp:
            std::memcpy(&imm, i + 1, 4);
            b.jump(next + static_cast<u64>(i64{static_cast<i32>(imm)}));
            return true;
        case kJmpReg: b.jump_indirect(r(1)); return true;
        case kFlush: return leave_after(kHelperFlush, {});
        case kFlushPage: return leave_after(kHelperFlushPage, {r(1)});
        case kAsid: return leave_after(kHelperAsid, {r(1)});
        case kFlushAsid: return leave_after(kHelperFlushAsid, {r(1)});
        case kExit:
            b.set(kPc, b.konst(Type::I64, next));
            b.leave(LeaveReason::Exit);
            return true;
        case kERet:
            b.set(offsetof(State, interrupts_on), b.konst(Type::I64, 1));
            b.set(kPc, b.get(Type::I64, offsetof(State, epc)));
            b.leave(LeaveReason::Lookup);
            return true;
        default:
            b.call(kHelperInvalid, Type::I32, {});
            b.leave(LeaveReason::Lookup);
            return true;
    }
}

}  // namespace

ToyGuest::ToyGuest(u32 private_mmus) : private_mmus_(private_mmus) {
    static constexpr std::array<const char*, 8> kNames{"r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7"};
    for (unsigned n = 0; n < 8; ++n) slots_.push_back({reg(n), Type::I64, kNames[n]});
    slots_.push_back({kPc, Type::I64, "pc"});
    layout_ = {sizeof(State), kPc, slots_};
    constexpr u8 kFlags = kReadsState | kWritesState | kMayLeave;
    helpers_ = {{"flush", reinterpret_cast<const void*>(&helper_flush), Type::I32, 0, kFlags},
                {"flush_page", reinterpret_cast<const void*>(&helper_flush_page), Type::I32, 1, kFlags},
                {"asid", reinterpret_cast<const void*>(&helper_asid), Type::I32, 1, kFlags},
                {"flush_asid", reinterpret_cast<const void*>(&helper_flush_asid), Type::I32, 1, kFlags},
                {"invalid", reinterpret_cast<const void*>(&helper_invalid), Type::I32, 0, kFlags}};
}

ir::BlockKey ToyGuest::current_key(void* state) const {
    header_of(state).mode = 0;
    header_of(state).base = 0;
    return {of(state).pc, 0, 0};
}

LiftStatus ToyGuest::lift(const ir::BlockKey& key, const CodeWindow& code, unsigned max_insns, ir::Block& out) const {
    lifts.fetch_add(1);
    Builder b(out);
    u64 at = 0;
    const auto byte = [&](u64 n) { return n < code.first.size() ? code.first[n] : code.second[n - code.first.size()]; };
    for (unsigned count = 0;; ++count) {
        const bool full = count == max_insns || at >= code.first.size();
        const unsigned length = full ? 0 : byte(at) < kInvalid ? kLength[byte(at)] : 1;
        const bool missing = at + length > code.first.size() + code.second.size();
        if (missing && count == 0) return LiftStatus::NeedSecondPage;
        if (full || missing) {
            b.jump(key.pc + at);
            break;
        }
        std::array<u8, 8> bytes{};
        for (unsigned n = 0; n < length; ++n) bytes[n] = byte(at + n);
        b.insn_start(key.pc + at, length);
        at += length;
        ++out.guest_insns;
        if (lift_one(b, bytes.data(), key.pc + at, memory_flags)) break;
    }
    out.guest_bytes = static_cast<u32>(at);
    return LiftStatus::Ok;
}

bool ToyGuest::translate(void* state, u64 va, Access access, unsigned, Translation& out) const {
    State& s = of(state);
    const auto space = tables.find(s.asid);
    if (space != tables.end()) {
        const auto after = space->second.upper_bound(va);
        const auto it = after == space->second.begin() ? space->second.end() : std::prev(after);
        if (it != space->second.end() && va - it->first < it->second.page_size) {
            const Mapping& m = it->second;
            const bool allowed = access == Access::Read || (access == Access::Write ? m.writable : m.executable);
            if (allowed) {
                out = {m.phys + (va - it->first), m.page_size, true, m.writable, m.executable, m.global};
                return true;
            }
        }
    }
    s.cause = kPageFault;
    s.fault_address = va;
    return false;
}

void ToyGuest::alignment_fault(void* state, u64 va, Access, unsigned) const {
    of(state).cause = kAlignment;
    of(state).fault_address = va;
}

LeaveReason ToyGuest::deliver_exception(void* state) const {
    State& s = of(state);
    s.epc = s.pc;
    s.pc = s.vector;
    s.interrupts_on = 0;
    return LeaveReason::Lookup;
}

bool ToyGuest::poll_interrupts(void* state) const {
    State& s = of(state);
    if (s.interrupts_on == 0 || !interrupt.exchange(false)) return false;
    s.cause = kInterrupt;
    deliver_exception(state);
    return true;
}

std::string ToyGuest::disassemble(const ir::BlockKey& key, std::span<const u8> code) const {
    return fmt::format("{:#x}: {} bytes", key.pc, code.size());
}

bool ToyBus::mmio_read(void*, u64 gpa, unsigned size, u64& value) {
    fp_control = host_fp_control();
    if (const auto it = bytes.find(gpa); it != bytes.end() && size == 1) {
        value = it->second;
        return true;
    }
    log.push_back({false, gpa, answer, size});
    value = answer;
    return true;
}

bool ToyBus::mmio_write(void*, u64 gpa, u64 value, unsigned size) {
    fp_control = host_fp_control();
    log.push_back({true, gpa, value, size});
    return true;
}

Machine::Machine(Options options, u32 private_mmus)
    : guest(private_mmus), ram(static_cast<u8*>(std::aligned_alloc(kPageSize, kRam)), &std::free) {
    std::memset(ram.get(), 0, kRam);
    options.verify_ir = true;
    auto made = create_translator(guest, bus, options);
    REQUIRE(made.ok());
    translator = std::move(made).value();
    REQUIRE(translator->add_slot({0, kRam, ram.get(), false}).ok());
    auto cpu = translator->create_vcpu(nullptr);
    REQUIRE(cpu.ok());
    vcpu = std::move(cpu).value();
    guest.tables[0][0] = {0, true, true, false, kRam};
    guest.tables[0][0x40000000] = {0x40000000, true, true, false, 0x10000};  // the bus
}

void Machine::load(u64 gpa, const std::vector<u8>& code) {
    std::memcpy(&ram[gpa], code.data(), code.size());
    translator->memory_written(gpa, code.size());
}

}  // namespace tandem::jit::toy

#include "tests/unit/baseline/machine.h"

#include "jit/runtime/slow_paths.h"

namespace tandem::jit::test {

namespace {

u64 mix(u64 a, u64 b, u64 c, u64 d) {
    return ((a * 0x9e3779b97f4a7c15 + b) ^ (c << 17) ^ (c >> 47)) * 0xd6e8feb86659fd93 + d;
}

u64 helper_mix(void*, u64 a, u32 b, u32 c, u32 d) { return mix(a, b, c, d); }

u64 hash_state(void* state) {
    u64 h = 0;
    for (u32 i = 0; i < kStateBytes; i += 8) {
        u64 v;
        std::memcpy(&v, static_cast<u8*>(state) + i, 8);
        h = mix(h, v, h, i);
    }
    return h;
}

void scramble(void* state, u64 a) {
    for (const u32 offset : {0u, 24u, 64u}) {
        u64 v;
        std::memcpy(&v, static_cast<u8*>(state) + offset, 8);
        v = mix(v, a, offset, 1);
        std::memcpy(static_cast<u8*>(state) + offset, &v, 8);
    }
}

u32 maybe_leave(void*, u64 a) { return (a & 15) == 3 ? static_cast<u32>(ir::LeaveReason::Exit) : 0; }
// Leaves what it saw of its arguments and the state.
u32 leave_noting(void* state, u64 a, u64 b, u64 c) {
    u64 seen;
    std::memcpy(&seen, state, 8);
    seen = mix(seen, a, b, c);
    std::memcpy(state, &seen, 8);
    return (a & 7) == 3 ? 0 : static_cast<u32>(ir::LeaveReason::Exit);
}
u32 opaque(void*, u64 a, u64 b) { return static_cast<u32>(a ^ (b >> 3)); }
u64 count5(void*, u64 a, u64 b, u64 c, u64 d) { return a + 3 * b + 5 * c + 7 * d; }

template <class F>
const void* address(F* f) {
    return reinterpret_cast<const void*>(f);
}

}  // namespace

ToyGuest::ToyGuest() {
    layout_.size = kStateBytes;
    layout_.pc_offset = kPcOffset;
    helpers_.resize(kHelpers);
    helpers_[kMix] = {"mix", address(helper_mix), ir::Type::I64, 4, kPure};
    helpers_[kHashState] = {"hash_state", address(hash_state), ir::Type::I64, 0, kReadsState};
    helpers_[kScramble] = {"scramble", address(scramble), ir::Type::Void, 1, kReadsState | kWritesState};
    helpers_[kMaybeLeave] = {"maybe_leave", address(maybe_leave), ir::Type::I32, 1, kMayLeave};
    helpers_[kLeaveNoting] = {"leave_noting", address(leave_noting), ir::Type::I32, 3, kReadsState | kMayLeave};
    helpers_[kOpaque] = {"opaque", address(opaque), ir::Type::I32, 2, 0};
    helpers_[kCount5] = {"count5", address(count5), ir::Type::I64, 4, kPure};
}

// Neighbouring pages are apart in host memory, so that using one page's addend for another shows.
static u64 host_offset(u64 va) {
    const u64 offset = va - kMemoryBase;
    return (offset & ~kPageMask) | (((offset >> kPageBits) ^ 9) << kPageBits);
}

PageKind kind_of(u64 va) {
    if (va < kMemoryBase || va >= kMemoryBase + kPages * kPageSize) return PageKind::Fault;
    const u64 page = (va - kMemoryBase) >> kPageBits;
    if (page % 16 == 7) return PageKind::Fault;
    if (page % 4 == 2) return PageKind::Slow;
    return page % 4 == 1 ? PageKind::ReadOnlyTag : PageKind::Fast;
}

Machine::Machine()
    : frame_(std::make_unique<Frame>()), memory_(kPages * kPageSize), tlb_(kPages), jump_cache_(1u << kJumpCacheBits) {
    std::memset(frame_->state, 0, kStateBytes);
    header().owner = this;
    header().jump_cache = jump_cache_.data();
    for (TlbView& view : header().tlb) view = {(kPages - 1) * sizeof(TlbEntry), tlb_.data()};
    for (u64 page = 0; page < kPages; ++page) {
        const u64 va = kMemoryBase + page * kPageSize;
        TlbEntry& e = tlb_[(va >> kPageBits) % kPages];
        const PageKind kind = kind_of(va);
        if (kind == PageKind::Fast || kind == PageKind::ReadOnlyTag) e.read_tag = va;
        if (kind == PageKind::Fast) e.write_tag = va;
        if (kind == PageKind::ReadOnlyTag) e.write_tag = va | TlbEntry::kCode;
        e.addend = reinterpret_cast<u64>(memory_.data()) + host_offset(va) - va;
    }
}

void Machine::copy_from(const Machine& other) {
    std::memcpy(frame_->state, other.frame_->state, kStateBytes);
    std::memcpy(memory_.data(), other.memory_.data(), memory_.size());
}

void Machine::randomize(std::mt19937_64& random) {
    for (u32 i = 0; i < kStateBytes; i += 8) {
        u64 v = random();
        switch (random() % 6) {
            case 0: v = 0; break;
            case 1: v = ~u64{0}; break;
            case 2: v &= 0xff; break;
            case 3: v = u64{1} << (v % 64); break;
            default: break;
        }
        std::memcpy(state() + i, &v, 8);
    }
    for (size_t i = 0; i < memory_.size(); i += 512) {
        const u64 v = random();
        std::memcpy(memory_.data() + i, &v, 8);
    }
}

bool Machine::same_as(const Machine& other) const {
    return std::memcmp(frame_->state, other.frame_->state, kStateBytes) == 0 && memory_ == other.memory_;
}

u64 Machine::pc() const {
    u64 v;
    std::memcpy(&v, frame_->state + kPcOffset, 8);
    return v;
}

bool Machine::access(u64 va, unsigned size, u32 mem_flags, bool write, u8* data) {
    if ((mem_flags & ir::MemFlags::kAligned) != 0 && va % size != 0) return false;
    if (va + size < va || kind_of(va) == PageKind::Fault || kind_of(va + size - 1) == PageKind::Fault) return false;
    for (unsigned i = 0; i < size; ++i) {
        u8& byte = memory_[host_offset(va + i)];
        if (write) {
            byte = data[i];
        } else {
            data[i] = byte;
        }
    }
    return true;
}

bool Machine::masked_access(u64 va, unsigned size, unsigned element, u32 mem_flags, bool write, const u8* mask, u8* data) {
    if ((mem_flags & ir::MemFlags::kAligned) != 0 && va % size != 0) return false;
    const auto selected = [&](unsigned n) { return (mask[n + element - 1] & 0x80) != 0; };
    u8 old[32];
    for (unsigned n = 0; n < size; n += element) {
        if (selected(n) && !access(va + n, element, 0, false, old)) return false;
    }
    for (unsigned n = 0; n < size; n += element) {
        if (selected(n)) {
            access(va + n, element, 0, write, data + n);
        } else if (!write) {
            std::memset(data + n, 0, element);
        }
    }
    return true;
}

ir::LeaveReason Machine::interpret(const ir::Block& block) {
    static const ToyGuest guest;
    interp::Interpreter interpreter(guest);
    std::memcpy(state() + kPcOffset, &block.key.pc, 8);
    return interpreter.run(state(), block);
}

bool has_vex() {
    return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 && __builtin_cpu_supports("f16c") != 0;
}

Outcome run_compiled(Backend& backend, Machine& machine, const TranslatedBlock& block) {
    Outcome o;
    machine.header().leave_detail = ~u64{0};
    o.reason = backend.enter(machine.state(), block.entry.load());
    const u64 detail = machine.header().leave_detail;
    for (const auto& exit : block.exits) o.direct |= detail == reinterpret_cast<u64>(exit.get());
    return o;
}

}  // namespace tandem::jit::test

namespace tandem::jit {

namespace {

test::Machine& machine_of(void* state) { return *static_cast<test::Machine*>(header_of(state).owner); }
u32 size_in(u32 spec) { return (spec >> 16) & 0xff; }

u32 exception() { return static_cast<u32>(ir::LeaveReason::Exception); }

// Overwrites everything that the ABI lets a callee overwrite.
void clobber_registers() {
    if (__builtin_cpu_supports("avx")) asm volatile("vzeroall");
    asm volatile(
        "mov $0x5a5a5a5a5a5a5a5a, %%rax\n mov %%rax, %%rcx\n mov %%rax, %%rdx\n mov %%rax, %%rsi\n mov %%rax, %%rdi\n"
        "mov %%rax, %%r8\n mov %%rax, %%r9\n mov %%rax, %%r10\n mov %%rax, %%r11\n"
        "movq %%rax, %%xmm0\n movq %%rax, %%xmm1\n movq %%rax, %%xmm2\n movq %%rax, %%xmm3\n movq %%rax, %%xmm4\n"
        "movq %%rax, %%xmm5\n movq %%rax, %%xmm6\n movq %%rax, %%xmm7\n movq %%rax, %%xmm8\n movq %%rax, %%xmm9\n"
        "movq %%rax, %%xmm10\n movq %%rax, %%xmm11\n movq %%rax, %%xmm12\n movq %%rax, %%xmm13\n movq %%rax, %%xmm14\n"
        "movq %%rax, %%xmm15\n" ::
            : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
              "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

}  // namespace

extern "C" {

u32 tandem_slow_load(void* state, u64 va, u32 spec) {
    test::Machine& m = machine_of(state);
    ++m.slow_accesses;
    u64 data[4] = {};
    u8* bytes = reinterpret_cast<u8*>(data);
    const auto* mask = reinterpret_cast<const u8*>(&header_of(state).scratch[kScratchMask]);
    const bool ok = spec >> 24 != 0 ? m.masked_access(va, size_in(spec), spec >> 24, spec & 0xffff, false, mask, bytes)
                                    : m.access(va, size_in(spec), spec & 0xffff, false, bytes);
    if (ok) std::memcpy(header_of(state).scratch, data, sizeof data);
    clobber_registers();
    return ok ? 0 : exception();
}

u32 tandem_slow_store(void* state, u64 va, u32 spec, u64 low, u64 high) {
    test::Machine& m = machine_of(state);
    ++m.slow_accesses;
    u64 data[4] = {low, high};
    u8* bytes = reinterpret_cast<u8*>(data);
    const auto* mask = reinterpret_cast<const u8*>(&header_of(state).scratch[kScratchMask]);
    if (size_in(spec) == sizeof data) std::memcpy(data, &header_of(state).scratch[kScratchValue], sizeof data);
    const bool ok = spec >> 24 != 0 ? m.masked_access(va, size_in(spec), spec >> 24, spec & 0xffff, true, mask, bytes)
                                    : m.access(va, size_in(spec), spec & 0xffff, true, bytes);
    clobber_registers();
    return ok ? 0 : exception();
}

u32 tandem_slow_atomic(void* state, u64 va, u32 spec, u64 a, u64 b) {
    test::Machine& m = machine_of(state);
    ++m.slow_accesses;
    const u32 size = size_in(spec);
    u64 old = 0;
    if (!m.access(va, size, spec & 0xffff, false, reinterpret_cast<u8*>(&old))) return exception();
    u64 value = 0;
    switch (static_cast<ir::Op>(static_cast<u32>(ir::Op::AtomicXchg) + (spec >> 24))) {
        case ir::Op::AtomicXchg: value = a; break;
        case ir::Op::AtomicAdd: value = old + a; break;
        case ir::Op::AtomicAnd: value = old & a; break;
        case ir::Op::AtomicOr: value = old | a; break;
        case ir::Op::AtomicXor: value = old ^ a; break;
        default: value = old == a ? b : old; break;
    }
    m.access(va, size, spec & 0xffff, true, reinterpret_cast<u8*>(&value));
    header_of(state).scratch[0] = old;
    clobber_registers();
    return 0;
}
}

}  // namespace tandem::jit

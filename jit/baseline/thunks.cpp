#include "jit/baseline/thunks.h"

#include "jit/baseline/registers.h"
#include "jit/runtime/backend.h"
#include "jit/runtime/slow_paths.h"

namespace tandem::jit::baseline {

using namespace asmjit;

namespace {

constexpr Reg kSavedByCallee[] = {kRbx, kR12, kR13, kR14, kR15};
constexpr Reg kCallerSaved[] = {kRax, kRcx, kRdx, kRsi, kRdi, kR8, kR9, kR10, kR11};
constexpr i32 kFrameBytes =
    Backend::kSpillBytes + 8;  // rbp, 5 registers and the return address lie above it: 16-byte aligned

i64 header_offset(size_t field) { return static_cast<i64>(field) - static_cast<i64>(sizeof(FrameHeader)); }

struct Offsets {
    u32 enter, epilogue, leave_lookup, leave_attention, region_return;
    u32 slow[3][3];
};

void emit_enter(HostCode& c) {
    c.push(x86::rbp);
    for (const Reg r : kSavedByCallee) c.push(gp64(r));
    c.sub(x86::rsp, kFrameBytes);
    c.mov(x86::rbp, x86::rdi);
    c.mov(frame(header_offset(offsetof(FrameHeader, leave_detail)), 8), 0);
    c.jmp(x86::rsi);
}

void emit_epilogue(HostCode& c) {
    c.add(x86::rsp, kFrameBytes);
    for (size_t i = std::size(kSavedByCallee); i-- > 0;) c.pop(gp64(kSavedByCallee[i]));
    c.pop(x86::rbp);
    c.ret();
}

void emit_slow(HostCode& c, const CodeMemory& memory, SlowPath path, VectorsKept vectors, u32 epilogue) {
    constexpr i32 kGeneralBytes = 9 * 8;
    const ir::Type vector = vectors == VectorsKept::Ymm ? ir::Type::V256 : ir::Type::V128;
    const i32 each = static_cast<i32>(ir::size_of(vector));
    const i32 count = vectors == VectorsKept::None ? 0 : 16;
    const i32 vector_bytes = count * each;
    const auto vector_register = [&](i32 n) { return vec(static_cast<Reg>(kXmm0 + n), vector); };
    const i32 bytes = vector_bytes + kGeneralBytes + 16;  // with the return address a multiple of 16
    const i32 arguments = bytes + 8 + kArgumentArea;
    const void* functions[] = {reinterpret_cast<const void*>(&tandem_slow_load),
                               reinterpret_cast<const void*>(&tandem_slow_store),
                               reinterpret_cast<const void*>(&tandem_slow_atomic)};
    c.sub(x86::rsp, bytes);
    for (size_t i = 0; i < std::size(kCallerSaved); ++i) {
        c.mov(stack(vector_bytes + static_cast<i32>(i) * 8), gp64(kCallerSaved[i]));
    }
    for (i32 i = 0; i < count; ++i) c.store_vector(stack(i * each), vector_register(i));
    if (vectors == VectorsKept::Ymm) c.vzeroupper();
    c.mov(x86::rdi, x86::rbp);
    c.mov(x86::rsi, stack(arguments));
    c.mov(x86::edx, stack(arguments + 24));
    if (path != SlowPath::Load) {
        c.mov(x86::rcx, stack(arguments + 8));
        c.mov(x86::r8, stack(arguments + 16));
    }
    call_function(c, memory, functions[static_cast<unsigned>(path)]);
    c.test(x86::eax, x86::eax);
    const u32 leave = c.jump(Cc::NE);
    for (i32 i = 0; i < count; ++i) c.load_vector(vector_register(i), stack(i * each));
    for (size_t i = 0; i < std::size(kCallerSaved); ++i) {
        c.mov(gp64(kCallerSaved[i]), stack(vector_bytes + static_cast<i32>(i) * 8));
    }
    c.add(x86::rsp, bytes);
    c.ret();
    c.bind(leave);
    c.add(x86::rsp, bytes + 8);
    c.jump_back(epilogue);
}

// A region has returned: leaves, or goes on at the pc slot through the jump cache.
void emit_region_return(HostCode& c, u32 pc_offset, const Offsets& o) {
    c.test(x86::eax, x86::eax);
    c.patch(c.jump(Cc::NE), o.epilogue);
    c.cmp(frame(header_offset(offsetof(FrameHeader, attention)), 4), 0);
    c.patch(c.jump(Cc::NE), o.leave_attention);
    c.mov(x86::rcx, frame(pc_offset));
    c.mov(x86::edx, x86::ecx);
    c.shr(x86::edx, kJumpCacheBits);
    c.xor_(x86::edx, x86::ecx);
    c.and_(x86::edx, (1u << kJumpCacheBits) - 1);
    static_assert(sizeof(JumpCacheEntry) == 1u << 5);
    c.shl(x86::edx, 5);
    c.add(x86::rdx, frame(header_offset(offsetof(FrameHeader, jump_cache))));
    u32 miss[3];
    c.cmp(x86::rcx, x86::ptr(x86::rdx, static_cast<i32>(offsetof(ir::BlockKey, pc))));
    miss[0] = c.jump(Cc::NE);
    c.mov(x86::rcx, frame(header_offset(offsetof(FrameHeader, base))));
    c.cmp(x86::rcx, x86::ptr(x86::rdx, static_cast<i32>(offsetof(ir::BlockKey, base))));
    miss[1] = c.jump(Cc::NE);
    c.mov(x86::rcx, frame(header_offset(offsetof(FrameHeader, mode))));
    c.cmp(x86::rcx, x86::ptr(x86::rdx, static_cast<i32>(offsetof(ir::BlockKey, mode))));
    miss[2] = c.jump(Cc::NE);
    c.jmp(x86::ptr(x86::rdx, static_cast<i32>(offsetof(JumpCacheEntry, code)), 8));
    for (const u32 m : miss) c.bind(m);
    c.mov(x86::eax, kLeaveSameMode);
    c.jump_back(o.leave_lookup);
}

Offsets emit_all(HostCode& c, const CodeMemory& memory, u32 pc_offset) {
    Offsets o{};
    o.enter = c.position();
    emit_enter(c);
    o.epilogue = c.position();
    emit_epilogue(c);
    o.leave_lookup = c.position();
    c.mov(frame(header_offset(offsetof(FrameHeader, leave_detail))), x86::rax);
    c.mov(x86::eax, static_cast<u32>(ir::LeaveReason::Lookup));
    c.jump_back(o.epilogue);
    o.leave_attention = c.position();
    c.mov(x86::eax, static_cast<u32>(ir::LeaveReason::Attention));
    c.jump_back(o.epilogue);
    o.region_return = c.position();
    emit_region_return(c, pc_offset, o);
    for (unsigned path = 0; path < 3; ++path) {
        for (unsigned vectors = 0; vectors < (c.vex() ? 3 : 2); ++vectors) {
            o.slow[path][vectors] = c.position();
            emit_slow(c, memory, static_cast<SlowPath>(path), static_cast<VectorsKept>(vectors), o.epilogue);
        }
    }
    return o;
}

}  // namespace

void call_function(HostCode& code, const CodeMemory& memory, const void* function) {
    if (memory.reaches(function)) {
        code.call_outside(function);
    } else {
        code.mov(x86::rax, reinterpret_cast<i64>(function));
        code.call(x86::rax);
    }
}

Result<Thunks> make_thunks(HostCode& code, CodeMemory& memory, u32 pc_offset) {
    code.begin();
    const Offsets o = emit_all(code, memory, pc_offset);
    u8* at = memory.allocate(code.position());
    if (!at) return Error{Errc::Busy, "code cache too small for the shared code"};
    code.copy_to(memory.writable(at), at);
    Thunks t;
    t.enter = reinterpret_cast<u32 (*)(void*, const void*)>(at + o.enter);
    t.epilogue = at + o.epilogue;
    t.leave_lookup = at + o.leave_lookup;
    t.leave_attention = at + o.leave_attention;
    t.region_return = at + o.region_return;
    for (unsigned path = 0; path < 3; ++path) {
        for (unsigned vectors = 0; vectors < 3; ++vectors) t.slow[path][vectors] = at + o.slow[path][vectors];
    }
    return t;
}

}  // namespace tandem::jit::baseline

// The baseline tier as the dispatcher sees it.
#include "jit/baseline/backend.h"

#include <fmt/format.h>

#include <cstring>
#include <unordered_map>

#include "base/log.h"
#include "jit/baseline/code_memory.h"
#include "jit/baseline/compiler.h"
#include "jit/baseline/disassembly.h"
#include "jit/runtime/slow_paths.h"

namespace tandem::jit {

namespace baseline {

namespace {

class BaselineBackend final : public Backend {
public:
    BaselineBackend(const BackendContext& context, const HostFeatures& host) : context_(context), host_(host) {}

    Result<void> initialize() {
        const void* near = reinterpret_cast<const void*>(&tandem_slow_load);
        TANDEM_TRY_ASSIGN(memory_, CodeMemory::create(context_.options.code_cache_bytes, near));
        code_.use_vex(host_.avx);
        TANDEM_TRY_ASSIGN(thunks_, make_thunks(code_, *memory_, context_.guest->layout().pc_offset));
        compiler_ = std::make_unique<Compiler>(context_, host_, *memory_, code_, thunks_);
        return {};
    }

    Result<void> compile(TranslatedBlock& block) override;
    void link(LinkSlot& slot, TranslatedBlock& target) override;
    void unlink(LinkSlot& slot) override { patch(slot, slot.stub); }
    void release(TranslatedBlock& block) override;
    void redirect(TranslatedBlock& block, const void* new_entry) override;
    const void* make_region_entry(u32 (*function)(void* state)) override;
    void release_region_entry(const void* entry) override { memory_->release(static_cast<const u8*>(entry)); }
    ir::LeaveReason enter(void* state, const void* entry) override {
        return static_cast<ir::LeaveReason>(thunks_.enter(state, entry));
    }
    [[nodiscard]] u64 code_bytes_used() const override { return memory_->used(); }

private:
    static bool in_reach(const u8* from, const void* to) {
        const i64 d = static_cast<const u8*>(to) - from;
        return d == static_cast<i32>(d);
    }
    void patch(const LinkSlot& slot, const void* to);
    void log_code(const TranslatedBlock& block) const;

    BackendContext context_;
    HostFeatures host_;
    std::unique_ptr<CodeMemory> memory_;
    HostCode code_;
    Thunks thunks_;
    std::unique_ptr<Compiler> compiler_;
    std::unordered_multimap<const u8*, const u8*>
        islands_;  // by block code: far jumps that its redirected entry goes through
};

Result<void> BaselineBackend::compile(TranslatedBlock& block) {
    TANDEM_TRY(compiler_->compile(block));
    const u32 bytes = code_.position();
    u8* code = memory_->allocate(bytes);
    if (!code) return Error{Errc::Busy, "code cache full"};
    u8* write = memory_->writable(code);
    code_.copy_to(write, code);
    block.exits.clear();
    for (const ExitSite& exit : compiler_->exits()) {
        auto slot = std::make_unique<LinkSlot>();
        slot->from = &block;
        slot->target_pc = exit.target_pc;
        slot->site = code + exit.rel32;
        slot->stub = code + exit.stub;
        const auto address = reinterpret_cast<u64>(slot.get());
        std::memcpy(write + exit.detail, &address, sizeof address);
        block.exits.push_back(std::move(slot));
    }
    block.code = code;
    block.code_bytes = bytes;
    if (log::enabled(log::OutAsm)) log_code(block);
    block.entry.store(code, std::memory_order_release);
    return {};
}

void BaselineBackend::log_code(const TranslatedBlock& block) const {
    const u64 low = block.key.address();
    if (low > context_.options.log_address_high || low + block.guest_bytes <= context_.options.log_address_low) return;
    log::write(fmt::format("OUT: pc {:#x} mode {:#x}, {} bytes\n{}", block.key.pc, block.key.mode, block.code_bytes,
                           disassemble_host(reinterpret_cast<u64>(block.code), {block.code, block.code_bytes})));
}

// The field is 4-byte aligned, so a vCPU that fetches it sees the old or the new displacement.
void BaselineBackend::patch(const LinkSlot& slot, const void* to) {
    const i32 displacement = static_cast<i32>(static_cast<const u8*>(to) - (slot.site + 4));
    std::atomic_ref<i32>(*reinterpret_cast<i32*>(memory_->writable(slot.site)))
        .store(displacement, std::memory_order_release);
}

void BaselineBackend::link(LinkSlot& slot, TranslatedBlock& target) {
    const void* to = target.entry.load(std::memory_order_acquire);
    if (to && !in_reach(slot.site + 4, to)) to = target.code;
    if (to) patch(slot, to);
}

void BaselineBackend::release(TranslatedBlock& block) {
    if (!block.code) return;
    const auto [first, last] = islands_.equal_range(block.code);
    for (auto island = first; island != last; ++island) memory_->release(island->second);
    islands_.erase(first, last);
    memory_->release(block.code);
    block.code = nullptr;
    block.code_bytes = 0;
    block.exits.clear();
    block.entry.store(nullptr, std::memory_order_release);
}

// The entry is a 5-byte NOP in an aligned 8 bytes, which are exchanged in one store.
void BaselineBackend::redirect(TranslatedBlock& block, const void* new_entry) {
    if (!block.code) return;
    const u8* code = block.code;
    u64 word = 0;
    u8* write = memory_->writable(code);
    std::memcpy(&word, write, sizeof word);
    u8 head[5] = {0x0f, 0x1f, 0x44, 0x00, 0x00};
    if (new_entry != code) {
        const void* to = new_entry;
        if (!in_reach(code + 5, to)) {
            u8 island[14] = {0xff, 0x25, 0, 0, 0, 0};  // jmp [rip], then the address
            const auto target = reinterpret_cast<u64>(new_entry);
            std::memcpy(island + 6, &target, sizeof target);
            u8* at = memory_->allocate(sizeof island);
            if (!at) return;  // the old code stays in use
            std::memcpy(memory_->writable(at), island, sizeof island);
            islands_.emplace(code, at);
            to = at;
        }
        const i32 displacement = static_cast<i32>(static_cast<const u8*>(to) - (code + 5));
        head[0] = 0xe9;
        std::memcpy(head + 1, &displacement, sizeof displacement);
    }
    std::memcpy(&word, head, sizeof head);
    std::atomic_ref<u64>(*reinterpret_cast<u64*>(write)).store(word, std::memory_order_release);
}

const void* BaselineBackend::make_region_entry(u32 (*function)(void* state)) {
    code_.begin();
    code_.mov(asmjit::x86::rdi, asmjit::x86::rbp);
    call_function(code_, *memory_, reinterpret_cast<const void*>(function));
    code_.jump_outside(thunks_.region_return);
    u8* at = memory_->allocate(code_.position());
    if (at) code_.copy_to(memory_->writable(at), at);
    return at;
}

}  // namespace

Result<std::unique_ptr<Backend>> create_backend(const BackendContext& context, const HostFeatures& host) {
    auto backend = std::make_unique<BaselineBackend>(context, host);
    TANDEM_TRY(backend->initialize());
    return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace baseline

Result<std::unique_ptr<Backend>> create_baseline_backend(const BackendContext& context) {
#if defined(__x86_64__)
    return baseline::create_backend(context, baseline::HostFeatures::detect());
#else
    (void)context;
    return Error{Errc::Unsupported, "the baseline tier generates code for x86-64 hosts only"};
#endif
}

}  // namespace tandem::jit

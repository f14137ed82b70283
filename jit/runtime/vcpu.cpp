#include "jit/runtime/vcpu.h"

#include <array>
#include <cstring>
#include <new>

#include "base/bits.h"
#include "base/log.h"
#include "base/plant.h"
#include "jit/guest/counting.h"

namespace tandem::jit {

using ir::BlockKey;
using ir::LeaveReason;

// While it lives the vCPU may hold blocks, and the host's FP control register is the guest's.
class Vcpu::Online {
public:
    explicit Online(Vcpu& vcpu) : vcpu_(vcpu), fp_(vcpu.header()), plant_(vcpu.core_.options().tier != Tier::Interp) {
        // Under the lock, so that a block that is being destroyed was purged from this vCPU's caches before.
        std::lock_guard guard(vcpu.core_.lock());
        vcpu.seen_.store(vcpu.core_.epoch(), std::memory_order_seq_cst);  // see running()
    }
    ~Online() {
        vcpu_.pending_link_ = nullptr;
        vcpu_.seen_.store(Core::kOffline, std::memory_order_release);
    }
    Online(const Online&) = delete;
    Online& operator=(const Online&) = delete;

private:
    Vcpu& vcpu_;
    GuestFpScope fp_;
    plant::Engine plant_;
};

// The bytes at an address that lift() reads: the guest's memory itself, or a copy of what the bus answers.
struct Vcpu::CodeBytes {
    static constexpr unsigned kCopied = 32;  // longer than any instruction
    std::array<u8, kCopied> copy{};
    std::span<const u8> bytes;

    // False: nothing answers at the first byte, and the guest calls that an exception.
    bool load(Vcpu& vcpu, const Fetch& from, u64 va, unsigned mmu) {
        const u64 room = kPageSize - (from.phys & ~kPageMask);
        if (from.host != nullptr) {
            bytes = {from.host, room};
            return true;
        }
        const u64 n = std::min<u64>(room, kCopied);
        for (u64 i = 0; i < n; ++i) {
            u64 value = 0;
            const bool answered = vcpu.bus_read(from.phys + i, 1, value);
            if (!answered && i == 0 && vcpu.core().guest().bus_error(vcpu.state(), va, Access::Execute, mmu)) return false;
            copy[i] = static_cast<u8>(value);
        }
        bytes = {copy.data(), n};
        return true;
    }
};

Result<std::unique_ptr<Vcpu>> Vcpu::create(Core& core, void* owner) {
    constexpr std::size_t kAlignment = alignof(FrameHeader);
    const std::size_t state_bytes = align_up(core.guest().layout().size, kAlignment);
    const std::size_t frame_bytes = sizeof(FrameHeader) + state_bytes;
    const std::size_t counter_bytes = core.has_hot_counters() ? kHotCounterBytes : 0;
    // Counters are set when they are given to blocks: most of them are never touched.
    auto memory = std::make_unique_for_overwrite<std::byte[]>(counter_bytes + frame_bytes + kAlignment);
    const u64 start = align_up(reinterpret_cast<u64>(memory.get()) + counter_bytes, kAlignment);
    std::memset(reinterpret_cast<void*>(start), 0, frame_bytes);
    auto* header = new (reinterpret_cast<void*>(start)) FrameHeader;
    return std::unique_ptr<Vcpu>(new Vcpu(core, owner, std::move(memory), *header));
}

Vcpu::Vcpu(Core& core, void* owner, std::unique_ptr<std::byte[]> memory, FrameHeader& header)
    : core_(core),
      memory_(std::move(memory)),
      header_(&header),
      state_(&header + 1),
      worlds_(header, core.guest().private_mmus()),
      interpreter_(core.guest()) {
    header.translator = this;
    header.owner = owner;
    std::lock_guard guard(core.lock());
    core.attach(*this);
}

Vcpu::~Vcpu() {
    std::lock_guard guard(core_.lock());
    core_.detach(*this);
}

void Vcpu::state_replaced() { worlds_.flush(); }

void Vcpu::quiesce() {
    const u64 epoch = core_.epoch();
    if (epoch == seen_.load(std::memory_order_relaxed)) return;
    pending_link_ = nullptr;
    seen_.store(epoch, std::memory_order_release);
}

bool Vcpu::fetch(u64 va, unsigned mmu, Fetch& out) {
    Place place;
    if (!resolve(va, mmu, Access::Execute, place)) return false;
    out = {place.phys, place.host, (tlb().info(mmu, va).phys_flags & SoftTlb::kGlobal) != 0};
    return true;
}

void Vcpu::enter_mode(u64 mode) {
    unsigned bank = JumpCache::kShared;
    if (tlb().is_private(core_.guest().fetch_mmu(mode))) {
        bind();
        bank = JumpCache::bank_of(tlb().space());
    }
    if (jump_cache().select(bank)) return;
    {
        std::lock_guard guard(core_.lock());
        jump_cache().make(bank);
    }
    jump_cache().select(bank);
}

BlockNode* Vcpu::find(const BlockKey& key, LeaveReason& why) {
    if (BlockNode* cached = jump_cache().find(key)) return cached;
    const unsigned mmu = core_.guest().fetch_mmu(key.mode);
    Fetch first;
    Fetch second{~u64{0}, nullptr, true};
    why = LeaveReason::Exception;
    if (!fetch(key.address(), mmu, first)) return nullptr;
    why = LeaveReason::Interpret;
    // Second round: with the page that a spanning block continues on.
    while (first.host != nullptr) {
        {
            std::lock_guard guard(core_.lock());
            BlockNode* block = core_.lookup(first.phys, key);
            const bool spans = block != nullptr && block->spans_pages();
            if (spans && second.host != nullptr && block->phys[1] != second.phys) {
                core_.retire(*block);
                block = nullptr;
            }
            if (block == nullptr) block = core_.translate(key, first.phys, second.phys, *this);
            if (block != nullptr && (!block->spans_pages() || second.host != nullptr)) {
                jump_cache().insert(*block, first.global && second.global);
                return block;
            }
        }
        if (second.host != nullptr) break;
        why = LeaveReason::Exception;
        if (!fetch((key.address() & kPageMask) + kPageSize, mmu, second)) return nullptr;
        why = LeaveReason::Interpret;
        if (second.host == nullptr) break;
    }
    return nullptr;
}

void Vcpu::link_pending(BlockNode& target) {
    if (target.entry.load(std::memory_order_relaxed) != nullptr) {
        std::lock_guard guard(core_.lock());
        if (core_.epoch() == seen_.load(std::memory_order_relaxed)) core_.link(*pending_link_, target);
    }
    pending_link_ = nullptr;
}

LeaveReason Vcpu::interpret(const ir::Block& block) {
    const u64 before = interpreter_.completed();
    const LeaveReason why = interpreter_.run(state_, block);
    const u64 completed = interpreter_.completed() - before;
    counters_.interpreted.add(completed);
    if (core_.options().count_instructions) header_->instructions += completed;
    return why;
}

LeaveReason Vcpu::execute(BlockNode& block) {
    const void* entry = block.entry.load(std::memory_order_acquire);
    // Another vCPU, or this one in another address space, has compiled it since it came into the cache.
    if (entry != nullptr && !jump_cache().published(block)) {
        std::lock_guard guard(core_.lock());
        jump_cache().publish(block);
    }
    if (entry == nullptr && core_.backend() != nullptr && !block.uncompilable.load(std::memory_order_relaxed)) {
        const u32 threshold = core_.options().tier == Tier::Auto ? core_.options().baseline_threshold : 0;
        if (block.executions.load(std::memory_order_relaxed) >= threshold) {
            std::lock_guard guard(core_.lock());
            core_.compile(block, *this);
            jump_cache().publish(block);
            entry = block.entry.load(std::memory_order_relaxed);
        }
    }
    if (entry == nullptr) {
        block.executions.store(block.executions.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        if (const ir::Block* ir = block.interpretable.load(std::memory_order_acquire)) return interpret(*ir);
        entry = block.entry.load(std::memory_order_acquire);
    }
    header_->leave_detail = 0;
    const LeaveReason why = core_.backend()->enter(state_, entry);
    const u64 detail = header_->leave_detail;
    if (why != LeaveReason::Lookup || detail == 0) {
        // Compiled code counts where it goes on; an instruction that leaves for good reason is complete too.
        const bool complete = why == LeaveReason::Lookup || why == LeaveReason::Halt || why == LeaveReason::Exit;
        if (complete && core_.options().count_instructions) ++header_->instructions;
        return why;
    }
    if ((detail & 1) != 0) {
        std::unique_lock guard(core_.lock());
        core_.heat(*static_cast<BlockNode*>(reinterpret_cast<TranslatedBlock*>(detail & ~u64{1})));
        // The forced tier compiles before it goes on, so that what is tested is what runs.
        if (core_.options().tier == Tier::Llvm) core_.settle(guard);
    } else if (detail != kLeaveSameMode) {
        pending_link_ = reinterpret_cast<LinkSlot*>(detail);
    }
    return LeaveReason::None;
}

// A block that would go beyond the limit is executed one instruction at a time.
bool Vcpu::fits_limit(const BlockNode& block) const {
    return !has_instruction_limit(*header_) || header_->instructions + block.guest_insns <= instruction_limit(*header_);
}

LeaveReason Vcpu::lift_one(const BlockKey& key) {
    const unsigned mmu = core_.guest().fetch_mmu(key.mode);
    Fetch from;
    if (!fetch(key.address(), mmu, from)) return LeaveReason::Exception;
    CodeBytes first;
    CodeBytes second;
    if (!first.load(*this, from, key.address(), mmu)) return LeaveReason::Exception;
    scratch_.clear();
    scratch_.key = key;
    if (core_.guest().lift(key, {first.bytes, {}}, 1, scratch_) == LiftStatus::Ok) return LeaveReason::None;
    const u64 next_page = (key.address() & kPageMask) + kPageSize;
    if (!fetch(next_page, mmu, from)) return LeaveReason::Exception;
    if (!second.load(*this, from, next_page, mmu)) return LeaveReason::Exception;
    scratch_.clear();
    scratch_.key = key;
    if (core_.guest().lift(key, {first.bytes, second.bytes}, 1, scratch_) == LiftStatus::Ok) return LeaveReason::None;
    log::error("the lifter asks for a page it has, at {:#x}", key.address());
    return LeaveReason::Exit;
}

LeaveReason Vcpu::interpret_one() {
    const BlockKey key = core_.guest().current_key(state_);
    if (const LeaveReason why = lift_one(key); why != LeaveReason::None) return why;
    core_.check(scratch_, "lift");
    set_stepping(true);
    const LeaveReason why = interpret(scratch_);
    set_stepping(false);
    return why;
}

// A delivery counts as an instruction, so that the states before and after it have different numbers.
void Vcpu::count_event() {
    if (core_.options().count_instructions) ++header_->instructions;
}

// Nothing could carry out a store into translated code later, so it happens at once: no generated code is running here.
LeaveReason Vcpu::deliver_exception() {
    set_stepping(true);
    const LeaveReason why = core_.guest().deliver_exception(state_);
    set_stepping(false);
    count_event();
    return why;
}

void Vcpu::poll_interrupts() {
    set_stepping(true);
    const bool delivered = core_.guest().poll_interrupts(state_);
    set_stepping(false);
    if (delivered) count_event();
}

LeaveReason Vcpu::run() {
    Online online(*this);
    if (Hold* const hold = hold_of(*header_)) hold->reason = Hold::Reason::None;
    const Guest& guest = core_.guest();
    const auto* const pc = reinterpret_cast<const u64*>(static_cast<std::byte*>(state_) + guest.layout().pc_offset);
    bool first = true;
    bool fresh = true;  // mode or interrupt state may have changed since the last block
    for (;;) {
        counters_.dispatches.add();
        if (header_->attention.load(std::memory_order_relaxed) != 0) {
            header_->attention.exchange(0, std::memory_order_seq_cst);
            return LeaveReason::Attention;
        }
        // Whoever runs up to a limit does not see what happens beyond it; whoever starts there does.
        if (!first && header_->instructions >= instruction_limit(*header_)) return LeaveReason::Attention;
        first = false;
        quiesce();
        if (fresh) poll_interrupts();
        if (header_->instructions >= instruction_limit(*header_)) return LeaveReason::Attention;
        const BlockKey key = fresh ? guest.current_key(state_) : BlockKey{*pc, header_->base, header_->mode};
        if (fresh) enter_mode(key.mode);
        LeaveReason why = LeaveReason::None;
        if (BlockNode* block = find(key, why)) {
            if (pending_link_ != nullptr) link_pending(*block);
            why = fits_limit(*block) ? execute(*block) : LeaveReason::Interpret;
        }
        fresh = why != LeaveReason::None;
        if (why == LeaveReason::Interpret && was_held(*header_)) return LeaveReason::Attention;
        if (why == LeaveReason::Interpret) why = interpret_one();
        if (why == LeaveReason::Exception) why = deliver_exception();
        if (why == LeaveReason::Attention) header_->attention.exchange(0, std::memory_order_seq_cst);
        if (why == LeaveReason::Halt || why == LeaveReason::Exit || why == LeaveReason::Attention) return why;
    }
}

LeaveReason Vcpu::step() {
    Online online(*this);
    LeaveReason why = interpret_one();
    if (why == LeaveReason::Exception) why = deliver_exception();
    return why == LeaveReason::None ? LeaveReason::Lookup : why;
}

}  // namespace tandem::jit

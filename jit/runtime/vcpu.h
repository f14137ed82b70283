// A vCPU of the translator: frame, soft TLB, jump cache and the dispatcher's loop.
#pragma once

#include <atomic>
#include <memory>

#include "jit/guest/counting.h"
#include "jit/guest/hold.h"
#include "jit/interp/interpreter.h"
#include "jit/runtime/core.h"
#include "jit/runtime/fp_control.h"
#include "jit/runtime/worlds.h"

namespace tandem::jit {

class Vcpu final : public VcpuTranslator {
public:
    // `core` must outlive the vCPU. InvalidArgument when the guest's state cannot be framed.
    static Result<std::unique_ptr<Vcpu>> create(Core& core, void* owner);
    ~Vcpu() override;
    Vcpu(const Vcpu&) = delete;
    Vcpu& operator=(const Vcpu&) = delete;

    static Vcpu& of(void* state) { return *static_cast<Vcpu*>(header_of(state).translator); }
    static const Vcpu& of(const void* state) { return *static_cast<Vcpu*>(header_of(state).translator); }

    void* state() override { return state_; }
    ir::LeaveReason run() override;
    ir::LeaveReason step() override;
    void request_attention() override { header_->attention.store(1, std::memory_order_seq_cst); }
    [[nodiscard]] bool running() const override { return seen_.load(std::memory_order_seq_cst) != Core::kOffline; }
    void state_replaced() override;
    void drop_line_marks() override { LineMarks::drop(*header_); }

    Core& core() { return core_; }
    FrameHeader& header() { return *header_; }
    Worlds& worlds() { return worlds_; }
    VcpuCounters& counters() { return counters_; }

    // --- Guest memory (vcpu_memory.cpp). Own thread, while running or stepping.

    // In read and write tags beside TlbEntry's flags: accesses must be aligned. Such a write tag has kCode too.
    static constexpr u64 kStrict = 4;

    // One page's worth of an access, as the soft TLB has it.
    struct Place {
        u64 va = 0;
        unsigned mmu = 0;
        u64 tag = 0;         // the tag that matched, with its flags
        u64 phys = 0;        // of the access's first byte
        u8* host = nullptr;  // null: on the bus
        [[nodiscard]] bool code() const { return (tag & TlbEntry::kCode) != 0; }
        [[nodiscard]] bool strict() const { return (tag & kStrict) != 0; }
    };
    // --- Address spaces and TLB maintenance (vcpu_memory.cpp). Own thread.

    void tlb_flush(bool keep_global);
    void tlb_flush_page(u64 va);
    void tlb_flush_range(u64 va, u64 pages);
    void tlb_flush_space(u64 id);
    void tlb_switch();
    const WorldStamp* tlb_enter_world(u64 id, const WorldStamp& left);
    void tlb_flush_worlds();
    void tlb_flush_world_page(u64 id, u64 va) { worlds_.flush_page(id, va); }

    // For written_pages().
    void note_written(u64 phys) {
        if (auto* pages = written_pages(*header_)) pages->push_back(phys & kPageMask);
    }
    // The translation that the guest is making is of a strict page.
    void mark_strict() { strict_ = true; }
    // Whether the access that is being translated would be misaligned on a strict page.
    [[nodiscard]] bool misaligned_if_strict() const { return misaligned_; }
    // False: the fault is pending and leave_status() is Exception. `misaligned`: for what strict pages ask.
    bool resolve(u64 va, unsigned mmu, Access access, Place& out, bool misaligned = false);
    // What `size` bytes at `place` (all in one page) must do to be written while translated code may be there.
    enum class WriteVerdict : u8 { Plain, Code, Defer };
    WriteVerdict judge_write(const Place& place, unsigned size);
    // Before an ordinary store, which may be one of a watched page (Core::watch).
    void take_marks(const Place& place, u64 size);
    // False: nothing answers there and the guest calls that an exception, which is pending.
    bool read_place(const Place& place, Access access, void* out, unsigned size);
    bool write_place(const Place& place, WriteVerdict verdict, const void* in, unsigned size);
    // Up to 4096 bytes with at most one page crossing; strict pages ask for `alignment`, a power of two. False:
    // leave_status() says why.
    bool read(u64 va, unsigned mmu, Access access, void* out, unsigned size, unsigned alignment = 1);
    bool write(u64 va, unsigned mmu, const void* in, unsigned size, unsigned alignment = 1);
    // False: the alignment fault is pending. The first for an access of strict pages at `va`, which need not lie in `place`.
    bool strictly_aligned(const Place& place, u64 va, unsigned alignment, Access access);
    bool check_alignment(u64 va, u32 mem_flags, unsigned size, Access access);
    // Whether an access of `place` is left for step() (Hold).
    [[nodiscard]] bool held(const Place& place) const {
        return place.host == nullptr && held_before(*header_, Hold::Reason::Access);
    }
    // Sets leave_status() and says false, for the caller to return.
    bool fail(ir::LeaveReason why) {
        leave_status_ = why;
        return false;
    }
    [[nodiscard]] ir::LeaveReason leave_status() const { return leave_status_; }
    // False: nothing answers there.
    bool bus_read(u64 phys, unsigned size, u64& value);
    bool bus_write(u64 phys, u64 value, unsigned size);

private:
    friend class Core;
    class Online;
    struct CodeBytes;
    Vcpu(Core& core, void* owner, std::unique_ptr<std::byte[]> memory, FrameHeader& header);

    // Where code at a key comes from.
    struct Fetch {
        u64 phys = 0;
        const u8* host = nullptr;  // null: not in a memory slot
        bool global = false;
    };
    bool fetch(u64 va, unsigned mmu, Fetch& out);
    // The block to run at `key`; null with the reason to act on.
    BlockNode* find(const ir::BlockKey& key, ir::LeaveReason& why);
    ir::LeaveReason execute(BlockNode& block);
    [[nodiscard]] bool fits_limit(const BlockNode& block) const;
    ir::LeaveReason interpret(const ir::Block& block);
    // The guest's callbacks, whose stores into translated code are carried out.
    ir::LeaveReason deliver_exception();
    void poll_interrupts();
    void count_event();
    // One instruction at the guest's pc, all checks made; exceptions stay pending.
    ir::LeaveReason interpret_one();
    ir::LeaveReason lift_one(const ir::BlockKey& key);
    void link_pending(BlockNode& target);
    SoftTlb& tlb() { return worlds_.tlb(); }
    JumpCache& jump_cache() { return worlds_.jump_cache(); }
    // The guest's address space is the one that private MMU indexes are looked up in.
    void bind();
    // Code of that mode runs next: selects the jump cache's bank.
    void enter_mode(u64 mode);
    // From here on this vCPU holds no block that was retired before.
    void quiesce();
    void fill(u64 va, unsigned mmu, Access access, const Translation& t);
    // Lets the page's entry be written without further ado, unless it holds code after all.
    void publish_writable(TlbEntry& entry, u64 page, PageInfo& info);

    Core& core_;
    std::unique_ptr<std::byte[]> memory_;
    FrameHeader* header_;
    void* state_;
    Worlds worlds_;
    interp::Interpreter interpreter_;
    ir::Block scratch_;  // the block of interpret_one()
    // Stores into translated code are carried out, and nothing is left for later (Hold).
    void set_stepping(bool on) {
        stepping_ = on;
        if (Hold* const hold = hold_of(*header_)) hold->stepping = on;
    }
    bool stepping_ = false;
    bool strict_ = false;      // what mark_strict() said of the translation that is being made
    bool misaligned_ = false;  // what resolve() was told of it
    ir::LeaveReason leave_status_ = ir::LeaveReason::None;
    LinkSlot* pending_link_ = nullptr;       // the direct exit that was taken last, valid while seen_ == its epoch
    std::atomic<u64> seen_{Core::kOffline};  // the core's epoch at the last quiescent point
    VcpuCounters counters_;
};

}  // namespace tandem::jit

#include "jit/runtime/core.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "base/log.h"
#include "jit/ir/printer.h"
#include "jit/ir/verifier.h"
#include "jit/passes/passes.h"
#include "jit/runtime/vcpu.h"

namespace tandem::jit {
namespace {

constexpr std::size_t kPooledIr = 64;
constexpr i32 kNeverHot = std::numeric_limits<i32>::max();
constexpr u64 kStraightFactor = 64;
constexpr std::size_t kMaxRegionBlocks = 48;
constexpr std::size_t kMaxRegionInsts = 3000;
constexpr u64 kMaxIrBytes = u64{256} << 20;
constexpr std::size_t kMaxBlocks = std::size_t{1} << 20;

u64 now_ns() {
    return static_cast<u64>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count());
}

i32 hot_threshold(const Options& options, u64 factor = 1) {
    return static_cast<i32>(std::min<u64>(options.llvm_threshold * factor, kNeverHot));
}

u64 bytes_of(const ir::Block& block) {
    return block.insts.capacity() * sizeof(ir::Inst) + block.vector_constants.capacity() * sizeof(ir::Vec128);
}

}  // namespace

Core::Core(const Guest& guest, Bus& bus, const Options& options, std::unique_ptr<Backend> backend)
    : guest_(guest), bus_(bus), options_(options), backend_(std::move(backend)) {
    const bool tier = options.tier == Tier::Auto || options.tier == Tier::Llvm;
    if (backend_ && tier && options.llvm_threshold != 0) {
        hot_ = std::make_unique<HotRegions>(guest, options_, *backend_, lock_);
    }
}

Core::~Core() {
    if (hot_) hot_->stop();
    while (BlockNode* block = table_.oldest()) retire(*block);
    reclaim();
}

Result<std::unique_ptr<VcpuTranslator>> Core::create_vcpu(void* owner) {
    TANDEM_TRY_ASSIGN(auto vcpu, Vcpu::create(*this, owner));
    return std::unique_ptr<VcpuTranslator>(std::move(vcpu));
}

void Core::attach(Vcpu& vcpu) {
    std::lock_guard guard(vcpus_lock_);
    vcpus_.push_back(&vcpu);
    line_marks_.give(vcpu.header());
    if (!hot_) return;
    set_hot_counter(vcpu.header(), 0, kNeverHot);
    for (u32 slot = 1; slot < hot_slots_.used(); ++slot) set_hot_counter(vcpu.header(), slot, hot_threshold(options_));
}

void Core::detach(Vcpu& vcpu) {
    std::lock_guard guard(vcpus_lock_);
    std::erase(vcpus_, &vcpu);
    line_marks_.take(vcpu.header());
    const VcpuCounters& c = vcpu.counters();
    const std::array<const Counter*, 4> from{&c.tlb_misses, &c.tlb_flushes, &c.dispatches, &c.interpreted};
    for (std::size_t i = 0; i < from.size(); ++i) counters_.departed[i].add(from[i]->get());
}

void Core::flush_vcpus() {
    for (Vcpu* v : vcpus_) v->state_replaced();
}

Result<void> Core::add_slot(const MemorySlot& slot) {
    std::lock_guard guard(lock_);
    TANDEM_TRY(memory_.add(slot));
    flush_vcpus();
    return {};
}

Result<void> Core::remove_slot(u64 gpa) {
    std::lock_guard guard(lock_);
    const PhysicalMemory::Range* range = memory_.find(gpa);
    if (range != nullptr && range->slot.gpa == gpa) {
        for (u64 at = 0; at < range->slot.size; at += kPageSize) {
            if (CodePage* page = range->page(gpa + at).code.load()) invalidate(*page, 0, kPageSize);
        }
        reclaim();
    }
    TANDEM_TRY(memory_.remove(gpa));
    flush_vcpus();
    return {};
}

void Core::memory_written(u64 gpa, u64 size) { written(gpa, size); }

void Core::written(u64 gpa, u64 size) {
    while (size > 0) {
        const u64 offset = gpa & ~kPageMask;
        const u64 part = std::min(size, kPageSize - offset);
        CodePage* page = memory_.code_page(gpa);
        if (page != nullptr &&
            (page->granules.load(std::memory_order_acquire) & CodePage::granule_mask(offset, part)) != 0) {
            std::lock_guard guard(lock_);
            invalidate(*page, offset, part);
        }
        gpa += part;
        size -= part;
    }
}

bool Core::overlaps_code(const CodePage& page, u64 offset, u64 size) {
    bool found = false;
    BlockTable::for_overlapping(page, offset, size, [&](BlockNode&) { found = true; });
    return found;
}

void Core::invalidate(CodePage& page, u64 offset, u64 size) {
    BlockTable::for_overlapping(page, offset, size, [&](BlockNode& block) {
        counters_.invalidated.add();
        retire(block);
    });
    reclaim();
}

void Core::unlink_exits(BlockNode& block) {
    for (LinkSlot* slot : block.incoming) {
        backend_->unlink(*slot);
        slot->to = nullptr;
    }
    block.incoming.clear();
    for (const auto& slot : block.exits) {
        if (slot->to == nullptr) continue;
        std::erase(slot->to->incoming, slot.get());
        slot->to = nullptr;
    }
}

void Core::retire(BlockNode& block) {
    std::unique_ptr<BlockNode> owned = table_.remove(block);
    if (block.ir) ir_bytes_ -= bytes_of(*block.ir);
    block.invalid = true;
    if (backend_) unlink_exits(block);
    for (Vcpu* v : vcpus_) v->worlds().purge(block);
    block.retired = epoch() + 1;
    if (hot_) hot_->drop(block, block.retired);
    advance_epoch();
    retired_.push_back(std::move(owned));
}

void Core::reclaim() {
    if (retired_.empty() && retired_ir_.empty()) return;
    u64 oldest = kOffline;
    for (const Vcpu* v : vcpus_) oldest = std::min(oldest, v->seen_.load(std::memory_order_acquire));
    if (hot_) hot_->reclaim(oldest);
    std::erase_if(retired_, [&](std::unique_ptr<BlockNode>& block) {
        if (block->retired > oldest) return false;
        if (backend_ && block->code != nullptr) backend_->release(*block);
        if (block->ir) give_ir(std::move(block->ir));
        hot_slots_.give(block->hot_slot);
        return true;
    });
    std::erase_if(retired_ir_, [&](RetiredIr& r) {
        if (r.epoch > oldest) return false;
        give_ir(std::move(r.block));
        return true;
    });
    if (backend_) counters_.code_bytes.add(backend_->code_bytes_used() - counters_.code_bytes.get());
}

std::unique_ptr<ir::Block> Core::take_ir() {
    if (ir_pool_.empty()) return std::make_unique<ir::Block>();
    auto block = std::move(ir_pool_.back());
    ir_pool_.pop_back();
    return block;
}

void Core::give_ir(std::unique_ptr<ir::Block> block) {
    if (ir_pool_.size() < kPooledIr) ir_pool_.push_back(std::move(block));
}

void Core::protect(const PhysicalMemory::Range& range, CodePage& page) {
    page.granules.store(~u64{0}, std::memory_order_seq_cst);
    flag_stores(range.page(page.phys), page.host);
}

// After what Vcpu::publish_writable() looks at.
void Core::flag_stores(PageInfo& info, const u8* host_page) {
    if (info.write_cached.exchange(0, std::memory_order_seq_cst) == 0) return;
    for (Vcpu* v : vcpus_) v->worlds().protect(host_page);
}

void Core::watch(u64 phys) {
    const PhysicalMemory::Range& range = *memory_.find(phys);
    PageInfo& info = range.page(phys);
    if (info.watched.load(std::memory_order_acquire) == 2) return;
    const std::lock_guard guard(lock_);
    info.watched.store(1, std::memory_order_seq_cst);
    flag_stores(info, range.host(phys & kPageMask));
    info.watched.store(2, std::memory_order_release);
}

BlockNode* Core::translate(const ir::BlockKey& key, u64 phys, u64 second_phys, Vcpu& caller) {
    const u64 start = now_ns();
    const PhysicalMemory::Range& range = *memory_.find(phys);
    const PhysicalMemory::Range* second_range = second_phys != ~u64{0} ? memory_.find(second_phys) : nullptr;
    CodePage& first = memory_.make_code_page(range, phys);
    CodePage* second = second_range != nullptr ? &memory_.make_code_page(*second_range, second_phys) : nullptr;
    const u64 first_granules = first.granules.load(std::memory_order_relaxed);
    const u64 second_granules = second != nullptr ? second->granules.load(std::memory_order_relaxed) : 0;
    // Protected before the code is read: a store by another vCPU meanwhile waits for the lock and then sees the block.
    protect(range, first);
    if (second != nullptr && second != &first) protect(*second_range, *second);

    CodeWindow window;
    window.first = {range.host(phys), kPageSize - (phys & ~kPageMask)};
    if (second != nullptr) window.second = {second->host, kPageSize};
    scratch_.clear();
    scratch_.key = key;
    const LiftStatus status = guest_.lift(key, window, second != nullptr ? 1 : options_.max_block_insns, scratch_);

    auto block = std::make_unique<BlockNode>();
    block->key = key;
    block->phys[0] = phys;
    block->guest_bytes = std::max<u32>(scratch_.guest_bytes, 1);
    block->guest_insns = scratch_.guest_insns;
    const bool spans = second != nullptr && block->guest_bytes > window.first.size();
    if (spans) block->phys[1] = second_phys & kPageMask;
    if (!spans) block->guest_bytes = std::min<u32>(block->guest_bytes, static_cast<u32>(window.first.size()));
    const auto touched = [&](unsigned which) {
        return CodePage::granule_mask(block->offset_in(which), block->bytes_in(which));
    };
    const bool lifted = status == LiftStatus::Ok;
    if (second != nullptr) second->granules.store(second_granules | (lifted && spans ? touched(1) : 0));
    if (second == &first) {
        first.granules.store(first_granules | (lifted ? touched(0) | touched(spans ? 1 : 0) : 0));
    } else {
        first.granules.store(first_granules | (lifted ? touched(0) : 0));
    }
    if (!lifted) return nullptr;

    log_lifted(scratch_, window);
    check(scratch_, "lift");
    block->ir = take_ir();
    *block->ir = scratch_;
    block->interpretable.store(block->ir.get(), std::memory_order_relaxed);
    if (hot_) {
        block->hot_slot = hot_slots_.take();
        set_heat(*block, hot_threshold(options_));
    }
    BlockNode& node = table_.insert(std::move(block), first, spans ? second : nullptr);
    if (options_.tier == Tier::Interp) optimise(node);
    ir_bytes_ += bytes_of(*node.ir);
    if (ir_bytes_ > kMaxIrBytes || table_.size() > kMaxBlocks) evict(node, caller);
    counters_.lifted.add();
    counters_.bytes.add(node.guest_bytes);
    counters_.nanoseconds.add(now_ns() - start);
    return &node;
}

void Core::optimise(BlockNode& block) {
    passes::run(*block.ir, guest_);
    if (log::enabled(log::IrOpt) && logs(block.key, block.guest_bytes)) log::write(ir::print(*block.ir, &guest_));
    check(*block.ir, "passes");
}

bool Core::generate(BlockNode& block, Vcpu& caller) {
    constexpr unsigned kAttempts = 3;
    for (unsigned attempt = 0; attempt < kAttempts; ++attempt) {
        const auto compiled = backend_->compile(block);
        if (compiled.ok()) return true;
        if (compiled.error().code != Errc::Busy) break;  // room would not help
        evict(block, caller);
    }
    return false;
}

void Core::compile(BlockNode& block, Vcpu& caller) {
    if (!backend_ || block.uncompilable || block.entry.load(std::memory_order_relaxed) != nullptr || !block.ir) return;
    const u64 start = now_ns();
    ir_bytes_ -= bytes_of(*block.ir);
    // Another vCPU may be interpreting the block, so what it reads is left alone until that vCPU is known to be elsewhere.
    std::unique_ptr<ir::Block> original = take_ir();
    *original = *block.ir;
    std::swap(original, block.ir);
    optimise(block);
    block.uncompilable = !generate(block, caller);
    if (block.uncompilable) {
        std::swap(original, block.ir);
        give_ir(std::move(original));
        ir_bytes_ += bytes_of(*block.ir);
    } else {
        block.interpretable.store(nullptr, std::memory_order_release);
        give_ir(std::move(block.ir));
        if (vcpus_.size() > 1) {
            retired_ir_.push_back({std::move(original), advance_epoch()});
        } else {
            give_ir(std::move(original));
        }
        counters_.compiled.add();
        counters_.code_bytes.add(backend_->code_bytes_used() - counters_.code_bytes.get());
    }
    counters_.nanoseconds.add(now_ns() - start);
}

void Core::link(LinkSlot& slot, BlockNode& target) {
    const bool same_page = (slot.from->phys[0] & kPageMask) == (target.phys[0] & kPageMask) &&
                           (slot.from->key.address() & kPageMask) == (target.key.address() & kPageMask);
    const auto* from = static_cast<const BlockNode*>(slot.from);
    const bool same_mode = from->key.mode == target.key.mode && from->key.base == target.key.base;
    if (slot.to != nullptr || from->invalid || from->spans_pages() || target.spans_pages()) return;
    if (!same_page || !same_mode || slot.target_pc != target.key.pc) return;
    if (target.entry.load(std::memory_order_relaxed) == nullptr) return;
    backend_->link(slot, target);
    slot.to = &target;
    target.incoming.push_back(&slot);
}

// Lifts a copy of the block, which is still what memory holds, into the region.
bool Core::add_to_region(Region& region, std::vector<BlockNode*>& members, BlockNode& block) {
    const u64 phys = block.phys[0];
    const PhysicalMemory::Range* range = memory_.find(phys);
    CodeWindow window;
    window.first = {range->host(phys), kPageSize - (phys & ~kPageMask)};
    ir::Block copy;
    copy.key = block.key;
    if (guest_.lift(block.key, window, options_.max_block_insns, copy) != LiftStatus::Ok) return false;
    passes::run(copy, guest_);
    region.blocks.push_back(std::move(copy));
    members.push_back(&block);
    return true;
}

void Core::set_heat(const BlockNode& block, i32 executions) {
    for (Vcpu* v : vcpus_) set_hot_counter(v->header(), block.hot_slot, block.hot_slot != 0 ? executions : kNeverHot);
}

void Core::heat(BlockNode& block) {
    set_heat(block, kNeverHot);
    const auto enters = [&block](const HotRegion* r) { return r->members[0] == &block; };
    if (!hot_ || block.invalid || block.spans_pages() || !block.code) return;
    if (std::any_of(block.regions.begin(), block.regions.end(), enters)) return;
    if (!hot_->wants_more()) {
        set_heat(block, hot_threshold(options_));
        return;
    }
    Region region;
    std::vector<BlockNode*> members;
    if (!add_to_region(region, members, block)) return;
    std::size_t insts = 0;
    bool loops = false;
    // Breadth first along direct jumps to blocks of the same page that have run compiled.
    for (std::size_t at = 0; at < region.blocks.size() && insts < kMaxRegionInsts; ++at) {
        const ir::Inst last = region.blocks[at].insts.back();
        insts += region.blocks[at].insts.size();
        if (last.op != ir::Op::Jump && last.op != ir::Op::Branch) continue;
        const u64 fallthrough = last.op == ir::Op::Branch ? region.blocks[at].fallthrough : last.imm;
        for (const u64 pc : {last.imm, fallthrough}) {
            const ir::BlockKey key{pc, block.key.base, block.key.mode};
            const auto same_pc = [pc](const BlockNode* member) { return member->key.pc == pc; };
            if (std::any_of(members.begin(), members.end(), same_pc)) {
                loops |= pc <= region.blocks[at].key.pc;
                continue;
            }
            if ((key.address() & kPageMask) != (block.key.address() & kPageMask)) continue;
            BlockNode* next = table_.find((block.phys[0] & kPageMask) | (key.address() & ~kPageMask), key);
            if (next == nullptr || next->spans_pages() || next->code == nullptr) continue;
            if (members.size() < kMaxRegionBlocks) add_to_region(region, members, *next);
        }
    }
    // Without a loop there is less to gain, so it has to be hotter.
    if (!loops && !block.warm && options_.tier != Tier::Llvm) {
        block.warm = true;
        set_heat(block, hot_threshold(options_, kStraightFactor));
        return;
    }
    hot_->request(std::move(region), std::move(members));
}

void Core::evict(const BlockNode& keep, Vcpu& caller) {
    std::size_t left = std::max<std::size_t>(table_.size() / 8, 1);
    for (BlockNode* block = table_.oldest(); block != nullptr && left > 0; --left) {
        BlockNode* const next = block->newer;
        if (block != &keep) {
            counters_.evictions.add();
            retire(*block);
        }
        block = next;
    }
    caller.quiesce();
    reclaim();
}

bool Core::logs(const ir::BlockKey& key, u32 bytes) const {
    return key.address() <= options_.log_address_high && key.address() + (bytes - 1) >= options_.log_address_low;
}

void Core::log_lifted(const ir::Block& block, const CodeWindow& code) const {
    if (!log::enabled(log::InAsm) && !log::enabled(log::Ir)) return;
    if (!logs(block.key, std::max<u32>(block.guest_bytes, 1))) return;
    if (log::enabled(log::InAsm)) {
        std::vector<u8> bytes(code.first.begin(),
                              code.first.begin() + std::min<i64>(block.guest_bytes, std::ssize(code.first)));
        const std::size_t rest = block.guest_bytes - bytes.size();
        bytes.insert(bytes.end(), code.second.begin(),
                     code.second.begin() + std::min<i64>(static_cast<i64>(rest), std::ssize(code.second)));
        log::write(guest_.disassemble(block.key, bytes));
    }
    if (log::enabled(log::Ir)) log::write(ir::print(block, &guest_));
}

void Core::check(const ir::Block& block, const char* stage) const {
    if (!options_.verify_ir) return;
    if (const auto verified = ir::verify(block, &guest_); !verified.ok()) {
        log::error("invalid IR after {}: {}", stage, verified.error().message);
    }
}

Statistics Core::statistics() const {
    Statistics s;
    s.blocks_lifted = counters_.lifted.get();
    s.blocks_compiled_baseline = counters_.compiled.get();
    s.guest_bytes_translated = counters_.bytes.get();
    s.code_bytes = counters_.code_bytes.get();
    s.invalidated_blocks = counters_.invalidated.get();
    s.evictions = counters_.evictions.get();
    s.translate_nanoseconds = counters_.nanoseconds.get();
    if (hot_) {
        s.regions_compiled_llvm = hot_->compiled();
        s.llvm_nanoseconds = hot_->nanoseconds();
    }
    std::lock_guard guard(vcpus_lock_);
    s.tlb_misses = counters_.departed[0].get();
    s.tlb_flushes = counters_.departed[1].get();
    s.dispatches = counters_.departed[2].get();
    s.interpreted_insns = counters_.departed[3].get();
    for (Vcpu* v : vcpus_) {
        const VcpuCounters& c = v->counters();
        s.tlb_misses += c.tlb_misses.get();
        s.tlb_flushes += c.tlb_flushes.get();
        s.dispatches += c.dispatches.get();
        s.interpreted_insns += c.interpreted.get();
    }
    return s;
}

Result<std::unique_ptr<Translator>> create_translator(const Guest& guest, Bus& bus, const Options& options) {
    if (options.max_block_insns == 0) return invalid("max_block_insns must be at least 1");
    if (options.tier == Tier::Llvm && options.llvm_threshold == 0) {
        return invalid("the LLVM tier needs an llvm-threshold of at least 1 (0 turns it off)");
    }
    std::unique_ptr<Backend> backend;
    if (options.tier != Tier::Interp) {
        auto made = create_baseline_backend({&guest, options});
        if (made.ok()) {
            backend = std::move(made).value();
        } else if (options.tier != Tier::Auto || made.error().code != Errc::Unsupported) {
            return std::move(made).error();
        }
    }
    return std::unique_ptr<Translator>(std::make_unique<Core>(guest, bus, options, std::move(backend)));
}

}  // namespace tandem::jit

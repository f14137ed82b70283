#include "accel/diff/bare_vcpu.h"

#include <cstring>
#include <new>

#include "accel/diff/no_bus.h"
#include "base/bits.h"
#include "cpu/x86/guest.h"

namespace tandem::accel::diff {

using namespace cpu::x86;

namespace {

class StoppingGuest final : public jit::Guest {
public:
    explicit StoppingGuest(const CpuModel& model) : guest_(create_guest(model)) {}

    const jit::StateLayout& layout() const override { return guest_->layout(); }
    std::span<const jit::Helper> helpers() const override { return guest_->helpers(); }
    jit::ir::BlockKey current_key(void* state) const override { return guest_->current_key(state); }
    jit::LiftStatus lift(const jit::ir::BlockKey& key, const jit::CodeWindow& code, unsigned max_insns,
                         jit::ir::Block& out) const override {
        return guest_->lift(key, code, max_insns, out);
    }
    unsigned fetch_mmu(u64 mode) const override { return guest_->fetch_mmu(mode); }
    bool translate(void* state, u64 va, jit::Access access, unsigned mmu, jit::Translation& out) const override {
        return guest_->translate(state, va, access, mmu, out);
    }
    bool check_crossing(void* state, u64 va, unsigned size) const override {
        return guest_->check_crossing(state, va, size);
    }
    void alignment_fault(void* state, u64 va, jit::Access access, unsigned mmu) const override {
        guest_->alignment_fault(state, va, access, mmu);
    }
    jit::ir::LeaveReason deliver_exception(void*) const override { return jit::ir::LeaveReason::Exit; }
    bool poll_interrupts(void*) const override { return false; }
    std::string disassemble(const jit::ir::BlockKey& key, std::span<const u8> code) const override {
        return guest_->disassemble(key, code);
    }

private:
    std::unique_ptr<jit::Guest> guest_;
};

class NoPlatform final : public Platform {
public:
    u32 port_in(u16, unsigned, PortForm) override { return ~0u; }
    void port_out(u16, u32, unsigned, PortForm) override {}
    bool msr_read(u32, u64&) override { return false; }
    bool msr_write(u32, u64) override { return false; }
    bool apic_base_write(u64) override { return false; }
    u8 cr8_read() override { return 0; }
    void cr8_write(u8) override {}
    bool interrupt_pending() override { return false; }
    int acknowledge_interrupt() override { return -1; }
    bool take_nmi() override { return false; }
    u64 tsc() override { return 0; }
    u64 hypercall(u64, u64, u64, u64, u64) override { return 0; }
    void shutdown(u64) override {}
};

constexpr u64 kPage = 0x1000;

}  // namespace

BareVcpu::BareVcpu(CpuModel model)
    : model_(std::move(model)),
      guest_(std::make_unique<StoppingGuest>(model_)),
      bus_(std::make_unique<NoBus>()),
      platform_(std::make_unique<NoPlatform>()) {}
BareVcpu::~BareVcpu() = default;

Result<std::unique_ptr<BareVcpu>> BareVcpu::create(const jit::Options& options, u64 memory_size) {
    TANDEM_TRY_ASSIGN(CpuModel model, CpuModel::create("max"));
    std::unique_ptr<BareVcpu> bare(new BareVcpu(std::move(model)));
    TANDEM_TRY_ASSIGN(bare->translator_, jit::create_translator(*bare->guest_, *bare->bus_, options));
    TANDEM_TRY_ASSIGN(bare->memory_, bare->add_memory(0, memory_size));
    TANDEM_TRY_ASSIGN(bare->vcpu_, bare->translator_->create_vcpu(nullptr));
    bare->state_ = new (bare->vcpu_->state()) TranslateState();
    bare->clear_state();
    return bare;
}

Result<u8*> BareVcpu::add_memory(u64 address, u64 size) {
    storage_.push_back(std::make_unique<u8[]>(size + kPage));
    auto* memory = reinterpret_cast<u8*>(align_up(reinterpret_cast<u64>(storage_.back().get()), kPage));
    TANDEM_TRY(translator_->add_slot({address, size, memory, false}));
    return memory;
}

void BareVcpu::clear_state() {
    *state_ = TranslateState();
    state_->model = &model_;
    state_->platform = platform_.get();
}

void BareVcpu::map(u64 root, u64& next_table, u64 linear, u64 physical, u64 bits) {
    const unsigned last = (bits & kPageLarge) != 0 ? 21 : 12;
    u64 table = root;
    for (unsigned shift = 39;; shift -= 9) {
        u64 entry = 0;
        u8* const at = memory_ + table + (linear >> shift & 511) * 8;
        std::memcpy(&entry, at, 8);
        if (shift == last) entry = physical | bits;
        if (entry == 0) {
            entry = next_table | kPagePresent | kPageWritable | kPageUser | kPageAccessed;
            next_table += kPage;
        }
        std::memcpy(at, &entry, 8);
        if (shift == last) return;
        table = entry & ~u64{kPage - 1};
    }
}

}  // namespace tandem::accel::diff

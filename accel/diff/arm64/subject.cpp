#include "accel/diff/arm64/subject.h"

#include <cstring>
#include <new>

#include "accel/diff/arm64/no_machine.h"
#include "accel/diff/no_bus.h"
#include "base/bits.h"
#include "cpu/arm64/fpu/status.h"
#include "cpu/arm64/helpers.h"
#include "cpu/arm64/lift/block.h"
#include "cpu/arm64/mode.h"
#include "cpu/arm64/translate_state.h"
#include "jit/ir/builder.h"
#include "jit/ir/verifier.h"

namespace tandem::accel::diff::arm64 {

using namespace cpu::arm64;

namespace {

constexpr u32 kStop = 0;  // UDF
constexpr u64 kPage = 0x1000;
constexpr u64 kCodeAddress = 0x1000'0000, kCodeSize = 0x10000;

class StreamGuest final : public jit::Guest {
public:
    StreamGuest(const CpuModel& model, bool exact) : model_(model), exact_(exact) {
        layout_ = {sizeof(TranslateState), offsetof(State, pc), {}};
    }
    const jit::StateLayout& layout() const override { return layout_; }
    std::span<const jit::Helper> helpers() const override { return helper_table(); }
    jit::ir::BlockKey current_key(void* state) const override {
        const auto& t = *static_cast<const TranslateState*>(state);
        jit::FrameHeader& header = jit::header_of(state);
        header.mode = 1 | ModeBits::kSpSel | (exact_ || fpu::needs_exact(t.s.fpcr) ? u64{ModeBits::kFpExact} : 0);
        header.base = 0;
        return {t.s.pc, 0, header.mode};
    }
    // The words up to the one that stops; that one leaves.
    jit::LiftStatus lift(const jit::ir::BlockKey& key, const jit::CodeWindow& code, unsigned max_insns,
                         jit::ir::Block& out) const override {
        std::size_t bytes = 0;
        for (u32 word = 0; bytes + 4 <= code.first.size(); bytes += 4) {
            std::memcpy(&word, code.first.data() + bytes, 4);
            if (word == kStop) break;
        }
        if (bytes != 0) return lift_block(model_, key, {code.first.first(bytes), {}}, max_insns, out);
        jit::ir::Builder b(out);
        out.key = key;
        out.guest_insns = 1;
        out.guest_bytes = 4;
        b.insn_start(key.pc, 4);
        b.set(layout_.pc_offset, b.konst(jit::ir::Type::I64, key.pc));
        b.leave(jit::ir::LeaveReason::Exit);
        return jit::LiftStatus::Ok;
    }
    unsigned fetch_mmu(u64) const override { return 0; }
    bool translate(void*, u64 va, jit::Access, unsigned, jit::Translation& out) const override {
        out = {va, kPage, true, true, true, true};
        return true;
    }
    void alignment_fault(void*, u64, jit::Access, unsigned) const override {}
    jit::ir::LeaveReason deliver_exception(void*) const override { return jit::ir::LeaveReason::Exit; }
    bool poll_interrupts(void*) const override { return false; }
    std::string disassemble(const jit::ir::BlockKey&, std::span<const u8>) const override { return {}; }

private:
    const CpuModel& model_;
    bool exact_;
    jit::StateLayout layout_;
};

}  // namespace

struct Subject::Impl {
    explicit Impl(CpuModel cpu_model, bool exact) : model(std::move(cpu_model)), guest(model, exact) {}
    void place(std::span<const u32> words);

    CpuModel model;
    StreamGuest guest;
    NoBus bus;
    NoMachine machine;
    std::vector<u8> storage = std::vector<u8>(kCodeSize + kPage);
    u8* code = nullptr;
    u64 used = 0;
    std::unique_ptr<jit::Translator> translator;
    std::unique_ptr<jit::VcpuTranslator> vcpu;
    TranslateState* state = nullptr;
    std::vector<u32> placed;  // the stream at `code + start`
    u64 start = 0;
};

Subject::Subject(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Subject::~Subject() = default;

Result<std::unique_ptr<Subject>> Subject::create(jit::Tier tier, bool exact, u8* data, u64 data_address) {
    TANDEM_TRY_ASSIGN(CpuModel model, CpuModel::named("max"));
    auto impl = std::make_unique<Impl>(std::move(model), exact);
    impl->code = reinterpret_cast<u8*>(align_up(reinterpret_cast<u64>(impl->storage.data()), kPage));
    jit::Options options;
    options.tier = tier;
    options.baseline_threshold = 0;
    options.llvm_threshold = kLlvmThreshold;
    options.code_cache_bytes = 16 << 20;
    TANDEM_TRY_ASSIGN(impl->translator, jit::create_translator(impl->guest, impl->bus, options));
    TANDEM_TRY(impl->translator->add_slot({kCodeAddress, kCodeSize, impl->code, false}));
    if (data_address == 0) data_address = reinterpret_cast<u64>(data);
    TANDEM_TRY(impl->translator->add_slot({data_address, kDataSize, data, false}));
    TANDEM_TRY_ASSIGN(impl->vcpu, impl->translator->create_vcpu(nullptr));
    impl->state = new (impl->vcpu->state()) TranslateState();
    impl->state->model = &impl->model;
    impl->state->platform = &impl->machine;
    impl->state->s.sys.cpacr_el1 = u64{3} << 20;  // floating point is on
    return std::unique_ptr<Subject>(new Subject(std::move(impl)));
}

// Streams follow each other, so that what was translated is dropped only when the memory is used up.
void Subject::Impl::place(std::span<const u32> words) {
    if (std::equal(words.begin(), words.end(), placed.begin(), placed.end())) return;
    const u64 bytes = (words.size() + 1) * 4;
    if (used + bytes > kCodeSize) {
        std::memset(code, 0, kCodeSize);
        translator->memory_written(kCodeAddress, kCodeSize);
        used = 0;
    }
    start = used;
    std::memcpy(code + start, words.data(), words.size_bytes());
    translator->memory_written(kCodeAddress + start, words.size_bytes());
    used = align_up(used + bytes, 64);
    placed.assign(words.begin(), words.end());
}

u64 Subject::place(std::span<const u32> words) {
    impl_->place(words);
    return kCodeAddress + impl_->start;
}

u64 Subject::stopped_at() const { return impl_->state->s.pc; }

bool Subject::run(std::span<const u32> words, MachineState& state) {
    impl_->place(words);
    TranslateState& t = *impl_->state;
    State& s = t.s;
    s.x = state.x;
    s.sp[1] = state.sp;
    for (unsigned i = 0; i < 32; ++i) s.v[i].lane = state.v[i];
    s.pstate = (s.pstate & ~pstate::kNzcv) | state.nzcv;
    s.fpcr = state.fpcr;
    s.fpsr = state.fpsr;
    s.pc = kCodeAddress + impl_->start;
    s.pending = {};
    s.exclusive = {};
    import_flags(t);
    fpu::control_to_frame(t);
    const u64 end = s.pc + words.size_bytes();
    impl_->vcpu->run();
    export_flags(t);
    fpu::status_from_frame(t);
    state.x = s.x;
    state.sp = s.sp[1];
    for (unsigned i = 0; i < 32; ++i) state.v[i] = s.v[i].lane;
    state.nzcv = static_cast<u32>(s.pstate & pstate::kNzcv);
    state.fpsr = s.fpsr;
    return s.pc == end && !s.pending.valid;
}

std::string Subject::verify(std::span<const u32> words) {
    std::vector<u8> bytes(words.size_bytes() + 4);
    std::memcpy(bytes.data(), words.data(), words.size_bytes());
    jit::ir::Block block;
    const u64 mode = 1 | ModeBits::kSpSel;
    impl_->guest.lift({0x1000, 0, mode}, {bytes, {}}, static_cast<unsigned>(words.size()), block);
    const auto result = jit::ir::verify(block, &impl_->guest);
    return result ? std::string() : result.error().message;
}

u64 Subject::regions_compiled() const { return impl_->translator->statistics().regions_compiled_llvm; }

}  // namespace tandem::accel::diff::arm64

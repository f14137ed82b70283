#include "accel/diff/translator_cpu.h"

#include <cstring>

#include "accel/diff/bare_vcpu.h"
#include "accel/diff/image.h"
#include "cpu/x86/fpu/mxcsr.h"
#include "cpu/x86/system/registers.h"
#include "jit/guest/counting.h"

namespace tandem::accel::diff {

using namespace cpu::x86;

struct TranslatorCpu::Impl {
    void run_one(const TestCase& test, std::span<const u8> before, Outcome& outcome);
    void place_code(const TestCase& test);
    void store_system(Outcome& outcome) const;
    [[nodiscard]] MemoryChange settle(u64 address, u8* now, std::span<const u8> before) const;
    void settle_memory(const World& world, std::span<const u8> before, Outcome& outcome) const;

    jit::Tier tier = jit::Tier::Interp;
    unsigned times = 1;
    std::unique_ptr<BareVcpu> bare;
    u8* code = nullptr;
    u8* data = nullptr;
    std::vector<u8> tables;  // as they are before an experiment
    // The code that is in the page now.
    u64 code_offset = 0;
    u8 code_length = 0;
    std::vector<u8> code_image;  // the page
};

// The same code as before stays translated.
void TranslatorCpu::Impl::place_code(const TestCase& test) {
    const u64 offset = code_address(test) - kCodePage;
    if (offset == code_offset && test.length == code_length &&
        std::memcmp(code + offset, test.code.data(), code_length) == 0)
        return;
    std::memset(code + code_offset, kStop, code_length);
    bare->translator().memory_written(kCodePage + code_offset, code_length);
    code_offset = offset;
    code_length = test.length;
    std::memcpy(code + code_offset, test.code.data(), test.length);
    std::memset(code_image.data(), kStop, code_image.size());
    std::memcpy(&code_image[code_offset], test.code.data(), test.length);
    bare->translator().memory_written(kCodePage + code_offset, test.length);
}

// What the experiment changed, which is put back.
MemoryChange TranslatorCpu::Impl::settle(u64 address, u8* now, std::span<const u8> before) const {
    const MemoryChange change = memory_change(before.data(), now, before.size());
    if (change.hash != 0) {
        std::memcpy(now + change.offset, &before[change.offset], change.end - change.offset);
        bare->translator().memory_written(address + change.offset, change.end - change.offset);
    }
    return change;
}

void TranslatorCpu::Impl::store_system(Outcome& outcome) const {
    const State& s = bare->state().s;
    SystemImage& image = outcome.system;
    image.present = true;
    image.seg = s.seg;
    image.ldtr = s.ldtr;
    image.tr = s.tr;
    image.gdtr = s.gdtr;
    image.idtr = s.idtr;
    image.cr0 = s.cr0;
    image.cr2 = s.cr2;
    image.cr3 = s.cr3;
    image.cr4 = s.cr4;
    image.xcr0 = s.xcr0;
    image.dr6 = s.dr6;
    image.dr7 = s.dr7;
    image.dr = s.dr;
    image.pkru = s.pkru;
    image.msr = s.msr;
    image.activity = s.activity;
    image.sti_shadow = s.sti_shadow;
    image.mov_ss_shadow = s.mov_ss_shadow;
    image.nmi_blocked = s.nmi_blocked;
}

// Accessed and dirty bits; without paging all memory is writable.
void TranslatorCpu::Impl::settle_memory(const World& world, std::span<const u8> before, Outcome& outcome) const {
    outcome.memory = settle(kData, data, before);
    const TableArea area = world.paging == Paging::None ? TableArea{0, kTablesSize} : table_area(world.paging);
    outcome.system.tables = settle(area.at, bare->memory() + area.at, std::span(tables).subspan(area.at, area.size));
    if (world.paging == Paging::None) outcome.system.code = settle(kCodePage, code, code_image);
}

void TranslatorCpu::Impl::run_one(const TestCase& test, std::span<const u8> before, Outcome& outcome) {
    place_code(test);
    TranslateState& state = bare->state();
    State& s = state.s;
    const World& world = world_of(test);
    enter_world(world, s);
    load_image(test.in, s);
    import_flags(state);
    mxcsr_to_frame(state);
    bare->vcpu().state_replaced();

    jit::FrameHeader& header = jit::header_of(&state);
    const u64 limit = header.instructions + kMaxInstructions;
    jit::set_instruction_limit(header, limit);
    header.repeat_stride = kRepeatStride;
    outcome = {};
    outcome.vector = Outcome::kHang;
    // Anything but an exception or a halt is none of the experiment's business.
    while (header.instructions < limit && outcome.vector == Outcome::kHang) {
        const jit::ir::LeaveReason why = bare->vcpu().run();
        if (s.pending.valid) {
            outcome.vector = s.pending.vector;
        } else if (why == jit::ir::LeaveReason::Halt) {
            outcome.vector = Outcome::kHalted;
        } else if (s.activity == Activity::Shutdown) {
            outcome.vector = Outcome::kShutdown;
        }
    }

    export_flags(state);
    mxcsr_from_frame(state);
    store_image(s, outcome.out);
    if (!world.is64()) truncate(outcome.out);
    if (s.pending.valid) {
        outcome.error = s.pending.has_error ? s.pending.error : 0;
        outcome.cr2 = outcome.vector == 14 ? s.pending.payload : 0;
    }
    store_system(outcome);
    settle_memory(world, before, outcome);
}

TranslatorCpu::TranslatorCpu(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TranslatorCpu::~TranslatorCpu() = default;

Result<std::unique_ptr<TranslatorCpu>> TranslatorCpu::create(jit::Tier tier, u32 llvm_threshold, unsigned times) {
    jit::Options options;
    options.tier = tier;
    options.baseline_threshold = 0;
    options.llvm_threshold = llvm_threshold;
    options.code_cache_bytes = 16 << 20;
    options.count_instructions = true;
    auto impl = std::make_unique<Impl>();
    impl->tier = tier;
    impl->times = times;
    TANDEM_TRY_ASSIGN(impl->bare, BareVcpu::create(options, kTablesSize));
    TANDEM_TRY_ASSIGN(impl->code, impl->bare->add_memory(kCodePage, 0x1000));
    TANDEM_TRY_ASSIGN(impl->data, impl->bare->add_memory(kData, kDataSize + kReadOnlySize));
    std::memset(impl->code, kStop, 0x1000);
    impl->code_image.assign(0x1000, kStop);
    write_page_tables(impl->bare->memory());
    impl->tables.assign(impl->bare->memory(), impl->bare->memory() + kTablesSize);
    return std::unique_ptr<TranslatorCpu>(new TranslatorCpu(std::move(impl)));
}

std::string_view TranslatorCpu::name() const {
    switch (impl_->tier) {
        case jit::Tier::Interp: return "interp";
        case jit::Tier::Baseline: return "baseline";
        default: return "llvm";
    }
}

Result<void> TranslatorCpu::run(std::span<const TestCase> cases, std::span<const u8> memory, std::span<Outcome> outcomes) {
    std::memcpy(impl_->data, memory.data(), memory.size());
    impl_->bare->translator().memory_written(kData, memory.size());
    for (size_t i = 0; i < cases.size(); ++i) {
        for (unsigned n = 0; n < impl_->times; ++n) impl_->run_one(cases[i], memory, outcomes[i]);
    }
    return {};
}

u64 TranslatorCpu::regions_compiled() const { return impl_->bare->regions_compiled(); }

}  // namespace tandem::accel::diff

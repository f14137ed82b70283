#include "tests/instruction/tandem_cpu.h"

#include <cstring>

#include "cpu/x86/fpu/mxcsr.h"
#include "cpu/x86/system/registers.h"
#include "tests/instruction/bare_vcpu.h"

namespace tandem::instruction_test {

using namespace cpu::x86;

namespace {

// Guest-physical layout: page tables, then the code page, then the data pages.
constexpr u64 kMemorySize = 0x100000;
constexpr u64 kPageTables = 0x1000;
constexpr u64 kCodePhys = 0x10000;
constexpr u64 kDataPhys = 0x20000;

constexpr u16 kUserData = access::P | access::S | 3 << 5 | access::Writable | access::Accessed;

Segment code_segment(bool compatibility) {
    const u16 selector = compatibility ? 0x23 : 0x33;
    return {0, ~0u, selector,
            static_cast<u16>(kUserData | access::Code | access::G | (compatibility ? access::DB : access::L))};
}

// As Linux runs a 64-bit process.
void user_mode(State& s) {
    s = State();
    s.cr0 = cr0::PE | cr0::MP | cr0::ET | cr0::NE | cr0::WP | cr0::AM | cr0::PG;
    s.cr3 = kPageTables;
    s.cr4 = cr4::PAE | cr4::PGE | cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::UMIP | cr4::FSGSBASE | cr4::OSXSAVE;
    s.xcr0 = 7;
    s.msr.efer = efer::SCE | efer::LME | efer::LMA | efer::NXE;
    for (const SegReg seg : {SS, DS, ES}) s.seg[seg] = {0, ~0u, 0x2b, static_cast<u16>(kUserData | access::DB | access::G)};
    for (const SegReg seg : {FS, GS}) s.seg[seg] = Segment{};
}

void load_fx(State& s, const CpuImage& image) {
    const FxImage& fx = image.fx;
    s.x87.fcw = fx.fcw;
    s.x87.fsw = fx.fsw;
    s.x87.valid = fx.ftw;
    s.x87.fop = 0;
    s.x87.fip = s.x87.fdp = 0;
    s.x87.fcs = s.x87.fds = 0;
    const unsigned top = fx.fsw >> 11 & 7;
    for (unsigned i = 0; i < 8; ++i) {
        X87Reg& reg = s.x87.reg[(top + i) & 7];
        std::memcpy(&reg.significand, fx.st[i].data(), 8);
        std::memcpy(&reg.sign_exponent, fx.st[i].data() + 8, 2);
    }
    for (unsigned i = 0; i < 16; ++i) {
        s.vec[i].lane = {fx.xmm[i][0], fx.xmm[i][1], image.ymm_high[i][0], image.ymm_high[i][1]};
    }
    s.mxcsr = fx.mxcsr;
}

void store_fx(const State& s, CpuImage& image) {
    FxImage& fx = image.fx;
    fx.fcw = s.x87.fcw;
    fx.fsw = s.x87.fsw;
    fx.ftw = s.x87.valid;
    const unsigned top = fx.fsw >> 11 & 7;
    for (unsigned i = 0; i < 8; ++i) {
        const X87Reg& reg = s.x87.reg[(top + i) & 7];
        fx.st[i] = {};
        std::memcpy(fx.st[i].data(), &reg.significand, 8);
        std::memcpy(fx.st[i].data() + 8, &reg.sign_exponent, 2);
    }
    for (unsigned i = 0; i < 16; ++i) {
        fx.xmm[i] = {s.vec[i].lane[0], s.vec[i].lane[1]};
        image.ymm_high[i] = {s.vec[i].lane[2], s.vec[i].lane[3]};
    }
    fx.mxcsr = s.mxcsr;
}

}  // namespace

struct TandemCpu::Impl {
    void map_pages() const;
    void run_one(const TestCase& test, std::span<const u8> memory, Outcome& outcome);
    void place_code(const TestCase& test);

    std::unique_ptr<BareVcpu> bare;
    // The code that is in the page now.
    u64 code_offset = 0;
    u8 code_length = 0;
};

void TandemCpu::Impl::map_pages() const {
    u64 next_table = kPageTables + 0x1000;
    bare->map(kPageTables, next_table, kCodePage, kCodePhys, kPagePresent | kPageUser | kPageAccessed);
    for (u64 offset = 0; offset < kDataSize + kReadOnlySize; offset += 0x1000) {
        const u64 writable = offset < kDataSize ? u64{kPageWritable} : 0;
        bare->map(kPageTables, next_table, kData + offset, kDataPhys + offset,
                  kPagePresent | kPageUser | kPageAccessed | kPageDirty | kPageNoExecute | writable);
    }
    std::memset(bare->memory() + kCodePhys, kStop, 0x1000);
}

// The same code as before stays translated.
void TandemCpu::Impl::place_code(const TestCase& test) {
    u8* const page = bare->memory() + kCodePhys;
    const u64 offset = test.in.rip - kCodePage;
    if (offset == code_offset && test.length == code_length &&
        std::memcmp(page + offset, test.code.data(), code_length) == 0)
        return;
    std::memset(page + code_offset, kStop, code_length);
    bare->translator().memory_written(kCodePhys + code_offset, code_length);
    code_offset = offset;
    code_length = test.length;
    std::memcpy(page + code_offset, test.code.data(), test.length);
    bare->translator().memory_written(kCodePhys + code_offset, test.length);
}

void TandemCpu::Impl::run_one(const TestCase& test, std::span<const u8> memory, Outcome& outcome) {
    place_code(test);
    TranslateState& state = bare->state();
    State& s = state.s;
    s.gpr = test.in.gpr;
    s.rip = test.in.rip;
    s.rflags = test.in.rflags;
    load_fx(s, test.in);
    s.pending = {};
    s.seg[CS] = code_segment(test.compatibility);
    s.seg[GS].base = kData;
    s.seg[FS].base = 0;
    import_flags(state);
    mxcsr_to_frame(state);

    // Anything but an exception is none of the experiment's business; a run that does not end is cut off.
    for (unsigned i = 0; i < 64 && !s.pending.valid; ++i) bare->vcpu().run();

    export_flags(state);
    mxcsr_from_frame(state);
    outcome = {};
    outcome.out.gpr = s.gpr;
    outcome.out.rip = s.rip;
    outcome.out.rflags = s.rflags;
    store_fx(s, outcome.out);
    if (test.compatibility) truncate(outcome.out);
    outcome.vector = s.pending.valid ? s.pending.vector : Outcome::kHang;
    outcome.error = s.pending.has_error ? s.pending.error : 0;
    outcome.cr2 = outcome.vector == 14 ? s.pending.payload : 0;
    u8* data = bare->memory() + kDataPhys;
    outcome.memory = memory_change(memory.data(), data);
    if (outcome.memory.hash != 0) std::memcpy(data, memory.data(), kDataSize);
}

TandemCpu::TandemCpu(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TandemCpu::~TandemCpu() = default;

Result<std::unique_ptr<TandemCpu>> TandemCpu::create(jit::Tier tier) {
    jit::Options options;
    options.tier = tier;
    options.baseline_threshold = 0;
    options.llvm_threshold = kLlvmThreshold;
    options.code_cache_bytes = 16 << 20;
    auto impl = std::make_unique<Impl>();
    TANDEM_TRY_ASSIGN(impl->bare, BareVcpu::create(options, kMemorySize));
    impl->map_pages();
    user_mode(impl->bare->state().s);
    import_flags(impl->bare->state());
    impl->bare->vcpu().state_replaced();
    return std::unique_ptr<TandemCpu>(new TandemCpu(std::move(impl)));
}

void TandemCpu::run(std::span<const TestCase> cases, std::span<const u8> memory, std::span<Outcome> outcomes) {
    std::memcpy(impl_->bare->memory() + kDataPhys, memory.data(), kDataSize + kReadOnlySize);
    for (size_t i = 0; i < cases.size(); ++i) impl_->run_one(cases[i], memory, outcomes[i]);
}

u64 TandemCpu::regions_compiled() const { return impl_->bare->regions_compiled(); }

}  // namespace tandem::instruction_test

#include "tests/instruction/tandem_cpu.h"

#include <cstring>
#include <new>
#include <vector>

#include "cpu/x86/fpu/mxcsr.h"
#include "cpu/x86/guest.h"
#include "cpu/x86/platform.h"
#include "cpu/x86/system/registers.h"

namespace tandem::instruction_test {

using namespace cpu::x86;

namespace {

// Guest-physical layout: page tables, then the code page, then the data pages.
constexpr u64 kMemorySize = 0x100000;
constexpr u64 kPml4 = 0x1000, kPdpt = 0x2000, kPd = 0x3000, kPtCode = 0x4000, kPtData = 0x5000;
constexpr u64 kCodePhys = 0x10000;
constexpr u64 kDataPhys = 0x20000;

enum PageBits : u64 { kPresent = 1, kWritable = 2, kUser = 4, kAccessed = 0x20, kDirty = 0x40, kNoExecute = u64{1} << 63 };

// Ends a run at the first exception instead of delivering it.
class InterceptingGuest final : public jit::Guest {
public:
    explicit InterceptingGuest(std::unique_ptr<jit::Guest> guest) : guest_(std::move(guest)) {}

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

class NoBus final : public jit::Bus {
public:
    u64 mmio_read(void*, u64, unsigned) override { return ~u64{0}; }
    void mmio_write(void*, u64, u64, unsigned) override {}
};

class NoPlatform final : public Platform {
public:
    u32 port_in(u16, unsigned) override { return ~0u; }
    void port_out(u16, u32, unsigned) override {}
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
    s.cr3 = kPml4;
    s.cr4 = cr4::PAE | cr4::PGE | cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::UMIP | cr4::FSGSBASE | cr4::OSXSAVE;
    s.msr.efer = efer::SCE | efer::LME | efer::LMA | efer::NXE;
    for (const SegReg seg : {SS, DS, ES}) s.seg[seg] = {0, ~0u, 0x2b, static_cast<u16>(kUserData | access::DB | access::G)};
    for (const SegReg seg : {FS, GS}) s.seg[seg] = Segment{};
}

void load_fx(State& s, const FxImage& fx) {
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
        s.vec[i].lane[0] = fx.xmm[i][0];
        s.vec[i].lane[1] = fx.xmm[i][1];
    }
    s.mxcsr = fx.mxcsr;
}

void store_fx(const State& s, FxImage& fx) {
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
    for (unsigned i = 0; i < 16; ++i) fx.xmm[i] = {s.vec[i].lane[0], s.vec[i].lane[1]};
    fx.mxcsr = s.mxcsr;
}

}  // namespace

struct TandemCpu::Impl {
    explicit Impl(CpuModel m) : model(std::move(m)), guest(create_guest(model)), ram(kMemorySize + 0x1000) {
        host = ram.data() + (0x1000 - reinterpret_cast<u64>(ram.data()) % 0x1000);
    }

    void map_pages();
    void run_one(const TestCase& test, std::span<const u8> memory, Outcome& outcome);
    void place_code(const TestCase& test);
    void put(u64 phys, u64 entry) { std::memcpy(host + phys, &entry, 8); }

    CpuModel model;
    InterceptingGuest guest;
    NoBus bus;
    NoPlatform platform;
    std::vector<u8> ram;
    u8* host = nullptr;
    std::unique_ptr<jit::Translator> translator;
    std::unique_ptr<jit::VcpuTranslator> vcpu;
    TranslateState* state = nullptr;
    u64 code_offset = 0;
    u8 code_length = 0;
};

void TandemCpu::Impl::map_pages() {
    constexpr u64 kTable = kPresent | kWritable | kUser | kAccessed;
    put(kPml4, kPdpt | kTable);
    put(kPdpt, kPd | kTable);
    put(kPd + (kCodePage >> 21 & 511) * 8, kPtCode | kTable);
    put(kPd + (kData >> 21 & 511) * 8, kPtData | kTable);
    put(kPtCode + (kCodePage >> 12 & 511) * 8, kCodePhys | kPresent | kUser | kAccessed);
    for (u64 offset = 0; offset < kDataSize + kReadOnlySize; offset += 0x1000) {
        const u64 writable = offset < kDataSize ? u64{kWritable} : 0;
        put(kPtData + ((kData + offset) >> 12 & 511) * 8,
            (kDataPhys + offset) | kPresent | kUser | kAccessed | kDirty | kNoExecute | writable);
    }
    std::memset(host + kCodePhys, kStop, 0x1000);
}

void TandemCpu::Impl::place_code(const TestCase& test) {
    std::memset(host + kCodePhys + code_offset, kStop, code_length);
    translator->memory_written(kCodePhys + code_offset, code_length);
    code_offset = test.in.rip - kCodePage;
    code_length = test.length;
    std::memcpy(host + kCodePhys + code_offset, test.code.data(), test.length);
    translator->memory_written(kCodePhys + code_offset, test.length);
}

void TandemCpu::Impl::run_one(const TestCase& test, std::span<const u8> memory, Outcome& outcome) {
    place_code(test);
    State& s = state->s;
    s.gpr = test.in.gpr;
    s.rip = test.in.rip;
    s.rflags = test.in.rflags;
    load_fx(s, test.in.fx);
    s.pending = {};
    s.seg[CS] = code_segment(test.compatibility);
    s.seg[GS].base = kData;
    s.seg[FS].base = 0;
    import_flags(*state);
    mxcsr_to_frame(*state);

    // Anything but an exception is none of the experiment's business; a run that does not end is cut off.
    for (unsigned i = 0; i < 64 && !s.pending.valid; ++i) vcpu->run();

    export_flags(*state);
    mxcsr_from_frame(*state);
    outcome = {};
    outcome.out.gpr = s.gpr;
    outcome.out.rip = s.rip;
    outcome.out.rflags = s.rflags;
    store_fx(s, outcome.out.fx);
    if (test.compatibility) truncate(outcome.out);
    outcome.vector = s.pending.valid ? s.pending.vector : Outcome::kHang;
    outcome.error = s.pending.has_error ? s.pending.error : 0;
    outcome.cr2 = outcome.vector == 14 ? s.pending.payload : 0;
    u8* data = host + kDataPhys;
    outcome.memory = memory_change(memory.data(), data);
    if (outcome.memory.hash != 0) std::memcpy(data, memory.data(), kDataSize);
}

TandemCpu::TandemCpu(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TandemCpu::~TandemCpu() = default;

Result<std::unique_ptr<TandemCpu>> TandemCpu::create(jit::Tier tier) {
    TANDEM_TRY_ASSIGN(CpuModel model, CpuModel::create("max"));
    auto impl = std::make_unique<Impl>(std::move(model));
    impl->map_pages();
    jit::Options options;
    options.tier = tier;
    options.baseline_threshold = 0;
    options.code_cache_bytes = 16 << 20;
    TANDEM_TRY_ASSIGN(impl->translator, jit::create_translator(impl->guest, impl->bus, options));
    TANDEM_TRY(impl->translator->add_slot({0, kMemorySize, impl->host, false}));
    TANDEM_TRY_ASSIGN(impl->vcpu, impl->translator->create_vcpu(nullptr));
    impl->state = new (impl->vcpu->state()) TranslateState();
    impl->state->model = &impl->model;
    impl->state->platform = &impl->platform;
    user_mode(impl->state->s);
    import_flags(*impl->state);
    impl->vcpu->state_replaced();
    return std::unique_ptr<TandemCpu>(new TandemCpu(std::move(impl)));
}

void TandemCpu::run(std::span<const TestCase> cases, std::span<const u8> memory, std::span<Outcome> outcomes) {
    std::memcpy(impl_->host + kDataPhys, memory.data(), kDataSize + kReadOnlySize);
    for (size_t i = 0; i < cases.size(); ++i) impl_->run_one(cases[i], memory, outcomes[i]);
}

}  // namespace tandem::instruction_test

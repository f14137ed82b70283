#include "accel/jit/jit_vcpu.h"

#include <immintrin.h>

#include "accel/run_loop.h"
#include "accel/trace.h"
#include "cpu/x86/system/registers.h"

namespace tandem::accel {
namespace {

using cpu::x86::Activity;

constexpr u32 kWakeups = SignalWord::ExitRequest | SignalWord::Nmi | SignalWord::Init | SignalWord::Sipi;
constexpr u32 kMsrApicBase = 0x1b;

// Guest code runs under the guest's MXCSR (jit/guest/frame.h); device models run under the program's own.
class HostFloatingPoint {
public:
    explicit HostFloatingPoint(u32 host_mxcsr) : guest_(_mm_getcsr()) { _mm_setcsr(host_mxcsr); }
    ~HostFloatingPoint() { _mm_setcsr(guest_); }
    HostFloatingPoint(const HostFloatingPoint&) = delete;
    HostFloatingPoint& operator=(const HostFloatingPoint&) = delete;

private:
    u32 guest_;
};

}  // namespace

JitVcpu::JitVcpu(unsigned index, ExitHandler& handler, const cpu::x86::CpuModel& model)
    : index_(index), handler_(handler), model_(model), controller_(handler.interrupt_controller(index)) {}

void JitVcpu::attach(std::unique_ptr<jit::VcpuTranslator> translator) {
    translator_ = std::move(translator);
    state_ = new (translator_->state()) cpu::x86::TranslateState();
    state_->model = &model_;
    state_->platform = this;
    cpu::x86::reset(state_->s, index_ == 0, model_.signature());
    cpu::x86::import_flags(*state_);
    translator_->state_replaced();
    attached_.store(true, std::memory_order_release);
}

Exit JitVcpu::run() {
    for (;;) {
        const u32 signals = signals_.take(SignalWord::ExitRequest);
        if ((signals & SignalWord::ExitRequest) != 0) return RequestedExit{};
        take_init_and_sipi();
        if (state_->s.activity == Activity::Shutdown) return finish(ShutdownExit{state_->s.rip});
        if (asleep()) return halt();
        switch (translator_->run()) {
            case jit::ir::LeaveReason::Halt: return halt();
            case jit::ir::LeaveReason::Exit:
                // Only a shutdown ends run() from inside: everything else is dispatched where it happens.
                if (state_->s.activity == Activity::Shutdown) return finish(ShutdownExit{state_->s.rip});
                break;
            default: break;
        }
    }
}

Exit JitVcpu::step() {
    take_init_and_sipi();
    if (asleep()) return halt();
    translator_->step();
    if (state_->s.activity == Activity::Shutdown) return finish(ShutdownExit{state_->s.rip});
    return finish(DebugExit{DebugExit::Reason::SingleStep, state_->s.rip, 0});
}

// A request that came while the vCPU was leaving anyway is answered by this exit (contract U3).
Exit JitVcpu::finish(Exit exit) {
    signals_.lower(SignalWord::ExitRequest);
    return exit;
}

Exit JitVcpu::halt() {
    const u32 taken = signals_.take(SignalWord::ExitRequest);
    return HaltExit{(taken & SignalWord::ExitRequest) != 0};
}

bool JitVcpu::asleep() const {
    const u32 signals = signals_.peek();
    switch (state_->s.activity) {
        case Activity::Halted:
            if ((signals & SignalWord::Nmi) != 0) return false;
            return (state_->s.rflags & 0x200) == 0 || !controller_.interrupt_pending();
        case Activity::WaitForSipi: return true;
        default: return false;
    }
}

void JitVcpu::request_exit() {
    signals_.raise(SignalWord::ExitRequest);
    if (attached_.load(std::memory_order_acquire)) translator_->request_attention();
}

void JitVcpu::wait_for_event() {
    u32 wake = kWakeups;
    if (state_->s.activity == Activity::Halted && (state_->s.rflags & 0x200) != 0) wake |= SignalWord::Interrupt;
    signals_.wait(wake);
}

// INIT and SIPI between instructions (SDM vol. 3, 8.4.4 and table 9-1).
void JitVcpu::take_init_and_sipi() {
    const u32 signals = signals_.peek();
    if ((signals & (SignalWord::Init | SignalWord::Sipi)) == 0) return;
    if ((signals_.take(SignalWord::Init) & SignalWord::Init) != 0) {
        cpu::x86::export_flags(*state_);
        cpu::x86::init(state_->s, index_ == 0, model_.signature());
        cpu::x86::import_flags(*state_);
        translator_->state_replaced();
    }
    const u32 sipi = signals_.take(SignalWord::Sipi);
    if ((sipi & SignalWord::Sipi) == 0 || state_->s.activity != Activity::WaitForSipi) return;
    auto& cs = state_->s.seg[cpu::x86::CS];
    cs.selector = static_cast<u16>(sipi & 0xff00);
    cs.base = u64{cs.selector} << 4;
    state_->s.rip = 0;
    state_->s.activity = Activity::Running;
    translator_->state_replaced();
}

// INIT, SIPI and NMI that have arrived are part of the state, wherever they wait.
Result<void> JitVcpu::export_state(cpu::ArchState& out) {
    take_init_and_sipi();
    cpu::x86::export_flags(*state_);
    cpu::x86::State copy = state_->s;
    copy.mxcsr = (copy.mxcsr & ~0x3fu) | (jit::header_of(state_).guest_mxcsr & 0x3fu);
    copy.nmi_pending = copy.nmi_pending || (signals_.peek() & SignalWord::Nmi) != 0;
    out = copy;
    return {};
}

Result<void> JitVcpu::import_state(const cpu::ArchState& in) {
    const auto* s = std::get_if<cpu::x86::State>(&in);
    if (s == nullptr) return invalid("state of another architecture");
    state_->s = *s;
    (void)signals_.take(SignalWord::Init | SignalWord::Sipi | SignalWord::Nmi);
    jit::header_of(state_).guest_mxcsr = s->mxcsr | 0x1f80u;
    cpu::x86::import_flags(*state_);
    translator_->state_replaced();
    handler_.tsc_offset_changed(index_, s->msr.tsc_offset);
    return {};
}

void JitVcpu::set_line(devices::CpuLine line, bool level) {
    const auto bit = SignalWord::bit_of(line);
    if (!level) return signals_.lower(bit);
    signals_.raise(bit);
    if (attached_.load(std::memory_order_acquire)) translator_->request_attention();
}

void JitVcpu::raise_nmi() {
    signals_.raise(SignalWord::Nmi);
    if (attached_.load(std::memory_order_acquire)) translator_->request_attention();
}

void JitVcpu::raise_init() {
    signals_.raise(SignalWord::Init);
    if (attached_.load(std::memory_order_acquire)) translator_->request_attention();
}

void JitVcpu::raise_sipi(u8 vector) {
    signals_.raise_sipi(vector);
    if (attached_.load(std::memory_order_acquire)) translator_->request_attention();
}

void JitVcpu::dispatch_now(Exit& exit) {
    HostFloatingPoint fp(jit::header_of(state_).host_mxcsr);
    dispatch(*this, handler_, exit);
}

u32 JitVcpu::port_in(u16 port, unsigned size, cpu::x86::PortForm form) {
    Exit exit = PortExit{port, static_cast<u8>(size), false, form.string, form.rep, 0, form.immediate};
    dispatch_now(exit);
    return std::get<PortExit>(exit).data;
}

void JitVcpu::port_out(u16 port, u32 value, unsigned size, cpu::x86::PortForm form) {
    Exit exit = PortExit{port, static_cast<u8>(size), true, form.string, form.rep, value, form.immediate};
    dispatch_now(exit);
}

u64 JitVcpu::mmio_read(u64 gpa, unsigned size) {
    Exit exit = MmioExit{gpa, static_cast<u8>(size), false, 0};
    dispatch_now(exit);
    return std::get<MmioExit>(exit).data;
}

void JitVcpu::mmio_write(u64 gpa, u64 value, unsigned size) {
    Exit exit = MmioExit{gpa, static_cast<u8>(size), true, value};
    dispatch_now(exit);
}

bool JitVcpu::msr_read(u32 msr, u64& value) {
    Exit exit = MsrExit{msr, false, true, 0};
    dispatch_now(exit);
    value = std::get<MsrExit>(exit).data;
    return !std::get<MsrExit>(exit).fault;
}

bool JitVcpu::msr_write(u32 msr, u64 value) {
    Exit exit = MsrExit{msr, true, true, value};
    dispatch_now(exit);
    return !std::get<MsrExit>(exit).fault;
}

bool JitVcpu::apic_base_write(u64 value) { return msr_write(kMsrApicBase, value); }
u8 JitVcpu::cr8_read() { return controller_.cr8(); }

void JitVcpu::cr8_write(u8 value) {
    HostFloatingPoint fp(jit::header_of(state_).host_mxcsr);
    controller_.set_cr8(value);
}

bool JitVcpu::interrupt_pending() { return controller_.interrupt_pending(); }

int JitVcpu::acknowledge_interrupt() {
    HostFloatingPoint fp(jit::header_of(state_).host_mxcsr);
    const int vector = controller_.acknowledge();
    if (vector >= 0) trace_injection(index_, static_cast<unsigned>(vector));
    return vector;
}

bool JitVcpu::take_nmi() { return (signals_.take(SignalWord::Nmi) & SignalWord::Nmi) != 0; }
u64 JitVcpu::tsc() { return handler_.tsc(index_); }

void JitVcpu::tsc_offset_changed(u64 offset) {
    HostFloatingPoint fp(jit::header_of(state_).host_mxcsr);
    handler_.tsc_offset_changed(index_, offset);
}

void JitVcpu::fpu_error() {
    HostFloatingPoint fp(jit::header_of(state_).host_mxcsr);
    handler_.fpu_error(index_);
}

void JitVcpu::cpuid_answered(u32 leaf, u32 subleaf, const cpu::x86::CpuidResult& r) {
    if (log::enabled(log::Exits)) trace_cpuid(index_, exit_pc(), {leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx});
}

u64 JitVcpu::hypercall(u64 number, u64 a0, u64 a1, u64 a2, u64 a3) {
    const bool code64 = cpu::x86::code64(state_->s);
    Exit exit = HypercallExit{number, {a0, a1, a2, a3}, 0, code64};
    dispatch_now(exit);
    return std::get<HypercallExit>(exit).result;
}

void JitVcpu::shutdown(u64) { state_->s.activity = Activity::Shutdown; }

}  // namespace tandem::accel

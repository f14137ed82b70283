#include "accel/jit/x86_vcpu.h"

#include <new>

#include "accel/trace.h"
#include "accel/x86_events.h"
#include "cpu/x86/fpu/mxcsr.h"
#include "cpu/x86/system/svm_events.h"
#include "jit/runtime/fp_control.h"

namespace tandem::accel {
namespace {

using cpu::x86::Activity;
using cpu::x86::State;

constexpr u32 kMsrApicBase = 0x1b;

}  // namespace

X86JitVcpu::X86JitVcpu(unsigned index, ExitHandler& handler, const cpu::x86::CpuModel& model, std::atomic<u64>& sought_pc)
    : JitVcpu(index, handler), model_(model), sought_pc_(sought_pc), controller_(handler.interrupt_controller(index)) {}

// Blocks that hold the instruction are translated anew, with or without the comparison before it.
void X86JitVcpu::seek(const cpu::ArchState* target) {
    const auto* wanted = target != nullptr ? std::get_if<State>(target) : nullptr;
    if (wanted != nullptr) sought_ = wanted->gpr;
    hold().registers = wanted != nullptr ? sought_.data() : nullptr;
    sought_pc_ = wanted != nullptr ? wanted->rip : ~u64{0};
}

void X86JitVcpu::construct(void* state) {
    state_ = new (state) cpu::x86::TranslateState();
    state_->model = &model_;
    state_->platform = this;
    cpu::x86::reset(state_->s, index_ == 0, model_.signature());
    cpu::x86::import_flags(*state_);
}

Result<void> X86JitVcpu::set_debugger(std::span<const Breakpoint> breakpoints) {
    using Kind = cpu::x86::Debugger::Breakpoint::Kind;
    TANDEM_TRY(check_breakpoints(breakpoints));
    debugger_.breakpoints.clear();
    for (const Breakpoint& b : breakpoints) {
        const Kind kind = b.kind == Breakpoint::Kind::Execute ? Kind::Execute
                          : b.kind == Breakpoint::Kind::Write ? Kind::Write
                                                              : Kind::Access;
        debugger_.breakpoints.push_back({kind, b.size, b.address});
    }
    state_->s.debug_trap &= ~cpu::x86::kDebuggerTrap;
    cpu::x86::set_debugger(*state_, breakpoints.empty() ? nullptr : &debugger_);
    translator().state_replaced();
    return {};
}

std::optional<DebugExit> X86JitVcpu::take_stop(bool stepping) {
    const bool waits = (state_->s.debug_trap & cpu::x86::kDebuggerTrap) != 0;
    if (stepping && waits && !debugger_.stop) {  // this is the boundary
        state_->s.debug_trap &= ~cpu::x86::kDebuggerTrap;
        debugger_.stop = {true, debugger_.data};
    }
    const auto stop = std::exchange(debugger_.stop, {});
    if (!stop) return {};
    if (!stop->data) return DebugExit{DebugExit::Reason::Breakpoint, exit_pc(), 0};
    return DebugExit{DebugExit::Reason::Watchpoint, exit_pc(), stop->address};
}

Rest X86JitVcpu::rest() const {
    const State& s = state_->s;
    if (s.activity == Activity::Halted) {
        const bool nmi = s.nmi_pending && !s.nmi_blocked;
        if (s.svm.gif && (s.svm.init_pending || nmi)) return {};
        if (cpu::x86::virtual_interrupt_due(s)) return {};
        if (!s.svm.gif) return {Rest::Kind::Asleep, SignalWord::Init | SignalWord::Sipi};
    }
    return x86_rest(s.activity, cpu::x86::physical_interrupts_enabled(s), signals(), controller_);
}

Result<void> X86JitVcpu::take_events() {
    if (x86_take_unhalt(signals(), state_->s.activity)) state_->s.activity = Activity::Running;
    if (cpu::x86::init_held(state_->s) && (signals().take(SignalWord::Init) & SignalWord::Init) != 0) {
        state_->s.svm.init_pending = true;
    }
    const auto change = [this](const std::function<void(State&)>& f) -> Result<Activity> {
        cpu::x86::export_flags(*state_);
        f(state_->s);
        cpu::x86::import_flags(*state_);
        translator().state_replaced();
        return state_->s.activity;
    };
    return x86_take_init_and_sipi(signals(), state_->s.activity, index_ == 0, model_.signature(), change);
}

// INIT, SIPI and NMI that have arrived are part of the state, wherever they wait.
Result<void> X86JitVcpu::export_state(cpu::ArchState& out) {
    TANDEM_TRY(take_events());
    TANDEM_TRY(fetch_state(out));
    x86_show_signals(signals(), std::get<State>(out));
    return {};
}

Result<void> X86JitVcpu::import_state(const cpu::ArchState& in) {
    TANDEM_TRY(store_state(in));
    x86_drop_signals(signals());
    return {};
}

Result<void> X86JitVcpu::fetch_state(cpu::ArchState& out) {
    cpu::x86::settle_branch(*state_);
    cpu::x86::export_flags(*state_);
    cpu::x86::mxcsr_from_frame(*state_);
    State s = state_->s;
    s.debug_trap &= ~cpu::x86::kDebuggerTrap;
    out = s;
    return {};
}

Result<void> X86JitVcpu::store_state(const cpu::ArchState& in) {
    const auto* s = std::get_if<State>(&in);
    if (s == nullptr) return invalid("state of another architecture");
    debugger_.passed.reset();
    state_->s = *s;
    state_->branch_taken = false;
    cpu::x86::mxcsr_to_frame(*state_);
    cpu::x86::import_flags(*state_);
    translator().state_replaced();
    handler_.tsc_offset_changed(index_, s->msr.tsc_offset);
    return {};
}

u32 X86JitVcpu::port_in(u16 port, unsigned size, cpu::x86::PortForm form) {
    Exit exit = PortExit{port, static_cast<u8>(size), false, form.string, form.rep, 0, form.immediate};
    dispatch_now(exit);
    return std::get<PortExit>(exit).data;
}

void X86JitVcpu::port_out(u16 port, u32 value, unsigned size, cpu::x86::PortForm form) {
    Exit exit = PortExit{port, static_cast<u8>(size), true, form.string, form.rep, value, form.immediate};
    dispatch_now(exit);
}

bool X86JitVcpu::msr_read(u32 msr, u64& value) {
    Exit exit = MsrExit{msr, false, true, 0};
    dispatch_now(exit);
    value = std::get<MsrExit>(exit).data;
    return !std::get<MsrExit>(exit).fault;
}

bool X86JitVcpu::msr_write(u32 msr, u64 value) {
    Exit exit = MsrExit{msr, true, true, value};
    dispatch_now(exit);
    return !std::get<MsrExit>(exit).fault;
}

bool X86JitVcpu::apic_base_write(u64 value) { return msr_write(kMsrApicBase, value); }
u8 X86JitVcpu::cr8_read() { return controller_.cr8(); }

void X86JitVcpu::cr8_write(u8 value) {
    const jit::HostFpScope host(jit::header_of(state_));
    controller_.set_cr8(value);
}

bool X86JitVcpu::interrupt_pending() { return controller_.interrupt_pending(); }

int X86JitVcpu::acknowledge_interrupt() {
    const jit::HostFpScope host(jit::header_of(state_));
    const int vector = controller_.acknowledge();
    if (vector >= 0) trace_injection(index_, static_cast<unsigned>(vector));
    return vector;
}

bool X86JitVcpu::take_nmi() { return (signals().take(SignalWord::Nmi) & SignalWord::Nmi) != 0; }
u64 X86JitVcpu::tsc() { return handler_.tsc(index_); }

bool X86JitVcpu::random(u64& value) {
    if (!random_source()) return false;
    value = random_source()();
    return true;
}

void X86JitVcpu::tsc_offset_changed(u64 offset) {
    const jit::HostFpScope host(jit::header_of(state_));
    handler_.tsc_offset_changed(index_, offset);
}

void X86JitVcpu::fpu_error() {
    const jit::HostFpScope host(jit::header_of(state_));
    handler_.fpu_error(index_);
}

void X86JitVcpu::cpuid_answered(u32 leaf, u32 subleaf, const cpu::x86::CpuidResult& r) {
    if (log::enabled(log::Exits)) trace_cpuid(index_, exit_pc(), {leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx});
}

void X86JitVcpu::nested_event(const cpu::x86::NestedEvent& event) {
    if (log::enabled(log::Exits)) trace_nested(event);
}

u64 X86JitVcpu::hypercall(u64 number, u64 a0, u64 a1, u64 a2, u64 a3) {
    const bool code64 = cpu::x86::code64(state_->s);
    Exit exit = HypercallExit{number, {a0, a1, a2, a3}, 0, code64};
    dispatch_now(exit);
    return std::get<HypercallExit>(exit).result;
}

void X86JitVcpu::shutdown(u64) { state_->s.activity = Activity::Shutdown; }

}  // namespace tandem::accel

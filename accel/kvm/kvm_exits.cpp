// What KVM_RUN came back for (api.rst, "The kvm_run structure").
#include <fmt/format.h>

#include <cstring>

#include "accel/kvm/kvm_vcpu.h"
#include "accel/run_loop.h"

namespace tandem::accel::kvm {

using cpu::x86::Activity;

// Nothing: handled here, go on.
std::optional<Exit> KvmVcpu::take_exit() {
    switch (page_->exit_reason) {
        case KVM_EXIT_INTR:
        case KVM_EXIT_IRQ_WINDOW_OPEN:
        case KVM_EXIT_SET_TPR: return {};
        case KVM_EXIT_IO: take_io(); return {};
        case KVM_EXIT_MMIO: take_mmio(); return {};
        case KVM_EXIT_X86_RDMSR: return take_msr(false);
        case KVM_EXIT_X86_WRMSR: return take_msr(true);
        case KVM_EXIT_HYPERCALL: return take_hypercall();
        case KVM_EXIT_HLT: return take_halt();
        case KVM_EXIT_SHUTDOWN: activity_ = Activity::Shutdown; return finish(ShutdownExit{exit_pc()});
        case KVM_EXIT_IOAPIC_EOI: handler_.end_of_interrupt(page_->eoi.vector); return {};
        case KVM_EXIT_DEBUG: return take_debug();
        case KVM_EXIT_SYSTEM_EVENT: return take_system_event();
        case KVM_EXIT_INTERNAL_ERROR: return take_internal_error();
        case KVM_EXIT_FAIL_ENTRY:
            return finish(InternalErrorExit{fmt::format("the processor refused to enter the guest (hardware reason {:#x})",
                                                        page_->fail_entry.hardware_entry_failure_reason)});
        default:
            return finish(InternalErrorExit{
                fmt::format("KVM left the guest for reason {}, which this engine does not know", page_->exit_reason)});
    }
}

Exit KvmVcpu::take_halt() {
    if (!stepping_ && plants()) {
        const auto planted = stands_at_planted();
        if (!planted) return failed(planted.error());
        if (*planted) return debug_exit({DebugExit::Reason::Breakpoint, exit_pc(), 0});
    }
    activity_ = Activity::Halted;
    return halt();
}

// A REP string access arrives with all its elements.
void KvmVcpu::take_io() {
    const auto& io = page_->io;
    u8* data = page_.at(io.data_offset);
    const bool write = io.direction == KVM_EXIT_IO_OUT;
    const bool string = io.count > 1;
    access_open_ = true;
    for (u32 i = 0; i < io.count; ++i, data += io.size) {
        PortExit port{io.port, io.size, write, string, string, 0};
        if (write) std::memcpy(&port.data, data, io.size);
        Exit exit = port;
        dispatch(*this, handler_, exit);
        if (!write) std::memcpy(data, &std::get<PortExit>(exit).data, io.size);
    }
}

void KvmVcpu::take_mmio() {
    auto& m = page_->mmio;
    MmioExit access{m.phys_addr, static_cast<u8>(m.len), m.is_write != 0, 0};
    if (access.write) std::memcpy(&access.data, m.data, m.len);
    access_open_ = true;
    Exit exit = access;
    dispatch(*this, handler_, exit);
    if (!access.write) std::memcpy(m.data, &std::get<MmioExit>(exit).data, m.len);
}

std::optional<Exit> KvmVcpu::take_msr(bool write) {
    if (page_->msr.index == kMsrTsc || page_->msr.index == kMsrTscAdjust) {
        u64 value = page_->msr.data;
        const auto good = access_tsc_msr(page_->msr.index, write, value);
        if (!good) return failed(good.error());
        access_open_ = true;
        page_->msr.error = !*good;
        page_->msr.data = value;
        return {};
    }
    Exit exit = MsrExit{page_->msr.index, write, true, page_->msr.data};
    access_open_ = true;
    dispatch(*this, handler_, exit);
    const auto& answer = std::get<MsrExit>(exit);
    page_->msr.error = answer.fault;
    if (!write) page_->msr.data = answer.data;
    return {};
}

std::optional<Exit> KvmVcpu::take_hypercall() {
    const auto& call = page_->hypercall;
    Exit exit = HypercallExit{call.nr, {call.args[0], call.args[1], call.args[2], call.args[3]}, 0, call.longmode != 0};
    access_open_ = true;
    dispatch(*this, handler_, exit);
    page_->hypercall.ret = std::get<HypercallExit>(exit).result;
    return {};
}

Exit KvmVcpu::take_system_event() {
    using Kind = SystemEventExit::Kind;
    switch (page_->system_event.type) {
        case KVM_SYSTEM_EVENT_SHUTDOWN: return finish(SystemEventExit{Kind::PowerOff});
        case KVM_SYSTEM_EVENT_RESET: return finish(SystemEventExit{Kind::Reset});
        default: return finish(SystemEventExit{Kind::Crash});
    }
}

Exit KvmVcpu::take_internal_error() {
    const auto& error = page_->internal;
    if (error.suberror != KVM_INTERNAL_ERROR_EMULATION) {
        return finish(InternalErrorExit{fmt::format("KVM reports internal error {} at {:#x}", error.suberror, exit_pc())});
    }
    failed_ = true;
    const auto& failure = page_->emulation_failure;
    std::string bytes;
    const bool known = failure.ndata > 0 && (failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0;
    if (known) {
        for (unsigned i = 0; i < failure.insn_size && i < sizeof failure.insn_bytes; ++i) {
            bytes += fmt::format(" {:02x}", failure.insn_bytes[i]);
        }
    }
    return finish(
        EmulationFailureExit{exit_pc(), "KVM does not emulate it" + (bytes.empty() ? bytes : " (bytes" + bytes + ")")});
}

}  // namespace tandem::accel::kvm

// A vCPU's whole state, out of and into the kernel.
#include <fmt/format.h>

#include "accel/kvm/kvm_vcpu.h"
#include "accel/kvm/state.h"
#include "accel/x86_events.h"
#include "cpu/x86/fpu/xsave.h"

namespace tandem::accel::kvm {

using cpu::x86::State;

namespace {

// kvm_msrs with room for `entries`.
std::vector<u64> msr_list(std::span<const kvm_msr_entry> entries) {
    std::vector<u64> raw((sizeof(kvm_msrs) + entries.size_bytes()) / sizeof(u64) + 1);
    auto* list = new (raw.data()) kvm_msrs{};
    list->nmsrs = static_cast<u32>(entries.size());
    if (!entries.empty()) {
        std::memcpy(reinterpret_cast<char*>(raw.data()) + sizeof(kvm_msrs), entries.data(), entries.size_bytes());
    }
    return raw;
}

}  // namespace

u64 KvmVcpu::exit_pc() const {
    if (shared_.system.sync_regs) return page_->s.regs.regs.rip;
    kvm_regs regs{};
    return TANDEM_KVM(fd_, KVM_GET_REGS, &regs) ? regs.rip : 0;
}

Result<void> KvmVcpu::complete() {
    TANDEM_TRY(complete_access());
    return settle_vector();
}

// An access across pages comes in parts. The last exit that is none of them stays in the page.
Result<void> KvmVcpu::complete_access() {
    while (access_open_) {
        known_.reset();
        const int error = Gate::complete(fd_, page_);
        access_open_ = false;
        if (error == EINTR) page_->exit_reason = KVM_EXIT_INTR;
        if (error != 0 && error != EINTR) {
            errno = error;
            return io_error("KVM_RUN, to complete an access");
        }
        ready_for_interrupt_ = page_->ready_for_interrupt_injection != 0;
        if (page_->exit_reason == KVM_EXIT_IO) take_io();
        if (page_->exit_reason == KVM_EXIT_MMIO) take_mmio();
    }
    return {};
}

// KVM has no word for a vector that it holds beside the processor's events, and moves it there on the way into the guest.
Result<void> KvmVcpu::settle_vector() {
    if (!std::exchange(vector_given_, false)) return {};
    known_.reset();
    TANDEM_TRY_ASSIGN(const int error, Gate::settle(fd_));
    if (error == 0 || error == EINTR) return {};
    errno = error;
    return io_error("KVM_RUN, to take an interrupt");
}

Result<void> KvmVcpu::export_state(cpu::ArchState& out) {
    TANDEM_TRY(take_events());
    TANDEM_TRY(fetch_state(out));
    x86_show_signals(signals(), std::get<State>(out));
    return {};
}

Result<void> KvmVcpu::import_state(const cpu::ArchState& in) {
    TANDEM_TRY(store_state(in));
    x86_drop_signals(signals());
    return {};
}

Result<void> KvmVcpu::fetch_state(cpu::ArchState& out) {
    TANDEM_TRY(complete());
    TANDEM_TRY_ASSIGN(out, fetch());
    return {};
}

Result<void> KvmVcpu::store_state(const cpu::ArchState& in) {
    const auto* s = std::get_if<State>(&in);
    if (s == nullptr) return invalid("state of another architecture");
    TANDEM_TRY(complete());
    told_.reset();
    debug_known_ = debug_known_ && debugger_.empty();  // the guest's registers may be others
    TANDEM_TRY(store(*s));
    handler_.tsc_offset_changed(index_, s->msr.tsc_offset);
    return {};
}

Result<State> KvmVcpu::fetch() {
    State s;
    kvm_regs regs{};
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int a, TANDEM_KVM(fd_, KVM_GET_REGS, &regs));
    from_kvm(regs, s);
    kvm_sregs2 sregs{};
    if (shared_.system.sregs2) {
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int b, TANDEM_KVM(fd_, KVM_GET_SREGS2, &sregs));
    } else {
        kvm_sregs old{};
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int b, TANDEM_KVM(fd_, KVM_GET_SREGS, &old));
        widen(old, sregs);
    }
    from_kvm(sregs, s);
    kvm_xcrs xcrs{};
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int c, TANDEM_KVM(fd_, KVM_GET_XCRS, &xcrs));
    if (xcrs.nr_xcrs > 0) s.xcr0 = xcrs.xcrs[0].value;
    std::vector<u8> image(static_cast<std::size_t>(shared_.system.xsave_size));
    if (image.size() > sizeof(kvm_xsave)) {
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int d, TANDEM_KVM(fd_, KVM_GET_XSAVE2, image.data()));
    } else {
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int d, TANDEM_KVM(fd_, KVM_GET_XSAVE, image.data()));
    }
    cpu::x86::read_xsave_area(image, s);
    kvm_debugregs debug{};
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int e, TANDEM_KVM(fd_, KVM_GET_DEBUGREGS, &debug));
    from_kvm(debug, s);
    kvm_vcpu_events events{};
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int f, TANDEM_KVM(fd_, KVM_GET_VCPU_EVENTS, &events));
    from_kvm(events, s);
    TANDEM_TRY(fetch_msrs(s));
    TANDEM_TRY(fetch_activity());
    s.activity = activity_;
    known_ = s;
    // KVM queues #UD where it fails to emulate at CPL 0; the instruction is another engine's to judge.
    constexpr u8 kInvalidOpcode = 6;
    if (failed_ && s.pending.valid && s.pending.vector == kInvalidOpcode) s.pending = {};
    return s;
}

namespace {

// What goes into the kernel by one call each.
bool same_special(const State& a, const State& b) {
    return a.seg == b.seg && a.ldtr == b.ldtr && a.tr == b.tr && a.gdtr == b.gdtr && a.idtr == b.idtr && a.cr0 == b.cr0 &&
           a.cr2 == b.cr2 && a.cr3 == b.cr3 && a.cr4 == b.cr4 && a.msr.efer == b.msr.efer &&
           a.msr.apic_base == b.msr.apic_base && a.pdpte == b.pdpte;
}
bool same_extended(const State& a, const State& b) {
    return a.x87 == b.x87 && a.vec == b.vec && a.opmask == b.opmask && a.mxcsr == b.mxcsr && a.pkru == b.pkru;
}
bool same_debug(const State& a, const State& b) { return a.dr == b.dr && a.dr6 == b.dr6 && a.dr7 == b.dr7; }
bool same_events(const State& a, const State& b) {
    return a.nmi_blocked == b.nmi_blocked && a.nmi_pending == b.nmi_pending && a.sti_shadow == b.sti_shadow &&
           a.mov_ss_shadow == b.mov_ss_shadow && a.pending == b.pending && a.debug_trap == b.debug_trap;
}

}  // namespace

Result<void> KvmVcpu::store_special(const State& s) {
    kvm_sregs2 sregs{};
    to_kvm(s, controller_.cr8(), sregs);
    if (shared_.system.sregs2) {
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(fd_, KVM_SET_SREGS2, &sregs));
    } else {
        kvm_sregs old{};
        narrow(sregs, old);
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(fd_, KVM_SET_SREGS, &old));
    }
    return {};
}

Result<void> KvmVcpu::store_extended(const State& s) {
    std::vector<u8> image(static_cast<std::size_t>(shared_.system.xsave_size));
    // SSE's registers are there without XSAVE too (SDM vol. 1, 13.1).
    constexpr u64 kLegacy = 3;
    cpu::x86::write_xsave_area(s, s.xcr0 | kLegacy, image);
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(fd_, KVM_SET_XSAVE, image.data()));
    return {};
}

// Writes what differs from what the kernel has, as far as that is known.
Result<void> KvmVcpu::store(const State& s) {
    const std::optional<State> old = std::exchange(known_, {});
    if (!old || !same_special(*old, s)) TANDEM_TRY(store_special(s));
    if (!old || old->xcr0 != s.xcr0) {
        kvm_xcrs xcrs{};
        xcrs.nr_xcrs = 1;
        xcrs.xcrs[0].value = s.xcr0;
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(fd_, KVM_SET_XCRS, &xcrs));
    }
    if (!old || old->xcr0 != s.xcr0 || !same_extended(*old, s)) TANDEM_TRY(store_extended(s));
    if (!old || old->msr != s.msr) TANDEM_TRY(store_msrs(s));
    kvm_regs regs{};
    to_kvm(s, regs);
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int d, TANDEM_KVM(fd_, KVM_SET_REGS, &regs));
    page_->s.regs.regs = regs;
    if (!old || !same_debug(*old, s)) {
        kvm_debugregs debug{};
        to_kvm(s, debug);
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(fd_, KVM_SET_DEBUGREGS, &debug));
    }
    if (!old || !same_events(*old, s)) {
        kvm_vcpu_events events{};
        to_kvm(s, shared_.system.exception_payload, events);
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(fd_, KVM_SET_VCPU_EVENTS, &events));
    }
    TANDEM_TRY(store_activity(s.activity));
    constexpr u64 kInterruptFlag = 0x200;
    ready_for_interrupt_ =
        (s.rflags & kInterruptFlag) != 0 && !s.sti_shadow && !s.mov_ss_shadow && !s.pending.valid && s.debug_trap == 0;
    tsc_offset_ = s.msr.tsc_offset;  // sync_tsc() takes it to the kernel
    tsc_adjust_ = s.msr.tsc_adjust;
    return {};
}

// KVM stops at the first MSR that it refuses; one that has the wanted value already is no failure.
Result<void> KvmVcpu::store_msrs(const State& s) {
    const std::vector<kvm_msr_entry> wanted = to_msrs(s, shared_.system.msrs);
    for (std::size_t at = 0; at < wanted.size();) {
        auto raw = msr_list(std::span(wanted).subspan(at));
        TANDEM_TRY_ASSIGN(const int count, TANDEM_KVM(fd_, KVM_SET_MSRS, reinterpret_cast<kvm_msrs*>(raw.data())));
        at += static_cast<std::size_t>(count);
        if (at == wanted.size()) break;
        auto one = msr_list(std::span(wanted).subspan(at, 1));
        auto* list = reinterpret_cast<kvm_msrs*>(one.data());
        const auto got = TANDEM_KVM(fd_, KVM_GET_MSRS, list);
        const u64 is = list->entries[0].data;
        if (got && *got == 1 && is != wanted[at].data) {
            return Error{Errc::Unsupported, fmt::format("vCPU {}: KVM keeps MSR {:#x} at {:#x}, {:#x} is wanted", index_,
                                                        wanted[at].index, is, wanted[at].data)};
        }
        ++at;
    }
    return {};
}

Result<void> KvmVcpu::fetch_msrs(State& s) {
    const std::vector<kvm_msr_entry> wanted = to_msrs(s, shared_.system.msrs);
    for (std::size_t at = 0; at < wanted.size(); ++at) {
        auto raw = msr_list(std::span(wanted).subspan(at));
        auto* list = reinterpret_cast<kvm_msrs*>(raw.data());
        TANDEM_TRY_ASSIGN(const int count, TANDEM_KVM(fd_, KVM_GET_MSRS, list));
        for (int i = 0; i < count; ++i) from_msr(list->entries[i], s);
        at += static_cast<std::size_t>(count);  // the one that KVM lacks is skipped
    }
    s.msr.tsc_offset = tsc_offset_;
    s.msr.tsc_adjust = tsc_adjust_;
    return {};
}

}  // namespace tandem::accel::kvm

// Trace lines of nested virtualization (contract T3), in the form of KVM's tracepoints (arch/x86/kvm/trace.h).
#include <algorithm>
#include <array>

#include "accel/trace.h"
#include "cpu/x86/system/svm_events.h"

namespace tandem::accel {
namespace {

using cpu::x86::NestedEvent;

// As arch/x86/include/uapi/asm/svm.h has them, without SVM_EXIT_.
struct Reason {
    u64 code;
    std::string_view name;
};
constexpr Reason kReasons[] = {
    {0x60, "interrupt"},     {0x61, "nmi"},        {0x62, "smi"},        {0x63, "init"},      {0x64, "vintr"},
    {0x65, "cr0_sel_write"}, {0x66, "read_idtr"},  {0x67, "read_gdtr"},  {0x68, "read_ldtr"}, {0x69, "read_rt"},
    {0x6a, "write_idtr"},    {0x6b, "write_gdtr"}, {0x6c, "write_ldtr"}, {0x6d, "write_rt"},  {0x6e, "rdtsc"},
    {0x6f, "rdpmc"},         {0x70, "pushf"},      {0x71, "popf"},       {0x72, "cpuid"},     {0x73, "rsm"},
    {0x74, "iret"},          {0x75, "swint"},      {0x76, "invd"},       {0x77, "pause"},     {0x78, "hlt"},
    {0x79, "invlpg"},        {0x7a, "invlpga"},    {0x7b, "io"},         {0x7c, "msr"},       {0x7d, "task_switch"},
    {0x7e, "ferr_freeze"},   {0x7f, "shutdown"},   {0x80, "vmrun"},      {0x81, "hypercall"}, {0x82, "vmload"},
    {0x83, "vmsave"},        {0x84, "stgi"},       {0x85, "clgi"},       {0x86, "skinit"},    {0x87, "rdtscp"},
    {0x88, "icebp"},         {0x89, "wbinvd"},     {0x8a, "monitor"},    {0x8b, "mwait"},     {0x8d, "xsetbv"},
    {0xa2, "invpcid"},       {0x400, "npf"},       {~u64{0}, "invalid"},
};

std::string reason(u64 code) {
    constexpr u64 kGroup = 0x10;
    if (code < 0x40) {
        constexpr std::array<std::string_view, 4> kGroups{"read_cr", "write_cr", "read_dr", "write_dr"};
        return fmt::format("{}{}", kGroups[code / kGroup], code % kGroup);
    }
    if (code < 0x60) return fmt::format("excp{}", code - 0x40);
    const auto* known = std::ranges::find(kReasons, code, &Reason::code);
    return known != std::end(kReasons) ? std::string(known->name) : fmt::format("0x{:x}", code);
}

void trace_exit_lines(const NestedEvent& e) {
    constexpr u64 kInterrupt = 0x60;
    const std::string what =
        fmt::format("reason: {} ext_inf1: 0x{:016x} ext_inf2: 0x{:016x} ext_int: 0x{:08x} ext_int_err: 0x{:08x}",
                    reason(e.exit.code), e.exit.info1, e.exit.info2, e.exit_int_info & 0xffffffff, e.exit_int_info >> 32);
    log::write(fmt::format("kvm_nested_vmexit: rip: 0x{:016x} {}", e.rip, what));
    if (e.exit.code == kInterrupt) log::write(fmt::format("kvm_nested_intr_vmexit: rip: 0x{:016x}", e.rip));
    log::write("kvm_nested_vmexit_inject: " + what);
}

}  // namespace

void trace_nested(const NestedEvent& e) {
    switch (e.kind) {
        case NestedEvent::Kind::Run:
            log::write(
                fmt::format("kvm_nested_vmrun: rip: 0x{:016x} vmcb: 0x{:016x} nrip: 0x{:016x} int_ctl: 0x{:08x} "
                            "event_inj: 0x{:08x} npt: {}",
                            e.rip, e.address, e.nested_rip, e.v_intr & 0xffffffff, e.injected & 0xffffffff,
                            e.nested_paging ? "on" : "off"));
            return;
        case NestedEvent::Kind::Exit: return trace_exit_lines(e);
        case NestedEvent::Kind::Invlpga:
            log::write(fmt::format("kvm_invlpga: rip: 0x{:016x} asid: {} address: 0x{:016x}", e.rip, e.asid, e.address));
            return;
        case NestedEvent::Kind::Skinit:
            log::write(fmt::format("kvm_skinit: rip: 0x{:016x} slb: 0x{:08x}", e.rip, e.address));
            return;
    }
}

}  // namespace tandem::accel

// Registers of AArch64 processors, for the monitor.
#include <fmt/format.h>

#include <charconv>

#include "base/bits.h"
#include "frontend/monitor/registers.h"

namespace tandem::frontend {
namespace {

using cpu::arm64::State;
using cpu::arm64::Sysregs;

// A register's number behind a letter, below `count`.
std::optional<unsigned> numbered(std::string_view name, char letter, unsigned count) {
    if (name.size() < 2 || name.size() > 3 || name[0] != letter) return {};
    unsigned number = 0;
    const auto [end, error] = std::from_chars(name.data() + 1, name.data() + name.size(), number);
    if (error != std::errc{} || end != name.data() + name.size() || number >= count) return {};
    return number;
}

// Looks a system register up by the name of its field.
struct SystemFinder {
    std::string_view wanted;
    std::optional<u64> found;
    void operator()(const char* name, u64 value) {
        if (wanted == name) found = value;
    }
    template <std::size_t n>
    void operator()(const char*, const std::array<u64, n>&) {}
};

std::optional<u64> find_system(const Sysregs& sys, std::string_view name) {
    SystemFinder finder{name, {}};
    Sysregs copy = sys;  // visit() serves restoring, too
    copy.visit(finder);
    return finder.found;
}

std::string state_line(const State& s) {
    std::string flags;
    for (unsigned i = 0; i < 4; ++i) flags += bit(s.pstate, 31 - i) ? "NZCV"[i] : '-';
    return fmt::format("PSTATE={:08x} {} EL{}{} {}\n", s.pstate, flags, s.el(), s.sp_index() == 0 ? 't' : 'h', activity(s));
}

}  // namespace

std::optional<u64> find_register(const State& s, std::string_view name) {
    if (const auto x = numbered(name, 'x', 31)) return s.x[*x];
    if (const auto w = numbered(name, 'w', 31)) return s.x[*w] & 0xffffffff;
    if (const auto d = numbered(name, 'd', 32)) return s.v[*d].lane[0];
    const std::pair<std::string_view, u64> rows[] = {
        {"pc", s.pc},        {"sp", s.sp[s.sp_index()]}, {"lr", s.x[30]},     {"fp", s.x[29]},
        {"cpsr", s.pstate},  {"pstate", s.pstate},       {"sp_el0", s.sp[0]}, {"sp_el1", s.sp[1]},
        {"sp_el2", s.sp[2]}, {"fpcr", s.fpcr},           {"fpsr", s.fpsr},
    };
    for (const auto& [known, value] : rows) {
        if (name == known) return value;
    }
    return find_system(s.sys, name);
}

std::string format_registers(const State& s) {
    std::string text = fmt::format(" PC={:016x} ", s.pc);
    for (unsigned i = 0; i < 31; ++i) text += fmt::format("X{:02}={:016x}{}", i, s.x[i], i % 3 == 1 ? "\n" : " ");
    text += fmt::format(" SP={:016x}\n", s.sp[s.sp_index()]) + state_line(s);
    // Those that a look at a kernel or hypervisor needs most; $NAME has the others.
    const auto level = [&](const char* suffix, u64 sctlr, u64 tcr, u64 ttbr0, u64 ttbr1, u64 vbar, u64 elr, u64 spsr,
                           u64 esr, u64 far) {
        text += fmt::format("SCTLR_{0}={1:016x} TCR_{0}={2:016x} VBAR_{0}={3:016x}\n", suffix, sctlr, tcr, vbar);
        text += fmt::format("TTBR0_{0}={1:016x} TTBR1_{0}={2:016x} FAR_{0}={3:016x}\n", suffix, ttbr0, ttbr1, far);
        text += fmt::format("ELR_{0}={1:016x} SPSR_{0}={2:08x} ESR_{0}={3:08x}\n", suffix, elr, spsr, esr);
    };
    const Sysregs& r = s.sys;
    level("EL1", r.sctlr_el1, r.tcr_el1, r.ttbr0_el1, r.ttbr1_el1, r.vbar_el1, r.elr_el1, r.spsr_el1, r.esr_el1, r.far_el1);
    level("EL2", r.sctlr_el2, r.tcr_el2, r.ttbr0_el2, r.ttbr1_el2, r.vbar_el2, r.elr_el2, r.spsr_el2, r.esr_el2, r.far_el2);
    text += fmt::format("HCR_EL2={:016x} VTTBR_EL2={:016x} VTCR_EL2={:016x}\n", r.hcr_el2, r.vttbr_el2, r.vtcr_el2);
    text += fmt::format("FPCR={:08x} FPSR={:08x}\n", s.fpcr, s.fpsr);
    for (unsigned i = 0; i < 32; ++i) {
        text += fmt::format("Q{:02}={:016x}:{:016x}{}", i, s.v[i].lane[1], s.v[i].lane[0], i % 2 == 1 ? "\n" : " ");
    }
    return text;
}

}  // namespace tandem::frontend

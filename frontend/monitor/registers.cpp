#include "frontend/monitor/registers.h"

#include <fmt/format.h>

#include <array>

#include "base/bits.h"

namespace tandem::frontend {
namespace {

using cpu::x86::Segment;
using cpu::x86::State;

constexpr std::array<std::string_view, 8> kOld{"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
constexpr std::array<std::string_view, 8> kBytes{"al", "cl", "dl", "bl", "ah", "ch", "dh", "bh"};
constexpr std::array<std::string_view, 6> kSegments{"es", "cs", "ss", "ds", "fs", "gs"};

std::optional<u64> find_general(const State& s, std::string_view name) {
    for (unsigned i = 0; i < kOld.size(); ++i) {
        if (name == kOld[i]) return s.gpr[i] & 0xffff;
        if (name == kBytes[i]) return s.gpr[i & 3] >> (i < 4 ? 0 : 8) & 0xff;
        if (name.size() != 3 || name.substr(1) != kOld[i]) continue;
        if (name[0] == 'r') return s.gpr[i];
        if (name[0] == 'e') return s.gpr[i] & 0xffffffff;
    }
    for (unsigned i = 8; i < 16; ++i) {
        if (name == fmt::format("r{}", i)) return s.gpr[i];
    }
    return {};
}

struct FlagRow {
    unsigned bit;
    char letter;
};
constexpr FlagRow kFlags[] = {{10, 'D'}, {11, 'O'}, {7, 'S'}, {6, 'Z'}, {4, 'A'}, {2, 'P'}, {0, 'C'}};

std::string flag_letters(u64 rflags) {
    std::string text;
    for (const auto& f : kFlags) text += bit(rflags, f.bit) ? f.letter : '-';
    return text;
}

std::string segment_line(std::string_view name, const Segment& s) {
    return fmt::format("{:<3}={:04x} {:016x} {:08x} {:08x}\n", name, s.selector, s.base, s.limit, u32{s.access} << 8);
}

const char* activity_name(cpu::x86::Activity a) {
    constexpr const char* kNames[] = {"running", "halted", "waiting for SIPI", "shut down"};
    return kNames[static_cast<unsigned>(a) & 3];
}

std::string general(const State& s) {
    static constexpr std::array<std::string_view, 16> kNames{"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                                             "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"};
    static constexpr std::array<u8, 16> kOrder{0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15};
    std::string text;
    for (unsigned i = 0; i < 16; ++i) {
        text += fmt::format("{}={:016x}{}", kNames[kOrder[i]], s.gpr[kOrder[i]], i % 4 == 3 ? "\n" : " ");
    }
    text += fmt::format("RIP={:016x} RFL={:08x} [{}] CPL={} {}\n", s.rip, s.rflags, flag_letters(s.rflags),
                        bits(s.seg[cpu::x86::SS].access, 6, 5), activity_name(s.activity));
    return text;
}

std::string system_registers(const State& s) {
    std::string text;
    for (unsigned i = 0; i < kSegments.size(); ++i) {
        std::string name(kSegments[i]);
        for (char& c : name) c = static_cast<char>(c - 32);
        text += segment_line(name, s.seg[i]);
    }
    text += segment_line("LDT", s.ldtr) + segment_line("TR", s.tr);
    text += fmt::format("GDT=     {:016x} {:08x}\nIDT=     {:016x} {:08x}\n", s.gdtr.base, s.gdtr.limit, s.idtr.base,
                        s.idtr.limit);
    text += fmt::format("CR0={:08x} CR2={:016x} CR3={:016x} CR4={:08x}\n", s.cr0, s.cr2, s.cr3, s.cr4);
    text += fmt::format("DR0={:016x} DR1={:016x} DR2={:016x} DR3={:016x}\n", s.dr[0], s.dr[1], s.dr[2], s.dr[3]);
    text += fmt::format("DR6={:016x} DR7={:016x}\nEFER={:016x}\n", s.dr6, s.dr7, s.msr.efer);
    return text;
}

std::string vectors(const State& s) {
    std::string text =
        fmt::format("FCW={:04x} FSW={:04x} FTW={:02x} MXCSR={:08x}\n", s.x87.fcw, s.x87.fsw, s.x87.valid, s.mxcsr);
    for (unsigned i = 0; i < 8; ++i) {
        const auto& r = s.x87.reg[i];
        text += fmt::format("FPR{}={:016x} {:04x}{}", i, r.significand, r.sign_exponent, i % 2 == 1 ? "\n" : " ");
    }
    // Whole where the guest's system has turned the upper halves on (XCR0.AVX).
    const bool wide = (s.xcr0 & 4) != 0;
    for (unsigned i = 0; i < 16; ++i) {
        const auto& v = s.vec[i].lane;
        if (wide) {
            text += fmt::format("YMM{:02}={:016x} {:016x} {:016x} {:016x}\n", i, v[3], v[2], v[1], v[0]);
        } else {
            text += fmt::format("XMM{:02}={:016x}{:016x}{}", i, v[1], v[0], i % 2 == 1 ? "\n" : " ");
        }
    }
    return text;
}

}  // namespace

std::optional<u64> find_register(const State& s, std::string_view name) {
    if (const auto value = find_general(s, name)) return value;
    if (name == "rip" || name == "pc") return s.rip;
    if (name == "eip") return s.rip & 0xffffffff;
    if (name == "rflags" || name == "eflags") return s.rflags;
    for (unsigned i = 0; i < kSegments.size(); ++i) {
        if (name == kSegments[i]) return s.seg[i].selector;
        if (name.ends_with("base") && name.substr(0, name.size() - 4) == kSegments[i]) return s.seg[i].base;
    }
    const std::pair<std::string_view, u64> rows[] = {
        {"cr0", s.cr0},       {"cr2", s.cr2},     {"cr3", s.cr3},        {"cr4", s.cr4},           {"dr0", s.dr[0]},
        {"dr1", s.dr[1]},     {"dr2", s.dr[2]},   {"dr3", s.dr[3]},      {"dr6", s.dr6},           {"dr7", s.dr7},
        {"efer", s.msr.efer}, {"mxcsr", s.mxcsr}, {"tr", s.tr.selector}, {"ldt", s.ldtr.selector},
    };
    for (const auto& [known, value] : rows) {
        if (name == known) return value;
    }
    return {};
}

std::string format_registers(const State& state) { return general(state) + system_registers(state) + vectors(state); }

std::optional<u64> find_register(const cpu::ArchState& state, std::string_view name) {
    return std::visit([name](const auto& s) { return find_register(s, name); }, state);
}
std::string format_registers(const cpu::ArchState& state) {
    return std::visit([](const auto& s) { return format_registers(s); }, state);
}

u64 program_counter(const cpu::ArchState& state) {
    if (const auto* x86 = std::get_if<State>(&state)) return x86->rip;
    return std::get<cpu::arm64::State>(state).pc;
}

const char* activity(const cpu::ArchState& state) {
    if (const auto* x86 = std::get_if<State>(&state)) return activity_name(x86->activity);
    constexpr const char* kNames[] = {"running", "halted", "powered off"};
    return kNames[static_cast<unsigned>(std::get<cpu::arm64::State>(state).activity) % 3];
}

}  // namespace tandem::frontend

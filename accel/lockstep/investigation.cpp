#include "accel/lockstep/investigation.h"

#include <fmt/format.h>

#include <algorithm>

#include "cpu/x86/decode/disassemble.h"
#include "cpu/x86/system/inspect.h"
#include "cpu/x86/system/registers.h"

namespace tandem::accel::lockstep {
namespace {

using cpu::x86::State;

constexpr u32 kWholeBlocks = 64;

cpu::x86::Mode code_mode(const State& s) {
    if (cpu::x86::code64(s)) return cpu::x86::Mode::Bits64;
    const bool wide = (s.seg[cpu::x86::CS].access & cpu::x86::access::DB) != 0;
    return wide ? cpu::x86::Mode::Bits32 : cpu::x86::Mode::Bits16;
}

}  // namespace

std::vector<u8> code_at(const State& state, const devices::GuestMemory& memory, unsigned size) {
    const auto read = [&memory](u64 address) -> std::optional<u64> {
        u64 value = 0;
        if (!memory.read(address, &value, sizeof value)) return {};
        return value;
    };
    const u64 base = cpu::x86::code64(state) ? 0 : state.seg[cpu::x86::CS].base;
    std::vector<u8> code;
    for (unsigned i = 0; i < size; ++i) {
        const u64 linear = base + state.rip + i;
        const auto mapping = cpu::x86::walk(state, read, linear);
        u8 byte = 0;
        if (!mapping || !memory.read(mapping->pa + (linear - mapping->va), &byte, 1)) break;
        code.push_back(byte);
    }
    return code;
}

std::string list_code(const State& state, std::span<const u8> code) {
    return cpu::x86::disassemble(code, code_mode(state), state.rip);
}

void name_instruction(const State& before, const devices::GuestMemory& memory, Finding& finding) {
    constexpr unsigned kListed = 48;
    const std::vector<u8> code = code_at(before, memory, kListed);
    cpu::x86::Instruction insn;
    const bool known = cpu::x86::decode(code, code_mode(before), insn) == cpu::x86::DecodeStatus::Ok;
    finding.bytes.assign(code.begin(), code.begin() + (known ? insn.length : std::min<std::ptrdiff_t>(std::ssize(code), 1)));
    finding.listing = list_code(before, code);
}

Result<void> Investigation::make_sides(const Stretch& stretch) {
    for (unsigned i = 0; i < 2; ++i) {
        TANDEM_TRY_ASSIGN(sides_[i], Side::create(specs_[i], memory_, stretch.max_block));
        sides_[i]->replayer().set_constants(stretch.tsc_hz, 1);
    }
    return {};
}

Result<void> Investigation::go_on() const {
    if (stop_.stop_requested()) return Error{Errc::Busy, "it was broken off"};
    return {};
}

Result<void> Investigation::restart(unsigned side, const Stretch& stretch, const Journal& journal, u64 count) {
    if (native()) sides_[side]->replayer().follow_native(stretch.cr8);
    return sides_[side]->restart(memory_, stretch.state, journal, count);
}

Result<std::vector<std::string>> Investigation::compare(const Stretch& stretch, u64 count) {
    const Names names{specs_[0].name, specs_[1].name};
    std::vector<std::string> lines;
    std::vector<u64> pages;
    for (unsigned i = 0; i < 2; ++i) {
        TANDEM_TRY(go_on());
        TANDEM_TRY(restart(i, stretch, stretch.journal, count));
        const std::string& complaint = sides_[i]->replayer().complaint();
        if (!complaint.empty()) lines.push_back(fmt::format("{}: {}", specs_[i].name, complaint));
        const std::vector<u64> written = sides_[i]->written();
        pages.insert(pages.end(), written.begin(), written.end());
    }
    tidy(pages);
    TANDEM_TRY_ASSIGN(const State a, sides_[0]->state());
    TANDEM_TRY_ASSIGN(const State b, sides_[1]->state());
    const auto found = differences(a, b, sides_[0]->memory(), sides_[1]->memory(), pages, names, native());
    lines.insert(lines.end(), found.begin(), found.end());
    return lines;
}

Result<Finding> Investigation::run(const Stretch& stretch, std::stop_token stop) {
    stop_ = std::move(stop);
    if (native()) return walk(stretch);
    Finding finding;
    for (const u32 max_block : {1u, kWholeBlocks}) {
        Stretch trial = stretch;
        trial.max_block = max_block;
        TANDEM_TRY(make_sides(trial));
        TANDEM_TRY_ASSIGN(finding.differences, compare(trial, trial.count));
        if (finding.differences.empty()) continue;
        finding.reproduced = true;
        TANDEM_TRY(locate(trial, finding));
        return finding;
    }
    finding.stretch = stretch;
    TANDEM_TRY(sides_[0]->restart(memory_, stretch.state, stretch.journal, 0));
    return finding;
}

Result<void> Investigation::locate(const Stretch& stretch, Finding& finding) {
    u64 low = 0, high = stretch.count;  // they agree after `low` instructions, not after `high`
    while (high - low > 1) {
        const u64 middle = low + (high - low) / 2;
        TANDEM_TRY_ASSIGN(const auto found, compare(stretch, middle));
        (found.empty() ? low : high) = middle;
    }
    TANDEM_TRY_ASSIGN(finding.differences, compare(stretch, high));
    return describe(stretch, low, high, finding);
}

Result<void> Investigation::describe(const Stretch& stretch, u64 low, u64 high, Finding& finding) {
    Side& side = *sides_[0];
    for (u64 at = low >= kTrail ? low - kTrail : 0; at <= low; ++at) {
        TANDEM_TRY(side.restart(memory_, stretch.state, stretch.journal, at));
        TANDEM_TRY_ASSIGN(const State s, side.state());
        finding.trail.push_back(s.rip);
    }
    TANDEM_TRY_ASSIGN(const State before, side.state());
    name_instruction(before, side.memory(), finding);
    finding.agreed = low;
    finding.stretch = stretch;
    finding.stretch.count = high;
    if (stretch.max_block != 1) {
        // The block as a whole is at fault: its beginning is not known, so that the stretch stays whole.
        return side.restart(memory_, stretch.state, stretch.journal, 0);
    }
    const auto rest = stretch.journal.begin() + static_cast<std::ptrdiff_t>(side.replayer().position());
    finding.stretch.state = before;
    finding.stretch.count = high - low;
    finding.stretch.journal.assign(rest, stretch.journal.end());
    for (Event& e : finding.stretch.journal) e.at = e.at < low ? 0 : e.at - low;
    return {};
}

std::string report(const Finding& f, const Names& names) {
    if (!f.reproduced) {
        return fmt::format("{} and {} differ, but not when the stretch is run again:\n{}\n", names.first, names.second,
                           fmt::join(f.differences, "\n"));
    }
    std::string text = fmt::format("{} and {} differ after the instruction at {:#x}, bytes {:02x}\n", names.first,
                                   names.second, f.trail.back(), fmt::join(f.bytes, " "));
    if (f.stretch.max_block != 1) text += "(one instruction at a time they agree: its whole block is needed)\n";
    if (f.trail.size() > 1) text += fmt::format("before it: {:#x}\n", fmt::join(f.trail.begin(), f.trail.end() - 1, ", "));
    text += f.listing;
    for (const std::string& line : f.differences) text += "  ! " + line + "\n";
    return text;
}

}  // namespace tandem::accel::lockstep

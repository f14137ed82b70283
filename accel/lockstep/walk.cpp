// Investigations with an engine that counts no instructions.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "accel/lockstep/investigation.h"
#include "accel/lockstep/latitude.h"
#include "cpu/x86/system/registers.h"

namespace tandem::accel::lockstep {

using cpu::x86::State;

// An interrupt that the stretch begins with is delivered by the engine that can be told to take one.
Result<void> Investigation::restart_walk(const Stretch& stretch) {
    walked_.clear();
    for (unsigned i = 0; i < 2; ++i) {
        TANDEM_TRY(restart(i, stretch, {}, 0));
        sides_[i]->replayer().begin(stretch.journal, sides_[i]->memory());
    }
    const unsigned other = specs_[0].native ? 1 : 0;
    Side& translator = *sides_[other];
    Side& native = *sides_[1 - other];
    if (stretch.journal.empty() || stretch.journal.front().kind != Event::Kind::Interrupt) return {};
    if (translator.exact() == nullptr) return Error{Errc::Unsupported, "two native engines cannot be compared"};
    translator.replayer().take_interrupt(translator.vcpu(), *translator.exact());
    translator.exact()->set_instruction_limit(~u64{0});
    native.replayer().skip_interrupt();
    for (const u64 page : translator.written()) {
        copy_page(translator.memory(), native.memory(), page);
        walked_.push_back(page);
    }
    TANDEM_TRY_ASSIGN(const State s, translator.state());
    return native.vcpu().import_state(s);
}

Result<void> Investigation::walk_step() {
    TANDEM_TRY(go_on());
    const unsigned other = specs_[0].native ? 1 : 0;
    Side& translator = *sides_[other];
    Side& native = *sides_[1 - other];
    TANDEM_TRY_ASSIGN(const State before, translator.state());
    const auto insn = decode_at(before, code_at(before, translator.memory(), cpu::x86::kMaxInstructionLength));
    (void)step_whole(native.vcpu(), before, native.memory());
    (void)translator.vcpu().step();
    TANDEM_TRY_ASSIGN(const State given, native.state());
    TANDEM_TRY_ASSIGN(State now, translator.state());
    if (insn && holds_traps(*insn) && now.rip != given.rip) {
        (void)translator.vcpu().step();
        TANDEM_TRY_ASSIGN(now, translator.state());
    }
    if (!insn) return {};
    State level_native = given, level = now;
    level_values(*insn, level_native, level);
    const u64 open = undefined_flags(*insn, before);
    level.rflags = (level.rflags & ~open) | (given.rflags & open);
    if (!(level_native == given)) TANDEM_TRY(native.vcpu().import_state(level_native));
    if (!(level == now)) TANDEM_TRY(translator.vcpu().import_state(level));
    return {};
}

Result<std::vector<std::string>> Investigation::walk_differences() {
    constexpr std::size_t kMostPages = 512;
    for (const auto& side : sides_) {
        const std::vector<u64> written = side->written();
        walked_.insert(walked_.end(), written.begin(), written.end());
    }
    tidy(walked_);
    if (walked_.size() > kMostPages) walked_.erase(walked_.begin(), walked_.end() - kMostPages);
    std::vector<std::string> lines;
    for (unsigned i = 0; i < 2; ++i) {
        const std::string& complaint = sides_[i]->replayer().complaint();
        if (!complaint.empty()) lines.push_back(fmt::format("{}: {}", specs_[i].name, complaint));
    }
    TANDEM_TRY_ASSIGN(const State a, sides_[0]->state());
    TANDEM_TRY_ASSIGN(const State b, sides_[1]->state());
    compare_cr8(sides_[0]->replayer().cr8(), sides_[1]->replayer().cr8(), {specs_[0].name, specs_[1].name}, lines);
    const unsigned native = specs_[0].native ? 0 : 1;
    level_tables(a, sides_[native]->memory(), sides_[1 - native]->memory(), walked_);
    const auto found =
        differences(a, b, sides_[0]->memory(), sides_[1]->memory(), walked_, {specs_[0].name, specs_[1].name}, true);
    lines.insert(lines.end(), found.begin(), found.end());
    return lines;
}

Result<Finding> Investigation::walk(const Stretch& stretch) {
    constexpr u64 kMostSteps = 1'000'000;
    constexpr auto kPatience = std::chrono::seconds(120);
    Finding finding;
    finding.stretch = stretch;
    TANDEM_TRY(make_sides(stretch));
    TANDEM_TRY(restart_walk(stretch));
    TANDEM_TRY_ASSIGN(finding.differences, walk_differences());
    const auto start = std::chrono::steady_clock::now();
    u64 steps = 0;
    while (finding.differences.empty() && steps < kMostSteps && std::chrono::steady_clock::now() - start < kPatience) {
        TANDEM_TRY_ASSIGN(const State before, sides_[0]->state());
        finding.trail.push_back(before.rip);
        if (finding.trail.size() > kTrail + 1) finding.trail.erase(finding.trail.begin());
        TANDEM_TRY(walk_step());
        ++steps;
        TANDEM_TRY_ASSIGN(finding.differences, walk_differences());
        TANDEM_TRY_ASSIGN(const State now, sides_[0]->state());
        const bool ended = sides_[0]->replayer().exhausted() && stretch.end && now.gpr == stretch.end->gpr &&
                           now.rip == stretch.end->rip && ((now.rflags ^ stretch.end->rflags) & ~cpu::x86::eflags::RF) == 0;
        const bool stopped = now.activity != cpu::x86::Activity::Running;
        if (!finding.differences.empty() || (!ended && !stopped)) continue;
        finding.open = ended;
        break;
    }
    finding.agreed = steps == 0 ? 0 : steps - 1;
    finding.reproduced = !finding.differences.empty() && steps != 0;
    TANDEM_TRY(restart_walk(stretch));
    if (!finding.reproduced) return finding;
    for (u64 i = 0; i < finding.agreed; ++i) TANDEM_TRY(walk_step());
    Side& side = *sides_[0];
    TANDEM_TRY_ASSIGN(const State before, side.state());
    name_instruction(before, side.memory(), finding);
    const auto rest = stretch.journal.begin() + static_cast<std::ptrdiff_t>(side.replayer().position());
    finding.stretch.state = before;
    finding.stretch.count = 1;
    finding.stretch.cr8 = side.replayer().cr8();
    finding.stretch.end.reset();
    finding.stretch.journal.assign(rest, stretch.journal.end());
    return finding;
}

}  // namespace tandem::accel::lockstep

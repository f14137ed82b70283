#include "accel/lockstep/native_leader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "accel/lockstep/investigation.h"
#include "accel/lockstep/latitude.h"
#include "cpu/x86/system/inspect.h"
#include "cpu/x86/system/registers.h"

namespace tandem::accel::lockstep {
namespace {

using cpu::x86::State;

u64 linear_pc(const State& s) { return s.rip + (cpu::x86::code64(s) ? 0 : s.seg[cpu::x86::CS].base); }

std::optional<u64> physical_pc(const State& s, const devices::GuestMemory& memory) {
    const auto read = [&memory](u64 address) -> std::optional<u64> {
        u64 value = 0;
        if (!memory.read(address, &value, sizeof value)) return {};
        return value;
    };
    const u64 linear = linear_pc(s);
    const auto mapping = cpu::x86::walk(s, read, linear);
    if (!mapping) return {};
    return mapping->pa + (linear - mapping->va);
}

}  // namespace

Result<void> NativeLeader::open() {
    TANDEM_TRY_ASSIGN(leader_, pair_.leader->create_vcpu(0, recorder_));
    native_ = dynamic_cast<NativeVcpu*>(leader_.get());
    if (native_ == nullptr) return Error{Errc::Unsupported, fmt::format("engine '{}' is not native", names().first)};
    exact_ = pair_.follower->exact();
    if (exact_ == nullptr) {
        return Error{Errc::Unsupported, fmt::format("engine '{}' does not count instructions", names().second)};
    }
    exact_->hold_accesses();
    pair_.follower->replayer().follow_native(0);
    recorder_.attach(*leader_, *this, {pair_.machine, &pair_.leader_memory, &pair_.agreed, &leader_pages_});
    std::vector<u64> none;
    return native_->take_written(none);
}

// What cannot be read is missing from the comparison of this stretch alone.
void NativeLeader::collect_written(std::vector<u64>& pages) { (void)native_->take_written(pages); }

Result<void> NativeLeader::begin() {
    TANDEM_TRY(settle());
    recorder_.begin();
    agreed_entries_ = native_->entries();
    if (retake_) {
        recorder_.retake_interrupt(*std::exchange(retake_, {}));
    } else {
        recorder_.allow_interrupt();
    }
    pair_.follower->replayer().begin(recorder_.journal(), pair_.follower->memory());
    pair_.follower->replayer().follow_native(recorder_.agreed_cr8());
    waits_.reset();
    accessed_ = false;
    problem_.clear();
    return {};
}

// --- The follower

// The block that holds the instruction is translated anew, with or without the comparison.
Result<void> NativeLeader::look_for(const State* target) {
    devices::GuestMemory& memory = pair_.follower->memory();
    if (sought_) memory.commit(*sought_, 1);
    sought_.reset();
    if (target == nullptr) {
        exact_->seek(nullptr);
        return {};
    }
    const cpu::ArchState state = *target;
    exact_->seek(&state);
    sought_ = physical_pc(*target, memory);
    if (sought_) memory.commit(*sought_, 1);
    return {};
}

// Undefined flags count as equal here: what they are is settled when all of it is compared.
Result<bool> NativeLeader::stands_at(const State& target) {
    TANDEM_TRY_ASSIGN(const State now, pair_.follower->state());
    constexpr u64 kArithmetic = 0x8d5, kResume = 0x10000;
    const u64 flags = (now.rflags ^ target.rflags) & ~(kArithmetic | kResume);
    if (now.rip != target.rip || now.gpr != target.gpr || flags != 0 || now.cr3 != target.cr3) return false;
    // A loop that changes nothing but memory.
    for (const u64 page : leader_pages_) {
        const u8* const mine = page_of(pair_.leader_memory, page);
        const u8* const other = page_of(pair_.follower->memory(), page);
        if (mine != nullptr && other != nullptr && !std::equal(mine, mine + kPage, other)) return false;
    }
    return true;
}

Result<NativeLeader::Place> NativeLeader::follow(const State* target) {
    constexpr u64 kRound = 10'000'000;  // instructions between two looks at the clock
    constexpr std::chrono::milliseconds kPatience(60'000), kPolite(300);
    const NoTrace quiet;
    Vcpu& vcpu = pair_.follower->vcpu();
    Replayer& replayer = pair_.follower->replayer();
    if (replayer.position() == 0 && !recorder_.journal().empty() &&
        recorder_.journal().front().kind == Event::Kind::Interrupt) {
        replayer.take_interrupt(vcpu, *exact_);
    }
    const auto start = std::chrono::steady_clock::now();
    const u64 base = exact_->instructions();
    Place place = Place::Lost;
    TANDEM_TRY(look_for(target));
    for (bool missed = false; std::chrono::steady_clock::now() - start < kPatience;) {
        if (requested() && std::chrono::steady_clock::now() - start > kPolite) {
            place = Place::Requested;
            break;
        }
        exact_->set_instruction_limit(exact_->instructions() + kRound);
        const Exit exit = missed ? vcpu.step() : vcpu.run();
        if (std::exchange(missed, false)) continue;
        if (!std::holds_alternative<RequestedExit>(exit)) {
            problem_ = describe(exit);
            place = Place::Stopped;
            break;
        }
        const ExactVcpu::Held held = exact_->held();
        if (held == ExactVcpu::Held::Sought) {
            TANDEM_TRY_ASSIGN(const bool found, stands_at(*target));
            missed = !found;
            if (missed) continue;
            place = Place::Sought;
            break;
        }
        if (held == ExactVcpu::Held::No) continue;
        place = held == ExactVcpu::Held::Access ? Place::Access : Place::Value;
        break;
    }
    TANDEM_TRY(look_for(nullptr));
    pair_.instructions += exact_->instructions() - base;
    return place;
}

Result<void> NativeLeader::follow_access() {
    const NoTrace quiet;
    (void)pair_.follower->vcpu().step();
    pair_.follower->replayer().finish();
    ++pair_.instructions;
    return {};
}

Result<std::optional<cpu::x86::Instruction>> NativeLeader::next_instruction(Side& side) {
    TANDEM_TRY_ASSIGN(const State s, side.state());
    return decode_at(s, code_at(s, side.memory(), cpu::x86::kMaxInstructionLength));
}

// --- The leader

bool NativeLeader::before_access(const Exit& exit) {
    if (stepping_ || accessed_) return accessed_ = true;
    if (waits_) {  // on its way to a breakpoint
        problem_ = fmt::format("{} went beyond its breakpoint to {}", names().first, describe(exit));
        return false;
    }
    auto place = follow(nullptr);
    if (!place) {
        problem_ = place.error().message;
        waits_ = Place::Lost;
        return false;
    }
    waits_ = *place;
    if (*place == Place::Stopped || *place == Place::Lost) {
        problem_ =
            fmt::format("{}: {}, where {} has {}", names().second,
                        *place == Place::Lost ? "it does not come to an access" : problem_, names().first, describe(exit));
    }
    return accessed_ = *place == Place::Access;
}

// KVM may have been called back with the interrupt that it was given not delivered yet.
Result<Exit> NativeLeader::lead() {
    for (;;) {
        Exit exit = leader_->run();
        const bool given = !recorder_.journal().empty() && recorder_.journal().front().kind == Event::Kind::Interrupt;
        if (!std::holds_alternative<RequestedExit>(exit) || !given || waits_ || accessed_) return exit;
        TANDEM_TRY_ASSIGN(const State s, state_of(*leader_));
        if (!s.pending.valid) return exit;
    }
}

// The leader may have stopped between two repetitions of a string instruction, which the follower executes as one: it runs
// on to the instruction behind it.
Result<Exit> NativeLeader::complete_repetition(Exit exit) {
    const auto valid = [this] { return !waits_ || accessed_; };
    if (!std::holds_alternative<RequestedExit>(exit) || !valid()) return exit;
    TANDEM_TRY_ASSIGN(const State place, state_of(*leader_));
    const auto insn = decode_at(place, code_at(place, pair_.leader_memory, cpu::x86::kMaxInstructionLength));
    if (!insn || !repeats(*insn)) return exit;
    recorder_.hide_interrupts();
    TANDEM_TRY(native_->set_breakpoints(std::array{linear_pc(place) + insn->length}));
    while (std::holds_alternative<RequestedExit>(exit) && valid() && leader_->exit_pc() == place.rip) exit = leader_->run();
    TANDEM_TRY(native_->set_breakpoints(breakpoints_));
    if (std::holds_alternative<DebugExit>(exit)) return Exit(RequestedExit{});
    return exit;
}

Result<void> NativeLeader::go_back() {
    collect_written(leader_pages_);
    for (const u64 page : leader_pages_) copy_page(pair_.agreed, pair_.leader_memory, page);
    leader_pages_.clear();
    TANDEM_TRY(leader_->import_state(agreed_state_));
    std::optional<int> again;
    const Journal& journal = recorder_.journal();
    if (!journal.empty() && journal.front().kind == Event::Kind::Interrupt) again = static_cast<int>(journal.front().value);
    recorder_.allow_interrupt(again);
    recorder_.hide_interrupts();
    agreed_entries_ = native_->entries();
    return {};
}

Result<Exit> NativeLeader::give_up() {
    const Journal& journal = recorder_.journal();
    if (!journal.empty() && journal.front().kind == Event::Kind::Interrupt)
        retake_ = static_cast<int>(journal.front().value);
    TANDEM_TRY(go_back());
    Side& side = *pair_.follower;
    for (const u64 page : side.written()) copy_page(pair_.agreed, side.memory(), page);
    TANDEM_TRY(side.vcpu().import_state(agreed_state_));
    side.forget();
    return Exit(RequestedExit{});
}

Result<void> NativeLeader::add_breakpoint(const State& at) {
    const u64 address = linear_pc(at);
    if (std::ranges::find(breakpoints_, address) != breakpoints_.end()) return {};
    if (breakpoints_.size() == NativeVcpu::kBreakpoints) breakpoints_.erase(breakpoints_.begin());
    breakpoints_.push_back(address);
    return native_->set_breakpoints(breakpoints_);
}

// The follower waits before an instruction whose result is the processor's own, which the leader has executed already.
Result<Exit> NativeLeader::rerun_to_value() {
    TANDEM_TRY_ASSIGN(const State place, pair_.follower->state());
    TANDEM_TRY(add_breakpoint(place));
    for (;;) {
        TANDEM_TRY(go_back());
        const Exit exit = leader_->run();
        if (std::holds_alternative<DebugExit>(exit)) return finish_stretch(RequestedExit{});
        // Somebody wanted the leader back in the meantime: once more.
        if (std::holds_alternative<RequestedExit>(exit) && problem_.empty()) {
            TANDEM_TRY_ASSIGN(const State now, state_of(*leader_));
            if (now.rip == place.rip) return finish_stretch(RequestedExit{});
            if (requested()) return give_up();
            continue;
        }
        return explain({{fmt::format("{}: {}, where {} reads the time-stamp counter, a random number or CPUID",
                                     names().first, describe(exit), names().second)},
                        0,
                        {},
                        {}});
    }
}

Result<Exit> NativeLeader::single() {
    TANDEM_TRY_ASSIGN(const State before_it, state_of(*leader_));
    TANDEM_TRY_ASSIGN(const auto insn, next_instruction(*pair_.follower));
    stepping_ = true;
    const Exit exit = step_whole(*leader_, before_it, pair_.leader_memory);
    stepping_ = false;
    TANDEM_TRY(follow_access());
    if (insn) {
        TANDEM_TRY_ASSIGN(const State native, state_of(*leader_));
        TANDEM_TRY_ASSIGN(const State other, pair_.follower->state());
        State level_native = native, level = other;
        level_values(*insn, level_native, level);
        if (!(level_native == native)) TANDEM_TRY(leader_->import_state(level_native));
        if (!(level == other)) TANDEM_TRY(pair_.follower->vcpu().import_state(level));
    }
    return finish_stretch(std::holds_alternative<DebugExit>(exit) ? Exit(RequestedExit{}) : exit);
}

Result<Exit> NativeLeader::help(const EmulationFailureExit& failure) {
    TANDEM_TRY(follow_access());
    if (!pair_.follower->replayer().complaint().empty()) return Exit(failure);
    TANDEM_TRY_ASSIGN(const State s, pair_.follower->state());
    collect_written(leader_pages_);
    for (const u64 page : pair_.follower->written()) {
        copy_page(pair_.follower->memory(), pair_.leader_memory, page);
        leader_pages_.push_back(page);
    }
    TANDEM_TRY(leader_->import_state(s));
    recorder_.take_cr8(pair_.follower->replayer().cr8());
    ++pair_.helped;
    return finish_stretch(RequestedExit{});
}

// --- Both

Result<Exit> NativeLeader::take_open(Exit exit, State now, const std::vector<u64>& pages) {
    for (const u64 page : pages) copy_page(pair_.leader_memory, pair_.follower->memory(), page);
    TANDEM_TRY_ASSIGN(State taken, pair_.follower->state());
    taken.rflags = now.rflags;
    TANDEM_TRY(pair_.follower->vcpu().import_state(taken));
    ++pair_.open;
    agree(now, pages);
    return exit;
}

// Flags that an instruction leaves undefined may differ, and may have been pushed: then the follower goes on with the
// leader's.
Result<Exit> NativeLeader::finish_stretch(Exit exit) {
    recorder_.publish();
    pair_.follower->replayer().finish();
    TANDEM_TRY_ASSIGN(State now, state_of(*leader_));
    std::vector<u64> pages = leader_pages_;
    TANDEM_TRY_ASSIGN(const auto found, compare(now, pages));
    if (found.empty()) {
        agree(now, pages);
        return exit;
    }
    const auto may_be = [](const std::string& line) { return line.starts_with("rflags:") || line.starts_with("memory at"); };
    Difference difference{found, 0, now, {}};
    if (std::ranges::all_of(found, may_be)) {
        difference.if_open = [this, exit, now, pages]() -> Result<Exit> { return take_open(exit, now, pages); };
    }
    return explain(std::move(difference));
}

// The leader has come back without an access of its own.
Result<Exit> NativeLeader::catch_up(Exit exit) {
    const auto* const failure = std::get_if<EmulationFailureExit>(&exit);
    const bool ended = std::holds_alternative<HaltExit>(exit) || std::holds_alternative<ShutdownExit>(exit);
    const bool breakpoint = std::holds_alternative<DebugExit>(exit);
    if (!ended && !breakpoint && failure == nullptr && !std::holds_alternative<RequestedExit>(exit)) return exit;
    collect_written(leader_pages_);
    TANDEM_TRY_ASSIGN(const State target, state_of(*leader_));
    TANDEM_TRY_ASSIGN(const Place place, follow(ended ? nullptr : &target));
    waits_ = place;
    if (place == Place::Value) return rerun_to_value();
    if (place == Place::Requested) return give_up();
    if (ended && place == Place::Stopped) return finish_stretch(std::move(exit));
    if (place == Place::Sought && breakpoint) return single();
    if (place == Place::Sought && failure != nullptr) return help(*failure);
    if (place == Place::Sought) return finish_stretch(std::move(exit));
    const std::string where = ended ? describe(exit) : fmt::format("{:#x}", target.rip);
    return explain({{fmt::format("{} comes to {}, and {} does not", names().first, where, names().second)}, 0, target, {}});
}

Result<Exit> NativeLeader::stretch(bool stepping) {
    TANDEM_TRY(begin());
    if (stepping) {
        TANDEM_TRY_ASSIGN(Exit done, single());
        if (!std::holds_alternative<RequestedExit>(done)) return done;
        return Exit(DebugExit{DebugExit::Reason::SingleStep, exit_pc(), 0});
    }
    TANDEM_TRY_ASSIGN(Exit led, lead());
    TANDEM_TRY_ASSIGN(Exit exit, complete_repetition(std::move(led)));
    if (accessed_) {
        TANDEM_TRY(follow_access());
        return finish_stretch(std::move(exit));
    }
    if (!waits_) return catch_up(std::move(exit));
    if (*waits_ == Place::Value) return rerun_to_value();
    if (*waits_ == Place::Requested) return give_up();
    TANDEM_TRY(go_back());
    return explain({{problem_}, 0, {}, {}});
}

}  // namespace tandem::accel::lockstep

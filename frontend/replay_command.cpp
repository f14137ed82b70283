#include "frontend/replay_command.h"

#include <fmt/format.h>

#include <sstream>

#include "accel/diff/arm64/replay.h"
#include "accel/kvm/kvm_accelerator.h"
#include "accel/lockstep/reproducer.h"
#include "base/log.h"
#include "frontend/engine.h"

namespace tandem::frontend {
namespace {

namespace lockstep = accel::lockstep;

constexpr const char* kHelp = R"(usage: tandem replay DIRECTORY [--engines A[,B]]

Runs what -accel lockstep or tandem diff --save has saved where two engines differed: a processor's state, memory, and the
instructions that follow. The exit status is 2 where they differ.

  --engines LIST   interp, baseline, llvm, jit, kvm: one shows what it does, two are compared (default: the two that differed);
                   for A64 streams interp, baseline, llvm, exact
)";

std::string show(const cpu::x86::State& state) {
    constexpr const char* kNames[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    std::string text = fmt::format("rip {:016x} rflags {:08x}\n", state.rip, state.rflags);
    for (unsigned i = 0; i < 16; ++i)
        text += fmt::format("{:<3} {:016x}{}", kNames[i], state.gpr[i], i % 4 == 3 ? "\n" : " ");
    return text;
}

struct Arguments {
    std::string directory;
    std::vector<std::string> engines;
    bool help = false;
};

Result<Arguments> parse(std::span<const char* const> arguments) {
    Arguments a;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const std::string text = arguments[i];
        if (text == "--help") {
            a.help = true;
        } else if (text == "--engines") {
            if (++i == arguments.size()) return invalid("tandem replay: --engines needs a value");
            std::istringstream in(arguments[i]);
            for (std::string name; std::getline(in, name, ',');) a.engines.push_back(name);
            if (a.engines.empty() || a.engines.size() > 2) return invalid("tandem replay: --engines takes one or two");
        } else if (text.starts_with("--")) {
            return invalid(fmt::format("tandem replay: unknown option '{}' (known: --engines, --help)", text));
        } else if (!a.directory.empty()) {
            return invalid(fmt::format("tandem replay: '{}' comes after the directory", text));
        } else {
            a.directory = text;
        }
    }
    if (a.directory.empty() && !a.help) return invalid("tandem replay: a directory is missing");
    return a;
}

Result<int> replay(Arguments a) {
    if (accel::diff::arm64::is_stream(a.directory)) {
        TANDEM_TRY_ASSIGN(const auto replayed, accel::diff::arm64::replay_stream(a.directory, a.engines));
        fmt::print("{}", replayed.text);
        return replayed.differs ? 2 : 0;
    }
    devices::GuestMemory memory;
    TANDEM_TRY_ASSIGN(const lockstep::Case c, lockstep::load_case(a.directory, memory));
    const auto in_file = [&](Error error) { return std::move(error).context(fmt::format("'{}/case.json'", a.directory)); };
    auto full = cpu::x86::CpuModel::create(c.cpu);
    if (!full) return in_file(std::move(full).error().context("field 'cpu'"));
    // As the run had it: without what KVM does not offer, where this host can tell.
    const bool native = c.engines.first == "kvm" || c.engines.second == "kvm";
    const auto narrowed = native ? accel::narrow_to_kvm(*full) : *full;
    const cpu::x86::CpuModel& model = narrowed ? *narrowed : *full;
    const bool recorded = a.engines.empty();
    if (recorded) a.engines = {c.engines.first, c.engines.second};
    const std::string second = a.engines.back();
    const auto one = exact_engine(a.engines.front(), model, 1), other = exact_engine(second, model, 1);
    for (const auto* engine : {&one, &other}) {
        if (!*engine) return recorded ? in_file(Error(engine->error()).context("field 'engines'")) : engine->error();
    }
    lockstep::Investigation investigation(*one, *other, memory);
    TANDEM_TRY(investigation.make_sides(c.stretch));
    TANDEM_TRY_ASSIGN(const auto found, investigation.compare(c.stretch, c.stretch.count));
    const auto code = lockstep::code_at(c.stretch.state, memory, 48);
    fmt::print("{} instructions from\n{}{}", c.stretch.count, show(c.stretch.state),
               lockstep::list_code(c.stretch.state, code));
    for (unsigned i = 0; i < a.engines.size(); ++i) {
        TANDEM_TRY_ASSIGN(const auto state, investigation.side(i).state());
        fmt::print("{}:\n{}", a.engines[i], show(state));
    }
    for (const std::string& line : found) fmt::print("  ! {}\n", line);
    return found.empty() ? 0 : 2;
}

}  // namespace

int replay_command(std::span<const char* const> arguments) {
    auto parsed = parse(arguments);
    if (parsed && parsed->help) {
        fmt::print("{}", kHelp);
        return 0;
    }
    Result<int> status = parsed ? replay(std::move(*parsed)) : parsed.error();
    if (status) return *status;
    log::error("{}", status.error().message);
    return 1;
}

}  // namespace tandem::frontend

#include "frontend/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "accel/jit/arm64_jit.h"
#include "accel/jit/x86_jit.h"
#include "accel/kvm/kvm_accelerator.h"
#include "accel/lockstep/lockstep.h"
#include "accel/switch/switch_accelerator.h"
#include "base/log.h"
#include "frontend/lists.h"
#include "machines/machine.h"

namespace tandem::frontend {
namespace {

constexpr std::string_view kJitProperties = "tier, baseline-threshold, llvm-threshold, cache, max-block, verify, stats";
constexpr std::string_view kKvmProperties = "handoff, irqchip, stats";
constexpr std::string_view kLockstepProperties = "a, b, llvm-threshold, dir, stats";

Result<jit::Tier> parse_tier(std::string_view name) {
    constexpr std::pair<std::string_view, jit::Tier> kTiers[] = {{"interp", jit::Tier::Interp},
                                                                 {"baseline", jit::Tier::Baseline},
                                                                 {"llvm", jit::Tier::Llvm},
                                                                 {"auto", jit::Tier::Auto}};
    for (const auto& [text, tier] : kTiers) {
        if (name == text) return tier;
    }
    return invalid(fmt::format("unknown tier '{}' (known: interp, baseline, llvm, auto)", name));
}

using Model = cpu::x86::CpuModel;

Result<accel::KvmOptions::Irqchip> parse_irqchip(std::string_view name) {
    using Irqchip = accel::KvmOptions::Irqchip;
    constexpr std::pair<std::string_view, Irqchip> kChoices[] = {
        {"user", Irqchip::User}, {"split", Irqchip::Split}, {"kernel", Irqchip::Kernel}};
    for (const auto& [text, irqchip] : kChoices) {
        if (name == text) return irqchip;
    }
    return invalid(fmt::format("-accel kvm: irqchip is user, split or kernel, not '{}'", name));
}

// With KVM among the engines that the machine may run on, the guest's processor is what both KVM and the translator can do.
// A host without KVM is told of where KVM is wanted.
Model narrow(const Model& model, const Options& options) {
    const auto names_kvm = [](const PropertyList& p) {
        return p.head == "kvm" || std::ranges::any_of(p.items, [](const auto& item) { return item.second == "kvm"; });
    };
    const bool kvm = std::ranges::any_of(options.accel, names_kvm);
    if (!kvm) return model;
    // A machine that changes to KVM later has the models.
    auto irqchip = accel::KvmOptions::Irqchip::User;
    if (const PropertyList& first = options.accel.front(); first.head == "kvm") {
        const auto named = std::ranges::find(first.items, "irqchip", [](const auto& item) { return item.first; });
        if (named != first.items.end()) {
            if (const auto known = parse_irqchip(named->second)) irqchip = *known;  // create_kvm() refuses others
        }
    }
    const auto narrowed = accel::narrow_to_kvm(model, irqchip);
    if (!narrowed) return model;
    if (const auto lacking = model.beyond(*narrowed); !lacking.empty()) {
        const bool everything = model.name() == "max" || model.name() == "host";
        const auto text = fmt::format("-cpu {}: KVM on this host does not offer {}: the guest goes without", options.cpu,
                                      fmt::join(lacking, ", "));
        everything ? log::info("{}", text) : log::warn("{}", text);
    }
    return *narrowed;
}

accel::EngineChoice jit_choice(const Model& model, const jit::Options& options) {
    return {"jit", [=] { return accel::create_jit_accelerator(model, options); }};
}
accel::EngineChoice kvm_choice(const Model& model, const accel::KvmOptions& options = {}) {
    return {"kvm", [=] { return accel::create_kvm_accelerator(model, options); }};
}

jit::Options default_jit(const Options& options) {
    jit::Options jit;
    jit.log_address_low = options.filter_low;
    jit.log_address_high = options.filter_high;
    return jit;
}

// What -accel jit chooses. `print_statistics` is told apart: it is not the translator's.
Result<jit::Options> parse_jit(PropertyList p, const Options& options, bool& print_statistics) {
    jit::Options jit = default_jit(options);
    TANDEM_TRY_ASSIGN(jit.tier, parse_tier(p.take("tier", "auto")));
    TANDEM_TRY_ASSIGN(const u64 baseline, p.take_number("baseline-threshold", jit.baseline_threshold));
    TANDEM_TRY_ASSIGN(const u64 llvm, p.take_number("llvm-threshold", jit.llvm_threshold));
    TANDEM_TRY_ASSIGN(jit.code_cache_bytes, p.take_number("cache", jit.code_cache_bytes));
    TANDEM_TRY_ASSIGN(const u64 max_block, p.take_number("max-block", jit.max_block_insns));
    TANDEM_TRY_ASSIGN(jit.verify_ir, p.take_bool("verify", false));
    TANDEM_TRY_ASSIGN(print_statistics, p.take_bool("stats", false));
    TANDEM_TRY(p.finish(kJitProperties, "jit"));
    if (max_block < 1 || max_block > 512) return invalid("max-block must be 1 to 512");
    if (jit.code_cache_bytes < (1u << 20) || jit.code_cache_bytes > (1u << 30)) return invalid("cache must be 1M to 1G");
    jit.baseline_threshold = static_cast<u32>(baseline);
    jit.llvm_threshold = static_cast<u32>(llvm);
    jit.max_block_insns = static_cast<u32>(max_block);
    return jit;
}

Result<Engine> create_jit(PropertyList p, const Model& model, const Options& options) {
    Engine engine;
    TANDEM_TRY_ASSIGN(const jit::Options jit, parse_jit(std::move(p), options, engine.print_statistics));
    TANDEM_TRY_ASSIGN(engine.accelerator,
                      accel::create_switch_accelerator({jit_choice(model, jit), kvm_choice(model)}, {0}));
    return engine;
}

// Who executes what KVM cannot: the translator that the machine may change to or, where the guest may use more than its
// model has, one that knows it all. The answer is its place among `choices`, of which the last one is the former.
Result<std::size_t> add_helper(std::vector<accel::EngineChoice>& choices, const Model& model, const Options& options) {
    TANDEM_TRY_ASSIGN(const cpu::ArchModel full, create_model(options));
    const auto found = accel::found_under_kvm(std::get<Model>(full));
    if (!found || found->beyond(model).empty()) return choices.size() - 1;
    choices.push_back(jit_choice(*found, default_jit(options)));
    choices.back().name.clear();
    return choices.size() - 1;
}

Result<Engine> create_kvm(PropertyList p, const Model& model, const Options& options) {
    Engine engine;
    accel::SwitchOptions exchange;
    TANDEM_TRY_ASSIGN(engine.print_statistics, p.take_bool("stats", false));
    TANDEM_TRY_ASSIGN(const bool hand_off, p.take_bool("handoff", true));
    accel::KvmOptions kvm;
    TANDEM_TRY_ASSIGN(kvm.irqchip, parse_irqchip(p.take("irqchip", "user")));
    TANDEM_TRY(p.finish(kKvmProperties, "kvm"));
    std::vector<accel::EngineChoice> choices{kvm_choice(model, kvm), jit_choice(model, default_jit(options))};
    if (hand_off) {
        TANDEM_TRY_ASSIGN(exchange.helper, add_helper(choices, model, options));
    }
    TANDEM_TRY_ASSIGN(engine.accelerator, accel::create_switch_accelerator(std::move(choices), exchange));
    return engine;
}

// AArch64: the translator.
Result<Engine> create_arm64(const cpu::arm64::CpuModel& model, const Options& options) {
    const PropertyList chosen = options.accel.empty() ? PropertyList{} : options.accel.front();
    if (!chosen.head.empty() && chosen.head != "jit" && chosen.head != "tcg") {
        return Error{Errc::Unsupported, fmt::format("-accel {}: AArch64 guests run on jit", chosen.head)};
    }
    Engine engine;
    TANDEM_TRY_ASSIGN(const jit::Options jit, parse_jit(chosen, options, engine.print_statistics));
    TANDEM_TRY_ASSIGN(engine.accelerator, accel::create_jit_accelerator(model, jit));
    engine.model = model;
    return engine;
}

constexpr u32 kLockstepLlvmThreshold = 5'000;

Result<Engine> create_lockstep(PropertyList p, const cpu::x86::CpuModel& model, const Options& options) {
    accel::lockstep::LockstepOptions lockstep;
    const std::string first = p.take("a", "interp"), second = p.take("b", "baseline");
    TANDEM_TRY_ASSIGN(const u64 threshold, p.take_number("llvm-threshold", kLockstepLlvmThreshold));
    lockstep.directory = p.take("dir", "lockstep-difference");
    lockstep.cpu = options.cpu;
    Engine engine;
    TANDEM_TRY_ASSIGN(engine.print_statistics, p.take_bool("stats", false));
    TANDEM_TRY(p.finish(kLockstepProperties, "lockstep"));
    TANDEM_TRY_ASSIGN(lockstep.leader, exact_engine(first, model, static_cast<u32>(threshold)));
    TANDEM_TRY_ASSIGN(lockstep.follower, exact_engine(second, model, static_cast<u32>(threshold)));
    if (first == second) return invalid(fmt::format("-accel lockstep: a and b are both '{}'", first));
    if (lockstep.follower.native) std::swap(lockstep.leader, lockstep.follower);  // it cannot be made to follow
    TANDEM_TRY_ASSIGN(engine.accelerator, accel::lockstep::create_lockstep_accelerator(std::move(lockstep)));
    return engine;
}

struct EngineRow {
    std::string_view name;
    std::string_view properties;
    Result<Engine> (*make)(PropertyList properties, const cpu::x86::CpuModel& model, const Options& options);
};
constexpr EngineRow kEngines[] = {{"jit", kJitProperties, create_jit},
                                  {"tcg", "another name of jit", create_jit},
                                  {"kvm", kKvmProperties, create_kvm},
                                  {"lockstep", kLockstepProperties, create_lockstep}};

Result<Engine> create(const PropertyList& p, const cpu::x86::CpuModel& model, const Options& options) {
    for (const EngineRow& row : kEngines) {
        if (!p.head.empty() && p.head != row.name) continue;
        TANDEM_TRY_ASSIGN(Engine engine, row.make(p, model, options));
        engine.model = model;
        return engine;
    }
    return invalid(fmt::format("unknown accelerator '{}' (known: jit, kvm, lockstep)", p.head));
}

}  // namespace

Result<accel::lockstep::EngineSpec> exact_engine(const std::string& name, const cpu::x86::CpuModel& model,
                                                 u32 llvm_threshold) {
    constexpr std::string_view kKnown[] = {"interp", "baseline", "llvm", "jit", "kvm"};
    if (std::ranges::find(kKnown, name) == std::end(kKnown)) {
        return invalid(fmt::format("lockstep: unknown engine '{}' (known: {})", name, fmt::join(kKnown, ", ")));
    }
    if (name == "kvm") {
        const auto create = [model](u32) -> Result<std::unique_ptr<accel::Accelerator>> {
            TANDEM_TRY_ASSIGN(const Model narrowed, accel::narrow_to_kvm(model));
            return accel::create_kvm_accelerator(narrowed);
        };
        return accel::lockstep::EngineSpec{name, create, true};
    }
    jit::Options jit;
    TANDEM_TRY_ASSIGN(jit.tier, parse_tier(name == "jit" ? "auto" : name));
    jit.llvm_threshold = llvm_threshold;
    jit.count_instructions = true;
    const auto create = [jit, model](u32 max_block) {
        jit::Options own = jit;
        if (max_block != 0) {
            // A short run is to be compiled as what it was taken from was.
            own.max_block_insns = max_block;
            own.llvm_threshold = 1;
        }
        return accel::create_jit_accelerator(model, own);
    };
    return accel::lockstep::EngineSpec{name, create, false};
}

std::string engine_help() {
    std::string text;
    for (const EngineRow& row : kEngines) text += help_line(row.name, row.properties);
    return text;
}

Result<Engine> create_engine(const cpu::ArchModel& arch, const Options& options) {
    if (const auto* arm64 = std::get_if<cpu::arm64::CpuModel>(&arch)) return create_arm64(*arm64, options);
    const Model model = narrow(std::get<Model>(arch), options);
    if (options.accel.empty()) return create({}, model, options);
    std::optional<Error> first;
    for (const PropertyList& p : options.accel) {
        auto engine = create(p, model, options);
        if (engine) {
            if (first) log::warn("{}; going on with -accel {}", first->message, p.head);
            return engine;
        }
        // Another engine may stand in for one that this host lacks, not for one that is misspelled.
        if (engine.error().code == Errc::InvalidArgument) return engine;
        if (!first) first = std::move(engine).error();
    }
    return std::move(*first);
}

}  // namespace tandem::frontend

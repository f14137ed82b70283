// What a vCPU may be on: an engine, several to change between, two in lockstep.
#pragma once

#include "accel/lockstep/lockstep.h"
#include "accel/switch/switch_accelerator.h"
#include "cpu/arch_model.h"
#include "tests/conformance/bench.h"

namespace tandem::tests {

inline cpu::ArchModel model() {
    auto all = cpu::x86::CpuModel::create("max");
    REQUIRE(all.ok());
    if (auto narrowed = accel::narrow_to_kvm(*all)) all = std::move(narrowed);
    return *all;
}

inline accel::lockstep::EngineSpec exact(const char* name, jit::Tier tier) {
    return {name, [tier](u32 max_block) {
                jit::Options options;
                options.tier = tier;
                options.count_instructions = true;
                if (max_block != 0) options.max_block_insns = max_block;
                return accel::create_jit_accelerator(std::get<cpu::x86::CpuModel>(model()), options);
            }};
}

// Which engine a vCPU is on, or which several.
struct Subject {
    const char* name;
    std::function<Result<std::unique_ptr<accel::Accelerator>>()> create;
};
inline std::vector<Subject> subjects() {
    static constexpr const char* kNames[] = {"interp", "baseline", "kvm"};
    std::vector<Subject> all;
    std::vector<accel::EngineChoice> choices;
    for (const Engine engine : engines()) {
        const char* name = kNames[static_cast<unsigned>(engine)];
        all.push_back({name, [engine] { return create_engine(engine); }});
        choices.push_back({name, [engine] { return create_engine(engine); }});
    }
    all.push_back({"switch", [choices] { return accel::create_switch_accelerator(choices, {}); }});
    all.push_back({"lockstep", [] {
                       accel::lockstep::LockstepOptions options;
                       options.leader = exact("interp", jit::Tier::Interp);
                       options.follower = exact("baseline", jit::Tier::Baseline);
                       return accel::lockstep::create_lockstep_accelerator(std::move(options));
                   }});
    return all;
}

}  // namespace tandem::tests

// The engine that -accel asks for.
#pragma once

#include <memory>

#include "accel/accelerator.h"
#include "accel/lockstep/side.h"
#include "cpu/arch_model.h"
#include "frontend/options.h"

namespace tandem::frontend {

struct Engine {
    std::unique_ptr<accel::Accelerator> accelerator;
    // The processors that it provides: those that were asked for, less what an engine lacks that the machine may run on.
    cpu::ArchModel model;
    bool print_statistics = false;
};

// The first of options.accel that this host can provide; that an earlier one failed is logged. Errors name the option. With
// kvm among them the processors are narrowed to what this host's KVM offers, so that the machine may move to it and back.
Result<Engine> create_engine(const cpu::ArchModel& model, const Options& options);

// The engines with their properties.
std::string engine_help();

// The processors that -cpu asks for, as -machine has them.
// For -cpu help: models and features of the machine type's processors.
std::string cpu_help(const std::string& machine_type);
Result<cpu::ArchModel> create_model(const Options& options);

// An engine that counts instructions, as lockstep pairs them: interp, baseline or llvm. InvalidArgument lists them.
Result<accel::lockstep::EngineSpec> exact_engine(const std::string& name, const cpu::x86::CpuModel& model,
                                                 u32 llvm_threshold);

}  // namespace tandem::frontend

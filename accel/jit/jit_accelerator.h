// The translator as an engine, for any guest architecture that binds to it.
#pragma once

#include <memory>

#include "accel/accelerator.h"
#include "accel/jit/jit_vcpu.h"
#include "jit/guest/guest.h"
#include "jit/runtime/translator.h"

namespace tandem::accel {

// What an architecture brings. One per machine.
class JitBinding {
public:
    virtual ~JitBinding() = default;
    [[nodiscard]] virtual const jit::Guest& guest() const = 0;
    // A vCPU that lives no longer than the binding.
    virtual std::unique_ptr<JitVcpu> make_vcpu(unsigned index, ExitHandler& handler) = 0;
};

// Errors as jit::create_translator's.
Result<std::unique_ptr<Accelerator>> create_jit_accelerator(std::unique_ptr<JitBinding> binding,
                                                            const jit::Options& options);

}  // namespace tandem::accel

#include "accel/jit/arm64_jit.h"

#include "accel/jit/arm64_vcpu.h"
#include "cpu/arm64/guest.h"

namespace tandem::accel {
namespace {

class Arm64Binding final : public JitBinding {
public:
    explicit Arm64Binding(const cpu::arm64::CpuModel& model) : model_(model), guest_(cpu::arm64::create_guest(model_)) {}
    [[nodiscard]] const jit::Guest& guest() const override { return *guest_; }
    std::unique_ptr<JitVcpu> make_vcpu(unsigned index, ExitHandler& handler) override {
        return std::make_unique<Arm64JitVcpu>(index, handler, model_, domain_);
    }

private:
    const cpu::arm64::CpuModel model_;
    std::unique_ptr<jit::Guest> guest_;
    ShareableDomain domain_;
};

}  // namespace

Result<std::unique_ptr<Accelerator>> create_jit_accelerator(const cpu::arm64::CpuModel& model, const jit::Options& options) {
    return create_jit_accelerator(std::make_unique<Arm64Binding>(model), options);
}

}  // namespace tandem::accel

#include "accel/jit/x86_jit.h"

#include "accel/jit/x86_vcpu.h"
#include "cpu/x86/guest.h"

namespace tandem::accel {
namespace {

class X86Binding final : public JitBinding {
public:
    explicit X86Binding(const cpu::x86::CpuModel& model)
        : model_(model), guest_(cpu::x86::create_guest(model_, &sought_pc_)) {}
    [[nodiscard]] const jit::Guest& guest() const override { return *guest_; }
    std::unique_ptr<JitVcpu> make_vcpu(unsigned index, ExitHandler& handler) override {
        return std::make_unique<X86JitVcpu>(index, handler, model_, sought_pc_);
    }

private:
    const cpu::x86::CpuModel model_;
    std::atomic<u64> sought_pc_{~u64{0}};
    std::unique_ptr<jit::Guest> guest_;
};

}  // namespace

Result<std::unique_ptr<Accelerator>> create_jit_accelerator(const cpu::x86::CpuModel& model, const jit::Options& options) {
    return create_jit_accelerator(std::make_unique<X86Binding>(model), options);
}

}  // namespace tandem::accel

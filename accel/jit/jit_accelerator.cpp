#include "accel/jit/jit_accelerator.h"

#include <fmt/format.h>

#include <algorithm>

namespace tandem::accel {
namespace {

class JitAccelerator final : public Accelerator, public jit::Bus {
public:
    explicit JitAccelerator(std::unique_ptr<JitBinding> binding) : binding_(std::move(binding)) {}

    Result<void> start(const jit::Options& options) {
        TANDEM_TRY_ASSIGN(auto translator, jit::create_translator(binding_->guest(), *this, options));
        translator_ = std::move(translator);
        return {};
    }

    [[nodiscard]] const Capabilities& capabilities() const override { return capabilities_; }

    Result<void> map_memory(devices::GuestMemory& memory) override {
        memory_ = &memory;
        for (const auto& range : memory.ranges()) {
            TANDEM_TRY(translator_->add_slot({range.gpa, range.size, range.host, range.readonly}));
        }
        memory.set_write_observer([this](u64 gpa, u64 size) { translator_->memory_written(gpa, size); });
        return {};
    }

    Result<std::unique_ptr<Vcpu>> create_vcpu(unsigned index, ExitHandler& handler) override {
        if (std::find(created_.begin(), created_.end(), index) != created_.end()) {
            return Error{Errc::Busy, fmt::format("vCPU {} exists already", index)};
        }
        auto vcpu = binding_->make_vcpu(index, handler);
        TANDEM_TRY_ASSIGN(auto translator, translator_->create_vcpu(vcpu.get()));
        vcpu->attach(std::move(translator));
        created_.push_back(index);
        return std::unique_ptr<Vcpu>(std::move(vcpu));
    }

    void memory_changed() override {
        for (const auto& range : memory_->ranges()) translator_->memory_written(range.gpa, range.size);
    }

    [[nodiscard]] std::string statistics() const override;

    bool mmio_read(void* owner, u64 gpa, unsigned size, u64& value) override {
        return static_cast<JitVcpu*>(owner)->mmio_read(gpa, size, value);
    }
    bool mmio_write(void* owner, u64 gpa, u64 value, unsigned size) override {
        return static_cast<JitVcpu*>(owner)->mmio_write(gpa, value, size);
    }

private:
    const Capabilities capabilities_{"jit", true, false};
    const std::unique_ptr<JitBinding> binding_;
    std::unique_ptr<jit::Translator> translator_;
    const devices::GuestMemory* memory_ = nullptr;
    std::vector<unsigned> created_;
};

std::string JitAccelerator::statistics() const {
    const jit::Statistics s = translator_->statistics();
    const std::pair<const char*, u64> rows[] = {
        {"blocks lifted", s.blocks_lifted},
        {"blocks compiled (baseline)", s.blocks_compiled_baseline},
        {"regions compiled (llvm)", s.regions_compiled_llvm},
        {"guest bytes translated", s.guest_bytes_translated},
        {"generated code bytes", s.code_bytes},
        {"TLB misses", s.tlb_misses},
        {"TLB flushes", s.tlb_flushes},
        {"returns to the dispatcher", s.dispatches},
        {"interpreted instructions", s.interpreted_insns},
        {"blocks invalidated by writes", s.invalidated_blocks},
        {"code cache evictions", s.evictions},
        {"translation time (us)", s.translate_nanoseconds / 1000},
        {"LLVM time (us)", s.llvm_nanoseconds / 1000},
    };
    std::string text;
    for (const auto& [name, value] : rows) text += fmt::format("{:<30}{}\n", name, value);
    return text;
}

}  // namespace

Result<std::unique_ptr<Accelerator>> create_jit_accelerator(std::unique_ptr<JitBinding> binding,
                                                            const jit::Options& options) {
    auto accelerator = std::make_unique<JitAccelerator>(std::move(binding));
    TANDEM_TRY(accelerator->start(options));
    return std::unique_ptr<Accelerator>(std::move(accelerator));
}

}  // namespace tandem::accel

#include "accel/switch/switch_accelerator.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "accel/switch/switch_vcpu.h"
#include "base/log.h"

namespace tandem::accel {
namespace {

// Belongs to the machine's main thread, but for the vCPUs' own threads in run() and step().
class SwitchAccelerator final : public Accelerator {
public:
    SwitchAccelerator(std::vector<EngineChoice> choices, SwitchOptions options)
        : choices_(std::move(choices)), options_(options), engines_(choices_.size()) {}

    Result<void> start() {
        TANDEM_TRY_ASSIGN(engines_[0], choices_[0].create());
        if (!options_.helper || *options_.helper == 0) return {};
        auto helper = choices_[*options_.helper].create();
        if (helper) {
            engines_[*options_.helper] = std::move(*helper);
        } else {
            log::warn("{}; instructions that -accel {} cannot execute end the run", helper.error().message,
                      choices_[0].name);
        }
        return {};
    }

    [[nodiscard]] const Capabilities& capabilities() const override { return engines_[current_]->capabilities(); }

    [[nodiscard]] devices::HostControllers* host_controllers() override { return engines_[current_]->host_controllers(); }

    [[nodiscard]] devices::DoorbellHost* doorbells() override { return engines_[current_]->doorbells(); }

    Result<void> map_memory(devices::GuestMemory& memory) override {
        memory_ = &memory;
        for (const auto& engine : engines_) {
            if (engine) TANDEM_TRY(engine->map_memory(memory));
        }
        return {};
    }

    Result<std::unique_ptr<Vcpu>> create_vcpu(unsigned index, ExitHandler& handler) override {
        handler_ = &handler;
        auto vcpu = std::make_unique<SwitchVcpu>(index, engines_.size(), hand_offs_);
        for (std::size_t i = 0; i < engines_.size(); ++i) {
            if (engines_[i]) TANDEM_TRY(add(*vcpu, i));
        }
        if (options_.helper) {
            vcpu->set_helper(vcpu->on(*options_.helper), capabilities().in_kernel_irqchip);
        }
        vcpus_.push_back(vcpu.get());
        return std::unique_ptr<Vcpu>(std::move(vcpu));
    }

    Result<void> change_engine(std::string_view name) override {
        const auto found = std::find_if(choices_.begin(), choices_.end(), [=](const auto& c) { return c.name == name; });
        if (found == choices_.end() || name.empty()) {
            std::string known;
            for (const auto& c : choices_) {
                if (!c.name.empty()) known += (known.empty() ? "" : ", ") + c.name;
            }
            return Error{Errc::NotFound, fmt::format("unknown accelerator '{}' (known: {})", name, known)};
        }
        const auto next = static_cast<std::size_t>(found - choices_.begin());
        if (next == current_) return {};
        TANDEM_TRY(prepare(next));
        engines_[next]->memory_changed();
        for (std::size_t i = 0; i < vcpus_.size(); ++i) {
            auto changed = vcpus_[i]->change(next);
            if (changed) continue;
            // Those that have gone over come back: the machine stays on one engine.
            while (i-- > 0) TANDEM_TRY(vcpus_[i]->change(current_));
            return std::move(changed).error().context(fmt::format("cannot change to {}", name));
        }
        current_ = next;
        return {};
    }

    [[nodiscard]] std::string statistics() const override {
        std::string text = fmt::format("{:<30}{}\n", "engine", choices_[current_].name);
        if (options_.helper) text += fmt::format("{:<30}{}\n", "instructions handed off", hand_offs_.load());
        return text + engines_[current_]->statistics();
    }

private:
    // The engine and its vCPUs, made when the machine changes to it for the first time.
    Result<void> prepare(std::size_t i) {
        if (!engines_[i]) {
            TANDEM_TRY_ASSIGN(auto engine, choices_[i].create());
            TANDEM_TRY(engine->map_memory(*memory_));
            engines_[i] = std::move(engine);
        }
        for (SwitchVcpu* vcpu : vcpus_) {
            if (!vcpu->has(i)) TANDEM_TRY(add(*vcpu, i));
        }
        return {};
    }

    Result<void> add(SwitchVcpu& vcpu, std::size_t i) {
        TANDEM_TRY_ASSIGN(auto inner, engines_[i]->create_vcpu(vcpu.index(), *handler_));
        return vcpu.add(i, std::move(inner));
    }

    const std::vector<EngineChoice> choices_;
    const SwitchOptions options_;
    std::vector<std::unique_ptr<Accelerator>> engines_;
    std::size_t current_ = 0;
    devices::GuestMemory* memory_ = nullptr;
    ExitHandler* handler_ = nullptr;
    std::vector<SwitchVcpu*> vcpus_;  // the machine's, which live as long as they are used
    std::atomic<u64> hand_offs_{0};
};

}  // namespace

Result<std::unique_ptr<Accelerator>> create_switch_accelerator(std::vector<EngineChoice> choices, SwitchOptions options) {
    auto accelerator = std::make_unique<SwitchAccelerator>(std::move(choices), options);
    TANDEM_TRY(accelerator->start());
    return std::unique_ptr<Accelerator>(std::move(accelerator));
}

}  // namespace tandem::accel

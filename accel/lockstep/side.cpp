#include "accel/lockstep/side.h"

#include <fmt/format.h>

#include "accel/lockstep/investigation.h"
#include "accel/lockstep/latitude.h"

namespace tandem::accel::lockstep {

Result<std::unique_ptr<Side>> Side::create(const EngineSpec& spec, const devices::GuestMemory& memory, u32 max_block) {
    std::unique_ptr<Side> side(new Side());
    TANDEM_TRY(clone(memory, side->memory_));
    TANDEM_TRY_ASSIGN(side->accelerator_, spec.create(max_block));
    TANDEM_TRY(side->accelerator_->map_memory(side->memory_));
    TANDEM_TRY_ASSIGN(side->vcpu_, side->accelerator_->create_vcpu(0, side->replayer_));
    if (spec.native) {
        side->native_ = dynamic_cast<NativeVcpu*>(side->vcpu_.get());
        if (side->native_ == nullptr) return Error{Errc::Unsupported, fmt::format("engine '{}' is not native", spec.name)};
        side->replayer_.follow_native(0);
        TANDEM_TRY(side->native_->take_written(side->pages_));
        side->pages_.clear();
        return side;
    }
    side->exact_ = dynamic_cast<ExactVcpu*>(side->vcpu_.get());
    if (side->exact_ == nullptr) {
        return Error{Errc::Unsupported, fmt::format("engine '{}' does not count instructions", spec.name)};
    }
    side->exact_->track_writes(&side->pages_);
    side->exact_->set_random_source([replayer = &side->replayer_] { return replayer->random(); });
    return side;
}

Side::~Side() {
    if (exact_ != nullptr) exact_->track_writes(nullptr);
}

Result<cpu::x86::State> state_of(Vcpu& vcpu) {
    cpu::ArchState state;
    TANDEM_TRY(vcpu.export_state(state));
    const auto* x86 = std::get_if<cpu::x86::State>(&state);
    if (x86 == nullptr) return Error{Errc::Unsupported, "lockstep compares x86 processors"};
    return *x86;
}

Exit step_whole(Vcpu& vcpu, const cpu::x86::State& state, const devices::GuestMemory& memory) {
    const auto insn = decode_at(state, code_at(state, memory, cpu::x86::kMaxInstructionLength));
    const bool again = insn && repeats(*insn);
    for (;;) {
        Exit exit = vcpu.step();
        if (!again || !std::holds_alternative<DebugExit>(exit) || vcpu.exit_pc() != state.rip) return exit;
    }
}

Result<cpu::x86::State> Side::state() { return state_of(*vcpu_); }

std::vector<u64> Side::written() {
    if (native_ != nullptr) (void)native_->take_written(pages_);  // without a record the other side's pages are compared
    std::vector<u64> pages = pages_;
    pages.insert(pages.end(), replayer_.written().begin(), replayer_.written().end());
    tidy(pages);
    return pages;
}

void Side::forget() {
    if (native_ != nullptr) (void)native_->take_written(pages_);
    pages_.clear();
    if (exact_ != nullptr) exact_->forget_writes();
}

Exit Side::follow(const Journal& journal, u64 count) {
    replayer_.begin(journal, memory_);
    if (native_ != nullptr) {
        Exit exit = RequestedExit{};
        for (u64 i = 0; i < count; ++i) {
            const auto now = state();
            if (!now) return InternalErrorExit{now.error().message};
            exit = step_whole(*vcpu_, *now, memory_);
            // Nothing wakes it, and a step would go on behind the halt.
            if (std::holds_alternative<HaltExit>(exit) || std::holds_alternative<ShutdownExit>(exit)) break;
        }
        return exit;
    }
    Exit last = replayer_.advance(*vcpu_, *exact_, exact_->instructions(), count);
    return last;
}

Result<void> Side::restart(const devices::GuestMemory& memory, const cpu::ArchState& state, const Journal& journal,
                           u64 count) {
    for (const u64 page : written()) copy_page(memory, memory_, page);
    TANDEM_TRY(vcpu_->import_state(state));
    forget();
    (void)follow(journal, count);
    return {};
}

}  // namespace tandem::accel::lockstep

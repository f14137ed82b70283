#include "accel/lockstep/side.h"

#include <fmt/format.h>

namespace tandem::accel::lockstep {

Result<std::unique_ptr<Side>> Side::create(const EngineSpec& spec, const devices::GuestMemory& memory, u32 max_block) {
    std::unique_ptr<Side> side(new Side());
    TANDEM_TRY(clone(memory, side->memory_));
    TANDEM_TRY_ASSIGN(side->accelerator_, spec.create(max_block));
    TANDEM_TRY(side->accelerator_->map_memory(side->memory_));
    TANDEM_TRY_ASSIGN(side->vcpu_, side->accelerator_->create_vcpu(0, side->replayer_));
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

Result<cpu::x86::State> Side::state() { return state_of(*vcpu_); }

std::vector<u64> Side::written() const {
    std::vector<u64> pages = pages_;
    pages.insert(pages.end(), replayer_.written().begin(), replayer_.written().end());
    tidy(pages);
    return pages;
}

void Side::forget() {
    pages_.clear();
    exact_->forget_writes();
}

Exit Side::follow(const Journal& journal, u64 count) {
    replayer_.begin(journal, memory_);
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

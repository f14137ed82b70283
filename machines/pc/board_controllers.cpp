// Interrupt controllers that an engine runs in place of the board's.
#include "machines/pc/board.h"

namespace tandem::machines::pc {

using namespace devices;

ControllerState Board::controller_state() const {
    ControllerState state;
    for (const auto& lapic : lapics) state.lapics.push_back(lapic->save_typed());
    state.ioapic = ioapic->save_typed();
    state.pic = pic->save_typed();
    state.pit = pit_->save_typed();
    return state;
}

void Board::set_host(HostControllers* host) {
    const bool all = host != nullptr && host->all();
    apic_bus.set_host(host);
    pic->set_host(all ? host : nullptr);
    pit_->set_hosted(all);
    for (const auto& lapic : lapics) lapic->host_changed();
}

Result<void> Board::give_controllers(HostControllers* host) {
    if (host == nullptr) return {};
    TANDEM_TRY(host->store(controller_state()));
    set_host(host);
    if (host->all()) host->set_pit_closed(pit_line_.closed());
    return {};
}

Result<void> Board::take_controllers() {
    HostControllers* host = apic_bus.host();
    if (host == nullptr) return {};
    ControllerState state = controller_state();
    const auto fetched = host->fetch(state);
    set_host(nullptr);
    TANDEM_TRY(fetched);
    if (host->all()) {
        TANDEM_TRY(ioapic->restore_typed(state.ioapic));
        TANDEM_TRY(pic->restore_typed(state.pic));
        TANDEM_TRY(pit_->restore_typed(state.pit));
        state.lapics.front().lint[0] = pic->output();
    }
    for (std::size_t i = 0; i < lapics.size(); ++i) TANDEM_TRY(lapics[i]->restore_typed(state.lapics[i]));
    return {};
}

}  // namespace tandem::machines::pc

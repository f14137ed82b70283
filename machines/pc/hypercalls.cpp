#include "machines/pc/hypercalls.h"

namespace tandem::machines::pc {
namespace {

constexpr u64 kVapicPollIrq = 1;  // KVM_HC_VAPIC_POLL_IRQ: only asks for an exit, at which interrupts are looked at

constexpr u64 as_result(GuestError error) { return static_cast<u64>(static_cast<i64>(error)); }

}  // namespace

void handle_hypercall(accel::HypercallExit& call) {
    call.result = call.number == kVapicPollIrq ? 0 : as_result(GuestError::Enosys);
    if (!call.long_mode) call.result &= 0xffffffff;
}

}  // namespace tandem::machines::pc

#include "accel/kvm/doorbells.h"

#include "base/log.h"

namespace tandem::accel::kvm {

std::unique_ptr<Doorbells> Doorbells::create(const Fd& vm) {
    const auto extension = [&](unsigned long capability) {
        const auto answer = TANDEM_KVM(vm, KVM_CHECK_EXTENSION, capability);
        return answer && *answer > 0;
    };
    if (!extension(KVM_CAP_IOEVENTFD)) return nullptr;
    return std::unique_ptr<Doorbells>(new Doorbells(vm, extension(KVM_CAP_IOEVENTFD_ANY_LENGTH)));
}

// Without a length KVM need not know the value, and on VMX not even the instruction.
Result<void> Doorbells::change(Space space, const devices::Doorbell& bell, u32 flags) {
    kvm_ioeventfd request{};
    request.addr = bell.address;
    request.len = bell.value || !any_length_ ? bell.size : 0;
    request.fd = bell.event;
    request.flags = flags;
    if (space == Space::Ports) request.flags |= KVM_IOEVENTFD_FLAG_PIO;
    if (bell.value) {
        request.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
        request.datamatch = *bell.value;
    }
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(vm_, KVM_IOEVENTFD, &request));
    return {};
}

Result<void> Doorbells::add_doorbell(Space space, const devices::Doorbell& bell) { return change(space, bell, 0); }

void Doorbells::remove_doorbell(Space space, const devices::Doorbell& bell) {
    if (auto done = change(space, bell, KVM_IOEVENTFD_FLAG_DEASSIGN); !done)
        log::warn("-accel kvm: {}", done.error().message);
}

}  // namespace tandem::accel::kvm

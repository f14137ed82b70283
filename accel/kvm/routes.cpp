#include "accel/kvm/routes.h"

#include <sys/eventfd.h>

#include <cstring>
#include <mutex>

namespace tandem::accel::kvm {

Result<int> signal_message(const Fd& vm, u64 address, u32 data) {
    kvm_msi message{};
    message.address_lo = static_cast<u32>(address);
    message.address_hi = static_cast<u32>(address >> 32);
    message.data = data;
    return TANDEM_KVM(vm, KVM_SIGNAL_MSI, &message);
}

Result<void> Routes::set_lines(std::vector<kvm_irq_routing_entry> lines) {
    const std::unique_lock guard(lock_);
    lines_ = std::move(lines);
    return apply();
}

Result<void> Routes::apply() {
    std::vector<kvm_irq_routing_entry> all = lines_;
    for (const auto& [message, event] : messages_) {
        kvm_irq_routing_entry e{};
        e.gsi = event.gsi;
        e.type = KVM_IRQ_ROUTING_MSI;
        e.u.msi.address_lo = static_cast<u32>(message.first);
        e.u.msi.address_hi = static_cast<u32>(message.first >> 32);
        e.u.msi.data = message.second;
        all.push_back(e);
    }
    std::vector<u64> raw((sizeof(kvm_irq_routing) + all.size() * sizeof(kvm_irq_routing_entry)) / sizeof(u64) + 1);
    auto* list = new (raw.data()) kvm_irq_routing{};
    list->nr = static_cast<u32>(all.size());
    if (!all.empty()) {
        std::memcpy(reinterpret_cast<char*>(raw.data()) + sizeof(kvm_irq_routing), all.data(),
                    all.size() * sizeof(kvm_irq_routing_entry));
    }
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(vm_, KVM_SET_GSI_ROUTING, list));
    return {};
}

// --- Messages

void Routes::post(u64 address, u32 data) {
    const Message message{address, data};
    if (signal(message)) return;
    if (add(message).ok() && signal(message)) return;
    (void)signal_message(vm_, address, data);
}

bool Routes::signal(const Message& message) {
    const std::shared_lock guard(lock_);
    const auto found = messages_.find(message);
    if (found == messages_.end()) return false;
    const u64 one = 1;
    return ::write(found->second.fd.get(), &one, sizeof one) == sizeof one;
}

Result<void> Routes::add(const Message& message) {
    const std::unique_lock guard(lock_);
    if (messages_.contains(message)) return {};
    if (messages_.size() == kMostMessages) return Error{Errc::Busy, "no more messages"};
    Fd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (fd.get() < 0) return io_error("cannot create an event descriptor");
    kvm_irqfd request{};
    request.fd = static_cast<u32>(fd.get());
    request.gsi = kFirstMessage + static_cast<u32>(messages_.size());
    messages_.emplace(message, Event{request.gsi, std::move(fd)});
    auto done = apply();
    if (done) {
        if (auto added = TANDEM_KVM(vm_, KVM_IRQFD, &request); !added) done = std::move(added).error();
    }
    if (!done) messages_.erase(message);
    return done;
}

// Taking an event away waits for what it has started.
Result<void> Routes::settle() {
    const std::unique_lock guard(lock_);
    if (messages_.empty()) return {};
    for (const auto& [message, event] : messages_) {
        kvm_irqfd request{};
        request.fd = static_cast<u32>(event.fd.get());
        request.gsi = event.gsi;
        request.flags = KVM_IRQFD_FLAG_DEASSIGN;
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(vm_, KVM_IRQFD, &request));
    }
    messages_.clear();
    return apply();
}

}  // namespace tandem::accel::kvm

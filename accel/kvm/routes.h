// KVM's table of interrupt routes (api.rst 4.52 KVM_SET_GSI_ROUTING), and messages that have an event of their own there,
// whose signal sends them (4.75 KVM_IRQFD).
#pragma once

#include <map>
#include <shared_mutex>
#include <utility>
#include <vector>

#include "accel/kvm/kernel.h"

namespace tandem::accel::kvm {

// Sends a message by a call (api.rst 4.70 KVM_SIGNAL_MSI). The answer: how many local APICs took it.
Result<int> signal_message(const Fd& vm, u64 address, u32 data);

// Any thread. `vm` outlives it.
class Routes {
public:
    explicit Routes(const Fd& vm) : vm_(vm) {}
    // Replaces the routes of everything but messages. Their numbers are below kFirstMessage.
    Result<void> set_lines(std::vector<kvm_irq_routing_entry> lines);
    // Sends a message, by its event where it has one or can be given one.
    void post(u64 address, u32 data);
    // Whatever was posted has arrived; no message has an event from then on, until it is posted again.
    Result<void> settle();

    static constexpr u32 kFirstMessage = 64;

private:
    // What a guest may name is bounded: others are sent by a call.
    static constexpr std::size_t kMostMessages = 256;
    using Message = std::pair<u64, u32>;  // address, data
    struct Event {
        u32 gsi = 0;
        Fd fd;
    };
    // False: this message has no event.
    bool signal(const Message& message);
    Result<void> add(const Message& message);
    Result<void> apply();

    const Fd& vm_;
    std::shared_mutex lock_;  // of what follows; shared by those who signal
    std::vector<kvm_irq_routing_entry> lines_;
    std::map<Message, Event> messages_;
};

}  // namespace tandem::accel::kvm

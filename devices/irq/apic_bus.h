// Interrupt messages between local APICs, I/O APICs and MSI sources (Intel SDM volume 3, 10.6 and 10.11).
#pragma once

#include <atomic>
#include <optional>
#include <vector>

#include "devices/fabric/interrupts.h"
#include "devices/fabric/pc_controllers.h"

namespace tandem::devices {

class Lapic;

// Values as in the ICR, the redirection table and MSI data.
enum class DeliveryMode : u8 {
    Fixed = 0,
    LowestPriority = 1,
    Smi = 2,
    Reserved = 3,
    Nmi = 4,
    Init = 5,
    Startup = 6,
    ExtInt = 7
};
enum class Shorthand : u8 { None = 0, Self = 1, AllIncludingSelf = 2, AllExcludingSelf = 3 };

struct ApicMessage {
    static constexpr u32 kBroadcast = ~u32{0};
    u32 destination = 0;  // physical APIC ID or logical destination; kBroadcast: everybody
    bool logical = false;
    DeliveryMode mode = DeliveryMode::Fixed;
    u8 vector = 0;
    bool level = false;  // trigger mode

    // An 8-bit destination field: 0xff is the broadcast of that format.
    static u32 widen(u8 destination) { return destination == 0xff ? kBroadcast : destination; }
};

// Hears of interrupts that a processor has finished (I/O APICs with level-triggered pins).
class EoiListener {
public:
    virtual ~EoiListener() = default;
    virtual void end_of_interrupt(u8 vector) = 0;
};

// Participants are attached while the machine is built and outlive the bus's use. After that every function may be called
// from any thread; there is no lock (contract I8).
class ApicBus final : public MsiSink {
public:
    void attach(Lapic& lapic);
    void attach(EoiListener& listener) { listeners_.push_back(&listener); }

    // Who runs the local APICs in place of the models attached here, or null. While no vCPU runs and no device raises
    // anything.
    void set_host(HostControllers* host) { host_.store(host, std::memory_order_release); }
    [[nodiscard]] HostControllers* host() const { return host_.load(std::memory_order_acquire); }

    // Sends to every addressee, or to one of them for LowestPriority. Delivered when any took it, else Coalesced when any
    // had it pending already. `sender` is needed for shorthands only.
    Delivery send(const ApicMessage& message, Shorthand shorthand = Shorthand::None, const Lapic* sender = nullptr);
    void broadcast_eoi(u8 vector);

    // Address and data in the x86 format (SDM volume 3, 10.11). Other addresses than FEEx_xxxxH are Ignored.
    Delivery deliver_msi(u64 address, u32 data);
    void send_msi(u64 address, u32 data, u16 requester) override;

private:
    // Nothing: no message to APICs.
    static std::optional<ApicMessage> read_msi(u64 address, u32 data);
    Delivery send_to_lowest(const ApicMessage& message);
    static Delivery send_to_host(HostControllers& host, const ApicMessage& message);
    // The only one that a physical destination can address.
    [[nodiscard]] Lapic* find(u32 id) const;

    std::vector<Lapic*> lapics_;
    std::vector<Lapic*> by_id_;  // null where no APIC has the id
    std::vector<EoiListener*> listeners_;
    std::atomic<HostControllers*> host_{nullptr};
};

}  // namespace tandem::devices

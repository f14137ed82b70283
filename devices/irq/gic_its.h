// Interrupt Translation Service of a GICv3 (IHI 0069H, 5.2 to 5.4 and 12.19): turns a device's message into an LPI of a
// processor, by tables in guest memory that software changes with commands.
#pragma once

#include <array>
#include <mutex>
#include <optional>

#include "devices/fabric/guest_memory.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/state.h"
#include "devices/irq/gicv3.h"

namespace tandem::devices {

struct GicItsState {
    static constexpr u32 kVersion = 1;
    bool enabled = false;
    u64 command_base = 0, command_write = 0, command_read = 0;
    std::array<u64, 2> table_base{};  // devices, collections
    void visit(auto& v) {
        v("enabled", enabled);
        v("command_base", command_base);
        v("command_write", command_write);
        v("command_read", command_read);
        v("table_base", table_base);
    }
};

// All tables are read when they are needed, so that memory is all there is to them. A command that makes no sense does
// nothing and is logged. Its lock is taken before the controller's.
class GicIts final : public StatefulDevice<GicItsState>, public IoHandler, public MsiSink {
public:
    static constexpr u64 kFrameSize = 0x20000;

    // `base` is where its frames lie. `gic` and `memory` outlive it.
    GicIts(u64 base, Gicv3& gic, GuestMemory& memory);

    u64 io_read(u64 offset, unsigned size) override;
    void io_write(u64 offset, u64 value, unsigned size) override;
    void send_msi(u64 address, u32 data, u16 requester) override;

    [[nodiscard]] std::string_view name() const override { return "gicv3-its"; }
    void reset() override;

private:
    struct Command {
        std::array<u64, 4> word{};
        [[nodiscard]] u32 device() const { return static_cast<u32>(word[0] >> 32); }
        [[nodiscard]] u32 event() const { return static_cast<u32>(word[1]); }
        [[nodiscard]] u16 collection() const { return static_cast<u16>(word[2]); }
        [[nodiscard]] bool valid() const { return word[2] >> 63 != 0; }
    };
    struct Row {
        u8 number;
        const char* name;
        bool (GicIts::*perform)(const Command& c);
    };
    static std::span<const Row> rows();
    // Where an event leads.
    struct Route {
        u64 entry = 0;  // address of its translation entry
        u32 lpi = 0;
        u16 collection = 0;
        unsigned cpu = 0;
    };

    [[nodiscard]] GicItsState capture() const override;
    Result<void> apply(const GicItsState& state) override;

    // With lock_ held.
    [[nodiscard]] u32 read_word(u64 offset) const;
    void write_word(u64 offset, u32 value, u32 lanes);
    void run_commands();
    void perform(const Command& c);
    [[nodiscard]] std::optional<u64> table_entry(u64 base, u32 id) const;
    [[nodiscard]] std::optional<u64> translation_entry(u32 device, u32 event) const;
    [[nodiscard]] std::optional<unsigned> processor(u16 collection) const;
    [[nodiscard]] std::optional<Route> route(u32 device, u32 event) const;
    [[nodiscard]] u64 load(u64 address) const;
    void store(u64 address, u64 value) { memory_.write(address, &value, sizeof value); }
    [[nodiscard]] u64 queue_bytes() const;
    bool translate(u32 device, u32 event, bool pending);

    bool map_device(const Command& c);
    bool map_collection(const Command& c);
    bool map_translation(const Command& c);
    bool map_interrupt(const Command& c);
    bool map_event(const Command& c, u32 lpi);
    bool move(const Command& c);
    bool move_all(const Command& c);
    bool discard(const Command& c);
    bool invalidate(const Command& c);
    bool invalidate_all(const Command& c);
    bool raise(const Command& c) { return translate(c.device(), c.event(), true); }
    bool clear(const Command& c) { return translate(c.device(), c.event(), false); }
    bool synchronise(const Command&) { return true; }

    const u64 base_;
    Gicv3& gic_;
    GuestMemory& memory_;
    mutable std::mutex lock_;
    GicItsState s_;
};

}  // namespace tandem::devices

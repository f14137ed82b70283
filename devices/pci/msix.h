// MSI-X table and pending bits of one function (PCI Local Bus 3.0, 6.8.2).
#pragma once

#include <mutex>
#include <vector>

#include "devices/fabric/address_space.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/state.h"

namespace tandem::devices::pci {

struct MsixState {
    std::vector<u64> address;
    std::vector<u32> data;
    std::vector<u32> control;
    std::vector<u64> pending;
    void visit(auto& v) {
        v("address", address);
        v("data", data);
        v("control", control);
        v("pending", pending);
    }
};

// Handles the table BAR: entries from offset 0, the pending bit array at pba_offset(). Any thread.
class MsixTable final : public IoHandler {
public:
    explicit MsixTable(unsigned vectors) : entries_(vectors), pending_((vectors + 63) / 64) {}

    static constexpr unsigned kMaxVectors = 2048;
    static constexpr u64 kEntrySize = 16;

    [[nodiscard]] unsigned vectors() const { return static_cast<unsigned>(entries_.size()); }
    [[nodiscard]] u64 pba_offset() const { return vectors() * kEntrySize; }
    // A power of two that holds the table and the pending bits.
    [[nodiscard]] u64 bar_size() const;

    // The sink is set when the function joins a bus.
    void connect(MsiSink* sink, u16 requester);
    // Message Control bits 15 and 14, and whether the function may write to the bus. Pending vectors go out when that
    // unmasks them.
    void set_control(bool enabled, bool function_mask, bool bus_master);
    [[nodiscard]] bool enabled() const;
    // Sends or pends vector `index`. False when MSI-X is off or there is no such vector.
    bool notify(unsigned index);
    void reset();

    u64 io_read(u64 offset, unsigned size) override;
    void io_write(u64 offset, u64 value, unsigned size) override;

    [[nodiscard]] MsixState capture() const;
    // Whether the state is that of a table of this size.
    [[nodiscard]] bool fits(const MsixState& state) const;
    // Takes a state that fits; sends nothing.
    void apply(const MsixState& state);

private:
    struct Entry {
        u64 address = 0;
        u32 data = 0;
        u32 control = 1;  // bit 0: masked
    };
    [[nodiscard]] bool deliverable(unsigned index) const {
        return !function_mask_ && bus_master_ && (entries_[index].control & 1) == 0;
    }
    void flush(unsigned index);
    void flush_all();
    [[nodiscard]] u32 read_dword(u64 offset) const;
    void write_dword(u64 offset, u32 value);

    mutable std::mutex lock_;  // held while a message is sent, so that masking a vector is a barrier
    std::vector<Entry> entries_;
    std::vector<u64> pending_;
    MsiSink* sink_ = nullptr;
    u16 requester_ = 0;
    bool enabled_ = false, function_mask_ = false, bus_master_ = false;
};

}  // namespace tandem::devices::pci

// PCI configuration registers as data: rows say what a guest may change; behaviour hangs on the function that owns the
// space.
#pragma once

#include <array>
#include <span>

#include "base/types.h"

namespace tandem::devices::pci {

struct ConfigField {
    const char* name;
    u16 offset;
    u8 width;  // bytes: 1, 2 or 4
    u32 reset;
    u32 writable;  // bits the guest may change
    u32 w1c = 0;   // bits that writing 1 clears
};

// Little endian, 4 KiB (PCI Express Base 7.2.2); what no row covers reads as zero and ignores writes. Not synchronised.
class ConfigSpace {
public:
    static constexpr u16 kSize = 4096;

    // Adds a row and gives it its reset value. `base` is added to the offset (capabilities).
    void define(const ConfigField& field, u16 base = 0);
    void define(std::span<const ConfigField> fields, u16 base = 0) {
        for (const auto& f : fields) define(f, base);
    }

    // Guest accesses; offset + size <= kSize, size 1, 2 or 4.
    [[nodiscard]] u32 read(u16 offset, unsigned size) const;
    void write(u16 offset, u32 value, unsigned size);
    // The device's own updates ignore masks.
    void set(u16 offset, u32 value, unsigned size);
    void reset() { value_ = reset_; }

    [[nodiscard]] std::span<const u8, kSize> bytes() const { return value_; }
    // Whether a saved image belongs to a function with this one's identity.
    [[nodiscard]] bool matches(std::span<const u8> image) const;
    // Takes the guest-writable bits of an image that matches().
    void load(std::span<const u8> image);

private:
    std::array<u8, kSize> value_{}, reset_{}, writable_{}, w1c_{};
};

// Offsets in every type 0 header (PCI Local Bus 3.0, 6.1).
namespace reg {
constexpr u16 kVendor = 0x00, kDevice = 0x02, kCommand = 0x04, kStatus = 0x06, kRevision = 0x08, kClass = 0x09;
constexpr u16 kHeaderType = 0x0e, kBar0 = 0x10, kSubsystemVendor = 0x2c, kSubsystem = 0x2e, kCapabilities = 0x34;
constexpr u16 kInterruptLine = 0x3c, kInterruptPin = 0x3d;
}  // namespace reg
namespace command {
constexpr u16 kIo = 1u << 0, kMemory = 1u << 1, kBusMaster = 1u << 2, kIntxDisable = 1u << 10;
}  // namespace command
namespace status {
constexpr u16 kInterrupt = 1u << 3, kCapabilityList = 1u << 4;
}  // namespace status

}  // namespace tandem::devices::pci

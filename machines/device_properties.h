// Reads a device's properties off its configuration; what nobody asked for is an error that lists what there is.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "machines/machine.h"

namespace tandem::machines {

struct PropertyRow {
    const char* name;
    const char* help;
};

class DeviceProperties {
public:
    // `rows` are the properties the driver knows. Both outlive this.
    DeviceProperties(const DeviceConfig& device, std::span<const PropertyRow> rows) : device_(device), rows_(rows) {}

    // Unknown and repeated properties, named with the driver. Every device may have an "id".
    [[nodiscard]] Result<void> check() const;
    [[nodiscard]] std::optional<std::string> text(std::string_view name) const;
    // on, off, true, false, yes or no.
    [[nodiscard]] Result<bool> flag(std::string_view name, bool fallback) const;
    // Decimal or 0x hexadecimal within the bounds.
    [[nodiscard]] Result<u64> number(std::string_view name, u64 fallback, u64 lowest, u64 highest) const;

    struct PciAddress {
        unsigned slot = 0;
        unsigned function = 0;
    };
    // "addr": SLOT[.FUNCTION] in hexadecimal.
    [[nodiscard]] Result<std::optional<PciAddress>> pci_address() const;

private:
    const DeviceConfig& device_;
    std::span<const PropertyRow> rows_;
};

}  // namespace tandem::machines

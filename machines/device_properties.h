// Reads a device's properties off its configuration; what nobody asked for is an error that lists what there is.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "machines/machine.h"

namespace tandem::machines {

struct PropertyRow {
    const char* name;
    const char* help;
};

class DeviceProperties {
public:
    using Given = std::vector<std::pair<std::string, std::string>>;
    // `rows` are the properties the driver knows; every device may have an "id" beside them. Both outlive this.
    DeviceProperties(const DeviceConfig& device, std::span<const PropertyRow> rows)
        : owner_("device '" + device.driver + "'"), given_(device.properties), rows_(rows), has_id_(true) {}
    // The same for what is no device; messages begin with `owner`.
    DeviceProperties(std::string owner, const Given& given, std::span<const PropertyRow> rows)
        : owner_(std::move(owner)), given_(given), rows_(rows) {}

    // Unknown and repeated properties, named with their owner.
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
    std::string owner_;
    const Given& given_;
    std::span<const PropertyRow> rows_;
    bool has_id_ = false;
};

}  // namespace tandem::machines

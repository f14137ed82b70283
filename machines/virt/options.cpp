#include "machines/virt/options.h"

#include <array>

#include "machines/device_properties.h"
#include "machines/virt/layout.h"

namespace tandem::machines::virt {
namespace {

constexpr std::array<PropertyRow, 3> kProperties{{
    {"gic-version", "2 (default), 3 or max"},
    {"its", "on (default) or off: message interrupts of a GICv3 by an ITS; off: by a GICv2m frame"},
    {"virtualization", "off (default) or on: the guest has EL2"},
}};
constexpr unsigned kGicv2Cpus = 8;

}  // namespace

std::span<const PropertyRow> machine_properties() { return kProperties; }

Result<VirtOptions> parse_options(std::span<const std::pair<std::string, std::string>> properties, unsigned cpus) {
    const DeviceProperties::Given given(properties.begin(), properties.end());
    const DeviceProperties p("-machine virt", given, kProperties);
    TANDEM_TRY(p.check());
    VirtOptions o;
    const std::string version = p.text("gic-version").value_or("2");
    if (version == "3" || version == "max") {
        o.gic_version = 3;
    } else if (version != "2") {
        return invalid(fmt::format("-machine virt: gic-version={} is not known (2, 3 or max)", version));
    }
    TANDEM_TRY_ASSIGN(o.its, p.flag("its", true));
    TANDEM_TRY_ASSIGN(o.virtualization, p.flag("virtualization", false));
    const unsigned most = o.gic_version == 2 ? kGicv2Cpus : layout::kMaxCpus;
    if (cpus < 1 || cpus > most) {
        return invalid(
            fmt::format("-smp {}: machine 'virt' takes 1 to {} processors with gic-version={}", cpus, most, o.gic_version));
    }
    return o;
}

}  // namespace tandem::machines::virt

// -netdev and -nic.
#include <fmt/format.h>

#include "devices/net/backends.h"
#include "frontend/host_backends.h"
#include "frontend/lists.h"

namespace tandem::frontend {
namespace {

using Opened = Result<std::unique_ptr<devices::NetBackend>>;

std::vector<std::string> take_all(PropertyList& p, std::string_view key) {
    std::vector<std::string> values;
    for (std::string v = p.take(key); !v.empty(); v = p.take(key)) values.push_back(std::move(v));
    return values;
}

constexpr std::string_view kUserProperties =
    "net, host, dns, dhcpstart, hostname, domainname, dnssearch, tftp, bootfile, hostfwd, restrict, ipv4, ipv6";
constexpr std::string_view kTapProperties = "ifname, script, downscript";

// Each takes the properties it knows out of the list.
Opened open_user(PropertyList& p) {
    devices::UserNetOptions o;
    o.net = p.take("net", o.net);
    o.host = p.take("host");
    o.dns = p.take("dns");
    o.dhcp_start = p.take("dhcpstart");
    o.hostname = p.take("hostname");
    o.domain = p.take("domainname");
    o.tftp = p.take("tftp");
    o.boot_file = p.take("bootfile");
    o.dns_search = take_all(p, "dnssearch");
    o.forwards = take_all(p, "hostfwd");
    TANDEM_TRY_ASSIGN(o.restricted, p.take_bool("restrict", false));
    TANDEM_TRY_ASSIGN(o.ipv4, p.take_bool("ipv4", true));
    TANDEM_TRY_ASSIGN(o.ipv6, p.take_bool("ipv6", true));
    TANDEM_TRY(p.finish(kUserProperties, "user"));
    return devices::create_user_network(o);
}

Opened open_tap(PropertyList& p) {
    devices::TapOptions o;
    o.interface = p.take("ifname");
    if (o.interface.empty()) return invalid("tap: needs ifname=NAME");
    const auto script = [&p](const char* key) {
        std::string path = p.take(key, "no");
        return path == "no" ? std::string{} : path;
    };
    o.script = script("script");
    o.down_script = script("downscript");
    TANDEM_TRY(p.finish(kTapProperties, "tap"));
    return devices::create_tap(o);
}

struct KindRow {
    std::string_view name, properties;
    Opened (*open)(PropertyList& p);
};
constexpr KindRow kKinds[] = {{"user", kUserProperties, open_user}, {"tap", kTapProperties, open_tap}};

Opened open_network(PropertyList& p) {
    for (const KindRow& row : kKinds) {
        if (p.head == row.name) return row.open(p);
    }
    return invalid(fmt::format("unknown kind of network '{}' (known: user, tap)", p.head));
}

Result<void> add(std::string option, std::string id, PropertyList p, machines::MachineConfig& config) {
    for (const auto& [other, network] : config.networks) {
        if (other == id) return invalid(fmt::format("{}: the id '{}' is used twice", option, id));
    }
    auto network = open_network(p);
    if (!network) return std::move(network).error().context(option);
    config.networks.emplace_back(std::move(id), std::move(network).value());
    return {};
}

// A network and a card on it in one option.
Result<void> add_nic(PropertyList p, unsigned number, machines::MachineConfig& config) {
    if (p.head == "none") return p.finish("", "-nic none");
    const std::string model = p.take("model", "virtio-net-pci");
    const std::string id = p.take("id", fmt::format("nic{}", number));
    machines::DeviceConfig card{model == "virtio" ? "virtio-net-pci" : model, {{"netdev", id}}};
    if (!card.driver.starts_with("virtio-net")) {
        return invalid(fmt::format("-nic: model '{}' is not supported (known: virtio-net-pci)", model));
    }
    if (std::string mac = p.take("mac"); !mac.empty()) card.properties.emplace_back("mac", std::move(mac));
    TANDEM_TRY(add("-nic", id, std::move(p), config));
    config.devices.push_back(std::move(card));
    return {};
}

}  // namespace

std::string network_help() {
    std::string text;
    for (const KindRow& row : kKinds) text += help_line(row.name, fmt::format("id, {}", row.properties));
    return text;
}

Result<void> open_networks(const Options& options, machines::MachineConfig& config) {
    for (PropertyList p : options.netdevs) {
        std::string id = p.take("id");
        if (id.empty()) return invalid(fmt::format("-netdev {}: needs id=NAME", p.head));
        TANDEM_TRY(add("-netdev", std::move(id), std::move(p), config));
    }
    unsigned number = 0;
    for (const auto& p : options.nics) TANDEM_TRY(add_nic(p, number++, config));
    return {};
}

}  // namespace tandem::frontend

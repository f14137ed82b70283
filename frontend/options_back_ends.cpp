#include "frontend/options_back_ends.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "frontend/host_backends.h"
#include "machines/boot_file.h"

namespace tandem::frontend {

Result<void> add_disk(Options& o, std::string_view value) {
    DriveSpec drive;
    drive.options.file = value;
    o.drives.push_back(std::move(drive));
    return {};
}

Result<void> add_cdrom(Options& o, std::string_view value) {
    TANDEM_TRY(add_disk(o, value));
    o.drives.back().cdrom = true;
    o.drives.back().options.readonly = true;
    return {};
}

Result<void> add_flash(Options& o, std::string_view value) {
    TANDEM_TRY(add_disk(o, value));
    o.drives.back().interface = "pflash";
    return {};
}

Result<void> add_object(Options& o, std::string_view value) {
    struct Absent {
        std::string_view kind, instead;
    };
    static constexpr std::array kAbsent{
        Absent{"iothread", "every device has threads of its own"},
        Absent{"memory-backend-", "guest memory is anonymous and of one node"},
        Absent{"secret", "nothing takes passwords"},
        Absent{"rng-egd", "random numbers are the host's"},
    };
    PropertyList p = parse_properties(value, true);
    const std::string kind = p.take("qom-type", p.head);
    const auto absent = std::ranges::find_if(kAbsent, [&](const Absent& a) { return kind.starts_with(a.kind); });
    if (absent != kAbsent.end()) return Error{Errc::Unsupported, fmt::format("there is no '{}': {}", kind, absent->instead)};
    if (kind != "rng-random" && kind != "rng-builtin") {
        return invalid(fmt::format("unknown kind '{}' (known: rng-random, rng-builtin)", kind));
    }
    const std::string id = p.take("id");
    if (id.empty()) return invalid(fmt::format("{}: needs id=NAME", kind));
    const auto id_of = [](PropertyList other) { return other.take("id"); };
    if (std::ranges::find(o.objects, id, id_of) != o.objects.end())
        return invalid(fmt::format("the id '{}' is used twice", id));
    // Both give the numbers of getrandom(2), which is what the host's random numbers are read by.
    const std::string file = kind == "rng-random" ? p.take("filename", "/dev/urandom") : "/dev/urandom";
    if (file != "/dev/urandom" && file != "/dev/random") {
        return invalid(fmt::format("filename={} is not supported (known: /dev/urandom, /dev/random)", file));
    }
    TANDEM_TRY(p.finish(kind == "rng-random" ? "id, filename" : "id", kind));
    o.objects.push_back({kind, {{"id", id}}});
    return {};
}

Result<void> add_net(Options& o, std::string_view value) {
    PropertyList p = parse_properties(value, true);
    if (p.head.empty()) p.head = p.take("type");
    if (p.head == "none") return p.finish("", "none");
    if (p.head != "nic") {
        o.nets.push_back(std::move(p));
        return {};
    }
    if (std::string mac = p.take("macaddr"); !mac.empty()) p.items.emplace_back("mac", std::move(mac));
    std::string network = p.take("netdev");
    if (network.empty()) {
        o.nets.push_back(std::move(p));
        return {};
    }
    const std::string model = p.take("model", "virtio-net-pci");
    PropertyList card{model == "virtio" ? "virtio-net-pci" : model, {{"netdev", std::move(network)}}};
    if (std::string mac = p.take("mac"); !mac.empty()) card.items.emplace_back("mac", std::move(mac));
    o.devices.push_back(std::move(card));
    return p.finish("netdev, model, macaddr", "nic");
}

Result<void> join_nets(Options& o) {
    if (o.nets.empty()) return {};
    const auto is_card = [](const PropertyList& p) { return p.head == "nic"; };
    const auto card = std::ranges::find_if(o.nets, is_card);
    const auto network = std::ranges::find_if_not(o.nets, is_card);
    if (o.nets.size() != 2 || card == o.nets.end() || network == o.nets.end()) {
        return invalid(
            "-net: one 'nic' and one 'user' or 'tap' belong together (more networks: -nic, or -netdev and -device)");
    }
    PropertyList both = *network;
    both.items.insert(both.items.end(), card->items.begin(), card->items.end());
    o.nics.push_back(std::move(both));
    o.nets.clear();
    return {};
}

Result<void> open_fw_cfg(const Options& options, machines::MachineConfig& config) {
    static constexpr u64 kMost = 64ull << 20;
    static constexpr std::string_view kPrefix = "opt/";  // the rest of the names is the machine's (docs/specs/fw_cfg)
    const auto read = [&config](std::string_view value) -> Result<void> {
        PropertyList p = parse_properties(value, true);
        std::string name = p.take("name", p.head);
        const std::string path = p.take("file"), text = p.take("string");
        TANDEM_TRY(p.finish("name, string, file"));
        if (!name.starts_with(kPrefix)) return invalid(fmt::format("the name '{}' must begin with {}", name, kPrefix));
        if (path.empty() == text.empty()) return invalid(fmt::format("'{}' needs either string=TEXT or file=PATH", name));
        std::vector<u8> bytes(text.begin(), text.end());
        if (!path.empty()) {
            TANDEM_TRY_ASSIGN(bytes, machines::read_file("firmware configuration", path, kMost));
        }
        config.fw_cfg.emplace_back(std::move(name), std::move(bytes));
        return {};
    };
    for (const auto& value : options.fw_cfg) {
        auto done = read(value);
        if (!done) return std::move(done).error().context("-fw_cfg");
    }
    return {};
}

}  // namespace tandem::frontend

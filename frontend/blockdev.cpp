// -blockdev: disks as nodes, each on the one that it names. Every node is put into the words of -drive; one that another
// stands on is part of that one.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "frontend/options.h"

namespace tandem::frontend {
namespace {

using nlohmann::json;

void flatten(const json& tree, const std::string& prefix, PropertyList& out) {
    for (const auto& [key, value] : tree.items()) {
        const std::string name = prefix + key;
        if (value.is_object()) {
            flatten(value, name + ".", out);
        } else if (value.is_boolean()) {
            out.items.emplace_back(name, value.get<bool>() ? "on" : "off");
        } else {
            out.items.emplace_back(name, value.is_string() ? value.get<std::string>() : value.dump());
        }
    }
}

std::string take_driver(PropertyList& p) { return p.take("driver", std::exchange(p.head, {})); }

// What `p` says below `prefix`, as a list of its own.
PropertyList take_below(PropertyList& p, std::string_view prefix) {
    PropertyList inner;
    for (const auto& [key, value] : p.items) {
        if (key.starts_with(prefix)) inner.items.emplace_back(key.substr(prefix.size()), value);
    }
    std::erase_if(p.items, [&](const auto& item) { return item.first.starts_with(prefix); });
    return inner;
}

// Where a protocol node's bytes are, in the words of DriveOptions::file.
Result<std::string> take_place(const std::string& driver, PropertyList& p) {
    if (driver == "file" || driver == "host_device") {
        std::string path = p.take("filename");
        if (path.empty()) return invalid(fmt::format("driver '{}' needs filename=PATH", driver));
        return path;
    }
    json server;
    for (const char* key : {"path", "host", "port"}) {
        if (std::string v = p.take(std::string("server.") + key); !v.empty()) server[key] = std::move(v);
    }
    (void)p.take("server.type");
    json tree{{"driver", "nbd"}, {"server", server}};
    if (std::string name = p.take("export"); !name.empty()) tree["export"] = std::move(name);
    return "json:" + tree.dump();
}

bool is_protocol(const std::string& driver) { return driver == "file" || driver == "host_device" || driver == "nbd"; }

}  // namespace

Result<void> add_blockdev(Options& o, std::string_view value) {
    PropertyList p = parse_properties(value, true);
    if (value.starts_with('{')) {
        const json tree = json::parse(value, nullptr, false);
        if (!tree.is_object()) return invalid("is not a JSON object");
        p = {};
        flatten(tree, "", p);
    }
    const std::string driver = take_driver(p);
    const std::string name = p.take("node-name");
    if (driver.empty() || name.empty()) return invalid("needs driver=DRIVER and node-name=NAME");
    const auto find = [&o](const std::string& node) {
        return std::ranges::find_if(o.drives, [&](const DriveSpec& d) { return d.interface == "none" && d.id == node; });
    };
    if (find(name) != o.drives.end()) return invalid(fmt::format("the node '{}' is there already", name));
    (void)p.take("auto-read-only");
    PropertyList words;
    words.items = {{"if", "none"}, {"id", name}};
    if (is_protocol(driver)) {
        TANDEM_TRY_ASSIGN(std::string place, take_place(driver, p));
        words.items.emplace_back("file", std::move(place));
    } else {
        words.items.emplace_back("format", driver);
        if (const std::string below = p.take("file"); !below.empty()) {
            const auto node = find(below);
            if (node == o.drives.end() || node->options.format != "raw") {
                return invalid(fmt::format("file={}: there is no node of this name that holds a file", below));
            }
            words.items.emplace_back("file", node->options.file);
            // Options of the lower node hold, unless this one has its own.
            if (node->options.readonly) p.items.emplace_back("read-only", "on");
            if (node->options.direct) p.items.emplace_back("cache.direct", "on");
            if (node->options.no_flush) p.items.emplace_back("cache.no-flush", "on");
            if (node->options.io_uring) p.items.emplace_back("aio", "io_uring");
            o.drives.erase(node);
        } else {
            PropertyList inner = take_below(p, "file.");
            TANDEM_TRY_ASSIGN(std::string place, take_place(take_driver(inner), inner));
            (void)inner.take("auto-read-only");
            words.items.emplace_back("file", std::move(place));
            for (auto& item : inner.items) p.items.push_back(std::move(item));
        }
    }
    for (auto& item : p.items) {
        const auto same = [&](const auto& w) { return w.first == item.first; };
        if (std::ranges::none_of(words.items, same)) words.items.push_back(std::move(item));
    }
    TANDEM_TRY_ASSIGN(DriveSpec drive, parse_drive(std::move(words)));
    o.drives.push_back(std::move(drive));
    return {};
}

}  // namespace tandem::frontend

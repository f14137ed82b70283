#include "frontend/host_backends.h"

#include <fmt/format.h>

#include <algorithm>

#include "frontend/lists.h"

namespace tandem::frontend {
namespace {

using devices::CharSpec;

struct ChardevRow {
    std::string_view name;
    CharSpec::Kind kind;
    std::string_view properties;
};
constexpr ChardevRow kChardevs[] = {
    {"null", CharSpec::Kind::Null, "id, mux"},
    {"stdio", CharSpec::Kind::Stdio, "id, mux, signal"},
    {"pty", CharSpec::Kind::Pty, "id, mux"},
    {"file", CharSpec::Kind::File, "id, mux, path, append"},
    {"pipe", CharSpec::Kind::Pipe, "id, mux, path"},
    {"testdev", CharSpec::Kind::Exit, "id"},
    {"socket", CharSpec::Kind::Unix, "id, mux, path | host, port, server, wait, nodelay"},
};

Result<void> parse_socket(PropertyList& p, CharSpec& spec) {
    spec.path = p.take("path");
    spec.host = p.take("host");
    spec.port = p.take("port");
    TANDEM_TRY_ASSIGN(spec.server, p.take_bool("server", false));
    TANDEM_TRY_ASSIGN(spec.wait, p.take_bool("wait", true));
    TANDEM_TRY_ASSIGN(spec.nodelay, p.take_bool("nodelay", false));
    // As in QEMU, "nowait" alone is wait=off.
    TANDEM_TRY_ASSIGN(const bool nowait, p.take_bool("nowait", false));
    if (nowait) spec.wait = false;
    if (spec.path.empty() == spec.port.empty()) return invalid("a socket needs either path=PATH or port=PORT");
    if (!spec.port.empty()) spec.kind = CharSpec::Kind::Tcp;
    return {};
}

}  // namespace

std::string chardev_help() {
    std::string text;
    for (const auto& row : kChardevs) text += help_line(row.name, row.properties);
    return text;
}

Result<NamedCharSpec> parse_chardev(PropertyList p) {
    const auto* row = std::ranges::find(kChardevs, std::string_view(p.head), &ChardevRow::name);
    if (row == std::end(kChardevs)) {
        std::string known;
        for (const auto& r : kChardevs) known += (known.empty() ? "" : ", ") + std::string(r.name);
        return invalid(fmt::format("unknown kind '{}' (known: {})", p.head, known));
    }
    NamedCharSpec named;
    named.id = p.take("id");
    if (named.id.empty()) return invalid(fmt::format("{}: needs id=NAME", p.head));
    named.spec.kind = row->kind;
    if (row->kind != CharSpec::Kind::Exit) {
        TANDEM_TRY_ASSIGN(named.spec.mux, p.take_bool("mux", false));
    }
    switch (row->kind) {
        case CharSpec::Kind::Unix: TANDEM_TRY(parse_socket(p, named.spec)); break;
        case CharSpec::Kind::File: {
            TANDEM_TRY_ASSIGN(named.spec.append, p.take_bool("append", false));
            [[fallthrough]];
        }
        case CharSpec::Kind::Pipe:
            named.spec.path = p.take("path");
            if (named.spec.path.empty()) return invalid(fmt::format("{}: needs path=PATH", p.head));
            break;
        // Ctrl-C reaches the guest, which is what signal=off asks for.
        case CharSpec::Kind::Stdio: (void)p.take("signal"); break;
        default: break;
    }
    TANDEM_TRY(p.finish(row->properties, fmt::format("kind '{}'", p.head)));
    return named;
}

Result<void> open_chardevs(const Options& options, machines::MachineConfig& config, const devices::ConsoleEvents& events) {
    for (const auto& properties : options.chardevs) {
        auto named = parse_chardev(properties);
        if (!named) return std::move(named).error().context("-chardev");
        for (const auto& [id, backend] : config.chardevs) {
            if (id == named->id) return invalid(fmt::format("-chardev: the id '{}' is used twice", id));
        }
        auto backend = devices::create_char_backend(named->spec, events);
        if (!backend) return std::move(backend).error().context(fmt::format("-chardev '{}'", named->id));
        config.chardevs.emplace_back(named->id, std::move(backend).value());
    }
    return {};
}

Result<std::unique_ptr<devices::CharBackend>> open_serial(std::string_view description, machines::MachineConfig& config,
                                                          const devices::ConsoleEvents& events) {
    constexpr std::string_view kReference = "chardev:";
    if (!description.starts_with(kReference)) return devices::create_char_backend(description, events);
    return machines::take_chardev(config, description.substr(kReference.size()));
}

}  // namespace tandem::frontend

// The program: parse, build, run, report.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>

#include "base/log.h"
#include "devices/char/backends.h"
#include "frontend/daemon.h"
#include "frontend/diff_command.h"
#include "frontend/engine.h"
#include "frontend/host_backends.h"
#include "frontend/lists.h"
#include "frontend/monitor/console.h"
#include "frontend/options.h"
#include "frontend/replay_command.h"
#include "frontend/signal_watcher.h"
#include "machines/machine.h"
#include "machines/snapshot/snapshot.h"

namespace tandem::frontend {
namespace {

enum ExitStatus { kSuccess = 0, kUsage = 1, kShutdown = 3, kInternalError = 4, kSignalBase = 128 };

// virtio-X is short for virtio-X-pci.
std::string full_name(const std::string& driver) {
    const bool is_short = driver.starts_with("virtio-") && !driver.ends_with("-pci") && !driver.ends_with("-device");
    return is_short ? driver + "-pci" : driver;
}

// Properties that -global gives to all devices of a kind.
void apply_globals(const Options& options, machines::MachineConfig& config) {
    for (const auto& g : options.globals) {
        bool used = false;
        for (auto& d : config.devices) {
            if (full_name(d.driver) != full_name(g.driver)) continue;
            used = true;
            const auto same = [&](const auto& p) { return p.first == g.property; };
            if (std::ranges::none_of(d.properties, same)) d.properties.emplace_back(g.property, g.value);
        }
        if (!used) log::warn("-global {}.{}: there is no such device", g.driver, g.property);
    }
}

// What each monitor talks through.
struct Consoles {
    struct Stream {
        std::unique_ptr<devices::CharBackend> backend;
        bool interactive = false;
    };
    std::vector<Stream> monitors;
    std::vector<std::string> descriptions;
};

// Whether a person may type at the stream: a terminal, or a pseudo-terminal, of -serial's spelling or a -chardev's.
bool is_interactive(std::string_view spec, const Options& options) {
    constexpr std::string_view kShared = "mon:", kReference = "chardev:";
    if (spec.starts_with(kShared)) spec.remove_prefix(kShared.size());
    if (spec.starts_with(kReference)) {
        spec.remove_prefix(kReference.size());
        const auto id = [](PropertyList p) { return p.take("id"); };
        const auto found = std::ranges::find(options.chardevs, spec, id);
        if (found == options.chardevs.end()) return false;
        spec = found->head;
    }
    return spec == "pty" || (spec == "stdio" && ::isatty(STDIN_FILENO) != 0);
}

Result<void> open_serials(const Options& options, machines::MachineConfig& config, const devices::ConsoleEvents& events,
                          Consoles& consoles) {
    std::vector<std::string> serial = options.serial;
    if (serial.empty() && !options.no_defaults) {
        // A monitor that has the terminal keeps it.
        const bool taken = std::ranges::find(options.monitors, "stdio") != options.monitors.end();
        serial.emplace_back(options.daemonize || taken ? "null" : options.monitors.empty() ? "mon:stdio" : "stdio");
    }
    for (const auto& spec : serial) {
        auto backend = open_serial(spec, config, events);
        if (!backend) return std::move(backend).error().context("-serial");
        const std::unique_ptr<devices::CharBackend> shared = spec.starts_with("mon:") ? std::move(*backend) : nullptr;
        if (shared) {
            *backend = shared->share();
            consoles.monitors.push_back({shared->share(), is_interactive(spec, options)});
        }
        consoles.descriptions.push_back(fmt::format("serial{}: {}", config.serial.size(), spec));
        config.serial.push_back(std::move(backend).value());
    }
    return {};
}

Result<void> open_monitors(const Options& options, machines::MachineConfig& config, const devices::ConsoleEvents& events,
                           Consoles& consoles) {
    for (const auto& spec : options.monitors) {
        if (spec == "none" || spec == "null") continue;
        auto backend = open_serial(spec, config, events);
        if (!backend) return std::move(backend).error().context("-monitor");
        consoles.descriptions.push_back(fmt::format("monitor: {}", spec));
        consoles.monitors.push_back({std::move(backend).value(), is_interactive(spec, options)});
    }
    return {};
}

Result<machines::MachineConfig> configure(const Options& options, const devices::ConsoleEvents& events, Consoles& consoles) {
    machines::MachineConfig config;
    config.type = options.machine;
    config.properties = options.machine_properties;
    config.ram_bytes = options.ram_bytes;
    config.cpus = options.cpus;
    config.kernel = options.kernel;
    config.initrd = options.initrd;
    config.append = options.append;
    config.on_reset = options.no_reboot ? machines::OnGuestReset::End : machines::OnGuestReset::Reset;
    config.firmware = options.firmware;
    config.firmware_directories = options.firmware_directories;
    config.pause_at_shutdown = options.no_shutdown;
    config.start_paused = options.start_paused;
    config.rtc = options.rtc;
    config.boot = options.boot;
    config.on_panic = options.on_panic;
    config.uuid = options.uuid;
    config.smbios = options.smbios;
    TANDEM_TRY(open_drives(options, config));
    TANDEM_TRY(open_chardevs(options, config, events));
    TANDEM_TRY(open_networks(options, config));
    TANDEM_TRY(open_fw_cfg(options, config));
    for (PropertyList object : options.objects) config.random_sources.push_back(object.take("id"));
    for (const auto& d : options.devices) config.devices.push_back({d.head, d.items});
    apply_globals(options, config);
    TANDEM_TRY(open_serials(options, config, events, consoles));
    TANDEM_TRY(open_monitors(options, config, events, consoles));
    if (!options.debug_console.empty()) {
        auto backend = devices::create_char_backend(options.debug_console, events);
        if (!backend) return std::move(backend).error().context("-debugcon");
        config.debug_console = std::move(backend).value();
    }
    return config;
}

// The machine that is running, for those who want it to stop.
class Running {
public:
    void set(machines::Machine* machine) {
        std::lock_guard guard(lock_);
        machine_ = machine;
        if (machine_ != nullptr && quit_) machine_->request_quit();
    }
    void quit() {
        std::lock_guard guard(lock_);
        quit_ = true;
        if (machine_ != nullptr) machine_->request_quit();
    }
    // A machine that is still being built has no guest that could ask.
    void exit(u32 status) {
        std::lock_guard guard(lock_);
        if (machine_ != nullptr) machine_->request_exit(status);
    }

private:
    std::mutex lock_;
    machines::Machine* machine_ = nullptr;
    bool quit_ = false;
};

int report(const machines::Outcome& outcome) {
    using Kind = machines::Outcome::Kind;
    switch (outcome.kind) {
        case Kind::Shutdown:
            log::error("the guest's processor shut down (triple fault): {}", outcome.detail);
            return kShutdown;
        case Kind::Panic: return static_cast<int>(outcome.status);
        case Kind::GuestExit: return static_cast<int>(outcome.status & 0xff);
        case Kind::InternalError: log::error("internal error: {}", outcome.detail); return kInternalError;
        default: return kSuccess;
    }
}

// An option with its properties.
std::string describe(std::string_view option, const PropertyList& p) {
    std::string text = fmt::format("{}: {}", option, p.head);
    for (const auto& [key, value] : p.items) text += fmt::format(",{}={}", key, value);
    return text;
}

MonitorContext monitor_context(const Options& options, machines::Machine& machine, const Consoles& consoles) {
    MonitorContext context{machine, options.name, options.uuid, options.snapshots, {}, consoles.descriptions, {}, 0};
    context.log_categories = options.log_categories;
    for (std::size_t i = 0; i < options.drives.size(); ++i) {
        const auto& d = options.drives[i];
        context.drives.push_back(
            fmt::format("{}: image {}", d.id.empty() ? fmt::format("drive{}", i) : d.id, d.options.file));
    }
    for (const auto& n : options.netdevs) context.networks.push_back(describe("netdev", n));
    for (const auto& n : options.nics) context.networks.push_back(describe("nic", n));
    for (const auto& c : options.chardevs) context.chardevs.push_back(describe("chardev", c));
    return context;
}

using Monitors = std::vector<std::unique_ptr<MonitorConsole>>;

Monitors start_monitors(const Options& options, machines::Machine& machine, Consoles& consoles) {
    Monitors monitors;
    const MonitorContext context = monitor_context(options, machine, consoles);
    for (auto& stream : consoles.monitors) {
        monitors.push_back(std::make_unique<MonitorConsole>(std::move(stream.backend), context, stream.interactive));
    }
    return monitors;
}

Result<void> load_snapshot(const Options& options, machines::Machine& machine) {
    if (options.loadvm.empty()) return {};
    auto path = snapshot_path(options.loadvm, options.snapshots);
    if (!path) return std::move(path).error().context("-loadvm");
    auto loaded = machines::snapshot::restore(machine.parts(), *path);
    if (!loaded) return std::move(loaded).error().context("-loadvm");
    return {};
}

Result<int> run(const Options& options) {
    if (!options.log_file.empty()) TANDEM_TRY(log::set_file(options.log_file));
    log::set_categories(options.log_categories);
    if (options.log_categories != 0 || !options.log_file.empty()) log::set_level(log::Level::Info);
    Daemon daemon;
    if (options.daemonize) {
        TANDEM_TRY_ASSIGN(daemon, Daemon::detach());
    }
    Running running;
    SignalWatcher signals([&](int) { running.quit(); });
    Consoles consoles;
    devices::ConsoleEvents events;
    events.quit = [&] { running.quit(); };
    events.exit = [&](u32 status) { running.exit(status); };
    TANDEM_TRY_ASSIGN(auto config, configure(options, events, consoles));
    TANDEM_TRY_ASSIGN(config.cpu, create_model(options));
    TANDEM_TRY_ASSIGN(auto engine, create_engine(*config.cpu, options));
    config.cpu = engine.model;
    accel::Accelerator& accelerator = *engine.accelerator;
    TANDEM_TRY_ASSIGN(auto machine, machines::create_machine(std::move(config), std::move(engine.accelerator)));
    TANDEM_TRY(load_snapshot(options, *machine));
    TANDEM_TRY_ASSIGN(const PidFile pid_file, PidFile::create(options.pidfile));
    daemon.ready();
    Monitors monitors = start_monitors(options, *machine, consoles);
    running.set(machine.get());
    const machines::Outcome outcome = machine->run();
    running.set(nullptr);
    monitors.clear();
    if (engine.print_statistics) log::write(accelerator.statistics());
    machine.reset();
    const int status = report(outcome);
    if (signals.received() != 0 && status == kSuccess) return kSignalBase + signals.received();
    return status;
}

int fail(const Error& error) {
    log::error("{}", error.message);
    return kUsage;
}

// Nothing that the program opens may become its standard input or output.
void fill_standard_descriptors() {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) std::_Exit(kInternalError);
    }
}

// Whether a line "NAME, NAME  help" of the list is about this driver; virtio-X is short for virtio-X-pci.
bool names(std::string_view line, std::string_view driver) {
    const bool is_virtio = driver.starts_with("virtio-");
    const std::string full = full_name(std::string(driver));
    std::string_view heads = line.substr(0, std::min(line.find("  "), line.find('\n')));
    while (!heads.empty()) {
        const std::size_t end = std::min(heads.find(", "), heads.size());
        const std::string_view name = heads.substr(0, end);
        if (name == driver || (is_virtio && (name == full || name == "every virtio-...-pci"))) return true;
        heads.remove_prefix(std::min(end + 2, heads.size()));
    }
    return false;
}

// The lines of one driver in a list where indented lines belong to what is above them; empty when there is none.
std::string lines_of(const std::string& list, const std::string& driver) {
    std::string text;
    bool wanted = false, found = false;
    const bool mmio = driver.ends_with("-device");
    for (std::size_t at = 0; at < list.size();) {
        const std::size_t end = std::min(list.find('\n', at), list.size() - 1) + 1;
        const std::string_view line = std::string_view(list).substr(at, end - at);
        if (line[0] != ' ') {
            const bool common = line.starts_with("every ");
            wanted = names(line, driver) && !(common && (mmio || !found));
            found = found || wanted;
        }
        if (wanted) text += line;
        at = end;
    }
    return text;
}

int list_devices(const std::string& machine, const std::string& driver) {
    const std::string all = machines::device_help(machine);
    const std::string text = driver.empty() ? all : lines_of(all, driver);
    if (text.empty()) return fail(invalid(fmt::format("-device: unknown device '{}' (-device help lists them)", driver)));
    fmt::print("{}", text);
    return kSuccess;
}

int list_properties(const std::string& machine) {
    const std::string text = machines::machine_property_help(machine);
    if (text.empty()) return fail(invalid(fmt::format("-machine: unknown type '{}' (-machine help lists them)", machine)));
    fmt::print("{}", text);
    return kSuccess;
}

int main(int argc, char** argv) {
    fill_standard_descriptors();
    if (argc > 1 && std::string_view(argv[1]) == "replay") return replay_command({argv + 2, argv + argc});
    if (argc > 1 && std::string_view(argv[1]) == "diff") return diff_command({argv + 2, argv + argc});
    auto options = parse_command_line(argc, argv);
    if (!options) return fail(options.error());
    switch (options->action) {
        case Options::Action::Help: fmt::print("{}", help_text()); return kSuccess;
        case Options::Action::Version: fmt::print("tandem {}\n", TANDEM_VERSION); return kSuccess;
        case Options::Action::ListMachines: fmt::print("{}", machines::machine_help()); return kSuccess;
        case Options::Action::ListProperties: return list_properties(options->machine);
        case Options::Action::ListDevices: return list_devices(options->machine, options->device_query);
        case Options::Action::ListCpus: fmt::print("{}", cpu_help(options->machine)); return kSuccess;
        case Options::Action::Explain: fmt::print("{}", list_of(options->explained).value_or("")); return kSuccess;
        case Options::Action::ListLog: fmt::print("{}", log::categories_help()); return kSuccess;
        case Options::Action::Run: break;
    }
    auto status = run(*options);
    return status ? *status : fail(status.error());
}

}  // namespace
}  // namespace tandem::frontend

// What libraries throw where nothing can be done about it: an output that is full, memory that the host does not have.
int main(int argc, char** argv) try { return tandem::frontend::main(argc, argv); } catch (const std::exception& e) {
    std::fprintf(stderr, "tandem: error: %s\n", e.what());
    return 1;
}

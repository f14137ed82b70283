// The program: parse, build, run, report.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "base/log.h"
#include "cpu/x86/model.h"
#include "devices/char/backends.h"
#include "frontend/engine.h"
#include "frontend/host_backends.h"
#include "frontend/options.h"
#include "frontend/signal_watcher.h"
#include "machines/machine.h"

namespace tandem::frontend {
namespace {

enum ExitStatus { kSuccess = 0, kUsage = 1, kShutdown = 3, kInternalError = 4, kSignalBase = 128 };

Result<void> open_drives(const Options& options, machines::MachineConfig& config) {
    unsigned next = 0;
    for (const auto& d : options.drives) {
        const std::string id = d.id.empty() ? fmt::format("drive{}", next) : d.id;
        ++next;
        for (const auto& [other, backend] : config.drives) {
            if (other == id) return invalid(fmt::format("-drive: the id '{}' is used twice", id));
        }
        auto backend = devices::open_raw({d.file, d.readonly, d.snapshot || options.snapshot});
        if (!backend) return std::move(backend).error().context("-drive");
        if (d.interface == "pflash") {
            config.pflash.push_back(std::move(backend).value());
            continue;
        }
        config.drives.emplace_back(id, std::move(backend).value());
        if (d.interface == "virtio") config.devices.push_back({"virtio-blk-pci", {{"drive", id}}});
    }
    return {};
}

Result<machines::MachineConfig> configure(const Options& options, const devices::ConsoleEvents& events) {
    machines::MachineConfig config;
    config.type = options.machine;
    config.ram_bytes = options.ram_bytes;
    config.cpus = options.cpus;
    config.kernel = options.kernel;
    config.initrd = options.initrd;
    config.append = options.append;
    config.firmware = options.firmware;
    config.firmware_directories = options.firmware_directories;
    config.reboot = !options.no_reboot;
    TANDEM_TRY(open_drives(options, config));
    TANDEM_TRY(open_chardevs(options, config, events));
    TANDEM_TRY(open_networks(options, config));
    for (const auto& d : options.devices) config.devices.push_back({d.head, d.items});
    std::vector<std::string> serial = options.serial;
    if (serial.empty() && !options.no_defaults) serial.emplace_back("stdio");
    for (const auto& spec : serial) {
        auto backend = open_serial(spec, config, events);
        if (!backend) return std::move(backend).error().context("-serial");
        config.serial.push_back(std::move(backend).value());
    }
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
        case Kind::GuestExit: return static_cast<int>(outcome.status & 0xff);
        case Kind::InternalError: log::error("internal error: {}", outcome.detail); return kInternalError;
        default: return kSuccess;
    }
}

Result<int> run(const Options& options) {
    if (!options.log_file.empty()) TANDEM_TRY(log::set_file(options.log_file));
    log::set_categories(options.log_categories);
    if (options.log_categories != 0 || !options.log_file.empty()) log::set_level(log::Level::Info);
    Running running;
    SignalWatcher signals([&](int) { running.quit(); });
    devices::ConsoleEvents events;
    events.quit = [&] { running.quit(); };
    TANDEM_TRY_ASSIGN(auto config, configure(options, events));
    TANDEM_TRY_ASSIGN(auto engine, create_engine(options));
    accel::Accelerator& accelerator = *engine.accelerator;
    TANDEM_TRY_ASSIGN(auto machine, machines::create_machine(std::move(config), std::move(engine.accelerator)));
    running.set(machine.get());
    const machines::Outcome outcome = machine->run();
    running.set(nullptr);
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

int main(int argc, char** argv) {
    fill_standard_descriptors();
    auto options = parse_command_line(argc, argv);
    if (!options) return fail(options.error());
    switch (options->action) {
        case Options::Action::Help: fmt::print("{}", help_text()); return kSuccess;
        case Options::Action::Version: fmt::print("tandem {}\n", TANDEM_VERSION); return kSuccess;
        case Options::Action::ListMachines: fmt::print("{}", machines::machine_help()); return kSuccess;
        case Options::Action::ListDevices: fmt::print("{}", machines::device_help()); return kSuccess;
        case Options::Action::ListCpus: fmt::print("{}", cpu::x86::CpuModel::help()); return kSuccess;
        case Options::Action::ListLog: fmt::print("{}", log::categories_help()); return kSuccess;
        case Options::Action::Run: break;
    }
    auto status = run(*options);
    return status ? *status : fail(status.error());
}

}  // namespace
}  // namespace tandem::frontend

int main(int argc, char** argv) { return tandem::frontend::main(argc, argv); }

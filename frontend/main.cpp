// The program: parse, build, run, report.
#include <fmt/format.h>

#include <cstdio>
#include <mutex>

#include "accel/jit/jit_accelerator.h"
#include "base/log.h"
#include "devices/char/backends.h"
#include "frontend/host_backends.h"
#include "frontend/options.h"
#include "frontend/signal_watcher.h"
#include "machines/machine.h"

namespace tandem::frontend {
namespace {

enum ExitStatus { kSuccess = 0, kUsage = 1, kShutdown = 3, kInternalError = 4, kSignalBase = 128 };

Result<jit::Tier> parse_tier(std::string_view name) {
    constexpr std::pair<std::string_view, jit::Tier> kTiers[] = {{"interp", jit::Tier::Interp},
                                                                 {"baseline", jit::Tier::Baseline},
                                                                 {"llvm", jit::Tier::Llvm},
                                                                 {"auto", jit::Tier::Auto}};
    for (const auto& [text, tier] : kTiers) {
        if (name == text) return tier;
    }
    return invalid(fmt::format("unknown tier '{}' (known: interp, baseline, llvm, auto)", name));
}

struct Engine {
    std::unique_ptr<accel::Accelerator> accelerator;
    bool print_statistics = false;
};

Result<Engine> create_engine(const Options& options) {
    PropertyList p = options.accel;
    if (!p.head.empty() && p.head != "jit" && p.head != "tcg") {
        return invalid(fmt::format("unknown accelerator '{}' (known: jit)", p.head));
    }
    jit::Options jit;
    TANDEM_TRY_ASSIGN(jit.tier, parse_tier(p.take("tier", "auto")));
    TANDEM_TRY_ASSIGN(const u64 baseline, p.take_number("baseline-threshold", jit.baseline_threshold));
    TANDEM_TRY_ASSIGN(const u64 llvm, p.take_number("llvm-threshold", jit.llvm_threshold));
    TANDEM_TRY_ASSIGN(jit.code_cache_bytes, p.take_number("cache", jit.code_cache_bytes));
    TANDEM_TRY_ASSIGN(const u64 max_block, p.take_number("max-block", jit.max_block_insns));
    TANDEM_TRY_ASSIGN(jit.verify_ir, p.take_bool("verify", false));
    Engine engine;
    TANDEM_TRY_ASSIGN(engine.print_statistics, p.take_bool("stats", false));
    TANDEM_TRY(p.finish("jit", "tier, baseline-threshold, llvm-threshold, cache, max-block, verify, stats"));
    if (max_block < 1 || max_block > 512) return invalid("max-block must be 1 to 512");
    if (jit.code_cache_bytes < (1u << 20) || jit.code_cache_bytes > (1u << 30)) return invalid("cache must be 1M to 1G");
    jit.baseline_threshold = static_cast<u32>(baseline);
    jit.llvm_threshold = static_cast<u32>(llvm);
    jit.max_block_insns = static_cast<u32>(max_block);
    jit.log_address_low = options.filter_low;
    jit.log_address_high = options.filter_high;
    auto model = cpu::x86::CpuModel::create(options.cpu);
    if (!model) return std::move(model).error().context("-cpu");
    TANDEM_TRY_ASSIGN(engine.accelerator, accel::create_jit_accelerator(*model, jit));
    return engine;
}

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
    config.reboot = !options.no_reboot;
    TANDEM_TRY(open_drives(options, config));
    TANDEM_TRY(open_chardevs(options, config, events));
    for (const auto& d : options.devices) config.devices.push_back({d.head, d.items});
    std::vector<std::string> serial = options.serial;
    if (serial.empty() && !options.no_defaults) serial.emplace_back("stdio");
    for (const auto& spec : serial) {
        auto backend = open_serial(spec, config, events);
        if (!backend) return std::move(backend).error().context("-serial");
        config.serial.push_back(std::move(backend).value());
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

int main(int argc, char** argv) {
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

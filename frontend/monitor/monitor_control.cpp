// Commands that steer the machine, save it and go back.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/log.h"
#include "devices/virtio/balloon.h"
#include "frontend/monitor/monitor_internal.h"
#include "machines/snapshot/snapshot.h"

namespace tandem::frontend {
namespace {

namespace fs = std::filesystem;
namespace snapshot = machines::snapshot;

constexpr std::string_view kSuffix = ".snapshot";
constexpr u64 kMiB = 1 << 20, kBalloonPage = 4096;

u64 ram_bytes(const machines::MachineParts& parts) {
    u64 sum = 0;
    for (const auto& range : parts.memory.ranges()) sum += range.readonly ? 0 : range.size;
    return sum;
}

Error no_balloon() { return {Errc::NotFound, "there is no balloon (-device virtio-balloon-pci)"}; }

}  // namespace

Result<std::string> snapshot_path(std::string_view name, const std::string& directory) {
    if (name.empty()) return invalid("a snapshot's name is missing");
    if (name.find('/') != std::string_view::npos) return std::string(name);
    if (name.front() == '.' || name.size() > 200) return invalid(fmt::format("'{}' cannot name a snapshot", name));
    if (directory.empty()) {
        return invalid(
            fmt::format("there is no snapshot directory for '{}': start with -snapshots DIR, or give a file's path "
                        "with a slash in it",
                        name));
    }
    return fmt::format("{}/{}{}", directory, name, kSuffix);
}

Monitor::Answer Monitor::stop(Arguments&) {
    context_.machine.pause();
    // The answer comes when it is so.
    TANDEM_TRY(context_.machine.while_stopped([] { return Result<void>{}; }));
    return std::string{};
}

Monitor::Answer Monitor::cont(Arguments&) {
    context_.machine.resume();
    // As for stop: what is asked next sees it. A machine that has ended meanwhile has gone on, too.
    (void)context_.machine.while_stopped([] { return Result<void>{}; });
    return std::string{};
}

Monitor::Answer Monitor::quit(Arguments&) {
    context_.machine.request_quit();
    return std::string{};
}

Monitor::Answer Monitor::system_reset(Arguments&) {
    context_.machine.request_reset();
    return std::string{};
}

Monitor::Answer Monitor::system_powerdown(Arguments&) {
    context_.machine.request_powerdown();
    return std::string{};
}

Monitor::Answer Monitor::nmi(Arguments&) {
    return inspect([this](const machines::MachineParts& parts) -> Answer {
        parts.vcpus[cpu_]->raise_nmi();
        return std::string{};
    });
}

Monitor::Answer Monitor::set_balloon(Arguments& arguments) {
    TANDEM_TRY_ASSIGN(const u64 wanted, number(arguments.expression()));
    return inspect([wanted](const machines::MachineParts& parts) -> Answer {
        if (parts.balloon == nullptr) return no_balloon();
        const u64 all = ram_bytes(parts);
        if (wanted == 0 || wanted > all / kMiB) {
            return invalid(fmt::format("the guest can have 1 to {} MiB, not {}", all / kMiB, wanted));
        }
        parts.balloon->set_target(static_cast<u32>((all - wanted * kMiB) / kBalloonPage));
        return std::string{};
    });
}

Monitor::Answer Monitor::info_balloon(Arguments&) {
    return inspect([](const machines::MachineParts& parts) -> Answer {
        if (parts.balloon == nullptr) return no_balloon();
        // The guest may say anything.
        const u64 all = ram_bytes(parts);
        const auto left = [all](u64 pages) { return (all - std::min(all, pages * kBalloonPage)) / kMiB; };
        std::string text =
            fmt::format("balloon: actual={} wanted={}\n", left(parts.balloon->actual()), left(parts.balloon->target()));
        static constexpr std::array<std::string_view, devices::virtio::Balloon::kStatistics> kNames{
            "swap in",      "swap out",         "major faults", "minor faults",         "free memory",
            "total memory", "available memory", "disk caches",  "huge pages allocated", "huge pages failed"};
        const auto said = parts.balloon->statistics();
        for (std::size_t i = 0; i < kNames.size(); ++i) {
            if ((said.present & 1u << i) != 0) text += fmt::format("{}: {}\n", kNames[i], said.value[i]);
        }
        return text;
    });
}

Monitor::Answer Monitor::choose_cpu(Arguments& arguments) {
    TANDEM_TRY_ASSIGN(const u64 n, number(arguments.expression()));
    const std::size_t count = context_.machine.parts().vcpus.size();
    if (n >= count) return invalid(fmt::format("there is no processor {} (there are 0 to {})", n, count - 1));
    cpu_ = static_cast<unsigned>(n);
    return std::string{};
}

Monitor::Answer Monitor::change_engine(Arguments& arguments) {
    const auto name = arguments.word();
    return inspect([name](const machines::MachineParts& parts) -> Answer {
        if (name.empty()) return fmt::format("{}\n", parts.accelerator.capabilities().name);
        TANDEM_TRY(parts.accelerator.change_engine(name));
        return std::string{};
    });
}

Monitor::Answer Monitor::screendump(Arguments&) {
    return Error{Errc::Unsupported, "there is no screen to dump: this machine has no graphics device"};
}

Monitor::Answer Monitor::set_log(Arguments& arguments) {
    const auto list = arguments.word();
    if (list.empty() || list == "help") return log::categories_help();
    u32 mask = 0;
    if (list != "none") {
        TANDEM_TRY_ASSIGN(mask, log::parse_categories(list));
        log::set_level(log::Level::Info);
    }
    context_.log_categories = mask;
    log::set_categories(mask);
    return std::string{};
}

Monitor::Answer Monitor::set_trace(Arguments& arguments) {
    const auto what = arguments.word();
    const auto state = arguments.word();
    if (what != "exits") return invalid(fmt::format("unknown trace '{}' (known: exits)", what));
    if (state != "on" && state != "off") return invalid("'trace exits' needs on or off");
    context_.log_categories =
        state == "on" ? context_.log_categories | log::Exits : context_.log_categories & ~u32{log::Exits};
    log::set_categories(context_.log_categories);
    return std::string{};
}

Monitor::Answer Monitor::savevm(Arguments& arguments) {
    TANDEM_TRY_ASSIGN(const std::string path, snapshot_path(arguments.word(), context_.snapshots));
    TANDEM_TRY(context_.machine.while_stopped(
        [&] { return snapshot::save(context_.machine.parts(), path, snapshot::Drives::Inside); }));
    return std::string{};
}

Monitor::Answer Monitor::loadvm(Arguments& arguments) {
    TANDEM_TRY_ASSIGN(const std::string path, snapshot_path(arguments.word(), context_.snapshots));
    TANDEM_TRY(snapshot::restore_running(context_.machine, path));
    return std::string{};
}

Monitor::Answer Monitor::delvm(Arguments& arguments) {
    TANDEM_TRY_ASSIGN(const std::string path, snapshot_path(arguments.word(), context_.snapshots));
    // Only what is one: a path may be anything.
    auto header = snapshot::read_header(path);
    if (!header.ok()) return std::move(header).error();
    std::error_code error;
    fs::remove(path, error);
    if (error) return Error{Errc::Io, fmt::format("cannot delete '{}': {}", path, error.message())};
    return std::string{};
}

Monitor::Answer Monitor::migrate(Arguments& arguments) {
    std::string_view target = arguments.word();
    if (target == "-d") target = arguments.word();
    constexpr std::string_view kFile = "file:";
    if (!target.starts_with(kFile) || target.size() == kFile.size()) {
        return invalid(fmt::format("cannot migrate to '{}' (known: file:PATH)", target));
    }
    context_.machine.pause();
    TANDEM_TRY(context_.machine.while_stopped([&] {
        return snapshot::save(context_.machine.parts(), std::string(target.substr(kFile.size())), snapshot::Drives::Outside);
    }));
    return std::string("The machine is saved and paused; end it with 'quit' and go on with -loadvm.\n");
}

Monitor::Answer Monitor::info_snapshots(Arguments&) {
    if (context_.snapshots.empty()) return invalid("there is no snapshot directory (-snapshots DIR)");
    std::error_code error;
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(context_.snapshots, error)) {
        if (entry.path().extension() == kSuffix) files.push_back(entry.path());
    }
    if (error) return Error{Errc::Io, fmt::format("cannot read '{}': {}", context_.snapshots, error.message())};
    std::ranges::sort(files);
    std::string text = files.empty() ? "There are no snapshots.\n"
                                     : fmt::format("{:<20} {:>9}  {:<19}  {}\n", "NAME", "SIZE", "DATE", "GUEST TIME");
    for (const auto& file : files) {
        const auto header = snapshot::read_header(file.string());
        if (!header.ok()) {
            text += fmt::format("{:<20} unusable: {}\n", file.stem().string(), header.error().message);
            continue;
        }
        const u64 s = header->guest_ns / 1'000'000'000;
        text += fmt::format("{:<20} {:>5} MiB  {:%Y-%m-%d %H:%M:%S}  {:02}:{:02}:{:02}.{:03}\n", file.stem().string(),
                            fs::file_size(file, error) >> 20, fmt::localtime(static_cast<std::time_t>(header->saved_at)),
                            s / 3600, s / 60 % 60, s % 60, header->guest_ns / 1'000'000 % 1000);
    }
    return text;
}

Monitor::Answer Monitor::info_status(Arguments&) {
    const auto state = context_.machine.state();
    return fmt::format("VM status: {}\n", machines::run_state_name(state));
}

Monitor::Answer Monitor::info_name(Arguments&) { return context_.name + "\n"; }

Monitor::Answer Monitor::info_uuid(Arguments&) {
    return (context_.uuid.empty() ? "00000000-0000-0000-0000-000000000000" : context_.uuid) + "\n";
}

Monitor::Answer Monitor::info_version(Arguments&) { return std::string("tandem " TANDEM_VERSION "\n"); }

Monitor::Answer Monitor::info_block(Arguments&) {
    return inspect([this](const machines::MachineParts& parts) -> Answer {
        std::string text;
        for (const auto& line : context_.drives) text += line + "\n";
        for (const auto& d : parts.drives) {
            const char* kept = d.backend->holds_changes() ? "changes are kept apart and are part of a snapshot"
                               : d.backend->readonly()    ? "read-only"
                                                          : "written directly; not part of a snapshot, savevm is refused";
            text += fmt::format("{}: {} bytes, {}\n", d.name, d.backend->size_bytes(), kept);
        }
        return text.empty() ? std::string("There are no drives.\n") : text;
    });
}

Monitor::Answer Monitor::info_chardev(Arguments&) {
    std::string text;
    for (const auto& line : context_.chardevs) text += line + "\n";
    return text.empty() ? std::string("There are no character streams.\n") : text;
}

Monitor::Answer Monitor::info_jit(Arguments&) {
    return inspect([](const machines::MachineParts& parts) -> Answer { return parts.accelerator.statistics(); });
}

}  // namespace tandem::frontend

#include "frontend/options.h"

#include <fmt/format.h>

#include <array>

#include "base/log.h"

namespace tandem::frontend {
namespace {

using Action = Options::Action;

struct OptionRow {
    const char* name;
    const char* argument;  // null: takes none
    const char* help;
    Result<void> (*apply)(Options& o, std::string_view value);
};

// ",help" and ",?" ask for a list instead.
bool asks_help(std::string_view value) { return value == "help" || value == "?"; }

Result<void> set_machine(Options& o, std::string_view value) {
    if (asks_help(value)) {
        o.action = Action::ListMachines;
        return {};
    }
    PropertyList p = parse_properties(value, true);
    const std::string type = p.take("type", p.head);
    if (!type.empty()) o.machine = type;
    if (const std::string engines = p.take("accel"); !engines.empty()) {
        for (std::size_t at = 0; at <= engines.size();) {
            const std::size_t end = std::min(engines.find(':', at), engines.size());
            o.accel.push_back(parse_properties(engines.substr(at, end - at), true));
            at = end + 1;
        }
    }
    return p.finish("-machine", "type, accel");
}

Result<void> set_accel(Options& o, std::string_view value) {
    o.accel.push_back(parse_properties(value, true));
    return {};
}

Result<void> set_cpu(Options& o, std::string_view value) {
    if (asks_help(value)) o.action = Action::ListCpus;
    o.cpu = value;
    return {};
}

Result<void> set_smp(Options& o, std::string_view value) {
    PropertyList p = parse_properties(value, true);
    const std::string count = p.take("cpus", p.head);
    TANDEM_TRY_ASSIGN(const u64 n, parse_size(count));
    if (n < 1 || n > 255) return invalid(fmt::format("{} processors: must be 1 to 255", n));
    o.cpus = static_cast<unsigned>(n);
    return p.finish("-smp", "cpus");
}

Result<void> set_memory(Options& o, std::string_view value) {
    PropertyList p = parse_properties(value, true);
    std::string size = p.take("size", p.head);
    // A bare number is in MiB, as in QEMU.
    if (!size.empty() && size.find_first_not_of("0123456789") == std::string::npos) size += 'M';
    TANDEM_TRY_ASSIGN(o.ram_bytes, parse_size(size));
    return p.finish("-m", "size");
}

Result<void> add_drive(Options& o, std::string_view value) {
    PropertyList p = parse_properties(value, false);
    DriveSpec d;
    d.file = p.take("file");
    d.id = p.take("id");
    d.interface = p.take("if", "virtio");
    const std::string format = p.take("format", "raw");
    TANDEM_TRY_ASSIGN(d.readonly, p.take_bool("readonly", false));
    TANDEM_TRY_ASSIGN(d.snapshot, p.take_bool("snapshot", false));
    if (d.file.empty()) return invalid("a drive needs file=PATH");
    if (format != "raw") return invalid(fmt::format("format '{}' is not supported (known: raw)", format));
    if (d.interface != "virtio" && d.interface != "none" && d.interface != "pflash") {
        return invalid(fmt::format("if={} is not supported (known: virtio, none, pflash)", d.interface));
    }
    if (d.interface == "none" && d.id.empty())
        return invalid("a drive with if=none needs id=NAME for a -device to refer to");
    TANDEM_TRY(p.finish("-drive", "file, id, if, format, readonly, snapshot"));
    o.drives.push_back(std::move(d));
    return {};
}

Result<void> add_device(Options& o, std::string_view value) {
    if (asks_help(value)) {
        o.action = Action::ListDevices;
        return {};
    }
    PropertyList p = parse_properties(value, true);
    if (p.head.empty()) p.head = p.take("driver");
    if (p.head.empty()) return invalid("names no device (see -device help)");
    o.devices.push_back(std::move(p));
    return {};
}

Result<void> set_display(Options&, std::string_view value) {
    if (value == "none") return {};
    return invalid(fmt::format("display '{}' is not supported (known: none)", value));
}

Result<void> set_vnc(Options&, std::string_view value) {
    if (value == "none") return {};
    return invalid(fmt::format("VNC display '{}' is not supported (known: none)", value));
}

Result<void> set_categories(Options& o, std::string_view value) {
    if (asks_help(value)) {
        o.action = Action::ListLog;
        return {};
    }
    TANDEM_TRY_ASSIGN(const u32 mask, log::parse_categories(value));
    o.log_categories |= mask;
    return {};
}

Result<void> set_filter(Options& o, std::string_view value) {
    const auto dots = value.find("..");
    if (dots == std::string_view::npos) return invalid("expected LOW..HIGH guest addresses");
    TANDEM_TRY_ASSIGN(o.filter_low, parse_size(value.substr(0, dots)));
    TANDEM_TRY_ASSIGN(o.filter_high, parse_size(value.substr(dots + 2)));
    if (o.filter_low > o.filter_high) return invalid("the range is empty");
    return {};
}

Result<void> set_trace(Options& o, std::string_view value) {
    if (value != "exits") return invalid(fmt::format("unknown trace '{}' (known: exits)", value));
    o.log_categories |= log::Exits;
    return {};
}

template <auto Member>
Result<void> set_text(Options& o, std::string_view value) {
    o.*Member = std::string(value);
    return {};
}

template <auto Member>
Result<void> set_flag(Options& o, std::string_view) {
    o.*Member = true;
    return {};
}

template <Action A>
Result<void> set_action(Options& o, std::string_view) {
    o.action = A;
    return {};
}

template <auto Member>
Result<void> add_properties(Options& o, std::string_view value) {
    (o.*Member).push_back(parse_properties(value, true));
    return {};
}

Result<void> set_net(Options&, std::string_view value) {
    if (value == "none") return {};
    return invalid(fmt::format("'{}' is not supported: use -nic or -netdev with -device (known: none)", value));
}

Result<void> add_serial(Options& o, std::string_view value) {
    o.serial.emplace_back(value);
    return {};
}

Result<void> add_directory(Options& o, std::string_view value) {
    o.firmware_directories.emplace_back(value);
    return {};
}

constexpr std::array kRows{
    OptionRow{"machine", "TYPE[,accel=NAME]", "Board to emulate; 'help' lists them.", set_machine},
    OptionRow{
        "accel", "NAME[,PROP=VALUE...]",
        "Engine: kvm, or jit (also called tcg) with tier=interp|baseline|llvm|auto, baseline-threshold=N, "
        "llvm-threshold=N, cache=SIZE, max-block=N, verify=on|off; either with stats=on|off. A second -accel stands in "
        "where the host lacks the first.",
        set_accel},
    OptionRow{"cpu", "MODEL[,+FEATURE][,-FEATURE]", "CPU model and single features; 'help' lists them.", set_cpu},
    OptionRow{"smp", "N", "Number of processors.", set_smp},
    OptionRow{"m", "SIZE", "Guest memory, in MiB unless suffixed with K, M, G or T (default 128M).", set_memory},
    OptionRow{"kernel", "FILE", "Kernel to boot: bzImage, multiboot, or ELF with a PVH entry.", set_text<&Options::kernel>},
    OptionRow{"initrd", "FILE", "Initial RAM disk for the kernel; for multiboot and PVH modules: 'FILE ARGS,FILE ARGS...'.",
              set_text<&Options::initrd>},
    OptionRow{"append", "TEXT", "Kernel command line.", set_text<&Options::append>},
    OptionRow{"bios", "FILE", "Firmware to start, by path or name; the default without -kernel is SeaBIOS's bios-256k.bin.",
              set_text<&Options::firmware>},
    OptionRow{"L", "DIRECTORY", "Where to look for firmware first.", add_directory},
    OptionRow{"debugcon", "stdio|null|file:PATH|...", "Where firmware's debug port (0x402, and 0xe9) leads.",
              set_text<&Options::debug_console>},
    OptionRow{"drive", "file=PATH[,id=ID][,if=virtio|none|pflash][,format=raw][,readonly=on][,snapshot=on]",
              "Disk image; with if=virtio (the default) it appears as a virtio-blk device. if=pflash: firmware, then its "
              "variables.",
              add_drive},
    OptionRow{"device", "DRIVER[,PROP=VALUE...]", "Adds a device; 'help' lists them.", add_device},
    OptionRow{"snapshot", nullptr, "Writes of all drives go to temporary files that are gone at exit.",
              set_flag<&Options::snapshot>},
    OptionRow{"chardev", "KIND,id=ID[,PROP=VALUE...]",
              "Host end of a character stream: null, stdio, pty, file,path=PATH, pipe,path=PATH, socket,path=PATH or "
              "socket,host=HOST,port=PORT with server=on|off,wait=on|off.",
              add_properties<&Options::chardevs>},
    OptionRow{"netdev", "user|tap,id=ID[,PROP=VALUE...]",
              "Network for a -device virtio-net-pci,netdev=ID: user (NAT; hostfwd=tcp:[HOST]:PORT-[GUEST]:PORT, net=, "
              "restrict=on, ...) or tap,ifname=NAME.",
              add_properties<&Options::netdevs>},
    OptionRow{"nic", "user|tap|none[,model=virtio-net-pci][,mac=MAC][,PROP=VALUE...]",
              "The same with its card in one option. Without -nic and -netdev there is no network.",
              add_properties<&Options::nics>},
    OptionRow{"net", "none", "No network, which is the default.", set_net},
    OptionRow{"serial", "stdio|null|pty|file:PATH|pipe:PATH|unix:PATH|tcp:HOST:PORT|chardev:ID",
              "Where a serial port leads; the first is ttyS0.", add_serial},
    OptionRow{"nographic", nullptr, "No window: ttyS0 is the terminal. Ctrl-A x ends the machine, Ctrl-A h helps.",
              set_flag<&Options::nographic>},
    OptionRow{"display", "none", "Window to show the guest's screen in; only 'none' so far.", set_display},
    OptionRow{"vnc", "none", "Remote display; only 'none'.", set_vnc},
    OptionRow{"nodefaults", nullptr, "No devices but those asked for: without -serial no serial port.",
              set_flag<&Options::no_defaults>},
    OptionRow{"no-reboot", nullptr, "A guest reset ends the program instead of starting over.",
              set_flag<&Options::no_reboot>},
    OptionRow{"d", "CATEGORY[,...]", "Logs what is named; 'help' lists the categories.", set_categories},
    OptionRow{"dfilter", "LOW..HIGH", "Limits -d in_asm, ir, ir_opt, llvm and out_asm to code in this address range.",
              set_filter},
    OptionRow{"D", "FILE", "Writes the log to a file instead of the terminal.", set_text<&Options::log_file>},
    OptionRow{"trace", "exits", "One line per exit from the engine, in the form of KVM's tracepoints.", set_trace},
    OptionRow{"version", nullptr, "Prints the version and ends.", set_action<Action::Version>},
    OptionRow{"help", nullptr, "Prints this text and ends.", set_action<Action::Help>},
    OptionRow{"h", nullptr, "Same as -help.", set_action<Action::Help>},
};

}  // namespace

Result<Options> parse_command_line(int argc, const char* const* argv) {
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word.size() < 2 || word[0] != '-') {
            return invalid(fmt::format("unexpected argument '{}' (disks are given with -drive file=PATH)", word));
        }
        const std::string_view name = word.substr(word[1] == '-' ? 2 : 1);
        const OptionRow* row = nullptr;
        for (const auto& candidate : kRows) {
            if (name == candidate.name) row = &candidate;
        }
        if (row == nullptr) return invalid(fmt::format("unknown option '{}' (--help lists the known ones)", word));
        std::string_view value;
        if (row->argument != nullptr) {
            if (i + 1 >= argc) return invalid(fmt::format("-{} needs an argument: {}", row->name, row->argument));
            value = argv[++i];
        }
        auto applied = row->apply(options, value);
        if (!applied) return std::move(applied).error().context(fmt::format("-{}", row->name));
    }
    return options;
}

std::string help_text() {
    std::string text = "Usage: tandem [OPTION...]\nA full-system emulator for x86-64 guests.\n\n";
    for (const auto& row : kRows) {
        std::string left = fmt::format("  -{}", row.name);
        if (row.argument != nullptr) left += fmt::format(" {}", row.argument);
        text +=
            left.size() < 30 ? fmt::format("{:<30}{}\n", left, row.help) : fmt::format("{}\n{:<30}{}\n", left, "", row.help);
    }
    text +=
        "\nExit status: 0 the guest powered off, or the user quit; 1 wrong usage or an unusable file; 3 the guest's "
        "processor shut\n"
        "down (triple fault); 4 an internal error; 130 and 143 after SIGINT and SIGTERM; with -device\n"
        "isa-debug-exit, what the guest says.\n"
        "\nExample:\n  tandem -nographic -m 512 -kernel vmlinuz -initrd initrd -append 'console=ttyS0'\n";
    return text;
}

}  // namespace tandem::frontend

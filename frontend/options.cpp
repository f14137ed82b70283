#include "frontend/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "base/log.h"
#include "frontend/absent_options.h"
#include "frontend/config_file.h"
#include "frontend/lists.h"
#include "frontend/options_back_ends.h"
#include "frontend/options_platform.h"

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
bool is_query(const std::pair<std::string, std::string>& item) { return asks_help(item.first) && item.second == "on"; }

Result<void> set_machine(Options& o, std::string_view value) {
    if (asks_help(value)) {
        o.action = Action::ListMachines;
        return {};
    }
    PropertyList p = parse_properties(value, true);
    const std::string type = p.take("type", p.head);
    if (!type.empty()) o.machine = type;
    if (std::erase_if(p.items, is_query) != 0) o.action = Action::ListProperties;
    if (const std::string engines = p.take("accel"); !engines.empty()) {
        for (std::size_t at = 0; at <= engines.size();) {
            const std::size_t end = std::min(engines.find(':', at), engines.size());
            o.accel.push_back(parse_properties(engines.substr(at, end - at), true));
            at = end + 1;
        }
    }
    // The machine knows its properties.
    o.machine_properties.insert(o.machine_properties.end(), p.items.begin(), p.items.end());
    return {};
}

Result<void> set_accel(Options& o, std::string_view value) {
    PropertyList p = parse_properties(value, true);
    if (p.head.empty()) p.head = p.take("accel");
    o.accel.push_back(std::move(p));
    return {};
}

Result<void> enable_kvm(Options& o, std::string_view) { return set_accel(o, "kvm"); }

Result<void> set_cpu(Options& o, std::string_view value) {
    if (asks_help(value)) o.action = Action::ListCpus;
    o.cpu = value;
    return {};
}

Result<void> set_smp(Options& o, std::string_view value) {
    PropertyList p = parse_properties(value, true);
    const std::string count = p.take("cpus", p.head);
    constexpr u64 kMost = 1024;
    std::array<u64, 3> level{};  // 0: to be derived
    static constexpr std::array kLevels{"sockets", "cores", "threads"};
    for (std::size_t i = 0; i < kLevels.size(); ++i) {
        TANDEM_TRY_ASSIGN(level[i], p.take_number(kLevels[i], 0));
        if (level[i] > kMost) return invalid(fmt::format("{}={}: must be 1 to {}", kLevels[i], level[i], kMost));
    }
    auto& [sockets, cores, threads] = level;
    u64 n = 0;
    if (!count.empty()) {
        TANDEM_TRY_ASSIGN(n, parse_size(count));
        if (n < 1 || n > kMost) return invalid(fmt::format("'{}': must be 1 to {} processors", value, kMost));
    }
    TANDEM_TRY_ASSIGN(const u64 most, p.take_number("maxcpus", n));
    TANDEM_TRY(p.finish("cpus, maxcpus, sockets, cores, threads"));
    const auto or_one = [](u64 x) { return std::max(x, u64{1}); };
    if (n == 0) n = or_one(sockets) * or_one(cores) * or_one(threads);
    // What is left open: cores first, then sockets, then threads.
    if (cores == 0) {
        cores = or_one(n / (or_one(sockets) * or_one(threads)));
    } else if (sockets == 0) {
        sockets = or_one(n / (cores * or_one(threads)));
    } else if (threads == 0) {
        threads = or_one(n / (cores * sockets));
    }
    sockets = or_one(sockets), threads = or_one(threads);
    if (sockets * cores * threads != n) {
        return invalid(fmt::format("'{}': {} sockets of {} cores of {} threads are not {} processors", value, sockets, cores,
                                   threads, n));
    }
    if (most != 0 && most != n) {
        return invalid(fmt::format("maxcpus={}: processors cannot be added later, so it must be {}", most, n));
    }
    o.cpus = static_cast<unsigned>(n);
    o.topology = {static_cast<u32>(sockets), static_cast<u32>(cores), static_cast<u32>(threads)};
    return {};
}

Result<void> set_memory(Options& o, std::string_view value) {
    PropertyList p = parse_properties(value, true);
    std::string size = p.take("size", p.head);
    // A bare number is in MiB, as in QEMU.
    if (!size.empty() && size.find_first_not_of("0123456789.") == std::string::npos) size += 'M';
    TANDEM_TRY_ASSIGN(o.ram_bytes, parse_size(size));
    return p.finish("size");
}

Result<void> add_drive(Options& o, std::string_view value) {
    TANDEM_TRY_ASSIGN(DriveSpec drive, parse_drive(parse_properties(value, false)));
    o.drives.push_back(std::move(drive));
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
    if (std::ranges::any_of(p.items, is_query)) {
        o.action = Action::ListDevices;
        o.device_query = p.head;
        return {};
    }
    o.devices.push_back(std::move(p));
    return {};
}

// What the machine does not have, and may be told so.
Result<void> only_none(Options&, std::string_view value) {
    if (value == "none") return {};
    return invalid(fmt::format("'{}' is not supported (known: none)", value));
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

// `Kind` is the key of the first word, which may have none.
template <auto Member, const char* Kind>
Result<void> add_properties(Options& o, std::string_view value) {
    PropertyList p = parse_properties(value, true);
    if (p.head.empty()) p.head = p.take(Kind);
    (o.*Member).push_back(std::move(p));
    return {};
}
constexpr char kBackend[] = "backend", kType[] = "type";

template <auto Member>
Result<void> add_text(Options& o, std::string_view value) {
    (o.*Member).emplace_back(value);
    return {};
}

Result<void> add_directory(Options& o, std::string_view value) {
    o.firmware_directories.emplace_back(value);
    return {};
}

// Its argument has been replaced by what is in the file before options are looked at.
Result<void> read_config(Options&, std::string_view) { return invalid("needs a file"); }

Result<void> set_name(Options& o, std::string_view value) {
    PropertyList p = parse_properties(value, true);
    o.name = p.take("guest", p.head);
    // Threads always have names.
    TANDEM_TRY_ASSIGN([[maybe_unused]] const bool thread_names, p.take_bool("debug-threads", true));
    return p.finish("guest, debug-threads");
}

Result<void> set_uuid(Options& o, std::string_view value) {
    bool good = value.size() == 36;
    for (std::size_t i = 0; good && i < value.size(); ++i) {
        const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        good = dash ? value[i] == '-' : std::isxdigit(static_cast<unsigned char>(value[i])) != 0;
    }
    if (!good) return invalid(fmt::format("'{}' is not a UUID (xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx)", value));
    o.uuid = value;
    return {};
}

// "DRIVER.PROPERTY=VALUE" or "driver=D,property=P,value=V".
Result<void> add_global(Options& o, std::string_view value) {
    Options::Global g;
    const auto dot = value.find('.');
    const auto equals = value.find('=');
    if (dot < equals && equals != std::string_view::npos) {
        g = {std::string(value.substr(0, dot)), std::string(value.substr(dot + 1, equals - dot - 1)),
             std::string(value.substr(equals + 1))};
    } else {
        PropertyList p = parse_properties(value, false);
        if (equals == std::string_view::npos) p.items.clear();
        g = {p.take("driver"), p.take("property"), p.take("value")};
        TANDEM_TRY(p.finish("driver, property, value"));
    }
    if (g.driver.empty() || g.property.empty()) return invalid(fmt::format("'{}' is not DRIVER.PROPERTY=VALUE", value));
    o.globals.push_back(std::move(g));
    return {};
}

Result<void> set_monitor_mode(Options& o, std::string_view value) {
    PropertyList p = parse_properties(value, true);
    const std::string chardev = p.take("chardev", p.head);
    const std::string mode = p.take("mode", "readline");
    if (mode != "readline") return invalid(fmt::format("mode '{}' is not supported (known: readline)", mode));
    if (chardev.empty()) return invalid("needs chardev=ID");
    o.monitors.push_back("chardev:" + chardev);
    return p.finish("chardev, mode");
}

// In the background there is no terminal.
Result<void> check_daemon(const Options& o) {
    if (!o.daemonize) return {};
    const auto refuse = [](std::string_view where, std::string_view what) {
        return invalid(
            fmt::format("-daemonize: {} {} needs the terminal that is given up (file:, unix:, null)", where, what));
    };
    const auto is_terminal = [](std::string_view spec) { return spec == "stdio" || spec == "mon:stdio"; };
    for (const auto& spec : o.serial) {
        if (is_terminal(spec)) return refuse("-serial", spec);
    }
    for (const auto& spec : o.monitors) {
        if (is_terminal(spec)) return refuse("-monitor", spec);
    }
    for (const auto& p : o.chardevs) {
        if (is_terminal(p.head)) return refuse("-chardev", p.head);
    }
    if (is_terminal(o.debug_console)) return refuse("-debugcon", o.debug_console);
    return {};
}

Result<void> disable_hpet(Options& o, std::string_view) {
    o.machine_properties.emplace_back("hpet", "off");
    return {};
}

Result<void> do_nothing(Options&, std::string_view) { return {}; }

constexpr std::array kRows{
    OptionRow{"machine", "TYPE[,accel=NAME][,PROP=VALUE...]",
              "Board to emulate; 'help' lists them, 'TYPE,help' the properties of one. Given again it adds properties.",
              set_machine},
    OptionRow{"M", "TYPE[,PROP=VALUE...]", "The same.", set_machine},
    OptionRow{"accel", "NAME[,PROP=VALUE...]",
              "Engine: kvm with handoff=on|off (the translator executes what KVM cannot), irqchip=user|split|kernel (whose "
              "interrupt "
              "controllers: the machine's, KVM's local APICs, all of KVM's), or jit (also called tcg) with "
              "tier=interp|baseline|llvm|auto, baseline-threshold=N, "
              "llvm-threshold=N, cache=SIZE, max-block=N, verify=on|off, or lockstep with a= and b=interp|baseline|llvm, "
              "llvm-threshold=N, dir=DIRECTORY, which compares the two; each with stats=on|off. A second -accel stands in "
              "where the host lacks the first.",
              set_accel},
    OptionRow{"enable-kvm", nullptr, "The same as -accel kvm.", enable_kvm},
    OptionRow{"cpu", "MODEL[,+FEATURE][,-FEATURE]", "CPU model and single features; 'help' lists both.", set_cpu},
    OptionRow{"smp", "[cpus=]N[,sockets=S][,cores=C][,threads=T]",
              "Number of processors, and how they are arranged (default: the cores of one socket).", set_smp},
    OptionRow{"m", "SIZE", "Guest memory, in MiB unless suffixed with K, M, G or T (default 128M).", set_memory},
    OptionRow{"kernel", "FILE", "Kernel to boot: bzImage, multiboot, or ELF with a PVH entry.", set_text<&Options::kernel>},
    OptionRow{
        "initrd", "FILE",
        "Initial RAM disk for the kernel, or 'FILE,FILE...', one behind the other; for multiboot and PVH modules: 'FILE "
        "ARGS,FILE ARGS...'.",
        set_text<&Options::initrd>},
    OptionRow{"append", "TEXT", "Kernel command line.", set_text<&Options::append>},
    OptionRow{"bios", "FILE", "Firmware to start, by path or name; the default without -kernel is SeaBIOS's bios-256k.bin.",
              set_text<&Options::firmware>},
    OptionRow{"L", "DIRECTORY", "Where to look for firmware first.", add_directory},
    OptionRow{"debugcon", "stdio|null|file:PATH|...", "Where firmware's debug port (0x402, and 0xe9) leads.",
              set_text<&Options::debug_console>},
    OptionRow{"drive", "file=PATH[,id=ID][,if=virtio|none|pflash][,format=FORMAT][,PROP=VALUE...]",
              "Disk image; with if=virtio (the default) it appears as a virtio-blk device. if=pflash: firmware, then its "
              "variables. format=raw (default), or qcow2, vdi, vmdk, ... which qemu-nbd opens; PATH may be an NBD server: "
              "nbd:unix:PATH, nbd:HOST:PORT, nbd://HOST/NAME. readonly=on, snapshot=on, "
              "cache=writeback|none|writethrough|directsync|unsafe, aio=threads|io_uring|native, discard=unmap|ignore, "
              "detect-zeroes=off|on|unmap.",
              add_drive},
    OptionRow{
        "blockdev", "driver=DRIVER,node-name=NAME[,PROP=VALUE...]",
        "A disk for a -device drive=NAME, in properties or JSON: driver=file,filename=PATH, or driver=nbd,server.path=PATH, "
        "or driver=FORMAT,file=NODE on one of these.",
        add_blockdev},
    OptionRow{"hda", "FILE", "The same as -drive file=FILE, for a raw image: a virtio disk; also -hdb, -hdc, -hdd.",
              add_disk},
    OptionRow{"hdb", "FILE", "Another disk.", add_disk},
    OptionRow{"hdc", "FILE", "Another disk.", add_disk},
    OptionRow{"hdd", "FILE", "Another disk.", add_disk},
    OptionRow{"cdrom", "FILE",
              "A read-only virtio disk with the image; firmware starts from it when the image is made for USB sticks too.",
              add_cdrom},
    OptionRow{"pflash", "FILE", "The same as -drive file=FILE,if=pflash: firmware, then its variables.", add_flash},
    OptionRow{"device", "DRIVER[,PROP=VALUE...]", "Adds a device; 'help' lists them, 'DRIVER,help' one's properties.",
              add_device},
    OptionRow{"snapshot", nullptr, "Writes of all drives go to temporary files that are gone at exit.",
              set_flag<&Options::snapshot>},
    OptionRow{
        "chardev", "KIND,id=ID[,PROP=VALUE...]",
        "Host end of a character stream: null, stdio, pty, file,path=PATH, pipe,path=PATH, testdev ('NNNq' of a guest ends "
        "the program with status 2 * NNN + 1), socket,path=PATH or "
        "socket,host=HOST,port=PORT with server=on|off,wait=on|off.",
        add_properties<&Options::chardevs, kBackend>},
    OptionRow{"netdev", "user|tap,id=ID[,PROP=VALUE...]",
              "Network for a -device virtio-net-pci,netdev=ID: user (NAT; hostfwd=tcp:[HOST]:PORT-[GUEST]:PORT, net=, "
              "restrict=on, ...) or tap,ifname=NAME[,script=PATH][,downscript=PATH].",
              add_properties<&Options::netdevs, kType>},
    OptionRow{"nic", "user|tap|none[,model=virtio-net-pci][,mac=MAC][,PROP=VALUE...]",
              "The same with its card in one option. Without -nic and -netdev there is no network.",
              add_properties<&Options::nics, kType>},
    OptionRow{"net", "none|nic[,PROP=VALUE...]|user[,PROP=VALUE...]|tap[,PROP=VALUE...]",
              "No network, which is the default; or, in two options, a card and its network: 'nic' and 'user' are one -nic.",
              add_net},
    OptionRow{"object", "rng-random|rng-builtin,id=ID[,filename=/dev/urandom]",
              "The host's random numbers, for a -device virtio-rng-pci,rng=ID.", add_object},
    OptionRow{"fw_cfg", "[name=]opt/NAME,string=TEXT|file=PATH",
              "A file for the guest in the firmware configuration device (/sys/firmware/qemu_fw_cfg).",
              add_text<&Options::fw_cfg>},
    OptionRow{"serial", "stdio|null|pty|file:PATH|pipe:PATH|unix:PATH|tcp:HOST:PORT|chardev:ID",
              "Where a serial port leads; the first is ttyS0. mon: before any of them shares it with a monitor (Ctrl-A c).",
              add_text<&Options::serial>},
    OptionRow{
        "nographic", nullptr,
        "No window: ttyS0 is the terminal, shared with a monitor. Ctrl-A x ends the machine, Ctrl-A c switches, Ctrl-A h "
        "helps.",
        set_flag<&Options::nographic>},
    OptionRow{"display", "none", "Window to show the guest's screen in; only 'none' so far.", only_none},
    OptionRow{"vnc", "none", "Remote display; only 'none'.", only_none},
    OptionRow{"vga", "none", "Graphics card; only 'none'.", only_none},
    OptionRow{"parallel", "none", "Parallel port; only 'none'.", only_none},
    OptionRow{"no-hpet", nullptr, "The same as -machine hpet=off.", disable_hpet},
    OptionRow{"no-user-config", nullptr, "No files of options but those asked for, which is always so.", do_nothing},
    OptionRow{"nodefaults", nullptr, "No devices but those asked for: without -serial no serial port.",
              set_flag<&Options::no_defaults>},
    OptionRow{"no-reboot", nullptr, "A guest reset ends the program instead of starting over.",
              set_flag<&Options::no_reboot>},
    OptionRow{"no-shutdown", nullptr, "A guest that powers off leaves the machine paused instead of ending the program.",
              set_flag<&Options::no_shutdown>},
    OptionRow{"action", "reboot=reset|shutdown,shutdown=poweroff|pause,panic=shutdown|pause|exit-failure|none",
              "The same two in one option, and what follows when a guest tells a pvpanic device that it panicked.",
              set_run_action},
    OptionRow{"S", nullptr, "Starts paused; 'cont' in a monitor lets the machine go.", set_flag<&Options::start_paused>},
    OptionRow{"monitor", "stdio|null|pty|unix:PATH,server,nowait|tcp:...|chardev:ID",
              "Where a monitor leads, which looks at the machine and steers it; its 'help' lists the commands.",
              add_text<&Options::monitors>},
    OptionRow{"mon", "[chardev=]ID[,mode=readline]", "A monitor on a -chardev.", set_monitor_mode},
    OptionRow{"snapshots", "DIR",
              "Directory of the monitor's savevm and loadvm. A snapshot holds processors, devices, memory and what drives "
              "with snapshot=on keep apart; images that the guest writes directly cannot be part of one.",
              set_text<&Options::snapshots>},
    OptionRow{"loadvm", "NAME|FILE",
              "Goes on where a saved machine stopped: a name in -snapshots DIR, or a path with a slash.",
              set_text<&Options::loadvm>},
    OptionRow{"global", "DRIVER.PROP=VALUE", "A property of every device of this kind that does not say otherwise.",
              add_global},
    OptionRow{"name", "NAME", "The machine's name, shown by the monitor.", set_name},
    OptionRow{"rtc", "base=utc|localtime|DATE,clock=host|vm,driftfix=slew|none",
              "What the real-time clock shows at first, whether it goes on while the machine is stopped, and whether late "
              "periodic interrupts are made up.",
              set_rtc},
    OptionRow{"boot", "[order=]LETTERS[,menu=on|off][,strict=on|off]",
              "What firmware starts from: c disk, d CD-ROM, n network; a device's bootindex= comes first. strict=on: from "
              "those with a bootindex only.",
              set_boot},
    OptionRow{"smbios", "type=0|1|2|3|11[,FIELD=VALUE...]",
              "What firmware's tables say of the machine: vendor, manufacturer, product, serial, ...; type 11 holds any "
              "value=TEXT.",
              add_smbios},
    OptionRow{"uuid", "UUID", "The machine's UUID, shown by the monitor and by firmware's tables.", set_uuid},
    OptionRow{"pidfile", "FILE", "Writes the process id to a file, which is deleted at the end.",
              set_text<&Options::pidfile>},
    OptionRow{"daemonize", nullptr, "Goes into the background once the machine has been set up.",
              set_flag<&Options::daemonize>},
    OptionRow{"d", "CATEGORY[,...]", "Logs what is named; 'help' lists the categories.", set_categories},
    OptionRow{"dfilter", "LOW..HIGH", "Limits -d in_asm, ir, ir_opt, llvm and out_asm to code in this address range.",
              set_filter},
    OptionRow{"D", "FILE", "Writes the log to a file instead of the terminal.", set_text<&Options::log_file>},
    OptionRow{"trace", "exits", "One line per exit from the engine, in the form of KVM's tracepoints.", set_trace},
    OptionRow{
        "readconfig", "FILE",
        "Options from a file of groups: [drive \"d0\"] and then file = \"a.img\". @FILE anywhere reads words as on the "
        "command line.",
        read_config},
    OptionRow{"version", nullptr, "Prints the version and ends.", set_action<Action::Version>},
    OptionRow{"help", nullptr, "Prints this text and ends.", set_action<Action::Help>},
    OptionRow{"h", nullptr, "Same as -help.", set_action<Action::Help>},
};

}  // namespace

Result<Options> parse_command_line(int argc, const char* const* argv) {
    Options options;
    TANDEM_TRY_ASSIGN(const auto words, expand_files(std::vector<std::string>(argv + std::min(argc, 1), argv + argc)));
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string_view word = words[i];
        if (word.size() < 2 || word[0] != '-') {
            return invalid(fmt::format("unexpected argument '{}' (disks are given with -drive file=PATH)", word));
        }
        const std::string_view name = word.substr(word[1] == '-' ? 2 : 1);
        const OptionRow* row = nullptr;
        for (const auto& candidate : kRows) {
            if (name == candidate.name) row = &candidate;
        }
        if (row == nullptr) return unknown_option(word, name);
        std::string_view value;
        if (row->argument != nullptr) {
            if (i + 1 >= words.size()) return invalid(fmt::format("-{} needs an argument: {}", row->name, row->argument));
            value = words[++i];
        }
        if (asks_help(value) && list_of(row->name)) {
            options.action = Action::Explain;
            options.explained = row->name;
            continue;
        }
        auto applied = row->apply(options, value);
        if (!applied) return std::move(applied).error().context(fmt::format("-{}", row->name));
    }
    TANDEM_TRY(join_nets(options));
    TANDEM_TRY(check_daemon(options));
    return options;
}

std::string help_text() {
    std::string text =
        "Usage: tandem [OPTION...]\n       tandem diff --help     random instructions on several engines, compared\n"
        "       tandem replay --help   runs again what -accel lockstep has saved\nA full-system emulator for x86-64 "
        "guests.\n\n";
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
        "isa-debug-exit or -chardev testdev, what the guest says.\n"
        "\nExample:\n  tandem -nographic -m 512 -kernel vmlinuz -initrd initrd -append 'console=ttyS0'\n";
    return text;
}

}  // namespace tandem::frontend

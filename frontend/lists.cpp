#include "frontend/lists.h"

#include <fmt/format.h>

#include <array>

#include "frontend/engine.h"
#include "frontend/host_backends.h"

namespace tandem::frontend {
namespace {

struct Line {
    std::string_view option, name, help;
};
constexpr std::array kLines{
    Line{"serial", "stdio", "this terminal"},
    Line{"serial", "mon:stdio, mon:unix:PATH, ...", "any of the others, shared with a monitor (Ctrl-A c)"},
    Line{"serial", "null", "nowhere"},
    Line{"serial", "none", "the same"},
    Line{"serial", "pty", "a new pseudo-terminal"},
    Line{"serial", "file:PATH", "output into a file"},
    Line{"serial", "pipe:PATH", "a FIFO, or PATH.in and PATH.out"},
    Line{"serial", "unix:PATH[,server][,nowait]", "a Unix socket"},
    Line{"serial", "tcp:HOST:PORT[,server][,nowait]", "a TCP connection"},
    Line{"serial", "chardev:ID", "what a -chardev says"},
    Line{"drive", "file=PATH", "image, or server: nbd:unix:PATH, nbd:HOST:PORT, nbd://HOST/NAME"},
    Line{"drive", "id=NAME", "what a -device drive=NAME refers to"},
    Line{"drive", "if=virtio|none|pflash", "a virtio-blk device, nothing yet, or firmware"},
    Line{"drive", "format=raw|qcow2|vdi|vmdk|...", "anything but raw is opened by qemu-nbd"},
    Line{"drive", "readonly=on|off", "whether the guest may write"},
    Line{"drive", "snapshot=on|off", "writes go to a temporary file"},
    Line{"drive", "cache=writeback|none|writethrough|directsync|unsafe", "what the host caches, and when writes are stable"},
    Line{"drive", "cache.direct=, cache.no-flush=, cache.writeback=", "the same one by one"},
    Line{"drive", "aio=threads|io_uring|native", "how the host reads and writes"},
    Line{"drive", "discard=unmap|ignore", "whether storage is given back"},
    Line{"drive", "detect-zeroes=off|on|unmap", "zeros are not stored"},
    Line{"drive", "media=disk|cdrom", "cdrom: a read-only disk that -boot d means"},
    Line{"drive", "werror=report, rerror=report", "the guest hears of errors"},
    Line{"smp", "cpus=N", "processors"},
    Line{"smp", "sockets=N", "packages"},
    Line{"smp", "cores=N", "cores of a socket"},
    Line{"smp", "threads=N", "threads of a core"},
    Line{"smp", "maxcpus=N", "the same as cpus: none can be added later"},
    Line{"rtc", "base=utc|localtime|DATE", "what the clock shows at first"},
    Line{"rtc", "clock=host|rt|vm", "vm: it stops while the machine is stopped"},
    Line{"rtc", "driftfix=slew|none", "whether late periodic interrupts are made up"},
    Line{"boot", "order=LETTERS", "a diskette, c disk, d CD-ROM, n network"},
    Line{"boot", "menu=on|off", "firmware offers a choice"},
    Line{"boot", "strict=on|off", "only from devices with a bootindex"},
    Line{"action", "reboot=reset|shutdown", "a guest that resets starts over, or ends the program"},
    Line{"action", "shutdown=poweroff|pause", "a guest that powers off ends the program, or leaves the machine paused"},
    Line{"action", "panic=shutdown|pause|exit-failure|none", "what follows a panic that pvpanic reports"},
    Line{"trace", "exits", "a line for each exit from the engine"},
    Line{"display", "none", "no window"},
    Line{"vnc", "none", "no remote display"},
    Line{"vga", "none", "no graphics card"},
    Line{"parallel", "none", "no parallel port"},
    Line{"net", "none", "no network"},
    Line{"net", "nic", "model=virtio, macaddr=: the card of the other -net, or with netdev=ID of a -netdev"},
    Line{"net", "user, tap", "the network of the -net nic, with the properties of -netdev"},
    Line{"object", "rng-builtin", "id: the host's random numbers"},
    Line{"object", "rng-random", "id, filename=/dev/urandom|/dev/random: the same"},
};

// Options that take what another one does.
constexpr std::array<std::pair<std::string_view, std::string_view>, 2> kAliases{
    {{"monitor", "serial"}, {"debugcon", "serial"}}};

struct Source {
    std::string_view option;
    std::string (*list)();
};
constexpr std::array kSources{Source{"chardev", chardev_help}, Source{"netdev", network_help}, Source{"nic", network_help},
                              Source{"accel", engine_help}};

}  // namespace

std::string help_line(std::string_view name, std::string_view help) {
    constexpr std::size_t kWidth = 20;
    if (name.size() < kWidth) return fmt::format("{:<20}{}\n", name, help);
    return fmt::format("{}\n{:<20}{}\n", name, "", help);
}

std::optional<std::string> list_of(std::string_view option) {
    for (const auto& source : kSources) {
        if (source.option == option) return source.list();
    }
    for (const auto& [alias, as] : kAliases) {
        if (alias == option) option = as;
    }
    std::string text;
    for (const Line& line : kLines) {
        if (line.option == option) text += help_line(line.name, line.help);
    }
    if (text.empty()) return std::nullopt;
    return text;
}

}  // namespace tandem::frontend

#include "frontend/absent_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace tandem::frontend {
namespace {

constexpr const char* kScreen = "there is no screen; text is on the serial port (-nographic)";
constexpr const char* kSound = "there is no sound";
constexpr const char* kUsb = "there is no USB; keyboard input comes through the serial port or a virtconsole";
constexpr const char* kShare = "directories are not shared; a disk, -nic user or a virtio-vsock device moves files";
constexpr const char* kFloppy = "there is no diskette drive; -drive file=FILE shows the image as a virtio disk";
constexpr const char* kRights = "rights are given up by what starts the program (setpriv, systemd-run, a container)";
constexpr const char* kMemory = "guest memory is anonymous and of one node";
constexpr const char* kControl = "a program steers the machine by the text monitor: -monitor unix:PATH,server,nowait";

struct Row {
    std::string_view name;
    const char* instead;
};
constexpr std::array kRows{
    Row{"acpitable", "the machine's ACPI tables cannot be added to"},
    Row{"add-fd", "files are opened by path"},
    Row{"alt-grab", kScreen},
    Row{"async-teardown", "there is nothing to wait for at the end"},
    Row{"audio", kSound},
    Row{"audio-help", kSound},
    Row{"audiodev", kSound},
    Row{"bt", "there is no Bluetooth"},
    Row{"chroot", kRights},
    Row{"compat", "there is one behaviour"},
    Row{"ctrl-grab", kScreen},
    Row{"curses", kScreen},
    Row{"dtb", "machine 'virt' makes its device tree itself"},
    Row{"echr", "the key is Ctrl-A"},
    Row{"enable-fips", "there is no VNC whose passwords that were about"},
    Row{"fda", kFloppy},
    Row{"fdb", kFloppy},
    Row{"fsdev", kShare},
    Row{"full-screen", kScreen},
    Row{"icount", "processors run as fast as they can"},
    Row{"incoming", "-loadvm FILE goes on where a saved machine stopped"},
    Row{"iscsi", "disks of the network come by NBD: -drive file=nbd://HOST/NAME"},
    Row{"k", kScreen},
    Row{"machine-help", "-machine help lists the machines"},
    Row{"mem-path", kMemory},
    Row{"mem-prealloc", kMemory},
    Row{"msg", "messages have one form"},
    Row{"mtdblock", "flash chips are -drive file=FILE,if=pflash"},
    Row{"no-acpi", "there is no machine without ACPI; the guest's kernel takes acpi=off"},
    Row{"no-fd-bootchk", kFloppy},
    Row{"numa", kMemory},
    Row{"only-migratable", "-cpu host is the only model that names itself after the host"},
    Row{"option-rom", "firmware finds no option ROMs; iPXE starts from a disk image or as -kernel"},
    Row{"overcommit", "guest memory is allocated as it is used"},
    Row{"perfmap", "-d out_asm logs generated code"},
    Row{"plugin", "-trace exits and -d look at the guest"},
    Row{"portrait", kScreen},
    Row{"prom-env", "there is no Open Firmware"},
    Row{"qmp", kControl},
    Row{"qmp-pretty", kControl},
    Row{"rotate", kScreen},
    Row{"run-with", kRights},
    Row{"runas", kRights},
    Row{"sandbox", kRights},
    Row{"sd", "there is no SD card; -drive file=FILE is a virtio disk"},
    Row{"sdl", kScreen},
    Row{"seed", "random numbers are the host's"},
    Row{"semihosting", "there is no semihosting; isa-debug-exit and -chardev testdev end the program with a status"},
    Row{"set", "properties are given with the device, or to all of a kind by -global"},
    Row{"show-cursor", kScreen},
    Row{"singlestep", "-accel jit,max-block=1 translates single instructions"},
    Row{"soundhw", kSound},
    Row{"spice", kScreen},
    Row{"tb-size", "-accel jit,cache=SIZE is the translations' room"},
    Row{"teardown", "there is nothing to wait for at the end"},
    Row{"tpmdev", "there is no TPM"},
    Row{"usb", kUsb},
    Row{"usbdevice", kUsb},
    Row{"virtfs", kShare},
    Row{"watchdog", "there is no watchdog; pvpanic reports a guest's panic"},
    Row{"watchdog-action", "there is no watchdog; -action panic= is about pvpanic"},
    Row{"win2k-hack", "disks are virtio disks"},
};

}  // namespace

Error unknown_option(std::string_view word, std::string_view name) {
    const auto row = std::ranges::find(kRows, name, &Row::name);
    if (row == kRows.end()) return invalid(fmt::format("unknown option '{}' (--help lists the known ones)", word));
    return Error{Errc::Unsupported, fmt::format("there is no option {}: {}", word, row->instead)};
}

}  // namespace tandem::frontend

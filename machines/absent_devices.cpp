#include "machines/absent_devices.h"

#include <algorithm>
#include <array>

namespace tandem::machines {
namespace {

constexpr const char* kNet = "virtio-net-pci,netdev=ID is the network card";
constexpr const char* kDisk = "virtio-blk-pci,drive=ID shows a disk";
constexpr const char* kController = "disks need no controller of their own: virtio-blk-pci,drive=ID is both";
constexpr const char* kCdrom = "-cdrom FILE, or -drive file=FILE,media=cdrom, is a read-only virtio disk";
constexpr const char* kGraphics = "there is no screen; text is on the serial port (-nographic) or a virtconsole";
constexpr const char* kUsb = "there is no USB; keyboard input comes through the serial port or a virtconsole";
constexpr const char* kSound = "there is no sound";
constexpr const char* kShare = "directories are not shared; a disk, -nic user or a virtio-vsock device moves files";
constexpr const char* kBridge = "there is one PCI bus, pcie.0, which takes all devices";
constexpr const char* kWatchdog = "there is no watchdog; pvpanic reports a guest's panic";
constexpr const char* kHost = "devices of the host are not passed through";

struct Row {
    std::string_view stem;  // what the names begin with
    const char* instead;
};
constexpr std::array kRows{
    Row{"AC97", kSound},
    Row{"ES1370", kSound},
    Row{"VGA", kGraphics},
    Row{"ahci", kController},
    Row{"am53c974", kController},
    Row{"ati-vga", kGraphics},
    Row{"bochs-display", kGraphics},
    Row{"cirrus-vga", kGraphics},
    Row{"e1000", kNet},
    Row{"floppy", "there is no diskette drive; -drive file=FILE shows the image as a virtio disk"},
    Row{"hda-", kSound},
    Row{"i6300esb", kWatchdog},
    Row{"i8255", kNet},
    Row{"ib700", kWatchdog},
    Row{"ich9-ahci", kController},
    Row{"ich9-intel-hda", kSound},
    Row{"ich9-usb", kUsb},
    Row{"ide-cd", kCdrom},
    Row{"ide-hd", kDisk},
    Row{"igb", kNet},
    Row{"intel-hda", kSound},
    Row{"ioh3420", kBridge},
    Row{"lsi53c", kController},
    Row{"megasas", kController},
    Row{"mptsas", kController},
    Row{"ne2k", kNet},
    Row{"nec-usb", kUsb},
    Row{"nvme", kDisk},
    Row{"pci-bridge", kBridge},
    Row{"pci-ohci", kUsb},
    Row{"pcie-root-port", kBridge},
    Row{"pcnet", kNet},
    Row{"piix3-ide", kController},
    Row{"piix3-usb", kUsb},
    Row{"piix4-usb", kUsb},
    Row{"pvscsi", kController},
    Row{"pxb", kBridge},
    Row{"qemu-xhci", kUsb},
    Row{"qxl", kGraphics},
    Row{"ramfb", kGraphics},
    Row{"rtl8139", kNet},
    Row{"sb16", kSound},
    Row{"scsi-cd", kCdrom},
    Row{"scsi-hd", kDisk},
    Row{"sd-card", kDisk},
    Row{"secondary-vga", kGraphics},
    Row{"tpm-", "there is no TPM"},
    Row{"tulip", kNet},
    Row{"usb-", kUsb},
    Row{"vfio-", kHost},
    Row{"vhost-scsi", kController},
    Row{"vhost-user-blk", kDisk},
    Row{"vhost-user-fs", kShare},
    Row{"vhost-vsock", "virtio-vsock-pci,guest-cid=N,path=SOCKET is the one there is"},
    Row{"virtio-9p", kShare},
    Row{"virtio-gpu", kGraphics},
    Row{"virtio-keyboard", kGraphics},
    Row{"virtio-mouse", kGraphics},
    Row{"virtio-scsi", kController},
    Row{"virtio-tablet", kGraphics},
    Row{"virtio-vga", kGraphics},
    Row{"vmware-svga", kGraphics},
    Row{"vmxnet", kNet},
};

}  // namespace

const char* instead_of(std::string_view driver) {
    const auto row = std::ranges::find_if(kRows, [&](const Row& r) { return driver.starts_with(r.stem); });
    return row == kRows.end() ? nullptr : row->instead;
}

}  // namespace tandem::machines

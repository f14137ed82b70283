#include "machines/pc/firmware.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "machines/boot_file.h"
#include "machines/firmware_file.h"
#include "machines/pc/layout.h"

namespace tandem::machines::pc {
namespace {

constexpr std::array kDebianDirectories{"/usr/share/seabios", "/usr/share/OVMF", "/usr/share/ovmf", "/usr/share/qemu"};
constexpr FirmwareDefault kDefault{"bios-256k.bin", "seabios", kDebianDirectories};
constexpr u64 kGranule = 64 * layout::kKiB;
constexpr u64 kTop = 4 * layout::kGiB;

}  // namespace

Result<Firmware> Firmware::load(const std::string& name, const std::vector<std::string>& directories) {
    Firmware firmware;
    TANDEM_TRY_ASSIGN(firmware.path_, find_firmware(name, directories, kDefault));
    TANDEM_TRY_ASSIGN(firmware.image_, read_file("firmware", firmware.path_, layout::kFirmwareMax));
    if (firmware.image_.empty() || firmware.image_.size() % kGranule != 0) {
        return invalid(
            fmt::format("firmware '{}' has {} bytes, not a multiple of 64 KiB", firmware.path_, firmware.image_.size()));
    }
    return firmware;
}

Result<Firmware> Firmware::read(devices::BlockBackend& backend, const std::string& chip) {
    constexpr u64 kPage = 4096;
    const u64 size = backend.size_bytes();
    if (size == 0 || size % kPage != 0 || size > layout::kFirmwareMax) {
        return invalid(fmt::format("{} has {} bytes, not a multiple of 4 KiB up to {} MiB", chip, size,
                                   layout::kFirmwareMax / layout::kMiB));
    }
    Firmware firmware;
    firmware.path_ = chip;
    firmware.image_.resize(size);
    TANDEM_TRY(backend.read(0, firmware.image_));
    return firmware;
}

Result<void> Firmware::map(devices::GuestMemory& memory) const {
    constexpr bool kReadOnly = true;
    return memory.add("firmware ROM", kTop - image_.size(), image_.size(), kReadOnly);
}

Result<void> Firmware::place(devices::GuestMemory& memory) const {
    const u64 copy = std::min<u64>(image_.size(), layout::kFirmware.size);
    const bool good = memory.write(kTop - image_.size(), image_.data(), image_.size()) &&
                      memory.write(layout::kFirmware.end() - copy, image_.data() + image_.size() - copy, copy);
    if (!good) return Error{Errc::Internal, "the firmware's places are not memory"};
    return {};
}

}  // namespace tandem::machines::pc

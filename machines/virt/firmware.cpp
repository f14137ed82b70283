#include "machines/virt/firmware.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "machines/boot_file.h"
#include "machines/firmware_file.h"
#include "machines/virt/layout.h"

namespace tandem::machines::virt {
namespace {

constexpr std::array kDebianDirectories{"/usr/share/qemu-efi-aarch64", "/usr/share/AAVMF"};
constexpr FirmwareDefault kDefault{"QEMU_EFI.fd", "qemu-efi-aarch64", kDebianDirectories};
constexpr u64 kChip = layout::kFlash[0].size;

// Images are padded to the chip's size; what is zero needs no memory.
void drop_padding(std::vector<u8>& image) {
    while (!image.empty() && image.back() == 0) image.pop_back();
    image.shrink_to_fit();
}

class VolatileFlash final : public devices::BlockBackend {
public:
    // Room for variables, and for what replaces them safely.
    VolatileFlash() : bytes_(4 * layout::kFlashBlock) {}
    [[nodiscard]] u64 size_bytes() const override { return bytes_.size(); }
    [[nodiscard]] bool readonly() const override { return false; }
    Result<void> read(u64 offset, std::span<u8> out) override {
        std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
        return {};
    }
    Result<void> write(u64 offset, std::span<const u8> in) override {
        std::ranges::copy(in, bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
        return {};
    }
    Result<void> flush() override { return {}; }
    Result<void> write_zeroes(u64 offset, u64 size, bool) override {
        std::fill_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), size, u8{0});
        return {};
    }
    Result<void> discard(u64, u64) override { return {}; }

private:
    std::vector<u8> bytes_;
};

}  // namespace

Result<Firmware> Firmware::load(const std::string& name, const std::vector<std::string>& directories) {
    TANDEM_TRY_ASSIGN(const auto path, find_firmware(name, directories, kDefault));
    Firmware firmware;
    TANDEM_TRY_ASSIGN(firmware.image_, read_file("firmware", path, kChip));
    drop_padding(firmware.image_);
    if (firmware.image_.empty()) return invalid(fmt::format("firmware '{}' is empty", path));
    return firmware;
}

Result<Firmware> Firmware::read(devices::BlockBackend& backend) {
    const u64 size = backend.size_bytes();
    if (size == 0 || size % 512 != 0 || size > kChip) {
        return invalid(fmt::format("the first pflash drive has {} bytes, not sectors up to {} MiB", size, kChip >> 20));
    }
    Firmware firmware;
    firmware.image_.resize(size);
    TANDEM_TRY(backend.read(0, firmware.image_));
    drop_padding(firmware.image_);
    if (firmware.image_.empty()) return invalid("the first pflash drive is empty: it has the firmware");
    return firmware;
}

Result<void> Firmware::map(devices::GuestMemory& memory) {
    constexpr bool kReadOnly = true;
    return memory.add("firmware flash", layout::kFlash[0].base, kChip, kReadOnly);
}

Result<void> Firmware::place(devices::GuestMemory& memory) const {
    if (!memory.write(layout::kFlash[0].base, image_.data(), image_.size())) {
        return Error{Errc::Internal, "the firmware's place is not memory"};
    }
    return {};
}

std::unique_ptr<devices::BlockBackend> create_volatile_flash() { return std::make_unique<VolatileFlash>(); }

}  // namespace tandem::machines::virt

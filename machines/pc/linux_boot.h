// Starting a Linux kernel without firmware (Linux Documentation/arch/x86/boot.rst: "64-bit Boot Protocol", "32-bit Boot
// Protocol").
#pragma once

#include <span>
#include <string>
#include <vector>

#include "machines/pc/boot_image.h"

namespace tandem::machines::pc {

// A checked bzImage with its initrd and command line.
class LinuxImage final : public BootImage {
public:
    using Sources = BootSources;
    // Errors name the file: missing, truncated, not a bzImage (and what it is instead), too little RAM, initrd too large,
    // command line too long for this kernel.
    static Result<LinuxImage> load(const Sources& sources, u64 ram_bytes);
    // The same for a kernel file that has been read.
    static Result<LinuxImage> create(std::vector<u8> file, const Sources& sources, u64 ram_bytes);
    // Whether a file has the bzImage header.
    static bool recognises(std::span<const u8> file);
    // Size of the real-mode part of a file that has the header.
    static std::size_t setup_bytes(std::span<const u8> file);

    Result<void> place(devices::GuestMemory& memory, u64 rsdp) const override;
    void set_entry_state(cpu::x86::State& state) const override;

    [[nodiscard]] bool enters_in_64_bit() const { return entry64_; }
    [[nodiscard]] u64 kernel_address() const { return kernel_address_; }
    [[nodiscard]] u64 initrd_address() const { return initrd_address_; }

private:
    LinuxImage() = default;
    Result<void> check_header(const std::string& path);
    Result<void> choose_addresses(const Sources& sources, u64 ram_bytes);
    [[nodiscard]] std::vector<u8> boot_params(u64 rsdp) const;

    std::vector<u8> image_;  // the whole file
    std::vector<u8> initrd_;
    std::string command_line_;
    u64 ram_bytes_ = 0;
    u64 kernel_offset_ = 0;  // of the protected-mode part in the file
    u64 kernel_address_ = 0;
    u64 initrd_address_ = 0;
    bool entry64_ = false;
};

}  // namespace tandem::machines::pc

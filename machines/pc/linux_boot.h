// Starting a Linux kernel without firmware (Linux Documentation/arch/x86/boot.rst: "64-bit Boot Protocol", "32-bit Boot
// Protocol").
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cpu/x86/state.h"
#include "devices/fabric/guest_memory.h"

namespace tandem::machines::pc {

struct E820Entry {
    enum Type : u32 { Ram = 1, Reserved = 2 };
    u64 base = 0;
    u64 size = 0;
    u32 type = Ram;
};
// The memory map for `ram_bytes` of RAM on this board, in ascending order.
std::vector<E820Entry> memory_map(u64 ram_bytes);

// A checked bzImage with its initrd and command line, ready to be put into memory as often as the machine resets.
class LinuxImage {
public:
    struct Sources {
        std::string kernel;  // path
        std::string initrd;  // path, or empty
        std::string append;  // command line
    };
    // Errors name the file: missing, truncated, not a bzImage (and what it is instead), too little RAM, initrd too large,
    // command line too long for this kernel.
    static Result<LinuxImage> load(const Sources& sources, u64 ram_bytes);

    // Puts everything into guest RAM. `rsdp`: address of the ACPI root pointer.
    Result<void> place(devices::GuestMemory& memory, u64 rsdp) const;
    // The bootstrap processor's state at the kernel's entry; the rest as after reset.
    void set_entry_state(cpu::x86::State& state) const;

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

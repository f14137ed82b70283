// What boots without firmware: a kernel file in one of several formats, checked and placed, and the processor state at its
// entry.
#pragma once

#include <memory>
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
// RAM below the 32-bit hole.
u64 low_ram(u64 ram_bytes);

struct BootSources {
    std::string kernel;  // path
    std::string initrd;  // path, or empty, or a list "PATH,PATH"; for multiboot and PVH modules "PATH ARGUMENTS,PATH ..."
    std::string append;  // command line
};

// A checked kernel with what belongs to it, ready to be put into memory as often as the machine resets.
class BootImage {
public:
    virtual ~BootImage() = default;
    // Puts everything into guest RAM. `rsdp`: address of the ACPI root pointer.
    virtual Result<void> place(devices::GuestMemory& memory, u64 rsdp) const = 0;
    // The bootstrap processor's state at the kernel's entry, from its state after reset; the others stay there.
    virtual void set_entry_state(cpu::x86::State& state) const = 0;
};

// Tells the format by the file's content: bzImage, multiboot, ELF with a PVH entry, in that order. Errors name the file:
// missing, truncated, no such format (and what it is instead), too little RAM, command line too long, bad module.
Result<std::unique_ptr<BootImage>> load_boot_image(const BootSources& sources, u64 ram_bytes);

// Flat 32-bit protected mode without paging, interrupts off (as multiboot, PVH and Linux's 32-bit protocol ask), at `eip`.
// `gdt` is where a copy of flat_gdt() lies.
void set_flat_protected_mode(cpu::x86::State& state, u32 eip, u64 gdt);

// A GDT with 32-bit or 64-bit code at 10H and data at 18H (Linux's __BOOT_CS and __BOOT_DS).
std::array<u64, 4> flat_gdt(bool long_mode);

}  // namespace tandem::machines::pc

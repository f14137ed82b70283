// The machine states that experiments run in: processor mode, privilege level and paging, each with its segments, its page
// tables and its place for code and data.
#pragma once

#include <span>
#include <string_view>

#include "base/result.h"
#include "cpu/x86/decode/instruction.h"
#include "cpu/x86/state.h"
#include "cpu/x86/system/registers.h"

namespace tandem::accel::diff {

// Linear addresses, the same on the host as in the guest, and below 4 GiB, so that 32-bit addresses reach them.
// Guest-physical addresses are equal to them.
constexpr u64 kCodePage = 0x1000'0000;
constexpr u64 kCodeStart = kCodePage + 0x800;
constexpr u64 kData = 0x2000'0000;  // two pages, readable and writable
constexpr u64 kDataSize = 0x2000;
constexpr u64 kReadOnly = kData + kDataSize;  // one page; what follows is not mapped
constexpr u64 kReadOnlySize = 0x1000;
constexpr u8 kStop = 0xf4;  // HLT: #GP(0) in user mode; fills the code page and so ends every experiment
// Guest-physical memory from address 0 on, for page tables.
constexpr u64 kTablesSize = 0x20000;
// Two pages for handlers of exceptions, supervisor's and writable, which experiments hardly come near: in the page table of
// the code page, beyond the reach of 16-bit code.
constexpr u64 kHandlerPages = kCodePage + 0x1d'5000;
constexpr u64 kHandlerPagesSize = 0x2000;

// Linear addresses of the code page and of data in virtual-8086 mode, whose segments lie in the first megabyte.
constexpr u64 kV86Code = 0x40000, kV86Data = 0x50000;

enum class Paging : u8 { None, Bits32, Pae, FourLevel };

struct World {
    std::string_view name;
    cpu::x86::Mode mode;
    u8 cpl;
    Paging paging;
    bool real_mode = false;
    bool v86 = false;  // virtual-8086 mode: kV86Code and kV86Data are where code and data are in linear memory

    [[nodiscard]] bool is64() const { return mode == cpu::x86::Mode::Bits64; }
    // Bases of the code segment and of the data segments: 16-bit offsets do not reach far.
    [[nodiscard]] u64 code_base() const { return mode == cpu::x86::Mode::Bits16 ? kCodePage : 0; }
    [[nodiscard]] u64 data_base() const { return mode == cpu::x86::Mode::Bits16 ? kData : 0; }
    // RFLAGS bits that the mode consists of.
    [[nodiscard]] u64 mode_flags() const { return v86 ? cpu::x86::eflags::VM : 0; }
    [[nodiscard]] u64 start() const { return kCodeStart - code_base(); }
    // A process of a 64-bit Linux has such a state.
    [[nodiscard]] bool is_linux_process() const {
        return cpl == 3 && paging == Paging::FourLevel && mode != cpu::x86::Mode::Bits16;
    }
};

// In a fixed order: an experiment names its world by index.
std::span<const World> worlds();
// Index of a name; NotFound lists what there is.
Result<unsigned> world_by_name(std::string_view name);

// Control, segment and descriptor-table registers of the world; everything else as after power-up.
void enter_world(const World& world, cpu::x86::State& state);

// Writes the page tables of all kinds of paging into kTablesSize bytes: no accessed or dirty bit is set. `handlers`: with
// kHandlerPages. Everything else there is kStop, which is no present entry either: without paging, an experiment that jumps
// there ends, where zeros would be thousands of additions.
void write_page_tables(u8* memory, bool handlers = false);
// Where in them the tables of a kind of paging are.
struct TableArea {
    u64 at = 0, size = 0;
};
TableArea table_area(Paging paging);

}  // namespace tandem::accel::diff

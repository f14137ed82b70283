// Every port and memory-mapped register of the board: ACPI power management, reset, configuration ports, keyboard
// controller, RTC, 8259, 8254, serial ports, firmware configuration with its DMA, local and I/O APIC.
#include <array>

#include "base/log.h"
#include "tests/fuzz/board.h"
#include "tests/fuzz/input.h"

using namespace tandem;
using namespace tandem::devices;
using tandem::fuzz::Input;

namespace {

struct Range {
    u64 base;
    u64 size;
};
constexpr std::array kPorts{
    Range{0x20, 2},   Range{0xa0, 2},  Range{0x40, 4},  Range{0x60, 5},   Range{0x70, 2},  Range{0x80, 1},
    Range{0x92, 1},   Range{0xf0, 2},  Range{0xcf8, 8}, Range{0x3f8, 8},  Range{0x2f8, 8}, Range{0x4d0, 2},
    Range{0x510, 12}, Range{0x402, 1}, Range{0xe9, 1},  Range{0x600, 64}, Range{0xb0, 4},  Range{0x1000, 64},
};
constexpr std::array kMemory{
    Range{0xfec00000, 0x20},  Range{0xfec10000, 0x200}, Range{0xb0000000, 0x100},  Range{0xb00f8000, 0x100},
    Range{0xb0008000, 0x100}, Range{0xb0010000, 0x100}, Range{0xc0000000, 0x4000}, Range{0xc000000000, 0x8000},
};

// A descriptor of the firmware configuration device, and its address written to the port (DMA interface).
void firmware_dma(machines::pc::Board& board, Input& in) {
    const auto put = [&](u64 at, u64 value, unsigned bytes) {
        for (unsigned i = 0; i < bytes; ++i) {
            const auto b = static_cast<u8>(value >> (8 * (bytes - 1 - i)));
            (void)board.memory.write(at + i, &b, 1);
        }
    };
    const u64 descriptor = 0x1000 + in.byte() * 4u;
    const u32 key = in.byte() % 4 == 0 ? static_cast<u32>(in.word()) : in.byte();
    put(descriptor, u64{key} << 16 | in.byte() % 32, 4);
    put(descriptor + 4, in.byte() % 4 == 0 ? in.word() : in.byte() * 8u, 4);
    put(descriptor + 8, in.byte() % 4 == 0 ? in.word() << 32 | in.word() : 0x1000 + in.byte() * 16u, 8);
    const auto swapped = [](u64 v) { return __builtin_bswap32(static_cast<u32>(v)); };
    if (in.byte() % 8 == 0) board.io.write(0x514, swapped(in.word()), 4);
    board.io.write(0x518, swapped(descriptor), 4);
}

// Saved and restored as it is, a device is in the same state.
void save_and_restore(machines::pc::Board& board, u8 which) {
    Device& device = *board.devices()[which % board.devices().size()];
    device.machine_stopped();
    if (!device.restore(device.save()).ok()) __builtin_trap();
    device.machine_continues();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    log::set_level(log::Level::Error);
    static fuzz::FuzzedBoard fuzzed;
    machines::pc::Board& board = fuzzed.fresh();
    Input in({data, size});
    unsigned saves = 2;  // they take as long as a thousand accesses
    while (!in.at_end()) {
        const u8 action = in.byte();
        const unsigned width = 1u << (action >> 4) % 3;
        const u8 where = in.byte();
        const Range& port = kPorts[where % kPorts.size()];
        const Range& window = kMemory[where % kMemory.size()];
        const u64 local = (in.byte() % 64) * 16u;
        switch (action % 8) {
            case 0: (void)board.io.read(port.base + in.byte() % port.size, width); break;
            case 1:
            case 2: board.io.write(port.base + in.byte() % port.size, width == 1 ? in.byte() : in.word(), width); break;
            case 3: (void)board.mmio.read(window.base + in.word() % window.size, width); break;
            case 4: board.mmio.write(window.base + in.word() % window.size, in.word(), width); break;
            case 5: {
                Lapic& lapic = *board.lapics[where % board.lapics.size()];
                if ((action & 8) != 0) {
                    (void)lapic.io_read(local, 4);
                    (void)lapic.acknowledge();
                } else {
                    lapic.io_write(local, in.word(), 4);
                }
                break;
            }
            case 6: firmware_dma(board, in); break;
            default: {
                if (saves == 0) break;
                --saves;
                save_and_restore(board, where);
            }
        }
    }
    return 0;
}

#include "machines/pc/bios_data.h"

#include <array>
#include <cstddef>

#include "machines/pc/layout.h"

namespace tandem::machines::pc {
namespace {

constexpr u64 kVectors = 0, kBiosData = 0x400;

// Up to the size of memory, the last field that is filled in.
struct [[gnu::packed]] BiosData {
    u16 serial_ports[4] = {};
    u16 parallel_ports[3] = {};
    u16 ebda_segment = layout::kEbda.base >> 4;
    u16 equipment = 0;
    u8 manufacturing_test = 0;
    u16 memory_kib = layout::kLowMemory.size / layout::kKiB;  // up to the extended BIOS data area
};
static_assert(offsetof(BiosData, ebda_segment) == 0x0e && offsetof(BiosData, memory_kib) == 0x13);

constexpr unsigned kSerialPortsShift = 9;  // equipment, bits 11:9
constexpr u8 kEbdaKiB = layout::kEbda.size / layout::kKiB;

// The answer to every BIOS call, as for functions that do not exist: returns with CF set.
constexpr u64 kRefusal = layout::kEbda.base + 0x10;
constexpr std::array<u8, 9> kRefusalCode{
    0x55,                    // push bp
    0x89, 0xe5,              // mov bp, sp
    0x80, 0x4e, 0x06, 0x01,  // or byte [bp+6], 1
    0x5d,                    // pop bp
    0xcf,                    // iret
};
struct FarPointer {
    u16 offset = kRefusal - layout::kEbda.base;
    u16 segment = layout::kEbda.base >> 4;
};

}  // namespace

Result<void> place_bios_data(devices::GuestMemory& memory, unsigned serial_ports) {
    BiosData data;
    for (unsigned i = 0; i < serial_ports && i < std::size(layout::kSerial); ++i) {
        data.serial_ports[i] = static_cast<u16>(layout::kSerial[i].base);
    }
    data.equipment = static_cast<u16>(serial_ports << kSerialPortsShift);
    const std::array<FarPointer, 256> vectors;
    if (!memory.write(kVectors, vectors.data(), sizeof vectors) || !memory.write(kBiosData, &data, sizeof data) ||
        !memory.write(layout::kEbda.base, &kEbdaKiB, sizeof kEbdaKiB) ||
        !memory.write(kRefusal, kRefusalCode.data(), kRefusalCode.size())) {
        return Error{Errc::Internal, "the BIOS data areas do not lie in RAM"};
    }
    return {};
}

}  // namespace tandem::machines::pc

// The identification registers that end every PrimeCell's 4 KiB (ARM DDI 0183, 0190 and 0224, "Peripheral identification").
#pragma once

#include <array>
#include <cstddef>

#include "devices/fabric/register_bank.h"

namespace tandem::devices {

// `rows` and behind them PeriphID0 to 3, whose bytes from the lowest on are `peripheral`, and PCellID0 to 3.
template <class Owner, std::size_t N>
constexpr std::array<Register<Owner>, N + 8> with_primecell_ids(const Register<Owner> (&rows)[N], u32 peripheral) {
    constexpr u32 kFirst = 0xfe0, kCell = 0xb105f00d;
    constexpr std::array<const char*, 8> kNames{"PeriphID0", "PeriphID1", "PeriphID2", "PeriphID3",
                                                "PCellID0",  "PCellID1",  "PCellID2",  "PCellID3"};
    std::array<Register<Owner>, N + kNames.size()> all{};
    for (std::size_t i = 0; i < N; ++i) all[i] = rows[i];
    for (std::size_t i = 0; i < kNames.size(); ++i) {
        Register<Owner>& row = all[N + i];
        row.name = kNames[i];
        row.offset = kFirst + 4 * static_cast<u32>(i);
        row.reset = (i < 4 ? peripheral : kCell) >> 8 * (i % 4) & 0xff;
    }
    return all;
}

}  // namespace tandem::devices

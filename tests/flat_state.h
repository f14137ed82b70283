// A processor in flat 32-bit or 64-bit code, or in real mode, for tests that run some of it.
#pragma once

#include "cpu/x86/state.h"
#include "devices/fabric/guest_memory.h"

namespace tandem::tests {

// Flat segments, interrupts off, at `rip`. 64-bit code needs map_onto_itself() at `tables`; 32-bit code runs without paging.
inline cpu::x86::State flat_state(bool wide, u64 rip, u64 tables, unsigned cpl = 0) {
    constexpr u16 kData = 0xc093, kCode32 = 0xc09b, kCode64 = 0xa09b;
    const auto level = static_cast<u16>(cpl << 5);
    cpu::x86::State s;
    cpu::x86::reset(s, true);
    for (auto& segment : s.seg) {
        segment = {0, 0xffffffff, static_cast<u16>(0x10 | cpl), static_cast<u16>(kData | level)};
    }
    s.seg[cpu::x86::CS] = {0, 0xffffffff, static_cast<u16>(8 | cpl), static_cast<u16>((wide ? kCode64 : kCode32) | level)};
    s.cr0 = 0x11;
    s.rip = rip;
    if (wide) {
        s.cr3 = tables;
        s.cr4 = 0x20;
        s.cr0 |= u64{1} << 31;
        s.msr.efer = 0x500;
    }
    return s;
}

// In real-address mode with all segments at 0, interrupts off.
inline cpu::x86::State real_state(u64 rip) {
    cpu::x86::State s;
    cpu::x86::reset(s, true);
    for (auto& segment : s.seg) segment = {0, 0xffff, 0, 0x93};
    s.seg[cpu::x86::CS].access = 0x9b;
    s.rip = rip;
    return s;
}

// Page tables at `tables` (three pages) for the first 2 MiB, which every level of privilege may write. False: no RAM there.
inline bool map_onto_itself(devices::GuestMemory& memory, u64 tables) {
    const u64 entries[] = {(tables + 0x1000) | 7, (tables + 0x2000) | 7, 0x87};
    for (u64 i = 0; i < 3; ++i) {
        if (!memory.write(tables + 0x1000 * i, &entries[i], 8)) return false;
    }
    return true;
}

}  // namespace tandem::tests

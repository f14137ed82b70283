// How the processors of a machine are arranged: packages of cores of threads.
#pragma once

#include <bit>

#include "base/types.h"

namespace tandem::cpu::x86 {

struct Topology {
    u32 sockets = 1;
    u32 cores = 1;    // of a socket
    u32 threads = 1;  // of a core

    [[nodiscard]] constexpr u32 count() const { return sockets * package_count(); }
    [[nodiscard]] constexpr u32 package_count() const { return cores * threads; }
    // Bits of an APIC id below the core's and the package's number (SDM volume 3, 8.9.1).
    [[nodiscard]] constexpr unsigned core_shift() const { return width(threads); }
    [[nodiscard]] constexpr unsigned package_shift() const { return core_shift() + width(cores); }
    // Of processor number `index`: threads first, then cores, then sockets. Ids have gaps where a level's size is no power
    // of two.
    [[nodiscard]] constexpr u32 apic_id(u32 index) const {
        const u32 thread = index % threads, core = index / threads % cores, socket = index / package_count();
        return socket << package_shift() | core << core_shift() | thread;
    }

private:
    static constexpr unsigned width(u32 members) { return static_cast<unsigned>(std::bit_width(members - 1)); }
};

}  // namespace tandem::cpu::x86

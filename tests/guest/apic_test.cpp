// Interrupt controllers of the whole machine under a small kernel of our own (kernels/apic.asm), on every tier.
#include <catch2/catch.hpp>

#include <algorithm>

#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

TEST_CASE("local APICs and I/O APIC: modes, destinations, priorities, timers, edges and levels", "[I7][I8]") {
    const std::string tier = GENERATE(as<std::string>{}, "interp", "baseline", "auto");
    const Finished f =
        run_program({tandem_program(), "-nographic", "-m", "16", "-smp", "4", "-device", "pc-testdev", "-device",
                     "isa-debug-exit,iobase=0xf4", "-kernel", TANDEM_KERNELS "/apic", "-accel", "jit,tier=" + tier},
                    120s);
    INFO(tier << "\n" << f.output);
    CHECK(f.status == 1);  // the guest's 0
    CHECK(f.output.find("FAIL") == std::string::npos);
    CHECK(f.output.find("ok xAPIC again") != std::string::npos);
}

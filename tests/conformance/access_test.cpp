// Accesses that engines take apart.
#include "tests/conformance/bench.h"

using namespace tandem;
using namespace tandem::tests;

TEST_CASE("an access in two parts has ended before the state is looked at", "[U5]") {
    for (const Engine engine : engines()) {
        CAPTURE(static_cast<int>(engine));
        // mov ax, 0f000h; mov ds, ax; mov eax, [0effeh], which crosses a page; jmp .
        Bench b(create_engine(engine), {0xb8, 0x00, 0xf0, 0x8e, 0xd8, 0x66, 0xa1, 0xfe, 0xef, 0xeb, 0xfe}, 0xfe000);
        constexpr u64 kAfter = kCode + 9;
        unsigned bytes = 0;
        b.handler.on_mmio = [&](accel::Vcpu& vcpu, accel::MmioExit& m) {
            for (unsigned i = 0; i < m.size; ++i) m.data |= ((m.address + i) & 0xff) << (8 * i);
            bytes += m.size;
            vcpu.request_exit();
        };
        for (int i = 0; i < 3 && b.state().rip < kAfter; ++i) {
            CHECK(std::holds_alternative<accel::RequestedExit>(accel::run_until_event(*b.vcpu, b.handler)));
        }
        CHECK(b.state().rip == kAfter);
        CHECK(bytes == 4);
        CHECK(b.state().gpr[cpu::x86::RAX] == 0x0100fffe);
    }
}

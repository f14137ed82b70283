// Contract T2: the same guest with the same inputs leaves the same trace on every engine. What does not is listed in
// docs/differences.md.
#include <catch2/catch.hpp>

#include "tests/conformance/bench.h"
#include "tests/log_capture.h"

using namespace tandem;
using namespace tandem::tests;

namespace {

// A write that KVM's emulator has carried out leaves with the next instruction's rip.
void level(std::vector<std::string>& lines) {
    for (std::size_t i = 0; i + 1 < lines.size(); ++i) {
        const auto rip = lines[i].find(" rip "), end = lines[i].find(" info1");
        const bool write =
            lines[i + 1].find("_write ") != std::string::npos || lines[i + 1].find(" write ") != std::string::npos;
        if (rip != std::string::npos && end != std::string::npos && write) lines[i].erase(rip, end - rip);
    }
}

// Exits and accesses; entries are the engines' own.
std::vector<std::string> trace(Engine engine) {
    // mov ax,0xffff; mov ds,ax; mov byte [0x10],0x5a; mov bx,[0x20]; mov dx,0x1f0; out dx,al; in al,dx; out dx,eax;
    // in ax,dx; hlt
    Bench b(engine, {0xb8, 0xff, 0xff, 0x8e, 0xd8, 0xc6, 0x06, 0x10, 0x00, 0x5a, 0x8b, 0x1e,
                     0x20, 0x00, 0xba, 0xf0, 0x01, 0xee, 0xec, 0x66, 0xef, 0xed, 0xf4});
    const LogCapture log(log::Exits);
    CHECK(std::holds_alternative<accel::HaltExit>(b.vcpu->run()));
    std::vector<std::string> lines = log.lines();
    std::erase_if(lines, [](const std::string& line) {
        return !line.starts_with("kvm_exit") && !line.starts_with("kvm_pio") && !line.starts_with("kvm_mmio");
    });
    level(lines);
    return lines;
}

}  // namespace

TEST_CASE("the same guest leaves the same trace on every engine", "[T2]") {
    const std::vector<Engine> all = engines();
    const std::vector<std::string> first = trace(all.front());
    CHECK(first.size() >= 12);
    for (const Engine engine : all) {
        CAPTURE(static_cast<int>(engine));
        CHECK(trace(engine) == first);
    }
}

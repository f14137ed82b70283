// A guest's own driver of virtio (kernels/rng.asm), whose notifications an engine may turn into events (contract T4).
#include <catch2/catch.hpp>

#include <unistd.h>

#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

namespace {

Finished run_driver(const std::string& accel, const std::string& ioeventfd = "on") {
    return run_program({tandem_program(), "-nographic", "-m", "16", "-device", "virtio-rng-pci,ioeventfd=" + ioeventfd,
                        "-device", "isa-debug-exit,iobase=0xf4", "-kernel", TANDEM_KERNELS "/rng", "-accel", accel},
                       120s);
}

void check(const std::string& accel, const Finished& f) {
    INFO(accel << "\n" << f.output);
    CHECK(f.output.find("FAIL") == std::string::npos);
    CHECK(f.output.find("ok a masked vector waits") != std::string::npos);
}

}  // namespace

TEST_CASE("a driver of virtio-rng polls, moves its BAR, and waits for MSI-X on the translator", "[T4]") {
    const std::string accel = GENERATE(as<std::string>{}, "jit", "jit,tier=interp");
    check(accel, run_driver(accel));
}

TEST_CASE("a driver's notifications reach the device on KVM, with and without exits, whoever has the interrupt controllers",
          "[T4][I6]") {
    if (access("/dev/kvm", R_OK | W_OK) != 0) {
        WARN("skipped: no /dev/kvm");
        return;
    }
    const std::string irqchip = GENERATE(as<std::string>{}, "user", "split", "kernel");
    const std::string accel = "kvm,irqchip=" + irqchip;
    const Finished bells = run_driver(accel), exits = run_driver(accel, "off");
    if (bells.output.find("use irqchip=user") != std::string::npos) {
        WARN("skipped: irqchip=" << irqchip << ": " << bells.output);
        return;
    }
    check(accel, bells);
    check(accel + ", ioeventfd=off", exits);
}

TEST_CASE("ioeventfd is on or off") {
    const Finished f = run_driver("jit", "perhaps");
    INFO(f.output);
    CHECK(f.status == 1);
    CHECK(f.output.find("ioeventfd") != std::string::npos);
}

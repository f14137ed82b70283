// Systems of others that Debian packages, whose code nobody adapted to this machine.
#include <catch2/catch.hpp>

#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

TEST_CASE("Xen, a multiboot kernel, boots Debian as its first domain") {
    const std::string processors = GENERATE("1", "2");
    CAPTURE(processors);
    // Xen makes the list's first module the domain's kernel. The domain has no driver for Xen's console, only for its early
    // one.
    Session s({tandem_program(), "-nographic", "-m", "512", "-smp", processors, "-kernel", image("systems/xen"), "-append",
               "console=com1 com1=115200,8n1 loglvl=all noreboot", "-initrd",
               image("vmlinuz") + " earlyprintk=xen tandem.run=/bin/true," + image("initramfs")});
    REQUIRE(s.wait_for("Xen version 4.17"));
    REQUIRE(s.wait_for("Building a PV Dom0"));
    REQUIRE(s.wait_for("Run /init as init process", 180s));
    REQUIRE(s.wait_for("Hardware Dom0 halted"));
    s.type("\x01x");
    CHECK(s.wait_exit() == 0);
}

TEST_CASE("memtest86+ tests memory without finding errors, and its user reboots") {
    Session s({tandem_program(), "-nographic", "-no-reboot", "-m", "32", "-kernel", image("systems/memtest"), "-append",
               "console=ttyS0,115200"});
    REQUIRE(s.wait_for("Memtest86+"));
    // The last test, during which it waits for minutes. It shows the others only once in a while.
    REQUIRE(s.wait_for("[Bit fade test, 2 patterns]", 240s));
    CHECK(s.wait_for("Errors: 0"));
    s.type("\x1b");
    CHECK(s.wait_exit() == 0);
}

TEST_CASE("U-Boot as firmware takes commands and resets the machine") {
    Session s({tandem_program(), "-nographic", "-no-reboot", "-m", "256", "-bios", image("systems/u-boot.rom")});
    REQUIRE(s.wait_for("DRAM:  256 MiB"));
    REQUIRE(s.wait_for("Hit any key to stop autoboot"));
    s.type(" ");
    REQUIRE(s.wait_for("=> "));
    s.type("md.b f0000 10\r");
    REQUIRE(s.wait_for("000f0000: "));
    REQUIRE(s.wait_for("=> "));  // what is typed before is lost: the command asks for Ctrl-C
    s.type("reset\r");
    CHECK(s.wait_exit() == 0);
}

TEST_CASE("iPXE's kernel image, whose one entry is the 16-bit one, is started through SeaBIOS") {
    Session s({tandem_program(), "-nographic", "-no-reboot", "-m", "128", "-kernel", image("systems/ipxe.lkrn"), "-append",
               "echo the command line is here && echo and ends && reboot", "-nic", "user"});
    REQUIRE(s.wait_for("iPXE initialising"));
    REQUIRE(s.wait_for("the command line is here"));
    CHECK(s.wait_exit() == 0);
}

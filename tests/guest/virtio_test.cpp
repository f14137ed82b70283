// Debian's drivers for the smaller virtio devices, and virtio over MMIO.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>

#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

namespace {

const std::string kPrompt = "guest# ";

std::vector<std::string> boot(const std::string& drivers, const std::vector<std::string>& more) {
    return debian("quiet tandem.load=" + drivers, more);
}

void power_off(Session& s) {
    s.type("poweroff -f\n");
    CHECK(s.wait_exit() == 0);
}

}  // namespace

TEST_CASE("a disk and random numbers over virtio-mmio, found through ACPI") {
    Session s(boot("virtio_mmio,virtio_blk,virtio-rng",
                   {"-drive", "file=" + image("disk.img") + ",if=none,id=d,snapshot=on", "-device",
                    "virtio-blk-device,drive=d,serial=MMIO-DISK", "-device", "virtio-rng-device"}));
    REQUIRE(s.wait_for(kPrompt, 120s));
    s.type("cat /sys/block/vda/serial; mount -t ext4 /dev/vda /mnt && cat /mnt/init | head -2; umount /mnt\n");
    CHECK(s.wait_for("MMIO-DISK"));
    CHECK(s.wait_for("First program of the test guests"));
    s.type(
        "dd if=/dev/hwrng of=/dev/null bs=4k count=4; ls /sys/bus/virtio/devices | wc -l; ls -d "
        "/sys/devices/*/LNRO0005:01*\n");
    CHECK(s.wait_for("4+0 records out"));
    CHECK(s.wait_for("/LNRO0005:01"));
    power_off(s);
}

TEST_CASE("a virtio-serial port leads to a socket in both directions, a virtconsole is hvc0") {
    const auto path = std::filesystem::temp_directory_path() / ("tandem-port-" + std::to_string(getpid()));
    Session s(
        boot("virtio_console", {"-chardev", "socket,id=s,server=on,wait=off,path=" + path.string(), "-chardev", "null,id=n",
                                "-device", "virtio-serial-pci,id=ser", "-device",
                                "virtserialport,bus=ser.0,chardev=s,name=org.test.0", "-device", "virtconsole,chardev=n"}));
    REQUIRE(s.wait_for(kPrompt, 120s));
    s.type("cat /sys/class/virtio-ports/vport0p1/name; ls /dev/hvc0\n");
    CHECK(s.wait_for("org.test.0"));
    CHECK(s.wait_for("/dev/hvc0"));
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    path.string().copy(a.sun_path, sizeof a.sun_path - 1);
    const int host = socket(AF_UNIX, SOCK_STREAM, 0);
    REQUIRE(connect(host, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0);
    s.type("exec 3<>/dev/vport0p1; echo to-the-host >&3; head -n 1 <&3 | tr a-z A-Z\n");
    std::string text(12, '\0');
    REQUIRE(recv(host, text.data(), text.size(), MSG_WAITALL) == 12);
    CHECK(text == "to-the-host\n");
    REQUIRE(send(host, "to-the-guest\n", 13, 0) == 13);
    CHECK(s.wait_for("TO-THE-GUEST"));
    close(host);
    power_off(s);
}

TEST_CASE("the balloon's driver finds its device") {
    Session s(boot("virtio_balloon", {"-device", "virtio-balloon-pci,free-page-reporting=on"}));
    REQUIRE(s.wait_for(kPrompt, 120s));
    s.type("ls /sys/bus/virtio/drivers/virtio_balloon/\n");
    CHECK(s.wait_for("virtio0"));
    // Pages that were written and freed go back, and come back as zeros.
    s.type("dd if=/dev/zero of=/tmp/fill bs=1M count=64; rm /tmp/fill; sleep 4; echo again-$((40 + 2))\n");
    CHECK(s.wait_for("again-42"));
    s.type("dd if=/dev/zero of=/tmp/fill bs=1M count=64; cmp -n 67108864 /tmp/fill /dev/zero && echo zeros-$((40 + 2))\n");
    CHECK(s.wait_for("zeros-42"));
    power_off(s);
}

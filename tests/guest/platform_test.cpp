// What the board and its firmware tables tell Debian's kernel: timers, clock, memory map, names; and a kernel that panics.
#include <catch2/catch.hpp>
#include <cstdlib>

#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

namespace {

const std::string kPrompt = "guest# ";

std::vector<std::string> boot(const std::string& append, const std::vector<std::string>& more) {
    std::vector<std::string> argv{tandem_program(), "-nographic",       "-kernel", image("vmlinuz"),
                                  "-initrd",        image("initramfs"), "-append", "console=ttyS0 quiet " + append};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
}

void power_off(Session& s) {
    s.type("poweroff -f\n");
    CHECK(s.wait_exit() == 0);
}

}  // namespace

TEST_CASE("the HPET is found through ACPI and keeps time; without it there is none") {
    const bool hpet = GENERATE(true, false);
    Session s(boot("", {"-m", "256", "-machine", hpet ? "q35" : "q35,hpet=off"}));
    REQUIRE(s.wait_for(kPrompt, 120s));
    s.type("cd /sys/devices/system/clocksource/clocksource0; cat available_clocksource; echo end-$((40 + 2))\n");
    REQUIRE(s.wait_for("end-42"));
    CHECK((s.output().find("hpet") != std::string::npos) == hpet);
    if (hpet) {
        s.type(
            "echo hpet > current_clocksource; a=$(date +%s); sleep 2; d=$(($(date +%s) - a)); [ $(cat current_clocksource) "
            "= "
            "hpet ] && [ $d -ge 2 ] && [ $d -le 4 ] && echo kept-$((40 + 2))\n");
        CHECK(s.wait_for("kept-42"));
    }
    power_off(s);
}

TEST_CASE("the real-time clock shows what -rtc says") {
    Session s(boot("", {"-m", "256", "-rtc", "base=2031-07-08T09:10:11,clock=vm"}));
    REQUIRE(s.wait_for(kPrompt, 120s));
    s.type("echo $(date -u +%Y-%m-%d) $(cat /sys/class/rtc/rtc0/date); poweroff -f\n");
    CHECK(s.wait_for("2031-07-08 2031-07-08"));
    CHECK(s.wait_exit() == 0);
}

TEST_CASE("the firmware's tables name the machine") {
    Session s(boot("", {"-m", "256", "-uuid", "00112233-4455-6677-8899-aabbccddeeff", "-smbios",
                        "type=1,manufacturer=Works,,Inc,product=Thing,serial=S-1", "-smbios", "type=3,asset=A-7"}));
    REQUIRE(s.wait_for(kPrompt, 120s));
    s.type("cd /sys/class/dmi/id; echo $(cat sys_vendor product_name product_serial product_uuid chassis_asset_tag)\n");
    CHECK(s.wait_for("Works,Inc Thing S-1 00112233-4455-6677-8899-aabbccddeeff A-7"));
    power_off(s);
}

TEST_CASE("six GiB: memory below the hole and above 4 GiB, all of it usable") {
    Session s(boot("", {"-m", "6G", "-smp", "2"}));
    REQUIRE(s.wait_for(kPrompt, 120s));
    s.type("dmesg | grep -i 'e820: \\[mem' | grep -v modified | grep usable; grep MemTotal /proc/meminfo\n");
    // 640 KiB, RAM up to the configuration window at 2.75 GiB, the rest above 4 GiB.
    CHECK(s.wait_for("0x0000000000000000-0x000000000009fbff] usable"));
    CHECK(s.wait_for("0x0000000000100000-0x00000000afffffff] usable"));
    CHECK(s.wait_for("0x0000000100000000-0x00000001cfffffff] usable"));
    REQUIRE(s.wait_for("MemTotal:"));
    REQUIRE(s.wait_for("kB"));
    CHECK(std::atol(s.output().c_str() + s.output().rfind("MemTotal:") + 9) > 5'900'000);
    // A page on both sides, through a tmpfs larger than the lower part.
    s.type(
        "mount -t tmpfs -o size=5G t /mnt; dd if=/dev/zero of=/mnt/f bs=1M seek=3000 count=1 2>/dev/null; "
        "grep -E 'System RAM' /proc/iomem | tail -1\n");
    CHECK(s.wait_for("100000000-1cfffffff : System RAM"));
    power_off(s);
}

TEST_CASE("a kernel that panics tells pvpanic, and -action says what follows") {
    struct Row {
        const char *device, *module, *action, *says;
        int status;
    };
    const auto row = GENERATE(Row{"pvpanic", "pvpanic-mmio", "panic=exit-failure", "ends", 1},
                              Row{"pvpanic-pci", "pvpanic-pci", "panic=shutdown", "ends", 0});
    CAPTURE(row.device);
    Session s(boot("", {"-m", "256", "-device", row.device, "-action", row.action}));
    REQUIRE(s.wait_for(kPrompt, 120s));
    s.type(std::string("cd /lib/modules; insmod pvpanic.ko; insmod ") + row.module + ".ko; echo c > /proc/sysrq-trigger\n");
    CHECK(s.wait_exit() == row.status);
    CHECK(s.output().find("the guest's kernel panicked") != std::string::npos);
    CHECK(s.output().find(row.says) != std::string::npos);
}

TEST_CASE("a panic may leave the machine paused, to be looked at") {
    Session s(boot("", {"-m", "256", "-device", "pvpanic", "-action", "panic=pause"}));
    REQUIRE(s.wait_for(kPrompt, 120s));
    s.type("cd /lib/modules; insmod pvpanic.ko; insmod pvpanic-mmio.ko; echo c > /proc/sysrq-trigger\n");
    REQUIRE(s.wait_for("the machine is paused"));
    std::string status;
    REQUIRE(s.command("info status", &status));
    CHECK(status.find("paused") != std::string::npos);
    CHECK(s.quit() == 0);
}

// Debian's kernel on the program, as a user runs it.
#include <catch2/catch.hpp>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

namespace {

// A private copy of the test disk, removed at the end.
class Disk {
public:
    Disk() {
        std::string name = (std::filesystem::temp_directory_path() / "tandem-disk-XXXXXX").string();
        const int fd = mkstemp(name.data());
        REQUIRE(fd >= 0);
        close(fd);
        path_ = name;
        std::filesystem::copy_file(image("disk.img"), path_, std::filesystem::copy_options::overwrite_existing);
    }
    ~Disk() { std::filesystem::remove(path_); }
    Disk(const Disk&) = delete;
    Disk& operator=(const Disk&) = delete;

    [[nodiscard]] std::string drive() const { return "file=" + path_; }
    [[nodiscard]] Finished check(bool repair_journal) const {
        if (repair_journal) run_program({"/sbin/e2fsck", "-fp", path_});
        return run_program({"/sbin/e2fsck", "-fn", path_});
    }
    [[nodiscard]] std::string read(const std::string& file) const {
        return run_program({"/sbin/debugfs", "-R", "cat " + file, path_}).output;
    }

private:
    std::string path_;
};

const std::string kPrompt = "guest# ";

}  // namespace

TEST_CASE("Debian's kernel boots to an interactive shell on every tier") {
    const std::string tier = GENERATE(as<std::string>{}, "tier=baseline", "tier=auto", "tier=auto,llvm-threshold=50",
                                      "tier=llvm,llvm-threshold=50000");
    CAPTURE(tier);
    Session s(debian("quiet", {"-accel", "jit,stats=on," + tier}));
    INFO(s.output());
    REQUIRE(s.wait_for(kPrompt, 120s));
    s.type("echo $((6 * 7)) from $(uname -m)\n");
    CHECK(s.wait_for("42 from x86_64"));
    s.type("cat /proc/cmdline; poweroff -f\n");
    CHECK(s.wait_exit() == 0);
    if (tier.starts_with("tier=llvm")) {
        const std::string name = "regions compiled (llvm)";
        const auto at = s.output().rfind(name);
        REQUIRE(at != std::string::npos);
        CHECK(std::atoi(s.output().c_str() + at + name.size()) > 0);
    }
}

TEST_CASE("four processors of Debian's kernel take up KVM's paravirtual spinlocks and IPIs, and work", "[H5]") {
    Session s(debian("", {"-smp", "4", "-cpu", "max,+kvm-pv-unhalt,+kvm-pv-ipi,+kvm-pv-sched-yield"}));
    INFO(s.output());
    REQUIRE(s.wait_for("kvm-guest: PV spinlocks enabled", 120s));
    REQUIRE(s.wait_for("kvm-guest: setup PV IPIs", 120s));
    REQUIRE(s.wait_for(kPrompt, 240s));
    s.type(
        "dmesg -n 1; for i in 1 2 3 4 5 6 7 8; do (seq 1 3000 | md5sum; cat /proc/interrupts > /dev/null) & done; wait; "
        "echo all-$((3 + "
        "5))\n");
    CHECK(s.wait_for("all-8", 120s));
    s.type("poweroff -f\n");
    CHECK(s.wait_exit() == 0);
}

TEST_CASE("an ext4 disk is the root: written, synced, powered off, and clean") {
    Disk disk;
    {
        Session s(debian("quiet tandem.root=/dev/vda", {"-drive", disk.drive()}));
        REQUIRE(s.wait_for(kPrompt, 120s));
        s.type("mount | grep ' / '\n");
        CHECK(s.wait_for("/dev/vda on / type ext4"));
        s.type("seq 1 20000 > /root/numbers; md5sum /root/numbers; sync; mount -o remount,ro /; poweroff -f\n");
        // Of seq 1 20000 on any machine.
        CHECK(s.wait_for("e071f707df7bbeee2a6a1eb48011ddd0  /root/numbers"));
        CHECK(s.wait_exit() == 0);
    }
    const Finished fsck = disk.check(false);
    INFO(fsck.output);
    CHECK(fsck.status == 0);
    const std::string numbers = disk.read("/root/numbers");
    CHECK(numbers.find("\n19999\n20000\n") != std::string::npos);
}

TEST_CASE("what the guest synced survives kill -9 of the emulator") {
    Disk disk;
    {
        Session s(debian("quiet tandem.root=/dev/vda", {"-drive", disk.drive()}));
        REQUIRE(s.wait_for(kPrompt, 120s));
        s.type(
            "echo precious-$((40 + 2)) > /root/kept; sync; echo synced-$((1 + 1)); while :; do echo x >> /root/lost; "
            "done\n");
        REQUIRE(s.wait_for("synced-2"));
        s.signal(SIGKILL);
        CHECK(s.wait_exit() == 128 + SIGKILL);
    }
    const Finished fsck = disk.check(true);  // the journal is replayed first, as a mount would
    INFO(fsck.output);
    CHECK(fsck.status == 0);
    CHECK(disk.read("/root/kept").find("precious-42") != std::string::npos);
}

TEST_CASE("a guest's reboot starts over, and ends the program with -no-reboot") {
    SECTION("reboot") {
        Session s(debian("quiet"));
        REQUIRE(s.wait_for(kPrompt, 120s));
        s.type("reboot -f\n");
        REQUIRE(s.wait_for("user space reached", 120s));
        REQUIRE(s.wait_for(kPrompt));
        s.type("poweroff -f\n");
        CHECK(s.wait_exit() == 0);
    }
    SECTION("-no-reboot") {
        Session s(debian("quiet", {"-no-reboot"}));
        REQUIRE(s.wait_for(kPrompt, 120s));
        s.type("reboot -f\n");
        CHECK(s.wait_exit() == 0);
    }
}

TEST_CASE("a list of initial RAM disks is unpacked one after the other") {
    const auto path = std::filesystem::temp_directory_path() / ("tandem-second-" + std::to_string(getpid()));
    // An archive in cpio's "newc" format with one file, of an odd length.
    const auto entry = [](const std::string& name, unsigned mode, const std::string& body) {
        char header[111];
        std::snprintf(header, sizeof header, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 1, mode, 0, 0, 1,
                      0, static_cast<unsigned>(body.size()), 0, 0, 0, 0, static_cast<unsigned>(name.size() + 1), 0);
        const auto padded = [](std::string text) {
            text.resize((text.size() + 3) / 4 * 4);
            return text;
        };
        return padded(std::string(header, 110) + name + '\0') + padded(body);
    };
    std::ofstream(path, std::ios::binary) << entry("second", 0100644, "from-the-second\n") + entry("TRAILER!!!", 0, "")
                                          << '\0';
    for (const std::string& list : {image("initramfs") + "," + path.string(), path.string() + "," + image("initramfs")}) {
        std::vector<std::string> argv = debian("quiet");
        *std::ranges::find(argv, image("initramfs")) = list;
        Session s(argv);
        REQUIRE(s.wait_for(kPrompt, 120s));
        s.type("cat /second; poweroff -f\n");
        CHECK(s.wait_for("from-the-second"));
        CHECK(s.wait_exit() == 0);
    }
    std::filesystem::remove(path);
}

// Limits far below the kernel's defaults, and above what a busy host costs.
TEST_CASE("four busy processors on fewer host cores: no stalls, no watchdog") {
    Session s(debian("quiet rcupdate.rcu_cpu_stall_timeout=8 watchdog_thresh=5", {"-smp", "4"}));
    REQUIRE(s.wait_for(kPrompt, 120s));
    s.type("for i in 1 2 3 4; do (while :; do :; done) & done; sleep 15; kill $(jobs -p); echo done-$((40 + 2))\n");
    REQUIRE(s.wait_for("done-42", 120s));
    s.type("echo complaints-$(dmesg | grep -ciE 'detected stall|soft lockup|blocked for more than|unstable|skew')\n");
    CHECK(s.wait_for("complaints-0"));
    s.type("poweroff -f\n");
    CHECK(s.wait_exit() == 0);
}

TEST_CASE("the program ends cleanly on Ctrl-A x, SIGINT and SIGTERM") {
    Session s(debian("quiet"));
    REQUIRE(s.wait_for(kPrompt, 120s));
    SECTION("Ctrl-A x") {
        s.type("\x01x");
        CHECK(s.wait_exit() == 0);
    }
    SECTION("SIGINT") {
        s.signal(SIGINT);
        CHECK(s.wait_exit() == 130);
    }
    SECTION("SIGTERM") {
        s.signal(SIGTERM);
        CHECK(s.wait_exit() == 143);
    }
}

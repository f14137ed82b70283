// Debian's kernel on the program, as a user runs it.
#include <catch2/catch.hpp>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

namespace {

std::vector<std::string> boot(const std::string& append, const std::vector<std::string>& more = {}) {
    std::vector<std::string> argv{tandem_program(),
                                  "-nographic",
                                  "-m",
                                  "256",
                                  "-kernel",
                                  image("vmlinuz"),
                                  "-initrd",
                                  image("initramfs"),
                                  "-append",
                                  "console=ttyS0 " + append};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
}

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
    Session s(boot("quiet", {"-accel", "jit,stats=on," + tier}));
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

TEST_CASE("an ext4 disk is the root: written, synced, powered off, and clean") {
    Disk disk;
    {
        Session s(boot("quiet tandem.root=/dev/vda", {"-drive", disk.drive()}));
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
        Session s(boot("quiet tandem.root=/dev/vda", {"-drive", disk.drive()}));
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
        Session s(boot("quiet"));
        REQUIRE(s.wait_for(kPrompt, 120s));
        s.type("reboot -f\n");
        REQUIRE(s.wait_for("user space reached", 120s));
        REQUIRE(s.wait_for(kPrompt));
        s.type("poweroff -f\n");
        CHECK(s.wait_exit() == 0);
    }
    SECTION("-no-reboot") {
        Session s(boot("quiet", {"-no-reboot"}));
        REQUIRE(s.wait_for(kPrompt, 120s));
        s.type("reboot -f\n");
        CHECK(s.wait_exit() == 0);
    }
}

TEST_CASE("the program ends cleanly on Ctrl-A x, SIGINT and SIGTERM") {
    Session s(boot("quiet"));
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

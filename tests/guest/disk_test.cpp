// Disks as Debian's driver uses them: cache modes and ways of waiting, several queues, resets and crashes in the middle of
// writes, storage given back, errors of the host, images of other formats.
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

const std::string kPrompt = "guest# ";

// A directory with room for direct I/O, removed at the end.
class Place {
public:
    Place() {
        std::string name = "/var/tmp/tandem-disks-XXXXXX";
        REQUIRE(mkdtemp(name.data()) != nullptr);
        path_ = name;
    }
    ~Place() { fs::remove_all(path_); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

    // A copy of the test guests' root disk.
    [[nodiscard]] std::string root() const {
        const std::string copy = path_ + "/root.img";
        fs::copy_file(image("disk.img"), copy, fs::copy_options::overwrite_existing);
        return copy;
    }
    [[nodiscard]] std::string blank(std::uintmax_t size) const {
        const std::string name = path_ + "/blank.img";
        std::ofstream(name, std::ios::binary).put('\0');
        fs::resize_file(name, size);
        return name;
    }
    [[nodiscard]] std::string path() const { return path_; }

private:
    std::string path_;
};

std::vector<std::string> boot(const std::string& append, const std::vector<std::string>& more) {
    std::vector<std::string> argv{tandem_program(),
                                  "-nographic",
                                  "-m",
                                  "256",
                                  "-smp",
                                  "2",
                                  "-kernel",
                                  image("vmlinuz"),
                                  "-initrd",
                                  image("initramfs"),
                                  "-append",
                                  "console=ttyS0 quiet " + append};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
}

void power_off(Session& s) {
    s.type("poweroff -f\n");
    CHECK(s.wait_exit() == 0);
}

// The file system as a mount would find it: the journal is played back, then nothing may be wrong.
void check_clean(const std::string& disk) {
    run_program({"/sbin/e2fsck", "-fp", disk});
    const Finished fsck = run_program({"/sbin/e2fsck", "-fn", disk});
    INFO(fsck.output);
    CHECK(fsck.status == 0);
}

std::string read_file(const std::string& disk, const std::string& file) {
    return run_program({"/sbin/debugfs", "-R", "cat " + file, disk}).output;
}

std::uintmax_t allocated(const std::string& file) {
    struct stat st{};
    REQUIRE(stat(file.c_str(), &st) == 0);
    return static_cast<std::uintmax_t>(st.st_blocks) * 512;
}

bool has_direct_io(const std::string& directory) {
    const fs::path probe = directory + "/probe";
    std::ofstream(probe).put('x');
    return run_program({"dd", "if=" + probe.string(), "of=/dev/null", "iflag=direct", "bs=4096"}).status == 0;
}

}  // namespace

TEST_CASE("four writers on two queues: everything is read back, in every cache mode and way of waiting") {
    const std::string options = GENERATE(as<std::string>{}, "", ",aio=io_uring", ",cache=none,aio=native",
                                         ",cache=writethrough", ",cache=directsync,detect-zeroes=unmap");
    CAPTURE(options);
    const Place place;
    if (options.find("none") + options.find("direct") != 2 * std::string::npos && !has_direct_io(place.path())) {
        WARN("skipped: no direct I/O in " << place.path());
        return;
    }
    const std::string disk = place.blank(64 << 20);
    Session s(boot("tandem.load=virtio_blk", {"-drive", "file=" + disk + options}));
    REQUIRE(s.wait_for(kPrompt, 120s));
    s.type("echo queues-$(ls /sys/block/vda/mq | wc -l); head -c 8388608 /dev/urandom > /tmp/data; cd /tmp\n");
    CHECK(s.wait_for("queues-2"));
    // Writers of different sizes next to one another; each then reads its part back past the page cache.
    s.type(
        "one() { dd if=data of=/dev/vda bs=$2 seek=$(($1 * 8388608 / $2)) oflag=direct conv=notrunc 2>&1 | grep -v rec; "
        "dd if=/dev/vda bs=$2 skip=$(($1 * 8388608 / $2)) count=$((8388608 / $2)) iflag=direct 2>/dev/null | cmp - data && "
        "echo same-$1; }\n");
    s.type(
        "for i in 0 1 2 3; do one $i $((65536 >> $i)) & done; wait; sync; echo 3 > /proc/sys/vm/drop_caches; "
        "a=$(dd if=/dev/vda bs=1M count=32 2>/dev/null | md5sum); b=$(cat data data data data | md5sum); "
        "[ \"$a\" = \"$b\" ] && echo equal-$((40 + 2)); echo all-$((40 + 2))\n");
    REQUIRE(s.wait_for("all-42", 180s));
    for (const char* text : {"same-0", "same-1", "same-2", "same-3", "equal-42"}) {
        CAPTURE(text);
        CHECK(s.output().find(text) != std::string::npos);
    }
    power_off(s);
}

TEST_CASE("an ext4 disk survives a reset in the middle of writes") {
    const Place place;
    const std::string disk = place.root();
    {
        Session s(boot("tandem.root=/dev/vda", {"-drive", "file=" + disk + ",aio=io_uring"}));
        REQUIRE(s.wait_for(kPrompt, 120s));
        s.type(
            "echo precious-$((40 + 2)) > /root/kept; sync; echo synced-$((1 + 1)); while :; do cat /bin/busybox >> "
            "/root/lost; rm -f /root/lost2; mv /root/lost /root/lost2; done &\n");
        REQUIRE(s.wait_for("synced-2"));
        usleep(500'000);
        CHECK(s.command("system_reset"));
        REQUIRE(s.wait_for("user space reached", 120s));
        s.type("\n");
        REQUIRE(s.wait_for(kPrompt));
        s.type("cat /root/kept; mount | grep ' / '\n");
        CHECK(s.wait_for("precious-42"));
        CHECK(s.wait_for("/dev/vda on / type ext4"));
        power_off(s);
    }
    check_clean(disk);
    CHECK(read_file(disk, "/root/kept").find("precious-42") != std::string::npos);
}

TEST_CASE("what the guest synced survives kill -9 in every cache mode that promises it") {
    const std::string options =
        GENERATE(as<std::string>{}, ",aio=io_uring", ",cache=none,aio=io_uring", ",cache=writethrough");
    CAPTURE(options);
    const Place place;
    if (options.find("none") != std::string::npos && !has_direct_io(place.path())) {
        WARN("skipped: no direct I/O in " << place.path());
        return;
    }
    const std::string disk = place.root();
    {
        Session s(boot("tandem.root=/dev/vda", {"-drive", "file=" + disk + options}));
        REQUIRE(s.wait_for(kPrompt, 120s));
        s.type(
            "echo precious-$((40 + 2)) > /root/kept; sync; echo synced-$((1 + 1)); while :; do cat /bin/busybox >> "
            "/root/lost; done\n");
        REQUIRE(s.wait_for("synced-2"));
        usleep(300'000);
        s.signal(SIGKILL);
        CHECK(s.wait_exit() == 128 + SIGKILL);
    }
    check_clean(disk);
    CHECK(read_file(disk, "/root/kept").find("precious-42") != std::string::npos);
}

TEST_CASE("eight writers on four queues of four processors: ext4 is whole after a reset, and every checksum right") {
    const Place place;
    const std::string disk = place.root();
    {
        Session s(boot("tandem.root=/dev/vda", {"-smp", "4", "-drive", "file=" + disk + ",if=none,id=d", "-device",
                                                "virtio-blk-pci,drive=d,num-queues=4"}));
        REQUIRE(s.wait_for(kPrompt, 120s));
        s.type("echo queues-$(ls /sys/block/vda/mq | wc -l); cd /root; head -c 2097152 /dev/urandom > data\n");
        CHECK(s.wait_for("queues-4"));
        // Patterns that differ from writer to writer, in pieces of different sizes.
        s.type("one() { (echo $1; cat data) | dd of=f$1 bs=$((512 << $1)) conv=fsync 2>/dev/null; }\n");
        s.type("for i in 0 1 2 3 4 5 6 7; do one $i & done; wait; md5sum f? > sums; sync; echo all-$((40 + 2))\n");
        REQUIRE(s.wait_for("all-42", 120s));
        // A reset while others write.
        s.type("for i in 0 1 2 3; do (while :; do cat data > lost$i; rm lost$i; done) & done; usleep 300000; reboot -f\n");
        REQUIRE(s.wait_for("user space reached", 120s));
        s.type("\n");
        REQUIRE(s.wait_for(kPrompt));
        s.type("cd /root; md5sum -c sums | grep -c OK; echo checked-$((40 + 2))\n");
        REQUIRE(s.wait_for("checked-42"));
        CHECK(s.output().find("\n8\r") != std::string::npos);
        power_off(s);
    }
    check_clean(disk);
}

// A file system of the host that is full: a tmpfs of a fixed size, where it may be mounted.
TEST_CASE("a host without room is the guest's I/O error; what was written stays, and there is more once there is room") {
    const std::string options = GENERATE(as<std::string>{}, "", ",aio=io_uring");
    const Place place;
    struct Mount {
        explicit Mount(const std::string& path) : at(path), good(mount("tandem", at.c_str(), "tmpfs", 0, "size=24m") == 0) {}
        ~Mount() {
            if (good) umount2(at.c_str(), MNT_DETACH);
        }
        Mount(const Mount&) = delete;
        Mount& operator=(const Mount&) = delete;
        std::string at;
        bool good;
    } const small(place.path());
    if (!small.good) {
        WARN("skipped: a tmpfs cannot be mounted here (not root)");
        return;
    }
    const std::string disk = place.blank(64 << 20), filler = place.path() + "/filler";
    {
        std::ofstream f(filler, std::ios::binary);
        f << std::string(8 << 20, 'x');
        REQUIRE(f.flush().good());
    }
    Session s(boot("tandem.load=virtio_blk", {"-drive", "file=" + disk + options}));
    REQUIRE(s.wait_for(kPrompt, 120s));
    s.type("head -c 12582912 /dev/urandom > /tmp/data; cd /tmp; echo made-$((40 + 2))\n");
    REQUIRE(s.wait_for("made-42"));
    s.type("dd if=data of=/dev/vda bs=1M oflag=direct 2>/dev/null; echo first-$?\n");
    CHECK(s.wait_for("first-0"));
    s.type("dd if=data of=/dev/vda bs=1M seek=32 oflag=direct; echo second-$?\n");
    CHECK(s.wait_for("I/O error"));
    CHECK(s.wait_for("second-1"));
    CHECK(s.output().find("No space left on device") != std::string::npos);
    fs::remove(filler);
    s.type("dd if=data of=/dev/vda bs=1M seek=32 count=8 oflag=direct 2>/dev/null; echo third-$?\n");
    CHECK(s.wait_for("third-0"));
    s.type("dd if=/dev/vda bs=1M count=12 iflag=direct 2>/dev/null | cmp - data; echo same-$?\n");
    CHECK(s.wait_for("same-0"));
    s.type("dd if=/dev/vda bs=1M skip=32 count=8 iflag=direct 2>/dev/null | cmp -n 8388608 - data; echo same-again-$?\n");
    CHECK(s.wait_for("same-again-0"));
    power_off(s);
}

TEST_CASE("what the guest discards or zeroes goes back to the host") {
    const Place place;
    const std::string disk = place.blank(64 << 20);
    Session s(boot("tandem.load=virtio_blk", {"-drive", "file=" + disk + ",discard=unmap"}));
    REQUIRE(s.wait_for(kPrompt, 120s));
    s.type("dd if=/dev/urandom of=/dev/vda bs=1M count=32 conv=fsync 2>/dev/null; echo full-$((40 + 2))\n");
    REQUIRE(s.wait_for("full-42", 120s));
    const auto full = allocated(disk);
    CHECK(full >= 32 << 20);
    s.type("blkdiscard -o 8388608 -l 16777216 /dev/vda && echo gone-$((40 + 2))\n");
    REQUIRE(s.wait_for("gone-42"));
    CHECK(allocated(disk) + (16 << 20) <= full);
    power_off(s);
}

TEST_CASE("errors of the host are the guest's I/O errors, and the machine goes on") {
    const std::string options = GENERATE(as<std::string>{}, "", ",aio=io_uring");
    const Place place;
    const std::string disk = place.blank(32 << 20);
    Session s(boot("tandem.load=virtio_blk", {"-drive", "file=" + disk + options}));
    REQUIRE(s.wait_for(kPrompt, 120s));
    fs::resize_file(disk, 16 << 20);
    s.type("dd if=/dev/vda of=/dev/null bs=4k skip=6000 count=1 iflag=direct; echo read-$?\n");
    CHECK(s.wait_for("read-1"));
    s.type("dd if=/dev/zero of=/dev/vda bs=4k seek=6000 count=1 oflag=direct; echo write-$?\n");
    CHECK(s.wait_for("write-1"));
    CHECK(s.output().find("was truncated") != std::string::npos);
    s.type("dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null; echo good-$?\n");
    CHECK(s.wait_for("good-0"));
    power_off(s);
    CHECK(fs::file_size(disk) == 16 << 20);
}

TEST_CASE("a qcow2 image is the root, and whole after power-off and after kill -9") {
    if (run_program({"qemu-img", "--version"}).status != 0) {
        WARN("skipped: qemu-img and qemu-nbd (package qemu-utils) are not installed");
        return;
    }
    const bool kill = GENERATE(false, true);
    const Place place;
    const std::string disk = place.path() + "/root.qcow2", back = place.path() + "/back.img";
    REQUIRE(run_program({"qemu-img", "convert", "-O", "qcow2", image("disk.img"), disk}).status == 0);
    {
        Session s(boot("tandem.root=/dev/vda", {"-drive", "file=" + disk + ",format=qcow2"}));
        REQUIRE(s.wait_for(kPrompt, 120s));
        s.type("echo precious-$((40 + 2)) > /root/kept; sync; echo synced-$((1 + 1))\n");
        REQUIRE(s.wait_for("synced-2"));
        if (kill) {
            s.signal(SIGKILL);
            CHECK(s.wait_exit() == 128 + SIGKILL);
            usleep(500'000);  // the server notices by itself
        } else {
            s.type("mount -o remount,ro /\n");
            power_off(s);
        }
    }
    const Finished check = run_program({"qemu-img", "check", disk});
    INFO(check.output);
    CHECK(check.status == 0);
    REQUIRE(run_program({"qemu-img", "convert", "-O", "raw", disk, back}).status == 0);
    check_clean(back);
    CHECK(read_file(back, "/root/kept").find("precious-42") != std::string::npos);
}

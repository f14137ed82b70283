// Debian's arm64 kernel on the program: both generations of the GIC, EL1 and EL2, several processors, disk and network over
// PCI, what threads and rewritten code do, a guest hypervisor with a guest of its own, saved machines, the installer.
#include <catch2/catch.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/guest/host_server.h"
#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

namespace {

const std::string kPrompt = "guest# ";

std::vector<std::string> guest(const std::string& machine, const std::string& append, const std::vector<std::string>& more) {
    std::vector<std::string> argv{tandem_program(),
                                  "-machine",
                                  machine,
                                  "-nographic",
                                  "-m",
                                  "256",
                                  "-kernel",
                                  image("arm64/vmlinuz"),
                                  "-initrd",
                                  image("arm64/initramfs"),
                                  "-append",
                                  "console=ttyAMA0 " + append};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
}

// Runs WORD in the guest, which then powers off.
Finished boot(const std::string& machine, const std::string& word, std::vector<std::string> more = {}) {
    more.emplace_back("-no-reboot");
    return run_program(guest(machine, "tandem.run=" + word, more), 120s);
}

// A directory of the test's own, removed at the end.
class Place {
public:
    Place() {
        std::string name = (std::filesystem::temp_directory_path() / "tandem-arm64-XXXXXX").string();
        REQUIRE(mkdtemp(name.data()) != nullptr);
        path_ = name;
    }
    ~Place() { std::filesystem::remove_all(path_); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

private:
    std::string path_;
};

void power_off(Session& s) {
    s.type("poweroff -f\n");
    CHECK(s.wait_exit() == 0);
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

bool have_images() {
    const bool have = std::filesystem::exists(image("arm64/vmlinuz"));
    if (!have) WARN("skipped: there are no arm64 images (tests/guest/images build/guest/arm64 --arm64 makes them)");
    return have;
}

}  // namespace

TEST_CASE("arm64: Debian's kernel reaches user space and powers off") {
    if (!have_images()) return;
    for (const std::string machine : {"virt", "virt,gic-version=3"}) {
        const Finished run = boot(machine, "cat:/proc/interrupts", {"-smp", "2"});
        INFO(machine << "\n" << run.output);
        CHECK(run.status == 0);
        CHECK(contains(run.output, "Brought up 1 node, 2 CPUs"));
        CHECK(contains(run.output, "Tandem guest: user space reached"));
        CHECK(contains(run.output, "arch_timer"));
    }
}

TEST_CASE("arm64: a guest hypervisor initialises and runs a guest of its own to its end", "[I3][I4]") {
    if (!have_images()) return;
    struct Row {
        const char *machine, *cpu, *hyp, *inner;
    };
    for (const Row& row :
         {Row{"virt,virtualization=on", "cortex-a72", "Hyp mode initialized successfully", "GICv2"},
          Row{"virt,virtualization=on,gic-version=3", "max", "VHE mode initialized successfully", "GICv3"}}) {
        const Finished run = boot(row.machine, "tasks:kvm", {"-cpu", row.cpu});
        INFO(run.output);
        CHECK(run.status == 0);
        CHECK(contains(run.output, row.hyp));
        CHECK(contains(run.output, "vgic interrupt IRQ"));
        CHECK(contains(run.output, "kvm: sum 55, 20 timer interrupts, 20 injected"));
        CHECK(contains(run.output, std::string("the inner guest ran to its end on ") + row.inner));
    }
}

TEST_CASE("arm64: threads, rewritten code, a download, and a disk that is whole after power-off") {
    if (!have_images()) return;
    constexpr std::size_t kSize = 4 << 20;
    const std::string data = pattern(kSize);
    Listener web, sink;
    web.serve_file(data);
    std::string uploaded;
    sink.serve(
        [&](int client) { uploaded = receive_until(client, [&](const std::string& t) { return t.size() >= kSize; }); });
    const Place place;
    const std::string disk = place / "disk.img";
    std::filesystem::copy_file(image("arm64/disk.img"), disk);
    {
        Session s(guest("virt", "quiet tandem.root=/dev/vda tandem.load=failover,net_failover,virtio_net",
                        {"-smp", "2", "-drive", "file=" + disk, "-nic", "user"}));
        INFO(s.output());
        REQUIRE(s.wait_for(kPrompt, 120s));
        s.type("tasks threads; tasks rewrite\n");
        CHECK(s.wait_for("threads: all right", 120s));
        CHECK(s.wait_for("rewrite: all right", 120s));
        s.type("ifconfig lo up; ifconfig eth0 up; udhcpc -i eth0 -n -q; wget -q -O /root/data http://10.0.2.2:" +
               web.port() + "/data && echo loaded-$((40 + 2))\n");
        REQUIRE(s.wait_for("loaded-42", 120s));
        // Back from the disk, so that what is compared here was read there.
        s.type("sync; echo 3 >/proc/sys/vm/drop_caches; nc 10.0.2.2 " + sink.port() +
               " </root/data; echo sent-$((40 + 2))\n");
        REQUIRE(s.wait_for("sent-42", 120s));
        sink.join();
        CHECK(uploaded == data);
        power_off(s);
    }
    run_program({"/sbin/e2fsck", "-fp", disk});  // plays the journal back
    const Finished fsck = run_program({"/sbin/e2fsck", "-fn", disk});
    INFO(fsck.output);
    CHECK(fsck.status == 0);
    CHECK(run_program({"/sbin/debugfs", "-R", "cat /root/data", disk}).output.find(data.substr(0, 4096)) !=
          std::string::npos);
}

TEST_CASE("arm64: the power key's line interrupts, the machine reboots, and a test suite ends the program") {
    if (!have_images()) return;
    const std::string machine = GENERATE(as<std::string>{}, "virt", "virt,gic-version=3");
    Session s(guest(machine, "quiet tandem.load=virtio_console",
                    {"-smp", "2", "-device", "pci-testdev", "-device", "virtio-serial-pci", "-chardev", "testdev,id=end",
                     "-device", "virtconsole,chardev=end"}));
    INFO(machine << s.output());
    REQUIRE(s.wait_for(kPrompt, 120s));
    // The kernel has no driver for keys; its GPIO interface shows the line.
    s.type(
        "b=$(($(cat /sys/class/gpio/gpiochip*/base) + 3)); echo $b >/sys/class/gpio/export; echo rising "
        ">/sys/class/gpio/gpio$b/edge; pressed() { grep gpiolib /proc/interrupts | awk '{ print \"pressed-\" $2 + $3 }'; }; "
        "pressed\n");
    CHECK(s.wait_for("pressed-0"));
    CHECK(s.command("system_powerdown"));
    // What the monitor shows of the processor.
    CHECK(s.command("info registers"));
    CHECK(contains(s.output(), "PSTATE="));
    CHECK(s.command("x/2i $vbar_el1"));
    CHECK_FALSE(contains(s.output(), "cannot read memory"));
    CHECK(s.command("gva2gpa $vbar_el1"));
    CHECK(contains(s.output(), "gpa: 0x4"));
    CHECK(s.command("info irq"));
    CHECK(contains(s.output(), "gicv" + std::string(machine == "virt" ? "2" : "3")));
    s.type("sleep 1; pressed\n");
    CHECK(s.wait_for("pressed-1"));
    s.type("reboot -f\n");
    REQUIRE(s.wait_for("user space reached", 120s));
    REQUIRE(s.wait_for(kPrompt));
    s.type("cat /sys/bus/pci/devices/*/device\n");
    CHECK(s.wait_for("0x0005"));
    s.type("printf 21q >/dev/hvc0\n");
    CHECK(s.wait_exit() == 43);
}

TEST_CASE("arm64: a machine that works is saved, and goes on in this program and in another") {
    if (!have_images()) return;
    const std::string machine = GENERATE(as<std::string>{}, "virt", "virt,gic-version=3,virtualization=on");
    const Place place;
    const std::string saved = place / "saved";
    const auto argv = [&](const std::vector<std::string>& more) {
        std::vector<std::string> all{"-smp", "2", "-drive", "file=" + image("arm64/disk.img") + ",snapshot=on"};
        all.insert(all.end(), more.begin(), more.end());
        return guest(machine, "quiet tandem.root=/dev/vda", all);
    };
    {
        Session s(argv({}));
        INFO(machine << s.output());
        REQUIRE(s.wait_for(kPrompt, 120s));
        s.type("(i=0; while :; do i=$((i+1)); echo tick-$i; sync; sleep 0.2; done) & seq 1 9999 >/root/kept; x=before\n");
        REQUIRE(s.wait_for("tick-3"));
        CHECK(s.command("savevm " + saved));
        s.type("x=after; echo $x-$((40 + 2))\n");
        REQUIRE(s.wait_for("after-42"));
        CHECK(s.command("loadvm " + saved));
        s.type("echo again-$x-$((40 + 2))\n");
        CHECK(s.wait_for("again-before-42"));
        REQUIRE(s.wait_for("tick-"));
        power_off(s);
    }
    Session other(argv({"-loadvm", saved}));
    INFO(other.output());
    REQUIRE(other.wait_for("tick-"));
    other.type(
        "kill %1; wait; echo there-$x-$((40 + 2)); echo 3 >/proc/sys/vm/drop_caches; seq 1 9999 | cmp - /root/kept && echo "
        "same-$((40 + 2)); tasks threads\n");
    CHECK(other.wait_for("there-before-42"));
    CHECK(other.wait_for("same-42"));
    CHECK(other.wait_for("threads: all right", 120s));
    power_off(other);
}

TEST_CASE("arm64: Debian's installer reaches its first screen") {
    if (!std::filesystem::exists(image("arm64/installer/initrd.gz"))) {
        WARN("skipped: the installer is not there (tests/guest/images build/guest/arm64 --arm64 --all unpacks it)");
        return;
    }
    Session s({tandem_program(), "-machine", "virt", "-nographic", "-m", "1024", "-kernel", image("arm64/installer/linux"),
               "-initrd", image("arm64/installer/initrd.gz"), "-append", "console=ttyAMA0 quiet"});
    REQUIRE(s.wait_for("Select a language", 300s));
    REQUIRE(s.wait_for("English"));
    s.type("\x01x");
    CHECK(s.wait_exit() == 0);
}

TEST_CASE("arm64: a disk over PCI interrupts by message") {
    if (!have_images()) return;
    const std::vector<std::string> disk{"-drive", "file=" + image("arm64/disk.img") + ",snapshot=on"};
    for (const std::string machine : {"virt", "virt,gic-version=3"}) {
        const Finished run = boot(machine, "cat:/proc/interrupts tandem.load=virtio_blk", disk);
        INFO(machine << "\n" << run.output);
        CHECK(run.status == 0);
        CHECK(contains(run.output, machine == "virt" ? "  MSI" : "ITS-MSI"));
        CHECK(contains(run.output, "virtio0-req.0"));
    }
}

TEST_CASE("arm64: four processors work on both generations of the GIC, with virtualization too") {
    if (!have_images()) return;
    for (const std::string machine : {"virt", "virt,gic-version=3", "virt,gic-version=3,virtualization=on"}) {
        const Finished run = boot(machine, "tasks:threads", {"-smp", "4"});
        INFO(machine << "\n" << run.output);
        CHECK(run.status == 0);
        CHECK(contains(run.output, "Brought up 1 node, 4 CPUs"));
        CHECK(contains(run.output, "threads: all right"));
    }
}

TEST_CASE("arm64: U-Boot reads a disk, has an address from the network, keeps its environment, and powers off") {
    if (!std::filesystem::exists(image("arm64/systems/u-boot.bin"))) {
        WARN("skipped: there is no U-Boot (tests/guest/images build/guest/arm64 --arm64 --all unpacks it)");
        return;
    }
    const bool mmio = GENERATE(false, true);
    const std::string transport = mmio ? "-device" : "-pci";
    CAPTURE(transport);
    const Place place;
    std::ofstream(place / "disk") << "\xfe\xed" << std::string(510, 'x');
    Session s({tandem_program(), "-machine", "virt", "-nographic", "-no-reboot", "-m", "256", "-bios",
               image("arm64/systems/u-boot.bin"), "-drive", "file=" + (place / "disk") + ",format=raw,if=none,id=d",
               "-device", "virtio-blk" + transport + ",drive=d", "-netdev", "user,id=n", "-device",
               "virtio-net" + transport + ",netdev=n"});
    const auto command = [&s](const std::string& text, const std::string& answer) {
        s.type(text + "\r");
        REQUIRE(s.wait_for(answer));
        REQUIRE(s.wait_for("=> "));
    };
    REQUIRE(s.wait_for("DRAM:  256 MiB"));
    REQUIRE(s.wait_for("Hit any key to stop autoboot"));
    s.type(" ");
    REQUIRE(s.wait_for("=> "));
    command("virtio info", "Type: Hard Disk");
    command("virtio read 40200000 0 1", "1 blocks read: OK");
    command("md.b 40200000 2", "40200000: fe ed");
    command("setenv autoload no; dhcp", "DHCP client bound to address 10.0.2.15");
    command("ping 10.0.2.2", "host 10.0.2.2 is alive");
    command("saveenv", "OK");
    s.type("poweroff\r");
    CHECK(s.wait_exit() == 0);
}

TEST_CASE("arm64: a kernel for the other architecture is refused on either machine") {
    if (!have_images()) return;
    const Finished x86 = run_program({tandem_program(), "-machine", "virt", "-kernel", image("vmlinuz")});
    CHECK(x86.status == 1);
    CHECK(contains(x86.output, "bzImage for x86"));
    const Finished arm = run_program({tandem_program(), "-kernel", image("arm64/vmlinuz")});
    CHECK(arm.status == 1);
    CHECK(contains(arm.output, "arm64 Image"));
}

// Debian's arm64 kernel on the program: both generations of the GIC, EL1 and EL2, several processors, a disk over PCI.
#include <catch2/catch.hpp>

#include <filesystem>

#include "tests/guest/session.h"

using namespace tandem::tests;

namespace {

// Runs WORD in the guest, which then powers off.
Finished boot(const std::string& machine, const std::string& word, const std::vector<std::string>& more = {}) {
    std::vector<std::string> argv{tandem_program(),
                                  "-machine",
                                  machine,
                                  "-nographic",
                                  "-no-reboot",
                                  "-m",
                                  "256",
                                  "-kernel",
                                  image("arm64/vmlinuz"),
                                  "-initrd",
                                  image("arm64/initramfs"),
                                  "-append",
                                  "console=ttyAMA0 tandem.run=" + word};
    argv.insert(argv.end(), more.begin(), more.end());
    return run_program(argv);
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

TEST_CASE("arm64: a guest hypervisor initialises", "[I4]") {
    if (!have_images()) return;
    struct Row {
        const char *machine, *cpu, *text;
    };
    for (const Row& row : {Row{"virt,virtualization=on", "cortex-a72", "Hyp mode initialized successfully"},
                           Row{"virt,virtualization=on,gic-version=3", "max", "VHE mode initialized successfully"}}) {
        const Finished run = boot(row.machine, "uname:-m", {"-cpu", row.cpu});
        INFO(run.output);
        CHECK(run.status == 0);
        CHECK(contains(run.output, row.text));
        CHECK(contains(run.output, "vgic interrupt IRQ"));
    }
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

TEST_CASE("arm64: a kernel for the other architecture is refused on either machine") {
    if (!have_images()) return;
    const Finished x86 = run_program({tandem_program(), "-machine", "virt", "-kernel", image("vmlinuz")});
    CHECK(x86.status == 1);
    CHECK(contains(x86.output, "bzImage for x86"));
    const Finished arm = run_program({tandem_program(), "-kernel", image("arm64/vmlinuz")});
    CHECK(arm.status == 1);
    CHECK(contains(arm.output, "arm64 Image"));
}

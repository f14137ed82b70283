// Debian's own KVM on the translator's SVM: a hypervisor in the guest runs a guest of its own.
#include <catch2/catch.hpp>
#include <filesystem>
#include <thread>

#include "tests/guest/directory.h"
#include "tests/guest/initramfs.h"
#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

namespace {

const std::string kPrompt = "guest# ";
const std::string kResult = "hypervisor: 100 ports, sum 5050, counted 100, device 0x1234, vendor 0x68747541, by paging 100";
const std::string kLoad = "insmod /bin/irqbypass.ko; insmod /bin/kvm.ko; insmod /bin/kvm-amd.ko";

// Where the kernel's package was unpacked.
std::string module(const std::string& name) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(image("unpacked"))) {
        if (entry.path().filename() == name + ".ko") return entry.path().string();
    }
    FAIL("no module " << name);
    return {};
}

InitramfsWith with_hypervisor() {
    return InitramfsWith({guest_program("hypervisor"), module("irqbypass"), module("kvm"), module("kvm-amd")});
}

std::vector<std::string> boot(const std::string& initramfs, const std::string& cpu,
                              const std::vector<std::string>& more = {}) {
    std::vector<std::string> argv{tandem_program(),
                                  "-nographic",
                                  "-accel",
                                  "jit",
                                  "-cpu",
                                  cpu,
                                  "-m",
                                  "256",
                                  "-kernel",
                                  image("vmlinuz"),
                                  "-initrd",
                                  initramfs,
                                  "-append",
                                  "console=ttyS0 quiet"};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
}

}  // namespace

TEST_CASE("Debian's kvm_amd runs a guest to its end") {
    const auto initramfs = with_hypervisor();
    for (const std::string cpu : {"max,vendor=AuthenticAMD,+svm", "EPYC,+svm,-npt"}) {
        Session s(boot(initramfs.path(), cpu));
        INFO(cpu << "\n" << s.output());
        REQUIRE(s.wait_for(kPrompt, 120s));
        s.type(kLoad + "; hypervisor; hypervisor\n");
        CHECK(s.wait_for(kResult));
        CHECK(s.wait_for(kResult));
        s.type("poweroff -f\n");
        CHECK(s.wait_exit() == 0);
    }
}

TEST_CASE("a machine saved while a guest's guest runs goes on in another process") {
    const auto initramfs = with_hypervisor();
    const std::string cpu = "EPYC,+svm";
    const Directory directory;
    const std::string file = directory / "saved";
    {
        Session s(boot(initramfs.path(), cpu));
        INFO(s.output());
        REQUIRE(s.wait_for(kPrompt, 120s));
        s.type(kLoad + "; echo loaded-$((1 + 1)); hypervisor 4000000000\n");
        REQUIRE(s.wait_for("loaded-2"));
        // The guest's guest has nothing but EFER.SVME, and no paging yet.
        std::string registers;
        for (int i = 0; i < 100; ++i) {
            std::this_thread::sleep_for(200ms);
            REQUIRE(s.command("stop"));
            REQUIRE(s.command("info registers", &registers));
            if (registers.find("EFER=0000000000001000") != std::string::npos) break;
            REQUIRE(s.command("cont"));
        }
        REQUIRE(registers.find("EFER=0000000000001000") != std::string::npos);
        REQUIRE(s.command("migrate file:" + file));
        CHECK(s.quit() == 0);
    }
    auto argv = boot(initramfs.path(), cpu, {"-loadvm", file});
    Session s(argv);
    INFO(s.output());
    CHECK(s.wait_for(kResult, 120s));
    s.type("poweroff -f\n");
    CHECK(s.wait_exit() == 0);
}

// A small kernel of our own (kernels/saved.asm) that is saved and restored while it watches its registers, timers and
// clocks.
#include <catch2/catch.hpp>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

const std::string kMonitor = "(tandem) ";

// The machine with its monitor on the terminal; what the guest says goes to a file.
class Rig {
public:
    Rig() {
        std::string name = (fs::temp_directory_path() / "tandem-saved-XXXXXX").string();
        REQUIRE(mkdtemp(name.data()) != nullptr);
        directory_ = name;
    }
    ~Rig() { fs::remove_all(directory_); }
    Rig(const Rig&) = delete;
    Rig& operator=(const Rig&) = delete;

    [[nodiscard]] std::vector<std::string> argv(const std::vector<std::string>& more = {}) const {
        std::vector<std::string> words{tandem_program(),
                                       "-display",
                                       "none",
                                       "-monitor",
                                       "stdio",
                                       "-m",
                                       "16",
                                       "-kernel",
                                       TANDEM_KERNELS "/saved",
                                       "-snapshots",
                                       directory_.string(),
                                       "-serial",
                                       "file:" + (directory_ / "said").string()};
        words.insert(words.end(), more.begin(), more.end());
        return words;
    }
    [[nodiscard]] std::string file(const char* name) const { return (directory_ / name).string(); }
    [[nodiscard]] std::string said() const {
        std::ifstream f(directory_ / "said", std::ios::binary);
        return {std::istreambuf_iterator<char>(f), {}};
    }
    // Waits until the guest has gone on for a while; false when it found something wrong or stands still.
    [[nodiscard]] bool goes_on() const {
        const std::size_t before = said().size();
        for (int i = 0; i < 600; ++i) {
            const std::string now = said();
            if (now.find("bad") != std::string::npos) return false;
            if (now.size() >= before + 3) return true;
            std::this_thread::sleep_for(50ms);
        }
        return false;
    }

private:
    fs::path directory_;
};

bool has_kvm() { return access("/dev/kvm", R_OK | W_OK) == 0; }

// KVM that lets CPUID through shows its guests the host's AVX, also where it does not offer it: this guest then uses what
// its model does not have.
bool kvm_offers_avx() {
    const Finished asked = run_program({tandem_program(), "-nographic", "-accel", "kvm", "-cpu", "x86-64-v3", "-m", "16",
                                        "-no-reboot", "-kernel", std::string(TANDEM_KERNELS) + "/mini"},
                                       std::chrono::seconds(5));
    return asked.output.find(" avx,") == std::string::npos;
}

bool command(Session& s, const std::string& line) {
    s.type(line + "\n");
    return s.wait_for("\n") && s.wait_for(kMonitor);
}

}  // namespace

TEST_CASE("saved and restored a hundred times, registers, timers and clocks go on", "[I10]") {
    const Rig rig;
    Session s(rig.argv());
    REQUIRE(s.wait_for(kMonitor));
    REQUIRE(rig.goes_on());
    for (int i = 0; i < 100; ++i) {
        REQUIRE(command(s, "savevm a"));
        if (i % 3 == 0) std::this_thread::sleep_for(10ms);  // what happens from here on has never been
        REQUIRE(command(s, "loadvm a"));
        if (i % 25 != 24) continue;
        INFO(i << ": " << rig.said());
        REQUIRE(rig.goes_on());
    }
    s.type("quit\n");
    CHECK(s.wait_exit() == 0);
    INFO(s.output());
    CHECK(s.output().find("Error") == std::string::npos);
}

TEST_CASE("a saved machine goes on on another tier of the translator") {
    const Rig rig;
    {
        Session s(rig.argv());
        REQUIRE(s.wait_for(kMonitor));
        REQUIRE(rig.goes_on());
        REQUIRE(command(s, "savevm a"));
        s.type("quit\n");
        REQUIRE(s.wait_exit() == 0);
    }
    for (const char* tier : {"interp", "baseline", "auto"}) {
        Session s(rig.argv({"-loadvm", "a", "-accel", std::string("jit,tier=") + tier}));
        REQUIRE(s.wait_for(kMonitor));
        INFO(tier << ": " << rig.said());
        CHECK(rig.goes_on());
        CHECK(rig.said().find("runs") == std::string::npos);  // it did not start over
        s.type("quit\n");
        CHECK(s.wait_exit() == 0);
    }
}

TEST_CASE("a machine on KVM is saved and restored, there and on the translator", "[kvm]") {
    const Rig rig;
    if (!has_kvm()) {
        WARN("skipped: no /dev/kvm");
        return;
    }
    {
        Session s(rig.argv({"-accel", "kvm"}));
        REQUIRE(s.wait_for(kMonitor));
        const bool runs = rig.goes_on();
        if (!runs && rig.said().find("bad TSC") != std::string::npos) {
            WARN("skipped: on this host KVM's RDTSC goes backwards (no virtualization hardware)");
            return;
        }
        for (int i = 0; i < 10; ++i) {
            REQUIRE(command(s, "savevm a"));
            REQUIRE(command(s, "loadvm a"));
            INFO(i << ": " << rig.said());
            REQUIRE(rig.goes_on());
        }
        CHECK(s.output().find("Error") == std::string::npos);
        s.type("quit\n");
        CHECK(s.wait_exit() == 0);
    }
    // Both engines are named, so that the translator has the processor of the saved machine.
    for (const auto& [first, second] : {std::pair{"kvm", "jit"}, std::pair{"jit", "kvm"}}) {
        if (first == std::string("jit") && !kvm_offers_avx()) {
            WARN("skipped: on the translator: the guest uses AVX, which KVM here shows without offering it");
            return;
        }
        Session s(rig.argv({"-loadvm", "a", "-accel", first, "-accel", second}));
        REQUIRE(s.wait_for(kMonitor));
        INFO(first << ": " << rig.said());
        CHECK(rig.goes_on());
        s.type("quit\n");
        CHECK(s.wait_exit() == 0);
    }
}

TEST_CASE("a machine changes between KVM and the translator a thousand times, and goes on", "[kvm]") {
    const Rig rig;
    if (!has_kvm()) {
        WARN("skipped: no /dev/kvm");
        return;
    }
    Session s(rig.argv({"-accel", "kvm", "-accel", "jit,tier=baseline"}));
    REQUIRE(s.wait_for(kMonitor));
    if (!rig.goes_on() && rig.said().find("bad TSC") != std::string::npos) {
        WARN("skipped: on this host KVM's RDTSC goes backwards (no virtualization hardware)");
        return;
    }
    for (int i = 0; i < 1000; ++i) {
        REQUIRE(command(s, i % 2 == 0 ? "accel jit" : "accel kvm"));
        if (i % 100 != 49 && i % 100 != 98) continue;  // on either engine
        INFO(i << ": " << rig.said());
        REQUIRE(rig.goes_on());
    }
    CHECK(s.output().find("Error") == std::string::npos);
    s.type("quit\n");
    CHECK(s.wait_exit() == 0);
}

// The kernel of mini_test.cpp, which waits for a line on its serial port.
TEST_CASE("what is typed before a machine is restored reaches the restored guest") {
    const Rig rig;
    const std::vector<std::string> argv{tandem_program(), "-nographic",           "-m",      "16",
                                        "-kernel",        TANDEM_KERNELS "/mini", "-append", "e"};
    {
        Session s(argv);
        REQUIRE(s.wait_for("mini: entered"));
        s.type(".");
        std::this_thread::sleep_for(100ms);
        REQUIRE(s.wait_for("\n."));
        REQUIRE(s.command("migrate file:" + rig.file("moved")));
        REQUIRE(s.quit() == 0);
    }
    auto again = argv;
    again.insert(again.end(), {"-loadvm", rig.file("moved")});
    Session s(again);
    s.type("early bird\r");
    CHECK(s.wait_for("early bird|"));
    CHECK(s.wait_exit() == 0);
}

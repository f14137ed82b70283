// The monitor on a running Debian, and the machine as scripts use it: in the background, from files of options.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/guest/directory.h"
#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

const std::string kPrompt = "guest# ";

// A monitor on a Unix socket, as a script talks to it.
class Socket {
public:
    explicit Socket(const std::string& path) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un a{};
        a.sun_family = AF_UNIX;
        path.copy(a.sun_path, sizeof a.sun_path - 1);
        REQUIRE(connect(fd_, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0);
    }
    ~Socket() { close(fd_); }
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    // What a monitor says to everyone who comes.
    std::string greeting() const { return talk("", "(tandem) "); }
    // What is said up to the prompt behind it, or until the other end closes.
    std::string operator()(const std::string& line) const { return talk(line + "\n", "(tandem) "); }
    // What is said up to and with `end`, or until nothing comes for a while.
    std::string talk(const std::string& sent, std::string_view end, std::chrono::milliseconds patience = 30s) const {
        if (send(fd_, sent.data(), sent.size(), MSG_NOSIGNAL) < 0) return "closed";
        const timeval limit{patience / 1s, patience % 1s / 1us};
        setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        std::string text;
        char c = 0;
        while (!text.ends_with(end) && recv(fd_, &c, 1, 0) == 1) text += c;
        return text;
    }

private:
    int fd_;
};

std::string slurp(const std::string& path) {
    std::ifstream f(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(f), {}};
}

template <class F>
bool becomes_true(F f) {
    for (int i = 0; i < 1200; ++i) {
        if (f()) return true;
        std::this_thread::sleep_for(100ms);
    }
    return false;
}

std::vector<std::string> script(std::vector<std::string> options) {
    options.insert(options.begin(), tandem_program());
    return options;
}

}  // namespace

TEST_CASE("every word of the monitor, on a Debian with two processors, disk and network") {
    Session s(debian("quiet tandem.root=/dev/vda", {"-smp", "2", "-name", "box", "-nic", "user,mac=52:54:00:01:02:03",
                                                    "-drive", "file=" + image("disk.img") + ",snapshot=on,id=root",
                                                    "-device", "virtio-balloon-pci", "-cpu", "x86-64-v3"}));
    REQUIRE(s.wait_for(kPrompt, 120s));
    struct Row {
        const char *line, *says;
    };
    for (const auto& [line, says] : {
             Row{"help", "system_powerdown"},
             Row{"info status", "VM status: running"},
             Row{"info name", "box"},
             Row{"info cpus", "CPU #1: pc=0xffffffff"},
             Row{"info registers -a", "CPU#1"},
             Row{"info registers", "CR4="},
             Row{"info registers", "YMM15="},
             Row{"info mem", "-rw"},
             Row{"info tlb", "-DA---W"},
             Row{"info mtree", "IOAPIC"},
             Row{"info mtree", "PCIe configuration window"},
             Row{"info qtree", "dev: virtio-blk-pci 'root'@01.0"},
             Row{"info device virtio-blk-pci 'root'@01.0", "device.queues[0].enabled = true"},
             Row{"info pic", "chip[0].imr = 0xff"},
             Row{"info lapic", "svr = 0x1ff"},
             Row{"info ioapic", "entries ="},
             Row{"info irq", "lapic1"},
             Row{"info block", "root: 67108864 bytes"},
             Row{"info network", "nic: user"},
             Row{"info jit", "blocks compiled (baseline)"},
             Row{"info exits", "port"},
             Row{"stop", ""},
             Row{"info status", "VM status: paused"},
             Row{"x/2i $rip", "0x"},
             Row{"x/1xg $rsp", "0x"},
             Row{"xp/1xw 0xfed00000", "0x8086"},  // the HPET's vendor
             Row{"print $cs", "0x10"},
             Row{"gva2gpa $rip", "gpa: 0x"},
             Row{"i 0x70", "portb[0x0070]"},
             Row{"o 0x80 0x12", ""},
             Row{"i 0x80", "0x12"},
             Row{"log mmu", ""},
             Row{"log none", ""},
             Row{"trace exits on", ""},
             Row{"trace exits off", ""},
             Row{"cpu 1", ""},
             Row{"info lapic", "lapic1"},
             Row{"cpu 0", ""},
             Row{"cont", ""},
             Row{"info status", "VM status: running"},
             Row{"screendump /nonexistent/x", "Error: there is no screen"},
             Row{"frobnicate", "Error: unknown command 'frobnicate'"},
         }) {
        std::string answer;
        CAPTURE(line);
        CHECK(s.command(line, &answer));
        CAPTURE(answer);
        CHECK(answer.find(says) != std::string::npos);
        CHECK((answer.find("Error") != std::string::npos) == (std::string(says).find("Error") == 0));
        if (*says == '\0') CHECK(answer.empty());
    }
    CHECK(s.command("nmi"));
    s.type("dmesg | tail -n 5\n");
    CHECK(s.wait_for("NMI received"));
    CHECK(s.command("system_powerdown"));
    CHECK(s.command("system_reset"));
    REQUIRE(s.wait_for("user space reached", 120s));
    REQUIRE(s.wait_for(kPrompt));
    CHECK(s.command("quit"));
    CHECK(s.wait_exit() == 0);
}

TEST_CASE("the monitor's answers are told from what a guest writes meanwhile") {
    Session s(debian("quiet"));
    REQUIRE(s.wait_for(kPrompt, 120s));
    s.type("for i in $(seq 200); do printf '\\033[66n'; done >/tmp/keys; while :; do cat /tmp/keys; done &\n");
    REQUIRE(s.wait_for("\x1b[66n\x1b[66n"));
    // Nothing but the prompt answers these, and the guest stops in the middle of what it writes.
    for (int i = 0; i < 50; ++i) {
        REQUIRE(s.command("stop"));
        REQUIRE(s.command("cont"));
    }
    CHECK(s.quit() == 0);
}

TEST_CASE("the balloon takes memory from the guest and gives it back") {
    Session s(debian("quiet tandem.load=virtio_balloon", {"-device", "virtio-balloon-pci"}));
    REQUIRE(s.wait_for(kPrompt, 120s));
    const auto says = [&](const char* text) {
        return becomes_true([&] {
            std::string answer;
            return s.command("info balloon", &answer) && answer.find(text) != std::string::npos;
        });
    };
    const std::string total = "grep MemTotal /proc/meminfo | tr -s ' ' | cut -d' ' -f2 | sed 's/^/[/;s/$/]/'\n";
    const auto kib = [&] {
        s.type(total);
        REQUIRE(s.wait_for("\n["));
        const std::size_t from = s.output().rfind("\n[") + 2;
        REQUIRE(s.wait_for("]"));
        return std::atoi(s.output().c_str() + from);
    };
    const int before = kib();
    CHECK(s.command("balloon 192"));
    CHECK(says("actual=192 wanted=192"));
    CHECK(std::abs(before - kib() - 65536) < 256);
    CHECK(says("total memory: "));
    CHECK(s.command("balloon 256"));
    CHECK(says("actual=256 wanted=256"));
    CHECK(std::abs(before - kib()) < 256);
    s.type("poweroff -f\n");
    CHECK(s.wait_exit() == 0);
}

TEST_CASE("a machine in the background: options from files, process id, monitor on a socket") {
    const Directory dir;
    std::ofstream(dir / "words") << "-machine pc -machine hpet=off\n-nodefaults -display none  # no window\n-kernel '"
                                 << image("vmlinuz") << "' -initrd " << image("initramfs") << "\n";
    std::ofstream(dir / "groups")
        << "[memory]\n size = \"256\"\n[smp-opts]\n cpus = \"2\"\n[chardev \"console\"]\n backend = "
           "\"file\"\n path = \""
        << dir / "console" << "\"\n[drive \"d\"]\n if = \"none\"\n snapshot = \"on\"\n file = \"" << image("disk.img")
        << "\"\n[device \"disk\"]\n driver = \"virtio-blk-pci\"\n drive = \"d\"\n";
    const std::vector<std::string> argv =
        script({"-name", "guest=daemon,debug-threads=on", "@" + (dir / "words"), "-readconfig", dir / "groups", "-serial",
                "chardev:console", "-append", "console=ttyS0 quiet tandem.load=virtio_blk", "-global",
                "virtio-blk.serial=FROM-GLOBAL", "-rtc", "base=2001-02-03T04:05:06,clock=vm", "-daemonize", "-pidfile",
                dir / "pid", "-monitor", "unix:" + (dir / "monitor") + ",server,nowait"});
    const Finished started = run_program(argv, 60s);
    INFO(started.output);
    REQUIRE(started.status == 0);
    const int pid = std::atoi(slurp(dir / "pid").c_str());
    REQUIRE(pid > 1);
    CHECK(kill(pid, 0) == 0);
    {
        const Socket gone(dir / "monitor");
        CHECK(gone.greeting().find(" monitor - type 'help'") != std::string::npos);
        (void)gone.talk("info na", "(tandem) ", 200ms);  // what it leaves of a line is not the next one's
    }
    const Socket monitor(dir / "monitor");
    CHECK(monitor.greeting().find(" monitor - type 'help'") != std::string::npos);
    CHECK(monitor("info name").find("daemon") != std::string::npos);
    CHECK(monitor("info cpus").find("CPU #1") != std::string::npos);
    CHECK(monitor("info mtree").find("HPET") == std::string::npos);
    CHECK(monitor("info qtree").find("virtio-blk-pci") != std::string::npos);
    CHECK(becomes_true([&] { return slurp(dir / "console").find(kPrompt) != std::string::npos; }));
    (void)monitor("quit");
    CHECK(becomes_true([&] { return !fs::exists(dir / "pid") && !fs::exists(dir / "monitor"); }));
    CHECK(becomes_true([&] { return kill(pid, 0) != 0; }));
}

TEST_CASE("a console and a monitor share a socket, and a break reaches the kernel") {
    const std::string way = GENERATE("-serial", "-chardev");
    CAPTURE(way);
    const Directory dir;
    const std::string path = dir / "console";
    std::vector<std::string> options = {"-serial", "mon:unix:" + path + ",server,nowait"};
    if (way == "-chardev") {
        options = {"-chardev", "socket,id=both,mux=on,server=on,wait=off,path=" + path, "-serial", "chardev:both", "-mon",
                   "both"};
    }
    Session s(debian("quiet", options));
    REQUIRE(becomes_true([&] { return fs::exists(path); }));
    const Socket both(path);
    REQUIRE(both.talk("\n\n", kPrompt).ends_with(kPrompt));
    CHECK(both.talk("echo one-$((1+1))\n\x01", "one-2\r\n").ends_with("one-2\r\n"));
    CHECK(both.talk("cinfo status\n", "VM status: running").ends_with("VM status: running"));
    CHECK(both.talk("\x01"
                    "cecho back-$((1+1))\n",
                    "back-2")
              .ends_with("back-2"));
    CHECK(both.talk("\x01"
                    "bh",
                    "sysrq: HELP")
              .ends_with("sysrq: HELP"));
    CHECK(both.talk("\x01h", "Ctrl-A x").ends_with("Ctrl-A x"));
    (void)both.talk("\x01x", "nothing more");
    CHECK(s.wait_exit(30s) == 0);
}

TEST_CASE("a saved machine goes on only where it fits, and only undamaged") {
    const Directory dir;
    const std::string kernel = image("vmlinuz"), saved = dir / "saved";
    const auto start = [&](const std::vector<std::string>& more) {
        std::vector<std::string> argv =
            script({"-nographic", "-S", "-kernel", kernel, "-monitor", "stdio", "-serial", "null"});
        argv.insert(argv.end(), more.begin(), more.end());
        return argv;
    };
    {
        Session s(start({"-m", "128"}));
        REQUIRE(s.wait_for("(tandem) "));
        s.type("savevm " + saved + "\n");
        REQUIRE(s.wait_for("\n"));
        REQUIRE(s.wait_for("(tandem) "));
        s.type("quit\n");
        CHECK(s.wait_exit() == 0);
    }
    const std::string good = slurp(saved);
    REQUIRE(good.size() > 4096);
    const auto refused = [&](const std::vector<std::string>& more, const std::string& file, const std::string& says) {
        std::vector<std::string> argv = start(more);
        argv.insert(argv.end(), {"-loadvm", file});
        const Finished f = run_program(argv, 30s);
        CAPTURE(f.output);
        CHECK(f.status == 1);
        CHECK(f.output.find("-loadvm") != std::string::npos);
        CHECK(f.output.find(says) != std::string::npos);
        CHECK(std::count(f.output.begin(), f.output.end(), '\n') == 1);
    };
    refused({"-m", "256"}, saved, "RAM");
    refused({"-m", "128", "-smp", "2"}, saved, "processors: 1");
    refused({"-m", "128", "-cpu", "x86-64-v2"}, saved, "x86-64-v2");
    refused({"-m", "128", "-device", "virtio-rng-pci"}, saved, "virtio-rng-pci");
    refused({"-m", "128", "-machine", "hpet=off"}, saved, "hpet");
    const auto variant = [&](const char* name, const std::string& bytes) {
        std::ofstream(dir / name, std::ios::binary) << bytes;
        return dir / name;
    };
    refused({"-m", "128"}, variant("empty", ""), "too short");
    refused({"-m", "128"}, variant("short", good.substr(0, good.size() / 2)), "truncated");
    refused({"-m", "128"}, variant("foreign", std::string(5000, 'x')), "not a saved machine");
    for (const auto& [at, says] : {std::pair{std::size_t{9}, "version"},
                                   {std::size_t{200}, "damaged"},
                                   {good.size() / 2, "damaged"},
                                   {good.size() - 3, "damaged"}}) {
        std::string damaged = good;
        damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
        CAPTURE(at);
        refused({"-m", "128"}, variant("damaged", damaged), says);
    }
    refused({"-m", "128"}, dir / "missing", "No such file");
    refused({"-m", "128"}, "bare-name", "-snapshots");
    // And the good one does.
    std::vector<std::string> argv = start({"-m", "128"});
    argv.insert(argv.end(), {"-loadvm", saved});
    Session s(argv);
    REQUIRE(s.wait_for("(tandem) "));
    s.type("quit\n");
    CHECK(s.wait_exit() == 0);
}

// Debian's virtio_net on user-mode networking: addresses, a large download and upload, a forwarded port.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "tests/guest/host_server.h"
#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

namespace {

const std::string kPrompt = "guest# ";

std::vector<std::string> boot(const std::vector<std::string>& more) {
    return debian("quiet tandem.load=failover,net_failover,virtio_net,virtio-rng", more);
}

}  // namespace

TEST_CASE("virtio-net on user-mode networking: DHCP, downloads, uploads, forwarded ports") {
    constexpr std::size_t kSize = 16 << 20;
    const std::string data = pattern(kSize);
    Listener web, sink;
    web.serve_file(data);
    std::string uploaded;
    sink.serve(
        [&](int client) { uploaded = receive_until(client, [&](const std::string& t) { return t.size() >= kSize; }); });
    const std::string port = std::to_string(20000 + getpid() % 20000);

    Session s(boot({"-nic", "user,model=virtio-net-pci,mac=52:54:00:aa:bb:cc,hostfwd=tcp:127.0.0.1:" + port + "-:80"}));
    INFO(s.output());
    REQUIRE(s.wait_for(kPrompt, 120s));
    s.type("ifconfig lo up; ifconfig eth0 up; cat /sys/class/net/eth0/address; udhcpc -i eth0 -n -q\n");
    REQUIRE(s.wait_for("52:54:00:aa:bb:cc"));
    REQUIRE(s.wait_for("lease: 10.0.2.15 router 10.0.2.2 dns 10.0.2.3"));
    // What was downloaded is sent back and compared here.
    s.type("wget -q -O /tmp/data http://10.0.2.2:" + web.port() + "/data && echo loaded-$((40 + 2))\n");
    REQUIRE(s.wait_for("loaded-42", 120s));
    s.type("nc 10.0.2.2 " + sink.port() + " </tmp/data; echo sent-$((40 + 2))\n");
    REQUIRE(s.wait_for("sent-42", 120s));
    sink.join();
    CHECK(uploaded == data);

    s.type("mkdir /www; echo greetings >/www/hello; httpd -h /www; echo serving-$((40 + 2))\n");
    REQUIRE(s.wait_for("serving-42"));
    const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in a = Listener::address(static_cast<unsigned>(std::stoi(port)));
    REQUIRE(connect(client, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0);
    send_all(client, "GET /hello HTTP/1.0\r\n\r\n");
    CHECK(receive_until(client, [](const std::string&) { return false; }).find("greetings") != std::string::npos);
    close(client);
    s.type("poweroff -f\n");
    CHECK(s.wait_exit() == 0);
}

// What libslirp knows of a connection cannot leave its process: there the guest is told that it is gone.
TEST_CASE("an open connection goes on after savevm and loadvm, and is reset in another process, where new ones work") {
    std::string directory = (std::filesystem::temp_directory_path() / "tandem-network-XXXXXX").string();
    REQUIRE(mkdtemp(directory.data()) != nullptr);
    const std::string saved = directory + "/saved";
    const auto says = [](const std::string& word) {
        return [word](const std::string& t) { return t.find(word) != std::string::npos; };
    };
    const auto monitor = [](Session& s, const std::string& command) {
        REQUIRE(s.command(command));
        s.type("\n");
        REQUIRE(s.wait_for(kPrompt));
    };
    Listener peer, another;
    std::string first, second;
    peer.serve([&](int client) {
        first = receive_until(client, says("first"));
        second = receive_until(client, says("second"));
        send_all(client, "answer\n");
        receive_until(client, [](const std::string&) { return false; });
    });
    {
        Session s(boot({"-nic", "user,model=virtio-net-pci"}));
        INFO(s.output());
        REQUIRE(s.wait_for(kPrompt, 120s));
        s.type("ifconfig lo up; ifconfig eth0 up; udhcpc -i eth0 -n -q\n");
        REQUIRE(s.wait_for("lease: 10.0.2.15"));
        s.type("mkfifo /tmp/out; nc 10.0.2.2 " + peer.port() +
               " </tmp/out >/tmp/in & exec 3>/tmp/out; echo first >&3; sleep 1; " + "echo open-$((40 + 2))\n");
        REQUIRE(s.wait_for("open-42"));
        monitor(s, "savevm " + saved);
        for (int i = 0; i < 3; ++i) monitor(s, "loadvm " + saved);
        s.type("echo second >&3; until grep -q answer /tmp/in; do sleep 0.1; done; echo answered-$((40 + 2))\n");
        CHECK(s.wait_for("answered-42"));
        CHECK(s.output().find("Error") == std::string::npos);
        s.type("\x01x");
        CHECK(s.wait_exit() == 0);
    }
    peer.join();
    CHECK(first.find("first") != std::string::npos);
    CHECK(second.find("second") != std::string::npos);
    std::string fresh;
    another.serve([&](int client) { fresh = receive_until(client, says("new")); });
    {
        Session s(boot({"-nic", "user,model=virtio-net-pci", "-loadvm", saved}));
        // What is typed before the machine is restored is not seen by the guest.
        for (int i = 0; i < 30 && !s.wait_for(kPrompt, 1s); ++i) s.type("\n");
        s.type("echo third >&3; wait; echo over-$((40 + 2)); echo new | nc 10.0.2.2 " + another.port() +
               "; echo sent-$((40 + 2))\n");
        CHECK(s.wait_for("over-42"));
        CHECK(s.wait_for("sent-42"));
        s.type("poweroff -f\n");
        CHECK(s.wait_exit() == 0);
    }
    another.join();
    CHECK(fresh.find("new") != std::string::npos);
    std::filesystem::remove_all(directory);
}

TEST_CASE("virtio-net on a TAP device, whose scripts set it up and hear of its end") {
    if (access("/dev/net/tun", R_OK | W_OK) != 0 || geteuid() != 0) {
        WARN("skipped: a TAP device needs /dev/net/tun and its administrator");
        return;
    }
    std::string directory = (std::filesystem::temp_directory_path() / "tandem-tap-XXXXXX").string();
    REQUIRE(mkdtemp(directory.data()) != nullptr);
    const std::string busybox = image("root/bin/busybox"), name = "tandem" + std::to_string(getpid() % 100000);
    const auto script = [&](const std::string& word, const std::string& commands) {
        const std::string path = directory + "/" + word;
        std::ofstream(path) << "#!/bin/sh\nset -e\n" << commands << "echo $1 >" << path << ".done\n";
        std::filesystem::permissions(path, std::filesystem::perms::owner_all);
        return path;
    };
    const auto done = [&](const std::string& word) {
        std::ifstream file(directory + "/" + word + ".done");
        std::string line;
        std::getline(file, line);
        return line;
    };
    const std::string up = script("up", busybox + " ifconfig $1 10.213.77.1 netmask 255.255.255.0 up\n");
    const std::string down = script("down", "");
    const std::string tap = "tap,ifname=" + name + ",script=" + up + ",downscript=" + down;
    const Finished probe = run_program({tandem_program(), "-nographic", "-nic", tap, "-kernel", "/nonexistent"});
    if (done("up") != name) {
        WARN("skipped: the host does not let a TAP device be set up: " + probe.output);
        std::filesystem::remove_all(directory);
        return;
    }
    CHECK(done("down") == name);
    std::filesystem::remove(directory + "/up.done");
    std::filesystem::remove(directory + "/down.done");

    constexpr std::size_t kSize = 4 << 20;
    const std::string data = pattern(kSize);
    Listener web(true);
    web.serve_file(data);
    Listener sink(true);
    std::string uploaded;
    sink.serve(
        [&](int client) { uploaded = receive_until(client, [&](const std::string& t) { return t.size() >= kSize; }); });
    {
        Session s(boot({"-nic", tap}));
        INFO(s.output());
        REQUIRE(s.wait_for(kPrompt, 120s));
        CHECK(done("up") == name);
        CHECK(done("down").empty());
        s.type("ifconfig lo up; ifconfig eth0 10.213.77.2 netmask 255.255.255.0 up; echo up-$((40 + 2))\n");
        REQUIRE(s.wait_for("up-42"));
        s.type("wget -q -O /tmp/data http://10.213.77.1:" + web.port() + "/data && echo loaded-$((40 + 2))\n");
        CHECK(s.wait_for("loaded-42"));
        s.type("nc 10.213.77.1 " + sink.port() + " </tmp/data; echo sent-$((40 + 2))\n");
        CHECK(s.wait_for("sent-42"));
        s.type("poweroff -f\n");
        CHECK(s.wait_exit() == 0);
    }
    sink.stop();
    web.stop();
    CHECK(uploaded == data);
    CHECK(done("down") == name);
    std::filesystem::remove_all(directory);
}

TEST_CASE("a TAP device's script that fails ends the program and is named") {
    const Finished missing = run_program(
        {tandem_program(), "-nographic", "-nic", "tap,ifname=tandemx,script=/nonexistent/up", "-kernel", image("vmlinuz")});
    CHECK(missing.status == 1);
    const bool named = missing.output.find("/nonexistent/up") != std::string::npos ||
                       missing.output.find("/dev/net/tun") != std::string::npos ||
                       missing.output.find("tandemx") != std::string::npos;
    CHECK(named);
}

TEST_CASE("virtio-rng feeds the guest's /dev/hwrng") {
    Session s(boot({"-device", "virtio-rng-pci"}));
    REQUIRE(s.wait_for(kPrompt, 120s));
    // Random bytes do not compress, and each value is every 256th of 64 MiB: 262144 of them, give or take 2 %.
    s.type(
        "dd if=/dev/hwrng bs=64k count=1024 of=/tmp/random; [ $(head -c 1048576 /tmp/random | gzip -c | wc -c) -gt 1048576 "
        "] && ");
    s.type("echo ran-$((40 + 2))\n");
    CHECK(s.wait_for("1024+0 records out", 180s));
    CHECK(s.wait_for("ran-42"));
    s.type(
        "for v in 000 101 377; do n=$(tr -cd \"\\\\$v\" </tmp/random | wc -c); [ $n -gt 256901 ] && [ $n -lt 267387 ] && ");
    s.type("echo even-$v; done; echo counted-$((40 + 2))\n");
    REQUIRE(s.wait_for("counted-42"));
    for (const char* text : {"even-000", "even-101", "even-377"}) CHECK(s.output().find(text) != std::string::npos);
    s.type("poweroff -f\n");
    CHECK(s.wait_exit() == 0);
}

// Debian's kernel saved while it works, and restored: in the same program and in another one.
#include <catch2/catch.hpp>

#include <cstdlib>
#include <filesystem>

#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

namespace {

const std::string kPrompt = "guest# ";

// A directory for disk and snapshots, removed at the end.
class Place {
public:
    Place() {
        std::string name = (std::filesystem::temp_directory_path() / "tandem-saved-XXXXXX").string();
        REQUIRE(mkdtemp(name.data()) != nullptr);
        path_ = name;
        std::filesystem::copy_file(image("disk.img"), disk());
    }
    ~Place() { std::filesystem::remove_all(path_); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    [[nodiscard]] std::string disk() const { return path_ + "/disk.img"; }
    [[nodiscard]] std::string path() const { return path_; }

    [[nodiscard]] std::vector<std::string> run(const std::string& drive, const std::vector<std::string>& more = {}) const {
        std::vector<std::string> argv{tandem_program(), "-nographic", "-m", "256", "-smp", "2"};
        const std::vector<std::string> rest{"-kernel",    image("vmlinuz"),
                                            "-initrd",    image("initramfs"),
                                            "-append",    "console=ttyS0 quiet tandem.root=/dev/vda",
                                            "-snapshots", path_,
                                            "-drive",     "file=" + disk() + drive};
        argv.insert(argv.end(), rest.begin(), rest.end());
        argv.insert(argv.end(), more.begin(), more.end());
        return argv;
    }

private:
    std::string path_;
};

// A process that counts and prints, and one that writes the disk.
void start_work(Session& s) {
    s.type("(i=0; while :; do i=$((i+1)); echo tick-$i; sleep 0.2; done) &\n");
    REQUIRE(s.wait_for("tick-3"));
    s.type("(while :; do seq 1 2000 > /root/a; cp /root/a /root/b; sync; done) &\n");
    REQUIRE(s.wait_for("tick-"));
}

void end_work(Session& s) {
    REQUIRE(s.wait_for("tick-"));
    REQUIRE(s.wait_for("tick-"));
    s.type("kill %1 %2; wait; md5sum /root/a; sync; mount -o remount,ro / && echo all-$((1 + 1))-written\n");
    CHECK(s.wait_for("all-2-written"));
    s.type("poweroff -f\n");
    CHECK(s.wait_exit() == 0);
}

unsigned rounds() {
    const char* wish = std::getenv("TANDEM_SNAPSHOT_ROUNDS");  // 100 in the long test
    return wish != nullptr ? static_cast<unsigned>(std::atoi(wish)) : 5;
}

}  // namespace

TEST_CASE("a working Debian moves to another process by way of a file, and its disk stays clean") {
    const Place place;
    const std::string file = place.path() + "/moved";
    {
        Session s(place.run(""));
        REQUIRE(s.wait_for(kPrompt, 120s));
        start_work(s);
        REQUIRE(s.command("migrate file:" + file));
        CHECK(s.quit() == 0);
    }
    {
        // Saved on all tiers, restored on one.
        Session s(place.run("", {"-loadvm", file, "-accel", "jit,tier=baseline"}));
        INFO(s.output());
        end_work(s);
    }
    const Finished fsck = run_program({"/sbin/e2fsck", "-fn", place.disk()});
    INFO(fsck.output);
    CHECK(fsck.status == 0);
    // The image has been written since: its old memory must not come back.
    const Finished again = run_program(place.run("", {"-loadvm", file}), 20s);
    CHECK(again.status == 1);
    CHECK(again.output.find("has been written") != std::string::npos);
}

TEST_CASE("four processors at work are saved, go back, and go on in another process") {
    const Place place;
    // Writers behind pipes and a process for each processor, which checks what the others made.
    const std::string work =
        "one() { n=0; while :; do seq 1 $1 | md5sum > /tmp/sum-$2; "
        "[ \"$(seq 1 $1 | md5sum)\" = \"$(cat /tmp/sum-$2)\" ] || echo wro\"\"ng-$2; n=$((n+1)); echo $n > /tmp/round-$2; "
        "done; }\n";
    const std::string start = "for i in 1 2 3 4 5; do one $((300 * i)) $i & done; usleep 300000; echo all-$((4 + 1))-run\n";
    // Everyone goes on from where he was.
    const std::string look =
        "for i in 1 2 3 4 5; do a=$(cat /tmp/round-$i); while [ \"$(cat /tmp/round-$i)\" = \"$a\" ]; do usleep 50000; done; "
        "done; echo all-$((4 + 1))-go-on $(grep -c ^processor /proc/cpuinfo)-processors\n";
    {
        Session s(place.run(",snapshot=on", {"-smp", "4"}));
        REQUIRE(s.wait_for(kPrompt, 120s));
        s.type(work);
        s.type(start);
        REQUIRE(s.wait_for("all-5-run"));
        REQUIRE(s.command("savevm base"));
        for (unsigned i = 0; i < rounds(); ++i) {
            s.type(look);
            REQUIRE(s.wait_for("all-5-go-on 4-processors", 120s));
            REQUIRE(s.command("loadvm base"));
        }
        CHECK(s.output().find("Error") == std::string::npos);
        CHECK(s.output().find("wrong-") == std::string::npos);
    }
    Session s(place.run(",snapshot=on", {"-smp", "4", "-loadvm", "base"}));
    s.type(look);
    CHECK(s.wait_for("all-5-go-on 4-processors", 120s));
    CHECK(s.output().find("wrong-") == std::string::npos);
    s.type("poweroff -f\n");
    CHECK(s.wait_exit() == 0);
}

TEST_CASE("a working Debian is saved and goes back, again and again; its snapshot goes on in another process") {
    const Place place;
    {
        Session s(place.run(",snapshot=on"));
        REQUIRE(s.wait_for(kPrompt, 120s));
        start_work(s);
        REQUIRE(s.command("savevm base"));
        for (unsigned i = 0; i < rounds(); ++i) {
            REQUIRE(s.wait_for("tick-"));
            REQUIRE(s.command(i % 3 == 2 ? "loadvm base" : "savevm other"));
            REQUIRE(s.command(i % 3 == 2 ? "savevm other" : "loadvm other"));
        }
        CHECK(s.output().find("Error") == std::string::npos);
        end_work(s);
    }
    Session s(place.run(",snapshot=on", {"-loadvm", "base"}));
    INFO(s.output());
    end_work(s);
}

// `tandem diff` as a person uses it: wrong options, a campaign that is stopped and gone on with, shards, the progress bar.
#include <unistd.h>

#include <catch2/catch.hpp>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/guest/directory.h"
#include "tests/guest/session.h"
#include "tests/patience.h"

using namespace tandem::tests;

namespace {

namespace fs = std::filesystem;

std::string contents(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
}

std::vector<std::string> diff(const std::vector<std::string>& more) {
    std::vector<std::string> argv{tandem_program(), "diff"};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
}

std::vector<std::string> campaign(const std::string& count, const std::string& out,
                                  const std::vector<std::string>& more = {}) {
    std::vector<std::string> argv = diff({"--engines", "interp,baseline", "--seed", "9", "--count", count, "--out", out});
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
}

void check_refused(const std::vector<std::string>& argv, const std::string& says) {
    const Finished f = run_program(argv);
    std::string line;
    for (const std::string& a : argv) line += a + " ";
    INFO(line << "\n" << f.output);
    CHECK(f.status == 1);
    CHECK(f.output.find(says) != std::string::npos);
    CHECK(std::count(f.output.begin(), f.output.end(), '\n') == 1);
}

}  // namespace

TEST_CASE("What is wrong with a campaign is said in one line", "[bad]") {
    const Directory scratch;
    struct Row {
        std::vector<std::string> options;
        const char* says;
    };
    const Row kRows[] = {
        {{}, "--engines: two or more"},
        {{"--engines", "interp,bochs"}, "'bochs'"},
        {{"--engines", "interp,interp"}, "'interp' twice"},
        {{"--engines"}, "--engines needs a value"},
        {{"--engines", "interp,baseline", "--shard", "3/2"}, "--shard: 3/2"},
        {{"--engines", "interp,baseline", "--shard", "one"}, "--shard: 'one'"},
        {{"--engines", "interp,baseline", "--count", "-5"}, "--count: '-5'"},
        {{"--engines", "interp,baseline", "--count", "0"}, "--count"},
        {{"--engines", "interp,baseline", "--seed", "x"}, "--seed: 'x'"},
        {{"--engines", "interp,baseline", "--states", "user65"}, "'user65'"},
        {{"--engines", "interp,baseline", "--only", "FROB"}, "--only"},
        {{"--engines", "interp,baseline", "--count", "1G", "--out", "/nonexistent/x"}, "/nonexistent/x.part.new"},
        {{"--engines", "interp,baseline", "--count", "1G", "--out", "/tmp"}, "'/tmp' is a directory"},
        {{"--frob", "1"}, "'--frob'"},
        {{"frob"}, "'frob'"},
        {{"--merge"}, "nothing to merge"},
        {{"--merge", "/nonexistent"}, "'/nonexistent'"},
        {{"--merge", "/etc/passwd"}, "'/etc/passwd': line 1"},
    };
    for (const Row& row : kRows) check_refused(diff(row.options), row.says);
}

TEST_CASE("A damaged file of a campaign is named, one that was cut off is gone on with", "[bad]") {
    const Directory scratch;
    const std::string whole = scratch / "whole", out = scratch / "out";
    REQUIRE(run_program(campaign("1024", whole)).status == 0);
    const std::string header = contents(whole).substr(0, contents(whole).find('\n') + 1);
    struct Row {
        std::string text;
        const char* says;
    };
    const Row kRows[] = {
        {"nonsense\n", "line 1 is not a JSON object"},
        {"{\"type\":\"checkpoint\",\"streams\":256}\n", "line 1"},
        {header + "{\"type\":\"checkpoint\",\"streams\":\"many\"}\n", "line 2: a field has the wrong type"},
        {header + "{\"type\":7}\n", "line 2: a field has the wrong type"},
        {"{\"type\":\"campaign\",\"seed\":10}\n", "is of another campaign"},
    };
    for (const Row& row : kRows) {
        std::ofstream(out + ".part", std::ios::binary) << row.text;
        check_refused(campaign("1024", out), row.says);
    }
    std::ofstream(out + ".part", std::ios::binary).flush();
    CHECK(run_program(campaign("1024", out)).status == 0);
    CHECK(contents(out) == contents(whole));
    std::ofstream(out + ".part", std::ios::binary)
        << header << "{\"type\":\"checkpoint\",\"streams\":512}\n{\"type\":\"chec";
    CHECK(run_program(campaign("1024", out)).status == 0);
    CHECK(contents(out) == contents(whole));
}

TEST_CASE("A stopped campaign goes on, and merged shards are what one run writes; a terminal shows how far it is") {
    const Directory scratch;
    const std::string whole = scratch / "whole", stopped = scratch / "stopped", merged = scratch / "merged";
    const std::string count = "6144";
    REQUIRE(run_program(campaign(count, whole), std::chrono::seconds(120)).status == 0);
    {
        Session s(campaign(count, stopped));
        REQUIRE(s.wait_for("] 256/6144 streams, 0 differ, "));
        s.signal(SIGTERM);
        const int status = s.wait_exit();
        INFO(s.output());
        REQUIRE((status == 130 || status == 0));  // 0: it was faster
        if (status == 130) CHECK(s.output().find("the same command goes on from there") != std::string::npos);
        CHECK(fs::exists(stopped + ".part") == (status == 130));
    }
    if (fs::exists(stopped + ".part")) {
        const Finished again = run_program(campaign(count, stopped), std::chrono::seconds(120));
        INFO(again.output);
        CHECK(again.status == 0);
        CHECK(again.output.find("going on after") != std::string::npos);
        CHECK(again.output.find('\r') == std::string::npos);  // no bar without a terminal
        CHECK_FALSE(fs::exists(stopped + ".part"));
    }
    CHECK(contents(stopped) == contents(whole));
    std::vector<std::string> merge = diff({"--merge", "--out", merged});
    for (const char* shard : {"2", "0", "1"}) {
        const std::string file = scratch / shard;
        REQUIRE(run_program(campaign(count, file, {"--shard", std::string(shard) + "/3"})).status == 0);
        merge.push_back(file);
    }
    CHECK(run_program(merge).status == 0);
    CHECK(contents(merged) == contents(whole));
    merge.pop_back();
    check_refused(merge, "--merge: the campaign has 3 shards, 2 files are given");
}

TEST_CASE("Ctrl-C on the terminal stops a campaign on the host's processor and one with LLVM at once") {
    const Directory scratch;
    for (const char* other : {"host", "llvm"}) {
        const std::string out = scratch / other;
        const std::vector<std::string> argv =
            diff({"--engines", std::string("interp,") + other, "--count", "1G", "--states", "user64", "--out", out});
        Session s(argv);
        REQUIRE(s.wait_for("/1073741824 streams, "));
        const auto start = std::chrono::steady_clock::now();
        s.type("\x03");
        const int status = s.wait_exit();
        INFO(s.output());
        CHECK(status == 130);
        CHECK(std::chrono::steady_clock::now() - start < kAtOnce);
        CHECK(s.output().find("the same command goes on from there") != std::string::npos);
        CHECK(s.output().find("died") == std::string::npos);
        Session again(argv);
        CHECK(again.wait_for("going on after "));
        again.signal(SIGTERM);
        CHECK(again.wait_exit() == 130);
    }
}

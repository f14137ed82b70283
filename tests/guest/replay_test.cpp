// `tandem replay` with what lockstep and `tandem diff` save: on every engine, with the fault that made two differ and
// without. And differences as a person meets them: a search for the instruction that is broken off.
#include <unistd.h>

#include <catch2/catch.hpp>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/guest/directory.h"
#include "tests/guest/session.h"
#include "tests/patience.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

namespace {

namespace fs = std::filesystem;

// Engines that compile have the fault while it lives, in the program with planted faults.
class Fault {
public:
    explicit Fault(const char* name) { ::setenv("TANDEM_PLANTED", name, 1); }
    ~Fault() { ::unsetenv("TANDEM_PLANTED"); }
    Fault(const Fault&) = delete;
    Fault& operator=(const Fault&) = delete;
};

std::string planted_program() { return (fs::path(tandem_program()).parent_path() / "tandem-planted").string(); }

// Says so where this host has none.
bool have_kvm() {
    if (::access("/dev/kvm", R_OK | W_OK) == 0) return true;
    std::printf("skipped: replay with KVM: no /dev/kvm\n");
    return false;
}

Finished replay(const std::string& program, const std::string& directory, const std::string& engines = "") {
    std::vector<std::string> argv{program, "replay", directory};
    if (!engines.empty()) argv.insert(argv.end(), {"--engines", engines});
    return run_program(argv);
}

// `delivers`: an exception is delivered on the way, whose pushed flags show the single steps of a KVM without virtualization
// hardware (docs/differences.md).
void check_replay(const std::string& directory, const std::string& listed, bool delivers) {
    std::vector<std::string> good{"", "interp", "baseline", "llvm", "jit", "interp,llvm", "baseline,jit"};
    const bool kvm = have_kvm();
    if (kvm) good.emplace_back("kvm");
    if (kvm && !delivers) good.insert(good.end(), {"kvm,interp", "kvm,jit"});
    for (const std::string& engines : good) {
        const Finished f = replay(tandem_program(), directory, engines);
        INFO(directory << " " << engines << "\n" << f.output);
        CHECK(f.status == 0);
        CHECK(f.output.find(listed) != std::string::npos);
        CHECK(f.output.find("  ! ") == std::string::npos);
    }
    const Fault fault("movsx-zeroes");
    for (const char* engines : {"", "interp,baseline", "interp,llvm"}) {
        const Finished f = replay(planted_program(), directory, engines);
        INFO(directory << " planted " << engines << "\n" << f.output);
        CHECK(f.status == 2);
        CHECK(f.output.find("  ! ") != std::string::npos);
    }
}

std::vector<std::string> kernel(const std::string& directory, const std::string& engines) {
    return {planted_program(),
            "-accel",
            "lockstep,dir=" + directory + "," + engines,
            "-nographic",
            "-m",
            "16",
            "-kernel",
            TANDEM_KERNELS "/mini",
            "-append",
            "x"};
}

std::string contents(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
}

}  // namespace

TEST_CASE("Streams that a campaign saves are replayed on every engine") {
    const Directory scratch;
    {
        const Fault fault("movsx-zeroes");
        const Finished f = run_program({planted_program(), "diff", "--engines", "interp,baseline", "--only", "MOVSX",
                                        "--count", "3328", "--out", scratch / "results", "--save", scratch / "cases"},
                                       120s);
        INFO(f.output);
        REQUIRE(f.status == 2);
    }
    // One of 64-bit code, and one of real mode.
    std::vector<std::string> chosen(2);
    for (const auto& entry : fs::directory_iterator(scratch / "cases")) {
        const std::string report = contents(entry.path() / "report.txt");
        INFO(report);
        CHECK(report.find("movsx") != std::string::npos);
        if (report.find("user64") != std::string::npos) chosen[0] = entry.path();
        if (report.find("real16") != std::string::npos) chosen[1] = entry.path();
    }
    for (const std::string& directory : chosen) {
        if (!directory.empty()) check_replay(directory, "movsx", true);
    }
    CHECK_FALSE(chosen[0].empty());
}

#ifdef TANDEM_HAVE_KERNELS
TEST_CASE("What lockstep saves is replayed on every engine, and what is damaged of it is named") {
    const Directory scratch;
    const std::string saved = scratch / "saved";
    {
        const Fault fault("movsx-zeroes");
        const Finished f = run_program(kernel(saved, "a=interp,b=baseline"));
        INFO(f.output);
        REQUIRE(f.status == 4);
        CHECK(f.output.find("movsx") != std::string::npos);
        CHECK(f.output.find("tandem replay " + saved) != std::string::npos);
    }
    check_replay(saved, "movsx", false);
    const std::string whole = contents(saved + "/case.json");
    struct Row {
        const char* from;
        const char* to;
        const char* complaint;
    };
    const Row kRows[] = {
        {"\"cpu\": \"max\"", "\"cpu\": \"frob\"", "field 'cpu'"},
        {"\"count\": 1", "\"count\": 9000000000000000000", "field 'count' is 9000000000000000000"},
        {"\"count\": 1", "\"count\": \"one\"", "count"},
        {"\"baseline\"", "\"bochs\"", "field 'engines'"},
        {"\"max_block\": 1", "\"max_block\": 0", "field 'max_block' is 0"},
    };
    for (const Row& row : kRows) {
        std::string text = whole;
        REQUIRE(text.find(row.from) != std::string::npos);
        text.replace(text.find(row.from), std::string(row.from).size(), row.to);
        std::ofstream(saved + "/case.json", std::ios::binary) << text;
        const Finished f = replay(tandem_program(), saved);
        INFO(row.to << "\n" << f.output);
        CHECK(f.status == 1);
        CHECK(f.output.find(row.complaint) != std::string::npos);
        CHECK(std::count(f.output.begin(), f.output.end(), '\n') == 1);
    }
    // However it is cut off or changed, it is an error or a run, not a crash.
    for (std::size_t i = 0; i < 40; ++i) {
        std::string text = whole;
        const std::size_t at = i * text.size() / 40;
        if (i % 2 == 0) {
            text.resize(at);
        } else {
            text[at] = text[at] >= '0' && text[at] < '9' ? static_cast<char>(text[at] + 1) : ' ';
        }
        std::ofstream(saved + "/case.json", std::ios::binary) << text;
        const Finished f = replay(tandem_program(), saved);
        INFO(at << "\n" << f.output);
        CHECK((f.status >= 0 && f.status <= 2));
    }
    std::ofstream(saved + "/case.json", std::ios::binary) << whole;
    fs::resize_file(saved + "/memory-0.bin", 4096);
    Finished f = replay(tandem_program(), saved);
    CHECK(f.status == 1);
    CHECK(f.output.find("memory-0.bin' has 4096 bytes") != std::string::npos);
    fs::remove(saved + "/memory-0.bin");
    f = replay(tandem_program(), saved);
    CHECK(f.status == 1);
    CHECK(f.output.find("memory-0.bin': No such file") != std::string::npos);
}

TEST_CASE("A search for the instruction is broken off by SIGTERM and by Ctrl-A x") {
    const Directory scratch;
    const Fault fault("movsx-zeroes");
    for (const bool typed : {false, true}) {
        Session s(kernel(scratch / "saved", "a=interp,b=baseline"));
        REQUIRE(s.wait_for("mini: entered"));
        const bool searching = s.wait_for("looking for the first instruction");
        INFO(s.output());
        REQUIRE((searching || s.output().find("tandem replay") != std::string::npos));  // it was faster
        const auto start = std::chrono::steady_clock::now();
        if (typed) {
            s.type("\x01x");
        } else {
            s.signal(SIGTERM);
        }
        const int status = s.wait_exit();
        CHECK(std::chrono::steady_clock::now() - start < kAtOnce);
        INFO(s.output());
        if (fs::exists(scratch / "saved")) {  // it was faster
            fs::remove_all(scratch / "saved");
            continue;
        }
        CHECK(s.output().find("the search for the instruction was broken off") != std::string::npos);
        CHECK(status == (typed ? 0 : 128 + SIGTERM));
    }
}
#endif

TEST_CASE("What is no reproducer is one clear line", "[bad]") {
    struct Row {
        std::vector<std::string> arguments;
        const char* complaint;
    };
    const Row kRows[] = {
        {{}, "a directory is missing"},
        {{"/nonexistent"}, "'/nonexistent/case.json'"},
        {{"/etc/passwd"}, "'/etc/passwd/case.json'"},
        {{"/tmp", "/tmp"}, "'/tmp' comes after the directory"},
        {{"/tmp", "--engines"}, "--engines needs a value"},
        {{"/tmp", "--engines", "a,b,c"}, "--engines takes one or two"},
        {{"--frob"}, "unknown option '--frob'"},
    };
    for (const Row& row : kRows) {
        std::vector<std::string> argv{tandem_program(), "replay"};
        argv.insert(argv.end(), row.arguments.begin(), row.arguments.end());
        const Finished f = run_program(argv);
        INFO(f.output);
        CHECK(f.status == 1);
        CHECK(f.output.find(row.complaint) != std::string::npos);
        CHECK(std::count(f.output.begin(), f.output.end(), '\n') == 1);
    }
}

// Options from files, and those with rules of their own.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "frontend/config_file.h"
#include "frontend/options.h"

using namespace tandem;
using namespace tandem::frontend;

namespace {

Result<Options> parse(std::vector<const char*> words) {
    words.insert(words.begin(), "tandem");
    return parse_command_line(static_cast<int>(words.size()), words.data());
}

std::string error_of(const std::vector<const char*>& words) {
    auto options = parse(words);
    return options.ok() ? "" : options.error().message;
}

class TextFile {
public:
    explicit TextFile(const std::string& text)
        : path_(std::filesystem::temp_directory_path() / ("tandem-options-" + std::to_string(getpid()))) {
        std::ofstream(path_) << text;
    }
    ~TextFile() { std::filesystem::remove(path_); }
    TextFile(const TextFile&) = delete;
    TextFile& operator=(const TextFile&) = delete;
    [[nodiscard]] std::string path() const { return path_.string(); }

private:
    std::filesystem::path path_;
};

}  // namespace

TEST_CASE("options: words from a file") {
    const TextFile file("# a machine\n-m 64   -append 'console=ttyS0 \"quoted\"'\n-name \"two words\"  # end\n");
    const std::string at = "@" + file.path();
    auto options = parse({"-S", at.c_str(), "-smp", "2"});
    REQUIRE(options.ok());
    CHECK(options->start_paused);
    CHECK(options->ram_bytes == 64ull << 20);
    CHECK(options->append == "console=ttyS0 \"quoted\"");
    CHECK(options->name == "two words");
    CHECK(options->cpus == 2);
    CHECK(error_of({"@/nonexistent"}).find("/nonexistent") != std::string::npos);
    CHECK(!read_words("/").ok());
}

TEST_CASE("options: groups from a file") {
    const TextFile file("[drive \"d0\"]\n  file = \"a,b.img\"\n  if = \"none\"\n\n[machine]\n  type = \"q35\"\n");
    auto options = parse({"-readconfig", file.path().c_str()});
    REQUIRE(options.ok());
    REQUIRE(options->drives.size() == 1);
    CHECK(options->drives[0].options.file == "a,b.img");
    CHECK(options->drives[0].id == "d0");
    CHECK(options->machine == "q35");
    const TextFile bad("file = x\n");
    CHECK(error_of({"-readconfig", bad.path().c_str()}).find("line 1") != std::string::npos);
    CHECK(!error_of({"-readconfig"}).empty());
}

TEST_CASE("options: a file that names itself is refused") {
    const TextFile file("");
    std::ofstream(file.path()) << "@" << file.path();
    CHECK(error_of({("@" + file.path()).c_str()}).find("deeply") != std::string::npos);
}

TEST_CASE("options: processors, globals, actions, identity") {
    CHECK(parse({"-smp", "cpus=4,sockets=1,cores=4,threads=1"})->cpus == 4);
    CHECK(parse({"-smp", "cores=2"})->cpus == 2);
    CHECK(!error_of({"-smp", "0"}).empty());
    CHECK(!error_of({"-smp", "4,sockets=2"}).empty());
    CHECK(error_of({"-smp", "2,maxcpus=4"}).find("maxcpus") != std::string::npos);
    CHECK(parse({"-global", "virtio-blk-pci.serial=abc"})->globals.at(0).value == "abc");
    CHECK(!error_of({"-global", "nonsense"}).empty());
    auto merged = parse({"-machine", "q35", "-machine", "accel=kvm:tcg"});
    REQUIRE(merged.ok());
    CHECK(merged->machine == "q35");
    CHECK(merged->accel.size() == 2);
    CHECK(parse({"-action", "reboot=shutdown,shutdown=pause"})->no_reboot);
    CHECK(!error_of({"-action", "panic=dance"}).empty());
    CHECK(parse({"-device", "virtio-blk-pci,help"})->device_query == "virtio-blk-pci");
    CHECK(error_of({"-rtc", "base=localtime"}).find("localtime") != std::string::npos);
    CHECK(parse({"-rtc", "base=utc,clock=host"}).ok());
    CHECK(!error_of({"-uuid", "1234"}).empty());
    CHECK(parse({"-uuid", "12345678-1234-1234-1234-123456789abc"})->uuid.size() == 36);
}

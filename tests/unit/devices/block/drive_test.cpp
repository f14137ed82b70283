// Drives with options: direct I/O, io_uring, cache modes, discard and zeros, images of other formats, NBD servers.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "base/log.h"
#include "devices/block/nbd.h"
#include "devices/fabric/backends.h"
#include "tests/patience.h"

using namespace tandem;
using namespace tandem::devices;

namespace {

// A file of its own in a directory with direct I/O, removed at the end.
class Image {
public:
    explicit Image(u64 size, const char* directory = "/var/tmp") {
        std::string name = std::string(directory) + "/tandem-drive-XXXXXX";
        fd_ = ::mkstemp(name.data());
        REQUIRE(fd_ >= 0);
        path_ = name;
        REQUIRE(::ftruncate(fd_, static_cast<off_t>(size)) == 0);
    }
    ~Image() {
        ::close(fd_);
        ::unlink(path_.c_str());
    }
    Image(const Image&) = delete;
    Image& operator=(const Image&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }
    void truncate(u64 size) const { REQUIRE(::ftruncate(fd_, static_cast<off_t>(size)) == 0); }
    [[nodiscard]] u64 allocated() const {
        struct stat st{};
        REQUIRE(::stat(path_.c_str(), &st) == 0);
        return static_cast<u64>(st.st_blocks) * 512;
    }

private:
    int fd_ = -1;
    std::string path_;
};

std::vector<u8> pattern(std::size_t size, u8 seed) {
    std::vector<u8> bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<u8>(seed + i * 7 + i / 512);
    return bytes;
}

std::unique_ptr<BlockBackend> must_open(const DriveOptions& options) {
    auto r = open_drive(options);
    INFO((r.ok() ? "" : r.error().message));
    REQUIRE(r.ok());
    return std::move(r).value();
}

// Parts of odd sizes that make up `bytes`.
std::vector<iovec> split(std::vector<u8>& bytes, std::initializer_list<std::size_t> sizes) {
    std::vector<iovec> parts;
    std::size_t at = 0;
    for (const std::size_t n : sizes) {
        parts.push_back({bytes.data() + at, n});
        at += n;
    }
    parts.push_back({bytes.data() + at, bytes.size() - at});
    return parts;
}

bool has_program(const char* name) { return std::system(fmt::format("command -v {} >/dev/null", name).c_str()) == 0; }

// What every drive must do, whatever it is kept in.
void check_disk(BlockBackend& disk, u64 size) {
    REQUIRE(disk.size_bytes() == size);
    auto data = pattern(64 * 1024, 5);
    REQUIRE(disk.write(512, std::span(data).first(3 * 512)).ok());
    REQUIRE(disk.write_parts(8192, split(data, {100, 4096, 0, 12000})).ok());
    std::vector<u8> back(data.size());
    REQUIRE(disk.read_parts(8192, split(back, {7, 509, 30000})).ok());
    CHECK(back == data);
    REQUIRE(disk.read(512, std::span(back).first(1536)).ok());
    CHECK(std::equal(back.begin(), back.begin() + 1536, data.begin()));
    REQUIRE(disk.flush().ok());
    REQUIRE(disk.write_zeroes(8192, 4096, true).ok());
    REQUIRE(disk.read(8192, std::span(back).first(8192)).ok());
    CHECK(std::all_of(back.begin(), back.begin() + 4096, [](u8 b) { return b == 0; }));
    CHECK(std::equal(back.begin() + 4096, back.begin() + 8192, data.begin() + 4096));
    CHECK(disk.discard(0, 8192).ok());
    CHECK_FALSE(disk.read(size, std::span(back).first(512)).ok());
    CHECK_FALSE(disk.write(size - 512, std::span<const u8>(data).first(1024)).ok());
    // The last sector is there.
    CHECK(disk.write(size - 512, std::span<const u8>(data).first(512)).ok());
}

}  // namespace

TEST_CASE("drive: every cache mode and way of waiting keeps what is written") {
    const bool direct = GENERATE(false, true);
    const bool uring = GENERATE(false, true);
    CAPTURE(direct, uring);
    Image image(1 << 20);
    DriveOptions options{image.path()};
    options.direct = direct;
    options.io_uring = uring;
    auto probe = open_drive(options);
    if (!probe.ok() && probe.error().code == Errc::Unsupported) {
        WARN("skipped: " << probe.error().message);
        return;
    }
    check_disk(**probe, 1 << 20);
}

TEST_CASE("drive: direct I/O takes what is not aligned, at every place in a block") {
    Image image(256 * 1024);
    DriveOptions options{image.path()};
    options.direct = true;
    auto opened = open_drive(options);
    if (!opened.ok()) {
        WARN("skipped: " << opened.error().message);
        return;
    }
    std::vector<u8> model(256 * 1024);
    auto data = pattern(64 * 512 + 1, 9);
    for (unsigned i = 0; i < 200; ++i) {
        const u64 sector = i * 37 % 440;
        const u64 size = (1 + i % 64) * 512;
        const u64 skew = i % 3;  // of the buffer
        const std::span<const u8> from(data.data() + (skew == 2 ? 1 : 0), size);
        REQUIRE((*opened)->write(sector * 512, from).ok());
        std::copy(from.begin(), from.end(), model.begin() + static_cast<i64>(sector * 512));
    }
    std::vector<u8> back(model.size() + 1);
    REQUIRE((*opened)->read(0, std::span(back).subspan(1)).ok());
    CHECK(std::equal(model.begin(), model.end(), back.begin() + 1));
}

TEST_CASE("drive: io_uring transfers run at once and each ends once, errors included") {
    Image image(4 << 20);
    DriveOptions options{image.path()};
    options.io_uring = true;
    auto opened = open_drive(options);
    if (!opened.ok()) {
        WARN("skipped: " << opened.error().message);
        return;
    }
    auto disk = std::move(opened).value();
    constexpr unsigned kCount = 1000;
    std::vector<std::vector<u8>> buffers;
    for (unsigned i = 0; i < kCount; ++i) buffers.push_back(pattern(4096, static_cast<u8>(i)));
    std::atomic<unsigned> good{0}, bad{0};
    const auto run = [&](bool write, u64 offset, std::vector<u8>& bytes) {
        BlockTransfer t{write, offset, split(bytes, {1000}), [&](const Result<void>& r) { ++(r.ok() ? good : bad); }};
        return disk->start(t);
    };
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (unsigned i = t; i < kCount; i += 4) {
                if (!run(true, i * 4096ull, buffers[i])) std::abort();
            }
        });
    }
    for (auto& t : threads) t.join();
    while (good + bad < kCount) std::this_thread::yield();
    CHECK(good == kCount);
    for (auto& b : buffers) b.assign(b.size(), 0);
    for (unsigned i = 0; i < kCount; ++i) REQUIRE(run(false, i * 4096ull, buffers[i]));
    while (good + bad < 2 * kCount) std::this_thread::yield();
    bool same = true;
    for (unsigned i = 0; i < kCount; ++i) same = same && buffers[i] == pattern(4096, static_cast<u8>(i));
    CHECK(same);
    CHECK(bad == 0);
    // A file that lost its end under way: an error of the request.
    image.truncate(2 << 20);
    REQUIRE(run(false, 3 << 20, buffers[0]));
    while (bad == 0) std::this_thread::yield();
    CHECK_FALSE(run(true, 3 << 20, buffers[0]));
    struct stat st{};
    REQUIRE(::stat(image.path().c_str(), &st) == 0);
    CHECK(st.st_size == 2 << 20);
    // What has begun ends before the drive does.
    const unsigned before = good + bad;
    for (unsigned i = 0; i < 100; ++i) REQUIRE(run(true, i * 4096ull, buffers[i]));
    disk.reset();
    CHECK(good + bad == before + 100);
}

TEST_CASE("drive: discard gives storage back, or not when it is to be ignored") {
    const bool ignore = GENERATE(false, true);
    Image image(4 << 20);
    DriveOptions options{image.path()};
    options.discard = !ignore;
    auto disk = must_open(options);
    REQUIRE(disk->write(0, std::vector<u8>(4 << 20, 0xaa)).ok());
    REQUIRE(disk->flush().ok());
    const u64 full = image.allocated();
    REQUIRE(full >= 4 << 20);
    REQUIRE(disk->discard(1 << 20, 2 << 20).ok());
    CHECK(image.allocated() == (ignore ? full : full - (2 << 20)));
}

TEST_CASE("drive: zeros that are written take no storage where they are looked for") {
    const auto mode = GENERATE(DetectZeroes::Off, DetectZeroes::Unmap);
    Image image(4 << 20);
    DriveOptions options{image.path()};
    options.detect_zeroes = mode;
    auto disk = must_open(options);
    REQUIRE(disk->write(0, std::vector<u8>(4 << 20, 0)).ok());
    std::vector<u8> one(4096);
    one[4095] = 1;
    REQUIRE(disk->write(8192, one).ok());
    REQUIRE(disk->flush().ok());
    CHECK((image.allocated() < 1 << 20) == (mode == DetectZeroes::Unmap));
    std::vector<u8> back(4096);
    REQUIRE(disk->read(8192, back).ok());
    CHECK(back == one);
}

TEST_CASE("drive: what a cache mode tells the guest") {
    Image image(4096);
    DriveOptions options{image.path()};
    CHECK_FALSE(must_open(options)->writes_through());
    options.write_through = true;
    CHECK(must_open(options)->writes_through());
}

TEST_CASE("drive: options that contradict each other or the host are refused") {
    Image image(4096);
    const auto message = [](const DriveOptions& o) {
        auto r = open_drive(o);
        return r.ok() ? std::string("opened") : r.error().message;
    };
    DriveOptions options{image.path()};
    options.format = "tape";
    CHECK(message(options).find("known: raw, qcow2") != std::string::npos);
    options = {image.path()};
    options.discard = false;
    options.detect_zeroes = DetectZeroes::Unmap;
    CHECK(message(options).find("discard=unmap") != std::string::npos);
    options = {"nbd:unix:/x"};
    options.format = "qcow2";
    CHECK(message(options).find("format=raw") != std::string::npos);
    options = {image.path()};
    options.format = "qcow2";
    const char* old = std::getenv("PATH");
    const std::string path = old != nullptr ? old : "";
    ::setenv("PATH", "/nonexistent", 1);
    CHECK(message(options).find("qemu-utils") != std::string::npos);
    ::setenv("PATH", path.c_str(), 1);
}

TEST_CASE("drive: where an NBD server is") {
    using block::parse_nbd_address;
    CHECK_FALSE(parse_nbd_address("/a/path:with:colons")->has_value());
    CHECK_FALSE(parse_nbd_address("disk.img")->has_value());
    CHECK((*parse_nbd_address("nbd:unix:/run/s"))->unix_path == "/run/s");
    const auto named = parse_nbd_address("nbd:unix:/run/s:exportname=disk one");
    CHECK((*named)->unix_path == "/run/s");
    CHECK((*named)->export_name == "disk one");
    const auto six = parse_nbd_address("nbd:[::1]:10809");
    CHECK((*six)->host == "::1");
    CHECK((*six)->port == "10809");
    CHECK((*parse_nbd_address("nbd+unix:///a?socket=/s"))->uri == "nbd+unix:///a?socket=/s");
    const auto json = parse_nbd_address(
        R"(json:{"driver":"raw","file":{"driver":"nbd","export":"e","server":{"type":"inet","host":"h","port":99}}})");
    CHECK((*json)->host == "h");
    CHECK((*json)->port == "99");
    CHECK((*json)->export_name == "e");
    for (const char* bad : {"nbd:", "nbd:host", "nbd:unix:", "json:", "json:{", "json:[]", R"(json:{"driver":"ssh"})",
                            R"(json:{"driver":"nbd"})", R"(json:{"driver":"nbd","server":{"host":[]}})"}) {
        CAPTURE(bad);
        CHECK_FALSE(parse_nbd_address(bad).ok());
    }
}

TEST_CASE("drive: a qcow2 image keeps what is written and is whole at the end") {
    if (!has_program("qemu-nbd") || !has_program("qemu-img")) {
        WARN("skipped: qemu-nbd and qemu-img are not installed");
        return;
    }
    Image image(0);
    const auto tool = [](const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()); };
    REQUIRE(tool("qemu-img create -f qcow2 " + image.path() + " 8M") == 0);
    DriveOptions options{image.path()};
    options.format = "qcow2";
    const auto data = pattern(4096, 1);
    {
        auto disk = must_open(options);
        check_disk(*disk, 8 << 20);
        REQUIRE(disk->write(1 << 20, data).ok());
    }
    CHECK(tool("qemu-img check -f qcow2 " + image.path()) == 0);
    {
        DriveOptions overlay = options;
        overlay.snapshot = true;
        auto disk = must_open(overlay);
        std::vector<u8> back(4096);
        REQUIRE(disk->read(1 << 20, back).ok());
        CHECK(back == data);
        REQUIRE(disk->write(1 << 20, std::vector<u8>(4096, 0x55)).ok());
        CHECK(disk->holds_changes());
    }
    {
        DriveOptions reader = options;
        reader.readonly = true;
        auto disk = must_open(reader);
        std::vector<u8> back(4096);
        REQUIRE(disk->read(1 << 20, back).ok());
        CHECK(back == data);
        CHECK_FALSE(disk->write(0, data).ok());
    }
    image.truncate(100);
    auto broken = open_drive(options);
    REQUIRE_FALSE(broken.ok());
    CHECK(broken.error().message.find(image.path()) != std::string::npos);
    CHECK(broken.error().message.find("qemu-nbd") != std::string::npos);
}

TEST_CASE("drive: an NBD server that goes away makes requests fail") {
    if (!has_program("qemu-nbd")) {
        WARN("skipped: qemu-nbd is not installed");
        return;
    }
    Image image(1 << 20);
    const std::string socket = image.path() + ".socket";
    const pid_t server = ::fork();
    if (server == 0) {
        ::execlp("qemu-nbd", "qemu-nbd", "-f", "raw", "-e", "8", "-k", socket.c_str(), image.path().c_str(), nullptr);
        ::_exit(127);
    }
    const auto limit = std::chrono::steady_clock::now() + tests::kPatience;
    while (!std::filesystem::exists(socket) && std::chrono::steady_clock::now() < limit) ::usleep(20'000);
    {
        auto disk = must_open({"nbd:unix:" + socket});
        check_disk(*disk, 1 << 20);
        ::kill(server, SIGKILL);
        ::waitpid(server, nullptr, 0);
        std::vector<u8> sector(512);
        auto r = disk->read(0, sector);
        REQUIRE_FALSE(r.ok());
        CHECK(r.error().code == Errc::Io);
        CHECK_FALSE(disk->flush().ok());
    }
    ::unlink(socket.c_str());
    CHECK_FALSE(open_drive({"nbd:unix:" + socket}).ok());
}

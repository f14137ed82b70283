#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "devices/fabric/backends.h"

using namespace tandem;
using namespace tandem::devices;

namespace {

// A file of its own for each test, removed at the end.
class TempFile {
public:
    explicit TempFile(u64 size, const std::string& directory = "/tmp") {
        std::string name = directory + "/tandem-raw-XXXXXX";
        fd_ = ::mkstemp(name.data());
        REQUIRE(fd_ >= 0);
        path_ = name;
        REQUIRE(::ftruncate(fd_, static_cast<off_t>(size)) == 0);
    }
    ~TempFile() {
        ::close(fd_);
        ::unlink(path_.c_str());
    }
    [[nodiscard]] const std::string& path() const { return path_; }
    void truncate(u64 size) const { REQUIRE(::ftruncate(fd_, static_cast<off_t>(size)) == 0); }
    [[nodiscard]] u8 byte_at(u64 offset) const {
        u8 value = 0;
        REQUIRE(::pread(fd_, &value, 1, static_cast<off_t>(offset)) == 1);
        return value;
    }
    [[nodiscard]] u64 allocated() const {
        struct stat st{};
        REQUIRE(::fstat(fd_, &st) == 0);
        return static_cast<u64>(st.st_blocks) * 512;
    }

private:
    int fd_ = -1;
    std::string path_;
};

std::vector<u8> pattern(std::size_t size, u8 seed) {
    std::vector<u8> bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<u8>(seed + i * 7);
    return bytes;
}

std::unique_ptr<BlockBackend> must_open(const DriveOptions& options) {
    auto r = open_drive(options);
    INFO((r.ok() ? "" : r.error().message));
    REQUIRE(r.ok());
    return std::move(r).value();
}

}  // namespace

TEST_CASE("raw image: what is written is read back and is in the file") {
    TempFile file(1 << 20);
    auto disk = must_open({file.path(), false, false});
    CHECK(disk->size_bytes() == 1 << 20);
    const auto data = pattern(1024, 3);
    REQUIRE(disk->write(512, data).ok());
    REQUIRE(disk->flush().ok());
    std::vector<u8> back(1024);
    REQUIRE(disk->read(512, back).ok());
    CHECK(back == data);
    CHECK(file.byte_at(513) == data[1]);
}

TEST_CASE("raw image: what the host has in memory is read without waiting, also where its file system has no such call") {
    const std::string directory = GENERATE("/tmp", "/dev/shm");  // tmpfs knows RWF_NOWAIT from Linux 6.6 on
    if (::access(directory.c_str(), W_OK) != 0) {
        WARN("skipped: no " << directory);
        return;
    }
    TempFile file(1 << 20, directory);
    auto disk = must_open({file.path(), false, false});
    const auto data = pattern(8192, 3);
    REQUIRE(disk->write(512, data).ok());
    std::vector<u8> first(1024), second(7168);
    const std::array<iovec, 2> parts{{{first.data(), first.size()}, {second.data(), second.size()}}};
    for (int i = 0; i < 2; ++i) {
        REQUIRE(disk->read_at_hand(512, parts));
        CHECK(std::equal(first.begin(), first.end(), data.begin()));
        CHECK(std::equal(second.begin(), second.end(), data.begin() + 1024));
        std::ranges::fill(first, u8{0});
    }
    CHECK_FALSE(disk->read_at_hand((1 << 20) - 512, parts));
    CHECK_FALSE(disk->read_at_hand(~u64{511}, parts));
    file.truncate(4096);
    CHECK_FALSE(disk->read_at_hand(8192, parts));
}

TEST_CASE("raw image: bounds, sector multiples and growth are refused") {
    TempFile file(4096);
    auto disk = must_open({file.path(), false, false});
    std::vector<u8> sector(512);
    CHECK(disk->write(4096, sector).error().code == Errc::Io);
    CHECK(disk->read(4096, sector).error().code == Errc::Io);
    CHECK(disk->read(~u64{511}, sector).error().code == Errc::Io);
    CHECK_FALSE(disk->write(100, sector).ok());
    CHECK_FALSE(disk->write_zeroes(4096, 512, true).ok());
    CHECK_FALSE(disk->discard(512, 4096).ok());
    std::vector<u8> odd(100);
    CHECK_FALSE(disk->read(0, odd).ok());
}

TEST_CASE("raw image: errors name the file") {
    CHECK(open_drive({"/nonexistent/disk.img", false, false}).error().message.find("/nonexistent/disk.img") !=
          std::string::npos);
    TempFile odd(1000);
    auto r = open_drive({odd.path(), false, false});
    REQUIRE_FALSE(r.ok());
    CHECK(r.error().message.find(odd.path()) != std::string::npos);
    CHECK(r.error().message.find("multiple of 512") != std::string::npos);
    TempFile empty(0);
    CHECK_FALSE(open_drive({empty.path(), true, false}).ok());
    CHECK_FALSE(open_drive({"/tmp", true, false}).ok());
}

TEST_CASE("raw image: a writer is alone, readers share, in one process too") {
    TempFile file(4096);
    {
        auto writer = must_open({file.path(), false, false});
        CHECK(open_drive({file.path(), false, false}).error().code == Errc::Busy);
        CHECK(open_drive({file.path(), true, false}).error().code == Errc::Busy);
        CHECK(open_drive({file.path(), false, true}).error().code == Errc::Busy);
    }
    auto reader = must_open({file.path(), true, false});
    auto second = must_open({file.path(), false, true});
    CHECK(open_drive({file.path(), false, false}).error().code == Errc::Busy);
}

TEST_CASE("raw image: read-only refuses writes") {
    TempFile file(4096);
    auto disk = must_open({file.path(), true, false});
    std::vector<u8> sector(512, 1);
    CHECK(disk->readonly());
    CHECK_FALSE(disk->write(0, sector).ok());
    CHECK_FALSE(disk->write_zeroes(0, 512, false).ok());
    CHECK_FALSE(disk->discard(0, 512).ok());
    CHECK(disk->flush().ok());
}

TEST_CASE("raw image: a file truncated underneath is an error, not data and not growth") {
    TempFile file(8192);
    auto disk = must_open({file.path(), false, false});
    file.truncate(4096);
    std::vector<u8> sector(512, 1);
    CHECK(disk->read(4096, sector).error().code == Errc::Io);
    CHECK(disk->write(4096, sector).error().message.find("truncated") != std::string::npos);
    struct stat st{};
    REQUIRE(::stat(file.path().c_str(), &st) == 0);
    CHECK(st.st_size == 4096);
    CHECK(disk->write(0, sector).ok());
}

TEST_CASE("raw image: what cannot hold a disk or a snapshot is refused with its reason") {
    CHECK_FALSE(open_drive({"/dev/full", false, false}).ok());
    TempFile file(4096);
    ::setenv("TMPDIR", "/nonexistent", 1);
    auto r = open_drive({file.path(), false, true});
    ::unsetenv("TMPDIR");
    REQUIRE_FALSE(r.ok());
    CHECK(r.error().message.find("/nonexistent") != std::string::npos);
}

TEST_CASE("raw image: zeroes and discard") {
    TempFile file(1 << 20);
    auto disk = must_open({file.path(), false, false});
    REQUIRE(disk->write(0, std::vector<u8>(1 << 20, 0xaa)).ok());
    REQUIRE(disk->flush().ok());
    REQUIRE(disk->write_zeroes(4096, 8192, false).ok());
    std::vector<u8> back(16384);
    REQUIRE(disk->read(0, back).ok());
    CHECK(back[4095] == 0xaa);
    CHECK(std::all_of(back.begin() + 4096, back.begin() + 12288, [](u8 b) { return b == 0; }));
    CHECK(back[12288] == 0xaa);
    const u64 before = file.allocated();
    REQUIRE(disk->discard(0, 1 << 19).ok());
    CHECK(file.allocated() <= before);
}

TEST_CASE("snapshot: writes are seen, the file is not changed, the rest reads through") {
    TempFile file(256 * 1024);
    {
        auto disk = must_open({file.path(), false, false});
        REQUIRE(disk->write(0, std::vector<u8>(256 * 1024, 0x11)).ok());
    }
    {
        auto disk = must_open({file.path(), false, true});
        CHECK_FALSE(disk->readonly());
        REQUIRE(disk->write(65536 - 512, std::vector<u8>(1024, 0x22)).ok());
        std::vector<u8> back(256 * 1024);
        REQUIRE(disk->read(0, back).ok());
        CHECK(back[65536 - 513] == 0x11);
        CHECK(back[65536 - 512] == 0x22);
        CHECK(back[65536 + 511] == 0x22);
        CHECK(back[65536 + 512] == 0x11);
        CHECK(back.back() == 0x11);
        REQUIRE(disk->write_zeroes(200 * 1024, 1024, true).ok());
        REQUIRE(disk->read(200 * 1024, std::span(back).first(2048)).ok());
        CHECK(back[1023] == 0);
        CHECK(back[1024] == 0x11);
        CHECK_FALSE(disk->write(256 * 1024, std::vector<u8>(512)).ok());
        CHECK_FALSE(disk->read(256 * 1024, std::span(back).first(512)).ok());
    }
    CHECK(file.byte_at(65536) == 0x11);
    CHECK(file.byte_at(200 * 1024) == 0x11);
}

TEST_CASE("snapshot: concurrent first writes to one cluster lose nothing") {
    TempFile file(1 << 20);
    auto disk = must_open({file.path(), false, true});
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; ++t) {
        threads.emplace_back([&disk, t] {
            for (u64 s = t; s < 512; s += 4) {
                if (!disk->write(s * 512, std::vector<u8>(512, static_cast<u8>(s))).ok()) std::abort();
            }
        });
    }
    for (auto& t : threads) t.join();
    std::vector<u8> sector(512);
    bool good = true;
    for (u64 s = 0; s < 512; ++s) {
        REQUIRE(disk->read(s * 512, sector).ok());
        good = good && sector[0] == static_cast<u8>(s) && sector[511] == static_cast<u8>(s);
    }
    CHECK(good);
}

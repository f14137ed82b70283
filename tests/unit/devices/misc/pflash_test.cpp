#include <catch2/catch.hpp>

#include <cstring>

#include "devices/misc/pflash.h"
#include "tests/unit/devices/fabric/device_fuzz.h"

using namespace tandem;
using namespace tandem::devices;

namespace {

// A disk in memory that outlives its back end.
class MemoryDisk final : public BlockBackend {
public:
    MemoryDisk(std::vector<u8>& bytes, bool readonly) : bytes_(bytes), readonly_(readonly) {}
    u64 size_bytes() const override { return bytes_.size(); }
    bool readonly() const override { return readonly_; }
    Result<void> read(u64 offset, std::span<u8> out) override {
        std::memcpy(out.data(), bytes_.data() + offset, out.size());
        return {};
    }
    Result<void> write(u64 offset, std::span<const u8> in) override {
        REQUIRE(offset % 512 == 0);
        REQUIRE(in.size() % 512 == 0);
        std::memcpy(bytes_.data() + offset, in.data(), in.size());
        return {};
    }
    Result<void> flush() override { return {}; }
    Result<void> write_zeroes(u64, u64, bool) override { return {}; }
    Result<void> discard(u64, u64) override { return {}; }

private:
    std::vector<u8>& bytes_;
    bool readonly_;
};

std::unique_ptr<Pflash> chip(std::vector<u8>& bytes, bool readonly = false) {
    auto flash = Pflash::create("pflash1", std::make_unique<MemoryDisk>(bytes, readonly));
    REQUIRE(flash.ok());
    return std::move(flash).value();
}

}  // namespace

TEST_CASE("pflash: array, identification, query") {
    std::vector<u8> bytes(64 * 4096, 0xff);
    bytes[5] = 0x12;
    auto flash = chip(bytes);
    CHECK(flash->io_read(4, 4) == 0xffff12ff);
    flash->io_write(0, 0x98, 1);
    CHECK(flash->io_read(0x10, 1) == 'Q');
    CHECK(flash->io_read(0x27, 1) == 18);
    CHECK(flash->io_read(0x2d, 1) == 63);
    flash->io_write(0, 0x90, 1);
    CHECK(flash->io_read(0, 1) == 0x89);
    flash->io_write(0, 0xff, 1);
    CHECK(flash->io_read(5, 1) == 0x12);
    // How firmware tells flash from ROM and RAM.
    flash->io_write(0, 0x50, 1);
    CHECK(flash->io_read(0, 1) == 0xff);
    flash->io_write(0, 0x70, 1);
    CHECK(flash->io_read(0, 1) == 0);
}

TEST_CASE("pflash: programming clears bits, erasing sets a block, both reach the back end") {
    std::vector<u8> bytes(2 * 4096, 0xff);
    auto flash = chip(bytes);
    const auto program = [&](u64 at, u8 value) {
        flash->io_write(at, 0x10, 1);
        flash->io_write(at, value, 1);
        CHECK(flash->io_read(at, 1) == 0x80);  // status
    };
    program(4100, 0xf0);
    program(4100, 0x3c);
    flash->io_write(0, 0xff, 1);
    CHECK(flash->io_read(4100, 1) == 0x30);
    CHECK(bytes[4100] == 0x30);
    // Three bytes through the write buffer.
    flash->io_write(4200, 0xe8, 1);
    flash->io_write(4200, 2, 1);
    for (u64 i = 0; i < 3; ++i) flash->io_write(4200 + i, 0xa0 + i, 1);
    flash->io_write(4200, 0xd0, 1);
    CHECK(flash->io_read(0, 1) == 0x80);
    flash->io_write(0, 0xff, 1);
    CHECK(flash->io_read(4200, 4) == 0xffa2a1a0);
    flash->io_write(4096, 0x20, 1);
    flash->io_write(4096, 0xd0, 1);
    CHECK(flash->io_read(0, 1) == 0x80);
    CHECK(bytes[4100] == 0xff);
    flash->io_write(4096, 0x20, 1);
    flash->io_write(4096, 0x00, 1);
    CHECK((flash->io_read(0, 1) & 0x30) == 0x30);
}

TEST_CASE("pflash: two chips of 16 bits take commands together, and answer both") {
    std::vector<u8> bytes(2 * 0x40000, 0xff);
    auto made = Pflash::create("pflash1", std::make_unique<MemoryDisk>(bytes, false), {0x40000, 4});
    REQUIRE(made.ok());
    Pflash& flash = **made;
    const auto command = [&](u64 at, u32 value) { flash.io_write(at, value << 16 | value, 4); };
    command(0, 0x98);
    CHECK(flash.io_read(0x10 * 4, 4) == 0x00510051);  // 'Q'
    CHECK(flash.io_read(0x27 * 4, 4) == 0x00120012);  // 256 KiB in each chip
    CHECK(flash.io_read(0x30 * 4, 4) == 0x00020002);  // blocks of 128 KiB
    command(0, 0x90);
    CHECK(flash.io_read(0x40002 * 4 % 0x80000, 4) == 0);  // the block is not locked
    CHECK(flash.io_read(4, 4) == 0x00180018);
    command(0x1000, 0x40);
    flash.io_write(0x1000, 0x12345678, 4);
    CHECK(flash.io_read(0, 4) == 0x00800080);
    // Three words through the write buffer; the count is of bus cycles, less one.
    command(0x2000, 0xe8);
    command(0x2000, 2);
    for (u64 i = 0; i < 3; ++i) flash.io_write(0x2000 + 4 * i, 0xa0b0c0d0 + i, 4);
    command(0x2000, 0xd0);
    CHECK(flash.io_read(0, 4) == 0x00800080);
    command(0, 0xff);
    CHECK(flash.io_read(0x1000, 4) == 0x12345678);
    CHECK(flash.io_read(0x2004, 8) == 0xa0b0c0d2a0b0c0d1);
    CHECK(bytes[0x1000] == 0x78);
    command(0x3fffc, 0x20);
    command(0x3fffc, 0xd0);
    command(0, 0xff);
    CHECK(flash.io_read(0x1000, 4) == 0xffffffff);
}

TEST_CASE("pflash: a read-only chip refuses; a size that is no number of blocks is an error") {
    std::vector<u8> bytes(4096, 0x77);
    auto flash = chip(bytes, true);
    flash->io_write(0, 0x10, 1);
    flash->io_write(0, 0, 1);
    CHECK((flash->io_read(0, 1) & 0x12) == 0x12);
    flash.reset();
    CHECK(bytes[0] == 0x77);
    std::vector<u8> odd(5000);
    CHECK_FALSE(Pflash::create("pflash1", std::make_unique<MemoryDisk>(odd, false)).ok());
}

TEST_CASE("pflash: random accesses; commands in progress survive save and restore") {
    FakeClock clock;
    for (u32 seed = 1; seed <= 10; ++seed) {
        std::vector<u8> bytes(4 * 4096, 0xff), other(4 * 4096, 0xff);
        auto flash = chip(bytes), fresh = chip(other);
        test::fuzz_accesses({{flash.get(), flash->size(), 8}}, clock, seed, 2000);
        test::check_round_trip(*flash, *fresh);
    }
}

TEST_CASE("pflash: what is programmed is at the back end when the machine stops, and read again with a saved state") {
    std::vector<u8> bytes(16 * 4096, 0xff);
    auto flash = chip(bytes);
    flash->io_write(0, 0x10, 1);
    flash->io_write(100, 0x5a, 1);
    CHECK(bytes[100] == 0xff);
    flash->machine_stopped();
    CHECK(bytes[100] == 0x5a);
    const DeviceState saved = flash->save();
    CHECK(flash->io_read(100, 1) != 0x5a);  // the status
    flash->io_write(0, 0xff, 1);
    CHECK(flash->io_read(100, 1) == 0x5a);
    bytes[100] = 0x42;  // as a snapshot puts it there
    REQUIRE(flash->restore(saved).ok());
    flash->io_write(0, 0xff, 1);
    CHECK(flash->io_read(100, 1) == 0x42);
}

#include <catch2/catch.hpp>

#include <cstring>

#include "devices/misc/fw_cfg.h"

using namespace tandem;
using namespace tandem::devices;

namespace {

struct Rig {
    Rig() {
        REQUIRE(memory.add("ram", 0, 0x10000).ok());
        fw.set(0x1234, {1, 2, 3, 4, 5});
        REQUIRE(fw.set_file("etc/b", {9, 8, 7}).ok());
        REQUIRE(fw.set_file("etc/a", {6}).ok());
    }
    std::vector<u8> read(u16 key, std::size_t n) {
        fw.ports().io_write(0, key, 2);
        std::vector<u8> out(n);
        for (auto& b : out) b = static_cast<u8>(fw.ports().io_read(1, 1));
        return out;
    }
    // Runs a descriptor at 0x100 and returns its control word afterwards.
    u32 dma(u32 control, u32 length, u64 address) {
        const u32 words[2] = {__builtin_bswap32(control), __builtin_bswap32(length)};
        const u64 target = __builtin_bswap64(address);
        REQUIRE(memory.write(0x100, words, 8));
        REQUIRE(memory.write(0x108, &target, 8));
        fw.dma_ports().io_write(0, 0, 4);
        fw.dma_ports().io_write(4, __builtin_bswap32(0x100), 4);
        u32 answer = 0;
        REQUIRE(memory.read(0x100, &answer, 4));
        return __builtin_bswap32(answer);
    }
    GuestMemory memory;
    FwCfg fw{memory};
};

}  // namespace

TEST_CASE("fw_cfg: signature, features, items and what lies past their end") {
    Rig rig;
    CHECK(rig.read(FwCfg::kSignature, 4) == std::vector<u8>{'Q', 'E', 'M', 'U'});
    CHECK(rig.read(FwCfg::kId, 4) == std::vector<u8>{3, 0, 0, 0});
    CHECK(rig.read(0x1234, 7) == std::vector<u8>{1, 2, 3, 4, 5, 0, 0});
    CHECK(rig.read(0x1235, 2) == std::vector<u8>{0, 0});
    CHECK(rig.read(0x8000, 2) == std::vector<u8>{0, 0});
    CHECK(rig.fw.dma_ports().io_read(0, 4) == 0x554d4551);  // "QEMU" in memory order
    CHECK(rig.fw.dma_ports().io_read(4, 4) == 0x47464320);
}

TEST_CASE("fw_cfg: the directory lists files in order of names") {
    Rig rig;
    const auto d = rig.read(FwCfg::kFileDirectory, 4 + 2 * 64);
    CHECK(d[3] == 2);
    CHECK(std::string(reinterpret_cast<const char*>(&d[12])) == "etc/a");
    CHECK(d[7] == 1);
    CHECK(std::string(reinterpret_cast<const char*>(&d[76])) == "etc/b");
    CHECK(rig.read(static_cast<u16>(d[72] << 8 | d[73]), 3) == std::vector<u8>{9, 8, 7});
    CHECK_FALSE(rig.fw.set_file(std::string(56, 'x'), {}).ok());
    REQUIRE(rig.fw.set_files({{"opt/y", {5, 4}}, {"opt/x", {3}}}).ok());
    CHECK(rig.read(FwCfg::kFileDirectory, 4)[3] == 4);
    CHECK_FALSE(rig.fw.set_files({{"opt/z", {}}, {"", {}}}).ok());
}

TEST_CASE("fw_cfg: DMA selects, skips, reads and refuses") {
    Rig rig;
    CHECK(rig.dma(0x1234u << 16 | 8 | 4, 1, 0) == 0);
    CHECK(rig.dma(2, 6, 0x200) == 0);
    std::vector<u8> got(7, 0xee);
    REQUIRE(rig.memory.read(0x200, got.data(), got.size()));
    CHECK(got == std::vector<u8>{2, 3, 4, 5, 0, 0, 0});
    CHECK(rig.dma(0x1234u << 16 | 8 | 2, 4, 0x20000) == 1);  // no memory there
    CHECK(rig.dma(16, 4, 0x200) == 1);                       // items cannot be written
    // A descriptor that is nowhere changes nothing.
    rig.fw.dma_ports().io_write(4, 0xffffffff, 4);
}

TEST_CASE("fw_cfg: selector and position survive save and restore") {
    Rig rig;
    rig.read(0x1234, 2);
    const auto saved = rig.fw.save();
    rig.fw.reset();
    CHECK(rig.fw.ports().io_read(1, 1) == 'Q');
    REQUIRE(rig.fw.restore(saved).ok());
    CHECK(rig.fw.ports().io_read(1, 1) == 3);
}

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "machines/pc/layout.h"
#include "machines/pc/linux_boot.h"

using namespace tandem;
using namespace tandem::machines::pc;
using namespace tandem::machines::pc::layout;

namespace {

class TempDir {
public:
    TempDir() {
        char name[] = "/tmp/tandem-boot-XXXXXX";
        REQUIRE(::mkdtemp(name) != nullptr);
        path_ = name;
    }
    ~TempDir() { std::filesystem::remove_all(path_); }
    std::string file(const std::string& name, const std::vector<u8>& bytes) const {
        const auto path = path_ / name;
        std::ofstream(path, std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        return path.string();
    }

private:
    std::filesystem::path path_;
};

template <class T>
void put(std::vector<u8>& bytes, std::size_t at, T value) {
    std::memcpy(bytes.data() + at, &value, sizeof(T));
}

// A header like a 6.x kernel's with one setup sector and 8 KiB of recognisable "kernel".
std::vector<u8> bzimage(u16 xloadflags = 1) {
    std::vector<u8> k(1024 + 8192);
    for (std::size_t i = 1024; i < k.size(); ++i) k[i] = static_cast<u8>(i * 3);
    put<u8>(k, 0x1f1, 1);
    put<u32>(k, 0x1f4, 8192 / 16);
    put<u16>(k, 0x1fe, 0xaa55);
    put<u16>(k, 0x200, 0x6aeb);
    put<u32>(k, 0x202, 0x53726448);
    put<u16>(k, 0x206, 0x20f);
    put<u8>(k, 0x211, 1);
    put<u32>(k, 0x22c, 0x7fffffff);
    put<u32>(k, 0x238, 2047);
    put<u16>(k, 0x236, xloadflags);
    put<u64>(k, 0x258, 0x1000000);
    put<u32>(k, 0x260, 0x200000);
    return k;
}

std::string load_error(const LinuxImage::Sources& sources, u64 ram = 128 * kMiB) {
    auto r = LinuxImage::load(sources, ram);
    REQUIRE_FALSE(r.ok());
    return r.error().message;
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("memory map: ascending, no overlap, all of RAM, reserved holes") {
    for (const u64 ram : {128 * kMiB, kLowRamMax, kLowRamMax + 5 * kGiB}) {
        u64 end = 0, total = 0;
        for (const auto& e : memory_map(ram)) {
            CHECK(e.base >= end);
            end = e.base + e.size;
            if (e.type == E820Entry::Ram) total += e.size;
        }
        CHECK(total == ram - (kOneMiB - kLowMemory.size));
    }
    CHECK(memory_map(kLowRamMax + kGiB).back().base == kHighRam);
    CHECK(memory_map(kLowRamMax + kGiB).back().size == kGiB);
}

TEST_CASE("bzImage: parts are where the boot protocol says") {
    TempDir dir;
    const auto image = bzimage();
    const std::vector<u8> initrd(5000, 0x5a);
    auto linux = LinuxImage::load({dir.file("k", image), dir.file("i", initrd), "console=ttyS0"}, 64 * kMiB);
    REQUIRE(linux.ok());
    CHECK(linux->kernel_address() == 0x1000000);
    CHECK(linux->initrd_address() == 64 * kMiB - 8192);
    devices::GuestMemory memory;
    REQUIRE(memory.add("ram", 0, 64 * kMiB).ok());
    REQUIRE(linux->place(memory, 0xe0000).ok());

    std::vector<u8> back(8192);
    REQUIRE(memory.read(0x1000000, back.data(), back.size()));
    CHECK(std::equal(back.begin(), back.end(), image.begin() + 1024));
    u8 last = 0;
    REQUIRE(memory.read(linux->initrd_address() + 4999, &last, 1));
    CHECK(last == 0x5a);
    std::vector<u8> params(4096);
    REQUIRE(memory.read(kBootParams, params.data(), params.size()));
    const auto at32 = [&](std::size_t at) {
        u32 v = 0;
        std::memcpy(&v, params.data() + at, 4);
        return v;
    };
    CHECK(at32(0x202) == 0x53726448);
    CHECK(params[0x210] == 0xff);
    CHECK(at32(0x218) == 64 * kMiB - 8192);
    CHECK(at32(0x21c) == 5000);
    CHECK(at32(0x228) == kCommandLine);
    CHECK(at32(0x070) == 0xe0000);
    CHECK(params[0x1e8] == memory_map(64 * kMiB).size());
    CHECK(at32(0x2d0 + 16) == E820Entry::Ram);
    CHECK(at32(0x2d0 + 8) == kLowMemory.size);
    char line[14] = {};
    REQUIRE(memory.read(kCommandLine, line, sizeof(line)));
    CHECK(std::string(line) == "console=ttyS0");
    u64 pd_entry = 0;
    REQUIRE(memory.read(kBootPageTables + 0x2000 + 8 * 8, &pd_entry, 8));
    CHECK(pd_entry == (0x1000000 | 0x83));
}

TEST_CASE("bzImage: entry states") {
    TempDir dir;
    auto linux64 = LinuxImage::load({dir.file("k", bzimage()), "", ""}, 64 * kMiB);
    REQUIRE(linux64.ok());
    cpu::x86::State s;
    linux64->set_entry_state(s);
    CHECK(s.rip == 0x1000200);
    CHECK(s.cr3 == kBootPageTables);
    CHECK((s.msr.efer & 0x500) == 0x500);
    CHECK((s.cr0 & 0x80000001) == 0x80000001);
    CHECK(s.gpr[cpu::x86::RSI] == kBootParams);
    CHECK(s.seg[cpu::x86::CS].access == 0xa09b);
    auto linux32 = LinuxImage::load({dir.file("k32", bzimage(0)), "", ""}, 64 * kMiB);
    REQUIRE(linux32.ok());
    CHECK_FALSE(linux32->enters_in_64_bit());
    linux32->set_entry_state(s);
    CHECK(s.rip == 0x1000000);
    CHECK((s.cr0 & 0x80000001) == 1);
    CHECK(s.seg[cpu::x86::CS].access == 0xc09b);
}

TEST_CASE("what is no bootable kernel is named for what it is") {
    TempDir dir;
    std::vector<u8> other(4096);
    const auto named = [&](std::size_t at, std::string_view magic) {
        std::vector<u8> bytes = other;
        std::copy(magic.begin(), magic.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
        return load_error({dir.file("other", bytes), "", ""});
    };
    CHECK(contains(load_error({"/nonexistent/vmlinuz", "", ""}), "/nonexistent/vmlinuz"));
    CHECK(contains(named(0,
                         "\x7f"
                         "ELF"),
                   "ELF"));
    CHECK(contains(named(56, "ARM\x64"), "arm64"));
    CHECK(contains(named(0, "\x1f\x8b"), "gzip"));
    CHECK(contains(load_error({dir.file("zero", other), "", ""}), "not a bzImage"));
    CHECK(contains(load_error({dir.file("short", std::vector<u8>(10)), "", ""}), "not a bzImage"));
    auto truncated = bzimage();
    truncated.resize(5000);
    CHECK(contains(load_error({dir.file("cut", truncated), "", ""}), "truncated"));
}

TEST_CASE("too little RAM, too large an initrd and too long a command line are errors that say so") {
    TempDir dir;
    const auto kernel = dir.file("k", bzimage());
    CHECK(contains(load_error({kernel, "", ""}, 17 * kMiB), "-m 17"));
    CHECK(contains(load_error({kernel, dir.file("i", std::vector<u8>(3 << 20)), ""}, 20 * kMiB), "initrd"));
    CHECK(contains(load_error({kernel, "/nonexistent/initrd", ""}), "/nonexistent/initrd"));
    CHECK(contains(load_error({kernel, "", std::string(2048, 'x')}), "2047"));
    CHECK(LinuxImage::load({kernel, "", std::string(2047, 'x')}, 64 * kMiB).ok());
}

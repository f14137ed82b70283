#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "devices/timer/hpet.h"
#include "machines/pc/acpi_tables.h"
#include "machines/pc/aml.h"
#include "machines/pc/layout.h"

using namespace tandem;
using namespace tandem::machines::pc;

namespace {

std::vector<AcpiTable> build(unsigned cpus, unsigned serial) {
    auto r = build_acpi_tables({{1, cpus, 1}, serial, 0, true, 0x505}, layout::kAcpiTables.base, layout::kAcpiTables.size);
    REQUIRE(r.ok());
    return std::move(r).value();
}

const AcpiTable& find(const std::vector<AcpiTable>& tables, std::string_view signature) {
    for (const auto& t : tables) {
        if (t.signature == signature) return t;
    }
    FAIL("no table " << signature);
    return tables.front();
}

u8 sum(const std::vector<u8>& bytes, std::size_t count) {
    return static_cast<u8>(std::accumulate(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count), 0));
}

u64 get(const std::vector<u8>& bytes, std::size_t at, unsigned width) {
    u64 value = 0;
    for (unsigned i = 0; i < width; ++i) value |= static_cast<u64>(bytes[at + i]) << (8 * i);
    return value;
}

// Exit status of a shell command, its output in `log`.
int run(const std::string& command, const std::filesystem::path& log) {
    const int status = std::system((command + " > " + log.string() + " 2>&1").c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::string slurp(const std::filesystem::path& path) {
    std::ifstream f(path);
    return {std::istreambuf_iterator<char>(f), {}};
}

}  // namespace

TEST_CASE("ACPI tables: checksums, links and lengths") {
    const auto tables = build(3, 2);
    const auto& rsdp = tables.front();
    CHECK(rsdp.address == layout::kFirmware.base);
    CHECK(sum(rsdp.bytes, 20) == 0);
    CHECK(sum(rsdp.bytes, 36) == 0);
    const auto& xsdt = find(tables, "XSDT");
    CHECK(get(rsdp.bytes, 24, 8) == xsdt.address);
    for (const auto& t : tables) {
        if (t.signature == "RSDP") continue;
        INFO(t.signature);
        CHECK(std::string(t.bytes.begin(), t.bytes.begin() + 4) == t.signature);
        CHECK(get(t.bytes, 4, 4) == t.bytes.size());
        if (t.signature != "FACS") CHECK(sum(t.bytes, t.bytes.size()) == 0);
        CHECK(t.address + t.bytes.size() <= layout::kAcpiTables.end());
    }
    REQUIRE(xsdt.bytes.size() == 36 + 4 * 8);
    CHECK(get(xsdt.bytes, 36, 8) == find(tables, "FACP").address);
    const auto& fadt = find(tables, "FACP").bytes;
    CHECK(fadt.size() == 276);
    CHECK(get(fadt, 140, 8) == find(tables, "DSDT").address);
    CHECK(get(fadt, 132, 8) == find(tables, "FACS").address);
    CHECK(find(tables, "FACS").address % 64 == 0);
}

TEST_CASE("ACPI MADT lists every processor, the I/O APIC and the overrides") {
    const auto tables = build(3, 1);
    const auto& madt = find(tables, "APIC").bytes;
    unsigned cpus = 0, ioapics = 0, overrides = 0;
    for (std::size_t at = 44; at < madt.size(); at += madt[at + 1]) {
        REQUIRE(madt[at + 1] >= 2);
        if (madt[at] == 0) CHECK(madt[at + 3] == cpus++);
        if (madt[at] == 1) {
            ++ioapics;
            CHECK(get(madt, at + 4, 4) == layout::kIoapic.base);
        }
        overrides += madt[at] == 2;
    }
    CHECK(cpus == 3);
    CHECK(ioapics == 1);
    CHECK(overrides == 2);
}

TEST_CASE("ACPI HPET table names the timer's window") {
    const auto tables = build(1, 1);
    const auto& hpet = find(tables, "HPET").bytes;
    REQUIRE(hpet.size() == 56);
    CHECK(get(hpet, 36, 4) == devices::Hpet::kBlockId);
    CHECK(get(hpet, 44, 8) == layout::kHpet.base);
}

TEST_CASE("ACPI tables that do not fit are an error") {
    CHECK_FALSE(build_acpi_tables({{}, 1, 0, false, 0}, layout::kFirmware.base, 1024).ok());
}

TEST_CASE("AML encodings against the specification's examples") {
    CHECK(aml::eisa_id("PNP0A03") == aml::Term{0x0c, 0x41, 0xd0, 0x0a, 0x03});
    CHECK(aml::integer(0) == aml::Term{0});
    CHECK(aml::integer(0x1234) == aml::Term{0x0b, 0x34, 0x12});
    CHECK(aml::path("\\_SB_.PCI0") == aml::Term{'\\', 0x2e, '_', 'S', 'B', '_', 'P', 'C', 'I', '0'});
    // PkgLength: one byte up to 63, two up to 4095.
    CHECK(aml::scope("A", aml::List{aml::Term(58)})[1] == 63);
    const auto longer = aml::scope("A", aml::List{aml::Term(59)});
    CHECK(longer[1] == (0x40 | (65 & 0xf)));
    CHECK(longer[2] == 65 >> 4);
}

TEST_CASE("ACPI tables are disassembled and compiled again by iasl without errors") {
    namespace fs = std::filesystem;
    char name[] = "/tmp/tandem-acpi-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    const fs::path dir = name;
    if (run("command -v iasl", dir / "log") != 0) {
        WARN("skipped: iasl (package acpica-tools) is not installed");
        fs::remove_all(dir);
        return;
    }
    for (const auto& t : build(8, 4)) {
        if (t.signature == "RSDP" || t.signature == "XSDT") continue;
        INFO(t.signature);
        const fs::path file = dir / (t.signature + ".aml");
        std::ofstream(file, std::ios::binary)
            .write(reinterpret_cast<const char*>(t.bytes.data()), static_cast<std::streamsize>(t.bytes.size()));
        const std::string base = (dir / t.signature).string();
        const int disassembled = run("iasl -p " + base + " -d " + file.string(), dir / "log");
        INFO(slurp(dir / "log"));
        CHECK(disassembled == 0);
        const int compiled = run("iasl -p " + base + "-again " + base + ".dsl", dir / "log");
        const std::string log = slurp(dir / "log");
        INFO(log);
        CHECK(compiled == 0);
        CHECK(log.find(" 0 Errors, 0 Warnings") != std::string::npos);
    }
    fs::remove_all(dir);
}

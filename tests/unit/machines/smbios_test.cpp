// The firmware's description of the machine against the SMBIOS Reference Specification.
#include <catch2/catch.hpp>
#include <cstring>
#include <map>
#include <numeric>

#include "machines/pc/smbios.h"

using namespace tandem;
using namespace tandem::machines;
using namespace tandem::machines::pc;

namespace {

struct Parsed {
    std::vector<u8> formatted;
    std::vector<std::string> strings;
    [[nodiscard]] std::string text(std::size_t at) const {
        const u8 number = formatted.at(at);
        return number == 0 ? "" : strings.at(number - 1u);
    }
    [[nodiscard]] u64 number(std::size_t at, unsigned width) const {
        u64 v = 0;
        for (unsigned i = 0; i < width; ++i) v |= u64{formatted.at(at + i)} << (8 * i);
        return v;
    }
};

// By type, in order; every byte belongs to one.
std::multimap<u8, Parsed> parse(const SmbiosTables& t) {
    std::multimap<u8, Parsed> all;
    const auto& b = t.structures;
    std::size_t at = 0;
    while (at < b.size()) {
        Parsed p;
        REQUIRE(at + b[at + 1] <= b.size());
        p.formatted.assign(b.begin() + static_cast<i64>(at), b.begin() + static_cast<i64>(at + b[at + 1]));
        at += b[at + 1];
        if (b.at(at) == 0) ++at;
        while (b.at(at) != 0) {
            p.strings.emplace_back(reinterpret_cast<const char*>(&b[at]));
            at += p.strings.back().size() + 1;
        }
        ++at;
        all.emplace(p.formatted[0], p);
    }
    CHECK(all.size() == t.count);
    return all;
}

SmbiosTables must_build(const MachineConfig& c) {
    auto r = build_smbios(c);
    INFO((r.ok() ? "" : r.error().message));
    REQUIRE(r.ok());
    return std::move(r).value();
}

}  // namespace

TEST_CASE("SMBIOS: the entry point adds up and leads to the structures") {
    const SmbiosTables t = must_build({});
    const auto e = t.entry_point(0xf0020);
    REQUIRE(e.size() == 31);
    CHECK(std::memcmp(e.data(), "_SM_", 4) == 0);
    CHECK(std::memcmp(e.data() + 16, "_DMI_", 5) == 0);
    CHECK(static_cast<u8>(std::accumulate(e.begin(), e.end(), 0)) == 0);
    CHECK(static_cast<u8>(std::accumulate(e.begin() + 16, e.end(), 0)) == 0);
    CHECK((e[24] | e[25] << 8 | e[26] << 16) == 0xf0020);
    CHECK((e[22] | e[23] << 8) == static_cast<int>(t.structures.size()));
    CHECK((e[28] | e[29] << 8) == t.count);
}

TEST_CASE("SMBIOS: structures have their lengths, and say what was asked for") {
    MachineConfig c;
    c.cpus = 3;
    c.ram_bytes = 40ull << 30;
    c.uuid = "00112233-4455-6677-8899-aabbccddeeff";
    c.smbios = {
        {1, "product", "Thing"}, {1, "serial", "S-1"}, {3, "asset", "A7"}, {11, "value", "one"}, {11, "value", "two"}};
    const auto all = parse(must_build(c));
    const std::map<u8, std::size_t> kLengths{{0, 0x18},  {1, 0x1b},  {3, 0x16},  {4, 0x2a},  {11, 5},
                                             {16, 0x17}, {17, 0x28}, {19, 0x1f}, {32, 0x0b}, {127, 4}};
    for (const auto& [type, p] : all) {
        CAPTURE(static_cast<int>(type));
        CHECK(p.formatted.size() == kLengths.at(type));
    }
    CHECK(all.count(2) == 0);
    CHECK(all.find(1)->second.text(5) == "Thing");
    CHECK(all.find(1)->second.text(7) == "S-1");
    CHECK(all.find(1)->second.number(8, 4) == 0x00112233);
    CHECK(all.find(1)->second.number(12, 2) == 0x4455);
    CHECK(all.find(1)->second.number(16, 4) == 0xbbaa9988);
    CHECK(all.find(3)->second.text(8) == "A7");
    CHECK(all.find(4)->second.number(0x23, 1) == 3);
    CHECK(all.find(11)->second.number(4, 1) == 2);
    CHECK(all.find(11)->second.strings == std::vector<std::string>{"one", "two"});
    CHECK(all.find(17)->second.number(0x0c, 2) == 0x7fff);
    CHECK(all.find(17)->second.number(0x1c, 4) == 40 * 1024);
    CHECK(all.count(19) == 2);
    CHECK(std::prev(all.end())->first == 127);
}

TEST_CASE("SMBIOS: what cannot be said is refused by name") {
    const auto message = [](SmbiosField f) {
        MachineConfig c;
        c.smbios = {std::move(f)};
        auto r = build_smbios(c);
        return r.ok() ? std::string("built") : r.error().message;
    };
    CHECK(message({7, "value", "x"}).find("type=7") != std::string::npos);
    CHECK(message({1, "colour", "red"}).find("colour") != std::string::npos);
    CHECK(message({1, "serial", std::string(2000, 'x')}).find("serial") != std::string::npos);
    MachineConfig many;
    for (unsigned i = 0; i < 100; ++i) many.smbios.push_back({11, "value", std::string(1000, 'x')});
    CHECK_FALSE(build_smbios(many).ok());
}

#include "machines/pc/smbios.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <string>

#include "machines/pc/board.h"
#include "machines/pc/layout.h"

namespace tandem::machines::pc {
namespace {

// What -smbios may set. Type 11 takes any number of "value".
struct FieldRow {
    unsigned type;
    std::string_view key;
};
constexpr std::array kFields{
    FieldRow{0, "vendor"},       FieldRow{0, "version"}, FieldRow{0, "date"},         FieldRow{1, "manufacturer"},
    FieldRow{1, "product"},      FieldRow{1, "version"}, FieldRow{1, "serial"},       FieldRow{1, "uuid"},
    FieldRow{1, "sku"},          FieldRow{1, "family"},  FieldRow{2, "manufacturer"}, FieldRow{2, "product"},
    FieldRow{2, "version"},      FieldRow{2, "serial"},  FieldRow{2, "asset"},        FieldRow{2, "location"},
    FieldRow{3, "manufacturer"}, FieldRow{3, "version"}, FieldRow{3, "serial"},       FieldRow{3, "asset"},
    FieldRow{3, "sku"},          FieldRow{11, "value"},
};

enum Handle : u16 {
    kBios = 0,
    kSystem = 0x100,
    kBoard = 0x200,
    kChassis = 0x300,
    kProcessor = 0x400,
    kStrings = 0xb00,
    kMemoryArray = 0x1000,
    kMemoryDevice = 0x1100,
    kMemoryRange = 0x1300,
    kBoot = 0x2000,
    kEnd = 0x7f00
};

// One structure: the formatted part, then its strings (6.1.3).
class Structure {
public:
    Structure(u8 type, u16 handle) { put(type, 1).put(0, 1).put(handle, 2); }
    Structure& put(u64 value, unsigned width) {
        for (unsigned i = 0; i < width; ++i) bytes_.push_back(static_cast<u8>(value >> (8 * i)));
        return *this;
    }
    Structure& put(std::span<const u8> raw) {
        bytes_.insert(bytes_.end(), raw.begin(), raw.end());
        return *this;
    }
    // The number of a string; 0 stands for none.
    Structure& text(const std::string& s) {
        if (s.empty()) return put(0, 1);
        strings_.push_back(s);
        return put(strings_.size(), 1);
    }
    Structure& only_string(const std::string& s) {
        strings_.push_back(s);
        return *this;
    }
    void finish(SmbiosTables& out) {
        bytes_[1] = static_cast<u8>(bytes_.size());
        for (const auto& s : strings_) {
            bytes_.insert(bytes_.end(), s.begin(), s.end());
            bytes_.push_back(0);
        }
        if (strings_.empty()) bytes_.push_back(0);
        bytes_.push_back(0);
        out.structures.insert(out.structures.end(), bytes_.begin(), bytes_.end());
        out.largest = std::max(out.largest, static_cast<u16>(bytes_.size()));
        ++out.count;
    }

private:
    std::vector<u8> bytes_;
    std::vector<std::string> strings_;
};

// The fields that were asked for, over what the machine says by itself.
class Fields {
public:
    explicit Fields(std::span<const SmbiosField> given) : given_(given) {}
    [[nodiscard]] std::string get(unsigned type, std::string_view key, std::string fallback = {}) const {
        for (const auto& f : given_) {
            if (f.type == type && f.key == key) fallback = f.value;
        }
        return fallback;
    }
    [[nodiscard]] bool any(unsigned type) const {
        return std::ranges::any_of(given_, [type](const SmbiosField& f) { return f.type == type; });
    }

private:
    std::span<const SmbiosField> given_;
};

Result<void> check(std::span<const SmbiosField> given) {
    constexpr std::size_t kLongest = 1024;
    for (const auto& f : given) {
        std::string known;
        for (const FieldRow& row : kFields) {
            if (row.type == f.type) known += (known.empty() ? "" : ", ") + std::string(row.key);
        }
        if (known.empty()) return invalid(fmt::format("-smbios: type={} is not supported (known: 0, 1, 2, 3, 11)", f.type));
        const auto same = [&f](const FieldRow& row) { return row.type == f.type && row.key == f.key; };
        if (std::ranges::none_of(kFields, same)) {
            return invalid(fmt::format("-smbios: type {} has no field '{}' (known: {})", f.type, f.key, known));
        }
        if (f.value.size() > kLongest || f.value.find('\0') != std::string::npos) {
            return invalid(fmt::format("-smbios: {} of type {} is longer than {} characters", f.key, f.type, kLongest));
        }
    }
    return {};
}

void add_identity(SmbiosTables& out, const Fields& f, const std::string& uuid) {
    constexpr u64 kNoCharacteristics = 1u << 3;
    constexpr u64 kVirtual = 1u << 4, kUefiOrNot = 0;
    Structure(0, kBios)
        .text(f.get(0, "vendor", "Tandem"))
        .text(f.get(0, "version", "1"))
        .put(layout::kFirmware.base >> 4, 2)
        .text(f.get(0, "date", "01/01/2026"))
        .put(layout::kFirmware.size / (64 * layout::kKiB) - 1, 1)
        .put(kNoCharacteristics, 8)
        .put(kUefiOrNot, 1)
        .put(kVirtual, 1)
        .put(1, 1)
        .put(0, 1)
        .put(0xffff, 2)  // no embedded controller
        .finish(out);
    constexpr u64 kPowerSwitch = 6;
    Structure(1, kSystem)
        .text(f.get(1, "manufacturer", "Tandem"))
        .text(f.get(1, "product", "Tandem PC (Q35)"))
        .text(f.get(1, "version", "1"))
        .text(f.get(1, "serial"))
        .put(parse_uuid(f.get(1, "uuid", uuid)))
        .put(kPowerSwitch, 1)
        .text(f.get(1, "sku"))
        .text(f.get(1, "family"))
        .finish(out);
    if (f.any(2)) {
        constexpr u64 kHosting = 1, kMotherboard = 0x0a;
        Structure(2, kBoard)
            .text(f.get(2, "manufacturer", "Tandem"))
            .text(f.get(2, "product"))
            .text(f.get(2, "version"))
            .text(f.get(2, "serial"))
            .text(f.get(2, "asset"))
            .put(kHosting, 1)
            .text(f.get(2, "location"))
            .put(kChassis, 2)
            .put(kMotherboard, 1)
            .put(0, 1)
            .finish(out);
    }
    constexpr u64 kOther = 1, kSafe = 3, kUnknown = 2;
    Structure(3, kChassis)
        .text(f.get(3, "manufacturer", "Tandem"))
        .put(kOther, 1)
        .text(f.get(3, "version"))
        .text(f.get(3, "serial"))
        .text(f.get(3, "asset"))
        .put(kSafe, 1)
        .put(kSafe, 1)
        .put(kSafe, 1)
        .put(kUnknown, 1)
        .put(0, 4)
        .put(0, 4)  // height, cords, contained elements and their size
        .text(f.get(3, "sku"))
        .finish(out);
}

void add_processor(SmbiosTables& out, u32 number, const cpu::x86::Topology& topology) {
    constexpr u64 kCentral = 3, kOther = 1, kPopulatedEnabled = 0x41, kNoCache = 0xffff, k64Bit = 4;
    Structure(4, static_cast<u16>(kProcessor + number))
        .text(fmt::format("CPU {}", number))
        .put(kCentral, 1)
        .put(kOther, 1)
        .text("Tandem")
        .put(0, 8)
        .text("")
        .put(0, 1)
        .put(0, 2)
        .put(0, 4)  // speeds: unknown
        .put(kPopulatedEnabled, 1)
        .put(kOther, 1)
        .put(kNoCache, 2)
        .put(kNoCache, 2)
        .put(kNoCache, 2)
        .text("")
        .text("")
        .text("")
        .put(topology.cores, 1)
        .put(topology.cores, 1)
        .put(topology.package_count(), 1)
        .put(k64Bit, 2)
        .put(kOther, 2)
        .finish(out);
}

void add_range(SmbiosTables& out, u16 handle, u64 base, u64 size) {
    const u64 last = base + size - 1;
    const bool small = last / layout::kKiB < 0xffffffff;
    Structure(19, handle)
        .put(small ? base / layout::kKiB : 0xffffffff, 4)
        .put(small ? last / layout::kKiB : 0xffffffff, 4)
        .put(kMemoryArray, 2)
        .put(1, 1)
        .put(small ? 0 : base, 8)
        .put(small ? 0 : last, 8)
        .finish(out);
}

void add_memory(SmbiosTables& out, u64 ram) {
    constexpr u64 kBoardMounted = 3, kSystemMemory = 3, kNoCorrection = 3, kNoErrors = 0xfffe, kBeyond = 0x80000000;
    const u64 kib = ram / layout::kKiB, mib = ram / layout::kMiB;
    Structure(16, kMemoryArray)
        .put(kBoardMounted, 1)
        .put(kSystemMemory, 1)
        .put(kNoCorrection, 1)
        .put(kib < kBeyond ? kib : kBeyond, 4)
        .put(kNoErrors, 2)
        .put(1, 2)
        .put(kib < kBeyond ? 0 : ram, 8)
        .finish(out);
    constexpr u64 kDimm = 9, kRam = 7, kOther = 2, kExtended = 0x7fff;
    Structure(17, kMemoryDevice)
        .put(kMemoryArray, 2)
        .put(kNoErrors, 2)
        .put(0xffff, 2)
        .put(0xffff, 2)
        .put(std::min(mib, kExtended), 2)
        .put(kDimm, 1)
        .put(0, 1)
        .text("DIMM 0")
        .text("")
        .put(kRam, 1)
        .put(kOther, 2)
        .put(0, 2)
        .text("Tandem")
        .text("")
        .text("")
        .text("")
        .put(0, 1)
        .put(mib < kExtended ? 0 : mib, 4)
        .put(0, 2)
        .put(0, 6)  // voltages
        .finish(out);
    const u64 low = std::min(ram, layout::kLowRamMax);
    add_range(out, kMemoryRange, 0, low);
    if (ram > low) add_range(out, kMemoryRange + 1, layout::kHighRam, ram - low);
}

}  // namespace

std::vector<u8> parse_uuid(std::string_view text) {
    constexpr std::array<unsigned, 16> kOrder{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    const auto digit = [](char c) -> unsigned {
        if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
        if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
        return c >= 'A' && c <= 'F' ? static_cast<unsigned>(c - 'A' + 10) : 16;
    };
    std::vector<u8> nibbles, bytes(16);
    for (const char c : text) {
        if (c != '-') nibbles.push_back(static_cast<u8>(digit(c)));
    }
    if (nibbles.size() != 32 || std::ranges::any_of(nibbles, [](u8 n) { return n > 15; })) return bytes;
    for (unsigned i = 0; i < bytes.size(); ++i) {
        bytes[kOrder[i]] = static_cast<u8>(nibbles[2 * i] << 4 | nibbles[2 * i + 1]);
    }
    return bytes;
}

// 5.2.1
std::vector<u8> SmbiosTables::entry_point(u64 address) const {
    std::vector<u8> e(31);
    const auto put = [&e](std::size_t at, u64 value, unsigned width) {
        for (unsigned i = 0; i < width; ++i) e[at + i] = static_cast<u8>(value >> (8 * i));
    };
    const auto text = [&e](std::size_t at, std::string_view s) {
        std::ranges::copy(s, e.begin() + static_cast<std::ptrdiff_t>(at));
    };
    const auto checksum = [&e](std::size_t at, std::size_t first, std::size_t last) {
        e[at] = 0;
        const auto begin = e.begin() + static_cast<std::ptrdiff_t>(first);
        e[at] = static_cast<u8>(-std::accumulate(begin, e.begin() + static_cast<std::ptrdiff_t>(last), 0));
    };
    text(0, "_SM_");
    put(5, e.size(), 1);
    put(6, 2, 1);
    put(7, 8, 1);
    put(8, largest, 2);
    text(16, "_DMI_");
    put(22, structures.size(), 2);
    put(24, address, 4);
    put(28, count, 2);
    put(30, 0x28, 1);
    checksum(21, 16, 31);
    checksum(4, 0, 31);
    return e;
}

Result<SmbiosTables> build_smbios(const MachineConfig& config) {
    TANDEM_TRY(check(config.smbios));
    const Fields fields(config.smbios);
    SmbiosTables out;
    add_identity(out, fields, config.uuid);
    const cpu::x86::Topology topology = processor_topology(config);
    for (u32 i = 0; i < topology.sockets; ++i) add_processor(out, i, topology);
    if (fields.any(11)) {
        Structure strings(11, kStrings);
        u64 count = 0;
        for (const auto& f : config.smbios) {
            if (f.type != 11 || f.value.empty()) continue;
            strings.only_string(f.value);
            ++count;
        }
        strings.put(std::min<u64>(count, 255), 1).finish(out);
    }
    add_memory(out, config.ram_bytes);
    Structure(32, kBoot).put(0, 6).put(0, 1).finish(out);
    Structure(127, kEnd).finish(out);
    if (out.structures.size() + kSmbiosEntrySize <= layout::kSmbios.size) return out;
    return invalid(fmt::format("-smbios: {} bytes of structures do not fit into {}", out.structures.size(),
                               layout::kSmbios.size - kSmbiosEntrySize));
}

}  // namespace tandem::machines::pc

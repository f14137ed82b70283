#include "machines/pc/acpi_loader.h"

#include <algorithm>
#include <string_view>

#include "machines/boot_file.h"
#include "machines/pc/layout.h"

namespace tandem::machines::pc {
namespace {

constexpr const char* kTables = "etc/acpi/tables";
constexpr const char* kRootPointer = "etc/acpi/rsdp";

// A script of 128-byte commands.
class LoaderScript {
public:
    enum class Zone : u8 { High = 1, Segment = 2 };  // anywhere; below 1 MiB where the root pointer is searched for

    void allocate(std::string_view file, u32 alignment, Zone zone) {
        auto entry = start(1);
        put_name(entry, 4, file);
        set_field<u32>(entry, 60, alignment);
        set_field<u8>(entry, 64, static_cast<u8>(zone));
    }
    // The field in `file` holds an offset into `target`; it becomes an address.
    void add_pointer(std::string_view file, std::string_view target, u32 offset, u8 width) {
        auto entry = start(2);
        put_name(entry, 4, file);
        put_name(entry, 60, target);
        set_field<u32>(entry, 116, offset);
        set_field<u8>(entry, 120, width);
    }
    // The byte at `at`, now zero, makes the sum of [start, start + length) zero.
    void add_checksum(std::string_view file, u32 at, u32 first, u32 length) {
        auto entry = start(3);
        put_name(entry, 4, file);
        set_field<u32>(entry, 60, at);
        set_field<u32>(entry, 64, first);
        set_field<u32>(entry, 68, length);
    }
    std::vector<u8> take() { return std::move(bytes_); }

private:
    static constexpr std::size_t kEntry = 128, kName = 56;
    std::span<u8> start(u32 command) {
        bytes_.resize(bytes_.size() + kEntry);
        const auto entry = std::span(bytes_).last(kEntry);
        set_field<u32>(entry, 0, command);
        return entry;
    }
    static void put_name(std::span<u8> entry, std::size_t at, std::string_view name) {
        std::copy_n(name.begin(), std::min(name.size(), kName - 1), entry.begin() + static_cast<std::ptrdiff_t>(at));
    }
    std::vector<u8> bytes_;
};

}  // namespace

Result<void> publish_acpi_tables(devices::FwCfg& fw_cfg, const AcpiConfig& config) {
    // Placed from 0 on, so that addresses are offsets.
    TANDEM_TRY_ASSIGN(const auto tables, build_acpi_tables(config, 0, layout::kAcpiTables.size));
    LoaderScript script;
    std::vector<u8> root, others;
    script.allocate(kRootPointer, 16, LoaderScript::Zone::Segment);
    script.allocate(kTables, 64, LoaderScript::Zone::High);
    for (const auto& table : tables) {
        const bool is_root = table.signature == "RSDP";
        const char* file = is_root ? kRootPointer : kTables;
        auto bytes = table.bytes;
        for (const auto& c : table.checksums) bytes[c.at] = 0;
        const auto base = is_root ? 0u : static_cast<u32>(table.address);
        if (is_root) {
            root = std::move(bytes);
        } else {
            others.resize(std::max<std::size_t>(others.size(), base + bytes.size()));
            std::copy(bytes.begin(), bytes.end(), others.begin() + static_cast<std::ptrdiff_t>(base));
        }
        for (const auto& link : table.links) script.add_pointer(file, kTables, base + link.offset, link.width);
        for (const auto& c : table.checksums) script.add_checksum(file, base + c.at, base, c.length);
    }
    TANDEM_TRY(fw_cfg.set_file(kTables, std::move(others)));
    TANDEM_TRY(fw_cfg.set_file(kRootPointer, std::move(root)));
    return fw_cfg.set_file("etc/table-loader", script.take());
}

}  // namespace tandem::machines::pc

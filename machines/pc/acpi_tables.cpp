#include "machines/pc/acpi_tables.h"

#include <fmt/format.h>

#include <cstring>
#include <numeric>

#include "base/bits.h"
#include "devices/misc/acpi_pm.h"
#include "devices/pci/root.h"
#include "devices/timer/hpet.h"
#include "machines/pc/aml.h"
#include "machines/pc/layout.h"

namespace tandem::machines::pc {
namespace {

constexpr std::size_t kHeaderSize = 36;
constexpr u32 kChecksum = 9;      // of a table with that header
constexpr u8 kResetValue = 0x06;  // hard reset through port 0xcf9
constexpr u64 kResetPort = 0xcf9;

// Little-endian bytes with fields at stated offsets, so that a table reads like its description in the manual.
class TableBytes {
public:
    explicit TableBytes(std::size_t size) : bytes_(size) {}
    void put(std::size_t offset, u64 value, unsigned width) {
        if (bytes_.size() < offset + width) bytes_.resize(offset + width);
        for (unsigned i = 0; i < width; ++i) bytes_[offset + i] = static_cast<u8>(value >> (8 * i));
    }
    void put(std::size_t offset, std::string_view text) { std::memcpy(bytes_.data() + offset, text.data(), text.size()); }
    void append(u64 value, unsigned width) { put(bytes_.size(), value, width); }
    void append(const std::vector<u8>& more) { bytes_.insert(bytes_.end(), more.begin(), more.end()); }
    [[nodiscard]] std::size_t size() const { return bytes_.size(); }
    void checksum(std::size_t at, std::size_t length) {
        bytes_[at] = 0;
        const auto end = bytes_.begin() + static_cast<std::ptrdiff_t>(length);
        bytes_[at] = static_cast<u8>(-std::accumulate(bytes_.begin(), end, 0));
    }
    std::vector<u8> take() { return std::move(bytes_); }

private:
    std::vector<u8> bytes_;
};

// System description table header (5.2.6).
TableBytes start_table(std::string_view signature, u8 revision) {
    TableBytes t(kHeaderSize);
    t.put(0, signature);
    t.put(8, revision, 1);
    t.put(10, "TANDEM");
    t.put(16, "TANDEMPC");
    t.put(24, 1, 4);
    t.put(28, "TNDM");
    t.put(32, 1, 4);
    return t;
}

std::vector<u8> finish_table(TableBytes t) {
    t.put(4, t.size(), 4);
    t.checksum(kChecksum, t.size());
    return t.take();
}

// Generic address structure (5.2.3.2) in I/O space.
void put_io_address(TableBytes& t, std::size_t offset, u64 port, unsigned bytes) {
    constexpr u8 kSystemIo = 1;
    t.put(offset, kSystemIo, 1);
    t.put(offset + 1, bytes * 8, 1);
    t.put(offset + 2, 0, 1);
    t.put(offset + 3, bytes >= 4 ? 3 : bytes, 1);  // access size: 1, 2 or 4 bytes
    t.put(offset + 4, port, 8);
}

// 5.2.10: shared with the operating system, otherwise unused without sleep states that keep memory.
std::vector<u8> build_facs() {
    TableBytes t(64);
    t.put(0, "FACS");
    t.put(4, 64, 4);
    t.put(32, 2, 1);
    return t.take();
}

// 5.2.9. There is no SMI command port: the machine is in ACPI mode from the start (4.8.2.5).
std::vector<u8> build_fadt(u64 facs, u64 dsdt) {
    using Pm = devices::AcpiPm;
    constexpr u64 pm = layout::kPm.base;
    constexpr u32 kFlags = 1u << 0      // WBINVD works
                           | 1u << 2    // C1 on all processors
                           | 1u << 5    // no fixed sleep button
                           | 1u << 10;  // the reset register works
    TableBytes t = start_table("FACP", 6);
    t.put(36, facs, 4);
    t.put(40, dsdt, 4);
    t.put(46, layout::kSciIrq, 2);
    t.put(56, pm + Pm::kPm1Event, 4);
    t.put(64, pm + Pm::kPm1Control, 4);
    t.put(76, pm + Pm::kTimer, 4);
    t.put(80, pm + Pm::kGpe0, 4);
    t.put(88, 4, 1);      // PM1_EVT_LEN
    t.put(89, 2, 1);      // PM1_CNT_LEN
    t.put(91, 4, 1);      // PM_TMR_LEN
    t.put(92, 8, 1);      // GPE0_BLK_LEN
    t.put(96, 0xfff, 2);  // no C2
    t.put(98, 0xfff, 2);  // no C3
    t.put(109, 0x07, 2);  // IAPC_BOOT_ARCH: legacy devices, keyboard controller; no VGA
    t.put(108, 0x32, 1);  // RTC register of the century
    t.put(112, kFlags, 4);
    put_io_address(t, 116, kResetPort, 1);
    t.put(128, kResetValue, 1);
    t.put(131, 5, 1);  // minor version
    t.put(132, facs, 8);
    t.put(140, dsdt, 8);
    put_io_address(t, 148, pm + Pm::kPm1Event, 4);
    put_io_address(t, 172, pm + Pm::kPm1Control, 2);
    put_io_address(t, 208, pm + Pm::kTimer, 4);
    put_io_address(t, 220, pm + Pm::kGpe0, 8);
    t.put(268, 0, 8);  // no hypervisor vendor identity
    return finish_table(std::move(t));
}

// 5.2.12
std::vector<u8> build_madt(const AcpiConfig& config) {
    constexpr u16 kLevelHigh = 0x000d;
    TableBytes t = start_table("APIC", 5);
    t.append(layout::kLapic.base, 4);
    t.append(1, 4);  // PCAT_COMPAT: there are 8259s too
    for (u32 cpu = 0; cpu < config.topology.count(); ++cpu) {
        for (const u64 byte : {u64{0}, u64{8}, u64{cpu}, u64{config.topology.apic_id(cpu)}}) t.append(byte, 1);
        t.append(1, 4);  // enabled
    }
    for (const u64 byte : {u64{1}, u64{12}, u64{layout::kIoapicId}, u64{0}}) t.append(byte, 1);
    t.append(layout::kIoapic.base, 4);
    t.append(0, 4);  // first global interrupt
    struct Override {
        unsigned irq, gsi;
        u16 flags;
    };
    for (const auto& o : {Override{0, layout::kTimerPin, 0}, Override{layout::kSciIrq, layout::kSciIrq, kLevelHigh}}) {
        for (const u64 byte : {u64{2}, u64{10}, u64{0}, u64{o.irq}}) t.append(byte, 1);
        t.append(o.gsi, 4);
        t.append(o.flags, 2);
    }
    for (const u64 byte : {u64{4}, u64{6}, u64{0xff}}) t.append(byte, 1);  // LINT1 is NMI, everywhere
    t.append(0, 2);
    t.append(1, 1);
    return finish_table(std::move(t));
}

// PCI Firmware Specification 3.0, 4.1.2
std::vector<u8> build_mcfg() {
    TableBytes t = start_table("MCFG", 1);
    t.append(0, 8);
    t.append(layout::kEcam.base, 8);
    t.append(0, 2);
    t.append(0, 1);
    t.append(layout::kEcam.size / layout::kMiB - 1, 1);
    t.append(0, 4);
    return finish_table(std::move(t));
}

// IA-PC HPET Specification 1.0a, 3.2.4
std::vector<u8> build_hpet() {
    TableBytes t = start_table("HPET", 1);
    t.append(devices::Hpet::kBlockId, 4);
    t.append(0, 1);   // system memory
    t.append(64, 1);  // register width
    t.append(0, 2);
    t.append(layout::kHpet.base, 8);
    t.append(0, 1);  // the first and only
    t.append(devices::Hpet::kMinimumTick, 2);
    t.append(0, 1);  // no guarantee about its page
    return finish_table(std::move(t));
}

aml::Term interrupt_routing() {
    aml::List rows;
    for (unsigned slot = 1; slot < devices::pci::kSlots; ++slot) {
        for (unsigned pin = 0; pin < 4; ++pin) {
            const u64 gsi = layout::kPirqGsi + devices::pci::pirq_of(slot, pin + 1);
            rows.push_back(aml::package(
                aml::List{aml::integer(u64{slot} << 16 | 0xffff), aml::integer(pin), aml::integer(0), aml::integer(gsi)}));
        }
    }
    return aml::package(rows);
}

aml::Term isa_devices(const AcpiConfig& config) {
    aml::List children{aml::name("_ADR", aml::integer(u64{layout::kLpcSlot} << 16))};
    const auto ports = [](const layout::Range& r) {
        return aml::io_ports(static_cast<u16>(r.base), static_cast<u8>(r.size));
    };
    children.push_back(aml::device(
        "RTC_", aml::List{aml::name("_HID", aml::eisa_id("PNP0B00")),
                          aml::name("_CRS", aml::resources(aml::List{ports(layout::kRtc), aml::irq(layout::kRtcIrq)}))}));
    children.push_back(
        aml::device("KBD_", aml::List{aml::name("_HID", aml::eisa_id("PNP0303")),
                                      aml::name("_CRS", aml::resources(aml::List{ports(layout::kKeyboard),
                                                                                 aml::io_ports(layout::kKeyboardCommand, 1),
                                                                                 aml::irq(layout::kKeyboardIrq)}))}));
    children.push_back(
        aml::device("MOU_", aml::List{aml::name("_HID", aml::eisa_id("PNP0F13")),
                                      aml::name("_CRS", aml::resources(aml::List{aml::irq(layout::kMouseIrq)}))}));
    for (unsigned i = 0; i < config.serial_ports; ++i) {
        children.push_back(aml::device(
            fmt::format("COM{}", i + 1),
            aml::List{
                aml::name("_HID", aml::eisa_id("PNP0501")), aml::name("_UID", aml::integer(i + 1)),
                aml::name("_CRS", aml::resources(aml::List{ports(layout::kSerial[i]), aml::irq(layout::kSerialIrq[i])}))}));
    }
    // Linux finds the files of the firmware configuration device by this identifier (drivers/firmware/qemu_fw_cfg.c).
    constexpr layout::Range kFwCfg{layout::kFwCfg.base, layout::kFwCfgDma.end() - layout::kFwCfg.base};
    children.push_back(aml::device("FWCF", aml::List{aml::name("_HID", aml::string("QEMU0002")),
                                                     aml::name("_CRS", aml::resources(aml::List{ports(kFwCfg)}))}));
    if (config.panic_port != 0) {
        children.push_back(aml::device(
            "PEVT", aml::List{aml::name("_HID", aml::string("QEMU0001")),
                              aml::name("_CRS", aml::resources(aml::List{aml::io_ports(config.panic_port, 1)}))}));
    }
    return aml::device("ISA_", children);
}

aml::Term host_bridge(const AcpiConfig& config) {
    constexpr auto last = [](const layout::Range& r) { return r.end() - 1; };
    const aml::Term windows = aml::resources(aml::List{
        aml::bus_numbers(0, 255),
        aml::io_ports(layout::kPciConfig, 8),
        aml::word_io(0, layout::kPciConfig - 1),
        aml::word_io(layout::kPciConfig + 8, 0xffff),
        aml::dword_memory(static_cast<u32>(layout::kPci32.base), static_cast<u32>(last(layout::kPci32))),
        aml::qword_memory(layout::kPci64.base, last(layout::kPci64)),
    });
    return aml::device("PCI0", aml::List{
                                   aml::name("_HID", aml::eisa_id("PNP0A08")),
                                   aml::name("_CID", aml::eisa_id("PNP0A03")),
                                   aml::name("_UID", aml::integer(0)),
                                   aml::name("_BBN", aml::integer(0)),
                                   aml::name("_CRS", windows),
                                   aml::name("_PRT", interrupt_routing()),
                                   isa_devices(config),
                               });
}

// What must not be given to anybody else: the configuration window and the power-management ports.
aml::Term motherboard() {
    const aml::Term reserved = aml::resources(aml::List{
        aml::fixed_memory(static_cast<u32>(layout::kEcam.base), static_cast<u32>(layout::kEcam.size)),
        aml::io_ports(static_cast<u16>(layout::kPm.base), static_cast<u8>(layout::kPm.size)),
        aml::io_ports(static_cast<u16>(layout::kElcr.base), static_cast<u8>(layout::kElcr.size)),
    });
    return aml::device("MBRD", aml::List{aml::name("_HID", aml::eisa_id("PNP0C02")), aml::name("_UID", aml::integer(1)),
                                         aml::name("_CRS", reserved)});
}

aml::Term event_timer() {
    const aml::Term window = aml::fixed_memory(static_cast<u32>(layout::kHpet.base), static_cast<u32>(layout::kHpet.size));
    return aml::device(
        "HPET", aml::List{aml::name("_HID", aml::eisa_id("PNP0103")), aml::name("_CRS", aml::resources(aml::List{window}))});
}

// Linux finds a virtio device over MMIO by this identifier.
aml::Term virtio_mmio(unsigned number) {
    const u64 base = layout::kVirtioMmio.base + number * layout::kVirtioMmioStride;
    return aml::device(
        fmt::format("VR{:02X}", number),
        aml::List{
            aml::name("_HID", aml::string("LNRO0005")), aml::name("_UID", aml::integer(number)),
            aml::name("_CRS", aml::resources(aml::List{
                                  aml::fixed_memory(static_cast<u32>(base), static_cast<u32>(layout::kVirtioMmioStride)),
                                  aml::level_interrupt(layout::virtio_mmio_gsi(number)),
                              }))});
}

std::vector<u8> build_dsdt(const AcpiConfig& config) {
    aml::List system{host_bridge(config), motherboard()};
    for (unsigned cpu = 0; cpu < config.topology.count(); ++cpu) {
        system.push_back(aml::device(fmt::format("CP{:02X}", cpu), aml::List{aml::name("_HID", aml::string("ACPI0007")),
                                                                             aml::name("_UID", aml::integer(cpu))}));
    }
    if (config.hpet) system.push_back(event_timer());
    for (unsigned i = 0; i < config.virtio_mmio; ++i) system.push_back(virtio_mmio(i));
    constexpr u64 s5 = layout::kSleepTypeS5;
    TableBytes t = start_table("DSDT", 2);
    t.append(aml::scope("\\_SB_", system));
    t.append(
        aml::name("\\_S5_", aml::package(aml::List{aml::integer(s5), aml::integer(s5), aml::integer(0), aml::integer(0)})));
    return finish_table(std::move(t));
}

std::vector<u8> build_xsdt(const std::vector<u64>& tables) {
    TableBytes t = start_table("XSDT", 1);
    for (const u64 address : tables) t.append(address, 8);
    return finish_table(std::move(t));
}

// 5.2.7: the same with 32-bit pointers, for those who look no further.
std::vector<u8> build_rsdt(const std::vector<u64>& tables) {
    TableBytes t = start_table("RSDT", 1);
    for (const u64 address : tables) t.append(address, 4);
    return finish_table(std::move(t));
}

// 5.2.5.3
std::vector<u8> build_rsdp(u64 rsdt, u64 xsdt) {
    TableBytes t(36);
    t.put(0, "RSD PTR ");
    t.put(9, "TANDEM");
    t.put(15, 2, 1);
    t.put(16, rsdt, 4);
    t.put(20, 36, 4);
    t.put(24, xsdt, 8);
    t.checksum(8, 20);
    t.checksum(32, 36);
    return t.take();
}

}  // namespace

Result<std::vector<AcpiTable>> build_acpi_tables(const AcpiConfig& config, u64 base, u64 size) {
    using Links = std::vector<AcpiTable::Link>;
    std::vector<AcpiTable> tables{{"RSDP", base, build_rsdp(0, 0), {{16, 4}, {24, 8}}, {{8, 20}, {32, 36}}}};
    u64 next = align_up(base + tables[0].bytes.size(), 64);
    const auto place = [&](std::string signature, std::vector<u8> bytes, Links links = {}) {
        const u64 address = next;
        next = align_up(next + bytes.size(), 64);
        const auto length = static_cast<u32>(bytes.size());
        tables.push_back({std::move(signature), address, std::move(bytes), std::move(links), {{kChecksum, length}}});
        return address;
    };
    const auto list = [](std::size_t count, u8 width) {
        Links links;
        for (std::size_t i = 0; i < count; ++i) links.push_back({static_cast<u32>(kHeaderSize + i * width), width});
        return links;
    };
    const u64 facs = place("FACS", build_facs());
    tables.back().checksums.clear();
    const u64 dsdt = place("DSDT", build_dsdt(config));
    std::vector<u64> listed{place("FACP", build_fadt(facs, dsdt), {{36, 4}, {40, 4}, {132, 8}, {140, 8}}),
                            place("APIC", build_madt(config)), place("MCFG", build_mcfg())};
    if (config.hpet) listed.push_back(place("HPET", build_hpet()));
    const u64 rsdt = place("RSDT", build_rsdt(listed), list(listed.size(), 4));
    const u64 xsdt = place("XSDT", build_xsdt(listed), list(listed.size(), 8));
    tables[0].bytes = build_rsdp(rsdt, xsdt);
    if (next > base + size) {
        return Error{Errc::Unsupported, fmt::format("ACPI tables need {} bytes, there are {}", next - base, size)};
    }
    return tables;
}

}  // namespace tandem::machines::pc

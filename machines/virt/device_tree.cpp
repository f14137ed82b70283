#include "machines/virt/device_tree.h"

#include <fmt/format.h>

#include <initializer_list>

extern "C" {
#include <libfdt.h>
}

#include "devices/pci/root.h"
#include "machines/virt/layout.h"

namespace tandem::machines::virt {
namespace {

enum Phandle : u32 { kGicHandle = 1, kMessagesHandle, kClockHandle, kGpioHandle };
// Interrupt specifiers of arm,gic-v3 and arm,cortex-a15-gic
constexpr u32 kSpi = 0, kPpi = 1, kLevelHigh = 4;
constexpr u32 kKeyPower = 116;  // linux/input-event-codes.h
constexpr u32 kGpioActiveHigh = 0;

// Writes nodes in sequence; the first error stays.
class Writer {
public:
    explicit Writer(std::size_t limit) : bytes_(limit) {
        note(fdt_create(bytes_.data(), static_cast<int>(bytes_.size())));
        note(fdt_finish_reservemap(bytes_.data()));
    }
    template <class F>
    void node(const std::string& name, F contents) {
        note(fdt_begin_node(bytes_.data(), name.c_str()));
        contents();
        note(fdt_end_node(bytes_.data()));
    }
    void flag(const char* name) { note(fdt_property(bytes_.data(), name, nullptr, 0)); }
    void text(const char* name, std::initializer_list<std::string> strings) {
        std::string all;
        for (const auto& s : strings) all += s + '\0';
        note(fdt_property(bytes_.data(), name, all.data(), static_cast<int>(all.size())));
    }
    void cells(const char* name, const std::vector<u32>& values) {
        std::vector<u32> big;
        for (const u32 v : values) big.push_back(cpu_to_fdt32(v));
        note(fdt_property(bytes_.data(), name, big.data(), static_cast<int>(4 * big.size())));
    }
    void cell(const char* name, u32 value) { cells(name, {value}); }
    void data(const char* name, const std::vector<u8>& bytes) {
        note(fdt_property(bytes_.data(), name, bytes.data(), static_cast<int>(bytes.size())));
    }
    // Address and size of two cells each.
    void reg(std::initializer_list<layout::Range> ranges) {
        std::vector<u32> values;
        for (const auto& r : ranges) append(values, {r.base, r.size});
        cells("reg", values);
    }
    static void append(std::vector<u32>& to, std::initializer_list<u64> values) {
        for (const u64 v : values) {
            to.push_back(static_cast<u32>(v >> 32));
            to.push_back(static_cast<u32>(v));
        }
    }
    void interrupt(unsigned spi, u32 trigger = kLevelHigh) { cells("interrupts", {kSpi, spi, trigger}); }

    Result<std::vector<u8>> finish() {
        note(fdt_finish(bytes_.data()));
        if (error_ == -FDT_ERR_NOSPACE) {
            return invalid(fmt::format("the device tree is larger than {} bytes (-append is too long?)", bytes_.size()));
        }
        if (error_ != 0) return Error{Errc::Internal, fmt::format("device tree: {}", fdt_strerror(error_))};
        bytes_.resize(fdt_totalsize(bytes_.data()));
        return std::move(bytes_);
    }

private:
    void note(int status) {
        if (error_ == 0) error_ = status;
    }
    std::vector<u8> bytes_;
    int error_ = 0;
};

std::string at(const char* name, u64 address) { return fmt::format("{}@{:x}", name, address); }

void chosen(Writer& w, const BoardFacts& f) {
    w.node("chosen", [&] {
        if (!f.command_line.empty()) w.text("bootargs", {f.command_line});
        if (f.initrd_end != f.initrd_start) {
            std::vector<u32> start, end;
            Writer::append(start, {f.initrd_start});
            Writer::append(end, {f.initrd_end});
            w.cells("linux,initrd-start", start);
            w.cells("linux,initrd-end", end);
        }
        if (f.serial_ports != 0) w.text("stdout-path", {"/" + at("pl011", layout::kUart[0].base)});
        if (f.seed.size() >= 16) {
            w.data("kaslr-seed", {f.seed.begin(), f.seed.begin() + 8});
            w.data("rng-seed", {f.seed.begin() + 8, f.seed.end()});
        }
    });
}

void processors(Writer& w, const BoardFacts& f) {
    w.node("cpus", [&] {
        w.cell("#address-cells", 1);
        w.cell("#size-cells", 0);
        for (unsigned i = 0; i < f.cpus; ++i) {
            const auto affinity = static_cast<u32>(layout::affinity(i));
            w.node(at("cpu", affinity), [&] {
                w.text("device_type", {"cpu"});
                w.text("compatible", {f.cpu_compatible});
                w.cell("reg", affinity);
                w.text("enable-method", {"psci"});
            });
        }
    });
    w.node("psci", [&] {
        w.text("compatible", {"arm,psci-1.0", "arm,psci-0.2"});
        w.text("method", {f.options.virtualization ? "smc" : "hvc"});
    });
    // GICv2's specifier names the processors of a private interrupt in bits 15:8.
    const u32 flags = kLevelHigh | (f.options.gic_version == 2 ? ((1u << f.cpus) - 1) << 8 : 0);
    const auto ppi = [&](std::initializer_list<unsigned> ids) {
        std::vector<u32> values;
        for (const unsigned id : ids) values.insert(values.end(), {kPpi, id - 16, flags});
        w.cells("interrupts", values);
    };
    w.node("timer", [&] {
        w.text("compatible", {"arm,armv8-timer"});
        w.flag("always-on");
        ppi({layout::kSecureTimerPpi, layout::kPhysicalTimerPpi, layout::kVirtualTimerPpi, layout::kHypervisorTimerPpi,
             layout::kHypervisorVirtualTimerPpi});
    });
    if (!f.performance_monitors) return;
    w.node("pmu", [&] {
        w.text("compatible", {"arm,armv8-pmuv3"});
        ppi({layout::kPerformanceMonitorPpi});
    });
}

bool has_its(const BoardFacts& f) { return f.options.gic_version == 3 && f.options.its; }

void messages(Writer& w, const BoardFacts& f) {
    const layout::Range& frame = has_its(f) ? layout::kIts : layout::kGicv2m;
    w.node(at(has_its(f) ? "its" : "v2m", frame.base), [&] {
        w.cell("phandle", kMessagesHandle);
        w.text("compatible", {has_its(f) ? "arm,gic-v3-its" : "arm,gic-v2m-frame"});
        w.flag("msi-controller");
        if (has_its(f)) w.cell("#msi-cells", 1);
        w.reg({frame});
    });
}

void interrupt_controller(Writer& w, const BoardFacts& f) {
    const bool v2 = f.options.gic_version == 2;
    w.node(at("intc", layout::kGicd.base), [&] {
        w.cell("phandle", kGicHandle);
        w.cell("#interrupt-cells", 3);
        w.flag("interrupt-controller");
        w.cell("#address-cells", 2);
        w.cell("#size-cells", 2);
        w.flag("ranges");
        if (f.options.virtualization) {
            const u32 flags = kLevelHigh | (v2 ? ((1u << f.cpus) - 1) << 8 : 0);
            w.cells("interrupts", {kPpi, layout::kMaintenancePpi - 16, flags});
        }
        if (v2) {
            w.text("compatible", {"arm,cortex-a15-gic"});
            if (f.options.virtualization) {
                w.reg({layout::kGicd, layout::kGicc, layout::kGich, layout::kGicv});
            } else {
                w.reg({layout::kGicd, layout::kGicc});
            }
        } else {
            w.text("compatible", {"arm,gic-v3"});
            w.cell("#redistributor-regions", 1);
            w.reg({layout::kGicd, {layout::kGicr.base, u64{f.cpus} * 0x20000}});
        }
        messages(w, f);
    });
}

void peripherals(Writer& w, const BoardFacts& f) {
    w.node("apb-pclk", [&] {
        w.cell("phandle", kClockHandle);
        w.text("compatible", {"fixed-clock"});
        w.cell("#clock-cells", 0);
        w.cell("clock-frequency", 24'000'000);
        w.text("clock-output-names", {"clk24mhz"});
    });
    for (unsigned i = 0; i < f.serial_ports; ++i) {
        w.node(at("pl011", layout::kUart[i].base), [&] {
            w.text("compatible", {"arm,pl011", "arm,primecell"});
            w.reg({layout::kUart[i]});
            w.interrupt(layout::kUartSpi[i]);
            w.cells("clocks", {kClockHandle, kClockHandle});
            w.text("clock-names", {"uartclk", "apb_pclk"});
        });
    }
    w.node(at("pl031", layout::kRtc.base), [&] {
        w.text("compatible", {"arm,pl031", "arm,primecell"});
        w.reg({layout::kRtc});
        w.interrupt(layout::kRtcSpi);
        w.cell("clocks", kClockHandle);
        w.text("clock-names", {"apb_pclk"});
    });
    w.node(at("pl061", layout::kGpio.base), [&] {
        w.cell("phandle", kGpioHandle);
        w.text("compatible", {"arm,pl061", "arm,primecell"});
        w.reg({layout::kGpio});
        w.interrupt(layout::kGpioSpi);
        w.flag("gpio-controller");
        w.cell("#gpio-cells", 2);
        w.flag("interrupt-controller");
        w.cell("#interrupt-cells", 2);
        w.cell("clocks", kClockHandle);
        w.text("clock-names", {"apb_pclk"});
    });
    w.node("gpio-keys", [&] {
        w.text("compatible", {"gpio-keys"});
        w.node("poweroff", [&] {
            w.text("label", {"GPIO Key Poweroff"});
            w.cell("linux,code", kKeyPower);
            w.cells("gpios", {kGpioHandle, 3, kGpioActiveHigh});
        });
    });
    w.node(at("fw-cfg", layout::kFwCfg.base), [&] {
        w.text("compatible", {"qemu,fw-cfg-mmio"});
        w.flag("dma-coherent");
        w.reg({layout::kFwCfg});
    });
    if (f.firmware) {
        // The firmware's own cannot be written, and answers no queries.
        w.node(at("rom", layout::kFlash[0].base), [&] {
            w.text("compatible", {"mtd-rom"});
            w.reg({layout::kFlash[0]});
            w.cell("bank-width", layout::kFlashWidth);
        });
        w.node(at("flash", layout::kFlash[1].base), [&] {
            w.text("compatible", {"cfi-flash"});
            w.reg({{layout::kFlash[1].base, f.variables_bytes}});
            w.cell("bank-width", layout::kFlashWidth);
        });
    }
    for (unsigned i = 0; i < f.virtio_mmio; ++i) {
        const layout::Range window{layout::kVirtioMmio.base + i * layout::kVirtioMmioStride, layout::kVirtioMmioStride};
        w.node(at("virtio_mmio", window.base), [&] {
            w.text("compatible", {"virtio,mmio"});
            w.flag("dma-coherent");
            w.reg({window});
            w.interrupt(layout::kVirtioSpi + i);
        });
    }
}

void pci(Writer& w, const BoardFacts& f) {
    w.node(at("pcie", layout::kPci32.base), [&] {
        w.text("compatible", {"pci-host-ecam-generic"});
        w.text("device_type", {"pci"});
        w.cell("#address-cells", 3);
        w.cell("#size-cells", 2);
        w.cell("linux,pci-domain", 0);
        w.cells("bus-range", {0, static_cast<u32>(layout::kEcam.size >> 20) - 1});
        w.flag("dma-coherent");
        w.reg({layout::kEcam});
        if (has_its(f)) {
            w.cells("msi-map", {0, kMessagesHandle, 0, 0x10000});
        } else {
            w.cell("msi-parent", kMessagesHandle);
        }
        // Space code, PCI address, CPU address, size (IEEE 1275 PCI binding, 2.2.1.1)
        constexpr u32 kIo = 0x01000000, kMemory32 = 0x02000000, kMemory64 = 0x03000000;
        std::vector<u32> ranges;
        ranges.push_back(kIo);
        Writer::append(ranges, {0, layout::kPciIo.base, layout::kPciIo.size});
        for (const auto& [code, r] : {std::pair(kMemory32, layout::kPci32), std::pair(kMemory64, layout::kPci64)}) {
            ranges.push_back(code);
            Writer::append(ranges, {r.base, r.base, r.size});
        }
        w.cells("ranges", ranges);
        w.cell("#interrupt-cells", 1);
        std::vector<u32> map;
        constexpr unsigned kPins = 4;
        for (unsigned slot = 0; slot < kPins; ++slot) {
            for (unsigned pin = 1; pin <= kPins; ++pin) {
                const unsigned spi = layout::kPciSpi + devices::pci::pirq_of(slot, pin) % kPins;
                map.insert(map.end(), {slot << 11, 0, 0, pin, kGicHandle, 0, 0, kSpi, spi, kLevelHigh});
            }
        }
        w.cells("interrupt-map", map);
        w.cells("interrupt-map-mask", {3u << 11, 0, 0, 7});
    });
}

}  // namespace

Result<std::vector<u8>> build_device_tree(const BoardFacts& facts, u64 limit) {
    Writer w(limit);
    w.node("", [&] {
        w.cell("#address-cells", 2);
        w.cell("#size-cells", 2);
        w.text("compatible", {"linux,dummy-virt"});
        w.text("model", {"linux,dummy-virt"});
        w.cell("interrupt-parent", kGicHandle);
        w.flag("dma-coherent");
        chosen(w, facts);
        w.node(at("memory", layout::kRam), [&] {
            w.text("device_type", {"memory"});
            w.reg({{layout::kRam, facts.ram_bytes}});
        });
        processors(w, facts);
        interrupt_controller(w, facts);
        peripherals(w, facts);
        pci(w, facts);
    });
    return w.finish();
}

}  // namespace tandem::machines::virt

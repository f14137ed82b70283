// What every PCI function has: configuration space, base address registers that follow the command register, a capability
// list, and its interrupts. Concrete devices derive from this and from StatefulDevice.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "devices/fabric/address_space.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/state.h"
#include "devices/pci/config_space.h"
#include "devices/pci/msix.h"

namespace tandem::devices::pci {

struct Identity {
    u16 vendor = 0;
    u16 device = 0;
    u8 revision = 0;
    u32 class_code = 0;  // 24 bits: class, subclass, interface
    u16 subsystem_vendor = 0;
    u16 subsystem = 0;
    u8 interrupt_pin = 0;  // 0: none, 1: INTA ... 4: INTD
    bool multifunction = false;
};

enum class BarKind : u8 { Io, Memory32, Memory64 };

struct FunctionState {
    std::vector<u8> config;
    bool intx = false;
    MsixState msix;
    void visit(auto& v) {
        v("config", config);
        v("intx", intx);
        v("msix", msix);
    }
};

// What a function sees of the bus it sits on. Pointers outlive the function.
struct BusWiring {
    AddressSpace* memory = nullptr;
    AddressSpace* io = nullptr;
    MsiSink* msi = nullptr;
    IrqLine intx;       // this function's own input of the shared line its pin leads to
    u16 requester = 0;  // its place on the bus, as messages carry it
};

class PciFunction {
public:
    static constexpr unsigned kBars = 6;

    PciFunction(std::string name, const Identity& identity);
    virtual ~PciFunction() = default;
    PciFunction(const PciFunction&) = delete;
    PciFunction& operator=(const PciFunction&) = delete;

    [[nodiscard]] const std::string& function_name() const { return name_; }
    [[nodiscard]] u8 interrupt_pin() const { return identity_.interrupt_pin; }
    // Once, when the function is put into a slot.
    void connect(BusWiring wiring);

    // Configuration accesses; the root serialises them. size 1, 2 or 4, not crossing a dword.
    u32 config_read(u16 offset, unsigned size);
    void config_write(u16 offset, u32 value, unsigned size);

    // Base address registers for firmware-like resource assignment. size 0: not implemented.
    struct BarInfo {
        BarKind kind = BarKind::Memory32;
        u64 size = 0;
    };
    [[nodiscard]] BarInfo bar(unsigned index) const { return {bars_[index].kind, bars_[index].size}; }
    // Where the BAR is decoded now; nothing when it is not.
    [[nodiscard]] std::optional<u64> bar_address(unsigned index) const { return bars_[index].mapped; }

protected:
    // Set-up, before connect(). `size` is a power of two: at least 16 (memory) or 4 (I/O). A 64-bit BAR takes index and
    // index + 1.
    void add_bar(unsigned index, BarKind kind, u64 size, IoHandler& handler);
    // Appends a capability of `length` bytes (header included) and returns its offset. Rows are relative to it.
    u16 add_capability(u8 id, u8 length, std::span<const ConfigField> rows);
    // MSI-X with its table in a BAR of its own.
    void add_msix(unsigned bar_index, unsigned vectors);
    ConfigSpace& config() { return config_; }
    [[nodiscard]] const ConfigSpace& config() const { return config_; }

    // Called with the root's lock held: before a read is answered, and after a write took effect.
    virtual void before_config_read(u16 /*offset*/, unsigned /*size*/) {}
    virtual void config_written(u16 /*offset*/, unsigned /*size*/) {}

    // Level of this function's INTx pin; the command register may keep it from the line. Any thread.
    void set_intx(bool level);
    // Sends MSI-X vector `index`; false when MSI-X is off. Any thread.
    bool send_msix(unsigned index) { return msix_ && msix_->notify(index); }
    [[nodiscard]] bool msix_enabled() const { return msix_ && msix_->enabled(); }
    [[nodiscard]] unsigned msix_vectors() const { return msix_ ? msix_->vectors() : 0; }
    // Command register bit 2: the function may read and write memory. Any thread.
    [[nodiscard]] bool bus_master() const { return (command_.load(std::memory_order_acquire) & command::kBusMaster) != 0; }

    void reset_function();
    [[nodiscard]] FunctionState capture_function() const;
    // Errors before anything is changed.
    [[nodiscard]] Result<void> check_function(const FunctionState& state) const;
    void apply_function(const FunctionState& state);

private:
    struct Bar {
        BarKind kind = BarKind::Memory32;
        u64 size = 0;
        IoHandler* handler = nullptr;
        std::optional<u64> mapped;
    };
    [[nodiscard]] std::optional<u64> wanted_address(unsigned index) const;
    void remap_bars();
    void command_changed();
    void drive_intx();

    std::string name_;
    Identity identity_;
    ConfigSpace config_;
    std::array<Bar, kBars> bars_{};
    u16 next_capability_ = 0x40;
    u16 last_capability_link_ = reg::kCapabilities;
    std::unique_ptr<MsixTable> msix_;
    u16 msix_capability_ = 0;
    BusWiring wiring_;
    std::atomic<u16> command_{0};
    mutable std::mutex intx_lock_;
    bool intx_ = false;
};

}  // namespace tandem::devices::pci

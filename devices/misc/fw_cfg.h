// Firmware configuration device: named blobs that the machine hands to firmware, read through a selector and a data
// register, as ports or in memory, or by DMA (QEMU's documentation, docs/specs/fw_cfg).
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "devices/fabric/address_space.h"
#include "devices/fabric/guest_memory.h"
#include "devices/fabric/state.h"

namespace tandem::devices {

struct FwCfgState {
    static constexpr u32 kVersion = 1;
    u16 selector = 0;
    u32 offset = 0;
    u64 dma_address = 0;
    void visit(auto& v) {
        v("selector", selector);
        v("offset", offset);
        v("dma_address", dma_address);
    }
};

// Contents are fixed when the machine is built and are no part of the state. Items are read-only: a DMA write is an error.
class FwCfg final : public StatefulDevice<FwCfgState> {
public:
    static constexpr u64 kPorts = 2;     // selector (16 bits) and data (8 bits)
    static constexpr u64 kDmaPorts = 8;  // address of a descriptor, big endian
    enum Key : u16 {
        kSignature = 0x00,
        kId = 0x01,
        kUuid = 0x02,
        kRamSize = 0x03,
        kCpus = 0x05,
        kKernelAddress = 0x07,
        kKernelSize = 0x08,
        kInitrdAddress = 0x0a,
        kInitrdSize = 0x0b,
        kBootMenu = 0x0e,
        kMaxCpus = 0x0f,
        kKernelData = 0x11,
        kInitrdData = 0x12,
        kCommandLineAddress = 0x13,
        kCommandLineSize = 0x14,
        kCommandLineData = 0x15,
        kSetupAddress = 0x16,
        kSetupSize = 0x17,
        kSetupData = 0x18,
        kFileDirectory = 0x19,
        kFirstFile = 0x20,
        kIrq0Override = 0x8002  // architecture-local: ISA IRQ 0 is I/O APIC input 2
    };
    static constexpr std::size_t kMaxFiles = 0x4000 - kFirstFile;

    // DMA goes to `memory`, which outlives the device.
    explicit FwCfg(GuestMemory& memory);

    // Set-up, before the guest runs; an item that exists is replaced.
    void set(u16 key, std::vector<u8> bytes);
    void set_number(u16 key, u64 value, unsigned bytes);
    // InvalidArgument: a name of more than 55 characters. Busy: too many files.
    Result<void> set_file(const std::string& name, std::vector<u8> bytes);
    // The same for several.
    Result<void> set_files(const std::vector<std::pair<std::string, std::vector<u8>>>& files);

    [[nodiscard]] IoHandler& ports() { return ports_; }
    [[nodiscard]] IoHandler& dma_ports() { return dma_ports_; }
    // The form in memory: data (of any size) at 0, selector (16 bits, big endian) at 8, the DMA register at 16.
    static constexpr u64 kMemorySize = 24;
    [[nodiscard]] IoHandler& memory_registers() { return memory_registers_; }

    [[nodiscard]] std::string_view name() const override { return "fw-cfg"; }
    void reset() override;

private:
    FwCfgState capture() const override;
    Result<void> apply(const FwCfgState& state) override;

    struct Ports final : IoHandler {
        explicit Ports(FwCfg& o) : owner(o) {}
        u64 io_read(u64 offset, unsigned size) override;
        void io_write(u64 offset, u64 value, unsigned size) override;
        FwCfg& owner;
    };
    struct DmaPorts final : IoHandler {
        explicit DmaPorts(FwCfg& o) : owner(o) {}
        u64 io_read(u64 offset, unsigned size) override;
        void io_write(u64 offset, u64 value, unsigned size) override;
        FwCfg& owner;
    };
    struct MemoryRegisters final : IoHandler {
        explicit MemoryRegisters(FwCfg& o) : owner(o) {}
        u64 io_read(u64 offset, unsigned size) override;
        void io_write(u64 offset, u64 value, unsigned size) override;
        FwCfg& owner;
    };

    void select(u16 key);
    [[nodiscard]] u8 next_byte();
    void rebuild_directory();
    void run_dma(u64 descriptor);
    bool dma_read(u64 address, u64 length);

    GuestMemory& memory_;
    std::map<u16, std::vector<u8>> items_;
    std::map<std::string, u16> files_;
    mutable std::mutex lock_;  // guards the state
    FwCfgState s_;
    Ports ports_{*this};
    DmaPorts dma_ports_{*this};
    MemoryRegisters memory_registers_{*this};
};

}  // namespace tandem::devices

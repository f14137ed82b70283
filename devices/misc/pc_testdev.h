// pc-testdev: what a hypervisor's conformance suite (kvm-unit-tests, lib/x86 and x86/README) uses to provoke the machine:
// interrupt lines by port, a port and a memory area that keep what is written, and a port that flushes a page's translation.
#pragma once

#include <array>
#include <mutex>
#include <vector>

#include "devices/fabric/address_space.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/state.h"

namespace tandem::devices {

struct PcTestDevState {
    static constexpr u32 kVersion = 1;
    u32 port_data = 0;
    std::array<bool, 24> lines{};
    std::vector<u8> memory;
    void visit(auto& v) {
        v("port_data", port_data);
        v("lines", lines);
        v("memory", memory);
    }
};

class PcTestDev final : public StatefulDevice<PcTestDevState> {
public:
    static constexpr unsigned kLines = 24;
    static constexpr u64 kDataPorts = 4;   // E0H (any width) and E8H (the same register, by bytes)
    static constexpr u64 kFlushPorts = 4;  // E4H: a guest-physical address whose translation is dropped
    static constexpr u64 kMemorySize = 0x10000;

    // A write of 0 or 1 to port 2000H + n drives lines[n].
    explicit PcTestDev(std::array<IrqLine, kLines> lines) : lines_(std::move(lines)) { s_.memory.resize(kMemorySize); }

    [[nodiscard]] IoHandler& line_ports() { return line_ports_; }
    [[nodiscard]] IoHandler& data_ports() { return data_ports_; }
    [[nodiscard]] IoHandler& flush_ports() { return flush_ports_; }
    [[nodiscard]] IoHandler& memory() { return memory_; }

    [[nodiscard]] std::string_view name() const override { return "pc-testdev"; }
    void reset() override;

private:
    PcTestDevState capture() const override;
    Result<void> apply(const PcTestDevState& state) override;

    struct Part : IoHandler {
        explicit Part(PcTestDev& o) : owner(o) {}
        PcTestDev& owner;
    };
    struct LinePorts final : Part {
        using Part::Part;
        u64 io_read(u64 offset, unsigned size) override;
        void io_write(u64 offset, u64 value, unsigned size) override;
    };
    struct DataPorts final : Part {
        using Part::Part;
        u64 io_read(u64 offset, unsigned size) override;
        void io_write(u64 offset, u64 value, unsigned size) override;
    };
    // Guest memory never moves here, so that there is nothing to drop: accepting the write is enough.
    struct FlushPorts final : Part {
        using Part::Part;
        u64 io_read(u64, unsigned) override { return 0; }
        void io_write(u64, u64, unsigned) override {}
    };
    struct Memory final : Part {
        using Part::Part;
        u64 io_read(u64 offset, unsigned size) override;
        void io_write(u64 offset, u64 value, unsigned size) override;
    };

    std::array<IrqLine, kLines> lines_;
    mutable std::mutex lock_;  // guards the state; not held while a line is driven
    PcTestDevState s_;
    LinePorts line_ports_{*this};
    DataPorts data_ports_{*this};
    FlushPorts flush_ports_{*this};
    Memory memory_{*this};
};

}  // namespace tandem::devices

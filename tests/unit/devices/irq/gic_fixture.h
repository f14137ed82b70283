// What a GIC tells its processors, recorded; and the registers of the two generations by name.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "devices/fabric/interrupts.h"
#include "devices/irq/gic.h"

namespace tandem::devices::test {

struct GicCpu final : CpuSignals {
    void set_line(CpuLine line, bool level) override { lines[static_cast<unsigned>(line)] = level; }
    std::array<bool, 4> lines{};
    [[nodiscard]] bool irq() const { return lines[0]; }
    [[nodiscard]] bool fiq() const { return lines[1]; }
    [[nodiscard]] bool virtual_irq() const { return lines[2]; }
    [[nodiscard]] bool virtual_fiq() const { return lines[3]; }
};

struct GicBench {
    explicit GicBench(std::unique_ptr<Gic> g, unsigned cpus) : gic(std::move(g)), cpu(cpus) {
        for (unsigned i = 0; i < cpus; ++i) gic->connect(i, cpu[i]);
    }
    u32 read(u64 address, unsigned who = 0, unsigned size = 4) {
        u64 value = 0;
        known = gic->mmio_read(who, address, size, value);
        return static_cast<u32>(value);
    }
    void write(u64 address, u64 value, unsigned who = 0, unsigned size = 4) {
        known = gic->mmio_write(who, address, value, size);
    }
    std::unique_ptr<Gic> gic;
    std::vector<GicCpu> cpu;
    bool known = false;
};

}  // namespace tandem::devices::test

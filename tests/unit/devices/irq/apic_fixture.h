// A few local APICs on a bus with a fake clock, and what their processors are told.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "devices/fabric/fake_clock.h"
#include "devices/irq/apic_bus.h"
#include "devices/irq/lapic.h"

namespace tandem::devices::test {

struct FakeCpu : CpuSignals {
    void set_line(CpuLine line, bool level) override {
        if (line == CpuLine::Interrupt) intr = level;
    }
    void raise_nmi() override { ++nmis; }
    void raise_init() override { ++inits; }
    void raise_sipi(u8 vector) override { sipis.push_back(vector); }
    std::atomic<bool> intr{false};
    int nmis = 0, inits = 0;
    std::vector<u8> sipis;
};

struct ApicFixture {
    static constexpr u64 kBase = 0xfee00000;

    explicit ApicFixture(unsigned count = 1, u32 first_id = 0) {
        for (unsigned i = 0; i < count; ++i) {
            cpus.push_back(std::make_unique<FakeCpu>());
            apics.push_back(
                std::make_unique<Lapic>(LapicConfig{first_id + i, i == 0, kBase, 1'000'000'000, true}, bus, clock));
            apics.back()->connect(*cpus.back());
        }
    }
    Lapic& apic(unsigned i = 0) { return *apics[i]; }
    FakeCpu& cpu(unsigned i = 0) { return *cpus[i]; }

    u32 read(u32 offset, unsigned i = 0) { return static_cast<u32>(apic(i).io_read(offset, 4)); }
    void write(u32 offset, u32 value, unsigned i = 0) { apic(i).io_write(offset, value, 4); }
    void enable_all() {
        for (unsigned i = 0; i < apics.size(); ++i) write(0xf0, 0x1ff, i);
    }
    void x2apic_all() {
        for (auto& a : apics) REQUIRE(a->write_apic_base(kBase | 0xc00));
    }
    bool in_irr(u8 vector, unsigned i = 0) { return bit_of(0x200, vector, i); }
    bool in_isr(u8 vector, unsigned i = 0) { return bit_of(0x100, vector, i); }
    bool bit_of(u32 base, u8 vector, unsigned i) { return (read(base + vector / 32 * 16u, i) >> (vector % 32) & 1) != 0; }
    u64 msr(u32 index, unsigned i = 0) {
        u64 value = 0;
        REQUIRE(apic(i).msr_read(index, value));
        return value;
    }

    FakeClock clock{2'000'000'000};
    ApicBus bus;
    std::vector<std::unique_ptr<FakeCpu>> cpus;
    std::vector<std::unique_ptr<Lapic>> apics;
};

}  // namespace tandem::devices::test

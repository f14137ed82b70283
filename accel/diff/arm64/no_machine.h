// An AArch64 vCPU without a board: nothing answers, nothing interrupts.
#pragma once

#include <array>

#include "cpu/arm64/system/platform.h"

namespace tandem::accel::diff::arm64 {

class NoMachine final : public cpu::arm64::Platform {
public:
    cpu::arm64::SysregResult gic_register(const cpu::arm64::SysregAccess&, u64&) override {
        return cpu::arm64::SysregResult::Undefined;
    }
    u32 interrupt_lines() override { return 0; }
    u64 counter() override { return 0; }
    u64 counter_hz() override { return 1; }
    void timer_changed(cpu::arm64::Timer, bool, u64, u64) override {}
    bool hypercall(cpu::arm64::Conduit, u16, std::array<u64, 18>&) override { return false; }
    void broadcast_tlb_invalidate(const cpu::arm64::TlbInvalidate&) override {}
    void complete_tlb_invalidates() override {}
    void send_event() override {}
    u64 affinity() const override { return 0; }
    unsigned cpu_count() const override { return 1; }
};

}  // namespace tandem::accel::diff::arm64

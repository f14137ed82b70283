// virtio over MMIO (virtio 1.2, 4.2), version 2: one window of registers and one level-triggered interrupt.
#pragma once

#include <memory>
#include <mutex>

#include "devices/fabric/address_space.h"
#include "devices/fabric/interrupts.h"
#include "devices/fabric/register_bank.h"
#include "devices/fabric/state.h"
#include "devices/virtio/bells.h"
#include "devices/virtio/device.h"

namespace tandem::devices::virtio {

struct VirtioMmioState {
    static constexpr u32 kVersion = 1;
    DeviceCoreState device;
    std::vector<u64> registers;
    u32 interrupt_status = 0;
    void visit(auto& v) {
        v("device", device);
        v("registers", registers);
        v("interrupt_status", interrupt_status);
    }
};

class VirtioMmio final : public StatefulDevice<VirtioMmioState>, public IoHandler, private Transport {
public:
    static constexpr u64 kWindowSize = 0x200;

    VirtioMmio(std::unique_ptr<VirtioDevice> device, IrqLine line);
    // The device's threads end before what they use.
    ~VirtioMmio() override {
        bells_.reset();
        device_.reset();
    }

    [[nodiscard]] std::string_view name() const override { return device_->name(); }
    void machine_stopped() override { device_->pause(); }
    void machine_continues() override { device_->resume(); }
    [[nodiscard]] VirtioDevice& device() { return *device_; }
    void reset() override;

    // Registers take aligned 32-bit accesses only (4.2.2.2); others read as zero and are ignored.
    u64 io_read(u64 offset, unsigned size) override;
    void io_write(u64 offset, u64 value, unsigned size) override;
    std::vector<Doorbell> doorbells() override;

protected:
    [[nodiscard]] VirtioMmioState capture() const override;
    Result<void> apply(const VirtioMmioState& state) override;

private:
    using Reg = Register<VirtioMmio>;
    static const std::array<Reg, 26> kRegisters;

    void queue_interrupt(u16 queue) override;
    void config_interrupt() override;
    [[nodiscard]] bool dma_allowed() const override { return true; }
    void raise(u32 bit);
    void reset_interrupt();

    [[nodiscard]] u16 selected() const;
    u64 read_device_id(const Reg&, u64);
    u64 read_device_features(const Reg&, u64);
    void write_driver_features(const Reg&, u64 old, u64 written);
    u64 read_queue_max(const Reg&, u64);
    void write_queue_size(const Reg&, u64 old, u64 written);
    u64 read_queue_ready(const Reg&, u64);
    void write_queue_ready(const Reg&, u64 old, u64 written);
    u64 read_interrupt_status(const Reg&, u64);
    void write_interrupt_ack(const Reg&, u64 old, u64 written);
    u64 read_status(const Reg&, u64);
    void write_status(const Reg&, u64 old, u64 written);
    void write_queue_address(const Reg&, u64 old, u64 written);
    u64 read_generation(const Reg&, u64);

    std::unique_ptr<VirtioDevice> device_;
    std::unique_ptr<Bells> bells_;  // made when an engine first asks; under the address space's lock
    IrqLine line_;
    mutable std::mutex registers_lock_;  // guards registers_ (taken before the device's lock)
    RegisterBank<VirtioMmio> registers_;
    mutable std::mutex interrupt_lock_;  // guards interrupt_status_; held while the line is driven
    u32 interrupt_status_ = 0;
};

}  // namespace tandem::devices::virtio

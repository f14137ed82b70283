// virtio over PCI, modern only (virtio 1.2, 4.1). One memory BAR holds the common, ISR, device and notification structures;
// a second the MSI-X table.
#pragma once

#include <memory>

#include "devices/fabric/register_bank.h"
#include "devices/pci/function.h"
#include "devices/virtio/bells.h"
#include "devices/virtio/device.h"

namespace tandem::devices::virtio {

struct VirtioPciState {
    static constexpr u32 kVersion = 1;
    pci::FunctionState function;
    DeviceCoreState device;
    std::vector<u64> registers;
    std::vector<u16> vectors;  // of the queues, in order
    u16 config_vector = 0;
    u8 isr = 0;
    void visit(auto& v) {
        v("function", function);
        v("device", device);
        v("registers", registers);
        v("vectors", vectors);
        v("config_vector", config_vector);
        v("isr", isr);
    }
};

class VirtioPci final : public StatefulDevice<VirtioPciState>, public pci::PciFunction, private Transport {
public:
    // `class_code`: PCI class of this kind of device, 24 bits. `doorbells`: an engine may ring the queues' bells itself.
    VirtioPci(std::unique_ptr<VirtioDevice> device, u32 class_code, bool doorbells = true);
    // The device's threads end before what they use.
    ~VirtioPci() override {
        bells_.reset();
        device_.reset();
    }

    [[nodiscard]] std::string_view name() const override { return device_->name(); }
    void machine_stopped() override { device_->pause(); }
    void machine_continues() override { device_->resume(); }
    [[nodiscard]] VirtioDevice& device() { return *device_; }
    void reset() override;

protected:
    [[nodiscard]] VirtioPciState capture() const override;
    Result<void> apply(const VirtioPciState& state) override;
    void before_config_read(u16 offset, unsigned size) override;
    void config_written(u16 offset, unsigned size) override;

private:
    using Reg = Register<VirtioPci>;
    static const std::array<Reg, 21> kCommon;

    // The BAR: one page for each structure.
    class Window final : public IoHandler {
    public:
        explicit Window(VirtioPci& owner) : owner_(owner) {}
        u64 io_read(u64 offset, unsigned size) override;
        void io_write(u64 offset, u64 value, unsigned size) override;
        std::vector<Doorbell> doorbells() override;

    private:
        VirtioPci& owner_;
    };

    void queue_interrupt(u16 queue) override;
    void config_interrupt() override;
    [[nodiscard]] bool dma_allowed() const override { return bus_master(); }
    void raise(u16 vector, u8 isr_bit);
    u8 take_isr();
    void add_structure(u8 type, u32 offset, u32 length);
    bool window_access(u32& offset, unsigned& size) const;
    u32 device_config_read(u64 offset, unsigned size);
    void device_config_write(u64 offset, u32 value, unsigned size);

    // Common configuration, by register.
    [[nodiscard]] u16 selected() const;
    u64 read_device_feature(const Reg&, u64);
    u64 read_driver_feature(const Reg&, u64);
    void write_driver_feature(const Reg&, u64 old, u64 written);
    u64 read_config_vector(const Reg&, u64);
    void write_config_vector(const Reg&, u64 old, u64 written);
    u64 read_queue_count(const Reg&, u64);
    u64 read_status(const Reg&, u64);
    void write_status(const Reg&, u64 old, u64 written);
    u64 read_generation(const Reg&, u64);
    u64 read_queue_vector(const Reg&, u64);
    void write_queue_vector(const Reg&, u64 old, u64 written);
    u64 read_queue_enable(const Reg&, u64);
    void write_queue_enable(const Reg&, u64 old, u64 written);
    u64 read_queue_notify_off(const Reg&, u64);
    u64 read_queue_size(const Reg&, u64);
    u64 read_queue_address(const Reg&, u64);
    void write_queue_size(const Reg&, u64 old, u64 written);
    void write_queue_address(const Reg&, u64 old, u64 written);
    void reset_transport();

    std::unique_ptr<VirtioDevice> device_;
    const bool doorbells_;
    std::unique_ptr<Bells> bells_;  // made when an engine first asks; under the address space's lock
    Window window_{*this};
    u16 pci_access_ = 0;         // offset of the capability that reaches the BAR through configuration space
    std::mutex registers_lock_;  // guards common_ (taken before the device's lock)
    RegisterBank<VirtioPci> common_;
    mutable std::mutex interrupt_lock_;  // guards what follows; a leaf but for the interrupt lines
    std::vector<u16> vectors_;
    u16 config_vector_;
    u8 isr_ = 0;
};

}  // namespace tandem::devices::virtio

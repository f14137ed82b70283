#include "devices/virtio/mmio_transport.h"

#include <algorithm>
#include <array>

#include "base/bits.h"

namespace tandem::devices::virtio {
namespace {

constexpr u32 kMagic = 0x74726976, kVersion = 2, kVendor = 0x444e4154;  // "virt"; "TAND"
constexpr u32 kQueueInterrupt = 1, kConfigInterrupt = 2;
constexpr u64 kNotify = 0x50, kConfig = 0x100;
constexpr u64 kNoSharedMemory = 0xffffffff;  // 4.2.2: the length of a region that does not exist

// Rows of kRegisters whose stored value is used.
enum Row : std::size_t { kDeviceSelect = 5, kDriverSelect = 7, kQueueSelect = 8 };

}  // namespace

// 4.2.2. QueueNotify is not among them: a bell takes no lock.
const std::array<Register<VirtioMmio>, 26> VirtioMmio::kRegisters{{
    {"MagicValue", 0x000, 4, kMagic},
    {"Version", 0x004, 4, kVersion},
    {"DeviceID", 0x008, 4, 0, 0, 0, &VirtioMmio::read_device_id},
    {"VendorID", 0x00c, 4, kVendor},
    {"DeviceFeatures", 0x010, 4, 0, 0, 0, &VirtioMmio::read_device_features},
    {"DeviceFeaturesSel", 0x014, 4, 0, 0xffffffff},
    {"DriverFeatures", 0x020, 4, 0, 0, 0, nullptr, &VirtioMmio::write_driver_features},
    {"DriverFeaturesSel", 0x024, 4, 0, 0xffffffff},
    {"QueueSel", 0x030, 4, 0, 0xffffffff},
    {"QueueNumMax", 0x034, 4, 0, 0, 0, &VirtioMmio::read_queue_max},
    {"QueueNum", 0x038, 4, 0, 0, 0, nullptr, &VirtioMmio::write_queue_size},
    {"QueueReady", 0x044, 4, 0, 0, 0, &VirtioMmio::read_queue_ready, &VirtioMmio::write_queue_ready},
    {"InterruptStatus", 0x060, 4, 0, 0, 0, &VirtioMmio::read_interrupt_status},
    {"InterruptACK", 0x064, 4, 0, 0, 0, nullptr, &VirtioMmio::write_interrupt_ack},
    {"Status", 0x070, 4, 0, 0, 0, &VirtioMmio::read_status, &VirtioMmio::write_status},
    {"QueueDescLow", 0x080, 4, 0, 0, 0, nullptr, &VirtioMmio::write_queue_address},
    {"QueueDescHigh", 0x084, 4, 0, 0, 0, nullptr, &VirtioMmio::write_queue_address},
    {"QueueDriverLow", 0x090, 4, 0, 0, 0, nullptr, &VirtioMmio::write_queue_address},
    {"QueueDriverHigh", 0x094, 4, 0, 0, 0, nullptr, &VirtioMmio::write_queue_address},
    {"QueueDeviceLow", 0x0a0, 4, 0, 0, 0, nullptr, &VirtioMmio::write_queue_address},
    {"QueueDeviceHigh", 0x0a4, 4, 0, 0, 0, nullptr, &VirtioMmio::write_queue_address},
    {"SHMLenLow", 0x0b0, 4, kNoSharedMemory},
    {"SHMLenHigh", 0x0b4, 4, kNoSharedMemory},
    {"SHMBaseLow", 0x0b8, 4, kNoSharedMemory},
    {"SHMBaseHigh", 0x0bc, 4, kNoSharedMemory},
    {"ConfigGeneration", 0x0fc, 4, 0, 0, 0, &VirtioMmio::read_generation},
}};

VirtioMmio::VirtioMmio(std::unique_ptr<VirtioDevice> device, IrqLine line)
    : device_(std::move(device)), line_(std::move(line)), registers_(kRegisters) {
    device_->connect(*this);
}

void VirtioMmio::reset_interrupt() {
    std::lock_guard guard(interrupt_lock_);
    interrupt_status_ = 0;
    line_.set(false);
}

void VirtioMmio::reset() {
    device_->reset_now();
    {
        std::lock_guard guard(registers_lock_);
        registers_.reset();
    }
    reset_interrupt();
}

VirtioMmioState VirtioMmio::capture() const {
    VirtioMmioState state;
    state.device = device_->capture();
    {
        std::lock_guard guard(registers_lock_);
        state.registers = registers_.values();
    }
    std::lock_guard guard(interrupt_lock_);
    state.interrupt_status = interrupt_status_;
    return state;
}

Result<void> VirtioMmio::apply(const VirtioMmioState& state) {
    if (state.registers.size() != kRegisters.size()) return corrupt("saved state has another number of registers");
    TANDEM_TRY(device_->apply(state.device));
    {
        std::lock_guard guard(registers_lock_);
        for (const std::size_t row : {kDeviceSelect, kDriverSelect, kQueueSelect}) registers_.set(row, state.registers[row]);
    }
    {
        std::lock_guard guard(interrupt_lock_);
        interrupt_status_ = state.interrupt_status & (kQueueInterrupt | kConfigInterrupt);
        line_.set(interrupt_status_ != 0);
    }
    device_->kick();
    return {};
}

u64 VirtioMmio::io_read(u64 offset, unsigned size) {
    if (offset >= kConfig) {
        const auto at = static_cast<u32>(offset - kConfig);
        if (size <= 4) return device_->config_read(at, size);
        return device_->config_read(at, 4) | u64{device_->config_read(at + 4, 4)} << 32;
    }
    if (size != 4 || offset % 4 != 0) return 0;
    std::lock_guard guard(registers_lock_);
    return registers_.read(*this, offset, size);
}

void VirtioMmio::io_write(u64 offset, u64 value, unsigned size) {
    if (offset >= kConfig)
        return device_->config_write(static_cast<u32>(offset - kConfig), static_cast<u32>(value), std::min(size, 4u));
    if (size != 4 || offset % 4 != 0) return;
    if (offset == kNotify) {
        if (value <= 0xffff) device_->notify(static_cast<u16>(value));
        return;
    }
    std::lock_guard guard(registers_lock_);
    registers_.write(*this, offset, value, size);
}

// 4.2.2: what is written is the queue's index.
std::vector<Doorbell> VirtioMmio::doorbells() {
    return queue_doorbells(*device_, bells_, [](u16 queue) { return Doorbell{kNotify, 4, queue, -1}; });
}

void VirtioMmio::raise(u32 bit) {
    std::lock_guard guard(interrupt_lock_);
    interrupt_status_ |= bit;
    line_.set(true);
}
void VirtioMmio::queue_interrupt(u16) { raise(kQueueInterrupt); }
void VirtioMmio::config_interrupt() { raise(kConfigInterrupt); }

// A selector beyond 16 bits names no queue.
u16 VirtioMmio::selected() const { return static_cast<u16>(std::min<u64>(registers_.get(kQueueSelect), 0xffff)); }

u64 VirtioMmio::read_device_id(const Reg&, u64) { return device_->device_id(); }
u64 VirtioMmio::read_device_features(const Reg&, u64) {
    const u64 select = registers_.get(kDeviceSelect);
    return select < 2 ? bits(device_->offered_features() >> (32 * select), 31, 0) : 0;
}
void VirtioMmio::write_driver_features(const Reg&, u64, u64 written) {
    const u64 select = registers_.get(kDriverSelect);
    if (select >= 2) return;
    const auto low = static_cast<unsigned>(32 * select);
    device_->set_driver_features(with_bits(device_->driver_features(), low + 31, low, written));
}
u64 VirtioMmio::read_queue_max(const Reg&, u64) { return device_->queue_max(selected()); }
void VirtioMmio::write_queue_size(const Reg&, u64, u64 written) {
    // What does not fit is no size at all, and refused when the queue is made ready.
    device_->set_queue_field(selected(), VirtioDevice::QueueField::Size, written > 0xffff ? 0 : written);
}
u64 VirtioMmio::read_queue_ready(const Reg&, u64) { return device_->queue(selected()).enabled ? 1 : 0; }
void VirtioMmio::write_queue_ready(const Reg&, u64, u64 written) {
    if (written == 1) device_->enable_queue(selected());
}
u64 VirtioMmio::read_interrupt_status(const Reg&, u64) {
    std::lock_guard guard(interrupt_lock_);
    return interrupt_status_;
}
void VirtioMmio::write_interrupt_ack(const Reg&, u64, u64 written) {
    std::lock_guard guard(interrupt_lock_);
    interrupt_status_ &= ~static_cast<u32>(written);
    line_.set(interrupt_status_ != 0);
}
u64 VirtioMmio::read_status(const Reg&, u64) { return device_->status(); }
void VirtioMmio::write_status(const Reg&, u64, u64 written) {
    device_->set_status(static_cast<u8>(written));
    if (written == 0) reset_interrupt();
}
u64 VirtioMmio::read_generation(const Reg&, u64) { return device_->generation(); }

void VirtioMmio::write_queue_address(const Reg& reg, u64, u64 written) {
    using Field = VirtioDevice::QueueField;
    struct Row {
        Field field;
        u64 QueueState::* value;
    };
    static constexpr std::array<Row, 3> kFields{{{Field::Descriptors, &QueueState::descriptors},
                                                 {Field::Driver, &QueueState::driver},
                                                 {Field::Device, &QueueState::device}}};
    const Row& row = kFields[(reg.offset - 0x80) / 0x10];
    const unsigned low = reg.offset % 8 == 0 ? 0 : 32;
    device_->set_queue_field(selected(), row.field,
                             with_bits(device_->queue(selected()).*row.value, low + 31, low, written));
}

}  // namespace tandem::devices::virtio

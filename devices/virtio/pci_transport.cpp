#include "devices/virtio/pci_transport.h"

#include <algorithm>
#include <array>

#include "base/bits.h"

namespace tandem::devices::virtio {
namespace {

constexpr u16 kVendor = 0x1af4, kDeviceBase = 0x1040;  // 4.1.2
constexpr u16 kNoVector = 0xffff;                      // VIRTIO_MSI_NO_VECTOR
constexpr unsigned kMsixBar = 1, kWindowBar = 4;
constexpr u8 kVendorCapability = 0x09;
constexpr u8 kIsrQueue = 1, kIsrConfig = 2;

// Structures within the BAR, a page each, so that an engine may treat notifications apart. cfg_type values: 4.1.4.
constexpr u32 kPage = 0x1000;
constexpr u32 kCommonAt = 0, kIsrAt = kPage, kDeviceAt = 2 * kPage, kNotifyAt = 3 * kPage, kWindowSize = 4 * kPage;
constexpr u8 kTypeCommon = 1, kTypeNotify = 2, kTypeIsr = 3, kTypeDevice = 4, kTypePciAccess = 5;
constexpr u32 kNotifyMultiplier = 4;
constexpr u32 kCommonSize = 0x38, kDeviceConfigSize = 0x100;

// Rows of kCommon whose stored value is used.
enum Row : std::size_t { kDeviceSelect = 0, kDriverSelect = 2, kQueueSelect = 8 };

}  // namespace

// 4.1.4.3; the 64-bit ring addresses as their halves.
const std::array<Register<VirtioPci>, 21> VirtioPci::kCommon{{
    {"device_feature_select", 0x00, 4, 0, 0xffffffff},
    {"device_feature", 0x04, 4, 0, 0, 0, &VirtioPci::read_device_feature},
    {"driver_feature_select", 0x08, 4, 0, 0xffffffff},
    {"driver_feature", 0x0c, 4, 0, 0xffffffff, 0, &VirtioPci::read_driver_feature, &VirtioPci::write_driver_feature},
    {"config_msix_vector", 0x10, 2, 0, 0xffff, 0, &VirtioPci::read_config_vector, &VirtioPci::write_config_vector},
    {"num_queues", 0x12, 2, 0, 0, 0, &VirtioPci::read_queue_count},
    {"device_status", 0x14, 1, 0, 0xff, 0, &VirtioPci::read_status, &VirtioPci::write_status},
    {"config_generation", 0x15, 1, 0, 0, 0, &VirtioPci::read_generation},
    {"queue_select", 0x16, 2, 0, 0xffff},
    {"queue_size", 0x18, 2, 0, 0xffff, 0, &VirtioPci::read_queue_size, &VirtioPci::write_queue_size},
    {"queue_msix_vector", 0x1a, 2, 0, 0xffff, 0, &VirtioPci::read_queue_vector, &VirtioPci::write_queue_vector},
    {"queue_enable", 0x1c, 2, 0, 0xffff, 0, &VirtioPci::read_queue_enable, &VirtioPci::write_queue_enable},
    {"queue_notify_off", 0x1e, 2, 0, 0, 0, &VirtioPci::read_queue_notify_off},
    {"queue_desc", 0x20, 4, 0, 0xffffffff, 0, &VirtioPci::read_queue_address, &VirtioPci::write_queue_address},
    {"queue_desc (high)", 0x24, 4, 0, 0xffffffff, 0, &VirtioPci::read_queue_address, &VirtioPci::write_queue_address},
    {"queue_driver", 0x28, 4, 0, 0xffffffff, 0, &VirtioPci::read_queue_address, &VirtioPci::write_queue_address},
    {"queue_driver (high)", 0x2c, 4, 0, 0xffffffff, 0, &VirtioPci::read_queue_address, &VirtioPci::write_queue_address},
    {"queue_device", 0x30, 4, 0, 0xffffffff, 0, &VirtioPci::read_queue_address, &VirtioPci::write_queue_address},
    {"queue_device (high)", 0x34, 4, 0, 0xffffffff, 0, &VirtioPci::read_queue_address, &VirtioPci::write_queue_address},
    {"queue_notify_data", 0x38, 2},
    {"queue_reset", 0x3a, 2},
}};

VirtioPci::VirtioPci(std::unique_ptr<VirtioDevice> device, u32 class_code, bool doorbells)
    : PciFunction(device->name(), {.vendor = kVendor,
                                   .device = static_cast<u16>(kDeviceBase + device->device_id()),
                                   .revision = 1,
                                   .class_code = class_code,
                                   .subsystem_vendor = kVendor,
                                   .subsystem = static_cast<u16>(kDeviceBase + device->device_id()),
                                   .interrupt_pin = 1}),
      device_(std::move(device)),
      doorbells_(doorbells),
      common_(kCommon),
      vectors_(device_->queue_count(), kNoVector),
      config_vector_(kNoVector) {
    device_->connect(*this);
    add_bar(kWindowBar, pci::BarKind::Memory64, kWindowSize, window_);
    add_msix(kMsixBar, device_->queue_count() + 1u);
    add_structure(kTypeCommon, kCommonAt, kCommonSize);
    add_structure(kTypeIsr, kIsrAt, 1);
    add_structure(kTypeDevice, kDeviceAt, kDeviceConfigSize);
    add_structure(kTypeNotify, kNotifyAt, kNotifyMultiplier * device_->queue_count());
    add_structure(kTypePciAccess, 0, 0);
}

// struct virtio_pci_cap, with the extra field of notification and PCI access (4.1.4, 4.1.4.4, 4.1.4.9).
void VirtioPci::add_structure(u8 type, u32 offset, u32 length) {
    const bool access = type == kTypePciAccess;
    const u8 size = access || type == kTypeNotify ? 20 : 16;
    const std::array<pci::ConfigField, 6> rows{{
        {"cap_len", 2, 1, size, 0},
        {"cfg_type", 3, 1, type, 0},
        {"bar", 4, 1, access ? 0u : kWindowBar, access ? 0xffu : 0u},
        {"offset", 8, 4, offset, access ? ~0u : 0u},
        {"length", 12, 4, length, access ? ~0u : 0u},
        {"notify_off_multiplier, pci_cfg_data", 16, 4, access ? 0u : kNotifyMultiplier, access ? ~0u : 0u},
    }};
    const u16 at = add_capability(kVendorCapability, size, std::span(rows).first(size == 20 ? 6 : 5));
    if (access) pci_access_ = at;
}

void VirtioPci::reset_transport() {
    {
        std::lock_guard guard(registers_lock_);
        common_.reset();
    }
    std::lock_guard guard(interrupt_lock_);
    std::ranges::fill(vectors_, kNoVector);
    config_vector_ = kNoVector;
    isr_ = 0;
}

void VirtioPci::reset() {
    device_->reset_now();
    reset_transport();
    reset_function();
}

VirtioPciState VirtioPci::capture() const {
    VirtioPciState state;
    state.device = device_->capture();
    state.function = capture_function();
    state.registers = common_.values();
    std::lock_guard guard(interrupt_lock_);
    state.vectors = vectors_;
    state.config_vector = config_vector_;
    state.isr = isr_;
    return state;
}

Result<void> VirtioPci::apply(const VirtioPciState& state) {
    TANDEM_TRY(check_function(state.function));
    if (state.vectors.size() != vectors_.size() || state.registers.size() != kCommon.size()) {
        return corrupt("saved state has another number of queues or registers");
    }
    TANDEM_TRY(device_->apply(state.device));
    for (std::size_t i = 0; i < kCommon.size(); ++i) common_.set(i, state.registers[i]);
    {
        std::lock_guard guard(interrupt_lock_);
        vectors_ = state.vectors;
        config_vector_ = state.config_vector;
        isr_ = state.isr;
    }
    apply_function(state.function);
    device_->kick();
    return {};
}

// The window through configuration space: bar, offset and length must name an aligned access inside the BAR.
bool VirtioPci::window_access(u32& offset, unsigned& size) const {
    const auto field = [&](unsigned at, unsigned width) { return config().read(static_cast<u16>(pci_access_ + at), width); };
    offset = field(8, 4);
    size = field(12, 4);
    return field(4, 1) == kWindowBar && (size == 1 || size == 2 || size == 4) && offset % size == 0 && offset < kWindowSize;
}

void VirtioPci::before_config_read(u16 offset, unsigned size) {
    u32 at = 0;
    unsigned width = 0;
    if (offset >= pci_access_ + 20u || offset + size <= pci_access_ + 16u || !window_access(at, width)) return;
    config().set(static_cast<u16>(pci_access_ + 16), static_cast<u32>(window_.io_read(at, width)), width);
}

void VirtioPci::config_written(u16 offset, unsigned size) {
    if (offset < pci::reg::kStatus && offset + size > pci::reg::kCommand && bus_master()) device_->kick();
    u32 at = 0;
    unsigned width = 0;
    if (offset >= pci_access_ + 20u || offset + size <= pci_access_ + 16u || !window_access(at, width)) return;
    window_.io_write(at, config().read(static_cast<u16>(pci_access_ + 16), width), width);
}

u64 VirtioPci::Window::io_read(u64 offset, unsigned size) {
    const u64 at = offset % kPage;
    switch (align_down(offset, kPage)) {
        case kCommonAt: {
            std::lock_guard guard(owner_.registers_lock_);
            return owner_.common_.read(owner_, at, size);
        }
        case kIsrAt: return at == 0 ? owner_.take_isr() : 0;
        case kDeviceAt:
            if (size == 8) {
                return owner_.device_config_read(at, 4) | static_cast<u64>(owner_.device_config_read(at + 4, 4)) << 32;
            }
            return owner_.device_config_read(at, size);
        default: return 0;
    }
}

void VirtioPci::Window::io_write(u64 offset, u64 value, unsigned size) {
    const u64 at = offset % kPage;
    switch (align_down(offset, kPage)) {
        case kCommonAt: {
            std::lock_guard guard(owner_.registers_lock_);
            owner_.common_.write(owner_, at, value, size);
            break;
        }
        case kDeviceAt: owner_.device_config_write(at, static_cast<u32>(value), std::min(size, 4u)); break;
        case kNotifyAt: owner_.device_->notify(static_cast<u16>(at / kNotifyMultiplier)); break;
        default: break;
    }
}

// A notification is a write of the queue's index to its place (4.1.5.2), whatever was written.
std::vector<Doorbell> VirtioPci::Window::doorbells() {
    if (!owner_.doorbells_) return {};
    return queue_doorbells(*owner_.device_, owner_.bells_,
                           [](u16 queue) { return Doorbell{kNotifyAt + kNotifyMultiplier * queue, 2, {}, -1}; });
}

u32 VirtioPci::device_config_read(u64 offset, unsigned size) {
    return offset + size <= kDeviceConfigSize ? device_->config_read(static_cast<u32>(offset), size) : 0;
}
void VirtioPci::device_config_write(u64 offset, u32 value, unsigned size) {
    if (offset + size <= kDeviceConfigSize) device_->config_write(static_cast<u32>(offset), value, size);
}

void VirtioPci::raise(u16 vector, u8 isr_bit) {
    // With MSI-X on, an unassigned vector means no interrupt (4.1.5.1.2).
    if (msix_enabled()) {
        if (vector != kNoVector) (void)send_msix(vector);
        return;
    }
    std::lock_guard guard(interrupt_lock_);
    isr_ |= isr_bit;
    set_intx(true);
}

u8 VirtioPci::take_isr() {
    std::lock_guard guard(interrupt_lock_);
    const u8 value = isr_;
    isr_ = 0;
    set_intx(false);
    return value;
}

void VirtioPci::queue_interrupt(u16 queue) {
    u16 vector = kNoVector;
    {
        std::lock_guard guard(interrupt_lock_);
        vector = vectors_[queue];
    }
    raise(vector, kIsrQueue);
}

void VirtioPci::config_interrupt() {
    u16 vector = kNoVector;
    {
        std::lock_guard guard(interrupt_lock_);
        vector = config_vector_;
    }
    raise(vector, kIsrConfig);
}

u16 VirtioPci::selected() const { return static_cast<u16>(common_.get(kQueueSelect)); }

u64 VirtioPci::read_device_feature(const Reg&, u64) {
    const u64 select = common_.get(kDeviceSelect);
    return select < 2 ? bits(device_->offered_features() >> (32 * select), 31, 0) : 0;
}
u64 VirtioPci::read_driver_feature(const Reg&, u64) {
    const u64 select = common_.get(kDriverSelect);
    return select < 2 ? bits(device_->driver_features() >> (32 * select), 31, 0) : 0;
}
void VirtioPci::write_driver_feature(const Reg&, u64, u64 written) {
    const u64 select = common_.get(kDriverSelect);
    if (select >= 2) return;
    const auto low = static_cast<unsigned>(32 * select);
    device_->set_driver_features(with_bits(device_->driver_features(), low + 31, low, written));
}
u64 VirtioPci::read_config_vector(const Reg&, u64) {
    std::lock_guard guard(interrupt_lock_);
    return config_vector_;
}
void VirtioPci::write_config_vector(const Reg&, u64, u64 written) {
    std::lock_guard guard(interrupt_lock_);
    config_vector_ = written < msix_vectors() ? static_cast<u16>(written) : kNoVector;
}
u64 VirtioPci::read_queue_count(const Reg&, u64) { return device_->queue_count(); }
u64 VirtioPci::read_status(const Reg&, u64) { return device_->status(); }
void VirtioPci::write_status(const Reg&, u64, u64 written) {
    device_->set_status(static_cast<u8>(written));
    if (written != 0) return;
    std::lock_guard guard(interrupt_lock_);
    std::ranges::fill(vectors_, kNoVector);
    config_vector_ = kNoVector;
    isr_ = 0;
    set_intx(false);
}
u64 VirtioPci::read_generation(const Reg&, u64) { return device_->generation(); }
u64 VirtioPci::read_queue_vector(const Reg&, u64) {
    std::lock_guard guard(interrupt_lock_);
    return selected() < vectors_.size() ? vectors_[selected()] : kNoVector;
}
void VirtioPci::write_queue_vector(const Reg&, u64, u64 written) {
    std::lock_guard guard(interrupt_lock_);
    if (selected() < vectors_.size())
        vectors_[selected()] = written < msix_vectors() ? static_cast<u16>(written) : kNoVector;
}
u64 VirtioPci::read_queue_enable(const Reg&, u64) { return device_->queue(selected()).enabled ? 1 : 0; }
void VirtioPci::write_queue_enable(const Reg&, u64, u64 written) {
    if (written == 1) device_->enable_queue(selected());
}
u64 VirtioPci::read_queue_notify_off(const Reg&, u64) { return selected() < device_->queue_count() ? selected() : 0; }
u64 VirtioPci::read_queue_size(const Reg&, u64) { return device_->queue(selected()).size; }
void VirtioPci::write_queue_size(const Reg&, u64, u64 written) {
    device_->set_queue_field(selected(), VirtioDevice::QueueField::Size, written);
}

namespace {
struct Half {
    VirtioDevice::QueueField field;
    u64 QueueState::* value;
    unsigned low;
};
// Which half of which address a row at 0x20..0x34 is.
Half half_at(u32 offset) {
    static constexpr std::array<Half, 3> kFields{{
        {VirtioDevice::QueueField::Descriptors, &QueueState::descriptors, 0},
        {VirtioDevice::QueueField::Driver, &QueueState::driver, 0},
        {VirtioDevice::QueueField::Device, &QueueState::device, 0},
    }};
    Half half = kFields[(offset - 0x20) / 8];
    half.low = offset % 8 == 0 ? 0 : 32;
    return half;
}
}  // namespace

u64 VirtioPci::read_queue_address(const Reg& reg, u64) {
    const Half half = half_at(reg.offset);
    return bits(device_->queue(selected()).*half.value, half.low + 31, half.low);
}
void VirtioPci::write_queue_address(const Reg& reg, u64, u64 written) {
    const Half half = half_at(reg.offset);
    device_->set_queue_field(selected(), half.field,
                             with_bits(device_->queue(selected()).*half.value, half.low + 31, half.low, written));
}

}  // namespace tandem::devices::virtio

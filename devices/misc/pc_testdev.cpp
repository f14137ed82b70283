#include "devices/misc/pc_testdev.h"

#include "base/bits.h"

namespace tandem::devices {

void PcTestDev::reset() {
    {
        std::lock_guard guard(lock_);
        s_.port_data = 0;
        s_.lines = {};
        s_.memory.assign(kMemorySize, 0);
    }
    for (const auto& line : lines_) line.set(false);
}

u64 PcTestDev::LinePorts::io_read(u64 offset, unsigned) {
    std::lock_guard guard(owner.lock_);
    return owner.s_.lines[offset] ? 1 : 0;
}

void PcTestDev::LinePorts::io_write(u64 offset, u64 value, unsigned) {
    {
        std::lock_guard guard(owner.lock_);
        owner.s_.lines[offset] = value != 0;
    }
    owner.lines_[offset].set(value != 0);
}

u64 PcTestDev::DataPorts::io_read(u64 offset, unsigned size) {
    std::lock_guard guard(owner.lock_);
    return owner.s_.port_data >> (8 * offset) & mask(8 * size);
}

void PcTestDev::DataPorts::io_write(u64 offset, u64 value, unsigned size) {
    std::lock_guard guard(owner.lock_);
    const auto high = static_cast<unsigned>(8 * (offset + size) - 1), low = static_cast<unsigned>(8 * offset);
    owner.s_.port_data = static_cast<u32>(with_bits(owner.s_.port_data, high, low, value));
}

u64 PcTestDev::Memory::io_read(u64 offset, unsigned size) {
    std::lock_guard guard(owner.lock_);
    u64 value = 0;
    for (unsigned i = 0; i < size; ++i) value |= u64{owner.s_.memory[offset + i]} << (8 * i);
    return value;
}

void PcTestDev::Memory::io_write(u64 offset, u64 value, unsigned size) {
    std::lock_guard guard(owner.lock_);
    for (unsigned i = 0; i < size; ++i) owner.s_.memory[offset + i] = static_cast<u8>(value >> (8 * i));
}

PcTestDevState PcTestDev::capture() const {
    std::lock_guard guard(lock_);
    return s_;
}

// The interrupt controllers restore their inputs themselves; the lines' own sources follow here, without edges for them.
Result<void> PcTestDev::apply(const PcTestDevState& state) {
    if (state.memory.size() != kMemorySize) return corrupt("memory of another size");
    {
        std::lock_guard guard(lock_);
        s_ = state;
    }
    for (unsigned i = 0; i < kLines; ++i) lines_[i].set(state.lines[i]);
    return {};
}

}  // namespace tandem::devices

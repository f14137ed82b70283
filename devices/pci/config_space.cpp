#include "devices/pci/config_space.h"

#include <algorithm>

namespace tandem::devices::pci {

void ConfigSpace::define(const ConfigField& field, u16 base) {
    for (unsigned i = 0; i < field.width; ++i) {
        const std::size_t at = static_cast<std::size_t>(base + field.offset) + i;
        if (at >= kSize) return;
        const auto byte = [i](u32 v) { return static_cast<u8>(v >> (8 * i)); };
        value_[at] = reset_[at] = byte(field.reset);
        writable_[at] = byte(field.writable);
        w1c_[at] = byte(field.w1c);
    }
}

u32 ConfigSpace::read(u16 offset, unsigned size) const {
    u32 value = 0;
    for (unsigned i = 0; i < size && offset + i < kSize; ++i) value |= static_cast<u32>(value_[offset + i]) << (8 * i);
    return value;
}

void ConfigSpace::write(u16 offset, u32 value, unsigned size) {
    for (unsigned i = 0; i < size && offset + i < kSize; ++i) {
        const auto in = static_cast<u8>(value >> (8 * i));
        u8& b = value_[offset + i];
        const u8 w = writable_[offset + i];
        b = static_cast<u8>(((b & ~w) | (in & w)) & ~(in & w1c_[offset + i]));
    }
}

void ConfigSpace::set(u16 offset, u32 value, unsigned size) {
    for (unsigned i = 0; i < size && offset + i < kSize; ++i) value_[offset + i] = static_cast<u8>(value >> (8 * i));
}

bool ConfigSpace::matches(std::span<const u8> image) const {
    if (image.size() != kSize) return false;
    const auto same = [&](u16 offset, unsigned size) {
        return std::equal(image.begin() + offset, image.begin() + offset + size, value_.begin() + offset);
    };
    return same(reg::kVendor, 4) && same(reg::kRevision, 4) && same(reg::kSubsystemVendor, 4) && same(reg::kCapabilities, 1);
}

void ConfigSpace::load(std::span<const u8> image) {
    for (std::size_t i = 0; i < kSize; ++i) {
        const auto changeable = static_cast<u8>(writable_[i] | w1c_[i]);
        value_[i] = static_cast<u8>((value_[i] & ~changeable) | (image[i] & changeable));
    }
}

}  // namespace tandem::devices::pci

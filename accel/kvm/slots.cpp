#include "accel/kvm/slots.h"

#include <fmt/format.h>

#include <bit>

namespace tandem::accel::kvm {
namespace {

constexpr u64 kPage = 4096;

// The first call begins the record (api.rst 4.8 KVM_GET_DIRTY_LOG).
Result<void> log_slot(const Fd& vm, kvm_userspace_memory_region& slot, std::vector<u64>& pages) {
    if ((slot.flags & KVM_MEM_READONLY) != 0) return {};
    if ((slot.flags & KVM_MEM_LOG_DIRTY_PAGES) == 0) {
        slot.flags |= KVM_MEM_LOG_DIRTY_PAGES;
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int set, TANDEM_KVM(vm, KVM_SET_USER_MEMORY_REGION, &slot));
        return {};
    }
    std::vector<u64> bits((slot.memory_size / kPage + 63) / 64);
    kvm_dirty_log log{};
    log.slot = slot.slot;
    log.dirty_bitmap = bits.data();
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int got, TANDEM_KVM(vm, KVM_GET_DIRTY_LOG, &log));
    for (std::size_t i = 0; i < bits.size(); ++i) {
        for (u64 word = bits[i]; word != 0; word &= word - 1) {
            const u64 page = i * 64 + static_cast<u64>(std::countr_zero(word));
            pages.push_back(slot.guest_phys_addr + page * kPage);
        }
    }
    return {};
}

}  // namespace

Result<void> Slots::map(const Fd& vm, const devices::GuestMemory& memory) {
    for (const auto& range : memory.ranges()) {
        kvm_userspace_memory_region region{static_cast<u32>(slots_.size()), range.readonly ? u32{KVM_MEM_READONLY} : 0u,
                                           range.gpa, range.size, reinterpret_cast<u64>(range.host)};
        auto set = TANDEM_KVM(vm, KVM_SET_USER_MEMORY_REGION, &region);
        if (!set) return std::move(set).error().context(fmt::format("memory '{}' at {:#x}", range.name, range.gpa));
        slots_.push_back(region);
    }
    return {};
}

u8* Slots::at(u64 address) const {
    for (const kvm_userspace_memory_region& slot : slots_) {
        if (address - slot.guest_phys_addr >= slot.memory_size || (slot.flags & KVM_MEM_READONLY) != 0) continue;
        return reinterpret_cast<u8*>(slot.userspace_addr) + (address - slot.guest_phys_addr);
    }
    return nullptr;
}

Result<void> Slots::take_written(const Fd& vm, std::vector<u64>& pages) {
    for (kvm_userspace_memory_region& slot : slots_) TANDEM_TRY(log_slot(vm, slot, pages));
    return {};
}

}  // namespace tandem::accel::kvm

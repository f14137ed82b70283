#include "accel/kvm/kernel.h"

#include <fmt/format.h>

#include <cstring>
#include <memory>

namespace tandem::accel::kvm {
namespace {

constexpr Needed kNeeded[] = {
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
    {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
    {KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS"},
    {KVM_CAP_XSAVE, "KVM_CAP_XSAVE"},
    {KVM_CAP_XCRS, "KVM_CAP_XCRS"},
    {KVM_CAP_X86_USER_SPACE_MSR, "KVM_CAP_X86_USER_SPACE_MSR"},
    {KVM_CAP_X86_MSR_FILTER, "KVM_CAP_X86_MSR_FILTER"},
    {KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM"},
};

// A list whose length the kernel states when it does not fit. `Header` counts in `member`.
template <class Header, class Item>
Result<std::vector<Item>> fetch_list(const Fd& fd, const char* name, unsigned long request, __u32 Header::* member) {
    for (u32 capacity = 128; capacity <= 65536; capacity *= 2) {
        std::vector<std::max_align_t> raw((sizeof(Header) + capacity * sizeof(Item)) / sizeof(std::max_align_t) + 1);
        auto* header = new (raw.data()) Header{};
        header->*member = capacity;
        if (auto done = fd.call(name, request, header); !done) {
            if (errno == E2BIG) continue;
            return std::move(done).error();
        }
        std::vector<Item> items(header->*member);
        const auto* bytes = reinterpret_cast<const char*>(raw.data()) + sizeof(Header);
        if (!items.empty()) std::memcpy(items.data(), bytes, items.size() * sizeof(Item));
        return items;
    }
    return Error{Errc::Internal, fmt::format("{} never fits", name)};
}

}  // namespace

Result<System> open_system() {
    System s;
    TANDEM_TRY_ASSIGN(s.fd, open_device(kNeeded));
    const auto extension = [&](int capability) { return kvm::extension(s.fd, capability); };
    s.sync_regs = (static_cast<u32>(extension(KVM_CAP_SYNC_REGS)) & KVM_SYNC_X86_REGS) != 0;
    s.sregs2 = extension(KVM_CAP_SREGS2) > 0;
    s.exception_payload = extension(KVM_CAP_EXCEPTION_PAYLOAD) > 0;
    s.tsc_offset = extension(KVM_CAP_VCPU_ATTRIBUTES) > 0;
    s.step_blocks_interrupts = (extension(KVM_CAP_SET_GUEST_DEBUG2) & static_cast<int>(KVM_GUESTDBG_BLOCKIRQ)) != 0 &&
                               extension(KVM_CAP_SET_GUEST_DEBUG2) > 0;
    s.enforces_features = extension(KVM_CAP_ENFORCE_PV_FEATURE_CPUID) > 0;
    s.exits_on_failure = extension(KVM_CAP_EXIT_ON_EMULATION_FAILURE) > 0;
    s.xsave_size = std::max(extension(KVM_CAP_XSAVE2), static_cast<int>(sizeof(kvm_xsave)));
    TANDEM_TRY_ASSIGN(s.vcpu_map_size, TANDEM_KVM(s.fd, KVM_GET_VCPU_MMAP_SIZE));
    TANDEM_TRY_ASSIGN(s.msrs, (fetch_list<kvm_msr_list, u32>(s.fd, "KVM_GET_MSR_INDEX_LIST", KVM_GET_MSR_INDEX_LIST,
                                                             &kvm_msr_list::nmsrs)));
    TANDEM_TRY_ASSIGN(s.cpuid, (fetch_list<kvm_cpuid2, kvm_cpuid_entry2>(s.fd, "KVM_GET_SUPPORTED_CPUID",
                                                                         KVM_GET_SUPPORTED_CPUID, &kvm_cpuid2::nent)));
    TANDEM_TRY(probe(s));
    return s;
}

Result<void> set_cpuid(const Fd& vcpu, std::span<const kvm_cpuid_entry2> entries) {
    std::vector<u64> raw((sizeof(kvm_cpuid2) + entries.size_bytes()) / sizeof(u64) + 1);
    auto* list = new (raw.data()) kvm_cpuid2{};
    list->nent = static_cast<u32>(entries.size());
    std::memcpy(reinterpret_cast<char*>(raw.data()) + sizeof(kvm_cpuid2), entries.data(), entries.size_bytes());
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(vcpu, KVM_SET_CPUID2, list));
    return {};
}

}  // namespace tandem::accel::kvm

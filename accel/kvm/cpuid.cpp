#include "accel/kvm/cpuid.h"

#include <fmt/format.h>

#include <algorithm>

#include "cpu/x86/models/feature_table.h"

namespace tandem::accel::kvm {
namespace {

using cpu::x86::CpuidResult;

// Leaves whose answer is a set of features, which KVM may lack. `ours` are bits that the machine provides whatever KVM says:
// its APIC is a model of ours (x2APIC, TSC deadline), and the rest are no abilities of the processor.
struct FeatureWord {
    u32 leaf, subleaf;
    u32 CpuidResult::* word;
    __u32 kvm_cpuid_entry2::* supported;
    u32 ours;
    const char* name;
};
constexpr u32 kX2apic = 1u << 21, kTscDeadline = 1u << 24, kOsxsave = 1u << 27, kHypervisor = 1u << 31;
constexpr u32 kApic = 1u << 9, kHtt = 1u << 28;
// KVM_FEATURE_PV_UNHALT, PV_SEND_IPI and PV_SCHED_YIELD: KVM answers their hypercalls itself, and reaches no processor
// without local APICs of its own. The rest of the word is the machine's.
constexpr u32 kByKernelApic = 1u << 7 | 1u << 11 | 1u << 13;
constexpr FeatureWord kFeatureWords[] = {
    {1, 0, &CpuidResult::ecx, &kvm_cpuid_entry2::ecx, kX2apic | kTscDeadline | kOsxsave | kHypervisor, "CPUID.1:ECX"},
    {1, 0, &CpuidResult::edx, &kvm_cpuid_entry2::edx, kApic | kHtt, "CPUID.1:EDX"},
    {7, 0, &CpuidResult::ebx, &kvm_cpuid_entry2::ebx, 0, "CPUID.7:EBX"},
    {7, 0, &CpuidResult::ecx, &kvm_cpuid_entry2::ecx, 0, "CPUID.7:ECX"},
    {7, 0, &CpuidResult::edx, &kvm_cpuid_entry2::edx, 0, "CPUID.7:EDX"},
    {7, 1, &CpuidResult::eax, &kvm_cpuid_entry2::eax, 0, "CPUID.7.1:EAX"},
    {7, 2, &CpuidResult::edx, &kvm_cpuid_entry2::edx, 0, "CPUID.7.2:EDX"},
    {0xd, 0, &CpuidResult::eax, &kvm_cpuid_entry2::eax, 0, "CPUID.D:EAX"},
    {0xd, 0, &CpuidResult::edx, &kvm_cpuid_entry2::edx, 0, "CPUID.D:EDX"},
    {0xd, 1, &CpuidResult::eax, &kvm_cpuid_entry2::eax, 0, "CPUID.D.1:EAX"},
    {0x40000001, 0, &CpuidResult::eax, &kvm_cpuid_entry2::eax, ~kByKernelApic, "CPUID.40000001:EAX"},
    {0x80000001, 0, &CpuidResult::ecx, &kvm_cpuid_entry2::ecx, 0, "CPUID.80000001:ECX"},
    {0x80000001, 0, &CpuidResult::edx, &kvm_cpuid_entry2::edx, 0, "CPUID.80000001:EDX"},
    {0x80000008, 0, &CpuidResult::ebx, &kvm_cpuid_entry2::ebx, 0, "CPUID.80000008:EBX"},
    {0x8000000a, 0, &CpuidResult::edx, nullptr, 0, "CPUID.8000000A:EDX"},
};
// A guest hypervisor's state is not exchanged with KVM (decision 0029).
constexpr u32 kSvm = 1u << 2;

const kvm_cpuid_entry2* find(std::span<const kvm_cpuid_entry2> entries, u32 leaf, u32 subleaf) {
    const auto found = std::find_if(entries.begin(), entries.end(), [=](const kvm_cpuid_entry2& e) {
        return e.function == leaf && (e.index == subleaf || (e.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) == 0);
    });
    return found == entries.end() ? nullptr : &*found;
}

// What KVM and the machine together allow in a word. An AMD processor repeats bits of leaf 1 in 80000001H (APM volume 3,
// E.4.2).
u32 allowed(std::span<const kvm_cpuid_entry2> supported, KvmOptions::Irqchip irqchip, const FeatureWord& w) {
    constexpr u32 kRepeated = 0x0183f3ff;
    const kvm_cpuid_entry2* kvm = find(supported, w.leaf, w.subleaf);
    u32 word = (kvm != nullptr && w.supported != nullptr ? kvm->*w.supported : 0) | w.ours;
    if (w.leaf == 0x40000001 && irqchip == KvmOptions::Irqchip::User) word &= ~kByKernelApic;
    if (w.leaf == 0x80000001 && w.word == &CpuidResult::ecx) word &= ~kSvm;
    if (w.leaf == 0x80000001 && w.word == &CpuidResult::edx) {
        if (const kvm_cpuid_entry2* basic = find(supported, 1, 0)) word |= (basic->edx | kApic) & kRepeated;
    }
    return word;
}

class Builder {
public:
    Builder(const cpu::x86::CpuModel& model, std::span<const kvm_cpuid_entry2> supported, KvmOptions::Irqchip irqchip,
            const cpu::x86::CpuModel::Dynamic& dynamic)
        : model_(model), supported_(supported), irqchip_(irqchip), dynamic_(dynamic) {}

    GuestCpuid build() {
        add_range(0);
        add_range(0x40000000);
        add_range(0x80000000);
        return std::move(out_);
    }

private:
    void add_range(u32 first) {
        const u32 last = model_.cpuid(first, 0, dynamic_).eax;
        for (u32 leaf = first; leaf >= first && leaf <= last && leaf - first < 0x100; ++leaf) add_leaf(leaf);
    }

    void add_leaf(u32 leaf) {
        switch (leaf) {
            case 4: return add_subleaves(leaf, 8);
            case 7:
            case 0xb: return add_subleaves(leaf, 3);
            case 0xd: return add_subleaves(leaf, 63);
            default: return add(leaf, 0, 0);
        }
    }

    void add_subleaves(u32 leaf, u32 count) {
        for (u32 i = 0; i < count; ++i) add(leaf, i, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
    }

    void add(u32 leaf, u32 subleaf, u32 flags) {
        CpuidResult r = model_.cpuid(leaf, subleaf, dynamic_);
        for (const FeatureWord& w : kFeatureWords) {
            if (w.leaf == leaf && w.subleaf == subleaf) restrict(w, r);
        }
        // KVM fills in sizes of its own wherever there is such a leaf.
        if (leaf == 0xd && !model_.has(cpu::x86::Feature::XSAVE)) return;
        const bool component = leaf == 0xd && subleaf >= 2;
        if (component && find(supported_, leaf, subleaf) == nullptr) return;
        kvm_cpuid_entry2 e{};
        e.function = leaf;
        e.index = subleaf;
        e.flags = flags;
        e.eax = r.eax;
        e.ebx = r.ebx;
        e.ecx = r.ecx;
        e.edx = r.edx;
        out_.entries.push_back(e);
    }

    void restrict(const FeatureWord& w, CpuidResult& r) {
        const u32 mask = allowed(supported_, irqchip_, w);
        for (u32 bit = 0; bit < 32; ++bit) {
            if (((r.*w.word & ~mask) >> bit & 1) != 0) out_.left_out.push_back(fmt::format("{}[{}]", w.name, bit));
        }
        r.*w.word &= mask;
    }

    const cpu::x86::CpuModel& model_;
    std::span<const kvm_cpuid_entry2> supported_;
    const KvmOptions::Irqchip irqchip_;
    const cpu::x86::CpuModel::Dynamic& dynamic_;
    GuestCpuid out_;
};

}  // namespace

cpu::x86::CpuModel narrow(const cpu::x86::CpuModel& model, std::span<const kvm_cpuid_entry2> supported,
                          KvmOptions::Irqchip irqchip) {
    std::vector<cpu::x86::Feature> lacking;
    for (const cpu::x86::FeatureRow& row : cpu::x86::feature_table()) {
        const auto word = std::ranges::find_if(kFeatureWords, [&](const FeatureWord& w) {
            return w.leaf == row.leaf && w.subleaf == row.subleaf && w.word == row.reg;
        });
        if (word == std::end(kFeatureWords) || !model.has(row.id)) continue;
        if ((allowed(supported, irqchip, *word) >> row.bit & 1) == 0) lacking.push_back(row.id);
    }
    unsigned physical_bits = model.physical_bits();
    if (const kvm_cpuid_entry2* sizes = find(supported, 0x80000008, 0)) {
        physical_bits = std::min(physical_bits, sizes->eax & 0xff);
    }
    return model.without(lacking, physical_bits);
}

GuestCpuid guest_cpuid(const cpu::x86::CpuModel& model, std::span<const kvm_cpuid_entry2> supported,
                       KvmOptions::Irqchip irqchip, const cpu::x86::CpuModel::Dynamic& dynamic) {
    return Builder(model, supported, irqchip, dynamic).build();
}

}  // namespace tandem::accel::kvm

// One processor on every engine: what CPUID answers, and what happens where an engine cannot provide it.
#include <algorithm>
#include <catch2/catch.hpp>

#include "accel/switch/switch_accelerator.h"
#include "tests/conformance/bench.h"

using namespace tandem;
using namespace tandem::tests;
using cpu::x86::CpuidResult;

namespace {

struct Asked {
    u32 leaf, subleaf;
};
constexpr Asked kAsked[] = {
    {0, 0},          {1, 0},          {2, 0},          {4, 0},          {4, 3},          {4, 9},          {5, 0},
    {6, 0},          {7, 0},          {7, 1},          {7, 2},          {7, 3},          {0xa, 0},        {0xb, 0},
    {0xb, 1},        {0xb, 2},        {0xb, 7},        {0xd, 0},        {0xd, 1},        {0xd, 2},        {0xd, 9},
    {0xd, 11},       {0x14, 0},       {0x15, 0},       {0x16, 0},       {0x17, 0},       {0x40000000, 0}, {0x40000001, 0},
    {0x40000002, 0}, {0x40000100, 0}, {0x80000000, 0}, {0x80000001, 0}, {0x80000002, 0}, {0x80000004, 0}, {0x80000006, 0},
    {0x80000007, 0}, {0x80000008, 0}, {0x80000009, 0}, {0xc0000000, 0}, {0xffffffff, 0},
};

Result<cpu::x86::CpuModel> model_of(const char* name) {
    TANDEM_TRY_ASSIGN(const auto model, cpu::x86::CpuModel::create(name));
    return accel::narrow_to_kvm(model);
}

std::vector<CpuidResult> answers(Result<std::unique_ptr<accel::Accelerator>> engine) {
    Bench b(std::move(engine), {0x0f, 0xa2, 0xf4});  // cpuid; hlt
    const auto start = b.state();
    std::vector<CpuidResult> all;
    for (const Asked& a : kAsked) {
        auto s = start;
        s.gpr[cpu::x86::RAX] = a.leaf;
        s.gpr[cpu::x86::RCX] = a.subleaf;
        REQUIRE(b.vcpu->import_state(s).ok());
        REQUIRE(std::holds_alternative<accel::HaltExit>(b.vcpu->run()));
        s = b.state();
        const auto word = [&](cpu::x86::Gpr r) { return static_cast<u32>(s.gpr[r]); };
        all.push_back({word(cpu::x86::RAX), word(cpu::x86::RBX), word(cpu::x86::RCX), word(cpu::x86::RDX)});
    }
    return all;
}

bool same(const CpuidResult& a, const CpuidResult& b) {
    return a.eax == b.eax && a.ebx == b.ebx && a.ecx == b.ecx && a.edx == b.edx;
}

// Features that the host's processor has and that KVM cannot hide without hardware for it (docs/differences.md): leaves
// whose words are features.
bool lists_features(u32 leaf) { return leaf == 1 || leaf == 7 || leaf == 0xd; }
bool hides_features() {
    const auto model = model_of("qemu64");
    const auto bare = answers(accel::create_kvm_accelerator(*model));
    const auto leaf7 = std::ranges::find(kAsked, 7u, &Asked::leaf) - std::begin(kAsked);
    return same(bare[static_cast<std::size_t>(leaf7)], {});
}

}  // namespace

TEST_CASE("CPUID answers the same on the translator and on KVM", "[H1][R5]") {
    const char* name = GENERATE("max", "qemu64", "Haswell", "EPYC");
    const auto model = model_of(name);
    if (!model) return;  // said by engines()
    static const bool hides = [] {
        const bool does = hides_features();
        if (!does)
            std::printf("skipped: CPUID leaves 1, 7 and DH on KVM: this host's cannot hide its processor's features\n");
        return does;
    }();
    const auto jit = answers(accel::create_jit_accelerator(*model, {}));
    const auto kvm = answers(accel::create_kvm_accelerator(*model));
    for (std::size_t i = 0; i < std::size(kAsked); ++i) {
        CAPTURE(name, kAsked[i].leaf, kAsked[i].subleaf);
        if (!hides && lists_features(kAsked[i].leaf)) continue;
        CHECK(jit[i].eax == kvm[i].eax);
        CHECK(jit[i].ebx == kvm[i].ebx);
        CHECK(jit[i].ecx == kvm[i].ecx);
        CHECK(jit[i].edx == kvm[i].edx);
    }
}

TEST_CASE("no feature vanishes under a running guest", "[R3][R4]") {
    const auto full = cpu::x86::CpuModel::create("max");
    const auto narrowed = model_of("max");
    if (!narrowed) return;
    const auto lacking = full->beyond(*narrowed);
    CHECK(narrowed->beyond(*full).empty());
    CHECK(accel::create_kvm_accelerator(*narrowed).ok());
    if (lacking.empty()) {
        std::printf("skipped: refusal of features: this host's KVM lacks none\n");
        return;
    }
    Bench b(accel::create_switch_accelerator({{"jit", [&] { return accel::create_jit_accelerator(*full, {}); }},
                                              {"kvm", [&] { return accel::create_kvm_accelerator(*full); }}},
                                             {}),
            {0xf4});
    const auto changed = b.accelerator->change_engine("kvm");
    REQUIRE_FALSE(changed.ok());
    CHECK(changed.error().code == Errc::Unsupported);
    for (const auto& feature : lacking) CHECK(changed.error().message.find(feature) != std::string::npos);
    CHECK(std::holds_alternative<accel::HaltExit>(b.vcpu->run()));
}

// KVM may list a feature and then refuse the bit of CR4 that switches it on: a machine that uses it could not move to it.
TEST_CASE("what CPUID offers on KVM can be switched on", "[R3]") {
    using cpu::x86::Feature;
    const auto narrowed = model_of("max");
    if (!narrowed) return;
    constexpr std::pair<Feature, unsigned> kSwitches[] = {{Feature::UMIP, 11},  {Feature::LA57, 12}, {Feature::FSGSBASE, 16},
                                                          {Feature::XSAVE, 18}, {Feature::SMEP, 20}, {Feature::SMAP, 21},
                                                          {Feature::PKU, 22}};
    Bench b(accel::create_kvm_accelerator(*narrowed), {0xf4});
    for (const auto& [feature, bit] : kSwitches) {
        if (!narrowed->has(feature)) continue;
        auto s = b.state();
        s.cr4 |= u64{1} << bit;
        CAPTURE(bit);
        CHECK(b.vcpu->import_state(s).ok());
    }
}

// CPU models and CPUID (SDM volume 2 "CPUID"; contracts H1, X3).
#include <catch2/catch.hpp>

#include "cpu/x86/model.h"

using namespace tandem;
using namespace tandem::cpu::x86;

namespace {

CpuModel make(std::string_view spec) {
    auto model = CpuModel::create(spec);
    INFO((model.ok() ? "" : model.error().message));
    REQUIRE(model.ok());
    return *std::move(model);
}

std::string text(std::initializer_list<u32> words) {
    std::string s;
    for (const u32 word : words) {
        for (unsigned i = 0; i < 4; ++i) s += static_cast<char>(word >> (8 * i));
    }
    return s;
}

}  // namespace

TEST_CASE("every listed model can be made", "[system][model]") {
    for (const char* name :
         {"qemu64", "x86-64-v1", "x86-64-v2", "x86-64-v3", "Nehalem", "Westmere", "Haswell", "EPYC", "max"})
        CHECK(make(name).name() == name);
    for (const char* name : {"x86-64-v3", "Haswell", "EPYC", "max"}) {
        for (const Feature f : {Feature::AVX, Feature::AVX2, Feature::FMA, Feature::F16C, Feature::BMI1, Feature::BMI2,
                                Feature::ABM, Feature::MOVBE, Feature::XSAVE})
            CHECK(make(name).has(f));
        CHECK_FALSE(make(name).has(Feature::AVX512F));
    }
    CHECK(CpuModel::help().find("Westmere") != std::string::npos);
}

TEST_CASE("what needs a feature goes with it", "[system][model]") {
    const CpuModel no_avx = make("max,-avx");
    for (const Feature f : {Feature::AVX, Feature::AVX2, Feature::FMA, Feature::F16C, Feature::VAES, Feature::VPCLMULQDQ})
        CHECK_FALSE(no_avx.has(f));
    CHECK(no_avx.has(Feature::BMI2));
    CHECK(no_avx.has(Feature::XSAVE));
    CHECK(no_avx.cpuid(0xd, 0, {}).eax == 0x203);  // x87, SSE, PKRU
    const CpuModel no_xsave = make("Haswell,-xsave");
    for (const Feature f : {Feature::XSAVEOPT, Feature::AVX, Feature::AVX2, Feature::FMA}) CHECK_FALSE(no_xsave.has(f));
    CHECK_FALSE(make("max,-aes").has(Feature::VAES));
    CHECK(make("max,-aes").has(Feature::AVX2));
    for (const char* spec : {"qemu64,+avx2", "max,-avx,+fma", "qemu64,avx=on"}) {
        const auto model = CpuModel::create(spec);
        REQUIRE_FALSE(model.ok());
        CHECK(model.error().message.find("needs") != std::string::npos);
    }
    CHECK(make("qemu64,+xsave,+avx,+avx2").has(Feature::AVX2));
}

TEST_CASE("features on and off, by any spelling", "[system][model]") {
    CHECK(make("qemu64,+sse4.1").has(Feature::SSE4_1));
    CHECK(make("qemu64,sse4_1=on").has(Feature::SSE4_1));
    CHECK(make("qemu64,sse4-1").has(Feature::SSE4_1));
    CHECK_FALSE(make("max,-smap").has(Feature::SMAP));
    CHECK_FALSE(make("max,smap=off").has(Feature::SMAP));
    CHECK(make("max,phys-bits=36").physical_bits() == 36);
    struct Row {
        const char* spec;
        Errc code;
        const char* names;
    };
    for (const Row& row :
         {Row{"quantum", Errc::NotFound, "quantum"}, Row{"max,+flux", Errc::NotFound, "flux"},
          Row{"max,+vmx", Errc::Unsupported, "vmx"}, Row{"max,smap=maybe", Errc::InvalidArgument, "smap=maybe"},
          Row{"max,phys-bits=99", Errc::InvalidArgument, "99"}, Row{"", Errc::NotFound, "max"},
          Row{"max,vendor=Intel", Errc::InvalidArgument, "12 ASCII"},
          Row{"max,stepping=16", Errc::InvalidArgument, "0 to 15"}, Row{"max,family=271", Errc::InvalidArgument, "270"},
          Row{"max,model=", Errc::InvalidArgument, "model ''"}, Row{"max,+vendor", Errc::NotFound, "vendor"}}) {
        const auto model = CpuModel::create(row.spec);
        REQUIRE_FALSE(model.ok());
        CHECK(model.error().code == row.code);
        CHECK(model.error().message.find(row.names) != std::string::npos);
    }
}

TEST_CASE("who the processor says it is", "[system][model]") {
    const CpuModel::Dynamic d;
    const CpuModel model = make("max,vendor=AuthenticAMD,family=23,model=0x31,stepping=2,model-id=Some Processor");
    CHECK(model.amd());
    CHECK(model.signature() == 0x00830f12);
    CHECK(model.cpuid(1, 0, d).eax == 0x00830f12);
    const CpuidResult zero = model.cpuid(0, 0, d);
    CHECK(text({zero.ebx, zero.edx, zero.ecx}) == "AuthenticAMD");
    const CpuidResult brand = model.cpuid(0x80000002, 0, d);
    CHECK(text({brand.eax, brand.ebx, brand.ecx, brand.edx}).starts_with("Some Processor"));
    CHECK(make("EPYC,family=6,model=42,stepping=1").signature() == 0x000206a1);
    CHECK(make("max,family=270").signature() >> 20 == 255);
    CHECK_FALSE(make("EPYC,vendor=GenuineIntel").amd());
    CHECK(make("sandybridge").signature() == 0x000206a1);
}

TEST_CASE("host is no more than the host and no more than the ceiling", "[system][model]") {
    const auto model = CpuModel::create("host");
#if defined(__x86_64__)
    REQUIRE(model.ok());
    CHECK(model->has(Feature::SSE2));
    CHECK_FALSE(model->has(Feature::VMX));
    if (!__builtin_cpu_supports("bmi2")) CHECK_FALSE(model->has(Feature::BMI2));
#else
    CHECK(model.error().code == Errc::Unsupported);
#endif
}

TEST_CASE("identification leaves", "[system][model]") {
    const CpuModel model = make("Westmere");
    const CpuModel::Dynamic d;
    const CpuidResult zero = model.cpuid(0, 0, d);
    CHECK(text({zero.ebx, zero.edx, zero.ecx}) == "GenuineIntel");
    CHECK(zero.eax >= 0xd);
    CHECK(model.cpuid(1, 0, d).eax == 0x206c1);
    std::string brand;
    for (u32 leaf = 0x80000002; leaf <= 0x80000004; ++leaf) {
        const CpuidResult r = model.cpuid(leaf, 0, d);
        brand += text({r.eax, r.ebx, r.ecx, r.edx});
    }
    CHECK(brand.substr(0, 8) == "Westmere");
    CHECK(brand.size() == 48);
    CHECK(model.cpuid(0x80000008, 0, d).eax == (40 | 48 << 8));
    CHECK(model.cpuid(0x80000000, 0, d).eax == 0x80000008);
}

TEST_CASE("only leaves that have subleaves look at ECX", "[system][model]") {
    const CpuModel model = make("max");
    for (const u32 leaf : {0u, 1u, 0x40000001u, 0x80000001u, 0x80000008u}) {
        CHECK(model.cpuid(leaf, 0x12345, {}).edx == model.cpuid(leaf, 0, {}).edx);
        CHECK(model.cpuid(leaf, 0x12345, {}).ebx == model.cpuid(leaf, 0, {}).ebx);
    }
    CHECK(model.cpuid(7, 1, {}).ebx != model.cpuid(7, 0, {}).ebx);
}

TEST_CASE("what depends on the processor's state", "[system][model]") {
    const CpuModel model = make("max");
    CpuModel::Dynamic d;
    CHECK((model.cpuid(1, 0, d).ecx >> 27 & 1) == 0);
    d.cr4 = 1 << 18;
    CHECK((model.cpuid(1, 0, d).ecx >> 27 & 1) == 1);
    CHECK((model.cpuid(1, 0, d).edx >> 9 & 1) == 1);
    d.apic_enabled = false;
    CHECK((model.cpuid(1, 0, d).edx >> 9 & 1) == 0);
    CHECK((model.cpuid(1, 0, d).edx >> 28 & 1) == 0);
    d.apic_id = 5;
    d.cpu_count = 6;
    CHECK((model.cpuid(1, 0, d).edx >> 28 & 1) == 1);
    CHECK(model.cpuid(1, 0, d).ebx == (5u << 24 | 8u << 16 | 8u << 8));
    const CpuidResult core = model.cpuid(0xb, 1, d);
    CHECK(core.eax == 3);
    CHECK(core.ebx == 6);
    CHECK(core.ecx == 0x201);
    CHECK(core.edx == 5);
    CHECK(model.cpuid(0xb, 2, d).ecx == 2);
    CHECK((model.cpuid(4, 3, d).eax >> 14 & 0xfff) == 7);
    CHECK((model.cpuid(4, 4, d).eax & 0x1f) == 0);
    d.tsc_khz = 2500000;
    CHECK(model.cpuid(0x16, 0, d).eax == 2500);
}

TEST_CASE("processors in sockets of cores of threads", "[system][model]") {
    CpuModel model = make("max");
    model.set_topology({2, 3, 2});
    const Topology topology = model.topology(12);
    CHECK(topology.apic_id(5) == 0b0101);
    CHECK(topology.apic_id(6) == 0b1000);
    CHECK(topology.apic_id(11) == 0b1101);
    CpuModel::Dynamic d;
    d.cpu_count = 12;
    d.apic_id = topology.apic_id(11);
    CHECK(model.cpuid(1, 0, d).ebx >> 16 == (0b1101u << 8 | 8));
    const CpuidResult smt = model.cpuid(0xb, 0, d), core = model.cpuid(0xb, 1, d);
    CHECK((smt.eax == 1 && smt.ebx == 2 && smt.ecx == 0x100 && smt.edx == 0b1101));
    CHECK((core.eax == 3 && core.ebx == 6 && core.ecx == 0x201 && core.edx == 0b1101));
    const u32 first = model.cpuid(4, 0, d).eax, last = model.cpuid(4, 3, d).eax;
    CHECK((first >> 14 & 0xfff) == 1);
    CHECK((last >> 14 & 0xfff) == 7);
    CHECK(first >> 26 == 3);
    // Another number of processors than the topology is for.
    d.cpu_count = 240;
    CHECK(model.cpuid(0xb, 1, d).ebx == 240);
    CHECK((model.cpuid(1, 0, d).ebx >> 16 & 0xff) == 255);
    // Sockets of one processor have no HTT.
    model.set_topology({2, 1, 1});
    d.cpu_count = 2;
    CHECK((model.cpuid(1, 0, d).edx >> 28 & 1) == 0);
}

TEST_CASE("XSAVE sizes", "[system][model]") {
    const CpuModel model = make("max,-pku");
    CpuModel::Dynamic d;
    d.xcr0 = 3;
    const CpuidResult main = model.cpuid(0xd, 0, d);
    CHECK(main.eax == 7);
    CHECK(main.ebx == 576);
    CHECK(main.ecx == 832);
    d.xcr0 = 7;
    CHECK(model.cpuid(0xd, 0, d).ebx == 832);
    CHECK((model.cpuid(0xd, 1, d).eax & 0x1f) == 0xf);
    CHECK(model.cpuid(0xd, 1, d).ebx == 832);
    CHECK(model.cpuid(0xd, 1, d).ecx == 0);
    const CpuidResult avx = model.cpuid(0xd, 2, d);
    CHECK(avx.eax == 256);
    CHECK(avx.ebx == 576);
    CHECK(avx.ecx == 0);
    CHECK(model.cpuid(0xd, 3, d).eax == 0);
    CHECK(make("max,-avx").cpuid(0xd, 2, d).eax == 0);
    CHECK(make("max").cpuid(0xd, 9, d).ebx == 2688);  // PKRU
    CHECK((make("max").cpuid(0xd, 0, d).eax & 0x200) != 0);
    CHECK(make("qemu64").cpuid(0xd, 0, d).eax == 0);
}

TEST_CASE("feature bits stand where the manual puts them", "[system][model][X3]") {
    const CpuModel::Dynamic d;
    CHECK((make("max").cpuid(7, 0, d).ebx >> 20 & 1) == 1);  // SMAP
    CHECK((make("max,-smap").cpuid(7, 0, d).ebx >> 20 & 1) == 0);
    CHECK((make("max").cpuid(0x80000001, 0, d).edx >> 26 & 1) == 1);  // 1 GiB pages
    CHECK((make("qemu64").cpuid(0x80000001, 0, d).edx >> 26 & 1) == 0);
    const CpuidResult one = make("max").cpuid(1, 0, d);
    CHECK((one.ecx >> 5 & 1) == 0);   // VMX
    CHECK((one.ecx >> 3 & 1) == 0);   // MONITOR
    CHECK((one.ecx >> 31 & 1) == 1);  // hypervisor
    CHECK((one.edx >> 1 & 1) == 1);   // VME
}

TEST_CASE("the KVM leaves are always there", "[system][model][H1]") {
    for (const char* name : {"max", "qemu64,-hypervisor"}) {
        const CpuidResult r = make(name).cpuid(0x40000000, 0, {});
        CHECK(r.eax == 0x40000001);
        CHECK(text({r.ebx, r.ecx, r.edx}) == std::string("KVMKVMKVM\0\0\0", 12));
    }
    CHECK(make("max").cpuid(0x40000001, 0, {}).eax == (1u << 0 | 1u << 1 | 1u << 3 | 1u << 6 | 1u << 24));
    CHECK(make("max,-kvmclock").cpuid(0x40000001, 0, {}).eax == (1u << 0 | 1u << 1 | 1u << 6 | 1u << 24));
}

TEST_CASE("leaves beyond the highest answer as the vendor does", "[system][model]") {
    CpuModel::Dynamic d;
    d.tsc_khz = 1000000;
    CHECK(make("max").cpuid(0x1234, 0, d).eax == make("max").cpuid(0x16, 0, d).eax);
    const CpuModel amd = make("EPYC");
    CHECK(amd.amd());
    CHECK(amd.cpuid(0x1234, 0, d).eax == 0);
    CHECK((amd.cpuid(0x80000001, 0, d).edx & 1) == 1);  // FPU repeated
}

TEST_CASE("CPUID leaves without subleaves ignore ECX") {
    const auto model = CpuModel::create("max");
    REQUIRE(model.ok());
    for (const u32 leaf : {1u, 0x40000001u, 0x80000001u, 0x80000007u}) {
        const CpuidResult zero = model->cpuid(leaf, 0, {}), other = model->cpuid(leaf, 0xc0000101, {});
        CHECK(zero.edx == other.edx);
        CHECK(zero.eax == other.eax);
    }
    CHECK((model->cpuid(0x80000001, 7, {}).edx & 1u << 20) != 0);
}

// A vCPU's registers by number, the same on every engine (contracts R1 to R3).
#include <cstring>

#include "accel/jit/arm64_jit.h"
#include "accel/state_registers.h"
#include "tests/conformance/subjects.h"

using namespace tandem;
using namespace tandem::tests;
using accel::StateRegisters;
using Phase = StateRegisters::Phase;

namespace {

u64 get(StateRegisters& registers, std::string_view name) {
    INFO(name);
    const auto row = registers.find(name);
    REQUIRE(row.ok());
    std::vector<u8> bytes(row->size);
    const auto got = registers.read(row->id, bytes);
    INFO((got ? "" : got.error().message));
    REQUIRE(got.ok());
    u64 value = 0;
    std::memcpy(&value, bytes.data(), std::min<std::size_t>(sizeof value, bytes.size()));
    return value;
}

Result<void> set(StateRegisters& registers, std::string_view name, u64 value) {
    const auto row = registers.find(name);
    REQUIRE(row.ok());
    std::vector<u8> bytes(row->size);
    std::memcpy(bytes.data(), &value, std::min<std::size_t>(sizeof value, bytes.size()));
    return registers.write(row->id, bytes);
}

void must_set(StateRegisters& registers, std::string_view name, u64 value) {
    const auto done = set(registers, name, value);
    INFO(name << ": " << (done ? "" : done.error().message));
    CHECK(done.ok());
    CHECK(get(registers, name) == value);
}

// Of devices, which these tests' machine has none of.
bool of_devices(std::string_view name) { return name.starts_with("KVM_") || name == "TSC_DEADLINE"; }

}  // namespace

TEST_CASE("what is written to a register by number, guest code finds, and the other way round", "[R1]") {
    for (const Subject& subject : subjects()) {
        INFO(subject.name);
        // mov eax, ebx; add eax, ecx; mov ds, dx; in al, 10h; jmp .
        Bench b(subject.create(), {0x66, 0x89, 0xd8, 0x66, 0x01, 0xc8, 0x8e, 0xda, 0xe4, 0x10, 0xeb, 0xfe});
        const cpu::ArchModel m = model();
        StateRegisters registers(*b.vcpu, b.handler, m, Phase::BeforeFirstRun);
        must_set(registers, "rbx", 0x1234'5600);
        must_set(registers, "RCX", 0x78);
        must_set(registers, "RDX", 0x4321);
        must_set(registers, "R9", 0x8765'4321'0fed'cba9);
        must_set(registers, "RFLAGS", 0x8d7);
        must_set(registers, "DR0", 0x1000'2000);
        must_set(registers, "STAR", 0x0013'0008'1234'5678);
        must_set(registers, "LSTAR", 0xffff'8000'0000'1000);
        must_set(registers, "SYSENTER_EIP", 0x8000'1234);
        must_set(registers, "XMM3", 0x1122'3344'5566'7788);
        must_set(registers, "FCW", 0x27f);
        must_set(registers, "GS.LIMIT", 0x7fff);
        must_set(registers, "GDTR_LIMIT", 0x27);
        must_set(registers, "CR2", 0xabc000);
        b.handler.on_port = [&](accel::Vcpu& vcpu) { vcpu.request_exit(); };
        CHECK(std::holds_alternative<accel::RequestedExit>(accel::run_until_event(*b.vcpu, b.handler)));
        StateRegisters later(*b.vcpu, b.handler, m, Phase::Later);
        CHECK((get(later, "RAX") & 0xffffff00) == 0x12345600);
        CHECK((get(later, "RAX") & 0xff) == 0x5a);  // of the port
        CHECK(get(later, "DS") == 0x4321);
        CHECK(get(later, "DS.BASE") == 0x43210);
        CHECK(get(later, "RIP") == kCode + 10);
        CHECK(get(later, "R9") == 0x8765'4321'0fed'cba9);
        CHECK(get(later, "LSTAR") == 0xffff'8000'0000'1000);
        CHECK(get(later, "XMM3") == 0x1122'3344'5566'7788);
        CHECK(get(later, "FCW") == 0x27f);
    }
}

TEST_CASE("every register reads on every engine and takes its own value", "[R1][R2]") {
    const cpu::ArchModel m = model();
    for (const Subject& subject : subjects()) {
        INFO(subject.name);
        Bench b(subject.create(), {0xeb, 0xfe});
        StateRegisters registers(*b.vcpu, b.handler, m, Phase::BeforeFirstRun);
        const auto rows = registers.list();
        CHECK(rows.size() > 150);
        for (const auto& row : rows) {
            if (of_devices(row.name)) continue;
            INFO(row.name);
            std::vector<u8> value(row.size);
            CHECK(registers.read(row.id, value).ok());
            const auto written = registers.write(row.id, value);
            INFO((written ? "" : written.error().message));
            CHECK(written.ok());
        }
    }
}

TEST_CASE("a register that cannot have a value leaves the machine as it is", "[R1][R2][R3]") {
    const cpu::ArchModel m = model();
    for (const Subject& subject : subjects()) {
        INFO(subject.name);
        Bench b(subject.create(), {0xeb, 0xfe});
        const cpu::x86::State before = b.state();
        StateRegisters early(*b.vcpu, b.handler, m, Phase::BeforeFirstRun);
        StateRegisters late(*b.vcpu, b.handler, m, Phase::Later);
        const auto invariant = set(early, "MTRRCAP", 0x123);
        REQUIRE(!invariant.ok());
        CHECK(invariant.error().code == Errc::Invariant);
        CHECK(
            invariant.error().message ==
            "MTRRCAP stays 0x508: 0x123 is another processor's (-cpu chooses it, with what the engine can do as the limit)");
        const auto afterwards = set(late, "MTRRCAP", 0x123);
        REQUIRE(!afterwards.ok());
        CHECK(afterwards.error().code == Errc::Invariant);
        CHECK(afterwards.error().message.find("after the first run nothing changes it") != std::string::npos);
        CHECK(set(late, "MTRRCAP", 0x508).ok());
        CHECK(set(early, "CR4", u64{1} << 40).error().code == Errc::InvalidArgument);
        CHECK(set(early, "RFLAGS", 0).error().code == Errc::InvalidArgument);
        CHECK(early.find("ZMM5").error().code == Errc::Unsupported);
        CHECK(early.find("XYZ").error().code == Errc::NotFound);
        u8 small[2] = {};
        const auto rax = early.find("RAX");
        REQUIRE(rax.ok());
        CHECK(early.read(rax->id, small).error().code == Errc::InvalidArgument);
        CHECK(early.read(rax->id + 0x5000, small).error().code == Errc::NotFound);
        // Nobody has the paravirtual clock here.
        const auto clock = early.find("KVM_SYSTEM_TIME_NEW");
        if (clock.ok()) CHECK(set(early, "KVM_SYSTEM_TIME_NEW", 1).error().code == Errc::Unsupported);
        CHECK(b.state() == before);
    }
}

TEST_CASE("the counter by number is the guest's", "[R1]") {
    const cpu::ArchModel m = model();
    // rdtsc; jmp .
    Bench b(create_engine(Engine::Baseline), {0x0f, 0x31, 0xeb, 0xfe});
    b.handler.clock = [] { return u64{1000}; };
    StateRegisters registers(*b.vcpu, b.handler, m, Phase::BeforeFirstRun);
    must_set(registers, "TSC", 77'000);
    CHECK(b.handler.tsc_offset == 76'000);
    b.vcpu->step();
    CHECK(get(registers, "RAX") == 77'000);
    must_set(registers, "TSC_ADJUST", 0);
    CHECK(get(registers, "TSC") == 1000);
}

namespace {

class Arm64Handler final : public accel::ExitHandler, devices::CpuInterruptController {
public:
    void handle(accel::Vcpu&, accel::Exit&) override {}
    devices::CpuInterruptController& interrupt_controller(unsigned) override { return *this; }
    u64 tsc(unsigned) override { return 123'456; }
    u64 tsc_hz() override { return 62'500'000; }
    [[nodiscard]] bool interrupt_pending() const override { return false; }
    int acknowledge() override { return -1; }
    [[nodiscard]] u8 cr8() const override { return 0; }
    void set_cr8(u8) override {}
};

}  // namespace

TEST_CASE("AArch64: a field that -cpu lowers is what the guest reads, and what it can execute", "[R3]") {
    const std::pair<const char*, bool> models[] = {
        {"max", true}, {"max,id_aa64isar0_el1.aes=1", false}, {"max,-pmull", false}};
    for (const auto& [spec, whole] : models) {
        INFO(spec);
        const auto processor = cpu::arm64::CpuModel::create(spec);
        REQUIRE(processor.ok());
        const cpu::ArchModel m = *processor;
        Arm64Handler handler;
        devices::GuestMemory memory;
        REQUIRE(memory.add("ram", 0, 1 << 20).ok());
        // mrs x0, id_aa64isar0_el1; aese v0.16b, v1.16b; pmull v0.1q, v1.1d, v2.1d
        const u32 code[] = {0xd5380600, 0x4e284820, 0x0ee2e020};
        REQUIRE(memory.write(kCode, code, sizeof code));
        auto engine = accel::create_jit_accelerator(*processor, {});
        REQUIRE(engine.ok());
        REQUIRE((*engine)->map_memory(memory).ok());
        auto vcpu = (*engine)->create_vcpu(0, handler);
        REQUIRE(vcpu.ok());
        StateRegisters registers(**vcpu, handler, m, Phase::BeforeFirstRun);
        must_set(registers, "PC", kCode);
        must_set(registers, "CPACR_EL1", 0x300000);
        must_set(registers, "VBAR_EL1", 0x8000);
        for (int i = 0; i < 3; ++i) (*vcpu)->step();
        CHECK((get(registers, "X0") >> 4 & 15) == (whole ? 2 : 1));
        CHECK(get(registers, "ID_AA64ISAR0_EL1") == get(registers, "X0"));
        CHECK(get(registers, "PC") == (whole ? kCode + 12 : 0x8200));
        // By number it stays.
        const auto more = set(registers, "ID_AA64ISAR0_EL1", get(registers, "X0") ^ 0x30);
        REQUIRE(!more.ok());
        CHECK(more.error().code == Errc::Invariant);
    }
}

TEST_CASE("AArch64: what MRS reads is what the register's number has", "[R1][R2]") {
    auto processor = cpu::arm64::CpuModel::named("max");
    REQUIRE(processor.ok());
    processor->set_el2(true);
    const cpu::ArchModel m = *processor;
    Arm64Handler handler;
    devices::GuestMemory memory;
    REQUIRE(memory.add("ram", 0, 1 << 20).ok());
    auto engine = accel::create_jit_accelerator(*processor, {});
    REQUIRE(engine.ok());
    REQUIRE((*engine)->map_memory(memory).ok());
    auto vcpu = (*engine)->create_vcpu(0, handler);
    REQUIRE(vcpu.ok());
    StateRegisters registers(**vcpu, handler, m, Phase::BeforeFirstRun);

    // mrs x0, REGISTER for each, one behind the other.
    std::vector<cpu::RegisterRow> rows;
    for (const auto& row : registers.list()) {
        if (row.kind != cpu::RegisterClass::System) continue;
        const u32 instruction = 0xd5200000 | static_cast<u32>(row.id & 0xffff) << 5;
        REQUIRE(memory.write(kCode + 4 * rows.size(), &instruction, sizeof instruction));
        rows.push_back(row);
    }
    CHECK(rows.size() > 150);
    must_set(registers, "TPIDR_EL1", 0x1234'5678'9abc'def0);
    must_set(registers, "CONTEXTIDR_EL1", 0x55aa);
    must_set(registers, "DBGBVR3_EL1", 0x8000);
    must_set(registers, "PMEVTYPER2_EL0", 0x11);
    must_set(registers, "PMCNTENSET_EL0", 0x7);
    must_set(registers, "CSSELR_EL1", 1);
    must_set(registers, "CNTP_CVAL_EL0", 200'000);
    must_set(registers, "FPCR", 0x400000);
    std::vector<std::string> elsewhere;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        INFO(rows[i].name);
        must_set(registers, "PC", kCode + 4 * i);
        must_set(registers, "PSTATE", 0x600003c9);  // EL2h
        const u64 expected = get(registers, rows[i].name);
        (*vcpu)->step();
        if (get(registers, "PC") != kCode + 4 * (i + 1)) {
            elsewhere.emplace_back(rows[i].name);
            continue;
        }
        CHECK(get(registers, "X0") == expected);
    }
    // UNDEFINED where it is not the highest level's.
    CHECK(elsewhere == std::vector<std::string>{"RVBAR_EL1"});

    const auto midr = set(registers, "MIDR_EL1", 1);
    REQUIRE(!midr.ok());
    CHECK(midr.error().code == Errc::Invariant);
    CHECK(set(registers, "MIDR_EL1", get(registers, "MIDR_EL1")).ok());
}

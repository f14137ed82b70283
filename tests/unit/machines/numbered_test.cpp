// Registers by number: rows, their errors (contracts R1 and R2), and that the list of MSRs that are saved is the machine's
// (contract R5).
#include <catch2/catch.hpp>
#include <cstring>
#include <map>
#include <set>

#include "accel/jit/x86_jit.h"
#include "cpu/arm64/system/numbered.h"
#include "cpu/arm64/system/registers.h"
#include "cpu/numbered.h"
#include "cpu/x86/system/numbered.h"
#include "machines/registers.h"
#include "machines/snapshot/snapshot.h"
#include "tests/unit/machines/fake_kernel.h"

using namespace tandem;
using cpu::ArchModel;
using cpu::ArchState;
using cpu::RegisterRow;

namespace {

// A clock that stands at a number, an APIC and a paravirtual clock that hold anything.
class Around final : public cpu::RegisterSurroundings {
public:
    std::map<u32, u64> msrs{{0x6e0, 0},      {0x11, 0},       {0x12, 0},         {0x4b564d00, 0},
                            {0x4b564d01, 0}, {0x4b564d04, 0}, {0x1b, 0xfee00900}};
    u8 priority = 0;
    u64 now = 1'000'000;

    u64 count() override { return now; }
    u64 count_hz() override { return 62'500'000; }
    bool msr_read(u32 index, u64& value) override {
        if (!msrs.contains(index)) return false;
        value = msrs[index];
        return true;
    }
    bool msr_write(u32 index, u64 value) override {
        if (!msrs.contains(index)) return false;
        msrs[index] = value;
        return true;
    }
    u8 cr8() override { return priority; }
    void set_cr8(u8 value) override { priority = value; }
    unsigned index() const override { return 17; }
};

struct Subject {
    ArchModel model;
    ArchState state;
    Around around;

    Result<std::vector<u8>> read(u64 id, std::size_t size) {
        std::vector<u8> value(size);
        TANDEM_TRY(cpu::read_register(model, state, around, id, value));
        return value;
    }
    Result<void> write(u64 id, std::span<const u8> value) { return cpu::write_register(model, state, around, id, value); }

    RegisterRow row(std::string_view name) {
        const auto found = cpu::find_register(model, name);
        INFO(name);
        REQUIRE(found.ok());
        return *found;
    }
    u64 get(std::string_view name) {
        const RegisterRow r = row(name);
        const auto bytes = read(r.id, r.size);
        INFO(name << ": " << (bytes.ok() ? "" : bytes.error().message));
        REQUIRE(bytes.ok());
        u64 value = 0;
        std::memcpy(&value, bytes->data(), std::min<std::size_t>(sizeof value, bytes->size()));
        return value;
    }
    Result<void> set(std::string_view name, u64 value) {
        const RegisterRow r = row(name);
        std::vector<u8> bytes(r.size);
        std::memcpy(bytes.data(), &value, std::min<std::size_t>(sizeof value, bytes.size()));
        return write(r.id, bytes);
    }
};

Subject x86_subject(const char* spec = "max") {
    auto model = cpu::x86::CpuModel::create(spec);
    REQUIRE(model.ok());
    cpu::x86::State s;
    cpu::x86::reset(s, true);
    s.msr.apic_base = 0xfee00900;
    return {*model, s, {}};
}

Subject arm64_subject(const char* name = "max", bool el2 = true) {
    auto model = cpu::arm64::CpuModel::named(name);
    REQUIRE(model.ok());
    model->set_el2(el2);
    cpu::arm64::State s;
    cpu::arm64::reset(s, el2 ? 2 : 1);
    return {*model, s, {}};
}

Errc code_of(const Result<void>& result) {
    REQUIRE(!result.ok());
    return result.error().code;
}

}  // namespace

TEST_CASE("every register has an id of its own, which says its size and class", "[R1]") {
    for (const Subject& s : {x86_subject(), arm64_subject()}) {
        std::set<u64> numbers;
        for (const RegisterRow& r : cpu::all_registers(s.model)) {
            INFO(r.name);
            CHECK(numbers.insert(r.id & ~(u64{15} << 52)).second);
            CHECK(cpu::size_in(r.id) == r.size);
            CHECK((r.id >> 32 & 0xff) == static_cast<u64>(r.kind));
            CHECK(r.size <= cpu::kLargestRegister);
        }
        CHECK(numbers.size() > 100);
    }
    // Ids are for ever.
    CHECK(x86_subject().row("rbx").id == 0x2030000100000003);
    CHECK(x86_subject().row("YMM3").id == 0x2050000400000103);
    CHECK(x86_subject().row("cs.access").id == 0x2010000300000013);
    CHECK(x86_subject().row("EFER").id == 0x20300006c0000080);
    CHECK(arm64_subject().row("x30").id == 0x603000010000001e);
    CHECK(arm64_subject().row("v1").id == 0x6040000400000001);
    CHECK(arm64_subject().row("SCTLR_EL1").id == 0x603000060000c080);
}

TEST_CASE("an unknown register, a wrong size and an absent register are different errors", "[R1]") {
    Subject s = x86_subject();
    const u64 rax = s.row("RAX").id;
    std::vector<u8> value(64);
    const std::span<u8> all(value);
    const ArchState before = s.state;
    const auto both = [&](u64 id, std::size_t size, Errc code, std::string_view says) {
        const auto got = cpu::read_register(s.model, s.state, s.around, id, all.first(size));
        const auto put = s.write(id, all.first(size));
        REQUIRE(code_of(got) == code);
        REQUIRE(code_of(put) == code);
        INFO(got.error().message);
        CHECK(got.error().message.find(says) != std::string::npos);
        CHECK(put.error().message.find(says) != std::string::npos);
    };
    both(rax + 0x100, 8, Errc::NotFound, "0x2030000100000100");
    both(rax + (u64{0x40} << 56), 8, Errc::NotFound, "no register");
    both(rax, 4, Errc::InvalidArgument, "RAX has 8 bytes, not 4");
    both(rax - (u64{1} << 52), 8, Errc::InvalidArgument, "RAX has 8 bytes, not 4");
    const auto zmm = cpu::register_id(cpu::RegisterArchitecture::X86, cpu::RegisterClass::Vector, 64, 0x200);
    both(zmm, 64, Errc::Unsupported, "ZMM0: the features of processor 'max' lack it");
    CHECK(cpu::find_register(s.model, "ZMM0").error().code == Errc::Unsupported);
    CHECK(cpu::find_register(s.model, "RAXX").error().code == Errc::NotFound);
    CHECK(s.state == before);
    // What a model has is listed, and nothing else.
    Subject small = x86_subject("max,-avx,-kvmclock");
    for (const RegisterRow& r : cpu::registers_of(small.model)) {
        CHECK(!r.name.starts_with("YMM"));
        CHECK(r.name != "KVM_SYSTEM_TIME_NEW");
    }
    CHECK(cpu::find_register(small.model, "KVM_SYSTEM_TIME_NEW").error().code == Errc::Unsupported);
    Subject el1 = arm64_subject("cortex-a57", false);
    for (const char* name : {"HCR_EL2", "SP_EL2", "APIAKeyLo_EL1", "PAN"}) {
        INFO(name);
        CHECK(cpu::find_register(el1.model, name).error().code == Errc::Unsupported);
    }
}

TEST_CASE("every register can be written with its own value, and shows what else is written to it", "[R1][R2]") {
    for (Subject s : {x86_subject(), arm64_subject(), arm64_subject("cortex-a72", false)}) {
        unsigned changed = 0;
        for (const RegisterRow& r : cpu::registers_of(s.model)) {
            INFO(r.name);
            const auto own = s.read(r.id, r.size);
            REQUIRE(own.ok());
            const ArchState before = s.state;
            CHECK(s.write(r.id, *own).ok());
            CHECK(s.state == before);
            for (unsigned bit = 0; bit < 8 * r.size; ++bit) {
                auto other = *own;
                other[bit / 8] ^= static_cast<u8>(1u << bit % 8);
                const auto written = s.write(r.id, other);
                if (!written.ok()) {
                    CHECK(s.state == before);
                    CHECK(written.error().code == (r.invariant ? Errc::Invariant : Errc::InvalidArgument));
                    continue;
                }
                REQUIRE(!r.invariant);
                ++changed;
                if (!r.counts) CHECK(*s.read(r.id, r.size) == other);
                CHECK(s.write(r.id, *own).ok());
                // CNTFRQ_EL0 of 0 stands for what the machine says.
                CHECK((r.counts || r.name == "CNTFRQ_EL0" || s.state == before));
                s.state = before;
            }
        }
        CHECK(changed > 5000);
    }
}

TEST_CASE("an invariant register takes its own value alone, and says what was wanted", "[R2]") {
    Subject s = arm64_subject("cortex-a72");
    for (const char* name : {"MIDR_EL1", "REVIDR_EL1", "AIDR_EL1", "CTR_EL0", "CCSIDR_EL1", "ID_AA64PFR0_EL1",
                             "ID_AA64ISAR0_EL1", "ID_AA64MMFR2_EL1", "MPIDR_EL1", "DCZID_EL0", "CLIDR_EL1"}) {
        INFO(name);
        CHECK(s.row(name).invariant);
        CHECK(s.set(name, s.get(name)).ok());
        CHECK(code_of(s.set(name, s.get(name) ^ 1)) == Errc::Invariant);
    }
    CHECK(s.get("MIDR_EL1") == 0x410fd083);
    CHECK(s.get("MPIDR_EL1") == 0x80000101);
    // The processor's own, whatever a hypervisor shows.
    REQUIRE(s.set("PSTATE", 0x3c5).ok());
    REQUIRE(s.set("VPIDR_EL2", 0x1234).ok());
    CHECK(s.get("MIDR_EL1") == 0x410fd083);
    const auto refused = s.set("MIDR_EL1", 0x411fd070);
    CHECK(refused.error().message == "MIDR_EL1 stays 0x410fd083: 0x411fd070 is another processor's");
    for (const char* name : {"SCTLR_EL1", "X3", "OSLSR_EL1", "CNTPCT_EL0"}) CHECK(!s.row(name).invariant);
    // By CSSELR_EL1.
    const u64 first = s.get("CCSIDR_EL1");
    REQUIRE(s.set("CSSELR_EL1", 2).ok());
    CHECK(s.get("CCSIDR_EL1") != first);

    Subject x = x86_subject();
    CHECK(x.row("ARCH_CAPABILITIES").invariant);
    CHECK(code_of(x.set("MTRRCAP", 0)) == Errc::Invariant);
}

TEST_CASE("registers hold what the processor lets them hold", "[R1]") {
    Subject s = x86_subject("max,phys-bits=40");
    const std::pair<const char*, u64> refused[] = {
        {"RFLAGS", 0},
        {"RFLAGS", u64{1} << 32 | 2},
        {"CR0", 0x80000010},
        {"CR0", 0x20000010},
        {"CR3", u64{1} << 40},
        {"CR4", u64{1} << 31},
        {"XCR0", 0},
        {"XCR0", 5},
        {"XCR0", 0x21},
        {"DR6", 0},
        {"DR7", 0},
        {"CS.ACCESS", 0x100},
        {"CR8", 16},
        {"PAT", 2},
        {"EFER", 2},
        {"MTRR_PHYSMASK0", 1},
        {"LSTAR", u64{1} << 60},
        {"MXCSR", 0x10000},
        {"FOP", 0x800},
        {"TSC_AUX", u64{1} << 32},
        {"MTRR_DEF_TYPE", 0x2},
        {"RIP", u64{1} << 62},
        {"GDTR_BASE", 1ull << 62},
        {"SYSENTER_CS", u64{1} << 32},
    };
    for (const auto& [name, value] : refused) {
        INFO(name << " " << value);
        CHECK(code_of(s.set(name, value)) == Errc::InvalidArgument);
    }
    CHECK(s.set("CR0", 0x80000011).ok());
    CHECK(s.set("XCR0", 7).ok());
    // The upper part of an x87 register's sixteen bytes is not there.
    const RegisterRow st = s.row("FPR2");
    std::vector<u8> bytes(st.size, 0x7f);
    CHECK(code_of(s.write(st.id, bytes)) == Errc::InvalidArgument);
    std::fill(bytes.begin() + 10, bytes.end(), u8{0});
    CHECK(s.write(st.id, bytes).ok());
    CHECK(std::get<cpu::x86::State>(s.state).x87.reg[2].sign_exponent == 0x7f7f);
    // XMM is the low part of YMM, which keeps the rest.
    const RegisterRow ymm = s.row("YMM7"), xmm = s.row("XMM7");
    REQUIRE(s.write(ymm.id, std::vector<u8>(32, 0x11)).ok());
    REQUIRE(s.write(xmm.id, std::vector<u8>(16, 0x22)).ok());
    const auto whole = s.read(ymm.id, 32);
    REQUIRE(whole.ok());
    CHECK((*whole)[15] == 0x22);
    CHECK((*whole)[16] == 0x11);

    Subject a = arm64_subject("max", false);
    CHECK(code_of(a.set("PSTATE", 9)) == Errc::InvalidArgument);     // EL2
    CHECK(code_of(a.set("PSTATE", 1)) == Errc::InvalidArgument);     // EL0h
    CHECK(code_of(a.set("PSTATE", 0x10)) == Errc::InvalidArgument);  // AArch32
    CHECK(a.set("PSTATE", 0xf0000000).ok());
    CHECK(a.get("NZCV") == 0xf0000000);
    CHECK(a.set("NZCV", 0x40000000).ok());
    CHECK(a.get("PSTATE") == 0x40000000);
    CHECK(code_of(a.set("SCTLR_EL1", u64{1} << 63)) == Errc::InvalidArgument);
    CHECK(code_of(a.set("FPCR", 1)) == Errc::InvalidArgument);
    CHECK(code_of(a.set("DBGBCR0_EL1", 0)) == Errc::InvalidArgument);  // bits that are always 1
}

TEST_CASE("the registers of nested virtualization by number", "[R1]") {
    Subject s = x86_subject("max,vendor=AuthenticAMD,+svm,phys-bits=40");
    REQUIRE(s.set("VM_HSAVE_PA", 0x123000).ok());
    CHECK(std::get<cpu::x86::State>(s.state).svm.hsave_pa == 0x123000);
    CHECK(code_of(s.set("VM_HSAVE_PA", 0x123001)) == Errc::InvalidArgument);
    CHECK(code_of(s.set("VM_HSAVE_PA", u64{1} << 40)) == Errc::InvalidArgument);
    REQUIRE(s.set("VM_CR", 0x10).ok());
    CHECK(code_of(s.set("VM_CR", 32)) == Errc::InvalidArgument);
    CHECK(s.set("EFER", 0x1000).ok());
    CHECK(cpu::find_register(x86_subject("max,-svm").model, "VM_CR").error().code == Errc::Unsupported);
}

TEST_CASE("counters by number", "[R1]") {
    Subject s = x86_subject();
    REQUIRE(s.set("TSC", 5'000'000).ok());
    CHECK(s.get("TSC") == 5'000'000);
    CHECK(s.get("TSC_ADJUST") == 4'000'000);
    s.around.now += 10;
    CHECK(s.get("TSC") == 5'000'010);
    REQUIRE(s.set("TSC_ADJUST", 0).ok());
    CHECK(s.get("TSC") == s.around.now);
    REQUIRE(s.set("CR8", 9).ok());
    CHECK(s.around.priority == 9);
    REQUIRE(s.set("APIC_BASE", 0xfee00100).ok());
    CHECK(s.around.msrs[0x1b] == 0xfee00100);
    CHECK(std::get<cpu::x86::State>(s.state).msr.apic_base == 0xfee00100);

    Subject a = arm64_subject();
    REQUIRE(a.set("CNTVOFF_EL2", 400'000).ok());
    CHECK(a.get("CNTVCT_EL0") == 600'000);
    REQUIRE(a.set("CNTV_TVAL_EL0", 0xffffffff).ok());
    CHECK(a.get("CNTV_CVAL_EL0") == 599'999);
    REQUIRE(a.set("CNTV_CTL_EL0", 1).ok());
    CHECK(a.get("CNTV_CTL_EL0") == 5);
    CHECK(a.get("CNTFRQ_EL0") == 62'500'000);
    CHECK(code_of(a.set("CNTPCT_EL0", 0)) == Errc::InvalidArgument);
}

TEST_CASE("AArch64: every register that MRS reads has a number, and its name is known by its encoding", "[R1]") {
    const Subject s = arm64_subject();
    std::set<std::string_view> left_out;
    for (const auto& r : cpu::arm64::register_rows()) {
        const auto name = cpu::arm64::system_register_name(r.name.value);
        if (name.empty()) left_out.insert(r.text);
        if (!name.empty()) CHECK(name == r.text);
    }
    CHECK(left_out == std::set<std::string_view>{"ISR_EL1", "OSLAR_EL1", "PMSWINC_EL0"});
    CHECK(cpu::arm64::system_register_name(0xffff).empty());
}

namespace {

// Changes one field after the other, by the name under which it is saved.
struct Toggle {
    std::string_view wanted;
    std::vector<std::string>* names = nullptr;
    void operator()(const char* name, u64& value) {
        if (names != nullptr) names->emplace_back(name);
        if (wanted == name) value ^= 1;
    }
    template <std::size_t n>
    void operator()(const char* name, std::array<u64, n>& values) {
        if (names != nullptr) names->emplace_back(name);
        if (wanted == name) values[0] ^= 1;
    }
};

// Names of the fields that no register shows.
template <class Registers>
std::set<std::string> unseen(Subject s, Registers& registers) {
    std::vector<std::string> names;
    Toggle list{"", &names};
    registers.visit(list);
    REQUIRE(names.size() > 20);
    const auto rows = cpu::registers_of(s.model);
    const auto snapshot = [&](const ArchState& state) {
        std::vector<u8> all;
        for (const RegisterRow& r : rows) {
            std::vector<u8> value(r.size);
            REQUIRE(cpu::read_register(s.model, state, s.around, r.id, value).ok());
            all.insert(all.end(), value.begin(), value.end());
        }
        return all;
    };
    std::set<std::string> found;
    for (const std::string& name : names) {
        ArchState state = s.state;
        Toggle change{name, nullptr};
        if constexpr (std::is_same_v<Registers, cpu::x86::Msrs>) {
            std::get<cpu::x86::State>(state).msr.visit(change);
        } else {
            std::get<cpu::arm64::State>(state).sys.visit(change);
        }
        if (snapshot(state) == snapshot(s.state)) found.insert(name);
    }
    return found;
}

}  // namespace

TEST_CASE("what is saved of system registers has a number", "[R1][R5]") {
    cpu::x86::Msrs msrs;
    // MCG_CAP says that there is no MCG_CTL.
    CHECK(unseen(x86_subject("max,+svm"), msrs) == std::set<std::string>{"mcg_ctl"});
    cpu::arm64::Sysregs sysregs;
    // Of AArch32.
    CHECK(unseen(arm64_subject(), sysregs) == std::set<std::string>{"dacr32_el2", "fpexc32_el2", "ifsr32_el2"});
}

TEST_CASE("the MSRs that are saved, paravirtual ones included, come back with the machine", "[R5]") {
    auto indexes = cpu::x86::saved_msrs();
    CHECK(std::is_sorted(indexes.begin(), indexes.end()));
    for (const u32 index :
         {0x10u, 0x11u, 0x12u, 0x1bu, 0x3bu, 0x174u, 0x277u, 0x6e0u, 0x4b564d00u, 0x4b564d01u, 0x4b564d04u, 0xc0000080u}) {
        INFO(index);
        CHECK(std::binary_search(indexes.begin(), indexes.end(), index));
    }
    const Subject subject = x86_subject();
    std::erase_if(indexes, [&](u32 index) {
        const auto id = cpu::register_id(cpu::RegisterArchitecture::X86, cpu::RegisterClass::System, 8, index);
        return !cpu::find_register(subject.model, id, 8).ok();
    });
    const tests::Kernel files;
    const auto build = [&] {
        machines::MachineConfig config = files.config();
        config.ram_bytes = 24ull << 20;
        auto model = cpu::x86::CpuModel::create("max");
        REQUIRE(model.ok());
        config.cpu = *model;
        auto engine = accel::create_jit_accelerator(*model, {});
        REQUIRE(engine.ok());
        auto created = machines::create_machine(std::move(config), std::move(engine).value());
        REQUIRE(created.ok());
        return std::move(created).value();
    };
    const auto msr = [](machines::Machine& machine, u32 index) {
        auto registers = machines::registers_of(machine, 0);
        REQUIRE(registers.ok());
        u64 value = 0;
        const auto id = cpu::register_id(cpu::RegisterArchitecture::X86, cpu::RegisterClass::System, 8, index);
        const auto got = registers->read(id, {reinterpret_cast<u8*>(&value), 8});
        INFO(index << ": " << (got.ok() ? "" : got.error().message));
        REQUIRE(got.ok());
        return value;
    };
    const auto one = build();
    u64 changed = 0;
    // Values that the register can hold: the clock's pages, addresses, types of memory, bits.
    constexpr u64 kCandidates[] = {0x123001, 0xffff800000123000, 0x0606060606060606, 0x800, 1, 3, 0x500};
    std::map<u32, u64> expected;
    for (const u32 index : indexes) {
        auto registers = machines::registers_of(*one, 0);
        REQUIRE(registers.ok());
        const u64 before = msr(*one, index);
        const auto id = cpu::register_id(cpu::RegisterArchitecture::X86, cpu::RegisterClass::System, 8, index);
        for (const u64 candidate : kCandidates) {
            if (index == 0x1b || candidate == before) continue;
            if (!registers->write(id, {reinterpret_cast<const u8*>(&candidate), 8}).ok()) continue;
            ++changed;
            break;
        }
    }
    CHECK(changed >=
          indexes.size() - 3);  // not APIC_BASE, nor XSS, which has no bit, nor TSC_DEADLINE without a timer for it
    for (const u32 index : indexes) expected[index] = msr(*one, index);
    CHECK(expected[0x4b564d01] != 0);
    CHECK(expected[0x4b564d04] != 0);
    REQUIRE(machines::snapshot::save(one->parts(), files.path("saved"), machines::snapshot::Drives::Inside).ok());
    const auto two = build();
    REQUIRE(machines::snapshot::restore(two->parts(), files.path("saved")).ok());
    for (const u32 index : indexes) {
        INFO(std::hex << index);
        if (index != 0x10) CHECK(msr(*two, index) == expected[index]);  // the counter counts
    }
}

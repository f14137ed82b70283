// Page walks of every mode: rights, error codes, accessed and dirty bits (SDM volume 3, chapter 4; contract X3).
#include "system_fixture.h"

using namespace tandem;
using namespace tandem::test;
using jit::Access;

namespace {

constexpr u64 kNx = u64{1} << 63;
constexpr u64 kVa = 0x40000;  // a page of the identity tables that nothing else uses

struct Walked {
    bool ok;
    u32 error;
    jit::Translation page;
};

Walked access_page(SystemCpu& cpu, u64 va, Access kind, unsigned mmu) {
    Walked r{};
    r.ok = translate(cpu.t(), va, kind, mmu, r.page);
    if (!r.ok) {
        CHECK(cpu.take(&r.error) == 14);
        CHECK(cpu.payload == va);
    }
    return r;
}

}  // namespace

TEST_CASE("4-level walk: rights and error codes", "[system][X3]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    struct Row {
        u64 entry;
        u64 cr0, cr4;
        Access kind;
        unsigned mmu;
        int error;  // -1: allowed
    };
    constexpr u64 kWp = 0x10000, kSmep = 1 << 20, kSmap = 1 << 21;
    const Row rows[] = {
        {0x40000 | 6, kWp, 0, Access::Read, kMmuSupervisor, 0x0},
        {0x40000 | 6, kWp, 0, Access::Write, kMmuUser, 0x6},
        {0x40000 | 7, kWp, 0, Access::Write, kMmuUser, -1},
        {0x40000 | 5, kWp, 0, Access::Write, kMmuUser, 0x7},
        {0x40000 | 5, kWp, 0, Access::Read, kMmuUser, -1},
        {0x40000 | 3, kWp, 0, Access::Read, kMmuUser, 0x5},
        {0x40000 | 3, kWp, 0, Access::Execute, kMmuUser, 0x15},
        {0x40000 | 1, kWp, 0, Access::Write, kMmuSupervisor, 0x3},
        {0x40000 | 1, 0, 0, Access::Write, kMmuSupervisor, -1},
        {0x40000 | 7 | kNx, kWp, 0, Access::Execute, kMmuSupervisor, 0x11},
        {0x40000 | 7 | kNx, kWp, 0, Access::Read, kMmuSupervisor, -1},
        {0x40000 | 7, kWp, kSmep, Access::Execute, kMmuSupervisor, 0x11},
        {0x40000 | 7, kWp, kSmep, Access::Execute, kMmuUser, -1},
        {0x40000 | 3, kWp, kSmep, Access::Execute, kMmuSupervisor, -1},
        {0x40000 | 7, kWp, kSmap, Access::Read, kMmuSupervisor, 0x1},
        {0x40000 | 7, kWp, kSmap, Access::Write, kMmuSupervisor, 0x3},
        {0x40000 | 7, kWp, kSmap, Access::Read, kMmuSupervisorAc, -1},
        {0x40000 | 7, kWp, kSmap, Access::Execute, kMmuSupervisor, -1},
        {0x40000 | 7 | u64{1} << 46, kWp, 0, Access::Read, kMmuSupervisor, 0x9},
        {0x40000 | 7 | u64{1} << 51, kWp, 0, Access::Write, kMmuUser, 0xf},
        {0x40000 | 7 | u64{1} << 52, kWp, 0, Access::Write, kMmuUser, -1},
    };
    for (const Row& row : rows) {
        CAPTURE(row.entry, row.cr0, row.cr4, static_cast<int>(row.kind), row.mmu);
        cpu.s().cr0 = 0x80000011 | row.cr0;
        cpu.s().cr4 = 0x20 | row.cr4;
        cpu.map_page(kVa, row.entry);
        const Walked r = access_page(cpu, kVa + 0x123, row.kind, row.mmu);
        CHECK(r.ok == (row.error < 0));
        if (!r.ok) CHECK(r.error == static_cast<u32>(row.error));
        const u64 after = cpu.get<u64>(kTables + 0x3000 + (kVa >> 12) * 8);
        // A fault leaves the entry alone; an access sets A, and D when it writes.
        const u64 expected = row.error >= 0 ? row.entry : row.entry | 0x20 | (row.kind == Access::Write ? 0x40 : 0);
        CHECK(after == expected);
    }
}

TEST_CASE("NX is a reserved bit without EFER.NXE, and fetches are not told apart then", "[system]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    cpu.s().msr.efer = 0x501;
    cpu.map_page(kVa, 0x40000 | 7 | kNx);
    CHECK(access_page(cpu, kVa, Access::Read, kMmuUser).error == 0xd);
    cpu.map_page(kVa, 0);
    CHECK(access_page(cpu, kVa, Access::Execute, kMmuUser).error == 0x4);
    cpu.s().cr4 |= 1 << 20;
    CHECK(access_page(cpu, kVa, Access::Execute, kMmuUser).error == 0x14);
}

TEST_CASE("accessed bits at all levels, dirty only in the leaf, and what may be cached", "[system]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    const Walked read = access_page(cpu, kVa + 8, Access::Read, kMmuUser);
    REQUIRE(read.ok);
    CHECK(read.page.phys == kVa + 8);
    CHECK(read.page.page_size == 4096);
    CHECK(read.page.read);
    CHECK_FALSE(read.page.write);  // clean: the first write must come back
    for (const u64 level : {0u, 0x1000u, 0x2000u}) CHECK((cpu.get<u64>(kTables + level) & 0x60) == 0x20);
    CHECK((cpu.get<u64>(kTables + 0x3000 + (kVa >> 12) * 8) & 0x60) == 0x20);
    const Walked write = access_page(cpu, kVa, Access::Write, kMmuUser);
    CHECK(write.page.write);
    CHECK((cpu.get<u64>(kTables + 0x3000 + (kVa >> 12) * 8) & 0x60) == 0x60);
    CHECK((cpu.get<u64>(kTables + 0x2000) & 0x60) == 0x20);
}

TEST_CASE("rights are the conjunction of all levels", "[system]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    cpu.put<u64>(kTables + 0x1000, (kTables + 0x2000) | 5);
    CHECK(access_page(cpu, kVa, Access::Write, kMmuUser).error == 7);
    cpu.put<u64>(kTables + 0x1000, (kTables + 0x2000) | 3);
    CHECK(access_page(cpu, kVa, Access::Read, kMmuUser).error == 5);
    cpu.put<u64>(kTables + 0x1000, (kTables + 0x2000) | 7 | kNx);
    CHECK(access_page(cpu, kVa, Access::Execute, kMmuUser).error == 0x15);
    cpu.put<u64>(kTables, (kTables + 0x1000) | 7 | 0x80);
    CHECK(access_page(cpu, kVa, Access::Read, kMmuUser).error == 0xd);
}

TEST_CASE("2 MiB and 1 GiB pages", "[system][X3]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    cpu.put<u64>(kTables + 0x2008, 0x600000 | 0x87);
    Walked r = access_page(cpu, 0x234567, Access::Write, kMmuUser);
    REQUIRE(r.ok);
    CHECK(r.page.phys == 0x634567);
    CHECK(r.page.page_size == 0x200000);
    CHECK(cpu.get<u64>(kTables + 0x2008) == (0x600000 | 0xe7));
    cpu.put<u64>(kTables + 0x2008, 0x602000 | 0x87);
    CHECK(access_page(cpu, 0x234567, Access::Read, kMmuUser).error == 0xd);

    cpu.put<u64>(kTables + 0x1008, 0x80000000 | 0x187);
    cpu.s().cr4 |= 0x80;
    r = access_page(cpu, 0x40000000 + 0x1234567, Access::Read, kMmuUser);
    REQUIRE(r.ok);
    CHECK(r.page.phys == 0x81234567);
    CHECK(r.page.page_size == 0x40000000);
    CHECK(r.page.global);
    cpu.put<u64>(kTables + 0x1008, 0x80002000 | 0x87);
    CHECK(access_page(cpu, 0x40000000, Access::Read, kMmuUser).error == 0xd);
}

TEST_CASE("1 GiB pages are reserved where CPUID does not offer them", "[system][X3]") {
    SystemCpu cpu(SystemCpu::Mode::Long, "qemu64");
    cpu.put<u64>(kTables + 0x1008, 0x80000000 | 0x87);
    CHECK(access_page(cpu, 0x40000000, Access::Read, kMmuUser).error == 0xd);
}

// AMD APM volume 2, figures 5-20 to 5-26: bit 8 of a PML4E and of a PDPE that maps nothing must be zero.
TEST_CASE("AMD processors reserve the global bit in upper tables", "[system]") {
    for (const bool amd : {false, true}) {
        SystemCpu cpu(SystemCpu::Mode::Long, amd ? "max,vendor=AuthenticAMD" : "max");
        const auto global = [&](u64 at) {
            const u64 entry = cpu.get<u64>(kTables + at);
            cpu.put<u64>(kTables + at, entry | 0x100);
            jit::Translation page;
            const bool ok = translate(cpu.t(), kVa, Access::Read, kMmuUser, page);
            u32 error = 0;
            if (!ok) CHECK(cpu.take(&error) == 14);
            CHECK(error == (ok ? 0 : 0xd));
            cpu.put<u64>(kTables + at, entry);
            return ok;
        };
        CHECK(global(0) != amd);
        CHECK(global(0x1000) != amd);
        CHECK(global(0x2000));
    }
}

TEST_CASE("non-canonical addresses raise #GP(0)", "[system]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    jit::Translation page;
    CHECK_FALSE(translate(cpu.t(), 0x800000000000, Access::Read, kMmuUser, page));
    u32 error = 1;
    CHECK(cpu.take(&error) == 13);
    CHECK(error == 0);
    CHECK(access_page(cpu, 0x7fffffffffff, Access::Read, kMmuUser).error == 4);
}

TEST_CASE("32-bit paging: 4 KiB, 4 MiB with PSE-36, PSE off", "[system][X3]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    cpu.s().cr3 = kTables | 0x18;  // cache bits are not address bits
    cpu.put<u32>(kTables, (kTables + 0x1000) | 7);
    cpu.put<u32>(kTables + 0x1000 + 0x40 * 4, 0x50000 | 7);
    cpu.s().cr0 = 0x80010011;
    Walked r = access_page(cpu, 0x40010, Access::Write, kMmuUser);
    REQUIRE(r.ok);
    CHECK(r.page.phys == 0x50010);
    CHECK(cpu.get<u32>(kTables + 0x1000 + 0x40 * 4) == (0x50000 | 0x67));
    CHECK(cpu.get<u32>(kTables) == ((kTables + 0x1000) | 0x27));
    // Fetches are not told apart without NX and SMEP.
    CHECK(access_page(cpu, 0x41000, Access::Execute, kMmuUser).error == 4);

    cpu.put<u32>(kTables + 4, 0x00c06087);  // base 0xc00000, address bits 33:32 = 3 in bits 14:13
    cpu.s().cr4 = 0x10;
    r = access_page(cpu, 0x412345, Access::Read, kMmuUser);
    REQUIRE(r.ok);
    CHECK(r.page.phys == 0x300c12345);
    CHECK(r.page.page_size == 0x400000);
    cpu.put<u32>(kTables + 4, 0x00c00087 | 1u << 21);
    CHECK(access_page(cpu, 0x412345, Access::Read, kMmuUser).error == 0xd);
    cpu.s().cr4 = 0;
    cpu.put<u32>(kTables + 4, (kTables + 0x1000) | 0x87);
    CHECK(access_page(cpu, 0x440010, Access::Read, kMmuUser).page.phys == 0x50010);
}

TEST_CASE("PAE: PDPTEs are registers, loaded with CR3 and checked", "[system][X3]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    cpu.put<u64>(kTables + 0x20, (kTables + 0x1000) | 1);
    cpu.put<u64>(kTables + 0x1000, (kTables + 0x2000) | 7);
    cpu.put<u64>(kTables + 0x1008, 0x800000 | 0x87);
    for (u64 i = 0; i < 512; ++i) cpu.put<u64>(kTables + 0x2000 + i * 8, i << 12 | 7);
    cpu.s().msr.efer = 0x800;
    CHECK(mov_to_cr(&cpu.t(), 4, 0x20) == LeaveReason::None);
    CHECK(mov_to_cr(&cpu.t(), 3, kTables + 0x20) == LeaveReason::None);
    CHECK(mov_to_cr(&cpu.t(), 0, 0x80010011) == LeaveReason::None);
    CHECK(cpu.s().pdpte[0] == ((kTables + 0x1000) | 1));
    CHECK(access_page(cpu, 0x45678, Access::Write, kMmuUser).page.phys == 0x45678);
    CHECK(access_page(cpu, 0x212345, Access::Read, kMmuUser).page.phys == 0x812345);
    CHECK(access_page(cpu, 0x40000000, Access::Write, kMmuSupervisor).error == 2);
    cpu.put<u64>(kTables + 0x2000 + 0x41 * 8, 0x41000 | 7 | u64{1} << 55);
    CHECK(access_page(cpu, 0x41000, Access::Read, kMmuSupervisor).error == 9);

    // Memory behind the registers may change; a reserved bit is noticed at the next load.
    cpu.put<u64>(kTables + 0x20, (kTables + 0x1000) | 3);
    CHECK(access_page(cpu, 0x45678, Access::Read, kMmuUser).ok);
    CHECK(mov_to_cr(&cpu.t(), 3, kTables + 0x20) == LeaveReason::Exception);
    CHECK(cpu.take() == 13);
    CHECK(cpu.s().pdpte[0] == ((kTables + 0x1000) | 1));
}

TEST_CASE("walks for debuggers change nothing", "[system]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    u64 phys = 0;
    CHECK(translate_debug(cpu.t(), kVa + 5, phys));
    CHECK(phys == kVa + 5);
    CHECK((cpu.get<u64>(kTables) & 0x20) == 0);
    CHECK_FALSE(translate_debug(cpu.t(), u64{1} << 40, phys));
    CHECK(cpu.take() == -1);
}

TEST_CASE("INVPCID: types, reserved bits, privilege", "[system][pcid]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    cpu.put<u64>(0x6000, 0);
    cpu.put<u64>(0x6008, 0x1234);
    auto run = [&](u64 type) { return invpcid(&cpu.t(), type, 0x6000) == LeaveReason::None ? -1 : cpu.take(); };
    CHECK(run(0) == -1);
    CHECK(cpu.vcpu.page_flushes == 1);
    CHECK(run(1) == -1);
    CHECK(cpu.vcpu.spaces_flushed == std::vector<u64>{0});
    CHECK(run(2) == -1);
    CHECK(cpu.vcpu.full_flushes == 1);
    CHECK(run(3) == -1);
    CHECK(cpu.vcpu.partial_flushes == 1);
    CHECK(run(4) == 13);
    cpu.put<u64>(0x6008, u64{1} << 56);
    CHECK(run(0) == 13);
    cpu.put<u64>(0x6000, 0x5);
    CHECK(run(1) == 13);  // a PCID without CR4.PCIDE
    cpu.s().cr4 |= 1 << 17;
    CHECK(run(1) == -1);
    CHECK(cpu.vcpu.spaces_flushed == std::vector<u64>{0, 5});
    cpu.put<u64>(0x6000, 0x1000);
    CHECK(run(3) == 13);
    cpu.enter_ring(3);
    CHECK(run(2) == 13);
}

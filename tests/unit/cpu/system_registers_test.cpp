// Control, debug and model-specific registers, flags, ports and the remaining privileged instructions.
#include "system_fixture.h"

using namespace tandem;
using namespace tandem::test;

namespace {

int vector_of(SystemCpu& cpu, LeaveReason r) {
    if (r == LeaveReason::None || r == LeaveReason::Lookup) return -1;
    return cpu.take();
}

int write_cr(SystemCpu& cpu, u32 index, u64 value) { return vector_of(cpu, mov_to_cr(&cpu.t(), index, value)); }
int write_dr(SystemCpu& cpu, u32 index, u64 value) { return vector_of(cpu, mov_to_dr(&cpu.t(), index, value)); }
int read_dr(SystemCpu& cpu, u32 index) { return vector_of(cpu, mov_from_dr(&cpu.t(), index)); }

int write_msr(SystemCpu& cpu, u32 index, u64 value) {
    cpu.s().gpr[RCX] = index;
    cpu.s().gpr[RAX] = value & 0xffffffff;
    cpu.s().gpr[RDX] = value >> 32;
    return vector_of(cpu, wrmsr(&cpu.t()));
}
// ~0 - vector for a fault.
u64 read_msr(SystemCpu& cpu, u32 index) {
    cpu.s().gpr[RCX] = index;
    const int vector = vector_of(cpu, rdmsr(&cpu.t()));
    if (vector >= 0) return ~u64{0} - static_cast<u64>(vector);
    return cpu.s().gpr[RDX] << 32 | cpu.s().gpr[RAX];
}
constexpr u64 kGpOnRead = ~u64{0} - 13;

}  // namespace

TEST_CASE("CR0: consistency and the way into IA-32e mode", "[system][cr]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    CHECK(write_cr(cpu, 0, 0x80000010) == 13);  // PG without PE
    CHECK(write_cr(cpu, 0, 0x20000011) == 13);  // NW without CD
    CHECK(write_cr(cpu, 0, 0x60000011) == -1);
    CHECK(cpu.s().cr0 == 0x60000011);
    CHECK(write_cr(cpu, 0, 0x1) == -1);
    CHECK(cpu.s().cr0 == 0x11);  // ET is fixed

    cpu.s().msr.efer = 0x100;
    CHECK(write_cr(cpu, 0, 0x80000011) == 13);  // LME without PAE
    CHECK(write_cr(cpu, 4, 0x20) == -1);
    cpu.s().seg[CS].access |= 0x2000;
    CHECK(write_cr(cpu, 0, 0x80000011) == 13);  // CS.L
    cpu.s().seg[CS].access &= static_cast<u16>(~0x2000);
    cpu.s().tr.access = 0x83;
    CHECK(write_cr(cpu, 0, 0x80000011) == 13);  // 16-bit TSS
    cpu.s().tr.access = 0x8b;
    CHECK(write_cr(cpu, 0, 0x80000011) == -1);
    CHECK(cpu.s().msr.efer == 0x500);
    CHECK(write_cr(cpu, 4, 0) == 13);  // PAE is needed now
    CHECK(write_cr(cpu, 0, 0x11) == -1);
    CHECK(cpu.s().msr.efer == 0x100);
}

TEST_CASE("CR0 in 64-bit mode", "[system][cr]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    CHECK(write_cr(cpu, 0, u64{1} << 32 | 0x80010011) == 13);
    CHECK(write_cr(cpu, 0, 0x10011) == 13);  // PG cannot go while CS.L = 1
    const unsigned flushes = cpu.vcpu.full_flushes + cpu.vcpu.partial_flushes;
    CHECK(write_cr(cpu, 0, 0x80010011 | 8) == -1);  // TS: nothing about paging
    CHECK(cpu.vcpu.full_flushes + cpu.vcpu.partial_flushes == flushes);
    CHECK(write_cr(cpu, 0, 0x80000011) == -1);  // WP
    CHECK(cpu.vcpu.full_flushes + cpu.vcpu.partial_flushes == flushes + 1);
    cpu.enter_ring(3);
    CHECK(write_cr(cpu, 0, 0x80000011) == 13);
    CHECK(vector_of(cpu, clts(&cpu.t())) == 13);
}

// SDM volume 3, 4.10.4.1: a write of CR3 drops what is not global, of the current PCID only, whether it changes the value or
// not.
TEST_CASE("a write of CR3 with the value that it has drops what the manual asks and no more", "[X5]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    CHECK(write_cr(cpu, 3, kTables) == -1);
    const unsigned full = cpu.vcpu.full_flushes, partial = cpu.vcpu.partial_flushes;
    for (unsigned i = 1; i <= 3; ++i) {
        CHECK(write_cr(cpu, 3, kTables) == -1);
        CHECK(cpu.vcpu.partial_flushes == partial + i);
    }
    CHECK(write_cr(cpu, 4, cpu.s().cr4) == -1);
    CHECK(cpu.vcpu.full_flushes == full);
    CHECK(write_cr(cpu, 4, cpu.s().cr4 | 1 << 17) == -1);  // PCIDE
    const unsigned after = cpu.vcpu.full_flushes + cpu.vcpu.partial_flushes;
    cpu.vcpu.spaces_flushed.clear();
    CHECK(write_cr(cpu, 3, u64{1} << 63 | kTables) == -1);
    CHECK(cpu.vcpu.spaces_flushed.empty());
    CHECK(cpu.vcpu.full_flushes + cpu.vcpu.partial_flushes == after);
    CHECK(write_cr(cpu, 3, kTables) == -1);
    CHECK(cpu.vcpu.spaces_flushed == std::vector<u64>{0});
    CHECK(cpu.vcpu.full_flushes + cpu.vcpu.partial_flushes == after);
}

TEST_CASE("CR4 and CR3: reserved bits and PCID", "[system][cr][pcid]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    CHECK(write_cr(cpu, 4, 0x20 | 1 << 15) == 13);  // reserved
    CHECK(write_cr(cpu, 4, 0x20 | 1 << 12) == 13);  // LA57 in IA-32e mode
    CHECK(write_cr(cpu, 4, 0x20 | 1 << 24) == 13);  // PKS
    CHECK(write_cr(cpu, 4, 0x20 | u64{1} << 33) == 13);
    CHECK(write_cr(cpu, 4, 0x3506e8) == -1);
    const unsigned full = cpu.vcpu.full_flushes;
    CHECK(write_cr(cpu, 4, 0x3506e8 & ~0x600u) == -1);  // OSFXSR alone flushes nothing
    CHECK(cpu.vcpu.full_flushes == full);

    CHECK(write_cr(cpu, 3, u64{1} << 46) == 13);
    CHECK(write_cr(cpu, 3, u64{1} << 63 | kTables) == 13);
    CHECK(write_cr(cpu, 3, kTables | 1) == -1);
    CHECK(cpu.vcpu.partial_flushes == 1);
    cpu.s().cr4 &= ~u64{1 << 17};
    CHECK(write_cr(cpu, 4, cpu.s().cr4 | 1 << 17) == 13);  // PCIDE with a PCID in CR3
    CHECK(write_cr(cpu, 3, kTables) == -1);
    CHECK(write_cr(cpu, 4, cpu.s().cr4 | 1 << 17) == -1);
    CHECK(write_cr(cpu, 3, u64{1} << 63 | kTables | 5) == -1);
    CHECK(cpu.s().cr3 == (kTables | 5));
    const unsigned partial = cpu.vcpu.partial_flushes;
    const unsigned switches = cpu.vcpu.switches;
    CHECK(write_cr(cpu, 3, u64{1} << 63 | kTables | 6) == -1);  // another context, no flush asked for
    CHECK(cpu.vcpu.switches == switches + 1);
    CHECK(cpu.vcpu.spaces_flushed.empty());
    CHECK(write_cr(cpu, 3, kTables | 5) == -1);
    CHECK(cpu.vcpu.spaces_flushed == std::vector<u64>{5});
    CHECK(cpu.vcpu.switches == switches + 2);
    CHECK(cpu.vcpu.partial_flushes == partial);

    SystemCpu legacy(SystemCpu::Mode::Protected);
    CHECK(write_cr(legacy, 4, 1 << 17) == 13);  // PCIDE outside IA-32e mode
    SystemCpu old(SystemCpu::Mode::Long, "qemu64");
    CHECK(write_cr(old, 4, 0x20 | 1 << 20) == 13);  // SMEP not offered
}

TEST_CASE("other control registers", "[system][cr][I7]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    for (const u32 index : {1u, 5u, 6u, 7u, 9u, 15u}) CHECK(write_cr(cpu, index, 0) == 6);
    CHECK(write_cr(cpu, 2, 0x123456789abc) == -1);
    CHECK(cpu.s().cr2 == 0x123456789abc);
    CHECK(write_cr(cpu, 8, 16) == 13);
    CHECK(write_cr(cpu, 8, 9) == -1);
    CHECK(cpu.platform.tpr == 9);
    CHECK(mov_from_cr(&cpu.t(), 8) == LeaveReason::None);
    CHECK(cpu.t().scratch[0] == 9);
    SystemCpu legacy(SystemCpu::Mode::Protected);
    CHECK(write_cr(legacy, 8, 0) == 6);
    CHECK(vector_of(legacy, lmsw(&legacy.t(), 0xe)) == -1);
    CHECK(legacy.s().cr0 == 0x1f);  // LMSW does not clear PE
}

TEST_CASE("XCR0", "[system][cr]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    cpu.s().gpr[RCX] = cpu.s().gpr[RDX] = 0;
    cpu.s().gpr[RAX] = 3;
    CHECK(vector_of(cpu, xsetbv(&cpu.t())) == 6);
    cpu.s().cr4 |= 1 << 18;
    CHECK(vector_of(cpu, xsetbv(&cpu.t())) == -1);
    CHECK(cpu.s().xcr0 == 3);
    for (const u64 bad : {u64{2}, u64{0}, u64{1} << 31 | 1}) {
        cpu.s().gpr[RAX] = bad;
        CHECK(vector_of(cpu, xsetbv(&cpu.t())) == 13);
    }
    cpu.s().gpr[RCX] = 5;
    CHECK(vector_of(cpu, xgetbv(&cpu.t())) == 13);
}

TEST_CASE("debug registers: privilege first, aliases, general detect, fixed bits", "[system][R6]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    CHECK(write_dr(cpu, 0, 0x1234) == -1);
    CHECK(write_dr(cpu, 4, 0) == -1);  // DR6
    CHECK(cpu.s().dr6 == 0xffff0ff0);
    CHECK(write_dr(cpu, 5, 0xffffffff & ~0x2000u) == -1);
    CHECK(cpu.s().dr7 == 0xffff07ff);
    CHECK(write_dr(cpu, 7, u64{1} << 32) == 13);
    CHECK(write_dr(cpu, 6, u64{1} << 32) == 13);
    cpu.s().cr4 |= 8;
    CHECK(write_dr(cpu, 4, 0) == 6);
    CHECK(read_dr(cpu, 5) == 6);
    CHECK(write_dr(cpu, 7, 0x2400) == -1);
    cpu.enter_ring(3);
    CHECK(read_dr(cpu, 0) == 13);
    CHECK(read_dr(cpu, 4) == 13);  // not #UD
    cpu.enter_ring(0);
    CHECK(read_dr(cpu, 7) == 1);
    CHECK(cpu.payload == 0x2000);
    cpu.set_gate(1, kCode0, 0x4000, 0xe);
    raise(cpu.t(), kDB, 0, 0x2000);
    CHECK(deliver_exception(cpu.t()) == LeaveReason::Lookup);
    CHECK(cpu.s().dr6 == 0xffff2ff0);
    CHECK((cpu.s().dr7 & 0x2000) == 0);  // GD is cleared for the handler
    raise(cpu.t(), kDB, 0, 0x4002);
    deliver_exception(cpu.t());
    CHECK(cpu.s().dr6 == 0xffff6ff2);  // BD stays: DR6 accumulates
}

TEST_CASE("breakpoints and single step", "[system][R6]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    CHECK_FALSE(debug_active(cpu.t()));
    SECTION("instruction breakpoint, and RF steps over it") {
        cpu.s().dr[1] = 0x100;
        cpu.s().dr7 = 0x404;
        CHECK(debug_active(cpu.t()));
        CHECK(debug_begin(&cpu.t()) == LeaveReason::Exception);
        CHECK(cpu.take() == 1);
        CHECK(cpu.payload == 2);
        cpu.s().rflags |= 0x10000;
        CHECK(debug_begin(&cpu.t()) == LeaveReason::None);
        CHECK((cpu.s().rflags & 0x10000) == 0);
        cpu.s().rip = 0x101;
        CHECK(debug_begin(&cpu.t()) == LeaveReason::None);
    }
    SECTION("data breakpoint traps after the instruction") {
        cpu.s().dr[3] = 0x7004;
        cpu.s().dr7 = 0x400 | 0x80 | 0xd0000000;  // G3, 4 bytes, write
        debug_data(&cpu.t(), 0x7002, 2, 1);
        CHECK(cpu.s().debug_trap == 0);
        debug_data(&cpu.t(), 0x7004, 4, 0);
        CHECK(cpu.s().debug_trap == 0);  // a read
        debug_data(&cpu.t(), 0x7001, 4, 1);
        CHECK(cpu.s().debug_trap == 8);
        CHECK(debug_begin(&cpu.t()) == LeaveReason::Exception);
        CHECK(cpu.take() == 1);
        CHECK(cpu.payload == 8);
        cpu.s().dr7 |= 0xf0000000;
        debug_data(&cpu.t(), 0x7007, 1, 0);
        CHECK(cpu.s().debug_trap == 8);
    }
    SECTION("single step reports the instruction that began with TF") {
        cpu.s().rflags |= 0x100;
        CHECK(debug_begin(&cpu.t()) == LeaveReason::None);
        cpu.s().rip = 0x102;
        cpu.s().rflags &= ~u64{0x100};  // POPF cleared it
        CHECK(debug_active(cpu.t()));
        CHECK(debug_begin(&cpu.t()) == LeaveReason::Exception);
        CHECK(cpu.take() == 1);
        CHECK(cpu.payload == 0x4000);
    }
    SECTION("a fault cancels the step") {
        cpu.s().rflags |= 0x100;
        CHECK(debug_begin(&cpu.t()) == LeaveReason::None);
        raise(cpu.t(), kGP);
        CHECK(cpu.s().debug_trap == 0);
    }
    SECTION("MOV SS loses the step and keeps the data breakpoint") {
        cpu.s().debug_trap = 0x4001;
        cpu.s().mov_ss_shadow = true;
        CHECK(debug_begin(&cpu.t()) == LeaveReason::None);
        cpu.s().mov_ss_shadow = false;
        CHECK(debug_begin(&cpu.t()) == LeaveReason::Exception);
        CHECK(cpu.take() == 1);
        CHECK(cpu.payload == 1);
    }
    SECTION("I/O breakpoints need CR4.DE") {
        cpu.s().dr[0] = 0x60;
        cpu.s().dr7 = 0x400 | 1 | 2 << 16;
        port_in(&cpu.t(), 0x60, 1);
        CHECK(cpu.s().debug_trap == 0);
        cpu.s().cr4 |= 8;
        port_in(&cpu.t(), 0x60, 1);
        CHECK(cpu.s().debug_trap == 1);
    }
}

TEST_CASE("MSRs: rows, reserved bits, canonical addresses", "[system][msr]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    CHECK(write_msr(cpu, 0xc0000082, 0xffff800000000000) == -1);
    CHECK(read_msr(cpu, 0xc0000082) == 0xffff800000000000);
    for (const u32 index : {0xc0000082u, 0xc0000083u, 0xc0000100u, 0xc0000101u, 0xc0000102u, 0x175u, 0x176u}) {
        CHECK(write_msr(cpu, index, u64{1} << 56) == 13);
    }
    CHECK(write_msr(cpu, 0x174, 0x100000008) == -1);
    CHECK(read_msr(cpu, 0x174) == 8);
    CHECK(write_msr(cpu, 0xc0000103, u64{1} << 32) == 13);
    CHECK(write_msr(cpu, 0xfe, 0) == 13);
    CHECK(write_msr(cpu, 0x277, 0x0007040600070406) == -1);
    CHECK(write_msr(cpu, 0x277, 0x0207040600070406) == 13);
    CHECK(write_msr(cpu, 0x2ff, 0xc06) == -1);
    CHECK(write_msr(cpu, 0x2ff, 0xc02) == 13);
    CHECK(write_msr(cpu, 0x2ff, 0x1c06) == 13);
    CHECK(write_msr(cpu, 0x250, 0x0606060606060606) == -1);
    CHECK(write_msr(cpu, 0x250, 0x0602060606060606) == 13);
    CHECK(write_msr(cpu, 0x200, 0xc0000006) == -1);
    CHECK(write_msr(cpu, 0x200, 0xc0000106) == 13);
    CHECK(write_msr(cpu, 0x201, 0xffc0000800) == -1);
    CHECK(write_msr(cpu, 0x201, 0x10000000800) == 13);  // beyond 40 physical bits
    CHECK(read_msr(cpu, 0x10a) != kGpOnRead);
    CHECK(write_msr(cpu, 0x49, 1) == -1);
    CHECK(read_msr(cpu, 0x49) == kGpOnRead);  // write-only
    CHECK(read_msr(cpu, 0x12345) == kGpOnRead);
    CHECK(write_msr(cpu, 0x12345, 0) == 13);
    cpu.platform.msrs[0x12345] = 7;
    CHECK(read_msr(cpu, 0x12345) == 7);
    CHECK(write_msr(cpu, 0x12345, 9) == -1);
    CHECK(cpu.platform.msrs[0x12345] == 9);
    cpu.enter_ring(3);
    CHECK(read_msr(cpu, 0x10) == kGpOnRead);
}

TEST_CASE("performance counters read as zero and ignore writes", "[system][msr][R5]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    for (const u32 index : {0xc1u, 0xc8u, 0x186u, 0x18du, 0x309u, 0x30bu, 0x38du, 0x390u}) {
        CHECK(write_msr(cpu, index, 0xffff) == -1);
        CHECK(read_msr(cpu, index) == 0);
    }
    CHECK(read_msr(cpu, 0xc9) == kGpOnRead);
    CHECK(read_msr(cpu, 0xc0010000) == kGpOnRead);  // not an AMD model
    cpu.s().gpr[RCX] = 1u << 30;
    CHECK(vector_of(cpu, rdpmc(&cpu.t())) == -1);
    cpu.s().gpr[RCX] = 99;
    CHECK(vector_of(cpu, rdpmc(&cpu.t())) == 13);
    cpu.enter_ring(3);
    cpu.s().gpr[RCX] = 0;
    CHECK(vector_of(cpu, rdpmc(&cpu.t())) == 13);
    cpu.s().cr4 |= 0x100;
    CHECK(vector_of(cpu, rdpmc(&cpu.t())) == -1);
}

TEST_CASE("what else counts in the guest's TSC follows it", "[system][msr][tsc]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    cpu.platform.time = 1000;
    CHECK(write_msr(cpu, 0x10, 5000) == -1);
    CHECK(cpu.platform.tsc_offset == 4000);
    CHECK(read_msr(cpu, 0x3b) == 4000);
    CHECK(write_msr(cpu, 0x3b, 0) == -1);
    CHECK(cpu.platform.tsc_offset == 0);
    CHECK(read_msr(cpu, 0x10) == 1000);
    CHECK(write_msr(cpu, 0x3b, ~u64{0}) == -1);
    CHECK(cpu.platform.tsc_offset == ~u64{0});
}

TEST_CASE("registers that describe the processor", "[system][msr]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    for (const u32 index : {0x35u, 0xceu}) CHECK(write_msr(cpu, index, 0) == 13);
    CHECK(read_msr(cpu, 0x35) == 0x10001);
    for (const u32 index : {0xe2u, 0x19au, 0x19bu, 0x1a2u, 0x1adu, 0x606u}) CHECK(read_msr(cpu, index) != kGpOnRead);
    CHECK(read_msr(cpu, 0xe7) == 1000);  // MPERF runs with the TSC
    CHECK(read_msr(cpu, 0x9999) == kGpOnRead);
}

TEST_CASE("EFER", "[system][msr]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    CHECK(write_msr(cpu, 0xc0000080, 0xd01 | 1 << 12) == 13);  // SVME
    CHECK(write_msr(cpu, 0xc0000080, 0xc01) == 13);            // LME while paging
    CHECK(write_msr(cpu, 0xc0000080, 0x901) == -1);            // LMA is ignored
    CHECK(cpu.s().msr.efer == 0xd01);
    const unsigned flushes = cpu.vcpu.full_flushes;
    CHECK(write_msr(cpu, 0xc0000080, 0x501) == -1);
    CHECK(cpu.vcpu.full_flushes == flushes + 1);  // NXE
}

TEST_CASE("APIC base transitions", "[system][msr]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    constexpr u64 kBase = 0xfee00100;
    CHECK(read_msr(cpu, 0x1b) == (kBase | 0x800));
    CHECK(write_msr(cpu, 0x1b, kBase | 0x801) == 13);
    CHECK(write_msr(cpu, 0x1b, kBase | 0x800 | u64{1} << 46) == 13);
    CHECK(write_msr(cpu, 0x1b, kBase | 0x400) == 13);
    CHECK(write_msr(cpu, 0x1b, kBase | 0xc00) == -1);
    CHECK(write_msr(cpu, 0x1b, kBase | 0x800) == 13);
    CHECK(write_msr(cpu, 0x1b, kBase) == -1);
    CHECK(write_msr(cpu, 0x1b, kBase | 0xc00) == 13);
    CHECK(write_msr(cpu, 0x1b, kBase | 0x800) == -1);
}

TEST_CASE("time-stamp counter", "[system][msr][tsc]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    CHECK(read_msr(cpu, 0x10) == 1000);
    CHECK(write_msr(cpu, 0x10, 5000) == -1);
    CHECK(read_msr(cpu, 0x10) == 5000);
    CHECK(read_msr(cpu, 0x3b) == 4000);
    CHECK(write_msr(cpu, 0x3b, 0) == -1);
    CHECK(read_msr(cpu, 0x10) == 1000);
    cpu.platform.time = 0x500000001;
    write_msr(cpu, 0xc0000103, 77);
    CHECK(vector_of(cpu, rdtscp(&cpu.t())) == -1);
    CHECK(cpu.s().gpr[RAX] == 1);
    CHECK(cpu.s().gpr[RDX] == 5);
    CHECK(cpu.s().gpr[RCX] == 77);
    cpu.s().cr4 |= 4;
    CHECK(vector_of(cpu, rdtsc(&cpu.t())) == -1);
    cpu.enter_ring(3);
    CHECK(vector_of(cpu, rdtsc(&cpu.t())) == 13);
    CHECK(vector_of(cpu, rdtscp(&cpu.t())) == 13);
}

TEST_CASE("PUSHF and POPF by privilege", "[system][flags]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    auto flags = [&] {
        export_flags(cpu.t());
        return cpu.s().rflags;
    };
    CHECK(popf(&cpu.t(), 0x3fffff, 8) == LeaveReason::None);
    CHECK(flags() == 0x247fd7);  // not VIF, VIP, VM, RF
    CHECK(pushf(&cpu.t(), 8) == LeaveReason::None);
    CHECK(cpu.t().scratch[0] == 0x247fd7);
    popf(&cpu.t(), 0x202, 8);
    cpu.enter_ring(3);
    popf(&cpu.t(), 0x3000, 8);
    CHECK(flags() == 0x202);  // neither IOPL nor IF
    cpu.s().rflags |= 0x3000;
    popf(&cpu.t(), 0x0, 8);
    CHECK(flags() == 0x3002);  // IF at IOPL 3
    popf(&cpu.t(), 0x40000, 2);
    CHECK(flags() == 0x3002);

    SystemCpu vm(SystemCpu::Mode::Protected);
    for (auto& seg : vm.s().seg) seg = {0, 0xffff, 0, 0xf3};
    vm.s().rflags = 0x22002;
    CHECK(pushf(&vm.t(), 2) == LeaveReason::Exception);
    CHECK(vm.take() == 13);
    CHECK(popf(&vm.t(), 0, 2) == LeaveReason::Exception);
    CHECK(vm.take() == 13);
    CHECK(vector_of(vm, cli(&vm.t())) == 13);
    vm.s().rflags = 0x23202;
    CHECK(popf(&vm.t(), 0, 4) == LeaveReason::None);
    CHECK(vm.s().rflags == 0x23002);
}

TEST_CASE("CLI, STI, CLAC, STAC, HLT: privilege", "[system][flags]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    CHECK(vector_of(cpu, stac(&cpu.t())) == -1);
    CHECK((cpu.s().rflags & 0x40000) != 0);
    CHECK(data_mmu(cpu.s()) == kMmuSupervisorAc);
    CHECK(vector_of(cpu, clac(&cpu.t())) == -1);
    CHECK(data_mmu(cpu.s()) == kMmuSupervisor);
    cpu.enter_ring(3);
    CHECK(data_mmu(cpu.s()) == kMmuUser);
    CHECK(vector_of(cpu, stac(&cpu.t())) == 6);
    CHECK(vector_of(cpu, cli(&cpu.t())) == 13);
    CHECK(vector_of(cpu, sti(&cpu.t())) == 13);
    CHECK(vector_of(cpu, hlt(&cpu.t(), 0)) == 13);
    CHECK(vector_of(cpu, privileged(&cpu.t())) == 13);
    cpu.s().rflags |= 0x3000;
    CHECK(vector_of(cpu, sti(&cpu.t())) == -1);
    CHECK(vector_of(cpu, cli(&cpu.t())) == -1);
}

TEST_CASE("I/O permission", "[system][io]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    cpu.platform.ports[0x3f8] = 0x1234567;
    CHECK(port_in(&cpu.t(), 0x3f8, 2) == LeaveReason::None);
    CHECK(cpu.t().scratch[0] == 0x4567);
    cpu.enter_ring(3);
    CHECK(vector_of(cpu, port_in(&cpu.t(), 0x3f8, 1)) == -1);  // the map is all zero
    cpu.put<u8>(kTss + 0x68 + 0x3f8 / 8, 0x10);
    CHECK(vector_of(cpu, port_in(&cpu.t(), 0x3fb, 1)) == -1);
    CHECK(vector_of(cpu, port_in(&cpu.t(), 0x3fc, 1)) == 13);
    CHECK(vector_of(cpu, port_out(&cpu.t(), 0x3fb, 2, 0)) == 13);
    CHECK(vector_of(cpu, check_io(&cpu.t(), 0x3f9, 4)) == 13);
    cpu.s().tr.limit = 0x68 + 0x10;
    CHECK(vector_of(cpu, port_in(&cpu.t(), 0x78, 1)) == -1);
    CHECK(vector_of(cpu, port_in(&cpu.t(), 0x80, 1)) == 13);
    cpu.s().rflags |= 0x3000;
    CHECK(vector_of(cpu, port_in(&cpu.t(), 0x80, 1)) == -1);
    cpu.s().rflags |= 0x20000;  // virtual-8086 mode asks the map whatever IOPL is
    CHECK(vector_of(cpu, port_in(&cpu.t(), 0x80, 1)) == 13);
}

TEST_CASE("SWAPGS and FSGSBASE", "[system]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    cpu.s().msr.kernel_gs_base = 0x1111;
    cpu.s().seg[GS].base = 0x2222;
    CHECK(vector_of(cpu, swapgs(&cpu.t())) == -1);
    CHECK(cpu.s().seg[GS].base == 0x1111);
    CHECK(read_msr(cpu, 0xc0000102) == 0x2222);
    CHECK(vector_of(cpu, read_segment_base(&cpu.t(), GS)) == 6);
    cpu.s().cr4 |= 1 << 16;
    cpu.enter_ring(3);
    CHECK(vector_of(cpu, swapgs(&cpu.t())) == 13);
    CHECK(vector_of(cpu, write_segment_base(&cpu.t(), FS, 0x3333)) == -1);
    CHECK(cpu.s().seg[FS].base == 0x3333);
    CHECK(vector_of(cpu, write_segment_base(&cpu.t(), FS, u64{1} << 56)) == 13);
}

TEST_CASE("hypercalls", "[system][H1][H2]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    cpu.platform.hypercall_result = ~u64{999};
    for (const Gpr r : {RAX, RBX, RCX, RDX, RSI}) cpu.s().gpr[r] = 0xaaaabbbb00000000 + r;
    CHECK(hypercall(&cpu.t()) == LeaveReason::None);
    CHECK(cpu.s().gpr[RAX] == ~u64{999});
    CHECK(cpu.platform.calls.at(0) == std::vector<u64>{0xaaaabbbb00000000, 0xaaaabbbb00000003, 0xaaaabbbb00000001,
                                                       0xaaaabbbb00000002, 0xaaaabbbb00000006});
    cpu.enter_ring(3);
    CHECK(hypercall(&cpu.t()) == LeaveReason::None);
    CHECK(cpu.s().gpr[RAX] == ~u64{0});  // -KVM_EPERM
    CHECK(cpu.platform.calls.size() == 1);

    SystemCpu narrow(SystemCpu::Mode::Protected);
    narrow.platform.hypercall_result = ~u64{999};
    for (const Gpr r : {RAX, RBX, RCX, RDX, RSI}) narrow.s().gpr[r] = 0xaaaabbbb00000000 + r;
    CHECK(hypercall(&narrow.t()) == LeaveReason::None);
    CHECK(narrow.s().gpr[RAX] == 0xfffffc18);
    CHECK(narrow.platform.calls.at(0) == std::vector<u64>{0, 3, 1, 2, 6});
}

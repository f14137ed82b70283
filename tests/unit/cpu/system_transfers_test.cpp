// Far transfers, returns and the fast system calls (SDM volume 2; volume 3, 5.8).
#include "system_fixture.h"

using namespace tandem;
using namespace tandem::test;

namespace {

void push32(SystemCpu& cpu, std::initializer_list<u32> values) {
    for (const u32 v : values) {
        cpu.s().gpr[RSP] -= 4;
        cpu.put<u32>(cpu.s().gpr[RSP], v);
    }
}
void push64(SystemCpu& cpu, std::initializer_list<u64> values) {
    for (const u64 v : values) {
        cpu.s().gpr[RSP] -= 8;
        cpu.put<u64>(cpu.s().gpr[RSP], v);
    }
}

void call_gate(SystemCpu& cpu, u16 target, u64 offset, unsigned type, unsigned dpl, unsigned parameters = 0) {
    cpu.set_gdt(kGate, (offset & 0xffff) | u64{target} << 16 | u64{parameters} << 32 | u64{0x80u | dpl << 5 | type} << 40 |
                           (offset >> 16 & 0xffff) << 48);
    if (long_mode(cpu.s())) cpu.put<u64>(kGdt + kGate + 8, offset >> 32);
}

}  // namespace

TEST_CASE("real mode far transfers", "[system][far]") {
    SystemCpu cpu(SystemCpu::Mode::Real);
    CHECK(far_call(&cpu.t(), 0x2000, 0x345, 2, 0x105) == LeaveReason::Lookup);
    CHECK(cpu.s().seg[CS].base == 0x20000);
    CHECK(cpu.s().rip == 0x345);
    CHECK(cpu.get<u16>(kIvtStack - 4) == 0x105);
    CHECK(far_return(&cpu.t(), 2, 6) == LeaveReason::Lookup);
    CHECK(cpu.s().rip == 0x105);
    CHECK(cpu.s().seg[CS].selector == 0);
    CHECK(cpu.s().gpr[RSP] == kIvtStack + 6);
    CHECK(far_jump(&cpu.t(), 0, 0x12345, 4, 0) == LeaveReason::Exception);
    CHECK(cpu.take() == 13);
}

TEST_CASE("far jumps to code segments", "[system][far]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    u32 error = 0;
    auto jump = [&](u16 selector, u64 offset = 0x4000) {
        error = 0;
        return far_jump(&cpu.t(), selector, offset, 4, 0x107) == LeaveReason::Lookup ? -1 : cpu.take(&error);
    };
    CHECK(jump(kCode0) == -1);
    CHECK(cpu.s().rip == 0x4000);
    CHECK(jump(0) == 13);
    CHECK(error == 0);
    CHECK(jump(kCode0 | 1) == 13);
    CHECK(error == kCode0);
    CHECK(jump(kCode3) == 13);
    CHECK(jump(kData0) == 13);
    CHECK(jump(0x200) == 13);
    CHECK(error == 0x200);
    cpu.set_gdt(kFree, SystemCpu::descriptor(0, 0xfffff, 0xc1b));
    CHECK(jump(kFree) == 11);
    CHECK(error == kFree);
    CHECK(jump(kCode16, 0x10000) == 13);  // beyond the limit
    CHECK(error == 0);
    cpu.enter_ring(3);
    CHECK(jump(kConforming) == -1);
    CHECK(cpu.s().seg[CS].selector == (kConforming | 3));
}

TEST_CASE("call gate to the same and to an inner level", "[system][far]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    cpu.enter_ring(3);
    cpu.set_gdt(kTssSel, SystemCpu::descriptor(kTss, 0x2067, 0x8b));
    call_gate(cpu, kCode0, 0x4000, 0xc, 3, 2);
    push32(cpu, {0x11, 0x22});
    CHECK(far_call(&cpu.t(), kGate | 3, 0, 4, 0x107) == LeaveReason::Lookup);
    CHECK(cpl(cpu.s()) == 0);
    CHECK(cpu.s().rip == 0x4000);
    const u64 sp = cpu.s().gpr[RSP];
    CHECK(sp == kKernelStack - 24);
    CHECK(cpu.get<u32>(sp) == 0x107);
    CHECK(cpu.get<u32>(sp + 4) == kCode3);
    CHECK(cpu.get<u32>(sp + 8) == 0x22);
    CHECK(cpu.get<u32>(sp + 12) == 0x11);
    CHECK(cpu.get<u32>(sp + 16) == kUserStack - 8);
    CHECK(cpu.get<u32>(sp + 20) == kData3);
    // Back again; DS of level 0 may not stay.
    cpu.s().seg[DS] = {0, 0xffffffff, kData0, 0xc093};
    CHECK(far_return(&cpu.t(), 4, 8) == LeaveReason::Lookup);
    CHECK(cpl(cpu.s()) == 3);
    CHECK(cpu.s().rip == 0x107);
    CHECK(cpu.s().gpr[RSP] == kUserStack);
    CHECK(cpu.s().seg[DS] == Segment{});
    CHECK(cpu.s().seg[ES].selector == kData3);

    u32 error = 0;
    call_gate(cpu, kCode0, 0x4000, 0xc, 0);
    CHECK(far_call(&cpu.t(), kGate | 3, 0, 4, 0x107) == LeaveReason::Exception);
    CHECK(cpu.take(&error) == 13);
    CHECK(error == kGate);
    call_gate(cpu, kCode0, 0x4000, 0xc, 3);
    CHECK(far_jump(&cpu.t(), kGate | 3, 0, 4, 0x107) == LeaveReason::Exception);  // JMP does not change the level
    CHECK(cpu.take(&error) == 13);
    CHECK(error == kCode0);
    call_gate(cpu, kConforming, 0x4800, 4, 3);
    CHECK(far_call(&cpu.t(), kGate | 3, 0, 4, 0x107) == LeaveReason::Lookup);
    CHECK(cpu.s().gpr[RSP] == kUserStack - 4);
    CHECK(cpu.s().rip == 0x4800);
}

TEST_CASE("call gate in 64-bit mode", "[system][far]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    cpu.enter_ring(3);
    call_gate(cpu, kCode0, 0xffff800000004000, 0xc, 3);
    CHECK(far_call(&cpu.t(), kGate | 3, 0, 4, 0x107) == LeaveReason::Lookup);
    CHECK(cpl(cpu.s()) == 0);
    CHECK(cpu.s().seg[SS].selector == 0);
    CHECK(cpu.s().rip == 0xffff800000004000);
    const u64 sp = cpu.s().gpr[RSP];
    CHECK(sp == kKernelStack - 32);
    CHECK(cpu.get<u64>(sp) == 0x107);
    CHECK(cpu.get<u64>(sp + 16) == kUserStack);
    CHECK(far_return(&cpu.t(), 8, 0) == LeaveReason::Lookup);
    CHECK(cpl(cpu.s()) == 3);
    CHECK(cpu.s().gpr[RSP] == kUserStack);
    // The upper half's type field must be zero.
    cpu.put<u64>(kGdt + kGate + 8, u64{0xc} << 40);
    u32 error = 0;
    CHECK(far_call(&cpu.t(), kGate | 3, 0, 4, 0x107) == LeaveReason::Exception);
    CHECK(cpu.take(&error) == 13);
    CHECK(error == kGate);
    // 16-bit gates and tasks do not exist.
    call_gate(cpu, kCode0, 0x4000, 4, 3);
    CHECK(far_call(&cpu.t(), kGate | 3, 0, 4, 0x107) == LeaveReason::Exception);
    cpu.take();
    cpu.set_gdt(kTss2Sel, SystemCpu::descriptor(kTss2, 0x67, 0xe9));
    CHECK(far_jump(&cpu.t(), kTss2Sel, 0, 4, 0x107) == LeaveReason::Exception);
    CHECK(cpu.take() == 13);
}

TEST_CASE("64-bit mode to compatibility mode and back", "[system][far]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    cpu.set_gdt(kFree, SystemCpu::descriptor(0, 0xfffff, 0xc9b));
    push64(cpu, {kFree, 0x4444});
    CHECK(far_return(&cpu.t(), 8, 0) == LeaveReason::Lookup);
    CHECK_FALSE(code64(cpu.s()));
    CHECK(cpu.s().rip == 0x4444);
    CHECK(far_jump(&cpu.t(), kCode0, 0x5555, 4, 0) == LeaveReason::Lookup);
    CHECK(code64(cpu.s()));
    cpu.set_gdt(kFree, SystemCpu::descriptor(0, 0xfffff, 0xe9b));  // L and D
    CHECK(far_jump(&cpu.t(), kFree, 0, 4, 0) == LeaveReason::Exception);
    u32 error = 0;
    CHECK(cpu.take(&error) == 13);
    CHECK(error == kFree);
}

TEST_CASE("IRET in protected mode", "[system][iret]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    u32 error = 0;
    SECTION("same level, flags by privilege") {
        push32(cpu, {0x7fd7 | 0x250000, kCode0, 0x4000});
        cpu.s().rflags &= ~u64{0x4000};
        CHECK(iret(&cpu.t(), 4, 0) == LeaveReason::Lookup);
        CHECK(cpu.s().rip == 0x4000);
        CHECK(cpu.s().gpr[RSP] == kKernelStack);
        export_flags(cpu.t());
        CHECK(cpu.s().rflags == 0x247fd7);  // RF is dropped without breakpoints
    }
    SECTION("to an outer level") {
        push32(cpu, {kData3, 0x9100, 0x202, kCode3, 0x4000});
        CHECK(iret(&cpu.t(), 4, 0) == LeaveReason::Lookup);
        CHECK(cpl(cpu.s()) == 3);
        CHECK(cpu.s().gpr[RSP] == 0x9100);
        CHECK(cpu.s().seg[DS] == Segment{});
        // From there neither IF nor IOPL can be changed.
        push32(cpu, {0x3002, kCode3, 0x4100});
        CHECK(iret(&cpu.t(), 4, 0) == LeaveReason::Lookup);
        CHECK((cpu.s().rflags & 0x3200) == 0x200);
        push32(cpu, {0x2, kCode0, 0x4100});
        CHECK(iret(&cpu.t(), 4, 0) == LeaveReason::Exception);
        CHECK(cpu.take(&error) == 13);
        CHECK(error == kCode0);
    }
    SECTION("stack segment checks") {
        push32(cpu, {kData0, 0x9100, 0x202, kCode3, 0x4000});
        const u64 sp = cpu.s().gpr[RSP];
        CHECK(iret(&cpu.t(), 4, 0) == LeaveReason::Exception);
        CHECK(cpu.take(&error) == 13);
        CHECK(error == kData0);
        CHECK(cpu.s().gpr[RSP] == sp);
        CHECK(cpl(cpu.s()) == 0);
        cpu.put<u32>(sp + 16, 3);
        CHECK(iret(&cpu.t(), 4, 0) == LeaveReason::Exception);
        CHECK(cpu.take(&error) == 13);
        CHECK(error == 0);
    }
    SECTION("to virtual-8086 mode and a trap back") {
        push32(cpu, {6, 5, 4, 3, 2, 0x8000, 0x23202, 0x1111, 0x22});
        CHECK(iret(&cpu.t(), 4, 0) == LeaveReason::Lookup);
        CHECK(vm86(cpu.s()));
        CHECK(cpl(cpu.s()) == 3);
        CHECK(cpu.s().rip == 0x22);
        CHECK(cpu.s().seg[CS] == Segment{0x11110, 0xffff, 0x1111, 0xf3});
        CHECK(cpu.s().seg[SS].selector == 2);
        CHECK(cpu.s().seg[ES].selector == 3);
        CHECK(cpu.s().seg[DS].selector == 4);
        CHECK(cpu.s().seg[FS].selector == 5);
        CHECK(cpu.s().seg[GS].selector == 6);
        CHECK(cpu.s().gpr[RSP] == 0x8000);
    }
}

TEST_CASE("IRET in virtual-8086 mode", "[system][iret]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    for (auto& seg : cpu.s().seg) seg = {0, 0xffff, 0, 0xf3};
    cpu.s().rflags = 0x23002;
    import_flags(cpu.t());
    cpu.s().gpr[RSP] = 0x8000 - 6;
    cpu.put<u16>(0x8000 - 6, 0x77);
    cpu.put<u16>(0x8000 - 4, 0x10);
    cpu.put<u16>(0x8000 - 2, 0x0202);
    CHECK(iret(&cpu.t(), 2, 0) == LeaveReason::Lookup);
    CHECK(cpu.s().rip == 0x77);
    CHECK((cpu.s().rflags & 0x23200) == 0x23200);  // IOPL and VM stay
    cpu.s().rflags &= ~u64{0x1000};
    CHECK(iret(&cpu.t(), 2, 0) == LeaveReason::Exception);
    CHECK(cpu.take() == 13);
}

TEST_CASE("IRET in 64-bit mode", "[system][iret]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    SECTION("same level pops SS and RSP, null SS allowed") {
        push64(cpu, {0, 0xb000, 0x2, kCode0, 0xffff800000001234});
        cpu.s().nmi_blocked = true;
        CHECK(iret(&cpu.t(), 8, 0) == LeaveReason::Lookup);
        CHECK(cpu.s().gpr[RSP] == 0xb000);
        CHECK(cpu.s().seg[SS].selector == 0);
        CHECK(cpl(cpu.s()) == 0);
        CHECK_FALSE(cpu.s().nmi_blocked);
    }
    SECTION("null SS for level 3 is #GP(0)") {
        push64(cpu, {3, 0xb000, 0x2, kCode3, 0x1234});
        CHECK(iret(&cpu.t(), 8, 0) == LeaveReason::Exception);
        CHECK(cpu.take() == 13);
    }
    SECTION("a non-canonical RIP is #GP(0) before the switch") {
        push64(cpu, {kData3, 0xb000, 0x2, kCode3, 0x800000000000});
        CHECK(iret(&cpu.t(), 8, 0) == LeaveReason::Exception);
        u32 error = 5;
        CHECK(cpu.take(&error) == 13);
        CHECK(error == 0);
        CHECK(cpl(cpu.s()) == 0);
    }
    SECTION("NT is #GP(0)") {
        cpu.s().rflags |= 0x4000;
        CHECK(iret(&cpu.t(), 8, 0) == LeaveReason::Exception);
        CHECK(cpu.take() == 13);
    }
}

TEST_CASE("SYSCALL and SYSRET", "[system][syscall]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    cpu.s().msr.star = u64{0x0013} << 48 | u64{kCode0} << 32;
    cpu.s().msr.lstar = 0xffff800000005000;
    cpu.s().msr.fmask = 0x47700;
    cpu.enter_ring(3);
    cpu.s().rflags = 0x40246;
    import_flags(cpu.t());
    CHECK(syscall(&cpu.t(), 0x4002) == LeaveReason::Lookup);
    CHECK(cpu.s().gpr[RCX] == 0x4002);
    CHECK(cpu.s().gpr[R11] == 0x40246);
    CHECK(cpu.s().rip == 0xffff800000005000);
    CHECK(cpl(cpu.s()) == 0);
    CHECK(cpu.s().seg[CS] == Segment{0, 0xffffffff, kCode0, 0xa09b});
    CHECK(cpu.s().seg[SS] == Segment{0, 0xffffffff, kCode0 + 8, 0xc093});
    export_flags(cpu.t());
    CHECK(cpu.s().rflags == 0x46);
    cpu.s().gpr[R11] = 0x12247;
    CHECK(sysret(&cpu.t(), 8) == LeaveReason::Lookup);
    CHECK(cpu.s().seg[CS] == Segment{0, 0xffffffff, 0x13 + 16, 0xa0fb});
    CHECK(cpu.s().seg[SS] == Segment{0, 0xffffffff, 0x13 + 8, 0xc0f3});
    export_flags(cpu.t());
    CHECK(cpu.s().rflags == 0x2247);
    CHECK(cpu.s().rip == 0x4002);
    CHECK(sysret(&cpu.t(), 8) == LeaveReason::Exception);
    CHECK(cpu.take() == 13);

    cpu.enter_ring(0);
    cpu.s().gpr[RCX] = 0x800000000000;
    CHECK(sysret(&cpu.t(), 8) == LeaveReason::Exception);
    CHECK(cpu.take() == 13);
    CHECK(sysret(&cpu.t(), 4) == LeaveReason::Lookup);  // to 32-bit code: RIP is ECX
    CHECK(cpu.s().rip == 0);
    CHECK(cpu.s().seg[CS] == Segment{0, 0xffffffff, 0x13, 0xc0fb});
    CHECK(syscall(&cpu.t(), 0) == LeaveReason::Exception);  // not in compatibility mode
    CHECK(cpu.take() == 6);
    cpu.enter_ring(0);
    cpu.s().msr.efer &= ~u64{1};
    CHECK(syscall(&cpu.t(), 0) == LeaveReason::Exception);
    CHECK(cpu.take() == 6);
}

TEST_CASE("SYSENTER and SYSEXIT", "[system][syscall]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    cpu.enter_ring(3);
    CHECK(sysenter(&cpu.t()) == LeaveReason::Exception);
    CHECK(cpu.take() == 13);
    cpu.s().msr.sysenter_cs = kCode0 | 1;
    cpu.s().msr.sysenter_esp = 0xa100;
    cpu.s().msr.sysenter_eip = 0x4321;
    cpu.s().rflags |= 0x200;
    CHECK(sysenter(&cpu.t()) == LeaveReason::Lookup);
    CHECK(cpu.s().seg[CS] == Segment{0, 0xffffffff, kCode0, 0xc09b});
    CHECK(cpu.s().seg[SS] == Segment{0, 0xffffffff, kData0, 0xc093});
    CHECK(cpu.s().rip == 0x4321);
    CHECK(cpu.s().gpr[RSP] == 0xa100);
    CHECK((cpu.s().rflags & 0x200) == 0);
    cpu.s().gpr[RDX] = 0x1000;
    cpu.s().gpr[RCX] = 0x9000;
    CHECK(sysexit(&cpu.t(), 4) == LeaveReason::Lookup);
    CHECK(cpu.s().seg[CS] == Segment{0, 0xffffffff, (kCode0 + 16) | 3, 0xc0fb});
    CHECK(cpu.s().seg[SS] == Segment{0, 0xffffffff, (kCode0 + 24) | 3, 0xc0f3});
    CHECK(sysexit(&cpu.t(), 4) == LeaveReason::Exception);
    CHECK(cpu.take() == 13);
}

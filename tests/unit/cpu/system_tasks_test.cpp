// Task switches (SDM volume 3, chapter 7; contract X1).
#include "system_fixture.h"

using namespace tandem;
using namespace tandem::test;

namespace {

// A 32-bit TSS for a task at level 0 that starts at `ip`.
void make_task32(SystemCpu& cpu, u64 base, u32 ip, u16 cs = kCode0, u16 ss = kData0, u32 flags = 0x2) {
    for (u64 i = 0; i < 0x68; i += 4) cpu.put<u32>(base + i, 0);
    cpu.put<u32>(base + 0x20, ip);
    cpu.put<u32>(base + 0x24, flags);
    for (u32 i = 0; i < 8; ++i) cpu.put<u32>(base + 0x28 + i * 4, 0x1000 + i);
    cpu.put<u32>(base + 0x38, 0xc000);  // ESP
    const u16 segments[] = {ss, cs, ss, ss, 0, 0};
    for (u32 i = 0; i < 6; ++i) cpu.put<u16>(base + 0x48 + i * 4, segments[i]);
    cpu.set_gdt(kTss2Sel, SystemCpu::descriptor(base, 0x67, 0x89));
}

bool busy(SystemCpu& cpu, u16 selector) { return (cpu.gdt(selector) >> 41 & 1) != 0; }

}  // namespace

TEST_CASE("JMP to a 32-bit task", "[system][X1]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    make_task32(cpu, kTss2, 0x4444);
    cpu.s().gpr[RBX] = 0xbbbb;
    cpu.s().dr7 = 0x403;
    CHECK(far_jump(&cpu.t(), kTss2Sel, 0, 4, 0x107) == LeaveReason::Lookup);
    CHECK(cpu.s().rip == 0x4444);
    CHECK(cpu.s().gpr[RAX] == 0x1000);
    CHECK(cpu.s().gpr[RDI] == 0x1007);
    CHECK(cpu.s().gpr[RSP] == 0xc000);
    CHECK(cpu.s().seg[FS] == Segment{});
    CHECK(cpu.s().seg[SS].selector == kData0);
    CHECK(cpu.s().tr == Segment{kTss2, 0x67, kTss2Sel, 0x8b});
    CHECK((cpu.s().cr0 & 8) != 0);
    CHECK(cpu.s().dr7 == 0x402);
    CHECK((cpu.s().rflags & 0x4000) == 0);
    CHECK_FALSE(busy(cpu, kTssSel));
    CHECK(busy(cpu, kTss2Sel));
    // What the old task left behind.
    CHECK(cpu.get<u32>(kTss + 0x20) == 0x107);
    CHECK(cpu.get<u32>(kTss + 0x34) == 0xbbbb);
    CHECK(cpu.get<u32>(kTss + 0x38) == kKernelStack);
    CHECK(cpu.get<u16>(kTss + 0x4c) == kCode0);
}

TEST_CASE("CALL nests and IRET returns", "[system][X1]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    make_task32(cpu, kTss2, 0x4444);
    CHECK(far_call(&cpu.t(), kTss2Sel, 0, 4, 0x107) == LeaveReason::Lookup);
    CHECK(busy(cpu, kTssSel));
    CHECK(busy(cpu, kTss2Sel));
    CHECK(cpu.get<u16>(kTss2) == kTssSel);
    CHECK((cpu.s().rflags & 0x4000) != 0);
    CHECK(iret(&cpu.t(), 4, 0x4445) == LeaveReason::Lookup);
    CHECK(cpu.s().rip == 0x107);
    CHECK(cpu.s().tr.selector == kTssSel);
    CHECK(busy(cpu, kTssSel));
    CHECK_FALSE(busy(cpu, kTss2Sel));
    CHECK(cpu.get<u32>(kTss2 + 0x20) == 0x4445);
    CHECK((cpu.get<u32>(kTss2 + 0x24) & 0x4000) == 0);  // NT cleared in the image
    CHECK((cpu.s().rflags & 0x4000) == 0);
}

TEST_CASE("a task gate in the IDT, with an error code on the new stack", "[system][X1]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    cpu.enter_ring(3);
    make_task32(cpu, kTss2, 0x4444);
    cpu.set_gate(13, kTss2Sel, 0, 5);
    raise(cpu.t(), kGP, 0x1230);
    CHECK(deliver_exception(cpu.t()) == LeaveReason::Lookup);
    CHECK(cpu.s().rip == 0x4444);
    CHECK(cpl(cpu.s()) == 0);
    CHECK(cpu.s().gpr[RSP] == 0xc000 - 4);
    CHECK(cpu.get<u32>(0xc000 - 4) == 0x1230);
    CHECK(cpu.get<u16>(kTss2) == kTssSel);
    CHECK(cpu.get<u32>(kTss + 0x20) == 0x100);
    CHECK(cpu.get<u16>(kTss + 0x4c) == kCode3);
}

TEST_CASE("16-bit task state", "[system][X1]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    const u16 words[] = {0, 0, 0, 0, 0, 0, 0, 0x4444, 0x2, 1, 2, 3, 4, 0xc000, 6, 7, 8, kData0, kCode16, kData16, kData0, 0};
    for (u64 i = 0; i < std::size(words); ++i) cpu.put<u16>(kTss2 + i * 2, words[i]);
    cpu.set_gdt(kTss2Sel, SystemCpu::descriptor(kTss2, 0x2b, 0x81));
    CHECK(far_call(&cpu.t(), kTss2Sel, 0, 4, 0x107) == LeaveReason::Lookup);
    CHECK(cpu.s().rip == 0x4444);
    CHECK((cpu.s().gpr[RCX] & 0xffff) == 2);
    CHECK((cpu.s().gpr[RSP] & 0xffff) == 0xc000);
    CHECK(cpu.s().seg[SS].selector == kData16);
    CHECK(cpu.s().tr.access == 0x83);
    CHECK(busy(cpu, kTss2Sel));
    CHECK(iret(&cpu.t(), 2, 0x4445) == LeaveReason::Lookup);
    CHECK(cpu.s().rip == 0x107);
    CHECK(cpu.get<u16>(kTss2 + 0xe) == 0x4445);
}

TEST_CASE("into a virtual-8086 task: segments load the real-mode way", "[system][X1]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    make_task32(cpu, kTss2, 0x44, 0x1111, 0x2222, 0x23002);
    CHECK(far_jump(&cpu.t(), kTss2Sel, 0, 4, 0x107) == LeaveReason::Lookup);
    CHECK(vm86(cpu.s()));
    CHECK(cpl(cpu.s()) == 3);
    CHECK(cpu.s().seg[CS] == Segment{0x11110, 0xffff, 0x1111, 0xf3});
    CHECK(cpu.s().seg[SS] == Segment{0x22220, 0xffff, 0x2222, 0xf3});
    CHECK(cpu.s().seg[GS] == Segment{0, 0xffff, 0, 0xf3});
}

TEST_CASE("faults before the switch are the old task's", "[system][X1]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    u32 error = 0;
    auto jump = [&] {
        error = 0;
        const auto r = far_jump(&cpu.t(), kTss2Sel, 0, 4, 0x107);
        CHECK(cpu.s().tr.selector == kTssSel);
        return r == LeaveReason::Lookup ? -1 : cpu.take(&error);
    };
    make_task32(cpu, kTss2, 0x4444);
    cpu.set_gdt(kTss2Sel, SystemCpu::descriptor(kTss2, 0x66, 0x89));
    CHECK(jump() == 10);
    CHECK(error == kTss2Sel);
    cpu.set_gdt(kTss2Sel, SystemCpu::descriptor(kTss2, 0x67, 0x8b));
    CHECK(jump() == 13);
    cpu.set_gdt(kTss2Sel, SystemCpu::descriptor(kTss2, 0x67, 0x09));
    CHECK(jump() == 11);
    CHECK(error == kTss2Sel);
    // The back link of an IRET names a task that is not busy: #TS.
    cpu.set_gdt(kTss2Sel, SystemCpu::descriptor(kTss2, 0x67, 0x89));
    cpu.put<u16>(kTss, kTss2Sel);
    cpu.s().rflags |= 0x4000;
    CHECK(iret(&cpu.t(), 4, 0) == LeaveReason::Exception);
    CHECK(cpu.take(&error) == 10);
    CHECK(error == kTss2Sel);
}

TEST_CASE("faults after the switch are the new task's", "[system][X1]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    u32 error = 0;
    SECTION("bad CS") {
        make_task32(cpu, kTss2, 0x4444, kData0);
        CHECK(far_jump(&cpu.t(), kTss2Sel, 0, 4, 0x107) == LeaveReason::Exception);
        CHECK(cpu.take(&error) == 10);
        CHECK(error == kData0);
    }
    SECTION("SS not present") {
        cpu.set_gdt(kFree, SystemCpu::descriptor(0, 0xfffff, 0xc13));
        make_task32(cpu, kTss2, 0x4444, kCode0, kFree);
        CHECK(far_jump(&cpu.t(), kTss2Sel, 0, 4, 0x107) == LeaveReason::Exception);
        CHECK(cpu.take(&error) == 12);
        CHECK(error == kFree);
    }
    SECTION("bad LDT") {
        make_task32(cpu, kTss2, 0x4444);
        cpu.put<u16>(kTss2 + 0x60, kData0);
        CHECK(far_jump(&cpu.t(), kTss2Sel, 0, 4, 0x107) == LeaveReason::Exception);
        CHECK(cpu.take(&error) == 10);
        CHECK(error == kData0);
    }
    CHECK(cpu.s().tr.selector == kTss2Sel);
    CHECK(cpu.s().rip == 0x4444);
}

TEST_CASE("the T bit traps after the switch", "[system][X1]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    make_task32(cpu, kTss2, 0x4444);
    cpu.put<u16>(kTss2 + 0x64, 1);
    CHECK(far_jump(&cpu.t(), kTss2Sel, 0, 4, 0x107) == LeaveReason::Lookup);
    CHECK(debug_active(cpu.t()));
    CHECK(debug_begin(&cpu.t()) == LeaveReason::Exception);
    CHECK(cpu.take() == 1);
    CHECK(cpu.payload == 0x8000);
}

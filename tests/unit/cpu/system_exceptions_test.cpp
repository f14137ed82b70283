// Delivery of exceptions and interrupts (SDM volume 3, chapter 6).
#include "system_fixture.h"

using namespace tandem;
using namespace tandem::test;

namespace {

// Raises and delivers.
LeaveReason deliver(SystemCpu& cpu, Vector vector, u32 error = 0, u64 payload = 0) {
    raise(cpu.t(), vector, error, payload);
    return deliver_exception(cpu.t());
}

u64 stack64(SystemCpu& cpu, unsigned slot) { return cpu.get<u64>(cpu.s().gpr[RSP] + slot * 8); }
u32 stack32(SystemCpu& cpu, unsigned slot) { return cpu.get<u32>(cpu.s().gpr[RSP] + slot * 4); }

}  // namespace

TEST_CASE("real mode: through the interrupt vector table", "[system][int]") {
    SystemCpu cpu(SystemCpu::Mode::Real);
    cpu.put<u32>(6 * 4, 0x12340567);
    cpu.s().rflags = 0x40302;  // AC, IF, TF
    import_flags(cpu.t());
    CHECK(deliver(cpu, kUD) == LeaveReason::Lookup);
    CHECK(cpu.s().seg[CS].selector == 0x1234);
    CHECK(cpu.s().seg[CS].base == 0x12340);
    CHECK(cpu.s().rip == 0x567);
    CHECK(cpu.s().gpr[RSP] == kIvtStack - 6);
    CHECK(cpu.get<u16>(kIvtStack - 6) == 0x100);
    CHECK(cpu.get<u16>(kIvtStack - 4) == 0);
    CHECK(cpu.get<u16>(kIvtStack - 2) == 0x302);
    CHECK((cpu.s().rflags & 0x40300) == 0);
    // No error code in real mode.
    cpu.put<u32>(13 * 4, 0x00100200);
    deliver(cpu, kGP, 0);
    CHECK(cpu.s().gpr[RSP] == kIvtStack - 12);
}

TEST_CASE("real mode: a vector beyond the table's limit ends in shutdown", "[system][int]") {
    SystemCpu cpu(SystemCpu::Mode::Real);
    cpu.s().idtr.limit = 0;
    CHECK(deliver(cpu, kUD) == LeaveReason::Exit);
    CHECK(cpu.s().activity == Activity::Shutdown);
    CHECK(cpu.platform.shutdowns == std::vector<u64>{0x100});
}

TEST_CASE("protected mode: same level, 32-bit gates, error code and RF", "[system][int]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    cpu.set_gate(13, kCode0, 0x4000, 0xe);
    cpu.set_gate(0x21, kCode0, 0x5000, 0xf);
    cpu.s().rflags = 0x202;
    import_flags(cpu.t());
    CHECK(deliver(cpu, kGP, 0x1234) == LeaveReason::Lookup);
    CHECK(cpu.s().rip == 0x4000);
    CHECK(cpu.s().gpr[RSP] == kKernelStack - 16);
    CHECK(stack32(cpu, 0) == 0x1234);
    CHECK(stack32(cpu, 1) == 0x100);
    CHECK(stack32(cpu, 2) == kCode0);
    CHECK(stack32(cpu, 3) == 0x10202);  // faults push RF
    CHECK((cpu.s().rflags & 0x200) == 0);
    // A trap gate leaves IF alone; a software interrupt pushes no RF and the next pc.
    cpu.s().rflags |= 0x200;
    CHECK(software_interrupt(&cpu.t(), 0x21, static_cast<u32>(SoftwareInterrupt::IntN), 0x4002) == LeaveReason::Lookup);
    CHECK(stack32(cpu, 0) == 0x4002);
    CHECK(stack32(cpu, 2) == 0x202);
    CHECK((cpu.s().rflags & 0x200) != 0);
}

TEST_CASE("protected mode: 16-bit gate", "[system][int]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    cpu.set_gate(6, kCode0, 0x4000, 6);
    deliver(cpu, kUD);
    CHECK(cpu.s().gpr[RSP] == kKernelStack - 6);
    CHECK(cpu.get<u16>(kKernelStack - 6) == 0x100);
    CHECK(cpu.get<u16>(kKernelStack - 4) == kCode0);
}

TEST_CASE("protected mode: to an inner level", "[system][int]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    cpu.enter_ring(3);
    cpu.set_gate(14, kCode0, 0x4000, 0xe);
    CHECK(deliver(cpu, kPF, 6, 0xdead) == LeaveReason::Lookup);
    CHECK(cpu.s().cr2 == 0xdead);
    CHECK(cpl(cpu.s()) == 0);
    CHECK(cpu.s().seg[CS].selector == kCode0);
    CHECK(cpu.s().seg[SS].selector == kData0);
    CHECK(cpu.s().gpr[RSP] == kKernelStack - 24);
    CHECK(stack32(cpu, 0) == 6);
    CHECK(stack32(cpu, 1) == 0x100);
    CHECK(stack32(cpu, 2) == kCode3);
    CHECK(stack32(cpu, 4) == kUserStack);
    CHECK(stack32(cpu, 5) == kData3);
}

TEST_CASE("conforming handlers keep the level", "[system][int]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    cpu.enter_ring(3);
    cpu.set_gate(6, kConforming, 0x4000, 0xe);
    deliver(cpu, kUD);
    CHECK(cpl(cpu.s()) == 3);
    CHECK(cpu.s().seg[CS].selector == (kConforming | 3));
    CHECK(cpu.s().gpr[RSP] == kUserStack - 12);
}

TEST_CASE("gate checks and their error codes", "[system][int]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    cpu.enter_ring(3);
    u32 error = 0;
    auto soft = [&](unsigned vector, SoftwareInterrupt kind = SoftwareInterrupt::IntN) {
        error = 0;
        const auto r = software_interrupt(&cpu.t(), vector, static_cast<u32>(kind), 0x102);
        return r == LeaveReason::Lookup ? -1 : cpu.take(&error);
    };
    cpu.set_gate(0x30, kCode0, 0x4000, 0xe, 0);
    CHECK(soft(0x30) == 13);  // DPL < CPL
    CHECK(error == 0x30 * 8 + 2);
    CHECK(soft(0x31) == 13);  // not a gate
    cpu.put<u64>(kIdt + 0x32 * 8, u64{0x6e} << 40 | u64{kCode0} << 16);
    CHECK(soft(0x32) == 11);  // not present
    CHECK(error == 0x32 * 8 + 2);
    cpu.set_gate(0x33, 0, 0x4000, 0xe, 3);
    CHECK(soft(0x33) == 13);
    CHECK(error == 0);
    cpu.set_gate(0x34, kData0, 0x4000, 0xe, 3);
    CHECK(soft(0x34) == 13);
    CHECK(error == kData0);
    cpu.set_gate(0x35, 0x800, 0x4000, 0xe, 3);
    CHECK(soft(0x35) == 13);
    CHECK(error == 0x800);
    cpu.set_gdt(kFree, SystemCpu::descriptor(0, 0xfffff, 0xc1b));
    cpu.set_gate(0x36, kFree, 0x4000, 0xe, 3);
    CHECK(soft(0x36) == 11);
    CHECK(error == kFree);
    cpu.s().idtr.limit = 0x37 * 8 + 6;
    CHECK(soft(0x37) == 13);
    CHECK(error == 0x37 * 8 + 2);
    // INT1 does not check DPL; INT3 does.
    cpu.set_gate(1, kCode0, 0x4000, 0xe, 0);
    cpu.set_gate(3, kCode0, 0x4000, 0xe, 0);
    CHECK(soft(3, SoftwareInterrupt::Int3) == 13);
    CHECK(error == 3 * 8 + 2);
    CHECK(soft(1, SoftwareInterrupt::Int1) == -1);
}

TEST_CASE("a nested fault in the delivery of a hardware exception has EXT set", "[system][int]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    // #UD's gate is not present: #NP with EXT; #NP's gate works.
    cpu.put<u64>(kIdt + 6 * 8, u64{0x0e} << 40 | u64{kCode0} << 16);
    cpu.set_gate(11, kCode0, 0x4100, 0xe);
    CHECK(deliver(cpu, kUD) == LeaveReason::Lookup);
    CHECK(cpu.s().rip == 0x4100);
    CHECK(stack32(cpu, 0) == 6 * 8 + 2 + 1);
    CHECK(stack32(cpu, 1) == 0x100);
}

TEST_CASE("double fault and shutdown", "[system][int]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    cpu.set_gate(8, kCode0, 0x4200, 0xe);
    SECTION("contributory during contributory") {
        CHECK(deliver(cpu, kGP, 0x10) == LeaveReason::Lookup);  // no gate 13: #GP in #GP
        CHECK(cpu.s().rip == 0x4200);
        CHECK(stack32(cpu, 0) == 0);
        CHECK(stack32(cpu, 1) == 0x100);
    }
    SECTION("contributory during page fault") {
        CHECK(deliver(cpu, kPF, 0, 0x77) == LeaveReason::Lookup);
        CHECK(cpu.s().rip == 0x4200);
        CHECK(cpu.s().cr2 == 0x77);
    }
    SECTION("contributory during benign is serial") {
        cpu.set_gate(13, kCode0, 0x4300, 0xe);
        CHECK(deliver(cpu, kUD) == LeaveReason::Lookup);
        CHECK(cpu.s().rip == 0x4300);
        CHECK(stack32(cpu, 0) == 6 * 8 + 3);
    }
    SECTION("a fault in the double fault shuts down") {
        cpu.put<u64>(kIdt + 8 * 8, 0);
        CHECK(deliver(cpu, kGP) == LeaveReason::Exit);
        CHECK(cpu.s().activity == Activity::Shutdown);
        CHECK(cpu.platform.shutdowns.size() == 1);
        CHECK(cpu.s().rip == 0x100);
    }
}

TEST_CASE("page faults nest by their own rules", "[system][int]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    cpu.set_gate(8, kCode0, 0x4200, 0xe, 0, 1);
    cpu.set_gate(13, kCode0, 0x4300, 0xe);
    cpu.set_gate(14, kCode0, 0x4400, 0xe);
    SECTION("page fault while a page fault is delivered") {
        cpu.map_page(kKernelStack - 8, 0);
        CHECK(deliver(cpu, kPF, 2, 0x5555) == LeaveReason::Lookup);
        CHECK(cpu.s().rip == 0x4200);
        CHECK(cpu.s().cr2 == kKernelStack - 8);
        CHECK(cpu.s().gpr[RSP] == kIstStack - 48);
    }
    SECTION("page fault while a contributory exception is delivered is serial, then doubles") {
        cpu.map_page(kKernelStack - 8, 0);
        CHECK(deliver(cpu, kGP, 0) == LeaveReason::Lookup);
        CHECK(cpu.s().rip == 0x4200);
    }
}

TEST_CASE("protected mode: inner stacks are checked", "[system][int]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    cpu.enter_ring(3);
    cpu.set_gate(0x40, kCode0, 0x4000, 0xe, 3);
    u32 error = 0;
    auto soft = [&] {
        const auto r = software_interrupt(&cpu.t(), 0x40, 0, 0x102);
        return r == LeaveReason::Lookup ? -1 : cpu.take(&error);
    };
    cpu.put<u16>(kTss + 8, 0);
    CHECK(soft() == 10);
    CHECK(error == 0);
    cpu.put<u16>(kTss + 8, kData3);
    CHECK(soft() == 10);
    CHECK(error == (kData3 & 0xfffc));
    cpu.put<u16>(kTss + 8, 0x400);
    CHECK(soft() == 10);
    CHECK(error == 0x400);
    cpu.put<u16>(kTss + 8, kCode0);
    CHECK(soft() == 10);
    cpu.set_gdt(kFree, SystemCpu::descriptor(0, 0xfffff, 0xc13));
    cpu.put<u16>(kTss + 8, kFree);
    CHECK(soft() == 12);
    CHECK(error == kFree);
    cpu.set_gdt(kFree, SystemCpu::descriptor(0, 0x10, 0x493));
    CHECK(soft() == 12);  // the limit
    CHECK(error == kFree);
    cpu.s().tr.limit = 8;
    CHECK(soft() == 10);
    CHECK(error == kTssSel);
    CHECK(cpl(cpu.s()) == 3);
    CHECK(cpu.s().gpr[RSP] == kUserStack);
}

TEST_CASE("long mode: frame, alignment, null SS, IST", "[system][int]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    cpu.set_gate(13, kCode0, 0xffff800000001000, 0xe);
    cpu.set_gate(2, kCode0, 0x7000, 0xe, 0, 1);
    SECTION("same level: the stack is aligned and SS kept") {
        cpu.s().gpr[RSP] = kKernelStack - 3;
        CHECK(deliver(cpu, kGP, 0x18) == LeaveReason::Lookup);
        CHECK(cpu.s().rip == 0xffff800000001000);
        CHECK(cpu.s().gpr[RSP] == kKernelStack - 16 - 48);
        CHECK(stack64(cpu, 0) == 0x18);
        CHECK(stack64(cpu, 4) == kKernelStack - 3);
        CHECK(stack64(cpu, 5) == kData0);
        CHECK(cpu.s().seg[SS].selector == kData0);
    }
    SECTION("from user: RSP0 and a null SS") {
        cpu.enter_ring(3);
        CHECK(deliver(cpu, kGP, 0) == LeaveReason::Lookup);
        CHECK(cpl(cpu.s()) == 0);
        CHECK(cpu.s().seg[SS].selector == 0);
        CHECK(cpu.s().gpr[RSP] == kKernelStack - 48);
        CHECK(stack64(cpu, 4) == kUserStack);
    }
    SECTION("IST without a level change") {
        cpu.platform.nmi = true;
        CHECK(poll_interrupts(cpu.t()));
        CHECK(cpu.s().rip == 0x7000);
        CHECK(cpu.s().gpr[RSP] == kIstStack - 40);
        CHECK(cpu.s().nmi_blocked);
    }
    SECTION("a handler that is not 64-bit code") {
        cpu.set_gate(0x50, kData0, 0x1000, 0xe);
        cpu.set_gdt(kFree, SystemCpu::descriptor(0, 0xfffff, 0xc9b));
        cpu.set_gate(0x51, kFree, 0x1000, 0xe);
        cpu.set_gate(0x52, kCode0, 0x1000, 6);
        u32 error = 0;
        for (const auto& [vector, wanted] : {std::pair{0x50u, u32{kData0}}, {0x51u, u32{kFree}}, {0x52u, 0x52u * 8 + 2}}) {
            CHECK(software_interrupt(&cpu.t(), vector, 0, 0x102) == LeaveReason::Exception);
            CHECK(cpu.take(&error) == 13);
            CHECK(error == wanted);
        }
    }
    SECTION("a non-canonical stack is #SS") {
        cpu.enter_ring(3);
        cpu.put<u64>(kTss + 4, 0x800000000000);
        cpu.set_gate(0x50, kCode0, 0x1000, 0xe, 3);
        CHECK(software_interrupt(&cpu.t(), 0x50, 0, 0x102) == LeaveReason::Exception);
        CHECK(cpu.take() == 12);
    }
}

TEST_CASE("virtual-8086 mode: to level 0, segments pushed and cleared", "[system][int]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    for (auto& seg : cpu.s().seg) seg = {0x5000, 0xffff, 0x500, 0xf3};
    cpu.s().rflags = 0x23202;  // VM, IOPL 3, IF
    import_flags(cpu.t());
    cpu.s().gpr[RSP] = 0x1000;
    cpu.set_gate(13, kCode0, 0x4000, 0xe);
    cpu.set_gate(0x21, kCode0, 0x4000, 0xe, 3);
    SECTION("exception") {
        CHECK(deliver(cpu, kGP, 0) == LeaveReason::Lookup);
        CHECK(cpl(cpu.s()) == 0);
        CHECK((cpu.s().rflags & 0x20000) == 0);
        CHECK(cpu.s().gpr[RSP] == kKernelStack - 40);
        CHECK(stack32(cpu, 3) == 0x33202);
        for (const unsigned slot : {5u, 6u, 7u, 8u, 9u}) CHECK(stack32(cpu, slot) == 0x500);
        for (const SegReg r : {ES, DS, FS, GS}) CHECK(cpu.s().seg[r] == Segment{});
    }
    SECTION("INT n needs IOPL 3") {
        CHECK(software_interrupt(&cpu.t(), 0x21, 0, 0x102) == LeaveReason::Lookup);
        CHECK(cpl(cpu.s()) == 0);
    }
    SECTION("INT n below IOPL 3") {
        cpu.s().rflags &= ~u64{0x3000};
        u32 error = 1;
        CHECK(software_interrupt(&cpu.t(), 0x21, 0, 0x102) == LeaveReason::Exception);
        CHECK(cpu.take(&error) == 13);
        CHECK(error == 0);
    }
    SECTION("a handler at another level is #GP(selector)") {
        cpu.set_gate(0x22, kConforming, 0x4000, 0xe, 3);
        u32 error = 0;
        CHECK(software_interrupt(&cpu.t(), 0x22, 0, 0x102) == LeaveReason::Exception);
        CHECK(cpu.take(&error) == 13);
        CHECK(error == kConforming);
    }
}

TEST_CASE("interrupts: priority, masking, shadows, wake-up", "[system][int]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    cpu.set_gate(2, kCode0, 0x7000, 0xe);
    cpu.set_gate(0x60, kCode0, 0x8000, 0xe);
    cpu.platform.irq = 0x60;
    SECTION("masked") {
        CHECK_FALSE(poll_interrupts(cpu.t()));
        CHECK(cpu.platform.irq == 0x60);
    }
    SECTION("STI holds off one instruction") {
        CHECK(sti(&cpu.t()) == LeaveReason::None);
        CHECK(cpu.s().sti_shadow);
        CHECK_FALSE(poll_interrupts(cpu.t()));
        cpu.s().sti_shadow = false;
        CHECK(poll_interrupts(cpu.t()));
        CHECK(cpu.s().rip == 0x8000);
        CHECK((cpu.s().rflags & 0x200) == 0);
    }
    SECTION("STI with IF set already makes no shadow") {
        cpu.s().rflags |= 0x200;
        sti(&cpu.t());
        CHECK_FALSE(cpu.s().sti_shadow);
    }
    SECTION("MOV SS holds off NMI too") {
        cpu.platform.nmi = true;
        cpu.s().mov_ss_shadow = true;
        CHECK_FALSE(poll_interrupts(cpu.t()));
        cpu.s().mov_ss_shadow = false;
        CHECK(poll_interrupts(cpu.t()));
        CHECK(cpu.s().rip == 0x7000);
    }
    SECTION("NMI first, and only one until IRET") {
        cpu.s().rflags |= 0x200;
        cpu.platform.nmi = true;
        CHECK(poll_interrupts(cpu.t()));
        CHECK(cpu.s().rip == 0x7000);
        CHECK(cpu.platform.irq == 0x60);
        cpu.platform.nmi = true;
        cpu.platform.irq = -1;
        CHECK_FALSE(poll_interrupts(cpu.t()));
        CHECK(cpu.s().nmi_pending);
        CHECK(iret(&cpu.t(), 8, 0) == LeaveReason::Lookup);
        CHECK(cpu.s().rip == 0x100);
        CHECK(poll_interrupts(cpu.t()));
        CHECK(cpu.s().rip == 0x7000);
    }
    SECTION("a halt whose event went away ends too") {
        cpu.platform.irq = -1;
        hlt(&cpu.t(), 0x101);
        CHECK_FALSE(poll_interrupts(cpu.t()));
        CHECK(cpu.s().activity == Activity::Running);
        CHECK(cpu.s().rip == 0x101);
    }
    SECTION("HLT waits behind itself and wakes") {
        cpu.s().rflags |= 0x200;
        CHECK(hlt(&cpu.t(), 0x101) == LeaveReason::Halt);
        CHECK(cpu.s().activity == Activity::Halted);
        CHECK(poll_interrupts(cpu.t()));
        CHECK(cpu.s().activity == Activity::Running);
        CHECK(stack64(cpu, 0) == 0x101);
    }
}

TEST_CASE("INIT and SIPI", "[system][int]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    cpu.s().msr.lstar = 0x1234;
    cpu.s().mxcsr = 0x1fa0;
    start_up(cpu.s(), 0x12);
    CHECK(cpu.s().rip == 0x100);  // not waiting: ignored
    init(cpu.s(), false);
    CHECK(cpu.s().activity == Activity::WaitForSipi);
    CHECK(cpu.s().cr0 == 0x10);
    CHECK(cpu.s().msr.efer == 0);
    CHECK(cpu.s().msr.lstar == 0x1234);
    CHECK(cpu.s().mxcsr == 0x1fa0);
    CHECK_FALSE(poll_interrupts(cpu.t()));
    start_up(cpu.s(), 0x9a);
    CHECK(cpu.s().activity == Activity::Running);
    CHECK(cpu.s().seg[CS].selector == 0x9a00);
    CHECK(cpu.s().seg[CS].base == 0x9a000);
    CHECK(cpu.s().rip == 0);
}

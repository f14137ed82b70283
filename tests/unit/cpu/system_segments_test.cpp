// Segment registers, descriptor tables and the instructions that ask about them (SDM volume 3, chapters 3 and 5; contract
// X2).
#include "system_fixture.h"

using namespace tandem;
using namespace tandem::test;

namespace {

// -1, or the vector with its error code in `error`.
struct Outcome {
    int vector;
    u32 error;
    bool operator==(const Outcome&) const = default;
};
constexpr Outcome kFine{-1, 0};

Outcome outcome(SystemCpu& cpu, LeaveReason r) {
    if (r == LeaveReason::None || r == LeaveReason::Lookup) return kFine;
    Outcome o{-2, 0};
    o.vector = cpu.take(&o.error);
    return o;
}

std::ostream& operator<<(std::ostream& out, const Outcome& o) {
    return out << "vector " << o.vector << " error " << o.error;
}

Outcome load(SystemCpu& cpu, SegReg seg, u16 selector) { return outcome(cpu, load_segment(&cpu.t(), seg, selector, 0)); }

}  // namespace

TEST_CASE("real and virtual-8086 mode: base is the selector times 16", "[system][seg]") {
    SystemCpu real(SystemCpu::Mode::Real);
    real.s().seg[DS].limit = 0xffffffff;  // "unreal": the limit stays
    CHECK(load(real, DS, 0x1234) == kFine);
    CHECK(real.s().seg[DS] == Segment{0x12340, 0xffffffff, 0x1234, 0x93});
    CHECK(load_segment(&real.t(), SS, 7, 1) == LeaveReason::None);
    CHECK(real.s().mov_ss_shadow);

    SystemCpu vm(SystemCpu::Mode::Protected);
    vm.s().rflags |= 0x20000;
    CHECK(load(vm, ES, 0xffff) == kFine);
    CHECK(vm.s().seg[ES] == Segment{0xffff0, 0xffff, 0xffff, 0xf3});
}

TEST_CASE("protected mode: data segment loads", "[system][seg]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    struct Row {
        u16 access;  // descriptor bits 47:40 and flags 55:52 in 11:8
        u16 rpl;
        unsigned level;
        Outcome wanted;
    };
    const u32 e = kFree;
    const Row rows[] = {
        {0xc93, 0, 0, kFine},   {0xc91, 0, 0, kFine},   {0xc9b, 0, 0, kFine},   {0xc99, 0, 0, {13, e}},
        {0xc13, 0, 0, {11, e}}, {0xc93, 3, 0, {13, e}}, {0xcf3, 3, 0, kFine},   {0xcf3, 3, 3, kFine},
        {0xc93, 0, 3, {13, e}}, {0xc9f, 3, 3, kFine},   {0xc9b, 3, 3, {13, e}}, {0x089, 0, 0, {13, e}},
        {0x082, 0, 0, {13, e}}, {0xcfb, 3, 3, kFine},
    };
    for (const Row& row : rows) {
        CAPTURE(row.access, row.rpl, row.level);
        cpu.enter_ring(row.level);
        cpu.set_gdt(kFree, SystemCpu::descriptor(0x12345678, 0xabcde, row.access));
        const Segment before = cpu.s().seg[FS];
        CHECK(load(cpu, FS, kFree | row.rpl) == row.wanted);
        if (row.wanted == kFine) {
            CHECK(cpu.s().seg[FS].base == 0x12345678);
            CHECK(cpu.s().seg[FS].limit == 0xabcdefff);
            CHECK(cpu.s().seg[FS].selector == (kFree | row.rpl));
        } else {
            CHECK(cpu.s().seg[FS] == before);
        }
    }
}

TEST_CASE("the accessed bit is set in memory once", "[system][seg]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    const u64 clear = SystemCpu::descriptor(0, 0xfffff, 0xc92);
    cpu.set_gdt(kFree, clear);
    CHECK(load(cpu, ES, kFree) == kFine);
    CHECK(cpu.gdt(kFree) == (clear | u64{1} << 40));
    CHECK(cpu.s().seg[ES].access == 0xc093);
    // A failed load leaves it alone.
    cpu.set_gdt(kFree, SystemCpu::descriptor(0, 0xfffff, 0xc12));
    CHECK(load(cpu, ES, kFree) == Outcome{11, kFree});
    CHECK(cpu.gdt(kFree) == SystemCpu::descriptor(0, 0xfffff, 0xc12));
}

TEST_CASE("stack segment loads", "[system][seg]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    CHECK(load(cpu, SS, 0) == Outcome{13, 0});
    CHECK(load(cpu, SS, kData3) == Outcome{13, kData3 & 0xfffc});
    CHECK(load(cpu, SS, kData0 | 1) == Outcome{13, kData0});
    CHECK(load(cpu, SS, kCode0) == Outcome{13, kCode0});
    cpu.set_gdt(kFree, SystemCpu::descriptor(0, 0xfffff, 0xc91));
    CHECK(load(cpu, SS, kFree) == Outcome{13, kFree});  // read-only
    cpu.set_gdt(kFree, SystemCpu::descriptor(0, 0xfffff, 0xc13));
    CHECK(load(cpu, SS, kFree) == Outcome{12, kFree});
    CHECK(load(cpu, SS, 0x100) == Outcome{13, 0x100});
    CHECK(load(cpu, SS, kData0) == kFine);
}

TEST_CASE("null SS in 64-bit mode", "[system][seg]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    CHECK(load(cpu, SS, 0) == kFine);
    CHECK(cpl(cpu.s()) == 0);
    CHECK(load(cpu, SS, 1) == Outcome{13, 0});
    cpu.enter_ring(3);
    CHECK(load(cpu, SS, 3) == Outcome{13, 0});
    cpu.enter_ring(1);
    CHECK(load(cpu, SS, 1) == kFine);
    CHECK(cpl(cpu.s()) == 1);
}

TEST_CASE("local descriptor table", "[system][seg][X2]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    CHECK(load(cpu, DS, 0xc) == Outcome{13, 0xc});  // no LDT yet
    CHECK(outcome(cpu, lldt(&cpu.t(), kLdtSel)) == kFine);
    CHECK(cpu.s().ldtr.base == kLdt);
    cpu.put<u64>(kLdt + 8, SystemCpu::descriptor(0x777, 0xff, 0x493));
    CHECK(load(cpu, DS, 0xc) == kFine);
    CHECK(cpu.s().seg[DS].base == 0x777);
    CHECK(load(cpu, DS, 0x104) == Outcome{13, 0x104});
    CHECK(outcome(cpu, lldt(&cpu.t(), kData0)) == Outcome{13, kData0});
    CHECK(outcome(cpu, lldt(&cpu.t(), kLdtSel | 4)) == Outcome{13, kLdtSel | 4});
    cpu.set_gdt(kFree, SystemCpu::descriptor(kLdt, 0xff, 0x02));
    CHECK(outcome(cpu, lldt(&cpu.t(), kFree)) == Outcome{11, kFree});
    CHECK(outcome(cpu, lldt(&cpu.t(), 0)) == kFine);
    CHECK(load(cpu, DS, 0xc) == Outcome{13, 0xc});
    cpu.enter_ring(3);
    CHECK(outcome(cpu, lldt(&cpu.t(), 0)) == Outcome{13, 0});
}

TEST_CASE("a descriptor across two pages that are apart in memory", "[system][seg][X2]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    // GDT at 0x6ffc: 4 bytes at the end of page 6, the rest on page 7, which is mapped to 0x50000.
    cpu.map_page(0x7000, 0x50000 | 7);
    const u64 d = SystemCpu::descriptor(0x11223344, 0xfffff, 0xc92);
    cpu.put<u32>(0x6ffc + 8 - 8, 0);
    cpu.s().gdtr = {0x6ff4, 0xff};
    cpu.put<u32>(0x6ffc, static_cast<u32>(d));
    cpu.put<u32>(0x50000, static_cast<u32>(d >> 32));
    CHECK(load(cpu, DS, 8) == kFine);
    CHECK(cpu.s().seg[DS].base == 0x11223344);
    CHECK(cpu.get<u32>(0x50000) == (static_cast<u32>(d >> 32) | 0x100));
}

TEST_CASE("descriptor tables are read as supervisor at any level", "[system][seg]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    cpu.map_page(kGdt, kGdt | 3);
    cpu.enter_ring(3);
    CHECK(load(cpu, DS, kData3) == kFine);
    cpu.map_page(kGdt, 0);
    u32 error = 9;
    CHECK(load_segment(&cpu.t(), DS, kData3, 0) == LeaveReason::Exception);
    CHECK(cpu.take(&error) == 14);
    CHECK(error == 0);  // not U
    CHECK(cpu.payload == kGdt + (kData3 & 0xfff8));
}

TEST_CASE("limits: expand-up, expand-down, rights", "[system][seg]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    auto check = [&](u64 offset, u32 size, bool write) {
        return outcome(cpu, check_segment(&cpu.t(), FS, offset, size, write));
    };
    const Outcome gp{13, 0};
    cpu.s().seg[FS] = {0, 0xfff, kFree, 0x4093};
    CHECK(check(0xffc, 4, true) == kFine);
    CHECK(check(0xffd, 4, true) == gp);
    CHECK(check(0xffffffff, 2, false) == gp);
    cpu.s().seg[FS] = {0, 0xfff, kFree, 0x4097};  // expand-down, 32-bit
    CHECK(check(0xfff, 1, false) == gp);
    CHECK(check(0x1000, 4, true) == kFine);
    CHECK(check(0xfffffffc, 4, true) == kFine);
    CHECK(check(0xfffffffd, 4, true) == gp);
    cpu.s().seg[FS] = {0, 0xfff, kFree, 0x0097};  // 16-bit
    CHECK(check(0xfffe, 2, true) == kFine);
    CHECK(check(0xffff, 2, true) == gp);
    cpu.s().seg[FS] = {0, 0xffff, kFree, 0x4091};  // read-only
    CHECK(check(0, 1, true) == gp);
    cpu.s().seg[FS] = {0, 0xffff, kFree, 0x4099};  // execute-only
    CHECK(check(0, 1, false) == gp);
    cpu.s().seg[FS] = {};  // null
    CHECK(check(0, 1, false) == gp);
    cpu.s().seg[SS].limit = 0xf;
    CHECK(outcome(cpu, check_segment(&cpu.t(), SS, 0x10, 1, 0)) == Outcome{12, 0});
}

TEST_CASE("LAR, LSL, VERR, VERW", "[system][seg]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    cpu.enter_ring(3);
    auto zf = [&] {
        export_flags(cpu.t());
        return (cpu.s().rflags & 0x40) != 0;
    };
    struct Row {
        u16 access;
        u16 rpl;
        bool lar, lsl, read, write;
    };
    const Row rows[] = {
        {0xcf3, 3, true, true, true, true},     {0xcf1, 3, true, true, true, false},
        {0xcfb, 3, true, true, true, false},    {0xcf9, 3, true, true, false, false},
        {0xc93, 3, false, false, false, false}, {0xc9f, 3, true, true, true, false},
        {0x0e9, 3, true, true, false, false},   {0x0ec, 3, true, false, false, false},
        {0x0e2, 3, true, true, false, false},   {0x0ee, 3, false, false, false, false},
        {0x0e5, 3, true, false, false, false},  {0x0e0, 3, false, false, false, false},
    };
    for (const Row& row : rows) {
        CAPTURE(row.access);
        cpu.set_gdt(kFree, SystemCpu::descriptor(0, 0x12345, row.access));
        CHECK(lar(&cpu.t(), kFree | row.rpl) == LeaveReason::None);
        CHECK(zf() == row.lar);
        CHECK(cpu.t().scratch[1] == (row.lar ? 1u : 0u));
        if (row.lar) CHECK(cpu.t().scratch[0] == ((row.access & 0xffu) << 8 | 0x10000u * 0 | (row.access & 0xf00u) << 12));
        CHECK(lsl(&cpu.t(), kFree | row.rpl) == LeaveReason::None);
        CHECK(zf() == row.lsl);
        if (row.lsl) CHECK(cpu.t().scratch[0] == ((row.access & 0x800) != 0 ? 0x12345fff : 0x12345));
        verify_segment(&cpu.t(), kFree | row.rpl, 0);
        CHECK(zf() == row.read);
        verify_segment(&cpu.t(), kFree | row.rpl, 1);
        CHECK(zf() == row.write);
    }
    for (const u16 selector : {u16{0}, u16{3}, u16{0x1000}}) {
        CHECK(lar(&cpu.t(), selector) == LeaveReason::None);
        CHECK_FALSE(zf());
    }
    CHECK(arpl(&cpu.t(), 0x1238, 0x3) == LeaveReason::None);
    CHECK(zf());
    CHECK(cpu.t().scratch[0] == 0x123b);
    arpl(&cpu.t(), 0x123b, 0x1);
    CHECK_FALSE(zf());
    SystemCpu real(SystemCpu::Mode::Real);
    CHECK(outcome(real, lar(&real.t(), 8)) == Outcome{6, 0});
    CHECK(outcome(real, arpl(&real.t(), 0, 0)) == Outcome{6, 0});
}

TEST_CASE("LGDT, LIDT, SGDT, SIDT", "[system][seg]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    cpu.put<u16>(0x6000, 0x1ff);
    cpu.put<u32>(0x6002, 0x89abcdef);
    CHECK(outcome(cpu, load_table(&cpu.t(), 1, 0x6000, 4)) == kFine);
    CHECK(cpu.s().idtr == DescriptorTable{0x89abcdef, 0x1ff});
    CHECK(outcome(cpu, load_table(&cpu.t(), 1, 0x6000, 2)) == kFine);
    CHECK(cpu.s().idtr.base == 0xabcdef);
    CHECK(outcome(cpu, store_table(&cpu.t(), 1, 0x6100, 4)) == kFine);
    CHECK(cpu.get<u16>(0x6100) == 0x1ff);
    CHECK(cpu.get<u32>(0x6102) == 0xabcdef);
    cpu.enter_ring(3);
    CHECK(outcome(cpu, load_table(&cpu.t(), 0, 0x6000, 4)) == Outcome{13, 0});

    SystemCpu wide(SystemCpu::Mode::Long);
    wide.put<u64>(0x6002, 0xffff800000001000);
    CHECK(outcome(wide, load_table(&wide.t(), 0, 0x6000, 8)) == kFine);
    CHECK(wide.s().gdtr.base == 0xffff800000001000);
    wide.put<u64>(0x6002, u64{1} << 56);
    CHECK(outcome(wide, load_table(&wide.t(), 0, 0x6000, 8)) == Outcome{13, 0});
}

TEST_CASE("UMIP", "[system][umip]") {
    SystemCpu cpu(SystemCpu::Mode::Long);
    cpu.s().cr4 |= 0x800;
    CHECK(outcome(cpu, store_system(&cpu.t(), static_cast<u32>(SystemStore::Str))) == kFine);
    CHECK(cpu.t().scratch[0] == kTssSel);
    cpu.enter_ring(3);
    for (const auto which : {SystemStore::Sldt, SystemStore::Str, SystemStore::Smsw}) {
        CHECK(outcome(cpu, store_system(&cpu.t(), static_cast<u32>(which))) == Outcome{13, 0});
    }
    CHECK(outcome(cpu, store_table(&cpu.t(), 0, 0x6000, 8)) == Outcome{13, 0});
    cpu.s().cr4 &= ~u64{0x800};
    CHECK(outcome(cpu, store_table(&cpu.t(), 0, 0x6000, 8)) == kFine);
    CHECK(outcome(cpu, store_system(&cpu.t(), static_cast<u32>(SystemStore::Smsw))) == kFine);
    CHECK(cpu.t().scratch[0] == cpu.s().cr0);
    SystemCpu real(SystemCpu::Mode::Real);
    CHECK(outcome(real, store_system(&real.t(), static_cast<u32>(SystemStore::Sldt))) == Outcome{6, 0});
    CHECK(outcome(real, store_system(&real.t(), static_cast<u32>(SystemStore::Smsw))) == kFine);
}

TEST_CASE("LTR marks the TSS busy", "[system][seg]") {
    SystemCpu cpu(SystemCpu::Mode::Protected);
    CHECK(outcome(cpu, ltr(&cpu.t(), kTssSel)) == Outcome{13, kTssSel});  // busy already
    cpu.set_gdt(kTss2Sel, SystemCpu::descriptor(kTss2, 0x67, 0x89));
    CHECK(outcome(cpu, ltr(&cpu.t(), kTss2Sel)) == kFine);
    CHECK(cpu.s().tr == Segment{kTss2, 0x67, kTss2Sel, 0x8b});
    CHECK(cpu.gdt(kTss2Sel) == SystemCpu::descriptor(kTss2, 0x67, 0x8b));
    cpu.set_gdt(kFree, SystemCpu::descriptor(kTss2, 0x67, 0x09));
    CHECK(outcome(cpu, ltr(&cpu.t(), kFree)) == Outcome{11, kFree});
    CHECK(outcome(cpu, ltr(&cpu.t(), 0)) == Outcome{13, 0});

    SystemCpu wide(SystemCpu::Mode::Long);
    wide.set_gdt(kTss2Sel, SystemCpu::descriptor(kTss2, 0x67, 0x89));
    wide.put<u64>(kGdt + kTss2Sel + 8, 0xffff8000);
    CHECK(outcome(wide, ltr(&wide.t(), kTss2Sel)) == kFine);
    CHECK(wide.s().tr.base == (0xffff8000'00000000 | kTss2));
    wide.s().gdtr.limit = kTss2Sel + 14;  // the second half is outside
    wide.set_gdt(kTss2Sel, SystemCpu::descriptor(kTss2, 0x67, 0x89));
    CHECK(outcome(wide, ltr(&wide.t(), kTss2Sel)) == Outcome{13, kTss2Sel});
}

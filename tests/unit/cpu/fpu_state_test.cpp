// Memory images of floating-point state: environments in all four formats (SDM volume 1, figures 8-9 to 8-12), and the XSAVE
// family's header rules, compaction and initial states (chapter 13).
#include <xmmintrin.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <vector>

#include "cpu/x86/fpu/mxcsr.h"
#include "cpu/x86/fpu/x87.h"
#include "cpu/x86/fpu/xsave.h"
#include "flat_memory.h"

using namespace tandem;
using namespace tandem::cpu::x86;
using namespace tandem::test;

namespace {

constexpr u64 kArea = 0x2000;
constexpr u32 kNarrow = X87Spec::make(0, DS, kMmuSupervisor, false).value;
constexpr u32 kWide = X87Spec::make(0, DS, kMmuSupervisor, true).value;

template <class T>
T peek(FlatVcpu& v, u64 offset) {
    T value{};
    std::memcpy(&value, &v.memory[kArea + offset], sizeof value);
    return value;
}
template <class T>
void poke(FlatVcpu& v, u64 offset, T value) {
    std::memcpy(&v.memory[kArea + offset], &value, sizeof value);
}

std::vector<u32> fields(FlatVcpu& v, unsigned width) {
    std::vector<u32> out;
    for (unsigned i = 0; i < 7; ++i) out.push_back(width == 4 ? peek<u32>(v, 4 * i) : peek<u16>(v, 2 * i));
    return out;
}

void fill_x87(FlatVcpu& v) {
    X87& x = v.state().s.x87;
    x.fcw = 0x27f;
    x.fsw = 0x1000;  // TOP = 2
    x.valid = 0b00000111;
    x.reg[0] = {0, 0};                  // zero
    x.reg[1] = {u64{1} << 63, 0x3fff};  // valid
    x.reg[2] = {u64{3} << 62, 0x7fff};  // special
    x.fop = 0x5c1;
    x.fip = 0x12345;
    x.fdp = 0x6789a;
    x.fcs = 0x1b;
    x.fds = 0x23;
}
constexpr u16 kTags = 0xffff & ~0x3f & 0xffff;
constexpr u16 kFullTags = kTags | 1 | 0 << 2 | 2 << 4;

}  // namespace

TEST_CASE("environments in protected mode") {
    FlatVcpu v;
    v.state().s.cr0 |= cr0::PE;
    fill_x87(v);
    REQUIRE(x87_store_environment(&v.state(), kWide, kArea) == LeaveReason::None);
    CHECK(fields(v, 4) ==
          std::vector<u32>{0xffff027f, 0xffff1000, 0xffff0000u | kFullTags, 0x12345, 0x05c1001b, 0x6789a, 0xffff0023});
    REQUIRE(x87_store_environment(&v.state(), kNarrow, kArea) == LeaveReason::None);
    CHECK(fields(v, 2) == std::vector<u32>{0x27f, 0x1000, kFullTags, 0x2345, 0x1b, 0x789a, 0x23});
}

TEST_CASE("environments in real-address mode hold linear pointers") {
    FlatVcpu v;
    v.state().s.cr0 &= ~cr0::PE;
    fill_x87(v);
    v.state().s.x87.fip = 0x2345;
    v.state().s.x87.fcs = 0x1234;  // linear 0x14685
    v.state().s.x87.fdp = 0xff;
    v.state().s.x87.fds = 0x8000;  // linear 0x800ff
    REQUIRE(x87_store_environment(&v.state(), kWide, kArea) == LeaveReason::None);
    CHECK(fields(v, 4) ==
          std::vector<u32>{0xffff027f, 0xffff1000, 0xffff0000u | kFullTags, 0xffff4685, 0x15c1, 0xffff00ff, 0x8000});
    REQUIRE(x87_store_environment(&v.state(), kNarrow, kArea) == LeaveReason::None);
    CHECK(fields(v, 2) == std::vector<u32>{0x27f, 0x1000, kFullTags, 0x4685, 0x15c1, 0x00ff, 0x8000});
    REQUIRE(x87_load_environment(&v.state(), kNarrow, kArea) == LeaveReason::None);
    CHECK(v.state().s.x87.fip == 0x14685);
    CHECK(v.state().s.x87.fdp == 0x800ff);
    CHECK(v.state().s.x87.fop == 0x5c1);
}

TEST_CASE("FNSAVE initialises, FRSTOR brings everything back") {
    for (const u32 spec : {kNarrow, kWide}) {
        FlatVcpu v;
        v.state().s.cr0 |= cr0::PE;
        fill_x87(v);
        X87 before = v.state().s.x87;
        REQUIRE(x87_save(&v.state(), spec, kArea) == LeaveReason::None);
        CHECK(v.state().s.x87.fcw == 0x37f);
        CHECK(v.state().s.x87.fsw == 0);
        CHECK(v.state().s.x87.valid == 0);
        REQUIRE(x87_restore(&v.state(), spec, kArea) == LeaveReason::None);
        if (spec == kNarrow) {  // holds less
            before.fop = 0;
            before.fip &= 0xffff;
            before.fdp &= 0xffff;
        }
        CHECK(v.state().s.x87 == before);
    }
}

namespace {

class Xsaver : public FlatVcpu {
public:
    Xsaver() : model_(std::move(CpuModel::create("max")).value()) {
        _mm_setcsr(mxcsr::Default);  // helpers take the guest's flags from the host's register
        state().model = &model_;
        State& s = state().s;
        s.cr4 |= cr4::OSXSAVE | cr4::OSFXSR;
        s.xcr0 = 7;
        s.gpr[RAX] = 7;
        s.msr.efer = efer::LMA;
        s.seg[CS].access = access::L | access::P;
    }
    LeaveReason save(XsaveForm form) { return xsave(&state(), spec(form), kArea); }
    LeaveReason restore(XsaveForm form) { return xrstor(&state(), spec(form), kArea); }
    // Puts a value into the AVX component's first register.
    void set_ymm0_high(u64 value) { state().s.vec[0].lane[2] = value; }

private:
    static u32 spec(XsaveForm form) { return XsaveSpec::make(form, true, kMmuSupervisor).value; }
    CpuModel model_;
};

constexpr u64 kCompacted = u64{1} << 63;

}  // namespace

TEST_CASE("XSAVE writes what is asked for, and XSTATE_BV says what is in use") {
    Xsaver x;
    x.set_ymm0_high(0x1122);
    x.state().s.vec[3].lane[0] = 5;
    std::memset(&x.memory[kArea], 0xee, 1024);
    poke<u64>(x, 512, 0xf0);  // components that are not asked for stay
    REQUIRE(x.save(XsaveForm::Xsave) == LeaveReason::None);
    CHECK(peek<u64>(x, 512) == 0xf6);  // x87 is in its initial state
    CHECK(peek<u16>(x, 0) == 0x37f);   // and written all the same
    CHECK(peek<u64>(x, 576) == 0x1122);
    CHECK(peek<u64>(x, 160 + 48) == 5);
    CHECK(peek<u64>(x, 520) == 0xeeeeeeeeeeeeeeee);  // XCOMP_BV is not written
}

TEST_CASE("XSAVEOPT and XSAVEC leave out components in their initial state") {
    for (const XsaveForm form : {XsaveForm::Xsaveopt, XsaveForm::Xsavec}) {
        Xsaver x;
        x.set_ymm0_high(0x1122);
        std::memset(&x.memory[kArea], 0xee, 1024);
        poke<u64>(x, 512, 0);
        REQUIRE(x.save(form) == LeaveReason::None);
        CHECK(peek<u64>(x, 512) == 4);
        CHECK(peek<u16>(x, 0) == 0xeeee);
        CHECK(peek<u64>(x, 576) == 0x1122);
        if (form == XsaveForm::Xsavec) CHECK(peek<u64>(x, 520) == (kCompacted | 7));
    }
}

TEST_CASE("XSAVEC reports SSE when only MXCSR is not initial") {
    Xsaver x;
    x.state().s.mxcsr = mxcsr::Default | mxcsr::FZ;
    REQUIRE(x.save(XsaveForm::Xsavec) == LeaveReason::None);
    CHECK((peek<u64>(x, 512) & 2) != 0);
    CHECK(peek<u32>(x, 24) == (mxcsr::Default | mxcsr::FZ));
}

TEST_CASE("XRSTOR initialises what XSTATE_BV leaves out") {
    Xsaver x;
    x.set_ymm0_high(0x1122);
    x.state().s.vec[1].lane[1] = 7;
    x.state().s.x87.fcw = 0x27f;
    x.state().s.gpr[RAX] = 5;  // SSE is not asked for
    poke<u32>(x, 24, mxcsr::Default);
    REQUIRE(x.restore(XsaveForm::Xsave) == LeaveReason::None);
    CHECK(x.state().s.vec[0].lane[2] == 0);
    CHECK(x.state().s.vec[1].lane[1] == 7);
    CHECK(x.state().s.x87 == X87{});
}

TEST_CASE("XSAVES and XRSTORS carry everything over, whatever was there") {
    Xsaver x;
    x.set_ymm0_high(0x1122);
    x.state().s.vec[9].lane = {1, 2, 3, 4};
    x.state().s.x87.reg[5] = {77, 88};
    x.state().s.mxcsr = 0x1fa0;
    const State before = x.state().s;
    REQUIRE(x.save(XsaveForm::Xsaves) == LeaveReason::None);
    x.state().s.vec.fill({});
    x.state().s.x87 = {};
    x.state().s.x87.fcw = 0;
    REQUIRE(x.restore(XsaveForm::Xsaves) == LeaveReason::None);
    CHECK(x.state().s.vec == before.vec);
    CHECK(x.state().s.x87 == before.x87);
    CHECK(x.state().s.mxcsr == before.mxcsr);
}

TEST_CASE("headers that XRSTOR and XRSTORS refuse") {
    struct Row {
        u64 xstate_bv, xcomp_bv, reserved;  // `reserved`: bytes 23:16
        bool xrstor, xrstors;               // allowed
    };
    const Row rows[] = {
        {7, 0, 0, true, false},                 // standard format: not for XRSTORS
        {8, 0, 0, false, false},                // a component that XCR0 does not have
        {7, 0, 1, false, false},                // reserved bytes
        {7, 7, 0, false, false},                // XCOMP_BV without bit 63
        {7, kCompacted | 7, 0, true, true},     //
        {7, kCompacted | 3, 0, false, false},   // XSTATE_BV outside of XCOMP_BV
        {0, kCompacted | 15, 0, false, false},  // layout outside of XCR0
        {3, kCompacted | 7, 1, false, false},   //
        {u64{1} << 63, kCompacted | 7, 0, false, false},
    };
    for (const Row& row : rows) {
        CAPTURE(&row - rows);
        Xsaver x;
        poke<u32>(x, 24, mxcsr::Default);
        poke(x, 512, row.xstate_bv);
        poke(x, 520, row.xcomp_bv);
        poke(x, 528, row.reserved);
        CHECK((x.restore(XsaveForm::Xsave) == LeaveReason::None) == row.xrstor);
        CHECK((x.restore(XsaveForm::Xsaves) == LeaveReason::None) == row.xrstors);
    }
}

TEST_CASE("the XSAVE area must be aligned to 64 bytes and MXCSR free of reserved bits") {
    Xsaver x;
    const u32 spec = XsaveSpec::make(XsaveForm::Xsave, false, kMmuSupervisor).value;
    CHECK(xsave(&x.state(), spec, kArea + 32) == LeaveReason::Exception);
    CHECK(x.state().s.pending.vector == kGP);
    CHECK(xrstor(&x.state(), spec, kArea + 32) == LeaveReason::Exception);
    poke<u32>(x, 24, 0x10000);
    CHECK(xrstor(&x.state(), spec, kArea) == LeaveReason::Exception);
    x.state().s.gpr[RAX] = 1;  // MXCSR belongs to SSE and AVX
    CHECK(xrstor(&x.state(), spec, kArea) == LeaveReason::None);
}

TEST_CASE("sizes and places of components") {
    CHECK(xsave_area_size(3, false) == 576);
    CHECK(xsave_area_size(7, false) == 832);
    CHECK(xsave_area_size(0xe7, false) == 2688);
    CHECK(xsave_area_size(0x2e7, false) == 2696);
    CHECK(xsave_area_size(0x203, false) == 2696);
    CHECK(xsave_area_size(0x203, true) == 584);
    CHECK(xsave_place(2).offset == 576);
    CHECK(xsave_place(3).size == 0);
}

TEST_CASE("outside 64-bit mode only the first eight vector registers are saved and loaded") {
    Xsaver x;
    State& s = x.state().s;
    s.msr.efer = 0;
    for (unsigned i = 0; i < 16; ++i) s.vec[i].lane = {i + 1, 0, i + 1, 0};
    for (const bool extended : {false, true}) {
        CAPTURE(extended);
        std::memset(&x.memory[kArea], 0xee, 1024);
        poke<u64>(x, 512, 0);
        const u32 spec = XsaveSpec::make(XsaveForm::Xsave, false, kMmuSupervisor).value;
        REQUIRE((extended ? xsave : fxsave)(&x.state(), spec, kArea) == LeaveReason::None);
        CHECK(peek<u64>(x, 160 + 7 * 16) == 8);
        CHECK(peek<u64>(x, 160 + 8 * 16) == 0xeeeeeeeeeeeeeeee);
        if (extended) CHECK(peek<u64>(x, 576 + 8 * 16) == 0xeeeeeeeeeeeeeeee);
        poke<u64>(x, 520, 0);
        poke<u64>(x, 528, 0);
        REQUIRE((extended ? xrstor : fxrstor)(&x.state(), spec, kArea) == LeaveReason::None);
        CHECK(s.vec[8].lane[0] == 9);
        CHECK(s.vec[8].lane[2] == 9);
    }
}

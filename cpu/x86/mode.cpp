#include "cpu/x86/mode.h"

#include "cpu/x86/system/registers.h"
#include "cpu/x86/system/system.h"
#include "cpu/x86/translate_state.h"

namespace tandem::cpu::x86 {
namespace {

bool accessible(const Segment& s, bool is_code) {
    if (!usable(s)) return false;
    if (is_code) return (s.access & access::Code) == 0 || (s.access & access::Readable) != 0;
    return (s.access & access::Code) == 0 && (s.access & access::ExpandDown) == 0 && (s.access & access::Writable) != 0;
}

SegmentClass classify(const State& s, unsigned index) {
    const Segment& seg = s.seg[index];
    const bool by_descriptor = protected_mode(s) && !vm86(s);
    if (seg.limit < 0xffff || (by_descriptor && !accessible(seg, index == CS))) return SegmentClass::Checked;
    return seg.base == 0 && seg.limit == ~u32{0} ? SegmentClass::Flat : SegmentClass::Simple;
}

Mode code_size(const State& s) {
    if (code64(s)) return Mode::Bits64;
    return (s.seg[CS].access & access::DB) != 0 ? Mode::Bits32 : Mode::Bits16;
}

}  // namespace

ModeBits ModeBits::of(const TranslateState& t) {
    const State& s = t.s;
    const unsigned level = x86::cpl(s);
    const Mode size = code_size(s);
    ModeBits m;
    m.put(kCodeSize, static_cast<u64>(size)).put(kCpl, level);
    m.put(kProtected, s.cr0 & cr0::PE).put(kVm86, vm86(s)).put(kLongMode, long_mode(s));
    if (size != Mode::Bits64) {
        m.put(kStack32, (s.seg[SS].access & access::DB) != 0);
        for (unsigned i = 0; i < s.seg.size(); ++i) {
            m.put(static_cast<Bit>(kSegments + 2 * i), static_cast<u64>(classify(s, i)));
        }
    }
    m.put(kIoplOk, !x86::protected_mode(s) || level <= iopl(s));
    m.put(kDebug, debug_active(t)).put(kShadow, shadow_active(s));
    const bool ac = (s.rflags & eflags::AC) != 0;
    m.put(kAlignCheck, ac && level == 3 && (s.cr0 & cr0::AM) != 0).put(kSmapOverride, ac && level != 3);
    m.put(kTs, (s.cr0 & cr0::TS) != 0).put(kEm, (s.cr0 & cr0::EM) != 0);
    m.put(kMp, (s.cr0 & cr0::MP) != 0).put(kNe, (s.cr0 & cr0::NE) != 0);
    const bool osxsave = (s.cr4 & cr4::OSXSAVE) != 0;
    m.put(kOsFxsr, (s.cr4 & cr4::OSFXSR) != 0).put(kOsXsave, osxsave);
    m.put(kOsXmmExcpt, (s.cr4 & cr4::OSXMMEXCPT) != 0);
    m.put(kFsGsBase, (s.cr4 & cr4::FSGSBASE) != 0).put(kTsd, (s.cr4 & cr4::TSD) != 0);
    m.put(kUmip, (s.cr4 & cr4::UMIP) != 0);
    m.put(kMxcsrUnmasked, bits(s.mxcsr, 12, 7) != 0x3f);
    m.put(kLa57, (s.cr4 & cr4::LA57) != 0).put(kSvmGuest, s.svm.guest ? 1 : 0);
    m.put(kLastBranch, (s.msr.debugctl & debugctl::LBR) != 0);
    m.put(kPauseWindow, s.svm.guest && s.svm.pause_window != 0);
    m.put(kAvx, osxsave && (s.xcr0 & 6) == 6).put(kAvx512, osxsave && (s.xcr0 & 0xe6) == 0xe6);
    return m;
}

}  // namespace tandem::cpu::x86

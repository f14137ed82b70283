#include "lifted.h"

#include <xmmintrin.h>

#include "cpu/x86/fpu/mxcsr.h"
#include "cpu/x86/guest.h"
#include "cpu/x86/mode.h"
#include "cpu/x86/system/system.h"
#include "jit/ir/verifier.h"

namespace tandem::test {

using namespace cpu::x86;

namespace {}  // namespace

LiftedRunner::LiftedRunner()
    : model_(std::move(CpuModel::create("max")).value()), guest_(create_guest(model_)), interpreter_(*guest_) {
    vcpu.state().model = &model_;
    for (jit::TlbView& view : vcpu.header().tlb) view.entries = &empty_;
    State& s = state();
    s.cr0 |= cr0::PE | cr0::NE | cr0::MP;
    s.cr4 |= cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::PAE | cr4::OSXSAVE;
    s.xcr0 = 3;
    s.msr.efer = efer::LMA | efer::LME;
    s.seg[CS].access = access::L | access::P | access::S | access::Code;
    s.seg[SS].access = access::P | access::S | access::Writable;
}

LiftedRunner::Outcome LiftedRunner::run(std::span<const u8> bytes) {
    Outcome out;
    jit::ir::Block block;
    const jit::ir::BlockKey key{kPc, 0, ModeBits::of(vcpu.state()).value()};
    if (guest_->lift(key, {bytes, {}}, 1, block) != jit::LiftStatus::Ok) return {"is not lifted", {}};
    if (block.guest_bytes != bytes.size()) return {"has another length", {}};
    if (auto valid = jit::ir::verify(block, guest_.get()); !valid) return {valid.error().message, {}};

    TranslateState& t = vcpu.state();
    t.s.rip = kPc;
    import_flags(t);
    mxcsr_to_frame(t);
    const u32 host = _mm_getcsr();
    _mm_setcsr(vcpu.header().guest_mxcsr);
    out.leave = interpreter_.run(&t, block);
    vcpu.header().guest_mxcsr = _mm_getcsr();
    _mm_setcsr(host);
    mxcsr_from_frame(t);
    export_flags(t);
    return out;
}

}  // namespace tandem::test

#include "lifted.h"

#include <xmmintrin.h>

#include "cpu/x86/fpu/mxcsr.h"
#include "cpu/x86/guest.h"
#include "jit/ir/verifier.h"

namespace tandem::test {

using namespace cpu::x86;

namespace {

constexpr u64 kPc = 0x100;

const LiftRow* find(Opcode opcode) {
#define TANDEM_X86_LIFT_TABLE(name)            \
    for (const LiftRow& row : name##_rows()) { \
        if (row.opcode == opcode) return &row; \
    }
#include "cpu/x86/lift/tables.inc"
#undef TANDEM_X86_LIFT_TABLE
    return nullptr;
}

}  // namespace

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

LiftedRunner::Outcome LiftedRunner::run(std::span<const u8> bytes, ModeBits mode) {
    Outcome out;
    Instruction insn;
    if (decode(bytes, mode.code(), insn) != DecodeStatus::Ok || insn.length != bytes.size()) return {"does not decode", {}};
    const LiftRow* row = find(insn.opcode);
    if (row == nullptr) return {"no lift function for " + std::string(opcode_name(insn.opcode)), {}};
    jit::ir::Block block;
    block.key = {kPc, 0, mode.value()};
    Lifter l(block, model_, mode);
    l.begin_instruction(insn, kPc);
    l.arg = row->arg;
    row->lift(l);
    if (!l.ended()) l.fall_through(l.next);
    block.guest_insns = 1;
    block.guest_bytes = insn.length;
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

ModeBits mode64() {
    ModeBits m;
    m.put(ModeBits::kCodeSize, static_cast<u64>(Mode::Bits64)).put(ModeBits::kProtected, 1).put(ModeBits::kLongMode, 1);
    return m.put(ModeBits::kOsFxsr, 1).put(ModeBits::kOsXmmExcpt, 1).put(ModeBits::kOsXsave, 1).put(ModeBits::kNe, 1);
}

}  // namespace tandem::test

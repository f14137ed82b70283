// AMD's secure virtual machine: its instructions, and the intercepts of the others (AMD APM volume 2, chapter 15).
#include <array>

#include "cpu/x86/lift/lifter.h"
#include "cpu/x86/system/svm.h"

namespace tandem::cpu::x86 {
namespace {

struct InterceptRow {
    Opcode opcode;
    u16 code;
};
constexpr InterceptRow kIntercepts[] = {
#define TANDEM_X86_INTERCEPT(opcode, code) {Opcode::opcode, code},
#include "cpu/x86/lift/intercepts.inc"
#undef TANDEM_X86_INTERCEPT
};

Value spec(Lifter& l, u32 bits) { return l.imm32(bits | (l.in_shadow ? kInterceptShadow : 0)); }

void intercept(Lifter& l, u32 code) { l.call(HelperId::svm_intercept, {spec(l, code), l.imm64(l.next)}); }

// MOV to and from control and debug registers: a code for each register and direction (15.8).
void intercept_control(Lifter& l, bool debug) {
    constexpr u32 kWrite = 0x10, kDebug = 0x20;
    const bool read = l.op(0).kind == OperandKind::Gpr;
    const unsigned reg = l.op(read ? 1 : 0).reg;
    const u32 gpr = kInterceptGpr | u32{l.op(read ? 0 : 1).reg} << kInterceptGprShift;
    const u32 code = ((debug ? kDebug : 0) + (read ? 0 : kWrite) + (reg & 15)) | gpr;
    if (read) return intercept(l, code);
    l.call(HelperId::svm_intercept_write, {spec(l, code), l.zext64(l.read(1)), l.imm64(l.next)});
}

void intercept_invlpg(Lifter& l) {
    constexpr u32 kInvlpg = 0x79;
    l.call(HelperId::svm_intercept_address, {spec(l, kInvlpg), l.linear(0, 1), l.imm64(l.next)});
}

void intercept_lmsw(Lifter& l) {
    constexpr u32 kWriteCr0 = 0x10;
    l.call(HelperId::svm_intercept_write, {spec(l, kWriteCr0 | kInterceptLmsw), l.imm64(0), l.imm64(l.next)});
}

// EXITINFO1 without the port (15.10.2). A string's segment belongs to the decode assists.
u32 port_info(const Lifter& l, bool in, bool string, unsigned size) {
    constexpr u32 kIn = 1, kString = 1u << 2, kRep = 1u << 3;
    constexpr unsigned kSegment = 10;
    const bool rep = string && l.insn.rep != Rep::None;
    const bool named = string && l.model.has(Feature::SVM_DECODE_ASSISTS);
    const u32 segment = !named ? 0 : in ? u32{ES} : u32{l.insn.mem.segment};
    return segment << kSegment | (in ? kIn : 0) | (string ? kString : 0) | (rep ? kRep : 0) | size << 4 |
           u32{l.insn.address_size} / 2 << 7;
}

void intercept_port(Lifter& l) {
    const bool string = l.insn.opcode == Opcode::INS || l.insn.opcode == Opcode::OUTS;
    const bool in = l.insn.opcode == Opcode::IN || l.insn.opcode == Opcode::INS;
    const unsigned data = in ? 0 : 1, at = in ? 1 : 0;
    const Operand& o = l.op(at);
    const Value port =
        o.kind == OperandKind::Imm ? l.imm32(static_cast<u64>(o.imm) & 0xff) : l.b.zext(Type::I32, l.gpr(RDX, 2));
    l.call(HelperId::svm_intercept_port, {spec(l, port_info(l, in, string, l.op(data).size)), port, l.imm64(l.next)});
}

// arg: the helper, and whether the mode may be another afterwards.
constexpr u32 kEnds = 1u << 16;
void lift_svm(Lifter& l) {
    l.call(static_cast<HelperId>(l.arg & 0xffff), {l.imm64(l.next)});
    if ((l.arg & kEnds) != 0) l.leave_next();
}
void lift_vmrun(Lifter& l) {
    l.call(HelperId::vmrun, {l.imm64(l.next)});
    l.leave(LeaveReason::Lookup);
}

constexpr u32 go_on(HelperId id) { return static_cast<u32>(id); }
constexpr u32 end_block(HelperId id) { return static_cast<u32>(id) | kEnds; }

constexpr auto kRows = std::to_array<LiftRow>({
    {Opcode::VMRUN, lift_vmrun},
    {Opcode::VMLOAD, lift_svm, end_block(HelperId::vmload)},
    {Opcode::VMSAVE, lift_svm, go_on(HelperId::vmsave)},
    {Opcode::STGI, lift_svm, end_block(HelperId::stgi)},
    {Opcode::CLGI, lift_svm, end_block(HelperId::clgi)},
    {Opcode::INVLPGA, lift_svm, end_block(HelperId::invlpga)},
    {Opcode::SKINIT, lift_svm, go_on(HelperId::skinit)},
});

}  // namespace

std::span<const LiftRow> svm_rows() { return kRows; }

void lift_intercepts(Lifter& l) {
    switch (l.insn.opcode) {
        case Opcode::MOV_CR: return intercept_control(l, false);
        case Opcode::MOV_DR: return intercept_control(l, true);
        case Opcode::LMSW: return intercept_lmsw(l);
        case Opcode::PAUSE: l.call(HelperId::svm_intercept_pause, {spec(l, 0), l.imm64(l.next)}); return;
        case Opcode::INVLPG: return intercept_invlpg(l);
        case Opcode::RDMSR: l.call(HelperId::svm_intercept_msr, {spec(l, 0), l.imm64(l.next)}); return;
        case Opcode::WRMSR: l.call(HelperId::svm_intercept_msr, {spec(l, kInterceptWrite), l.imm64(l.next)}); return;
        case Opcode::IN:
        case Opcode::OUT:
        case Opcode::INS:
        case Opcode::OUTS: return intercept_port(l);
        default: break;
    }
    for (const InterceptRow& row : kIntercepts) {
        if (row.opcode == l.insn.opcode) return intercept(l, row.code);
    }
}

}  // namespace tandem::cpu::x86

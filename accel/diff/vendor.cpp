#include "accel/diff/vendor.h"

#include <cpuid.h>

#include <algorithm>

#include "accel/diff/compare.h"

namespace tandem::accel::diff {
namespace {

using cpu::x86::Instruction;
using cpu::x86::Mode;
using cpu::x86::Opcode;
using cpu::x86::OperandKind;

bool one_of(Opcode opcode, std::initializer_list<Opcode> list) {
    return std::find(list.begin(), list.end(), opcode) != list.end();
}

bool is_gather(Opcode o) {
    return one_of(o, {Opcode::VGATHERDPS, Opcode::VGATHERDPD, Opcode::VGATHERQPS, Opcode::VGATHERQPD, Opcode::VPGATHERDD,
                      Opcode::VPGATHERDQ, Opcode::VPGATHERQD, Opcode::VPGATHERQQ});
}

// In 64-bit code Intel's processors ignore prefix 66 of a near branch (SDM volume 2, CALL, JMP, RET), AMD's obey it (APM
// volume 3, 1.2.2).
bool is_short_branch(const Instruction& i, Mode mode) {
    const bool relative = i.operand_count != 0 && i.op[0].kind == OperandKind::Rel;
    return mode == Mode::Bits64 && i.prefix_66 && (relative || one_of(i.opcode, {Opcode::CALL, Opcode::JMP, Opcode::RET}));
}

struct Row {
    const char* reason;
    bool (*applies)(const Instruction& insn, Mode mode);
};

constexpr Row kRows[] = {
    {"EXTRQ, INSERTQ, MOVNTSS, MOVNTSD and CLZERO exist on AMD's processors only",
     [](const Instruction& i, Mode) {
         return one_of(i.opcode, {Opcode::EXTRQ, Opcode::INSERTQ, Opcode::MOVNTSS, Opcode::MOVNTSD, Opcode::CLZERO});
     }},
    {"a near branch with prefix 66 in 64-bit code has a 16-bit operand on AMD's processors", is_short_branch},
    {"PAUSE with REX.B is XCHG with R8 on AMD's processors",
     [](const Instruction& i, Mode) { return i.opcode == Opcode::PAUSE && (i.rex & 1) != 0; }},
    {"the SHA instructions take misaligned memory on AMD's processors",
     [](const Instruction& i, Mode) {
         return one_of(i.opcode, {Opcode::SHA1RNDS4, Opcode::SHA1NEXTE, Opcode::SHA1MSG1, Opcode::SHA1MSG2,
                                  Opcode::SHA256RNDS2, Opcode::SHA256MSG1, Opcode::SHA256MSG2});
     }},
    {"which elements a gather has loaded before the one that faults",
     [](const Instruction& i, Mode) { return is_gather(i.opcode); }},
    {"which flags VCVTPS2PH sets for tiny results",
     [](const Instruction& i, Mode) { return i.opcode == Opcode::VCVTPS2PH; }},
    {"flags after a repeated CMPS or SCAS that faults",
     [](const Instruction& i, Mode) { return one_of(i.opcode, {Opcode::CMPS, Opcode::SCAS}); }},
    {"VPINSRD and VPEXTRD with VEX.W outside 64-bit code",
     [](const Instruction& i, Mode mode) {
         return mode != Mode::Bits64 && one_of(i.opcode, {Opcode::VPINSRD, Opcode::VPEXTRD});
     }},
    {"MXCSR.MM (misaligned SSE) is AMD's own",
     [](const Instruction& i, Mode) {
         return one_of(i.opcode, {Opcode::LDMXCSR, Opcode::VLDMXCSR, Opcode::FXRSTOR, Opcode::XRSTOR});
     }},
    {"which comes first of an unmasked x87 exception of a store and the fault of its memory operand",
     [](const Instruction& i, Mode) {
         return one_of(i.opcode, {Opcode::FST, Opcode::FSTP, Opcode::FIST, Opcode::FISTP, Opcode::FISTTP, Opcode::FBSTP});
     }},
    {"PUSH of a segment register writes all of its slot on AMD's processors",
     [](const Instruction& i, Mode) { return i.opcode == Opcode::PUSH && i.op[0].kind == OperandKind::Seg; }},
    {"which reserved hints are NOP", [](const Instruction& i, Mode) { return i.opcode == Opcode::NOP; }},
};
constexpr const char* kFaultOrder = "which comes first of #SS, #GP and #PF of one instruction";
constexpr const char* kCall = "whether a near CALL to a non-canonical address has stored its return address";

// An indirect one: the displacement of another does not reach that far.
bool is_far_off_call(const Instruction& i, Mode mode) {
    return mode == Mode::Bits64 && i.opcode == Opcode::CALL && i.op[0].kind != OperandKind::Rel;
}

bool is_access_fault(u32 vector) { return vector >= 12 && vector <= 14; }

}  // namespace

bool amd_host() {
    static const bool amd = [] {
        unsigned a = 0, b = 0, c = 0, d = 0;
        constexpr unsigned kGenu = 0x756e6547;  // the beginning of GenuineIntel
        return __get_cpuid(0, &a, &b, &c, &d) != 0 && b != kGenu;
    }();
    return amd;
}

bool differs_on_amd(const TestCase& test, const Outcome& hardware, const Outcome& other) {
    if (hardware.vector != other.vector && is_access_fault(hardware.vector) && is_access_fault(other.vector)) return true;
    const auto list = instructions(test);
    const bool call =
        std::any_of(list.begin(), list.end(), [&](const auto& i) { return is_far_off_call(i, mode_of(test)); });
    if (call && hardware.vector == 13 && other.vector == 13) return true;
    return std::any_of(list.begin(), list.end(), [&](const Instruction& insn) {
        return std::any_of(std::begin(kRows), std::end(kRows),
                           [&](const Row& row) { return row.applies(insn, mode_of(test)); });
    });
}

// LOCK before MOV to and from CR0 is CR8 (APM volume 3, MOV CRn), and before group 6 the operand is looked at first; VPERMQ
// and VPERMPD ignore VEX.W.
bool defined_on_amd(const TestCase& test) {
    const u8* at = test.code.data();
    const u8* const end = at + test.length;
    const auto is_prefix = [](u8 b) {
        return b == 0xf0 || b == 0xf2 || b == 0xf3 || b == 0x66 || b == 0x67 || (b & 0xe7) == 0x26 || (b & 0xfe) == 0x64 ||
               (b & 0xf0) == 0x40;
    };
    bool lock = false;
    for (; at < end && is_prefix(*at); ++at) lock = lock || *at == 0xf0;
    if (end - at < 4) return false;
    if (at[0] == 0x0f) return lock && (at[1] == 0x00 || at[1] == 0x01 || (at[1] & 0xfc) == 0x20);
    return at[0] == 0xc4 && (at[1] & 0x1f) == 3 && (at[2] & 0x80) == 0 && at[3] <= 1;
}

std::vector<std::string> vendor_catalogue() {
    std::vector<std::string> lines;
    for (const Row& row : kRows) lines.push_back(std::string("- ") + row.reason);
    lines.push_back(std::string("- ") + kCall);
    lines.push_back(std::string("- ") + kFaultOrder);
    return lines;
}

}  // namespace tandem::accel::diff

#include "accel/diff/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/bits.h"
#include "cpu/x86/decode/disassemble.h"

namespace tandem::accel::diff {

using namespace cpu::x86;

namespace {

constexpr u64 CF = 1, PF = 4, AF = 0x10, ZF = 0x40, SF = 0x80, OF = 0x800;
constexpr u64 kAll = CF | PF | AF | ZF | SF | OF;
// CF PF AF ZF SF TF DF OF NT AC ID. Not RF: faults set it in the saved image as they see fit.
constexpr u64 kCompared = kAll | 0x100 | 0x400 | 0x4000 | 0x40000 | 0x200000;

using O = Opcode;

struct UndefinedRow {
    std::initializer_list<Opcode> opcodes;
    u64 flags;
    const char* manual;  // the words of the SDM, volume 2
};

const UndefinedRow kUndefined[] = {
    {{O::AND, O::OR, O::XOR, O::TEST}, AF, "The state of the AF flag is undefined."},
    {{O::MUL, O::IMUL}, SF | ZF | AF | PF, "The SF, ZF, AF, and PF flags are undefined."},
    {{O::DIV, O::IDIV}, kAll, "The CF, OF, SF, ZF, AF, and PF flags are undefined."},
    {{O::BSF, O::BSR}, CF | OF | SF | AF | PF, "The CF, OF, SF, AF, and PF flags are undefined."},
    {{O::BT, O::BTS, O::BTR, O::BTC}, OF | SF | AF | PF, "The OF, SF, AF, and PF flags are undefined."},
    {{O::LZCNT, O::TZCNT}, OF | SF | PF | AF, "OF, SF, PF and AF flags are undefined."},
    {{O::ANDN, O::BLSI, O::BLSR, O::BLSMSK}, AF | PF, "AF and PF flags are undefined."},
    {{O::BZHI}, AF | PF, "AF and PF flags are undefined."},
    {{O::BEXTR}, AF | SF | PF, "AF, SF, and PF are undefined."},
    {{O::DAA, O::DAS}, OF, "The OF flag is undefined."},
    {{O::AAA, O::AAS}, OF | SF | ZF | PF, "The OF, SF, ZF, and PF flags are undefined."},
    {{O::AAM, O::AAD}, OF | AF | CF, "The OF, AF, and CF flags are undefined."},
};

unsigned shift_count(const Instruction& insn, const CpuImage& in) {
    const Operand& op = insn.op[insn.operand_count - 1];
    const u64 count = op.kind == OperandKind::Gpr ? in.gpr[RCX] : static_cast<u64>(op.imm);
    return static_cast<unsigned>(count & (insn.op[0].size == 8 ? 63 : 31));
}

u64 shift_flags(const Instruction& insn, const CpuImage& in) {
    const unsigned count = shift_count(insn, in);
    const unsigned width = insn.op[0].size * 8u;
    switch (insn.opcode) {
        case O::SHL:
        case O::SHR:
        case O::SAR:
            // "The CF flag ... is undefined for SHL and SHR instructions where the count is greater than or equal to the
            // size (in bits) of the destination operand." "The OF flag is affected only for 1-bit shifts; otherwise, it is
            // undefined."
            if (count == 0) return 0;
            return AF | (count != 1 ? OF : 0) | (count >= width && insn.opcode != O::SAR ? CF : 0);
        case O::SHLD:
        case O::SHRD:
            // "For shifts greater than 1 bit, the OF flag is undefined." "If the count is greater than the operand size, the
            // flags are undefined."
            if (count == 0) return 0;
            return count > width ? kAll : AF | (count != 1 ? OF : 0);
        case O::ROL:
        case O::ROR:
        case O::RCL:
        case O::RCR:
            // "The OF flag is defined only for the 1-bit rotates; it is undefined in all other cases (except RCL and RCR
            // instructions only: a zero-bit rotate does nothing)."
            return count > 1 ? OF : 0;
        default: return 0;
    }
}

bool is_shift(Opcode opcode) {
    constexpr Opcode kShifts[] = {O::SHL, O::SHR, O::SAR, O::SHLD, O::SHRD, O::ROL, O::ROR, O::RCL, O::RCR};
    return std::find(std::begin(kShifts), std::end(kShifts), opcode) != std::end(kShifts);
}

// The destination is undefined (SDM volume 2, BSWAP, SHLD, SHRD).
bool undefined_result(const Instruction& insn, const CpuImage& in) {
    if (insn.opcode == O::BSWAP) return insn.operand_size == 2;
    if (insn.opcode == O::SHLD || insn.opcode == O::SHRD) return shift_count(insn, in) > insn.op[0].size * 8u;
    return false;
}

std::string hex_bytes(std::span<const u8> bytes) { return fmt::format("{:02x}", fmt::join(bytes, " ")); }

constexpr const char* kNames[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

class Differences {
public:
    explicit Differences(const Sides& sides) : sides_(sides) {}
    template <class T>
    void check(const std::string& what, const T& host, const T& tandem) {
        if (host == tandem) return;
        lines_.push_back(fmt::format("{:<8} {} {:>18x}   {} {:>18x}", what, sides_.first, host, sides_.second, tandem));
    }
    void check(const std::string& what, std::span<const u8> host, std::span<const u8> tandem) {
        if (!std::equal(host.begin(), host.end(), tandem.begin(), tandem.end())) {
            lines_.push_back(fmt::format("{:<8} {} {}\n{:<8} {} {}", what, sides_.first, hex_bytes(host), "", sides_.second,
                                         hex_bytes(tandem)));
        }
    }
    void check(const std::string& what, const MemoryChange& host, const MemoryChange& tandem, u64 base) {
        if (host == tandem) return;
        check(what + ".at", base + host.offset, base + tandem.offset);
        const auto shown = [](const MemoryChange& m) {
            return std::span(m.bytes).first(std::min<size_t>(m.bytes.size(), m.end - m.offset));
        };
        check(what, shown(host), shown(tandem));
        check(what + ".hash", host.hash, tandem.hash);
    }
    std::vector<std::string> take() { return std::move(lines_); }

private:
    Sides sides_;
    std::vector<std::string> lines_;
};

// Linux calls faults beyond the user's part of the address space present, whatever is there.
constexpr u64 kLinuxUserEnd = 0x7fff'ffff'f000;
u32 page_fault_error(const Outcome& o) { return o.vector == 14 && o.cr2 >= kLinuxUserEnd ? o.error | 1 : o.error; }

bool faulted(const TestCase& test, const Outcome& host) {
    return host.out.rip >= test.in.rip && host.out.rip < test.in.rip + test.length;
}

// Upper halves of what a string instruction with 32-bit addresses counts with: real processors clear them early, late or
// never when it does nothing or does not finish.
void level_strings(const TestCase& test, const Outcome& host, Outcome& tandem) {
    for (const Instruction& insn : instructions(test)) {
        if ((insn.flags & kRowString) == 0 || insn.address_size != 4) continue;
        for (const Gpr reg : {RCX, RSI, RDI}) {
            if (static_cast<u32>(host.out.gpr[reg]) == static_cast<u32>(tandem.out.gpr[reg]))
                tandem.out.gpr[reg] = host.out.gpr[reg];
        }
    }
}

// Instructions whose faults are the processor's choice. SDM volume 2, MASKMOVQ: "Exceptions associated with addressing
// memory and page faults may still be signaled (implementation dependent)" for bytes that are not selected; ARPL need not
// write what does not change; BOUND may stop at its lower bound.
bool open_fault(const TestCase& test, const Outcome& host, const Outcome& tandem) {
    if (!faulted(test, host) && !faulted(test, tandem)) return false;
    for (const Instruction& insn : instructions(test)) {
        constexpr Opcode kOpen[] = {O::MASKMOVQ, O::MASKMOVDQU, O::VMASKMOVDQU, O::ARPL, O::BOUND};
        if (std::find(std::begin(kOpen), std::end(kOpen), insn.opcode) != std::end(kOpen)) return true;
    }
    return false;
}

bool is_masked(const Instruction& insn) {
    constexpr Opcode kMasked[] = {O::VMASKMOVPS, O::VMASKMOVPD, O::VPMASKMOVD, O::VPMASKMOVQ};
    return std::find(std::begin(kMasked), std::end(kMasked), insn.opcode) != std::end(kMasked);
}

// Differences that are the host's own way, as no manual settles them.
struct Latitude {
    const char* reason;
    bool (*applies)(const Instruction& insn, const Outcome& host, const Outcome& tandem);
    // Makes the two alike in what is open.
    void (*level)(Outcome& host, Outcome& tandem);
};

const Latitude kOnFault[] = {
    {"which of the two operands of CMPS faults first",
     [](const Instruction& insn, const Outcome&, const Outcome&) { return insn.opcode == O::CMPS; },
     [](Outcome& host, Outcome& tandem) {
         tandem.vector = host.vector;
         tandem.error = host.error;
         tandem.cr2 = host.cr2;
     }},
    // What is exact for fused operations and half precision is compared all the same.
    {"masked exceptions reported beside an unmasked one: precision beside underflow, denormal operands of later steps of "
     "DPPS",
     [](const Instruction& insn, const Outcome& host, const Outcome& tandem) {
         const bool exact = insn.feature == Feature::FMA || insn.feature == Feature::F16C;
         return !exact && host.vector == 19 && tandem.vector == 19;
     },
     [](Outcome& host, Outcome& tandem) {
         constexpr u32 kPrecision = 0x20, kDenormal = 2;
         host.out.fx.mxcsr &= ~(kPrecision | kDenormal);
         tandem.out.fx.mxcsr &= ~(kPrecision | kDenormal);
     }},
    {"a store of more than 8 bytes that faults on its second page may have written the first (SDM volume 3, 8.1.1)",
     [](const Instruction& insn, const Outcome&, const Outcome&) {
         const Operand& last = insn.op[insn.operand_count == 0 ? 0 : insn.operand_count - 1];
         return (insn.flags & kRowX87) != 0 && last.kind == OperandKind::Mem && (last.size == 10 || last.size == 0);
     },
     [](Outcome& host, Outcome& tandem) {
         tandem.memory = host.memory;
         if ((host.cr2 ^ tandem.cr2) < 0x1000) tandem.cr2 = host.cr2;  // and which of its bytes faults first
     }},
    {"which byte of a masked access that crosses into a page without it is reported, and at 4 GiB whether it wraps",
     [](const Instruction& insn, const Outcome&, const Outcome&) { return is_masked(insn); },
     [](Outcome& host, Outcome& tandem) {
         const u64 difference = host.cr2 ^ tandem.cr2;
         if (difference < 0x1000 || difference >> 32 == 1) tandem.cr2 = host.cr2;
     }},
    {"a masked access across the end of the canonical addresses: #GP for the operand or a page fault of its elements",
     [](const Instruction& insn, const Outcome& host, const Outcome& tandem) {
         return is_masked(insn) && host.vector == 13 && tandem.vector == 14 && tandem.cr2 >= kLinuxUserEnd;
     },
     [](Outcome& host, Outcome& tandem) {
         tandem.vector = host.vector;
         tandem.error = host.error;
         tandem.cr2 = host.cr2;
     }},
    {"registers that POPA has popped before the fault, and what PUSHA has pushed",
     [](const Instruction& insn, const Outcome&, const Outcome&) {
         return insn.opcode == O::POPA || insn.opcode == O::PUSHA;
     },
     [](Outcome& host, Outcome& tandem) {
         tandem.out.gpr = host.out.gpr;
         tandem.memory = host.memory;
         tandem.cr2 = host.cr2;
     }},
    {"an operand that wraps at 4 GiB (SDM volume 3, 5.3: \"may or may not cause the indicated exceptions\")",
     [](const Instruction& insn, const Outcome& host, const Outcome& tandem) {
         return insn.mode == Mode::Bits32 && host.vector == 14 && host.cr2 > 0xffff'ff00 &&
                (tandem.vector == 13 || tandem.vector == 12);
     },
     [](Outcome& host, Outcome& tandem) {
         tandem.vector = host.vector;
         tandem.error = host.error;
         tandem.cr2 = host.cr2;
     }},
    {"whether a faulting MMX instruction has reset TOP already",
     [](const Instruction& insn, const Outcome&, const Outcome&) { return (insn.flags & kRowMmx) != 0; },
     [](Outcome& host, Outcome& tandem) {
         tandem.out.fx.fsw = host.out.fx.fsw;
         tandem.out.fx.st = host.out.fx.st;
     }},
    {"a near branch to a non-canonical address: an AMD host faults at its target",
     [](const Instruction& insn, const Outcome& host, const Outcome& tandem) {
         return (insn.flags & kRowBranch) != 0 && host.vector == 13 && tandem.vector == 13 &&
                static_cast<u64>(sign_extend(host.out.rip, 48)) != host.out.rip;
     },
     [](Outcome& host, Outcome& tandem) {
         tandem.out.rip = host.out.rip;
         tandem.out.gpr[RSP] = host.out.gpr[RSP];
         tandem.memory = host.memory;
     }},
    {"a near CALL whose target and stack are both not canonical: #GP or #SS",
     [](const Instruction& insn, const Outcome& host, const Outcome& tandem) {
         return insn.opcode == O::CALL && host.vector == 13 && tandem.vector == 12;
     },
     [](Outcome& host, Outcome& tandem) { tandem.vector = host.vector; }},
};

const Latitude kWithoutFault[] = {
    {"memory behind PUSH of a segment register with a 32-bit or 64-bit operand, of which 16 bits are written or all (SDM "
     "volume 2, PUSH)",
     [](const Instruction& insn, const Outcome&, const Outcome&) {
         return insn.opcode == O::PUSH && insn.op[0].kind == OperandKind::Seg && insn.operand_size > 2;
     },
     [](Outcome& host, Outcome&) { host.memory_open = true; }},
};

void compare_fx(Differences& d, const FxImage& host, const FxImage& tandem) {
    d.check("fcw", host.fcw, tandem.fcw);
    d.check("fsw", host.fsw, tandem.fsw);
    d.check("ftw", host.ftw, tandem.ftw);
    d.check("mxcsr", host.mxcsr, tandem.mxcsr);
    for (unsigned i = 0; i < 8; ++i) {
        d.check(fmt::format("st{}", i), std::span(host.st[i]).first(10), std::span(tandem.st[i]).first(10));
    }
    for (unsigned i = 0; i < 16; ++i) {
        for (const unsigned half : {1u, 0u}) {
            d.check(fmt::format("xmm{}.{}", i, half != 0 ? "hi" : "lo"), host.xmm[i][half], tandem.xmm[i][half]);
        }
    }
}

// The fields of a struct with visit(), by name.
struct FieldReader {
    std::vector<std::pair<std::string, u64>> fields;
    std::string prefix;

    template <class T>
    void operator()(const std::string& name, T& value) {
        if constexpr (requires { value.visit(*this); }) {
            const std::string before = std::exchange(prefix, prefix + name + ".");
            value.visit(*this);
            prefix = before;
        } else if constexpr (requires { value.size(); }) {
            for (size_t i = 0; i < value.size(); ++i) (*this)(fmt::format("{}{}", name, i), value[i]);
        } else {
            fields.emplace_back(prefix + name, static_cast<u64>(value));
        }
    }
};

void compare_system(Differences& d, const World& world, SystemImage first, SystemImage second) {
    if (!first.present || !second.present || first == second) return;
    FieldReader a, b;
    first.visit(a);
    second.visit(b);
    for (size_t i = 0; i < a.fields.size(); ++i) d.check(a.fields[i].first, a.fields[i].second, b.fields[i].second);
    d.check("tables", first.tables, second.tables, table_area(world.paging).at);
    d.check("code", first.code, second.code, kCodePage);
}

void append_inputs(std::string& text, const TestCase& test) {
    const CpuImage& in = test.in;
    for (unsigned i = 0; i < 16; ++i)
        text += fmt::format("    {:<4} {:016x}{}", kNames[i], in.gpr[i], i % 4 == 3 ? "\n" : "");
    text += fmt::format("    rflags {:x} mxcsr {:x} fcw {:x} fsw {:x} ftw {:x}\n", in.rflags, in.fx.mxcsr, in.fx.fcw,
                        in.fx.fsw, in.fx.ftw);
    bool x87 = false;
    bool xmm = false;
    for (const Instruction& insn : instructions(test)) {
        x87 = x87 || (insn.flags & (kRowX87 | kRowMmx)) != 0;
        xmm = xmm || (insn.flags & kRowSse) != 0;
        for (const Operand& op : insn.op) {
            if (op.kind == OperandKind::Xmm)
                text += fmt::format("    ymm{} {:016x} {:016x} {:016x} {:016x}\n", op.reg, in.ymm_high[op.reg][1],
                                    in.ymm_high[op.reg][0], in.fx.xmm[op.reg][1], in.fx.xmm[op.reg][0]);
        }
    }
    for (unsigned i = 0; x87 && i < 8; ++i)
        text += fmt::format("    st{} {}\n", i, hex_bytes(std::span(in.fx.st[i]).first(10)));
}

}  // namespace

std::vector<Instruction> instructions(const TestCase& test) {
    std::vector<Instruction> list;
    for (size_t at = 0; at < test.length;) {
        Instruction insn;
        if (decode(std::span(test.code).subspan(at, test.length - at), mode_of(test), insn) != DecodeStatus::Ok) break;
        at += insn.length;
        list.push_back(insn);
    }
    return list;
}

u64 undefined_flags(const Instruction& insn, const CpuImage& in, bool first) {
    // Whatever came before may have changed CL.
    const bool unknown_count = !first && insn.operand_count != 0 && insn.op[insn.operand_count - 1].kind == OperandKind::Gpr;
    u64 flags = shift_flags(insn, in);
    if (unknown_count && is_shift(insn.opcode)) flags = kAll;
    for (const UndefinedRow& row : kUndefined) {
        if (std::find(row.opcodes.begin(), row.opcodes.end(), insn.opcode) != row.opcodes.end()) flags |= row.flags;
    }
    return flags;
}

namespace {

// Makes alike what is the hardware's choice. False: nothing can be compared.
bool level(const TestCase& test, Outcome& host, Outcome& tandem) {
    if (open_fault(test, host, tandem)) return false;
    level_strings(test, host, tandem);
    for (const Instruction& i : instructions(test)) {
        for (const Latitude& l : kWithoutFault) {
            if (l.applies(i, host, tandem)) l.level(host, tandem);
        }
    }
    // A branch may fault at its target on one side only.
    const bool at_target = !faulted(test, host) && faulted(test, tandem) && host.vector == 13 && tandem.vector == 13;
    if (!faulted(test, host) && !at_target) return true;
    const auto at = (at_target ? tandem : host).out.rip - test.in.rip;
    Instruction insn;
    if (decode(std::span(test.code).subspan(at, test.length - at), mode_of(test), insn) != DecodeStatus::Ok) return true;
    for (const Latitude& l : kOnFault) {
        if (l.applies(insn, host, tandem)) l.level(host, tandem);
    }
    return true;
}

}  // namespace

Skip skip_of(const Outcome& first, const Outcome& second) {
    if ((first.doubtful || second.doubtful) && first.vector != second.vector) return Skip::NotEmulated;
    return std::max(first.skip, second.skip);
}

std::vector<std::string> differences(const TestCase& test, const Outcome& first, const Outcome& second, const Sides& sides) {
    if (skip_of(first, second) != Skip::None) return {};
    Differences d(sides);
    Outcome host = first;
    Outcome tandem = second;
    if (!sides.exact && !level(test, host, tandem)) return {};
    d.check("vector", host.vector, tandem.vector);
    d.check("error", sides.exact ? host.error : page_fault_error(host),
            sides.exact ? tandem.error : page_fault_error(tandem));
    d.check("cr2", host.cr2, tandem.cr2);
    d.check("rip", host.out.rip, tandem.out.rip);
    u64 compared = ~u64{0};
    bool result_undefined = false;
    if (!sides.exact) {
        compared = kCompared;
        const auto list = instructions(test);
        for (const Instruction& insn : list) {
            compared &= ~undefined_flags(insn, test.in, &insn == &list.front());
            result_undefined = result_undefined || undefined_result(insn, test.in);
        }
    }
    d.check("rflags", host.out.rflags & compared, tandem.out.rflags & compared);
    if (!result_undefined) {
        for (unsigned i = 0; i < 16; ++i) d.check(kNames[i], host.out.gpr[i], tandem.out.gpr[i]);
        const bool known = !host.memory_open && !tandem.memory_open;
        if (known && host.memory.hash != tandem.memory.hash) d.check("memory", host.memory, tandem.memory, kData);
    }
    compare_fx(d, host.out.fx, tandem.out.fx);
    for (unsigned i = 0; i < 16; ++i) {
        for (const unsigned half : {1u, 0u}) {
            d.check(fmt::format("ymm{}.{}", i, half + 2), host.out.ymm_high[i][half], tandem.out.ymm_high[i][half]);
        }
    }
    if (sides.exact) compare_system(d, world_of(test), host.system, tandem.system);
    return d.take();
}

std::string report(const TestCase& test, const Outcome& first, const Outcome& second, const Sides& sides) {
    const std::span<const u8> code = std::span(test.code).first(test.length);
    std::string text = fmt::format("seed {} variant {}, {}: {}\n{}", test.seed, test.variant, world_of(test).name,
                                   hex_bytes(code), disassemble(code, mode_of(test), test.in.rip));
    append_inputs(text, test);
    for (const std::string& line : differences(test, first, second, sides)) text += "  ! " + line + "\n";
    return text;
}

std::vector<std::string> catalogue() {
    constexpr std::pair<u64, const char*> kFlags[] = {{CF, "CF"}, {PF, "PF"}, {AF, "AF"},
                                                      {ZF, "ZF"}, {SF, "SF"}, {OF, "OF"}};
    std::vector<std::string> lines;
    for (const UndefinedRow& row : kUndefined) {
        std::vector<std::string_view> names, flags;
        for (const Opcode opcode : row.opcodes) names.push_back(opcode_name(opcode));
        for (const auto& [bit, name] : kFlags) {
            if ((row.flags & bit) != 0) flags.emplace_back(name);
        }
        lines.push_back(fmt::format("| {} | {} |", fmt::join(names, " "), fmt::join(flags, " ")));
    }
    for (const Latitude& l : kOnFault) lines.push_back(fmt::format("- {}", l.reason));
    for (const Latitude& l : kWithoutFault) lines.push_back(fmt::format("- {}", l.reason));
    return lines;
}

}  // namespace tandem::accel::diff

#include "cpu/x86/decode/rows.h"

#include "cpu/x86/decode/lookup.h"

namespace tandem::cpu::x86::decode_rows {
namespace {

// The vocabulary of opcodes.inc.
constexpr ModRmMatch NoRM{};
constexpr ModRmMatch RM{true, 0, 0, ModRmMatch::kAnyMod};
constexpr ModRmMatch Mem{true, 0, 0, ModRmMatch::kMemory};
constexpr ModRmMatch Reg{true, 0, 0, ModRmMatch::kRegister};
constexpr ModRmMatch RegMod{true, 0, 0, ModRmMatch::kIgnored};
constexpr ModRmMatch digit(unsigned n, ModRmMatch::Mod mod) { return {true, 0x38, static_cast<u8>(n << 3), mod}; }
constexpr ModRmMatch X(u8 modrm) { return {true, 0xff, modrm, ModRmMatch::kRegister}; }
#define TANDEM_DIGIT(n)                                                         \
    constexpr ModRmMatch D##n = digit(n, ModRmMatch::kAnyMod);                  \
    [[maybe_unused]] constexpr ModRmMatch M##n = digit(n, ModRmMatch::kMemory); \
    [[maybe_unused]] constexpr ModRmMatch R##n = digit(n, ModRmMatch::kRegister);
TANDEM_DIGIT(0)
TANDEM_DIGIT(1)
TANDEM_DIGIT(2)
TANDEM_DIGIT(3)
TANDEM_DIGIT(4)
TANDEM_DIGIT(5)
TANDEM_DIGIT(6)
TANDEM_DIGIT(7)
#undef TANDEM_DIGIT

constexpr u32 No64 = kRowNo64, Only64 = kRowOnly64, Lock = kRowLock, D64 = kRowDefault64, F64 = kRowForce64;
constexpr u32 PlusR = kRowPlusReg, PlusCC = kRowPlusCond, Prot = kRowProtected, Cpl0 = kRowCpl0, Iopl = kRowIopl;
constexpr u32 Br = kRowBranch, Str = kRowString, RexW = kRowRexW, NoRexW = kRowNoRexW, NoRexB = kRowNoRexB, L0 = kRowVexL0;
constexpr u32 L1 = kRowVexL1, W0 = kRowVexW0, W1 = kRowVexW1, Avx = kRowAvx | kRowProtected, Int = kRowAvxInteger,
              Vsib = kRowVsib;
constexpr u32 Alias = kRowAlias, Fb = kRowFallback, Al = kRowAligned, X87 = kRowX87, NW = kRowNoWait, Mmx = kRowMmx,
              Sse = kRowSse;

namespace gate {
using enum Feature;
constexpr Feature Base = kNoFeature;
}  // namespace gate

using enum Form;

template <class... F>
constexpr Row make_row(Map map, Prefix prefix, u8 byte, ModRmMatch modrm, Opcode opcode, RowAccess access, Feature feature,
                       u32 flags, F... forms) {
    return {map, prefix, byte, modrm, opcode, access, feature, flags, {forms...}};
}

constexpr Row kRows[] = {
#define TANDEM_X86_OPCODE(name)
#define TANDEM_X86_ROW(map, prefix, byte, modrm, name, access, feature, flags, ...)         \
    make_row(Map::map, prefix, byte, modrm, Opcode::name, RowAccess::access, gate::feature, \
             flags __VA_OPT__(, ) __VA_ARGS__),
#include "cpu/x86/decode/opcodes.inc"
#undef TANDEM_X86_OPCODE
#undef TANDEM_X86_ROW
};

constexpr unsigned encodings(const Row& row) {
    return (row.flags & kRowPlusReg) != 0 ? 8 : (row.flags & kRowPlusCond) != 0 ? 16 : 1;
}

constexpr unsigned count_encodings() {
    unsigned n = 0;
    for (const Row& row : kRows) n += encodings(row);
    return n;
}

static_assert(count_encodings() <= Lookup::kMaxEncodings);

constexpr Lookup build_lookup() {
    Lookup t;
    for (const Row& row : kRows) {
        for (unsigned i = 0; i < encodings(row); ++i) {
            Slot& slot = t.slots[static_cast<unsigned>(row.map)][row.byte + i];
            ++slot.count;
            slot.modrm = slot.modrm || row.modrm.present;
        }
    }
    u16 next = 0;
    for (auto& map : t.slots) {
        for (Slot& slot : map) {
            slot.first = next;
            next = static_cast<u16>(next + slot.count);
            slot.count = 0;
        }
    }
    u16 index = 0;
    for (const Row& row : kRows) {
        for (unsigned i = 0; i < encodings(row); ++i) {
            Slot& slot = t.slots[static_cast<unsigned>(row.map)][row.byte + i];
            t.order[slot.first + slot.count++] = index;
        }
        ++index;
    }
    return t;
}

}  // namespace

std::span<const Row> rows() { return kRows; }

constexpr Lookup kLookup = build_lookup();
const Row* const kRowTable = kRows;

namespace {
constexpr bool modrm_is_settled_by_the_opcode() {
    for (const Row& row : kRows) {
        if (kLookup.slots[static_cast<unsigned>(row.map)][row.byte].modrm != row.modrm.present) return false;
    }
    return true;
}
static_assert(modrm_is_settled_by_the_opcode());

}  // namespace

}  // namespace tandem::cpu::x86::decode_rows

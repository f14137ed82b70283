#include "devices/irq/gic_bank.h"

#include <algorithm>

namespace tandem::devices::gic {
namespace {

constexpr std::array<BankRow, 9> kRows{{
    {"IGROUPR", 0x080, 4, BankRegister::Group},
    {"ISENABLER", 0x100, 4, BankRegister::SetEnable},
    {"ICENABLER", 0x180, 4, BankRegister::ClearEnable},
    {"ISPENDR", 0x200, 4, BankRegister::SetPending},
    {"ICPENDR", 0x280, 4, BankRegister::ClearPending},
    {"ISACTIVER", 0x300, 4, BankRegister::SetActive},
    {"ICACTIVER", 0x380, 4, BankRegister::ClearActive},
    {"IPRIORITYR", 0x400, 32, BankRegister::Priority},
    {"ICFGR", 0xc00, 8, BankRegister::Config},
}};
constexpr unsigned kBanks = 32;

}  // namespace

bool Bank::set_line(unsigned bit, bool level) {
    const u32 m = 1u << bit, before = pending();
    if (level && (line & m) == 0 && (edge & m) != 0) latched |= m;
    line = level ? line | m : line & ~m;
    return (pending() & ~before & m) != 0;
}

void reset_bank(Bank& bank, const BankRules& rules) {
    const u32 line = bank.line;
    bank = {};
    bank.line = line;
    bank.enabled = rules.enabled;
    bank.edge = rules.edge;
}

std::optional<BankPlace> find_bank_register(u64 offset) {
    for (const BankRow& row : kRows) {
        if (offset < row.offset || offset >= row.offset + kBanks * row.stride) continue;
        const auto at = static_cast<unsigned>(offset - row.offset);
        return BankPlace{&row, at / row.stride, at % row.stride / 4};
    }
    return {};
}

u32 read_bank(const Bank& bank, const BankPlace& place) {
    switch (place.row->kind) {
        case BankRegister::Group: return bank.group1;
        case BankRegister::SetEnable:
        case BankRegister::ClearEnable: return bank.enabled;
        case BankRegister::SetPending:
        case BankRegister::ClearPending: return bank.pending();
        case BankRegister::SetActive:
        case BankRegister::ClearActive: return bank.active;
        case BankRegister::Priority: {
            u32 value = 0;
            for (unsigned i = 0; i < 4; ++i) value |= u32{bank.priority[place.word * 4 + i]} << 8 * i;
            return value;
        }
        case BankRegister::Config: {
            u32 value = 0;
            for (unsigned i = 0; i < 16; ++i) value |= (bank.edge >> (place.word * 16 + i) & 1) << (2 * i + 1);
            return value;
        }
    }
    return 0;
}

void write_bank(Bank& bank, const BankRules& rules, const BankPlace& place, u32 value, u32 lanes) {
    value &= lanes;
    switch (place.row->kind) {
        case BankRegister::Group: bank.group1 = (bank.group1 & ~lanes) | value; break;
        case BankRegister::SetEnable: bank.enabled |= value; break;
        case BankRegister::ClearEnable: bank.enabled &= ~(value & ~rules.enabled); break;
        case BankRegister::SetPending: bank.latched |= value & ~rules.fixed_pending; break;
        case BankRegister::ClearPending: bank.latched &= ~(value & ~rules.fixed_pending); break;
        case BankRegister::SetActive: bank.active |= value; break;
        case BankRegister::ClearActive: bank.active &= ~value; break;
        case BankRegister::Priority:
            for (unsigned i = 0; i < 4; ++i) {
                if ((lanes >> 8 * i & 1) == 0) continue;
                bank.priority[place.word * 4 + i] = static_cast<u8>(value >> 8 * i) & kPriorityMask;
            }
            break;
        case BankRegister::Config:
            for (unsigned i = 0; i < 16; ++i) {
                const u32 m = 1u << (place.word * 16 + i);
                if ((rules.fixed_config & m) != 0 || (lanes >> (2 * i + 1) & 1) == 0) continue;
                bank.edge = (value >> (2 * i + 1) & 1) != 0 ? bank.edge | m : bank.edge & ~m;
            }
            break;
    }
}

void Priorities::set_binary_point(unsigned group, u8 value) {
    binary_point[group] = std::max<u8>(value & 7, kLeastBinaryPoint[group]);
}

// With CBPR group 1 uses group 0's, as the value that means the same there (IHI 0069H, ICC_BPR1_EL1).
u8 Priorities::effective_binary_point(unsigned group) const {
    if (group == 0 || !common_binary_point) return binary_point[group];
    return std::min<u8>(static_cast<u8>(binary_point[0] + 1), 7);
}

// Group 0: bits 7:n+1, group 1: bits 7:n (IHI 0069H, table 4-7).
u8 Priorities::group_mask(unsigned group) const {
    if (group == 1 && common_binary_point) group = 0;
    const unsigned shift = binary_point[group] + (group == 0 ? 1u : 0u);
    return static_cast<u8>(0xffu << shift);
}

bool Priorities::valid() const {
    return binary_point[0] <= 7 && binary_point[1] <= 7 && binary_point[0] >= kLeastBinaryPoint[0] &&
           binary_point[1] >= kLeastBinaryPoint[1];
}

u8 Priorities::running() const {
    const u32 all = active[0] | active[1];
    return all == 0 ? kIdlePriority : static_cast<u8>(std::countr_zero(all) << 3);
}

bool Priorities::drop() {
    const u32 all = active[0] | active[1];
    if (all == 0) return false;
    const u32 highest = all & (~all + 1);
    active[(active[0] & highest) != 0 ? 0 : 1] &= ~highest;
    return true;
}

}  // namespace tandem::devices::gic

// What the two generations of the Arm Generic Interrupt Controller share (GICv2: IHI 0048B; GICv3: IHI 0069H): the state of
// 32 interrupts with the registers over it, and the arithmetic of priorities in a CPU interface.
#pragma once

#include <array>
#include <bit>
#include <optional>
#include <span>

#include "base/types.h"
#include "devices/fabric/address_space.h"

namespace tandem::devices::gic {

constexpr unsigned kSgis = 16, kPrivate = 32;
constexpr u32 kSpurious = 1023;        // no interrupt
constexpr u32 kSpuriousGroup1 = 1022;  // GICv2: a group 1 interrupt that this register does not acknowledge
constexpr u32 kFirstSpecial = 1020, kFirstLpi = 8192;
constexpr unsigned kPriorityBits = 5;
constexpr u8 kPriorityMask = 0xf8;
constexpr u8 kIdlePriority = 0xff;

constexpr u32 field(u32 value, unsigned high, unsigned low) { return value >> low & ((1u << (high - low + 1)) - 1); }

// 32 interrupts, one bit each.
struct Bank {
    u32 group1 = 0, enabled = 0, latched = 0, active = 0, line = 0, edge = 0;
    std::array<u8, 32> priority{};

    // A level-sensitive interrupt is pending while its line is up, or software made it so.
    [[nodiscard]] u32 pending() const { return latched | (line & ~edge); }
    [[nodiscard]] u32 candidates() const { return pending() & enabled & ~active; }
    // Sets an input. True when that made the interrupt pending.
    bool set_line(unsigned bit, bool level);
    // Pending becomes active.
    void acknowledge(unsigned bit) {
        latched &= ~(1u << bit);
        active |= 1u << bit;
    }
    void visit(auto& v) {
        v("group1", group1);
        v("enabled", enabled);
        v("latched", latched);
        v("active", active);
        v("line", line);
        v("edge", edge);
        v("priority", priority);
    }
};

// Which bits of a bank software cannot change.
struct BankRules {
    u32 enabled = 0;        // always enabled
    u32 fixed_pending = 0;  // GICv2's SGIs are made pending by other means
    u32 fixed_config = 0;
    u32 edge = 0;  // at reset
};
constexpr u32 kSgiMask = 0xffff;
// Inputs keep their level: they are the devices' business.
void reset_bank(Bank& bank, const BankRules& rules);

// The registers over banks have the same offsets in GICD (both generations) and in GICR's SGI frame.
enum class BankRegister : u8 {
    Group,
    SetEnable,
    ClearEnable,
    SetPending,
    ClearPending,
    SetActive,
    ClearActive,
    Priority,
    Config
};
struct BankRow {
    const char* name;
    u32 offset;
    u32 stride;  // bytes for one bank
    BankRegister kind;
};
struct BankPlace {
    const BankRow* row;
    unsigned bank;  // 32 for the reserved ones behind interrupt 1023
    unsigned word;  // 32 bits of the bank's part
};
// Nothing: another kind of register lies at `offset` (a multiple of 4).
std::optional<BankPlace> find_bank_register(u64 offset);
u32 read_bank(const Bank& bank, const BankPlace& place);
// Only the bytes in `lanes` were written.
void write_bank(Bank& bank, const BankRules& rules, const BankPlace& place, u32 value, u32 lanes);

// An interrupt that is ready to be signalled.
struct Candidate {
    u32 id = kSpurious;
    u8 priority = kIdlePriority;
    u8 group = 0;
    [[nodiscard]] bool any() const { return id != kSpurious; }
    // Ties go to the lower number (IHI 0048B, 3.3).
    void offer(const Candidate& other) {
        if (other.priority < priority || (other.priority == priority && other.id < id)) *this = other;
    }
    // Interrupts of a bank that begins at `first`.
    void offer(const Bank& bank, u32 which, u32 first) {
        for (; which != 0; which &= which - 1) {
            const auto i = static_cast<unsigned>(std::countr_zero(which));
            offer({first + i, bank.priority[i], static_cast<u8>(bank.group1 >> i & 1)});
        }
    }
};
// Of a bank's interrupts those that may be signalled: GICD_CTLR enables groups by bits 0 and 1.
inline u32 candidates(const Bank& b, u32 control) {
    return b.candidates() & (((control & 1) != 0 ? ~b.group1 : 0) | ((control & 2) != 0 ? b.group1 : 0));
}

// Priorities of one CPU interface, physical or virtual: GICC_ and GICV_, ICC_ and ICV_.
struct Priorities {
    u8 mask = 0;                           // PMR
    std::array<u8, 2> binary_point{2, 3};  // by group: BPR or BPR0, and ABPR or BPR1
    bool common_binary_point = false;      // CBPR
    bool split_eoi = false;                // EOImode: priority drop and deactivation are separate
    std::array<bool, 2> enabled{};         // by group
    std::array<u32, 2> active{};           // APR by group: bit n is priority n << 3

    static constexpr std::array<u8, 2> kLeastBinaryPoint{2, 3};
    void set_binary_point(unsigned group, u8 value);
    [[nodiscard]] u8 effective_binary_point(unsigned group) const;
    // The bits that decide about preemption.
    [[nodiscard]] u8 group_mask(unsigned group) const;
    // RPR
    [[nodiscard]] u8 running() const;
    // Whether the interface signals it to the processor now.
    [[nodiscard]] bool signals(const Candidate& c) const {
        return c.any() && enabled[c.group] && c.priority < mask && (c.priority & group_mask(c.group)) < running();
    }
    void activate(const Candidate& c) { active[c.group] |= 1u << ((c.priority & group_mask(c.group)) >> 3); }
    // Priority drop: the highest active priority ends. False when there was none.
    bool drop();
    // Whether these are values that the registers can hold.
    [[nodiscard]] bool valid() const;

    void visit(auto& v) {
        v("mask", mask);
        v("binary_point", binary_point);
        v("common_binary_point", common_binary_point);
        v("split_eoi", split_eoi);
        v("enabled", enabled);
        v("active", active);
    }
};

// Calls f(word offset, value, lanes) for the 32-bit words that a write touches; lanes has the written bytes set.
template <class F>
void for_words(u64 offset, u64 value, unsigned size, F f) {
    if (size == 8) {
        f(offset & ~u64{7}, static_cast<u32>(value), ~0u);
        f((offset & ~u64{7}) + 4, static_cast<u32>(value >> 32), ~0u);
        return;
    }
    const unsigned shift = (offset & 3) * 8;
    const u32 lanes = (size == 4 ? ~0u : (1u << size * 8) - 1) << shift;
    f(offset & ~u64{3}, static_cast<u32>(value) << shift, lanes);
}
// The same for reads: f(word offset) answers 32 bits.
template <class F>
u64 read_words(u64 offset, unsigned size, F f) {
    if (size == 8) return f(offset & ~u64{7}) | u64{f((offset & ~u64{7}) + 4)} << 32;
    const u64 value = f(offset & ~u64{3}) >> (offset & 3) * 8;
    return size == 4 ? value : value & ((1u << size * 8) - 1);
}

}  // namespace tandem::devices::gic

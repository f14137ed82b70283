// Device registers declared as data. A device lists its registers once; RegisterBank stores their values and performs the
// accesses: any size and alignment, several registers at once, masks applied, hooks called. It does no locking.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "base/bits.h"
#include "base/types.h"

namespace tandem::devices {

template <class Owner>
struct Register {
    const char* name = "";
    u32 offset = 0;
    u8 width = 4;  // bytes: 1, 2, 4 or 8
    u64 reset = 0;
    u64 writable = 0;          // bits that take the written value
    u64 write_1_to_clear = 0;  // bits that a written 1 clears; disjoint from writable
    // Replaces the stored value for a read (which it may have side effects on).
    u64 (Owner::*read)(const Register&, u64 stored) = nullptr;
    // After a write was stored. `old` is the previous value, `written` what the guest wrote (lanes it did not write are 0).
    void (Owner::*written)(const Register&, u64 old, u64 written) = nullptr;
};

template <class Owner>
class RegisterBank {
public:
    // `rows`: sorted by offset, not overlapping, outliving the bank.
    explicit RegisterBank(std::span<const Register<Owner>> rows) : rows_(rows), values_(rows.size()) { reset(); }

    void reset() {
        for (std::size_t i = 0; i < rows_.size(); ++i) values_[i] = rows_[i].reset;
    }

    // By row index, without hooks and masks: the device's own view.
    [[nodiscard]] u64 get(std::size_t row) const { return values_[row]; }
    void set(std::size_t row, u64 value) { values_[row] = value & mask(rows_[row].width * 8); }
    [[nodiscard]] const std::vector<u64>& values() const { return values_; }

    // Guest accesses. Bytes outside every register read as `unclaimed` and ignore writes.
    u64 read(Owner& owner, u64 offset, unsigned size, u8 unclaimed = 0) {
        u64 result = 0;
        for (unsigned i = 0; i < size; ++i) result |= u64{unclaimed} << (8 * i);
        for_each(offset, size, [&](std::size_t i, Lanes lanes) {
            const auto& row = rows_[i];
            const u64 value = row.read != nullptr ? (owner.*row.read)(row, values_[i]) : values_[i];
            result = with_bits(result, lanes.in_access + lanes.width - 1, lanes.in_access, value >> lanes.in_register);
        });
        return result;
    }
    void write(Owner& owner, u64 offset, u64 value, unsigned size) {
        for_each(offset, size, [&](std::size_t i, Lanes lanes) {
            const auto& row = rows_[i];
            const u64 lane_mask = mask(lanes.width) << lanes.in_register;
            const u64 written = (bits(value, lanes.in_access + lanes.width - 1, lanes.in_access)) << lanes.in_register;
            const u64 old = values_[i];
            const u64 writable = row.writable & lane_mask;
            values_[i] = ((old & ~writable) | (written & writable)) & ~(written & row.write_1_to_clear);
            if (row.written != nullptr) (owner.*row.written)(row, old, written);
        });
    }

private:
    struct Lanes {             // in bits
        unsigned in_access;    // where the shared part starts in the access
        unsigned in_register;  // and in the register
        unsigned width;
    };

    template <class F>
    void for_each(u64 offset, unsigned size, F f) {
        for (std::size_t i = 0; i < rows_.size(); ++i) {
            const u64 from = std::max<u64>(offset, rows_[i].offset);
            const u64 to = std::min<u64>(offset + size, u64{rows_[i].offset} + rows_[i].width);
            if (from >= to) continue;
            f(i, Lanes{static_cast<unsigned>(from - offset) * 8, static_cast<unsigned>(from - rows_[i].offset) * 8,
                       static_cast<unsigned>(to - from) * 8});
        }
    }

    std::span<const Register<Owner>> rows_;
    std::vector<u64> values_;
};

}  // namespace tandem::devices

// What the tables of numbered registers (cpu/numbered.h) of the architectures have in common: rows of a type of the
// architecture's own, over the fields of its State, in ascending order of class and number.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "base/bits.h"
#include "cpu/numbered.h"

namespace tandem::cpu {

// `Row` has `shown`, a RegisterRow, and `offset`, a register's place in a `State` in bytes. A table is filled once, by the
// constructor of a derived class, which ends with sort(); afterwards any thread may read it.
template <class Row, class State, RegisterArchitecture kArchitecture>
class RegisterTable {
public:
    [[nodiscard]] const std::vector<Row>& rows() const { return rows_; }
    // What the rows show, in the same order.
    [[nodiscard]] std::span<const RegisterRow> shown() const { return shown_; }

protected:
    // The references hold until the next row is added. `size` in bytes.
    Row& add(RegisterClass kind, u32 number, unsigned size, std::string name) {
        Row row;
        names_.push_back(std::move(name));
        row.shown = {register_id(kArchitecture, kind, size, number), names_.back(), size, kind, false, false};
        rows_.push_back(row);
        return rows_.back();
    }
    // `where` is a field of s_, or of a part of it.
    template <class Field>
    Row& field(RegisterClass kind, u32 number, std::string name, const Field& where, unsigned size = sizeof(Field)) {
        Row& row = add(kind, number, size, std::move(name));
        row.offset = static_cast<u32>(reinterpret_cast<const std::byte*>(&where) - reinterpret_cast<const std::byte*>(&s_));
        return row;
    }
    void sort() {
        std::ranges::sort(rows_, {}, [](const Row& r) { return r.shown.id & mask(40); });
        for (const Row& r : rows_) shown_.push_back(r.shown);
    }
    [[nodiscard]] Row& last() { return rows_.back(); }

    const State s_{};  // for its layout

private:
    std::vector<Row> rows_;
    std::vector<RegisterRow> shown_;
    std::deque<std::string> names_;
};

}  // namespace tandem::cpu

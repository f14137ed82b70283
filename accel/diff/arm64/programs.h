// Streams of all kinds of instructions, accesses to the data among them, and branches ahead.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "accel/diff/arm64/streams.h"

namespace tandem::accel::diff::arm64 {

struct Program {
    std::vector<u32> words;
    unsigned base = 0;  // the general-purpose register that holds the middle of the data; no word writes it
};

class Programs {
public:
    // `only`: mnemonics, the words that names of rows begin with; empty: all.
    explicit Programs(std::span<const std::string> only = {});
    // Whether there is any instruction to make programs of.
    [[nodiscard]] bool empty() const { return data_.empty() && memory_.empty(); }
    // About `length` words; those that access memory come with words that set their base registers. With `branches` some
    // jump over a few of those that follow, all of them forwards.
    Program make(Random& random, unsigned length, bool branches) const;

private:
    struct Maker;
    std::vector<const cpu::arm64::Row*> data_;
    std::vector<const cpu::arm64::Row*> memory_;
    std::vector<const cpu::arm64::Row*> load_exclusive_;
    std::vector<const cpu::arm64::Row*> store_exclusive_;
    std::vector<const cpu::arm64::Row*> branches_;
};

}  // namespace tandem::accel::diff::arm64

#include "accel/diff/arm64/programs.h"

#include <algorithm>
#include <optional>

namespace tandem::accel::diff::arm64 {

using cpu::arm64::Feature;
using cpu::arm64::Row;

namespace {

using Rows = std::vector<const Row*>;

const Row& any(const Rows& rows, Random& random) { return *rows[random() % rows.size()]; }

// Whether a field that can name a register that is written, or the second one of a pair, has this number.
bool mentions(u32 word, unsigned reg) {
    for (const unsigned at : {0u, 5u, 10u, 16u}) {
        const unsigned named = word >> at & 31;
        if (named == reg || named + 1 == reg) return true;
    }
    return false;
}

// Exclusive, ordered and atomic accesses must be aligned.
bool must_be_aligned(u32 word) {
    return (word & 0x3f000000) == 0x08000000 || (word & 0x3b200c00) == 0x38200000 || (word & 0x3f200c00) == 0x19000000;
}

bool has_register_offset(const Row& row, u32 word) {
    return row.name.find("(register)") != std::string_view::npos || (word & 0x3b200c00) == 0x38200800;
}

constexpr u32 kNop = 0xd503201f;
constexpr u32 add_immediate(unsigned rd, unsigned rn, u32 imm12) { return 0x91000000 | imm12 << 10 | rn << 5 | rd; }
constexpr u32 keep_low_five_bits(unsigned rd) { return 0x92401000 | rd << 5 | rd; }  // AND Xd, Xd, #31

bool is_branch(const Row& row) {
    for (const std::string_view name : {"B.cond", "B", "CBZ", "CBNZ", "TBZ", "TBNZ"}) {
        if (row.name == name) return true;
    }
    return false;
}

bool is_wanted(const Row& row, std::span<const std::string> only) {
    const std::string_view name = row.name.substr(0, row.name.find(' '));
    return only.empty() || std::find(only.begin(), only.end(), name) != only.end();
}

// The branch `word` with an offset in words.
u32 with_offset(const Row& row, u32 word, u32 ahead) {
    if (row.name == "B") return (word & 0xfc000000) | ahead;
    const u32 field = row.name.starts_with("TB") ? 0x3fffu : 0x7ffffu;
    return (word & ~(field << 5)) | ahead << 5;
}

}  // namespace

struct Programs::Maker {
    const Programs& rows;
    Random& random;
    Program program;

    void data() {
        for (;;) {
            const u32 word = random_word(any(rows.data_, random), random);
            if ((word & 31) == program.base) continue;
            program.words.push_back(word);
            return;
        }
    }
    // A word of one of the rows that may stand in this program; nothing where their fixed bits name its base.
    std::optional<u32> access(const Rows& list) {
        for (unsigned tries = 0; tries < 2'000; ++tries) {
            const Row& row = any(list, random);
            const u32 word = within_data(row, random_word(row, random));
            const bool allowed = cpu::arm64::decode(word) == &row && predictable(row, word) && !mentions(word, program.base);
            const bool by_itself = has_register_offset(row, word) && (word >> 16 & 31) == (word >> 5 & 31);
            if (allowed && !by_itself) return word;
        }
        return {};
    }
    void set_base(u32 word) {
        const u32 offset = static_cast<u32>(random()) & (must_be_aligned(word) ? 0xf0 : 0xff);
        program.words.push_back(add_immediate(word >> 5 & 31, program.base, offset));
    }
    void memory() {
        const std::optional<u32> found = access(rows.memory_);
        if (!found) return program.words.push_back(kNop);
        const u32 word = *found;
        const unsigned index = word >> 16 & 31;
        if (has_register_offset(*cpu::arm64::decode(word), word) && index != 31) {
            program.words.push_back(keep_low_five_bits(index));
        }
        set_base(word);
        program.words.push_back(word);
    }
    // A load and a store of the same address and usually size.
    void exclusives() {
        const std::optional<u32> found = access(rows.load_exclusive_);
        if (!found) return program.words.push_back(kNop);
        const u32 load = *found;
        set_base(load);
        program.words.push_back(load);
        for (unsigned n = 0; n < 100; ++n) {
            const std::optional<u32> any_base = access(rows.store_exclusive_);
            if (!any_base) return;
            const u32 store = (*any_base & ~(31u << 5)) | (load & 31u << 5);
            if (!predictable(*cpu::arm64::decode(store), store) || ((store ^ load) >> 30 != 0 && n < 90)) continue;
            program.words.push_back(store);
            return;
        }
    }
    void branch() {
        const Row& row = any(rows.branches_, random);
        program.words.push_back(with_offset(row, random_word(row, random), 2 + static_cast<u32>(random() % 4)));
    }
    // No branch leads behind the end, nor between an access and what sets its base.
    void settle_branches(const std::vector<bool>& starts) {
        const std::size_t size = program.words.size();
        for (std::size_t at = 0; at < size; ++at) {
            const Row& row = *cpu::arm64::decode(program.words[at]);
            if (!is_branch(row)) continue;
            const bool unconditional = row.name == "B";
            const u32 field = unconditional ? program.words[at] & 0x3ffffff : program.words[at] >> 5 & 31;
            std::size_t to = std::min(at + field, size);
            while (to < size && !starts[to]) ++to;
            program.words[at] = with_offset(row, program.words[at], static_cast<u32>(to - at));
        }
    }
};

Programs::Programs(std::span<const std::string> only) {
    GroupRows simd = simd_rows(), general = general_rows();
    for (Rows* list : {&simd.data, &simd.memory, &general.data, &general.memory}) {
        std::erase_if(*list, [&](const Row* row) { return !is_wanted(*row, only); });
    }
    for (const auto* list : {&simd.data, &general.data}) data_.insert(data_.end(), list->begin(), list->end());
    // Half of the data words are general ones, of which there are fewer rows.
    while (!general.data.empty() && data_.size() < 2 * simd.data.size()) {
        data_.insert(data_.end(), general.data.begin(), general.data.end());
    }
    for (const auto* list : {&simd.memory, &general.memory}) {
        for (const Row* row : *list) {
            const bool relative = row->name.find("literal") != std::string_view::npos;
            if (!relative && row->feature != Feature::PAuth) memory_.push_back(row);
        }
    }
    for (const Row* row : general.memory) {
        if (row->name.starts_with("LDX") || row->name.starts_with("LDAX")) load_exclusive_.push_back(row);
        if (row->name.starts_with("STX") || row->name.starts_with("STLX")) store_exclusive_.push_back(row);
    }
    for (const Row& row : cpu::arm64::rows()) {
        if (is_branch(row) && is_wanted(row, only)) branches_.push_back(&row);
    }
}

Program Programs::make(Random& random, unsigned length, bool branches) const {
    Maker maker{*this, random, {}};
    maker.program.base = static_cast<unsigned>(random() % 31);
    std::vector<bool> starts;
    const auto& words = maker.program.words;
    const bool exclusives = !load_exclusive_.empty() && !store_exclusive_.empty();
    branches = branches && !branches_.empty();
    while (words.size() < length) {
        const std::size_t before = words.size();
        const u64 kind = random() % 16;
        if ((kind < 3 || data_.empty()) && !memory_.empty()) {
            maker.memory();
        } else if (kind == 3 && exclusives) {
            maker.exclusives();
        } else if ((kind == 4 || kind == 5) && branches) {
            maker.branch();
        } else {
            maker.data();
        }
        starts.resize(words.size(), false);
        starts[before] = true;
    }
    if (branches) maker.settle_branches(starts);
    return std::move(maker.program);
}

}  // namespace tandem::accel::diff::arm64

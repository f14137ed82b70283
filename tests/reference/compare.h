// How the tests of this folder make machines and report what differs between them.
#pragma once

#include <array>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "accel/diff/arm64/subject.h"
#include "cpu/arm64/decode/rows.h"

namespace tandem::reference_test {

using namespace accel::diff::arm64;

// The rounds of each row: 40 times as many with TANDEM_FULL, TANDEM_ROUNDS times as many with that.
unsigned rounds(unsigned few);
// What a test's streams are made from: `fixed`, or TANDEM_SEED, so that long runs need not repeat each other.
u64 seed(u64 fixed);

// Fails the test when it cannot be made.
std::unique_ptr<Subject> subject(jit::Tier tier, bool exact, u8* data);

// The states of each stream that LLVM compiles: the compilation is what a stream costs.
constexpr unsigned kStatesPerStream = 64;
static_assert(kStatesPerStream > 8 * Subject::kLlvmThreshold);

struct Data {
    alignas(4096) std::array<u8, Subject::kDataSize> bytes{};
    [[nodiscard]] u64 address() const { return reinterpret_cast<u64>(bytes.data()); }
};

// What differs, as text; nothing where they are equal. `with_status`: FPSR too.
std::string difference(const MachineState& a, const MachineState& b, bool with_status);

// Reports each row's first difference only, and fails in the end.
class Report {
public:
    Report() = default;
    ~Report();
    Report(const Report&) = delete;
    Report& operator=(const Report&) = delete;
    void check(const cpu::arm64::Row& row, u32 word, const MachineState& start, std::string_view what,
               const std::string& text);

private:
    std::set<std::string> rows_;
    std::string text_;
};

}  // namespace tandem::reference_test

// What AMD's processors do otherwise than Intel's, whose processor the models of an experiment are: there an AMD host says
// nothing about Tandem.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "accel/diff/test_case.h"

namespace tandem::accel::diff {

// Whether this host's processor is not Intel's by CPUID.0H: AMD's, or of its design. Any thread.
bool amd_host();

// Whether an AMD processor need not agree about this experiment. `hardware` is its outcome.
bool differs_on_amd(const TestCase& test, const Outcome& hardware, const Outcome& other);

// Bytes that the decoder calls undefined, as Intel's manual does, and AMD's defines or judges after another check.
bool defined_on_amd(const TestCase& test);

// The reason with which such experiments are counted.
inline constexpr std::string_view kVendorSkip = "an AMD processor need not do it as the model, which is Intel's";

// The reasons, as docs/differences.md lists them.
std::vector<std::string> vendor_catalogue();

}  // namespace tandem::accel::diff

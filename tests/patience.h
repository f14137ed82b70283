// How long tests wait for what a quiet host does at once. A busy one may take a thread's processor away for seconds.
#pragma once

#include <chrono>

namespace tandem::tests {

constexpr std::chrono::seconds kPatience{120};
// What returns at once stays below this; what is broken takes far longer, or for ever.
constexpr std::chrono::seconds kAtOnce{60};

}  // namespace tandem::tests

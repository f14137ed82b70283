#include "base/plant.h"

#include <array>
#include <atomic>
#include <cstdlib>

namespace tandem::plant {
namespace {

constexpr std::array<std::string_view, static_cast<std::size_t>(Fault::Count_)> kNames{"none",
                                                                                       "adc-flags",
                                                                                       "movsx-zeroes",
                                                                                       "imul-overflow",
                                                                                       "cmpxchg-accumulator",
                                                                                       "bsf-zero",
                                                                                       "missed-privilege",
                                                                                       "missed-alignment",
                                                                                       "lost-accessed",
                                                                                       "lost-dirty",
                                                                                       "sar-shifts-zeroes"};

}  // namespace

std::string_view name(Fault fault) { return kNames[static_cast<std::size_t>(fault)]; }

#ifdef TANDEM_PLANT
namespace {

Fault from_environment() {
    const char* text = std::getenv("TANDEM_PLANTED");
    for (std::size_t i = 0; text != nullptr && i < kNames.size(); ++i) {
        if (kNames[i] == text) return static_cast<Fault>(i);
    }
    return Fault::None;
}

std::atomic<Fault>& selected() {
    static std::atomic<Fault> fault{from_environment()};
    return fault;
}

thread_local bool t_compiles = false;

}  // namespace

void select(Fault fault) { selected() = fault; }
bool active(Fault fault) { return t_compiles && selected() == fault; }

Engine::Engine(bool compiles) : before_(t_compiles) { t_compiles = compiles; }
Engine::~Engine() { t_compiles = before_; }
#endif

}  // namespace tandem::plant

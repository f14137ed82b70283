#include "accel/diff/reduce.h"

#include <algorithm>

#include "accel/diff/compare.h"

namespace tandem::accel::diff {
namespace {

class Reducer {
public:
    Reducer(Experiment experiment, const std::function<bool(const Experiment&)>& differs)
        : best_(std::move(experiment)), differs_(differs) {}

    Experiment run() {
        drop_instructions();
        clear_registers();
        Experiment cleared = best_;
        reduce_memory(best_.memory, [&](const std::vector<u8>& memory) {
            cleared.memory = memory;
            return differs_(cleared);
        });
        return std::move(best_);
    }

private:
    // Keeps the change when the processors still differ.
    template <class F>
    bool attempt(F change) {
        Experiment smaller = best_;
        change(smaller);
        if (!differs_(smaller)) return false;
        best_ = std::move(smaller);
        return true;
    }

    // From the end, so that what remains to be tried keeps its place.
    void drop_instructions() {
        const auto list = instructions(best_.test);
        size_t at = 0;
        std::vector<std::pair<size_t, size_t>> places;
        for (const auto& insn : list) {
            places.emplace_back(at, insn.length);
            at += insn.length;
        }
        if (at < best_.test.length) attempt([at](Experiment& e) { e.test.length = static_cast<u8>(at); });
        for (auto it = places.rbegin(); it != places.rend() && places.size() > 1; ++it) {
            attempt([&](Experiment& e) {
                auto& code = e.test.code;
                std::copy(code.begin() + static_cast<std::ptrdiff_t>(it->first + it->second), code.end(),
                          code.begin() + static_cast<std::ptrdiff_t>(it->first));
                e.test.length = static_cast<u8>(e.test.length - it->second);
            });
        }
    }

    void clear_registers() {
        attempt([](Experiment& e) { e.test.in.fx = FxImage(); });
        attempt([](Experiment& e) { e.test.in.ymm_high = {}; });
        attempt([](Experiment& e) { e.test.in.rflags = 0x202 | world_of(e.test).mode_flags(); });
        for (unsigned i = 0; i < 16; ++i) {
            attempt([i](Experiment& e) { e.test.in.gpr[i] = 0; });
            attempt([i](Experiment& e) { e.test.in.fx.xmm[i] = {}; });
            attempt([i](Experiment& e) { e.test.in.ymm_high[i] = {}; });
        }
        for (unsigned i = 0; i < 8; ++i) attempt([i](Experiment& e) { e.test.in.fx.st[i] = {}; });
    }

    Experiment best_;
    const std::function<bool(const Experiment&)>& differs_;
};

// Halves that matter are looked at more closely.
void clear(std::vector<u8>& memory, size_t from, size_t size, const std::function<bool(const std::vector<u8>&)>& differs) {
    constexpr size_t kSmallest = 8;
    const auto begin = memory.begin() + static_cast<std::ptrdiff_t>(from);
    if (std::all_of(begin, begin + static_cast<std::ptrdiff_t>(size), [](u8 b) { return b == 0; })) return;
    std::vector<u8> cleared = memory;
    std::fill_n(cleared.begin() + static_cast<std::ptrdiff_t>(from), size, u8{0});
    if (differs(cleared)) {
        memory = std::move(cleared);
    } else if (size > kSmallest) {
        clear(memory, from, size / 2, differs);
        clear(memory, from + size / 2, size - size / 2, differs);
    }
}

}  // namespace

void reduce_memory(std::vector<u8>& memory, const std::function<bool(const std::vector<u8>&)>& differs) {
    clear(memory, 0, memory.size(), differs);
}

Experiment reduce(Experiment experiment, const std::function<bool(const Experiment&)>& differs) {
    return Reducer(std::move(experiment), differs).run();
}

}  // namespace tandem::accel::diff

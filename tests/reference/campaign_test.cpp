// Streams of all kinds of instructions, each in many states: interpreter, baseline and LLVM against each other and against
// the exact kernels of floating point. TANDEM_ROUNDS and TANDEM_SEED make a campaign of it.
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstring>

#include "accel/diff/arm64/programs.h"
#include "cpu/arm64/fpu/control.h"
#include "tests/reference/compare.h"

namespace tandem::reference_test {
namespace {

namespace fpcr = cpu::arm64::fpu::fpcr;

constexpr unsigned kDifferences = 20;  // reported; then it ends

struct Experiment {
    MachineState start;
    std::size_t memory = 0;  // where in the pool the data begins
};

// Memory full of numbers at which instructions change their ways.
std::vector<u8> memory_pool(Random& random) {
    std::vector<u8> pool(16 * Subject::kDataSize);
    MachineState state;
    for (std::size_t at = 0; at < pool.size(); at += sizeof state.v) {
        randomize(state, random, Control::Nearest);
        std::memcpy(pool.data() + at, state.v.data(), std::min(sizeof state.v, pool.size() - at));
    }
    return pool;
}

struct Engine {
    const char* name;
    std::unique_ptr<Subject> subject;
};

class Campaign {
public:
    explicit Campaign(u64 seed) : random_(seed), pool_(memory_pool(random_)) {
        const auto add = [this](const char* name, jit::Tier tier, bool exact) {
            engines_.push_back({name, subject(tier, exact, data_.bytes.data())});
        };
        add("exact", jit::Tier::Interp, true);
        add("interpreter", jit::Tier::Interp, false);
        add("baseline", jit::Tier::Baseline, false);
        add("llvm", jit::Tier::Llvm, false);
    }

    // One stream in kStatesPerStream states, up to the first that differs.
    void stream() {
        // Half of them with branches, a quarter under FPCR modes that have blocks of their own.
        const Program program = programs_.make(random_, 8 + static_cast<unsigned>(random_() % 16), (random_() & 1) != 0);
        const bool modes = (random_() & 3) == 0;
        for (unsigned n = 0; n < kStatesPerStream; ++n) {
            Experiment e = experiment(program, modes);
            const std::string text = differences(program.words, e);
            ++experiments_;
            if (text.empty()) continue;
            report(program.words, e, text);
            return;
        }
    }

    [[nodiscard]] u64 experiments() const { return experiments_; }
    [[nodiscard]] u64 regions() const { return engines_.back().subject->regions_compiled(); }
    [[nodiscard]] const std::string& found() const { return found_; }
    [[nodiscard]] unsigned differing() const { return differing_; }

private:
    Experiment experiment(const Program& program, bool modes) {
        Experiment e;
        randomize_integers(e.start, random_, modes ? Control::Any : Control::Rounding);
        if (modes && (e.start.fpcr & (fpcr::FZ | fpcr::FZ16 | fpcr::DN | fpcr::AHP)) == 0) e.start.fpcr |= fpcr::DN;
        e.start.x[program.base] = data_.address() + Subject::kDataSize / 2;
        e.memory = random_() % (pool_.size() - Subject::kDataSize);
        return e;
    }

    // What is not as the first engine has it, as text.
    std::string differences(const std::vector<u32>& words, const Experiment& e) {
        MachineState expected;
        std::string text;
        for (const Engine& engine : engines_) {
            std::memcpy(data_.bytes.data(), pool_.data() + e.memory, Subject::kDataSize);
            MachineState state = e.start;
            const bool ended = engine.subject->run(words, state);
            if (&engine == &engines_.front()) {
                expected = state;
                memory_ = data_.bytes;
                if (!ended) text += " (does not run to its end)";
                continue;
            }
            std::string here = state == expected ? std::string() : difference(expected, state, true);
            if (memory_ != data_.bytes) here += " memory";
            if (!ended) here += " elsewhere";
            if (!here.empty()) text += std::string(" ") + engine.name + ":" + here;
        }
        return text;
    }

    // So often that what is compiled by LLVM has run.
    std::string differences_when_hot(const std::vector<u32>& words, const Experiment& e) {
        std::string text;
        for (unsigned n = 0; n < 3 * Subject::kLlvmThreshold && text.empty(); ++n) text = differences(words, e);
        return text;
    }

    // Leaves out what the difference does not need.
    void report(std::vector<u32> words, const Experiment& e, std::string text) {
        for (std::size_t at = words.size(); at-- > 0 && words.size() > 1;) {
            std::vector<u32> fewer = words;
            fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(at));
            const std::string still = differences_when_hot(fewer, e);
            if (still.empty() || still.find("does not run") != std::string::npos) continue;
            words.swap(fewer);
            text = still;
        }
        char part[32];
        for (const u32 word : words) {
            std::snprintf(part, sizeof part, "%08x ", word);
            found_ += part + std::string(cpu::arm64::decode(word)->name) + "; ";
        }
        std::snprintf(part, sizeof part, "fpcr %08x:", e.start.fpcr);
        found_ += part + text + "\n";
        ++differing_;
    }

    Data data_;
    std::array<u8, Subject::kDataSize> memory_{};
    Random random_;
    std::vector<u8> pool_;
    Programs programs_;
    std::vector<Engine> engines_;
    u64 experiments_ = 0;
    std::string found_;
    unsigned differing_ = 0;
};

}  // namespace

TEST_CASE("A64 programs in many states: three tiers", "[arm64][simd][campaign]") {
    Campaign campaign(seed(7));
    const unsigned streams = rounds(25);
    for (unsigned n = 0; n < streams && campaign.differing() < kDifferences; ++n) campaign.stream();
    INFO(campaign.found());
    CHECK(campaign.found().empty());
    CHECK(campaign.experiments() == u64{streams} * kStatesPerStream);
    CHECK(campaign.regions() >= streams);
    if (rounds(1) > 1)
        WARN(streams << " streams, " << campaign.experiments() << " experiments, " << campaign.regions()
                     << " regions of LLVM");
}

}  // namespace tandem::reference_test

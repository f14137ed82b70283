#include "accel/diff/arm64/arm64_campaign.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "accel/diff/arm64/replay.h"
#include "cpu/arm64/fpu/control.h"

namespace tandem::accel::diff::arm64 {
namespace {

namespace fpcr = cpu::arm64::fpu::fpcr;

constexpr const char* kState = "el1";

// Memory full of numbers at which instructions change their ways, of which each experiment has some part.
std::vector<u8> memory_pool(Random& random) {
    std::vector<u8> pool(4 * Subject::kDataSize);
    MachineState state;
    for (std::size_t at = 0; at < pool.size(); at += sizeof state.v) {
        randomize(state, random, Control::Nearest);
        std::memcpy(pool.data() + at, state.v.data(), std::min(sizeof state.v, pool.size() - at));
    }
    return pool;
}

// With `modes` under FPCR modes that have blocks of their own.
void randomize_start(MachineState& start, Random& random, bool modes, unsigned base) {
    randomize_integers(start, random, modes ? Control::Any : Control::Rounding);
    if (modes && (start.fpcr & (fpcr::FZ | fpcr::FZ16 | fpcr::DN | fpcr::AHP)) == 0) start.fpcr |= fpcr::DN;
    start.x[base] = kDataAddress + Subject::kDataSize / 2;
}

}  // namespace

Arm64Campaign::Arm64Campaign(CampaignOptions options) : Campaign(std::move(options)), programs_(options_.only) {}

Result<std::unique_ptr<Campaign>> Arm64Campaign::create(CampaignOptions options) {
    if (!options.states.empty()) return invalid("--states: A64 streams have one state only");
    std::unique_ptr<Arm64Campaign> campaign(new Arm64Campaign(std::move(options)));
    if (campaign->programs_.empty()) return invalid("--only: no A64 instruction that streams consist of has such a name");
    for (const std::string& name : campaign->options_.engines) {
        auto engine = Engine::create(name);
        if (!engine) return std::move(engine).error().context("--engines");
        if ((*engine)->warms_up()) campaign->states_ = kStatesOfHot;
        campaign->engines_.push_back(std::move(engine).value());
    }
    return std::unique_ptr<Campaign>(std::move(campaign));
}

void Arm64Campaign::describe(Json& campaign) const {
    campaign["arch"] = "arm64";
    campaign["only"] = options_.only;
}

Result<bool> Arm64Campaign::run_group(u64 number, Results& results, std::string& lines) {
    Random random(options_.seed * 0xd1342543de82ef95 + number);
    const std::vector<u8> pool = memory_pool(random);
    for (u64 i = 0; i < group_streams(number); ++i) {
        if (stop()) return false;
        TANDEM_TRY(run_stream(number * kGroup + i, pool, results, lines));
    }
    return !stop();
}

// Up to the first state in which something differs.
Result<void> Arm64Campaign::run_stream(u64 stream, const std::vector<u8>& pool, Results& results, std::string& lines) {
    Random random(options_.seed * 0x2545f4914f6cdd1d + stream);
    const bool branches = (random() & 1) != 0, modes = (random() & 3) == 0;
    Program program = programs_.make(random, 8 + static_cast<unsigned>(random() % 16), branches);
    Experiment e;
    e.words = std::move(program.words);
    for (unsigned n = 0; n < states_; ++n) {
        randomize_start(e.start, random, modes, program.base);
        const auto from = pool.begin() + static_cast<std::ptrdiff_t>(random() % (pool.size() - Subject::kDataSize));
        e.memory.assign(from, from + Subject::kDataSize);
        engines_[0]->run(e, first_);
        const Outcome& expected = first_;
        bool differs = false;
        for (std::size_t other = 1; other < engines_.size(); ++other) {
            engines_[other]->run(e, second_);
            const auto found = differences(expected, second_);
            if (found.empty()) continue;
            TANDEM_TRY(note(stream, e, found, *engines_[other], results, lines));
            differs = true;
            engines_[0]->run(e, first_);
        }
        if (differs) break;
    }
    return {};
}

std::vector<std::string> Arm64Campaign::compare(const Experiment& experiment, Engine& other) {
    engines_[0]->run(experiment, first_);
    if (!first_.whole) return {};
    const unsigned times = other.warms_up() || engines_[0]->warms_up() ? 3 * Subject::kLlvmThreshold : 1;
    std::vector<std::string> found;
    for (unsigned n = 0; n < times && found.empty(); ++n) {
        engines_[0]->run(experiment, first_);
        other.run(experiment, second_);
        found = differences(first_, second_);
    }
    return found;
}

Result<void> Arm64Campaign::note(u64 stream, const Experiment& whole, const std::vector<std::string>& found, Engine& other,
                                 Results& results, std::string& lines) {
    // What differed once may have been code that is replaced by now: then the stream as it is must do.
    const bool again = !compare(whole, other).empty();
    const Experiment small =
        again ? reduce(whole, [&](const Experiment& e) { return !stop() && !compare(e, other).empty(); }) : whole;
    if (stop()) return {};
    auto still = compare(small, other);
    if (still.empty()) still = found;
    Difference d{stream, kind_name(small.words) + " " + still[0].substr(0, still[0].find(':')), kState};
    if (engines_.size() > 2) d.kind = fmt::format("{}: {}", other.name(), d.kind);
    lines += difference_line(d);
    if (!results.findings.contains(d.kind)) {
        Json finding{{"type", "finding"},
                     {"kind", d.kind},
                     {"stream", stream},
                     {"state", kState},
                     {"instruction", names_of(small.words)}};
        arm64::describe(small, finding);
        finding["differences"] = still;
        std::string words;
        for (const u32 word : whole.words) words += fmt::format("{}{:08x}", words.empty() ? "" : " ", word);
        finding["stream_words"] = words;
        lines += finding_line(finding);
        if (!options_.reproducers.empty()) TANDEM_TRY(save(finding, other));
        results.findings[d.kind] = std::move(finding);
    }
    results.add(std::move(d));
    return {};
}

Result<void> Arm64Campaign::save(Json finding, const Engine& other) const {
    finding["engines"] = Json::array({engines_[0]->name(), other.name()});
    return save_stream(fmt::format("{}/{}-{}", options_.reproducers, finding.value("stream", u64{0}), other.name()),
                       finding);
}

}  // namespace tandem::accel::diff::arm64

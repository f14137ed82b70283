#include "accel/diff/arm64/replay.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "accel/diff/arm64/experiment.h"

namespace tandem::accel::diff::arm64 {
namespace {

std::string file_in(const std::string& directory) { return directory + "/stream.json"; }

Result<void> write(const std::string& path, const std::string& text) {
    std::ofstream out(path, std::ios::binary);
    out << text;
    out.flush();
    return out ? Result<void>() : Error{Errc::Io, fmt::format("cannot write '{}'", path)};
}

std::string show(const MachineState& s) {
    std::string text;
    for (unsigned i = 0; i < s.x.size(); ++i) text += fmt::format("x{:<2} {:016x}{}", i, s.x[i], i % 4 == 3 ? "\n" : "  ");
    return text + fmt::format("sp {:016x}  nzcv {:x} fpsr {:x}\n", s.sp, s.nzcv >> 28, s.fpsr);
}

Result<Json> load(const std::string& directory) {
    std::ifstream in(file_in(directory), std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    if (!in || text.empty()) return Error{Errc::Io, "cannot read it"};
    Json json = Json::parse(text, nullptr, false);
    if (!json.is_object()) return Error{Errc::Corrupt, "no JSON object"};
    return json;
}

Result<std::vector<std::string>> recorded_engines(const Json& finding) {
    std::vector<std::string> names;
    const auto found = finding.find("engines");
    if (found != finding.end() && found->is_array()) {
        for (const Json& name : *found) {
            if (name.is_string()) names.push_back(name.get<std::string>());
        }
    }
    if (names.size() != 2) return Error{Errc::Corrupt, "field 'engines' does not name two"};
    return names;
}

}  // namespace

Result<void> save_stream(const std::string& directory, const Json& finding) {
    std::error_code failed;
    std::filesystem::create_directories(directory, failed);
    if (failed) return Error{Errc::Io, fmt::format("cannot make '{}': {}", directory, failed.message())};
    TANDEM_TRY(write(file_in(directory), finding.dump(1) + "\n"));
    return write(directory + "/report.txt", describe_lines(finding));
}

bool is_stream(const std::string& directory) { return std::filesystem::exists(file_in(directory)); }

Result<Replayed> replay_stream(const std::string& directory, std::vector<std::string> engines) {
    const auto in_file = [&](Error error) { return std::move(error).context(fmt::format("'{}'", file_in(directory))); };
    const auto finding = load(directory);
    if (!finding) return in_file(finding.error());
    const auto experiment = parse_experiment(*finding);
    if (!experiment) return in_file(experiment.error());
    if (engines.empty()) {
        const auto recorded = recorded_engines(*finding);
        if (!recorded) return in_file(recorded.error());
        engines = *recorded;
    }
    Replayed result;
    Json described;
    arm64::describe(*experiment, described);
    for (const auto& line : described["listing"]) result.text += line.get<std::string>() + "\n";
    std::vector<Outcome> outcomes(engines.size());
    for (std::size_t i = 0; i < engines.size(); ++i) {
        TANDEM_TRY_ASSIGN(const auto engine, Engine::create(engines[i]));
        engine->run_warm(*experiment, outcomes[i]);
        result.text += fmt::format("{}:\n{}", engines[i], show(outcomes[i].state));
    }
    for (const std::string& line : differences(outcomes.front(), outcomes.back())) {
        result.text += fmt::format("  ! {}\n", line);
        result.differs = true;
    }
    return result;
}

}  // namespace tandem::accel::diff::arm64

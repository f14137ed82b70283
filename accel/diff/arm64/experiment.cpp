#include "accel/diff/arm64/experiment.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "accel/diff/reduce.h"
#include "cpu/arm64/decode/disassemble.h"
#include "cpu/arm64/decode/rows.h"

namespace tandem::accel::diff::arm64 {
namespace {

std::string hex(const std::array<u64, 2>& vector) { return fmt::format("{:#x}:{:016x}", vector[1], vector[0]); }

// A number of a finding's, in hexadecimal.
bool parse(std::string_view text, u64& value) {
    if (text.starts_with("0x")) text.remove_prefix(2);
    const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    return bad == std::errc() && end == text.data() + text.size();
}

bool parse(std::string_view text, std::array<u64, 2>& vector) {
    const auto colon = text.find(':');
    return colon != std::string_view::npos && parse(text.substr(0, colon), vector[1]) &&
           parse(text.substr(colon + 1), vector[0]);
}

// One register by its name in a finding.
bool set_register(MachineState& s, std::string_view name, std::string_view text) {
    const auto index = [&](std::size_t count, unsigned& out) {
        const auto [end, bad] = std::from_chars(name.data() + 1, name.data() + name.size(), out);
        return bad == std::errc() && end == name.data() + name.size() && out < count;
    };
    unsigned n = 0;
    u64 value = 0;
    if (name.starts_with('x')) return index(s.x.size(), n) && parse(text, s.x[n]);
    if (name.starts_with('v')) return index(s.v.size(), n) && parse(text, s.v[n]);
    if (name == "sp") return parse(text, s.sp);
    if (!parse(text, value)) return false;
    if (name == "nzcv") s.nzcv = static_cast<u32>(value);
    if (name == "fpcr") s.fpcr = static_cast<u32>(value);
    return name == "nzcv" || name == "fpcr";
}

Json registers(const MachineState& s) {
    Json json = Json::object();
    for (unsigned i = 0; i < s.x.size(); ++i) {
        if (s.x[i] != 0) json[fmt::format("x{}", i)] = fmt::format("{:#x}", s.x[i]);
    }
    if (s.sp != 0) json["sp"] = fmt::format("{:#x}", s.sp);
    if (s.nzcv != 0) json["nzcv"] = fmt::format("{:#x}", s.nzcv);
    if (s.fpcr != 0) json["fpcr"] = fmt::format("{:#x}", s.fpcr);
    for (unsigned i = 0; i < s.v.size(); ++i) {
        if ((s.v[i][0] | s.v[i][1]) != 0) json[fmt::format("v{}", i)] = hex(s.v[i]);
    }
    return json;
}

Error corrupt(std::string_view field) { return {Errc::Corrupt, fmt::format("field '{}' is not as it is written", field)}; }

// `field` of a finding as pairs of names and texts, given to take(); false: it refused one.
template <class F>
Result<void> each(const Json& finding, const char* field, F take) {
    const auto found = finding.find(field);
    if (found == finding.end() || !found->is_object()) return corrupt(field);
    for (const auto& [name, value] : found->items()) {
        if (!value.is_string() || !take(name, value.template get<std::string>())) return corrupt(field);
    }
    return {};
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::create(const std::string& name) {
    struct Known {
        std::string_view name;
        jit::Tier tier;
        bool exact;
    };
    constexpr Known kKnown[] = {{"interp", jit::Tier::Interp, false},
                                {"baseline", jit::Tier::Baseline, false},
                                {"llvm", jit::Tier::Llvm, false},
                                {"exact", jit::Tier::Interp, true}};
    for (const Known& known : kKnown) {
        if (name != known.name) continue;
        std::unique_ptr<Engine> engine(new Engine);
        engine->name_ = name;
        u8* const data = engine->data_->bytes.data();
        TANDEM_TRY_ASSIGN(engine->subject_, Subject::create(known.tier, known.exact, data, kDataAddress));
        return engine;
    }
    return Error{Errc::NotFound, fmt::format("no engine '{}' runs A64 streams (interp, baseline, llvm, exact)", name)};
}

void Engine::run(const Experiment& experiment, Outcome& outcome) {
    std::memcpy(data_->bytes.data(), experiment.memory.data(), Subject::kDataSize);
    outcome.state = experiment.start;
    outcome.whole = subject_->run(experiment.words, outcome.state);
    outcome.memory = data_->bytes;
}

void Engine::run_warm(const Experiment& experiment, Outcome& outcome) {
    const unsigned times = warms_up() ? 3 * Subject::kLlvmThreshold : 1;
    for (unsigned n = 0; n < times; ++n) run(experiment, outcome);
}

std::vector<std::string> differences(const Outcome& first, const Outcome& second) {
    std::vector<std::string> found;
    if (first.whole && second.whole && first.state == second.state && first.memory == second.memory) return found;
    const MachineState &a = first.state, &b = second.state;
    const auto number = [&](std::string_view what, u64 one, u64 other) {
        if (one != other) found.push_back(fmt::format("{}: {:#x}, {:#x}", what, one, other));
    };
    if (first.whole != second.whole) found.push_back(fmt::format("end: {}, {}", first.whole, second.whole));
    for (unsigned i = 0; i < a.x.size(); ++i) number(fmt::format("x{}", i), a.x[i], b.x[i]);
    number("sp", a.sp, b.sp);
    for (unsigned i = 0; i < a.v.size(); ++i) {
        if (a.v[i] != b.v[i]) found.push_back(fmt::format("v{}: {}, {}", i, hex(a.v[i]), hex(b.v[i])));
    }
    number("nzcv", a.nzcv >> 28, b.nzcv >> 28);
    number("fpsr", a.fpsr, b.fpsr);
    const auto [one, other] = std::mismatch(first.memory.begin(), first.memory.end(), second.memory.begin());
    if (one != first.memory.end()) {
        const u64 at = kDataAddress + static_cast<u64>(one - first.memory.begin());
        found.push_back(fmt::format("memory: from {:#x} on {:#04x}, {:#04x}", at, *one, *other));
    }
    return found;
}

Experiment reduce(Experiment best, const std::function<bool(const Experiment&)>& differs) {
    const auto attempt = [&](const auto& change) {
        Experiment smaller = best;
        change(smaller);
        if (differs(smaller)) best = std::move(smaller);
    };
    for (std::size_t at = best.words.size(); at-- > 0 && best.words.size() > 1;) {
        attempt([at](Experiment& e) { e.words.erase(e.words.begin() + static_cast<std::ptrdiff_t>(at)); });
    }
    attempt([](Experiment& e) { e.start.fpcr = 0; });
    attempt([](Experiment& e) { e.start.nzcv = 0; });
    attempt([](Experiment& e) { e.start.sp = 0; });
    for (unsigned i = 0; i < best.start.x.size(); ++i) attempt([i](Experiment& e) { e.start.x[i] = 0; });
    for (unsigned i = 0; i < best.start.v.size(); ++i) attempt([i](Experiment& e) { e.start.v[i] = {}; });
    Experiment cleared = best;
    reduce_memory(best.memory, [&](const std::vector<u8>& memory) {
        cleared.memory = memory;
        return differs(cleared);
    });
    return best;
}

std::string names_of(const std::vector<u32>& words) {
    std::string names;
    for (const u32 word : words) {
        const auto* row = cpu::arm64::decode(word);
        names += (names.empty() ? "" : "; ") + std::string(row != nullptr ? row->name : "unallocated");
    }
    return names;
}

std::string kind_name(const std::vector<u32>& words) { return words.size() == 1 ? names_of(words) : "sequence"; }

void describe(const Experiment& e, Json& finding) {
    Json words = Json::array(), listing = Json::array(), memory = Json::object();
    for (std::size_t i = 0; i < e.words.size(); ++i) {
        words.push_back(fmt::format("{:08x}", e.words[i]));
        listing.push_back(
            fmt::format("{:3}  {:08x}  {}", i * 4, e.words[i], cpu::arm64::disassemble_one(e.words[i], i * 4)));
    }
    for (std::size_t at = 0; at < e.memory.size(); at += 8) {
        u64 value = 0;
        std::memcpy(&value, &e.memory[at], sizeof value);
        if (value != 0) memory[fmt::format("{:#x}", kDataAddress + at)] = fmt::format("{:#x}", value);
    }
    finding["words"] = words;
    finding["listing"] = listing;
    finding["registers"] = registers(e.start);
    finding["memory"] = memory;
}

Result<Experiment> parse_experiment(const Json& finding) {
    Experiment e;
    const auto words = finding.find("words");
    if (words == finding.end() || !words->is_array() || words->empty()) return corrupt("words");
    for (const Json& word : *words) {
        u64 value = 0;
        if (!word.is_string() || !parse(word.get<std::string>(), value) || value >> 32 != 0) return corrupt("words");
        e.words.push_back(static_cast<u32>(value));
    }
    if (e.words.size() > 1000) return corrupt("words");
    TANDEM_TRY(each(finding, "registers",
                    [&](const std::string& name, const std::string& text) { return set_register(e.start, name, text); }));
    e.memory.resize(Subject::kDataSize);
    TANDEM_TRY(each(finding, "memory", [&](const std::string& name, const std::string& text) {
        u64 at = 0, value = 0;
        if (!parse(name, at) || !parse(text, value)) return false;
        at -= kDataAddress;
        if (at > Subject::kDataSize - sizeof value) return false;
        std::memcpy(&e.memory[at], &value, sizeof value);
        return true;
    }));
    return e;
}

}  // namespace tandem::accel::diff::arm64

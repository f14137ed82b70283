#include "accel/diff/x86_campaign.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "accel/diff/reproducer.h"
#include "accel/diff/vendor.h"
#include "cpu/x86/decode/disassemble.h"

namespace tandem::accel::diff {
namespace {

constexpr unsigned kLongestOnHardware = 3, kLongest = 8;

std::string hex(std::span<const u8> bytes) { return fmt::format("{:02x}", fmt::join(bytes, "")); }

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string l; std::getline(in, l);) lines.push_back(l);
    return lines;
}

std::string name_of(const TestCase& test) {
    const auto list = instructions(test);
    return list.size() == 1 ? std::string(cpu::x86::opcode_name(list[0].opcode)) : "sequence";
}

// The instructions' names, for a finding.
std::string names_of(const TestCase& test) {
    std::string names;
    for (const auto& insn : instructions(test)) {
        names += (names.empty() ? "" : " ") + std::string(cpu::x86::opcode_name(insn.opcode));
    }
    return names;
}

std::string kind_of(const TestCase& test, const std::vector<std::string>& found, const Outcome& a, const Outcome& b) {
    std::string kind = name_of(test) + " " + found[0].substr(0, found[0].find(' '));
    if (found[0].starts_with("vector")) kind += fmt::format(" {} {}", a.vector, b.vector);
    return kind;
}

Json registers(const CpuImage& in) {
    Json json{{"rip", fmt::format("{:#x}", in.rip)}, {"rflags", fmt::format("{:#x}", in.rflags)}};
    constexpr const char* kNames[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    for (unsigned i = 0; i < 16; ++i) {
        if (in.gpr[i] != 0) json[kNames[i]] = fmt::format("{:#x}", in.gpr[i]);
    }
    const FxImage fresh;
    if (in.fx.mxcsr != fresh.mxcsr) json["mxcsr"] = fmt::format("{:#x}", in.fx.mxcsr);
    if (in.fx.fcw != fresh.fcw) json["fcw"] = fmt::format("{:#x}", in.fx.fcw);
    if (in.fx.fsw != 0) json["fsw"] = fmt::format("{:#x}", in.fx.fsw);
    if (in.fx.ftw != 0) json["ftw"] = fmt::format("{:#x}", in.fx.ftw);
    for (unsigned i = 0; i < 8; ++i) {
        const std::span<const u8> st = std::span(in.fx.st[i]).first(10);
        if (std::any_of(st.begin(), st.end(), [](u8 b) { return b != 0; })) json[fmt::format("st{}", i)] = hex(st);
    }
    for (unsigned i = 0; i < 16; ++i) {
        const auto& low = in.fx.xmm[i];
        const auto& high = in.ymm_high[i];
        if ((low[0] | low[1] | high[0] | high[1]) == 0) continue;
        json[fmt::format("ymm{}", i)] = fmt::format("{:016x}{:016x}{:016x}{:016x}", high[1], high[0], low[1], low[0]);
    }
    return json;
}

// What is not zero of the data, in runs of 8 bytes.
Json memory(std::span<const u8> data) {
    Json json = Json::object();
    for (size_t at = 0; at + 8 <= data.size(); at += 8) {
        const auto part = data.subspan(at, 8);
        if (std::any_of(part.begin(), part.end(), [](u8 b) { return b != 0; })) {
            json[fmt::format("{:#x}", kData + at)] = hex(part);
        }
    }
    return json;
}

}  // namespace

X86Campaign::X86Campaign(CampaignOptions options) : Campaign(std::move(options)) {}

Result<std::unique_ptr<Campaign>> X86Campaign::create(CampaignOptions options) {
    std::unique_ptr<X86Campaign> campaign(new X86Campaign(std::move(options)));
    for (const std::string& name : campaign->options_.engines) {
        auto processor = create_processor(name);
        if (!processor) return std::move(processor).error().context("--engines");
        campaign->processors_.push_back(std::move(processor).value());
    }
    auto& processors = campaign->processors_;
    const auto hardware = std::find_if(processors.begin(), processors.end(), [](const auto& p) { return p->hardware(); });
    if (hardware != processors.end()) std::rotate(processors.begin(), hardware, hardware + 1);
    TANDEM_TRY(campaign->choose_states());
    return std::unique_ptr<Campaign>(std::move(campaign));
}

Result<void> X86Campaign::choose_states() {
    const Rules rules = processors_[0]->hardware() ? Rules::Hardware : Rules::Translators;
    std::vector<unsigned> wanted;
    for (const std::string& name : options_.states) {
        auto world = world_by_name(name);
        if (!world) return std::move(world).error().context("--states");
        wanted.push_back(*world);
    }
    for (unsigned w = 0; w < worlds().size(); ++w) {
        if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), w) == wanted.end()) continue;
        std::string why;
        for (const auto& p : processors_) {
            why = p->refusal(worlds()[w]);
            if (!why.empty()) {
                skipped_.push_back(fmt::format("state {} is not run on {}: {}", worlds()[w].name, p->name(), why));
                break;
            }
        }
        if (!why.empty()) continue;
        worlds_.push_back(w);
        const auto offers = [this](cpu::x86::Feature feature) {
            return host_has(feature) && std::all_of(processors_.begin(), processors_.end(),
                                                    [feature](const auto& p) { return p->offers(feature); });
        };
        generators_.emplace_back(options_.only, w, rules, offers);
        if (generators_.back().rows() == 0) return invalid("--only: no instruction has such a name");
    }
    if (worlds_.empty()) {
        return invalid(fmt::format("--states: none of them runs on all engines ({})", fmt::join(skipped_, "; ")));
    }
    return {};
}

void X86Campaign::describe(Json& campaign) const {
    Json states = Json::array();
    for (const unsigned w : worlds_) states.push_back(worlds()[w].name);
    campaign["states"] = states;
    campaign["only"] = options_.only;
}

X86Campaign::Group X86Campaign::make_group(u64 number) const {
    Group group;
    const Generator& generator = generators_[number % generators_.size()];
    const unsigned longest = processors_[0]->hardware() ? kLongestOnHardware : kLongest;
    group.memory.resize(kDataSize + kReadOnlySize);
    Rng rng(options_.seed * 0xd1342543de82ef95 + number);
    Generator::fill_memory(rng, group.memory);
    for (u64 i = 0; i < group_streams(number); ++i) {
        const u64 stream = number * kGroup + i;
        group.streams.push_back(stream);
        group.cases.push_back(generator.make(options_.seed * 0x2545f4914f6cdd1d + stream, longest));
    }
    return group;
}

Sides X86Campaign::sides(const Processor& other) const {
    return {processors_[0]->name(), other.name(), !processors_[0]->hardware()};
}

std::vector<std::string> X86Campaign::compare(const Experiment& e, Processor& other) {
    Outcome first, second;
    if (!processors_[0]->run({&e.test, 1}, e.memory, {&first, 1})) return {};
    if (!other.run({&e.test, 1}, e.memory, {&second, 1})) return {};
    return differences(e.test, first, second, sides(other));
}

Json X86Campaign::describe_finding(const Difference& d, const TestCase& original, const Experiment& e, Processor& other) {
    const std::span<const u8> code = std::span(e.test.code).first(e.test.length);
    Json found = Json::array();
    for (const std::string& l : compare(e, other)) {
        for (const std::string& part : lines_of(l)) found.push_back(part);
    }
    return Json{{"type", "finding"},
                {"kind", d.kind},
                {"stream", d.stream},
                {"state", d.state},
                {"instruction", names_of(e.test)},
                {"bytes", hex(code)},
                {"listing", lines_of(cpu::x86::disassemble(code, mode_of(e.test), e.test.in.rip))},
                {"differences", found},
                {"registers", registers(e.test.in)},
                {"memory", memory(e.memory)},
                {"stream_bytes", hex(std::span(original.code).first(original.length))}};
}

// The host's processor is nothing that a machine runs on: the interpreter takes its place.
Result<void> X86Campaign::save(const Json& finding, const Experiment& reduced, const Processor& other) const {
    lockstep::Names engines{std::string(processors_[0]->name()), std::string(other.name())};
    for (std::string* name : {&engines.first, &engines.second}) {
        if (*name == "host") *name = "interp";
    }
    if (engines.first == engines.second) engines.second = "baseline";
    const std::string directory =
        fmt::format("{}/{}-{}", options_.reproducers, finding.value("stream", u64{0}), other.name());
    return save_reproducer(directory, reduced, engines, describe_lines(finding));
}

Result<void> X86Campaign::note(const Group& group, size_t at, const std::vector<std::string>& found, Processor& other,
                               Results& results, std::string& lines) {
    Outcome first, second;
    const Experiment whole{group.cases[at], group.memory};
    TANDEM_TRY(processors_[0]->run({&whole.test, 1}, whole.memory, {&first, 1}));
    TANDEM_TRY(other.run({&whole.test, 1}, whole.memory, {&second, 1}));
    Difference d{group.streams[at], kind_of(whole.test, found, first, second), std::string(world_of(whole.test).name)};
    if (processors_.size() > 2) d.kind = fmt::format("{}: {}", other.name(), d.kind);
    lines += difference_line(d);
    if (!results.findings.contains(d.kind)) {
        const Experiment smallest =
            reduce(whole, [&](const Experiment& e) { return !stop() && !compare(e, other).empty(); });
        if (stop()) return {};
        results.findings[d.kind] = describe_finding(d, whole.test, smallest, other);
        lines += finding_line(results.findings[d.kind]);
        if (!options_.reproducers.empty()) TANDEM_TRY(save(results.findings[d.kind], smallest, other));
    }
    results.add(std::move(d));
    return {};
}

Result<bool> X86Campaign::run_on(Processor& processor, const Group& group, std::span<Outcome> outcomes) const {
    constexpr size_t kBetweenLooks = 32;
    const std::span cases(group.cases);
    for (size_t at = 0; at < cases.size(); at += kBetweenLooks) {
        if (stop()) return false;
        const size_t size = std::min(kBetweenLooks, cases.size() - at);
        TANDEM_TRY(processor.run(cases.subspan(at, size), group.memory, outcomes.subspan(at, size)));
    }
    return true;
}

Result<bool> X86Campaign::run_group(u64 number, Results& results, std::string& lines) {
    const Group group = make_group(number);
    std::vector<Outcome> expected(group.cases.size()), actual(group.cases.size());
    TANDEM_TRY_ASSIGN(bool whole, run_on(*processors_[0], group, expected));
    for (size_t p = 1; p < processors_.size() && whole; ++p) {
        TANDEM_TRY_ASSIGN(whole, run_on(*processors_[p], group, actual));
        for (size_t i = 0; i < group.cases.size() && whole; ++i) {
            const Skip skip = skip_of(expected[i], actual[i]);
            if (skip != Skip::None) {
                ++results.skipped[std::string(reason_of(skip))];
                continue;
            }
            const Sides compared = sides(*processors_[p]);
            const auto found = differences(group.cases[i], expected[i], actual[i], compared);
            const bool hardware = !compared.exact && amd_host();
            if (!found.empty() && hardware && differs_on_amd(group.cases[i], expected[i], actual[i])) {
                ++results.skipped[std::string(kVendorSkip)];
                continue;
            }
            if (!found.empty()) TANDEM_TRY(note(group, i, found, *processors_[p], results, lines));
            whole = found.empty() || !stop();
        }
    }
    return whole;
}

}  // namespace tandem::accel::diff

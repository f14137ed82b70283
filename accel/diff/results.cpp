#include "accel/diff/results.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

namespace tandem::accel::diff {
namespace {

// What the JSON library throws where a field has another type becomes an error.
template <class F>
Result<void> checked(F read) {
    try {
        return read();
    } catch (const Json::exception&) {
        return Error{Errc::Corrupt, "a field has the wrong type"};
    }
}

std::string line(const Json& json) { return json.dump() + "\n"; }

Result<void> take(Results& results, const Json& json, bool& complete) {
    const std::string type = json.value("type", "");
    if (type == "difference") {
        results.add({json.value("stream", u64{0}), json.value("kind", ""), json.value("state", "")});
    } else if (type == "finding") {
        results.findings[json.value("kind", "")] = json;
    } else if (type == "checkpoint" || type == "summary") {
        results.streams = json.value("streams", u64{0});
        results.skipped = json.value("skipped", std::map<std::string, u64>());
        complete = true;
    } else {
        return Error{Errc::Corrupt, fmt::format("a line of unknown type '{}'", type)};
    }
    return {};
}

// The fields that shards are joined by.
Result<void> take_header(Results& results, Json& json) {
    if (json.value("type", "") != "campaign") return Error{Errc::Corrupt, "it does not describe a campaign"};
    for (const char* field : {"count", "shard", "shards"}) (void)json.value(field, u64{0});
    json.erase("type");
    results.campaign = std::move(json);
    return {};
}

}  // namespace

std::string header_line(const Json& campaign) {
    Json json{{"type", "campaign"}};
    json.update(campaign);
    return line(json);
}

std::string difference_line(const Difference& d) {
    return line(Json{{"type", "difference"}, {"stream", d.stream}, {"state", d.state}, {"kind", d.kind}});
}

std::string finding_line(const Json& finding) { return line(finding); }

std::string checkpoint_line(const Results& r) {
    Json json{{"type", "checkpoint"}, {"streams", r.streams}};
    if (!r.skipped.empty()) json["skipped"] = r.skipped;
    return line(json);
}

std::map<std::string, u64> Results::by_kind() const {
    std::map<std::string, u64> kinds;
    for (const Difference& d : differences) ++kinds[d.kind];
    return kinds;
}

std::string Results::text() const {
    std::string text = header_line(campaign);
    std::vector<Difference> sorted = differences;
    std::sort(sorted.begin(), sorted.end(), [](const Difference& a, const Difference& b) {
        return std::tie(a.stream, a.kind) < std::tie(b.stream, b.kind);
    });
    for (const Difference& d : sorted) text += difference_line(d);
    for (const auto& [kind, finding] : findings) text += finding_line(finding);
    Json kinds = Json::object();
    for (const auto& [kind, times] : by_kind()) kinds[kind] = times;
    Json json{{"type", "summary"}, {"streams", streams}, {"differences", differences.size()}, {"kinds", kinds}};
    if (!skipped.empty()) json["skipped"] = skipped;
    return text + line(json);
}

std::string describe_lines(const Json& finding) {
    std::string text = fmt::format("{}: stream {}, {}\n", finding.value("kind", ""), finding.value("stream", u64{0}),
                                   finding.value("state", ""));
    for (const auto& l : finding.value("listing", Json::array())) text += "    " + l.get<std::string>() + "\n";
    for (const auto& l : finding.value("differences", Json::array())) text += "  ! " + l.get<std::string>() + "\n";
    return text;
}

std::string Results::summary() const {
    std::string text;
    for (const auto& [kind, finding] : findings) text += describe_lines(finding);
    for (const auto& [kind, times] : by_kind()) text += fmt::format("{:8} {}\n", times, kind);
    for (const auto& [why, times] : skipped) text += fmt::format("skipped: {} comparisons, {}\n", times, why);
    return text + fmt::format("{} streams, {} differ\n", streams, differences.size());
}

Result<Results> parse_results(const std::string& text) {
    Results results;
    Results complete;
    bool any = false;
    std::istringstream in(text);
    std::string l;
    for (u64 number = 1; std::getline(in, l); ++number) {
        Json json = Json::parse(l, nullptr, false);
        if (!json.is_object()) {
            if (in.eof()) break;  // cut off in the middle of the line
            return Error{Errc::Corrupt, fmt::format("line {} is not a JSON object", number)};
        }
        bool checkpoint = false;
        const auto taken =
            checked([&] { return number == 1 ? take_header(results, json) : take(results, json, checkpoint); });
        if (!taken) {
            return Error(taken.error()).context(fmt::format("line {}", number));
        }
        if (number == 1) {
            complete.campaign = results.campaign;
            continue;
        }
        if (checkpoint) complete = results;
        any = true;
    }
    if (results.campaign.is_null()) return Error{Errc::Corrupt, "it is empty"};
    return any ? complete : results;
}

Result<Results> merge(std::vector<Results> shards) {
    if (shards.empty()) return invalid("there is nothing to merge");
    Results all;
    const u64 count = shards[0].campaign.value("shards", u64{0});
    if (count != shards.size()) {
        return invalid(fmt::format("the campaign has {} shards, {} files are given", count, shards.size()));
    }
    std::vector<bool> seen(count);
    for (Results& r : shards) {
        const u64 shard = r.campaign.value("shard", ~u64{0});
        r.campaign["shard"] = 0;
        r.campaign["shards"] = 1;
        if (all.campaign.is_null()) all.campaign = r.campaign;
        if (r.campaign != all.campaign) return invalid("the files are of different campaigns");
        if (shard >= count || seen[shard]) return invalid(fmt::format("shard {} is there twice", shard));
        seen[shard] = true;
        all.streams += r.streams;
        for (const auto& [why, times] : r.skipped) all.skipped[why] += times;
        for (Difference& d : r.differences) all.add(std::move(d));
        for (auto& [kind, finding] : r.findings) {
            const auto [it, fresh] = all.findings.try_emplace(kind, finding);
            if (!fresh && finding.value("stream", u64{0}) < it->second.value("stream", u64{0})) it->second = finding;
        }
    }
    const u64 expected = all.campaign.value("count", u64{0});
    if (all.streams != expected) {
        return invalid(fmt::format("a shard is not finished: {} of {} streams were run", all.streams, expected));
    }
    return all;
}

}  // namespace tandem::accel::diff

#include "machines/snapshot/state_tree.h"

#include <fmt/format.h>

#include "devices/fabric/state.h"

namespace tandem::machines::snapshot {
namespace {

using devices::DeviceState;
using nlohmann::json;

constexpr int kMaxAttempts = 16;
constexpr unsigned kMaxDepth = 32;

json to_tree(DeviceState state) { return {{"version", state.version}, {"fields", std::move(state.fields)}}; }

Error corrupt(std::string message) { return {Errc::Corrupt, std::move(message)}; }

Result<DeviceState> from_tree(const json& tree, const std::string& name) {
    const bool good = tree.is_object() && tree.size() == 2 && tree.contains("version") && tree.contains("fields") &&
                      tree["version"].is_number_unsigned();
    if (!good) return corrupt(fmt::format("the state of '{}' is malformed", name));
    return DeviceState{tree["version"].get<u32>(), tree["fields"]};
}

Result<json> capture_once(const MachineParts& parts) {
    json tree;
    tree["clock"] = to_tree(devices::to_device_state(parts.clock.save()));
    json& cpus = tree["cpus"] = json::array();
    for (const auto& vcpu : parts.vcpus) {
        cpu::ArchState state;
        TANDEM_TRY(vcpu->export_state(state));
        cpus.push_back(std::visit([](const auto& s) { return to_tree(devices::to_device_state(s)); }, state));
    }
    json& all = tree["devices"] = json::object();
    for (const auto& d : parts.devices) all[d.name] = to_tree(d.device->save());
    return tree;
}

// Everything decoded, before anything is changed.
struct Decoded {
    devices::ClockState clock;
    std::vector<cpu::ArchState> cpus;
    std::vector<std::pair<devices::Device*, DeviceState>> devices;
};

// Which architecture it is the machine's model tells.
Result<cpu::ArchState> decode_cpu(const MachineParts& parts, const DeviceState& cpu, const std::string& name) {
    if (parts.cpu && std::holds_alternative<cpu::arm64::CpuModel>(*parts.cpu)) {
        TANDEM_TRY_ASSIGN(auto state, devices::from_device_state<cpu::arm64::State>(cpu, name));
        if (state.activity > cpu::arm64::Activity::PoweredOff) return corrupt(fmt::format("{}: unknown activity", name));
        if (state.el() > 2) return corrupt(fmt::format("{}: unknown exception level", name));
        return cpu::ArchState(state);
    }
    TANDEM_TRY_ASSIGN(auto state, devices::from_device_state<cpu::x86::State>(cpu, name));
    if (state.activity > cpu::x86::Activity::Shutdown) return corrupt(fmt::format("{}: unknown activity", name));
    return cpu::ArchState(state);
}

Result<Decoded> decode(const MachineParts& parts, const json& tree) {
    const bool good = tree.is_object() && tree.size() == 3 && tree.contains("clock") && tree.contains("cpus") &&
                      tree.contains("devices") && tree["cpus"].is_array() && tree["devices"].is_object();
    if (!good) return corrupt("the state is malformed");
    Decoded out;
    TANDEM_TRY_ASSIGN(const DeviceState clock, from_tree(tree["clock"], "clock"));
    TANDEM_TRY_ASSIGN(out.clock, devices::from_device_state<devices::ClockState>(clock, "clock"));
    if (tree["cpus"].size() != parts.vcpus.size()) return corrupt("the state is that of another number of processors");
    for (std::size_t i = 0; i < parts.vcpus.size(); ++i) {
        const std::string name = fmt::format("cpu{}", i);
        TANDEM_TRY_ASSIGN(const DeviceState cpu, from_tree(tree["cpus"][i], name));
        TANDEM_TRY_ASSIGN(auto state, decode_cpu(parts, cpu, name));
        out.cpus.push_back(state);
    }
    for (const auto& d : parts.devices) {
        const auto at = tree["devices"].find(d.name);
        if (at == tree["devices"].end()) return corrupt(fmt::format("the state of '{}' is missing", d.name));
        TANDEM_TRY_ASSIGN(auto state, from_tree(*at, d.name));
        out.devices.emplace_back(d.device, std::move(state));
    }
    if (tree["devices"].size() != parts.devices.size()) return corrupt("there is state of a device that is not here");
    return out;
}

Result<void> apply(const MachineParts& parts, const Decoded& state) {
    TANDEM_TRY(parts.clock.restore(state.clock));
    for (std::size_t i = 0; i < parts.vcpus.size(); ++i) TANDEM_TRY(parts.vcpus[i]->import_state(state.cpus[i]));
    // Twice: devices drive their interrupt lines as they are restored. In the first round that makes edges at controllers
    // which were restored before; in the second every line has its level already and the controllers get their state back.
    for (int round = 0; round < 2; ++round) {
        for (const auto& [device, saved] : state.devices) TANDEM_TRY(device->restore(saved));
    }
    return {};
}

// What differs between two captures, for people.
std::string first_difference(const json& a, const json& b) {
    const json patch = json::diff(a, b);
    return patch.empty() ? "" : patch[0].value("path", "");
}

// Refuses what is nested deeper than any state is, before a recursive parser sees it all.
class DepthCheck final : public nlohmann::json_sax<json> {
public:
    bool null() override { return true; }
    bool boolean(bool) override { return true; }
    bool number_integer(number_integer_t) override { return true; }
    bool number_unsigned(number_unsigned_t) override { return true; }
    bool number_float(number_float_t, const string_t&) override { return true; }
    bool string(string_t&) override { return true; }
    bool binary(binary_t&) override { return true; }
    bool start_object(std::size_t) override { return ++depth_ <= kMaxDepth; }
    bool key(string_t&) override { return true; }
    bool end_object() override { return leave(); }
    bool start_array(std::size_t) override { return ++depth_ <= kMaxDepth; }
    bool end_array() override { return leave(); }
    bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

private:
    bool leave() {
        --depth_;
        return true;
    }
    unsigned depth_ = 0;
};

}  // namespace

Result<json> capture_tree(const MachineParts& parts) {
    TANDEM_TRY_ASSIGN(json last, capture_once(parts));
    std::string changing;
    for (int i = 0; i < kMaxAttempts; ++i) {
        TANDEM_TRY_ASSIGN(json now, capture_once(parts));
        if (now == last) return now;
        changing = first_difference(last, now);
        last = std::move(now);
    }
    return Error{Errc::Busy, fmt::format("the machine's state keeps changing while it is stopped: {}", changing)};
}

Result<void> apply_tree(const MachineParts& parts, const json& tree) {
    TANDEM_TRY_ASSIGN(const Decoded wanted, decode(parts, tree));
    TANDEM_TRY_ASSIGN(const json before, capture_tree(parts));
    auto applied = apply(parts, wanted);
    if (applied.ok()) return {};
    auto back = decode(parts, before);
    if (!back.ok() || !apply(parts, *back).ok()) {
        return Error{Errc::Internal, "the machine's own state could not be put back after: " + applied.error().message};
    }
    return applied;
}

std::vector<u8> to_cbor(const json& tree) { return json::to_cbor(tree); }

Result<json> from_cbor(std::span<const u8> bytes) {
    try {
        DepthCheck depth;
        if (!json::sax_parse(bytes.begin(), bytes.end(), &depth, json::input_format_t::cbor))
            return corrupt("not valid CBOR");
        json tree = json::from_cbor(bytes.begin(), bytes.end(), true, false);
        if (tree.is_discarded()) return corrupt("not valid CBOR");
        return tree;
    } catch (const json::exception& e) {
        return corrupt(fmt::format("not valid CBOR: {}", e.what()));
    }
}

}  // namespace tandem::machines::snapshot

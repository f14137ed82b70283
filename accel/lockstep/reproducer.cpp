#include "accel/lockstep/reproducer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "devices/fabric/state.h"

namespace tandem::accel::lockstep {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr u32 kVersion = 1;

// An access in the four forms that have answers; the journal has no others.
json encode_access(const Exit& exit) {
    if (const auto* p = std::get_if<PortExit>(&exit)) {
        return {{"port", p->port}, {"size", p->size}, {"write", p->write}, {"data", p->data}};
    }
    if (const auto* m = std::get_if<MmioExit>(&exit)) {
        return {{"mmio", m->address}, {"size", m->size}, {"write", m->write}, {"data", m->data}};
    }
    if (const auto* m = std::get_if<MsrExit>(&exit)) {
        return {{"msr", m->index}, {"write", m->write}, {"fault", m->fault}, {"data", m->data}};
    }
    if (const auto* h = std::get_if<HypercallExit>(&exit)) {
        return {{"hypercall", h->number}, {"args", {h->args[0], h->args[1], h->args[2], h->args[3]}}, {"result", h->result}};
    }
    return json::object();
}

Exit decode_access(const json& j) {
    const u64 data = j.value("data", u64{0});
    const u8 size = j.value("size", u8{1});
    const bool write = j.value("write", false);
    if (j.contains("port")) return PortExit{j.value("port", u16{0}), size, write, false, false, static_cast<u32>(data)};
    if (j.contains("mmio")) return MmioExit{j.value("mmio", u64{0}), size, write, data};
    if (j.contains("msr")) return MsrExit{j.value("msr", u32{0}), write, j.value("fault", true), data};
    HypercallExit call;
    call.number = j.value("hypercall", u64{0});
    const json args = j.value("args", json::array());
    for (std::size_t i = 0; i < std::min(args.size(), std::size(call.args)); ++i) call.args[i] = args[i].get<u64>();
    call.result = j.value("result", u64{0});
    return call;
}

json encode_event(const Event& e) {
    json j{{"kind", static_cast<unsigned>(e.kind)}, {"at", e.at}, {"value", e.value}};
    if (e.kind == Event::Kind::Access) j["access"] = encode_access(e.exit);
    if (e.kind == Event::Kind::Memory) {
        j["address"] = e.address;
        j["bytes"] = e.bytes;
    }
    return j;
}

Event decode_event(const json& j) {
    Event e;
    e.kind = static_cast<Event::Kind>(j.at("kind").get<u8>());
    e.at = j.value("at", u64{0});
    e.value = j.value("value", u64{0});
    if (j.contains("access")) e.exit = decode_access(j["access"]);
    e.address = j.value("address", u64{0});
    if (j.contains("bytes")) e.bytes = j["bytes"].get<std::vector<u8>>();
    return e;
}

fs::path memory_path(const fs::path& directory, u64 address) { return directory / fmt::format("memory-{:x}.bin", address); }

// Pages of zeros become holes.
Result<void> save_range(const fs::path& path, const devices::MemoryRange& range) {
    static constexpr std::array<u8, kPage> kZeros{};
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return io_error(fmt::format("cannot write '{}'", path.string()));
    bool good = ::ftruncate(fd, static_cast<off_t>(range.size)) == 0;
    for (u64 at = 0; at < range.size && good; at += kPage) {
        if (std::memcmp(range.host + at, kZeros.data(), kPage) == 0) continue;
        good = ::pwrite(fd, range.host + at, kPage, static_cast<off_t>(at)) == static_cast<ssize_t>(kPage);
    }
    const Result<void> result = good ? Result<void>() : io_error(fmt::format("cannot write '{}'", path.string()));
    ::close(fd);
    return result;
}

Result<void> write_text(const fs::path& path, const std::string& text) {
    std::ofstream out(path, std::ios::binary);
    if (!(out << text << std::flush)) return io_error(fmt::format("cannot write '{}'", path.string()));
    return {};
}

Result<void> load_range(const fs::path& path, std::span<u8> to) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return io_error(fmt::format("cannot read '{}'", path.string()));
    std::array<u8, kPage> page{};
    bool good = true;
    for (u64 at = 0; at < to.size() && good; at += kPage) {
        good = ::pread(fd, page.data(), kPage, static_cast<off_t>(at)) == static_cast<ssize_t>(kPage);
        const bool empty = std::all_of(page.begin(), page.end(), [](u8 b) { return b == 0; });
        if (good && !empty) std::memcpy(&to[at], page.data(), kPage);
    }
    ::close(fd);
    if (!good) return Error{Errc::Corrupt, fmt::format("'{}' is shorter than its range", path.string())};
    return {};
}

Result<Case> decode_case(const json& j, const fs::path& directory, devices::GuestMemory& memory) {
    if (j.value("version", 0u) != kVersion) return Error{Errc::Corrupt, "unknown version"};
    Case c;
    c.cpu = j.at("cpu").get<std::string>();
    c.engines = {j.at("engines").at(0).get<std::string>(), j.at("engines").at(1).get<std::string>()};
    c.stretch.count = j.at("count").get<u64>();
    c.stretch.tsc_hz = j.at("tsc_hz").get<u64>();
    c.stretch.max_block = j.at("max_block").get<u32>();
    const devices::DeviceState saved{j.at("state_version").get<u32>(), j.at("state")};
    TANDEM_TRY_ASSIGN(c.stretch.state, devices::from_device_state<cpu::x86::State>(saved, "processor"));
    for (const json& e : j.at("journal")) c.stretch.journal.push_back(decode_event(e));
    for (const json& r : j.at("memory")) {
        const u64 address = r.at("address").get<u64>(), size = r.at("size").get<u64>();
        TANDEM_TRY(memory.add(r.at("name").get<std::string>(), address, size, r.at("readonly").get<bool>()));
        TANDEM_TRY(load_range(memory_path(directory, address), memory.span(address, size)));
    }
    return c;
}

}  // namespace

Result<void> save_case(const std::string& directory, const Case& c, const devices::GuestMemory& memory,
                       const std::string& report) {
    std::error_code error;
    fs::create_directories(directory, error);
    if (error) return Error{Errc::Io, fmt::format("cannot make '{}': {}", directory, error.message())};
    json j{{"version", kVersion},
           {"cpu", c.cpu},
           {"engines", {c.engines.first, c.engines.second}},
           {"count", c.stretch.count},
           {"tsc_hz", c.stretch.tsc_hz},
           {"max_block", c.stretch.max_block},
           {"journal", json::array()},
           {"memory", json::array()}};
    const devices::DeviceState state = devices::to_device_state(c.stretch.state);
    j["state_version"] = state.version;
    j["state"] = state.fields;
    for (const Event& e : c.stretch.journal) j["journal"].push_back(encode_event(e));
    for (const auto& range : memory.ranges()) {
        j["memory"].push_back(
            {{"name", range.name}, {"address", range.gpa}, {"size", range.size}, {"readonly", range.readonly}});
        TANDEM_TRY(save_range(memory_path(directory, range.gpa), range));
    }
    TANDEM_TRY(write_text(fs::path(directory) / "case.json", j.dump(1) + "\n"));
    return write_text(fs::path(directory) / "report.txt", report);
}

Result<Case> load_case(const std::string& directory, devices::GuestMemory& memory) {
    const fs::path path = fs::path(directory) / "case.json";
    std::ifstream in(path, std::ios::binary);
    std::ostringstream text;
    if (!in || !(text << in.rdbuf())) return io_error(fmt::format("cannot read '{}'", path.string()));
    const json j = json::parse(text.str(), nullptr, false);
    if (j.is_discarded()) return Error{Errc::Corrupt, fmt::format("'{}' is not JSON", path.string())};
    try {
        auto c = decode_case(j, directory, memory);
        if (!c) return std::move(c).error().context(fmt::format("'{}'", path.string()));
        return c;
    } catch (const json::exception& e) {
        return Error{Errc::Corrupt, fmt::format("'{}': {}", path.string(), e.what())};
    }
}

}  // namespace tandem::accel::lockstep

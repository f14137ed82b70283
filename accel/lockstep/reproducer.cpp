#include "accel/lockstep/reproducer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "devices/fabric/state.h"

namespace tandem::accel::lockstep {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr u32 kForm = 2;

// --- What case.json has. The names are those of its fields.

// An access in the four forms that have answers; a journal has no others.
struct AccessFields {
    std::string form;
    u64 address = 0;  // port, physical address, MSR, number of the hypercall
    u8 size = 0;
    bool write = false;
    bool fault = false;
    u64 data = 0;  // written, or the answer
    std::array<u64, 4> arguments{};
    void visit(auto& v) {
        v("form", form);
        v("address", address);
        v("size", size);
        v("write", write);
        v("fault", fault);
        v("data", data);
        v("arguments", arguments);
    }
};

struct EventFields {
    u8 kind = 0;
    u64 at = 0, value = 0, address = 0;
    std::vector<u8> bytes;
    AccessFields access;
    void visit(auto& v) {
        v("kind", kind);
        v("at", at);
        v("value", value);
        v("address", address);
        v("bytes", bytes);
        v("access", access);
    }
};

struct RangeFields {
    std::string name;
    u64 address = 0, size = 0;
    bool readonly = false;
    void visit(auto& v) {
        v("name", name);
        v("address", address);
        v("size", size);
        v("readonly", readonly);
    }
};

struct CaseFields {
    static constexpr u32 kVersion = kForm * 1000 + cpu::x86::State::kVersion;
    std::string cpu;
    std::array<std::string, 2> engines;
    u64 count = 0, tsc_hz = 0;
    u32 max_block = 0;
    u8 cr8 = 0;
    cpu::x86::State state;
    std::vector<EventFields> journal;
    std::vector<RangeFields> memory;
    void visit(auto& v) {
        v("cpu", cpu);
        v("engines", engines);
        v("count", count);
        v("tsc_hz", tsc_hz);
        v("max_block", max_block);
        v("cr8", cr8);
        v("state", state);
        v("journal", journal);
        v("memory", memory);
    }
};

constexpr const char *kPort = "port", *kMmio = "mmio", *kMsr = "msr", *kHypercall = "hypercall", *kNone = "none";

AccessFields encode_access(const Exit& exit) {
    if (const auto* p = std::get_if<PortExit>(&exit)) return {kPort, p->port, p->size, p->write, false, p->data, {}};
    if (const auto* m = std::get_if<MmioExit>(&exit)) return {kMmio, m->address, m->size, m->write, false, m->data, {}};
    if (const auto* m = std::get_if<MsrExit>(&exit)) return {kMsr, m->index, 8, m->write, m->fault, m->data, {}};
    if (const auto* h = std::get_if<HypercallExit>(&exit)) {
        return {kHypercall, h->number, 8, false, false, h->result, {h->args[0], h->args[1], h->args[2], h->args[3]}};
    }
    return {kNone, 0, 0, false, false, 0, {}};
}

Error bad_field(const std::string& name, const std::string& what) {
    return {Errc::Corrupt, fmt::format("field '{}' {}", name, what)};
}

Result<Exit> decode_access(const AccessFields& a, const std::string& where) {
    if (a.form == kPort) {
        return Exit(PortExit{static_cast<u16>(a.address), a.size, a.write, false, false, static_cast<u32>(a.data)});
    }
    if (a.form == kMmio) return Exit(MmioExit{a.address, a.size, a.write, a.data});
    if (a.form == kMsr) return Exit(MsrExit{static_cast<u32>(a.address), a.write, a.fault, a.data});
    if (a.form == kHypercall) {
        HypercallExit call;
        call.number = a.address;
        std::ranges::copy(a.arguments, call.args);
        call.result = a.data;
        return Exit(call);
    }
    if (a.form == kNone) return Exit(RequestedExit{});
    return bad_field(where,
                     fmt::format("is '{}' (known: {}, {}, {}, {}, {})", a.form, kPort, kMmio, kMsr, kHypercall, kNone));
}

EventFields encode_event(const Event& e) {
    return {static_cast<u8>(e.kind),
            e.at,
            e.value,
            e.address,
            e.bytes,
            encode_access(e.kind == Event::Kind::Access ? e.exit : Exit(RequestedExit{}))};
}

Result<Event> decode_event(const EventFields& f, const std::string& where) {
    if (f.kind > static_cast<u8>(Event::Kind::Memory)) {
        return bad_field(where + ".kind", fmt::format("is {}, which no event is", f.kind));
    }
    Event e;
    e.kind = static_cast<Event::Kind>(f.kind);
    e.at = f.at;
    e.value = f.value;
    e.address = f.address;
    e.bytes = f.bytes;
    TANDEM_TRY_ASSIGN(e.exit, decode_access(f.access, where + ".access.form"));
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

Result<void> load_range(const fs::path& path, const RangeFields& range, devices::GuestMemory& memory) {
    std::error_code error;
    const u64 has = fs::file_size(path, error);
    if (error) return Error{Errc::Io, fmt::format("cannot read '{}': {}", path.string(), error.message())};
    if (has != range.size) {
        return Error{Errc::Corrupt,
                     fmt::format("'{}' has {} bytes, its range in case.json {}", path.string(), has, range.size)};
    }
    TANDEM_TRY(memory.add(range.name, range.address, range.size, range.readonly));
    const std::span<u8> to = memory.span(range.address, range.size);
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return io_error(fmt::format("cannot read '{}'", path.string()));
    std::array<u8, kPage> page{};
    bool good = true;
    for (u64 at = 0; at < to.size() && good; at += kPage) {
        good = ::pread(fd, page.data(), kPage, static_cast<off_t>(at)) == static_cast<ssize_t>(kPage);
        const bool empty = std::all_of(page.begin(), page.end(), [](u8 b) { return b == 0; });
        if (good && !empty) std::memcpy(&to[at], page.data(), kPage);
    }
    const Result<void> result = good ? Result<void>() : io_error(fmt::format("cannot read '{}'", path.string()));
    ::close(fd);
    return result;
}

Result<std::string> read_text(const fs::path& path) {
    const auto failed = [&path] { return io_error(fmt::format("cannot read '{}'", path.string())); };
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return failed();
    std::string text;
    std::array<char, 65536> part{};
    ssize_t size = 0;
    while ((size = ::read(fd, part.data(), part.size())) > 0) text.append(part.data(), static_cast<std::size_t>(size));
    Result<std::string> result = size < 0 ? Result<std::string>(failed()) : std::move(text);
    ::close(fd);
    return result;
}

// What types do not say.
Result<void> check(const CaseFields& f) {
    constexpr u32 kMostInBlock = 512;
    constexpr u64 kMostInstructions = 100'000'000;  // no stretch has as many
    if (f.max_block == 0 || f.max_block > kMostInBlock) {
        return bad_field("max_block", fmt::format("is {}: 1 to {} are possible", f.max_block, kMostInBlock));
    }
    if (f.count > kMostInstructions) {
        return bad_field("count", fmt::format("is {}: at most {} are possible", f.count, kMostInstructions));
    }
    if (f.cr8 > 15) return bad_field("cr8", fmt::format("is {}: 0 to 15 are possible", f.cr8));
    if (f.state.activity > cpu::x86::Activity::Shutdown) return bad_field("state.activity", "is out of range");
    return {};
}

Result<CaseFields> parse_case(const std::string& text) {
    const json j = json::parse(text, nullptr, false);
    if (!j.is_object()) return Error{Errc::Corrupt, "it is not a JSON object"};
    const auto version = j.find("version"), fields = j.find("case");
    if (version == j.end() || !version->is_number_unsigned()) return bad_field("version", "is missing or not a number");
    if (version->get<u64>() != CaseFields::kVersion) {
        return bad_field("version", fmt::format("is {}: this program reads {}", version->get<u64>(), CaseFields::kVersion));
    }
    if (fields == j.end() || !fields->is_object()) return bad_field("case", "is missing or not a group of fields");
    CaseFields f;
    devices::state_detail::Decoder decoder{*fields, "", {}, 0};
    decoder.decode_struct(*fields, "", f);
    if (!decoder.error.empty()) return Error{Errc::Corrupt, decoder.error};
    TANDEM_TRY(check(f));
    return f;
}

Result<Case> decode_case(const std::string& text, std::vector<RangeFields>& ranges) {
    TANDEM_TRY_ASSIGN(const CaseFields f, parse_case(text));
    ranges = f.memory;
    Case c;
    c.cpu = f.cpu;
    c.engines = {f.engines[0], f.engines[1]};
    c.stretch.count = f.count;
    c.stretch.tsc_hz = f.tsc_hz;
    c.stretch.max_block = f.max_block;
    c.stretch.cr8 = f.cr8;
    c.stretch.state = f.state;
    for (std::size_t i = 0; i < f.journal.size(); ++i) {
        TANDEM_TRY_ASSIGN(Event event, decode_event(f.journal[i], fmt::format("journal[{}]", i)));
        c.stretch.journal.push_back(std::move(event));
    }
    return c;
}

}  // namespace

Result<void> save_case(const std::string& directory, const Case& c, const devices::GuestMemory& memory,
                       const std::string& report) {
    std::error_code error;
    fs::create_directories(directory, error);
    if (error) return Error{Errc::Io, fmt::format("cannot make '{}': {}", directory, error.message())};
    CaseFields f;
    f.cpu = c.cpu;
    f.engines = {c.engines.first, c.engines.second};
    f.count = c.stretch.count;
    f.tsc_hz = c.stretch.tsc_hz;
    f.max_block = c.stretch.max_block;
    f.cr8 = c.stretch.cr8;
    f.state = c.stretch.state;
    for (const Event& e : c.stretch.journal) f.journal.push_back(encode_event(e));
    for (const auto& range : memory.ranges()) {
        f.memory.push_back({range.name, range.gpa, range.size, range.readonly});
        TANDEM_TRY(save_range(memory_path(directory, range.gpa), range));
    }
    const devices::DeviceState saved = devices::to_device_state(f);
    const json j{{"version", saved.version}, {"case", saved.fields}};
    TANDEM_TRY(write_text(fs::path(directory) / "case.json", j.dump(1) + "\n"));
    return write_text(fs::path(directory) / "report.txt", report);
}

Result<Case> load_case(const std::string& directory, devices::GuestMemory& memory) {
    const fs::path path = fs::path(directory) / "case.json";
    TANDEM_TRY_ASSIGN(const std::string text, read_text(path));
    std::vector<RangeFields> ranges;
    auto c = decode_case(text, ranges);
    if (!c) return std::move(c).error().context(fmt::format("'{}'", path.string()));
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        auto loaded = load_range(memory_path(directory, ranges[i].address), ranges[i], memory);
        if (!loaded) return std::move(loaded).error().context(fmt::format("'{}': field 'memory[{}]'", path.string(), i));
    }
    return c;
}

}  // namespace tandem::accel::lockstep

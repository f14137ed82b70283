// Commands that show and write out memory, ports and values.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "cpu/arm64/decode/disassemble.h"
#include "cpu/arm64/system/inspect.h"
#include "cpu/x86/decode/disassemble.h"
#include "cpu/x86/system/inspect.h"
#include "frontend/monitor/monitor_internal.h"

namespace tandem::frontend {
namespace {

namespace x86 = cpu::x86;
using machines::MachineParts;

constexpr u64 kMaxCount = 65536;         // items one command shows
constexpr std::size_t kMaxLines = 8192;  // of a listing
constexpr unsigned kMaxInstruction = 15;

// "/10xw"
struct Format {
    u64 count = 1;
    char style = 'x';
    unsigned size = 4;
};

Result<Format> parse_format(std::string_view text, Format f) {
    u64 count = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (error == std::errc::result_out_of_range || count > kMaxCount) {
        return invalid(fmt::format("format '/{}': at most {} items", text, kMaxCount));
    }
    if (end != text.data()) f.count = count;
    for (const char* at = end; at != text.data() + text.size(); ++at) {
        switch (*at) {
            case 'b': f.size = 1; break;
            case 'h': f.size = 2; break;
            case 'w': f.size = 4; break;
            case 'g': f.size = 8; break;
            case 'x':
            case 'd':
            case 'u':
            case 'o':
            case 'c':
            case 'i': f.style = *at; break;
            default:
                return invalid(fmt::format("format '/{}': unknown letter '{}' (known: x d u o c i, b h w g)", text, *at));
        }
    }
    return f;
}

std::string format_value(u64 value, const Format& f) {
    const unsigned shift = 64 - 8 * f.size;
    switch (f.style) {
        case 'd': return fmt::format("{}", static_cast<i64>(value << shift) >> shift);
        case 'u': return fmt::format("{}", value);
        case 'o': return fmt::format("{:#o}", value);
        case 'c': {
            const auto c = static_cast<char>(value);
            return value >= 32 && value < 127 ? fmt::format("'{}'", c) : fmt::format("'\\x{:02x}'", value & 0xff);
        }
        default: return fmt::format("0x{:0{}x}", value, 2 * f.size);
    }
}

x86::PhysicalReader reader_of(const devices::GuestMemory& memory) {
    return [&memory](u64 gpa) -> std::optional<u64> {
        u64 value = 0;
        if (!memory.read(gpa, &value, sizeof value)) return {};
        return value;
    };
}

// Where a virtual address leads.
std::optional<u64> translate(const cpu::ArchState& state, const devices::GuestMemory& memory, u64 va) {
    if (const auto* arm = std::get_if<cpu::arm64::State>(&state)) return cpu::arm64::look_up(*arm, reader_of(memory), va);
    const auto m = x86::walk(std::get<x86::State>(state), reader_of(memory), va);
    if (!m) return {};
    return m->pa + (va - m->va);
}

// Memory as one command sees it: virtual through the processor's tables, or physical.
class View {
public:
    View(const MachineParts& parts, const cpu::ArchState* state)
        : memory_(parts.memory), devices_(parts.mmio), state_(state) {}
    // How many of the wanted bytes could be read.
    u64 read(u64 address, std::span<u8> out) const {
        u64 done = 0;
        while (done < out.size()) {
            u64 gpa = address + done;
            const u64 part = std::min<u64>(out.size() - done, 4096 - (gpa & 4095));
            if (state_ != nullptr) {
                const auto physical = translate(*state_, memory_, gpa);
                if (!physical) break;
                gpa = *physical;
            }
            if (!memory_.read(gpa, out.data() + done, part)) break;
            done += part;
        }
        return done;
    }

    // Whether `address` is physical and a device answered: with side effects, as for the guest.
    bool read_device(u64 address, unsigned size, u64& value) const {
        const auto regions = devices_.regions();
        const bool known = std::ranges::any_of(
            regions, [&](const auto& r) { return address >= r.base && address - r.base <= r.size - size; });
        if (state_ != nullptr || !known) return false;
        value = devices_.read(address, size);
        return true;
    }

private:
    const devices::GuestMemory& memory_;
    devices::AddressSpace& devices_;
    const cpu::ArchState* state_;
};

x86::Mode mode_of(const x86::State& s) {
    constexpr u64 kLongActive = 1u << 10, kVm = 1u << 17;
    const u16 access = s.seg[x86::CS].access;
    if ((s.msr.efer & kLongActive) != 0 && (access & 1u << 13) != 0) return x86::Mode::Bits64;
    const bool protected_mode = (s.cr0 & 1) != 0 && (s.rflags & kVm) == 0;
    return protected_mode && (access & 1u << 14) != 0 ? x86::Mode::Bits32 : x86::Mode::Bits16;
}

// The instruction at the start of `bytes`, and its length.
std::string list_one(const cpu::ArchState& state, std::span<const u8> bytes, u64 address, unsigned& length) {
    if (const auto* s = std::get_if<x86::State>(&state)) return x86::disassemble_one(bytes, mode_of(*s), address, &length);
    if (bytes.size() < sizeof(u32)) return "(bad)";
    u32 word = 0;
    std::memcpy(&word, bytes.data(), sizeof word);
    length = sizeof word;
    return cpu::arm64::disassemble_one(word, address);
}

std::string list_instructions(const View& view, u64 address, const Format& f, const cpu::ArchState& state) {
    std::string text;
    for (u64 i = 0; i < f.count; ++i) {
        std::array<u8, kMaxInstruction> bytes{};
        const u64 got = view.read(address, bytes);
        if (got == 0) return text + fmt::format("0x{:016x}:  cannot read memory\n", address);
        unsigned length = 0;
        std::string insn = list_one(state, std::span(bytes).first(got), address, length);
        if (length == 0) length = 1;
        text += fmt::format("0x{:016x}:  {:<30} {}\n", address,
                            fmt::format("{:02x}", fmt::join(std::span(bytes).first(length), " ")), insn);
        address += length;
    }
    return text;
}

std::string list_values(const View& view, u64 address, const Format& f) {
    const u64 per_line = f.style == 'c' ? 8 : f.style == 'x' || f.style == 'o' ? std::max(1u, 16 / f.size) : 4;
    std::string text;
    for (u64 i = 0; i < f.count; ++i) {
        if (i % per_line == 0) text += fmt::format("{}{:016x}:", i == 0 ? "" : "\n", address);
        u64 value = 0;
        std::array<u8, 8> bytes{};
        if (view.read(address, std::span(bytes).first(f.size)) == f.size) {
            std::memcpy(&value, bytes.data(), f.size);
        } else if (!view.read_device(address, f.size, value)) {
            return text + " cannot read memory\n";
        }
        text += " " + format_value(value, f);
        address += f.size;
    }
    return text + "\n";
}

Result<void> write_file(const View& view, u64 address, u64 size, const std::string& path) {
    std::FILE* file = std::fopen(path.c_str(), "wb");
    if (file == nullptr) return io_error(fmt::format("cannot create '{}'", path));
    std::array<u8, 65536> buffer{};
    Result<void> result;
    while (size > 0 && result.ok()) {
        const auto part = std::span(buffer).first(std::min<u64>(size, buffer.size()));
        const u64 got = view.read(address, part);
        if (got != part.size()) {
            result = Error{Errc::NotFound, fmt::format("there is no memory at {:#x}", address + got)};
        } else if (std::fwrite(part.data(), 1, part.size(), file) != part.size()) {
            result = io_error(fmt::format("cannot write '{}'", path));
        }
        address += part.size();
        size -= part.size();
    }
    if (std::fclose(file) != 0 && result.ok()) result = io_error(fmt::format("cannot write '{}'", path));
    return result;
}

// For what lists all of the tables.
Result<x86::State> x86_only(const cpu::ArchState& state) {
    if (const auto* s = std::get_if<x86::State>(&state)) return *s;
    return Error{Errc::Unsupported, "mappings are listed for x86 processors; gva2gpa translates one address"};
}

std::string rights(const x86::Mapping& m) { return fmt::format("{}r{}", m.user ? 'u' : '-', m.writable ? 'w' : '-'); }

}  // namespace

Monitor::Answer Monitor::examine(Arguments& arguments) {
    TANDEM_TRY_ASSIGN(const Format f, parse_format(arguments.format, {}));
    TANDEM_TRY_ASSIGN(const u64 address, number(arguments.rest));
    return inspect([&](const MachineParts& parts) -> Answer {
        TANDEM_TRY_ASSIGN(const auto state, state_of(parts, cpu_));
        const View view(parts, &state);
        return f.style == 'i' ? list_instructions(view, address, f, state) : list_values(view, address, f);
    });
}

Monitor::Answer Monitor::examine_physical(Arguments& arguments) {
    TANDEM_TRY_ASSIGN(const Format f, parse_format(arguments.format, {}));
    TANDEM_TRY_ASSIGN(const u64 address, number(arguments.rest));
    return inspect([&](const MachineParts& parts) -> Answer {
        TANDEM_TRY_ASSIGN(const auto state, state_of(parts, cpu_));
        const View view(parts, nullptr);
        return f.style == 'i' ? list_instructions(view, address, f, state) : list_values(view, address, f);
    });
}

Monitor::Answer Monitor::print(Arguments& arguments) {
    TANDEM_TRY_ASSIGN(const Format f, parse_format(arguments.format, {1, 'x', 8}));
    TANDEM_TRY_ASSIGN(const u64 value, number(arguments.rest));
    return f.style == 'x' ? fmt::format("{:#x}\n", value) : format_value(value, f) + "\n";
}

Monitor::Answer Monitor::port_in(Arguments& arguments) {
    TANDEM_TRY_ASSIGN(const Format f, parse_format(arguments.format, {1, 'x', 1}));
    TANDEM_TRY_ASSIGN(const u64 port, number(arguments.rest));
    if (port > 0xffff || f.size > 4) return invalid("a port is 0 to 0xffff and 1, 2 or 4 bytes wide");
    return inspect([&](const MachineParts& parts) -> Answer {
        return fmt::format("port{}[{:#06x}] = {:#x}\n",
                           f.size == 1   ? "b"
                           : f.size == 2 ? "w"
                                         : "l",
                           port, parts.io.read(port, f.size));
    });
}

Monitor::Answer Monitor::port_out(Arguments& arguments) {
    TANDEM_TRY_ASSIGN(const Format f, parse_format(arguments.format, {1, 'x', 1}));
    TANDEM_TRY_ASSIGN(const u64 port, number(arguments.expression()));
    TANDEM_TRY_ASSIGN(const u64 value, number(arguments.rest));
    if (port > 0xffff || f.size > 4) return invalid("a port is 0 to 0xffff and 1, 2 or 4 bytes wide");
    return inspect([&](const MachineParts& parts) -> Answer {
        parts.io.write(port, value, f.size);
        return std::string{};
    });
}

Monitor::Answer Monitor::gva2gpa(Arguments& arguments) {
    TANDEM_TRY_ASSIGN(const u64 address, number(arguments.rest));
    return inspect([&](const MachineParts& parts) -> Answer {
        TANDEM_TRY_ASSIGN(const auto state, state_of(parts, cpu_));
        const auto physical = translate(state, parts.memory, address);
        if (!physical) return Error{Errc::NotFound, fmt::format("{:#x} is not mapped", address)};
        return fmt::format("gpa: {:#x}\n", *physical);
    });
}

Monitor::Answer Monitor::memsave(Arguments& arguments) {
    TANDEM_TRY_ASSIGN(const u64 address, number(arguments.expression()));
    TANDEM_TRY_ASSIGN(const u64 size, number(arguments.expression()));
    const std::string path(arguments.word());
    if (path.empty()) return invalid("a file's name is missing");
    return inspect([&](const MachineParts& parts) -> Answer {
        TANDEM_TRY_ASSIGN(const auto state, state_of(parts, cpu_));
        TANDEM_TRY(write_file(View(parts, &state), address, size, path));
        return std::string{};
    });
}

Monitor::Answer Monitor::pmemsave(Arguments& arguments) {
    TANDEM_TRY_ASSIGN(const u64 address, number(arguments.expression()));
    TANDEM_TRY_ASSIGN(const u64 size, number(arguments.expression()));
    const std::string path(arguments.word());
    if (path.empty()) return invalid("a file's name is missing");
    return inspect([&](const MachineParts& parts) -> Answer {
        TANDEM_TRY(write_file(View(parts, nullptr), address, size, path));
        return std::string{};
    });
}

Monitor::Answer Monitor::info_mem(Arguments&) {
    return inspect([this](const MachineParts& parts) -> Answer {
        TANDEM_TRY_ASSIGN(const auto any, state_of(parts, cpu_));
        TANDEM_TRY_ASSIGN(const auto state, x86_only(any));
        std::string text;
        std::size_t lines = 0;
        x86::Mapping run;
        const auto flush = [&] {
            if (run.size == 0) return;
            text += fmt::format("{:016x}-{:016x} {:016x} {}\n", run.va, run.va + run.size, run.size, rights(run));
            ++lines;
        };
        x86::for_each_mapping(state, reader_of(parts.memory), [&](const x86::Mapping& m) {
            if (run.size != 0 && run.va + run.size == m.va && rights(run) == rights(m)) {
                run.size += m.size;
                return true;
            }
            flush();
            run = m;
            return lines < kMaxLines;
        });
        if (lines < kMaxLines) {
            flush();
        } else {
            text += "... (more is mapped)\n";
        }
        return text.empty() ? std::string("Paging is off.\n") : text;
    });
}

Monitor::Answer Monitor::info_tlb(Arguments&) {
    struct FlagRow {
        u64 mask;
        char letter;
    };
    static constexpr FlagRow kFlags[] = {{u64{1} << 63, 'X'}, {1 << 8, 'G'}, {1 << 7, 'P'}, {1 << 6, 'D'}, {1 << 5, 'A'},
                                         {1 << 4, 'C'},       {1 << 3, 'T'}, {1 << 2, 'U'}, {1 << 1, 'W'}};
    return inspect([this](const MachineParts& parts) -> Answer {
        TANDEM_TRY_ASSIGN(const auto any, state_of(parts, cpu_));
        TANDEM_TRY_ASSIGN(const auto state, x86_only(any));
        std::string text;
        std::size_t lines = 0;
        x86::for_each_mapping(state, reader_of(parts.memory), [&](const x86::Mapping& m) {
            if (++lines > kMaxLines) {
                text += "... (more is mapped)\n";
                return false;
            }
            text += fmt::format("{:016x}: {:016x} ", m.va, m.pa);
            for (const auto& f : kFlags) text += (m.flags & f.mask) != 0 ? f.letter : '-';
            text += '\n';
            return true;
        });
        return text.empty() ? std::string("Paging is off.\n") : text;
    });
}

}  // namespace tandem::frontend

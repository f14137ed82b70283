#include "accel/lockstep/compare.h"

#include <fmt/format.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "accel/lockstep/latitude.h"
#include "devices/fabric/state.h"

namespace tandem::accel::lockstep {
namespace {

constexpr const char* kGprs[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                 "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

std::string value_of(const nlohmann::json& json) {
    return json.is_number() ? fmt::format("{:#x}", json.get<u64>()) : json.dump();
}

// "/gpr/3" is rbx, "/seg/1/base" seg.1.base.
std::string field_name(std::string path) {
    for (unsigned i = 0; i < std::size(kGprs); ++i) {
        if (path == fmt::format("/gpr/{}", i)) return kGprs[i];
    }
    path.erase(0, 1);
    for (char& c : path) c = c == '/' ? '.' : c;
    return path;
}

void compare_states(const cpu::x86::State& first, const cpu::x86::State& second, const Names& names,
                    std::vector<std::string>& lines) {
    if (first == second) return;
    cpu::x86::State a = first, b = second;
    const auto left = devices::state_detail::encode(a).flatten();
    const auto right = devices::state_detail::encode(b).flatten();
    for (const auto& item : left.items()) {
        const auto& other = right[item.key()];
        if (item.value() == other) continue;
        lines.push_back(fmt::format("{}: {} {}, {} {}", field_name(item.key()), names.first, value_of(item.value()),
                                    names.second, value_of(other)));
    }
}

std::string hex(const u8* bytes, u64 size) { return fmt::format("{:02x}", fmt::join(bytes, bytes + size, " ")); }

// The first bytes of each run that differs.
void compare_page(u64 address, const u8* first, const u8* second, const Names& names, std::vector<std::string>& lines) {
    constexpr u64 kShown = 16;
    constexpr std::size_t kMostLines = 64;
    for (u64 at = 0; at < kPage && lines.size() < kMostLines; ++at) {
        if (first[at] == second[at]) continue;
        const u64 size = std::min(kShown, kPage - at);
        lines.push_back(fmt::format("memory at {:#x}: {} {}, {} {}", address + at, names.first, hex(first + at, size),
                                    names.second, hex(second + at, size)));
        at += size - 1;
    }
}

}  // namespace

std::vector<std::string> differences(const cpu::x86::State& first, const cpu::x86::State& second,
                                     const devices::GuestMemory& first_memory, const devices::GuestMemory& second_memory,
                                     const std::vector<u64>& pages, const Names& names, bool native) {
    std::vector<std::string> lines;
    cpu::x86::State a = first, b = second;
    if (native) {
        level_native(a);
        level_native(b);
    }
    compare_states(a, b, names, lines);
    for (const u64 page : pages) {
        const u8* const left = page_of(first_memory, page);
        const u8* const right = page_of(second_memory, page);
        if (left == nullptr || right == nullptr || std::memcmp(left, right, kPage) == 0) continue;
        compare_page(page, left, right, names, lines);
    }
    return lines;
}

void compare_cr8(u8 first, u8 second, const Names& names, std::vector<std::string>& lines) {
    if (first != second) lines.push_back(fmt::format("cr8: {} {:#x}, {} {:#x}", names.first, first, names.second, second));
}

}  // namespace tandem::accel::lockstep

#include "base/log.h"

#include <array>
#include <cstdio>
#include <memory>
#include <mutex>

namespace tandem::log {
namespace {

struct CategoryRow {
    const char* name;
    Category bit;
    const char* help;
};

constexpr std::array<CategoryRow, 9> kCategories{{
    {"in_asm", InAsm, "guest code as it is translated"},
    {"ir", Ir, "IR as lifted from guest code"},
    {"ir_opt", IrOpt, "IR after the optimisation passes"},
    {"llvm", Llvm, "LLVM IR of hot regions"},
    {"out_asm", OutAsm, "generated host code"},
    {"int", Int, "exceptions and interrupts as they are delivered"},
    {"mmu", Mmu, "page faults and TLB flushes"},
    {"exits", Exits, "one line per exit from the engine (same as -trace exits)"},
    {"guest_errors", GuestErrors, "guest behaviour that hardware leaves undefined"},
}};

struct FileCloser {
    void operator()(std::FILE* f) const { std::fclose(f); }
};

struct Sink {
    std::mutex lock;
    std::unique_ptr<std::FILE, FileCloser> file;
    std::atomic<Level> level{Level::Warning};
};

Sink& sink() {
    static Sink s;
    return s;
}

}  // namespace

Result<u32> parse_categories(std::string_view list) {
    u32 mask = 0;
    while (!list.empty()) {
        const auto comma = list.find(',');
        const auto name = list.substr(0, comma);
        bool found = false;
        for (const auto& row : kCategories) {
            if (name == row.name) {
                mask |= row.bit;
                found = true;
            }
        }
        if (!found) {
            std::string known;
            for (const auto& row : kCategories) known += (known.empty() ? "" : ", ") + std::string(row.name);
            return invalid(fmt::format("unknown log category '{}' (known: {})", name, known));
        }
        list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
    }
    return mask;
}

std::string categories_help() {
    std::string text;
    for (const auto& row : kCategories) text += fmt::format("{:<14}{}\n", row.name, row.help);
    return text;
}

void set_categories(u32 mask) { g_categories.store(mask, std::memory_order_relaxed); }
void set_level(Level level) { sink().level = level; }

Result<void> set_file(const std::string& path) {
    std::unique_ptr<std::FILE, FileCloser> f(std::fopen(path.c_str(), "we"));
    if (!f) return io_error(fmt::format("cannot open log file '{}'", path));
    std::lock_guard guard(sink().lock);
    sink().file = std::move(f);
    return {};
}

void write(std::string_view text) {
    Sink& s = sink();
    std::lock_guard guard(s.lock);
    std::FILE* out = s.file ? s.file.get() : stderr;
    std::fwrite(text.data(), 1, text.size(), out);
    if (text.empty() || text.back() != '\n') std::fputc('\n', out);
    std::fflush(out);
}

void message(Level level, std::string_view text) {
    if (level > sink().level.load()) return;
    constexpr std::array<const char*, 4> kNames{"error", "warning", "info", "debug"};
    write(fmt::format("tandem: {}: {}", kNames[static_cast<std::size_t>(level)], text));
}

bool RateLimit::allow() {
    u32 left = tokens_.load(std::memory_order_relaxed);
    while (left > 0) {
        if (tokens_.compare_exchange_weak(left, left - 1, std::memory_order_relaxed)) return true;
    }
    const auto now =
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
    i64 next = next_refill_ms_.load(std::memory_order_relaxed);
    return now >= next && next_refill_ms_.compare_exchange_strong(next, now + 1000, std::memory_order_relaxed);
}

}  // namespace tandem::log

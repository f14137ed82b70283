// The process-wide logger: levels for people, categories for `-d`. The only global in the program.
// Thread-safe: lines are written whole, under one internal lock (a leaf in the lock order).
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/types.h"

namespace tandem::log {

enum class Level : u8 { Error, Warning, Info, Debug };

// `-d` categories; a bit mask. Order is the order in `-d help`.
enum Category : u32 {
    InAsm = 1u << 0,        // guest code as it is translated (Capstone)
    Ir = 1u << 1,           // IR as lifted
    IrOpt = 1u << 2,        // IR after the passes
    Llvm = 1u << 3,         // LLVM IR of hot regions, optimised
    OutAsm = 1u << 4,       // host code (Capstone)
    Int = 1u << 5,          // exceptions and interrupts as they are delivered
    Mmu = 1u << 6,          // page faults and TLB flushes
    Exits = 1u << 7,        // `-trace exits` (contract T1)
    GuestErrors = 1u << 8,  // what a guest did that its hardware would not define
};

// Parses "in_asm,int"; an unknown name is an error that lists the known ones.
Result<u32> parse_categories(std::string_view list);
// "name  sentence" per line, for `-d help`.
std::string categories_help();

void set_categories(u32 mask);
void set_level(Level level);
// Redirects all output from stderr to a file (truncated). Io error names the path.
Result<void> set_file(const std::string& path);

inline std::atomic<u32> g_categories{0};
inline bool enabled(Category category) { return (g_categories.load(std::memory_order_relaxed) & category) != 0; }

// Writes one already formatted chunk; a newline is appended when missing.
void write(std::string_view text);
void message(Level level, std::string_view text);

template <class... A>
void error(fmt::format_string<A...> f, A&&... a) {
    message(Level::Error, fmt::format(f, std::forward<A>(a)...));
}
template <class... A>
void warn(fmt::format_string<A...> f, A&&... a) {
    message(Level::Warning, fmt::format(f, std::forward<A>(a)...));
}
template <class... A>
void info(fmt::format_string<A...> f, A&&... a) {
    message(Level::Info, fmt::format(f, std::forward<A>(a)...));
}
// Category line; formatted only when the category is on.
template <class... A>
void trace(Category category, fmt::format_string<A...> f, A&&... a) {
    if (enabled(category)) write(fmt::format(f, std::forward<A>(a)...));
}

// Guards a message that a guest can provoke: allows `burst` lines, then one per second.
class RateLimit {
public:
    explicit RateLimit(u32 burst = 10) : tokens_(burst) {}
    // True when the caller may log now. Any thread.
    bool allow();

private:
    std::atomic<u32> tokens_;
    std::atomic<i64> next_refill_ms_{0};
};

}  // namespace tandem::log

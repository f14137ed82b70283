#include "frontend/diff_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "accel/diff/campaign.h"
#include "base/log.h"
#include "frontend/options.h"

namespace tandem::frontend {
namespace {

namespace diff = accel::diff;

constexpr std::string_view kHelp = R"(usage: tandem diff --engines A,B[,...] [options]
       tandem diff --merge [--out FILE] FILE...

Runs seeded random instruction streams in random machine states on several engines and compares registers, flags, memory
and exceptions. What differs is reduced to a minimal stream.

  --arch NAME      x86 (default) or arm64: whose instructions
  --engines LIST   two or more of interp, baseline, llvm, kvm, host; arm64: interp, baseline, llvm, exact
  --seed N         which streams (default 1)
  --count N        how many, of all shards together (default 100000; K, M, G)
  --shard I/N      only the I-th of N parts, I from 0
  --states LIST    machine states, as user64,kernel32-pae (default: all that every engine runs)
  --only LIST      mnemonics as the manual spells them, as ADC,MOVSX (default: all)
  --out FILE       JSON lines go here instead of to standard output; FILE.part holds what an interrupted campaign has done,
                   and the same command goes on from there
  --save DIR       one reduced stream of each kind goes to DIR/STREAM-ENGINE, for tandem replay
  --merge          joins the finished files of all shards into what one run would have written
)";

struct Options {
    diff::CampaignOptions campaign;
    std::string out;
    bool help = false;
    bool merge = false;
    std::vector<std::string> files;
};

enum ExitStatus { kSame = 0, kUsage = 1, kDiffers = 2, kInterrupted = 130 };

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> parts;
    std::istringstream in(text);
    for (std::string part; std::getline(in, part, ',');) {
        if (!part.empty()) parts.push_back(part);
    }
    return parts;
}

Result<void> parse_shard(const std::string& text, diff::CampaignOptions& campaign) {
    const char* const end = text.data() + text.size();
    const auto [slash, bad] = std::from_chars(text.data(), end, campaign.shard);
    if (bad == std::errc() && slash != end && *slash == '/') {
        const auto [rest, worse] = std::from_chars(slash + 1, end, campaign.shards);
        if (worse == std::errc() && rest == end) return {};
    }
    return invalid(fmt::format("--shard: '{}' is not of the form I/N", text));
}

Result<void> set(Options& o, const std::string& name, const std::string& value) {
    const auto number = [&](u64& to) -> Result<void> {
        auto parsed = parse_size(value);
        if (!parsed) return std::move(parsed).error().context(name);
        to = *parsed;
        return {};
    };
    if (name == "--arch") {
        if (value != "x86" && value != "arm64") return invalid(fmt::format("--arch: '{}' is neither x86 nor arm64", value));
        o.campaign.architecture = value == "x86" ? diff::Architecture::X86 : diff::Architecture::Arm64;
    } else if (name == "--engines") {
        o.campaign.engines = split(value);
    } else if (name == "--seed") {
        return number(o.campaign.seed);
    } else if (name == "--count") {
        return number(o.campaign.count);
    } else if (name == "--shard") {
        return parse_shard(value, o.campaign);
    } else if (name == "--states") {
        o.campaign.states = split(value);
    } else if (name == "--only") {
        o.campaign.only = split(value);
    } else if (name == "--save") {
        o.campaign.reproducers = value;
    } else if (name == "--out") {
        o.out = value;
    } else {
        return invalid(fmt::format("tandem diff: unknown option '{}' (tandem diff --help lists them)", name));
    }
    return {};
}

Result<Options> parse(std::span<const char* const> arguments) {
    Options o;
    for (size_t i = 0; i < arguments.size(); ++i) {
        const std::string name = arguments[i];
        if (name == "--help") {
            o.help = true;
        } else if (name == "--merge") {
            o.merge = true;
        } else if (!name.starts_with("--")) {
            o.files.push_back(name);
        } else {
            // Unknown options are named as such, with or without a value.
            if (i + 1 == arguments.size()) {
                TANDEM_TRY(set(o, name, "0"));
                return invalid(fmt::format("tandem diff: {} needs a value", name));
            }
            TANDEM_TRY(set(o, name, arguments[++i]));
        }
    }
    if (!o.merge && !o.files.empty()) return invalid(fmt::format("tandem diff: '{}' is no option", o.files[0]));
    return o;
}

Result<std::string> read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::string text;
    if (in) text.assign(std::istreambuf_iterator<char>(in), {});
    if (!in || in.bad()) return io_error(fmt::format("cannot read '{}'", path));
    return text;
}

// A file, or standard output; whole lines, flushed.
class Output {
public:
    static Result<Output> open(const std::string& path, const char* mode) {
        Output output;
        output.file_ = path.empty() ? stdout : std::fopen(path.c_str(), mode);
        if (output.file_ == nullptr) return io_error(fmt::format("cannot write '{}'", path));
        return output;
    }
    Output(Output&& o) noexcept : file_(std::exchange(o.file_, nullptr)) {}
    Output& operator=(Output&& o) noexcept {
        std::swap(file_, o.file_);
        return *this;
    }
    ~Output() {
        if (file_ != nullptr && file_ != stdout) std::fclose(file_);
    }
    Result<void> write(const std::string& text) {
        const bool good = std::fwrite(text.data(), 1, text.size(), file_) == text.size() && std::fflush(file_) == 0;
        return good ? Result<void>() : io_error("cannot write the results");
    }

private:
    Output() = default;
    std::FILE* file_ = nullptr;
};

Result<void> write_whole(const std::string& path, const std::string& text) {
    TANDEM_TRY_ASSIGN(Output out, Output::open(path, "w"));
    return out.write(text);
}

std::atomic<bool> g_stop{false};  // set by the signal handler, which can reach nothing else

// Ctrl-C and SIGTERM end the campaign; what is done of the group that is running is not kept.
void stop_on_signals() {
    struct sigaction action{};
    action.sa_handler = [](int) { g_stop = true; };
    action.sa_flags = SA_RESTART;
    for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
}

class ProgressBar {
public:
    void show(const diff::CampaignProgress& p) {
        const auto now = std::chrono::steady_clock::now();
        if (!terminal_ || (now - last_ < std::chrono::milliseconds(100) && p.done < p.total)) return;
        last_ = now;
        constexpr u64 kWidth = 30;
        const u64 filled = p.total == 0 ? kWidth : p.done * kWidth / p.total;
        const double minutes = std::chrono::duration<double>(now - start_).count() / 60;
        fmt::print(stderr, "\r[{:#<{}}{:.<{}}] {}/{} streams, {} differ, {:.0f} a minute ", "", filled, "", kWidth - filled,
                   p.done, p.total, p.differences, static_cast<double>(p.done - first(p)) / minutes);
        std::fflush(stderr);
        shown_ = true;
    }
    void end() const {
        if (shown_) fmt::print(stderr, "\n");
    }

private:
    // What an earlier run had done already.
    u64 first(const diff::CampaignProgress& p) {
        if (first_ == ~u64{0}) first_ = p.done > diff::Campaign::kGroup ? p.done : 0;
        return first_;
    }

    const bool terminal_ = ::isatty(STDERR_FILENO) != 0;
    const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
    std::chrono::steady_clock::time_point last_ = start_ - std::chrono::seconds(1);
    u64 first_ = ~u64{0};
    bool shown_ = false;
};

Result<int> run_merge(const Options& o) {
    std::vector<diff::Results> shards;
    for (const std::string& file : o.files) {
        TANDEM_TRY_ASSIGN(const std::string text, read_file(file));
        auto results = diff::parse_results(text);
        if (!results) return std::move(results).error().context(fmt::format("'{}'", file));
        shards.push_back(std::move(results).value());
    }
    auto merged = diff::merge(std::move(shards));
    if (!merged) return std::move(merged).error().context("--merge");
    TANDEM_TRY(write_whole(o.out, merged->text()));
    fmt::print(stderr, "{}", merged->summary());
    return merged->differences.empty() ? kSame : kDiffers;
}

// What an interrupted run of the same campaign has done.
Result<diff::Results> resume(const std::string& part, const diff::Json& campaign) {
    diff::Results results;
    results.campaign = campaign;
    if (part.empty() || !std::filesystem::exists(part)) return results;
    TANDEM_TRY_ASSIGN(const std::string text, read_file(part));
    if (text.empty()) return results;
    auto earlier = diff::parse_results(text);
    if (!earlier) return std::move(earlier).error().context(fmt::format("'{}'", part));
    if (earlier->campaign != campaign) {
        return invalid(fmt::format("'{}' is of another campaign; remove it, or name another --out", part));
    }
    fmt::print(stderr, "going on after {} streams of '{}'\n", earlier->streams, part);
    return earlier;
}

Result<int> run_campaign(const Options& o) {
    stop_on_signals();
    // Said before the campaign, not after it.
    if (std::filesystem::is_directory(o.out)) return invalid(fmt::format("--out: '{}' is a directory", o.out));
    if (const std::string& save = o.campaign.reproducers; !save.empty()) {
        std::error_code failed;
        std::filesystem::create_directories(save, failed);
        if (failed) return Error{Errc::Io, fmt::format("--save: cannot make '{}': {}", save, failed.message())};
    }
    TANDEM_TRY_ASSIGN(const auto campaign, diff::Campaign::create(o.campaign));
    for (const std::string& line : campaign->skipped()) fmt::print(stderr, "{}\n", line);
    const std::string part = o.out.empty() ? "" : o.out + ".part";
    TANDEM_TRY_ASSIGN(diff::Results results, resume(part, campaign->describe()));
    // Without a file only the finished results are written.
    std::optional<Output> journal;
    if (!part.empty()) {
        std::string text = diff::header_line(results.campaign);
        for (const auto& d : results.differences) text += diff::difference_line(d);
        for (const auto& [kind, finding] : results.findings) text += diff::finding_line(finding);
        // What an earlier run has done stays until this file has it too.
        const std::string fresh = part + ".new";
        TANDEM_TRY_ASSIGN(Output out, Output::open(fresh, "w"));
        TANDEM_TRY(out.write(text + diff::checkpoint_line(results)));
        std::error_code failed;
        std::filesystem::rename(fresh, part, failed);
        if (failed) return Error{Errc::Io, fmt::format("cannot write '{}': {}", part, failed.message())};
        journal.emplace(std::move(out));
    }
    ProgressBar bar;
    Result<void> written;
    const auto step = [&](const diff::CampaignProgress& p, const std::string& lines) {
        bar.show(p);
        if (journal) written = journal->write(lines);
        return written.ok() && !g_stop;
    };
    const auto start = std::chrono::steady_clock::now();
    const u64 before = results.streams;
    const auto ran = campaign->run(results, step, [] { return g_stop.load(); });
    bar.end();
    TANDEM_TRY(ran);
    TANDEM_TRY(written);
    if (!*ran) {
        fmt::print(stderr, "stopped after {} streams{}\n", results.streams,
                   part.empty() ? "" : "; the same command goes on from there");
        return kInterrupted;
    }
    TANDEM_TRY(write_whole(o.out, results.text()));
    if (!part.empty()) std::filesystem::remove(part);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    fmt::print(stderr, "{}{:.1f} s, {:.0f} streams a minute\n", results.summary(), seconds,
               static_cast<double>(results.streams - before) * 60 / seconds);
    return results.differences.empty() ? kSame : kDiffers;
}

}  // namespace

int diff_command(std::span<const char* const> arguments) {
    auto options = parse(arguments);
    if (options && options->help) {
        fmt::print("{}", kHelp);
        return kSame;
    }
    Result<int> status = options ? (options->merge ? run_merge(*options) : run_campaign(*options)) : options.error();
    if (status) return *status;
    log::error("{}", status.error().message);
    return kUsage;
}

}  // namespace tandem::frontend

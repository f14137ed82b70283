#include "frontend/monitor/console.h"

#include <sys/prctl.h>

namespace tandem::frontend {
namespace {

constexpr std::string_view kPrompt = "(tandem) ";
constexpr std::size_t kMaxInput = 65536;

}  // namespace

void LineEditor::replace(const std::string& text, std::string& out) {
    if (echo_) {
        for (std::size_t i = 0; i < line_.size(); ++i) out += "\b \b";
        out += text;
    }
    line_ = text;
}

void LineEditor::drop_line() {
    line_.clear();
    position_ = history_.size();
    escape_ = 0;
}

void LineEditor::complete(std::string& out) {
    const auto names = Monitor::complete(line_);
    if (names.empty()) return;
    std::string common = names.front();
    for (const auto& name : names) {
        std::size_t n = 0;
        while (n < std::min(common.size(), name.size()) && common[n] == name[n]) ++n;
        common.resize(n);
    }
    if (names.size() == 1) common += ' ';
    if (common.size() > line_.size()) return replace(common, out);
    if (!echo_) return;
    out += "\r\n";
    for (const auto& name : names) out += name + "  ";
    out += "\r\n" + std::string(kPrompt) + line_;
}

void LineEditor::arrow(char c, std::string& out) {
    if (c == 'A' && position_ > 0)
        --position_;
    else if (c == 'B' && position_ < history_.size())
        ++position_;
    else
        return;
    replace(position_ < history_.size() ? history_[position_] : std::string{}, out);
}

bool LineEditor::take(char c, std::string& line, std::string& out) {
    // "\r\n" ends one line, not two.
    const bool second_half = c == '\n' && after_return_;
    after_return_ = c == '\r';
    if (second_half) return false;
    if (escape_ != 0) {
        ++escape_;
        if (escape_ == 2 && c == '[') return false;
        if (escape_ == 3) arrow(c, out);
        escape_ = 0;
        return false;
    }
    switch (c) {
        case '\r':
        case '\n':
            if (echo_) out += "\r\n";
            line = std::move(line_);
            line_.clear();
            if (!line.empty() && (history_.empty() || history_.back() != line)) history_.push_back(line);
            if (history_.size() > kMaxHistory) history_.pop_front();
            position_ = history_.size();
            return true;
        case '\t': complete(out); return false;
        case 0x1b: escape_ = 1; return false;
        case 0x03:  // Ctrl-C
        case 0x15:  // Ctrl-U
            replace({}, out);
            return false;
        case 0x17: {  // Ctrl-W
            const auto end = line_.find_last_not_of(' ');
            const auto space = end == std::string::npos ? std::string::npos : line_.rfind(' ', end);
            replace(space == std::string::npos ? std::string{} : line_.substr(0, space + 1), out);
            return false;
        }
        case 0x08:
        case 0x7f:
            if (!line_.empty()) replace(line_.substr(0, line_.size() - 1), out);
            return false;
        default: break;
    }
    if (static_cast<unsigned char>(c) < 32 || line_.size() >= kMaxLine) return false;
    line_ += c;
    if (echo_) out += c;
    return false;
}

MonitorConsole::MonitorConsole(std::unique_ptr<devices::CharBackend> stream, MonitorContext context, bool interactive)
    : stream_(std::move(stream)),
      monitor_(std::move(context)),
      editor_(interactive),
      interactive_(interactive),
      thread_([this] {
          ::prctl(PR_SET_NAME, "tandem-monitor", 0UL, 0UL, 0UL);
          serve();
      }) {
    stream_->on_focus([this] { greet(); });
    stream_->set_receiver([this](std::span<const u8> bytes) -> std::size_t {
        std::lock_guard guard(lock_);
        // A flood is dropped: nobody types that fast, and a script waits for its answers.
        for (const u8 b : bytes) {
            if (input_.size() < kMaxInput) input_.push_back(b);
        }
        wake_.notify_one();
        return bytes.size();
    });
}

MonitorConsole::~MonitorConsole() {
    stream_->on_focus({});
    stream_->set_receiver({});
    {
        std::lock_guard guard(lock_);
        quit_ = true;
        wake_.notify_one();
    }
    thread_.join();
}

void MonitorConsole::greet() {
    std::lock_guard guard(lock_);
    input_.push_back(kSomebodyNew);
    wake_.notify_one();
}

void MonitorConsole::say(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '\n' && interactive_ && (out.empty() || out.back() != '\r')) out += '\r';
        out += c;
    }
    stream_->write({reinterpret_cast<const u8*>(out.data()), out.size()});
}

void MonitorConsole::serve() {
    std::unique_lock guard(lock_);
    for (;;) {
        wake_.wait(guard, [this] { return quit_ || !input_.empty(); });
        if (quit_) return;
        std::deque<u16> input;
        input.swap(input_);
        guard.unlock();
        std::string out, line;
        for (const u16 c : input) {
            if (c == kSomebodyNew) {
                editor_.drop_line();
                out += "Tandem " TANDEM_VERSION " monitor - type 'help' for more information\n" + std::string(kPrompt);
                continue;
            }
            if (!editor_.take(static_cast<char>(c), line, out)) continue;
            say(out);
            out.clear();
            say(monitor_.execute(line) + std::string(kPrompt));
        }
        if (!out.empty()) say(out);
        guard.lock();
    }
}

}  // namespace tandem::frontend

// A monitor at the end of a character stream: reads lines, edits them where a person types, answers.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "devices/fabric/backends.h"
#include "frontend/monitor/monitor.h"

namespace tandem::frontend {

// Turns what is typed into lines: echo, backspace, Ctrl-U, Ctrl-W, Ctrl-C, history by the arrow keys, completion by Tab. One
// stream's state; one thread.
class LineEditor {
public:
    // `echo`: what is shown to the person; without it (a script at the other end) only line ends count.
    explicit LineEditor(bool echo) : echo_(echo) {}
    // Takes one byte. True when a line is complete: it is in `line`. What is to be shown is appended to `out`.
    bool take(char c, std::string& line, std::string& out);
    // Forgets what has been typed of a line, and shows nothing of that.
    void drop_line();

private:
    void replace(const std::string& text, std::string& out);
    void complete(std::string& out);
    void arrow(char c, std::string& out);

    static constexpr std::size_t kMaxLine = 4096;
    static constexpr std::size_t kMaxHistory = 100;
    bool echo_;
    std::string line_;
    std::deque<std::string> history_;
    std::size_t position_ = 0;  // in history_; its size: the line being typed
    unsigned escape_ = 0;       // bytes of an escape sequence seen
    bool after_return_ = false;
};

class MonitorConsole {
public:
    // Says who is here and prompts whenever somebody turns to the stream (CharBackend::on_focus). `interactive`: a person
    // types, see LineEditor. Owns the stream and a thread.
    MonitorConsole(std::unique_ptr<devices::CharBackend> stream, MonitorContext context, bool interactive);
    ~MonitorConsole();
    MonitorConsole(const MonitorConsole&) = delete;
    MonitorConsole& operator=(const MonitorConsole&) = delete;

private:
    static constexpr u16 kSomebodyNew = 0x100;

    void greet();
    void serve();
    void say(std::string_view text);

    std::unique_ptr<devices::CharBackend> stream_;
    Monitor monitor_;
    LineEditor editor_;
    bool interactive_;

    std::mutex lock_;  // guards what follows; a leaf
    std::condition_variable wake_;
    std::deque<u16> input_;  // bytes, and kSomebodyNew between them
    bool quit_ = false;
    std::thread thread_;  // last: uses everything above
};

}  // namespace tandem::frontend

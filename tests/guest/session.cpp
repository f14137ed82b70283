#include "tests/guest/session.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <stdexcept>

namespace tandem::tests {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void execute(const std::vector<std::string>& argv) {
    std::vector<char*> pointers;
    for (const auto& a : argv) pointers.push_back(const_cast<char*>(a.c_str()));
    pointers.push_back(nullptr);
    execvp(pointers[0], pointers.data());
    _exit(127);
}

int decode_status(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

// Output without the control sequences of terminals (ECMA-48, 5.4: ESC [, parameters, a final byte; or ESC and one more),
// which SeaBIOS's serial console puts into the middle of words when it finds time to. `end` has, for each character of
// `text`, where the output goes on behind it.
struct Visible {
    std::string text;
    std::vector<std::size_t> end;
};
Visible visible(const std::string& output, std::size_t from) {
    Visible v;
    enum class In { Text, Escape, Parameters } in = In::Text;
    for (std::size_t i = from; i < output.size(); ++i) {
        const char c = output[i];
        // GRUB goes to the line's beginning and back in the middle of a word now and then.
        if (c == '\r' && i + 1 < output.size() && output[i + 1] == '\x1b') continue;
        if (in == In::Text && c != '\x1b') {
            v.text += c;
            v.end.push_back(i + 1);
        } else if (in == In::Text) {
            in = In::Escape;
        } else if (in == In::Escape && c == '[') {
            in = In::Parameters;
        } else if (in == In::Escape || (c >= '@' && c <= '~')) {
            in = In::Text;
        }
    }
    return v;
}

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    if (value == nullptr) throw std::runtime_error(std::string(name) + " is not set: run these tests through ctest");
    return value;
}

}  // namespace

std::string tandem_program() { return environment("TANDEM_PROGRAM"); }
std::string image(const std::string& name) { return environment("TANDEM_IMAGES") + "/" + name; }

std::vector<std::string> debian(const std::string& append, const std::vector<std::string>& more) {
    std::vector<std::string> argv{tandem_program(),
                                  "-nographic",
                                  "-m",
                                  "256",
                                  "-kernel",
                                  image("vmlinuz"),
                                  "-initrd",
                                  image("initramfs"),
                                  "-append",
                                  "console=ttyS0 " + append};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
}

Session::Session(const std::vector<std::string>& argv) {
    pid_ = forkpty(&terminal_, nullptr, nullptr, nullptr);
    if (pid_ == 0) execute(argv);
    if (pid_ < 0) throw std::runtime_error("forkpty failed");
}

Session::~Session() {
    if (pid_ > 0) {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    }
    close(terminal_);
}

bool Session::read_some(std::chrono::milliseconds limit) {
    pollfd fd{terminal_, POLLIN, 0};
    if (poll(&fd, 1, static_cast<int>(limit.count())) <= 0) return false;
    std::array<char, 4096> buffer{};
    const ssize_t n = read(terminal_, buffer.data(), buffer.size());
    if (n <= 0) return false;
    output_.append(buffer.data(), static_cast<std::size_t>(n));
    return true;
}

// Words may have control sequences in them, and stand in one themselves: the monitor writes at once, the guest in bytes.
bool Session::find(const std::string& text) {
    const Visible seen = visible(output_, consumed_);
    const auto shown = seen.text.find(text);
    const auto whole = output_.find(text, consumed_);
    if (shown == std::string::npos && whole == std::string::npos) return false;
    const std::size_t first = shown == std::string::npos ? shown : seen.end[shown + text.size() - 1];
    consumed_ = whole == std::string::npos ? first : std::min(first, whole + text.size());
    return true;
}

bool Session::wait_for(const std::string& text, std::chrono::seconds limit) {
    const auto end = Clock::now() + limit;
    for (;;) {
        if (find(text)) return true;
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
        if (left.count() <= 0 || !read_some(left)) return false;
    }
}

bool Session::wait_raw() {
    const auto end = Clock::now() + kPatience;
    do {
        termios now{};
        if (tcgetattr(terminal_, &now) == 0 && (now.c_lflag & ICANON) == 0) return true;
        (void)read_some(std::chrono::milliseconds(20));
    } while (Clock::now() < end);
    return false;
}

void Session::type(const std::string& text) {
    std::size_t done = 0;
    while (done < text.size()) {
        const ssize_t n = write(terminal_, text.data() + done, text.size() - done);
        if (n <= 0) return;
        done += static_cast<std::size_t>(n);
    }
}

namespace {

// Between the guest's console and the monitor.
constexpr const char* kFocus =
    "\x01"
    "c";
constexpr const char* kMonitor = "(tandem) ";

}  // namespace

bool Session::command(const std::string& line, std::string* answer) {
    type(kFocus);
    bool good = wait_for(kMonitor);
    type(line + "\n");
    good = wait_for("\n") && good;  // of the echo
    const std::size_t from = consumed_;
    good = wait_for(kMonitor) && good;
    if (answer != nullptr) {
        const std::string said = output_.substr(from, consumed_ - from);
        *answer = visible(said.substr(0, said.find(kMonitor)), 0).text;
    }
    type(kFocus);
    if (!good) {
        const std::size_t most = std::min<std::size_t>(output_.size(), 1000);
        std::cerr << "the monitor did not answer '" << line << "'; output ends with:\n"
                  << output_.substr(output_.size() - most) << '\n';
    }
    return good;
}

int Session::quit() {
    type(kFocus);
    if (!wait_for(kMonitor)) return -1;
    type("quit\n");
    return wait_exit();
}

void Session::signal(int number) const { kill(pid_, number); }

int Session::wait_exit(std::chrono::seconds limit) {
    const auto end = Clock::now() + limit;
    for (;;) {
        int status = 0;
        if (waitpid(pid_, &status, WNOHANG) == pid_) {
            pid_ = -1;
            while (read_some(std::chrono::milliseconds(10))) {
            }
            return decode_status(status);
        }
        if (Clock::now() >= end) {
            kill(pid_, SIGKILL);
            waitpid(pid_, nullptr, 0);
            pid_ = -1;
            return -1;
        }
        if (!read_some(std::chrono::milliseconds(20))) usleep(5000);
    }
}

Finished run_program(const std::vector<std::string>& argv, std::chrono::seconds limit) {
    std::array<int, 2> pipe_ends{};
    if (pipe2(pipe_ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe failed");
    const int pid = fork();
    if (pid == 0) {
        const int null = open("/dev/null", O_RDONLY);
        dup2(null, 0);
        dup2(pipe_ends[1], 1);
        dup2(pipe_ends[1], 2);
        execute(argv);
    }
    close(pipe_ends[1]);
    Finished result;
    const auto end = Clock::now() + limit;
    for (bool open = true; open;) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
        pollfd fd{pipe_ends[0], POLLIN, 0};
        if (left <= 0 || poll(&fd, 1, static_cast<int>(left)) <= 0) {
            kill(pid, SIGKILL);
            waitpid(pid, nullptr, 0);
            close(pipe_ends[0]);
            return result;
        }
        std::array<char, 4096> buffer{};
        const ssize_t n = read(pipe_ends[0], buffer.data(), buffer.size());
        open = n > 0;
        if (open) result.output.append(buffer.data(), static_cast<std::size_t>(n));
    }
    close(pipe_ends[0]);
    int status = 0;
    waitpid(pid, &status, 0);
    result.status = decode_status(status);
    return result;
}

}  // namespace tandem::tests

#include "tests/guest/session.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
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

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    if (value == nullptr) throw std::runtime_error(std::string(name) + " is not set: run these tests through ctest");
    return value;
}

}  // namespace

std::string tandem_program() { return environment("TANDEM_PROGRAM"); }
std::string image(const std::string& name) { return environment("TANDEM_IMAGES") + "/" + name; }

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

bool Session::wait_for(const std::string& text, std::chrono::seconds limit) {
    const auto end = Clock::now() + limit;
    for (;;) {
        const auto at = output_.find(text, consumed_);
        if (at != std::string::npos) {
            consumed_ = at + text.size();
            return true;
        }
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
        if (left.count() <= 0 || !read_some(left)) return output_.find(text, consumed_) != std::string::npos;
    }
}

void Session::type(const std::string& text) {
    std::size_t done = 0;
    while (done < text.size()) {
        const ssize_t n = write(terminal_, text.data() + done, text.size() - done);
        if (n <= 0) return;
        done += static_cast<std::size_t>(n);
    }
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

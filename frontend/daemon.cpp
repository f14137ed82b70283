#include "frontend/daemon.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>

namespace tandem::frontend {

Result<Daemon> Daemon::detach() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return io_error("cannot create a pipe");
    const pid_t child = ::fork();
    if (child < 0) return io_error("cannot start another process");
    if (child == 0) {
        ::close(ends[0]);
        ::setsid();
        Daemon daemon;
        daemon.pipe_ = ends[1];
        return daemon;
    }
    ::close(ends[1]);
    char byte = 0;
    if (::read(ends[0], &byte, 1) == 1) ::_exit(0);
    // It ended before it was ready, and has said why.
    int status = 0;
    ::waitpid(child, &status, 0);
    ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

Daemon::~Daemon() {
    if (pipe_ >= 0) ::close(pipe_);
}

void Daemon::ready() {
    if (pipe_ < 0) return;
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd <= 2 && null >= 0; ++fd) ::dup2(null, fd);
    if (null > 2) ::close(null);
    const char byte = 1;
    if (::write(pipe_, &byte, 1) == 1) {
        ::close(pipe_);
        pipe_ = -1;
    }
}

Result<PidFile> PidFile::create(const std::string& path) {
    PidFile file;
    if (path.empty()) return file;
    std::FILE* out = std::fopen(path.c_str(), "we");
    if (out == nullptr) return io_error(fmt::format("cannot create '{}'", path));
    fmt::print(out, "{}\n", ::getpid());
    if (std::fclose(out) != 0) return io_error(fmt::format("cannot write '{}'", path));
    file.path_ = path;
    return file;
}

PidFile::~PidFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
}

}  // namespace tandem::frontend

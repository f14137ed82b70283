// Going into the background, and the file that says who is there.
#pragma once

#include <string>
#include <utility>

#include "base/result.h"

namespace tandem::frontend {

// Two processes from here on: the first waits until the second says ready(), or ends, and then ends itself, with status 0 or
// the second's. Before any thread exists.
class Daemon {
public:
    // Returns in the second process only. Io: the host's reason.
    static Result<Daemon> detach();
    Daemon() = default;  // stays in the foreground: ready() does nothing
    Daemon(Daemon&& other) noexcept : pipe_(std::exchange(other.pipe_, -1)) {}
    Daemon& operator=(Daemon&& other) noexcept {
        std::swap(pipe_, other.pipe_);
        return *this;
    }
    ~Daemon();
    // The machine is set up: lets the first process end and gives up the terminal.
    void ready();

private:
    int pipe_ = -1;
};

// Holds the process id while it exists; deleted at the end.
class PidFile {
public:
    PidFile() = default;
    static Result<PidFile> create(const std::string& path);
    PidFile(PidFile&& other) noexcept : path_(std::exchange(other.path_, {})) {}
    PidFile& operator=(PidFile&& other) noexcept {
        std::swap(path_, other.path_);
        return *this;
    }
    ~PidFile();

private:
    std::string path_;
};

}  // namespace tandem::frontend

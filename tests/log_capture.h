// Lines of the program's log, for tests of what is logged.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/log.h"

namespace tandem::tests {

// While it lives, the given categories go to a file of its own. (Afterwards the log stays there: nothing is logged.)
class LogCapture {
public:
    explicit LogCapture(u32 categories)
        : path_((std::filesystem::temp_directory_path() / ("tandem-log-" + std::to_string(getpid()))).string()) {
        if (log::set_file(path_).ok()) log::set_categories(categories);
    }
    ~LogCapture() {
        log::set_categories(0);
        std::filesystem::remove(path_);
    }
    LogCapture(const LogCapture&) = delete;
    LogCapture& operator=(const LogCapture&) = delete;

    [[nodiscard]] std::vector<std::string> lines() const {
        std::ifstream file(path_);
        std::vector<std::string> lines;
        for (std::string line; std::getline(file, line);) lines.push_back(line);
        return lines;
    }

private:
    std::string path_;
};

}  // namespace tandem::tests

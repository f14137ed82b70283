// What the files of the monitor share.
#pragma once

#include "frontend/monitor/monitor.h"
#include "frontend/text.h"

namespace tandem::frontend {

// The rest of a command's line, taken word by word.
struct Monitor::Arguments {
    std::string_view rest;
    std::string_view format;  // what followed the name and a slash: "10xw" of "x/10xw"

    // The next word; empty at the end.
    std::string_view word();
    // The next expression's text; empty at the end.
    std::string_view expression();
    [[nodiscard]] bool empty() const { return rest.find_first_not_of(' ') == std::string_view::npos; }
};

struct Monitor::Command {
    std::string_view name;
    std::string_view alias;
    std::string_view arguments;
    std::string_view help;
    Answer (Monitor::*run)(Arguments& arguments);
    unsigned most_arguments = 0;  // words; more are refused before the command runs
    bool takes_format = false;
};

}  // namespace tandem::frontend

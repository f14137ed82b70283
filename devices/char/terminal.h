// The process's terminal and the escape keys typed on it.
#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "devices/char/backends.h"
#include "devices/char/stream_backend.h"

namespace tandem::devices {

// Finds Ctrl-A commands in what is typed. One stream's state; the stream's thread only.
class EscapeKeys {
public:
    // `say` prints to the person, not to the guest.
    EscapeKeys(ConsoleEvents events, std::function<void(std::string_view)> say)
        : events_(std::move(events)), say_(std::move(say)) {}
    // Removes escape sequences from `bytes` and performs them.
    void operator()(std::vector<u8>& bytes);

private:
    ConsoleEvents events_;
    std::function<void(std::string_view)> say_;
    bool escaped_ = false;
};

// stdin and stdout; stdin's terminal, when it is one and we are in its foreground, goes into raw mode until the back end is
// destroyed. Busy: there is such a back end already.
Result<std::unique_ptr<CharBackend>> create_stdio_backend(ConsoleEvents events);

}  // namespace tandem::devices

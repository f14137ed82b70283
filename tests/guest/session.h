// A running program on a pseudo-terminal, for tests that use Tandem as a person would: type, wait for text, look at the exit
// status.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "tests/patience.h"

namespace tandem::tests {

class Session {
public:
    // Starts `program` (argv[0] first) on a new pseudo-terminal.
    explicit Session(const std::vector<std::string>& argv);
    ~Session();  // kills the program if it still runs
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    // Waits until `text` appears in output that no earlier wait consumed. False at the time limit or when the program ended.
    bool wait_for(const std::string& text, std::chrono::seconds limit = kPatience);
    void type(const std::string& text);
    // Waits until the program has made its terminal raw: from then on a return that is typed is no line feed.
    bool wait_raw();
    // A line for the monitor behind Ctrl-A c, from the guest's console and back to it. What it said goes to `answer`.
    // False when it did not answer: the end of the output is printed then.
    bool command(const std::string& line, std::string* answer = nullptr);
    // Quits by the monitor, from the guest's console; as wait_exit(). -1 also when it did not answer.
    int quit();
    void signal(int number) const;
    // Waits for the end; its exit status, 128 + signal, or -1 at the time limit (the program is killed then).
    int wait_exit(std::chrono::seconds limit = kPatience);
    [[nodiscard]] int pid() const { return pid_; }
    // All output so far.
    [[nodiscard]] const std::string& output() const { return output_; }

private:
    bool find(const std::string& text);
    bool read_some(std::chrono::milliseconds limit);

    int terminal_ = -1;
    int pid_ = -1;
    std::string output_;
    std::size_t consumed_ = 0;
};

struct Finished {
    int status = -1;
    std::string output;  // standard output and error together
};
// Runs a program without a terminal (standard input is /dev/null) to its end; status -1 after `limit`.
Finished run_program(const std::vector<std::string>& argv, std::chrono::seconds limit = kPatience);

// The program under test and the directory of guest images, from the environment that ctest sets.
std::string tandem_program();
std::string image(const std::string& name);
// The command line that most tests begin with: Debian's kernel and the test initramfs in 256 MiB, with `append` behind the
// console's name, and further options.
std::vector<std::string> debian(const std::string& append, const std::vector<std::string>& more = {});

}  // namespace tandem::tests

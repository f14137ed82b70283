// The host's end of connections that a guest makes to it through user-mode networking.
#pragma once

#include <netinet/in.h>

#include <functional>
#include <string>
#include <thread>

namespace tandem::tests {

// A TCP socket on the loopback address, or on all of the host's, that listens on a port of the host's choosing.
class Listener {
public:
    explicit Listener(bool any = false);
    ~Listener();
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

    static sockaddr_in address(unsigned port);
    [[nodiscard]] std::string port() const { return std::to_string(port_); }
    // Runs `talk` with the one connection that comes, in a thread of its own.
    void serve(std::function<void(int)> talk);
    // Serves one HTTP request with `data`, whatever is asked for. `data` outlives the connection.
    void serve_file(const std::string& data);
    void join();
    // Nobody comes any more; ends the thread.
    void stop();

private:
    int fd_;
    unsigned port_ = 0;
    std::thread thread_;
};

void send_all(int fd, const std::string& text);
// Reads until `enough` says so, or the other end closes.
std::string receive_until(int fd, const std::function<bool(const std::string&)>& enough);
// Bytes that are not compressible into one segment by accident, the same on every run.
std::string pattern(std::size_t size);

}  // namespace tandem::tests

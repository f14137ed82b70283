#include "tests/guest/host_server.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <vector>

namespace tandem::tests {

Listener::Listener(bool any) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in a = address(0);
    if (any) a.sin_addr.s_addr = htonl(INADDR_ANY);
    socklen_t length = sizeof a;
    REQUIRE(bind(fd_, reinterpret_cast<sockaddr*>(&a), sizeof a) == 0);
    REQUIRE(listen(fd_, 4) == 0);
    REQUIRE(getsockname(fd_, reinterpret_cast<sockaddr*>(&a), &length) == 0);
    port_ = ntohs(a.sin_port);
}

Listener::~Listener() {
    stop();
    close(fd_);
}

void Listener::stop() {
    shutdown(fd_, SHUT_RDWR);
    join();
}

sockaddr_in Listener::address(unsigned port) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons(static_cast<std::uint16_t>(port));
    return a;
}

void Listener::serve(std::function<void(int)> talk) {
    thread_ = std::thread([this, talk = std::move(talk)] {
        const int client = accept(fd_, nullptr, nullptr);
        if (client < 0) return;
        talk(client);
        close(client);
    });
}

void Listener::serve_file(const std::string& data) {
    serve([&data](int client) {
        receive_until(client, [](const std::string& t) { return t.find("\r\n\r\n") != std::string::npos; });
        send_all(client, "HTTP/1.0 200 OK\r\nContent-Length: " + std::to_string(data.size()) + "\r\n\r\n" + data);
    });
}

void Listener::join() {
    if (thread_.joinable()) thread_.join();
}

void send_all(int fd, const std::string& text) {
    for (std::size_t done = 0; done < text.size();) {
        const ssize_t n = send(fd, text.data() + done, text.size() - done, MSG_NOSIGNAL);
        if (n <= 0) return;
        done += static_cast<std::size_t>(n);
    }
}

std::string receive_until(int fd, const std::function<bool(const std::string&)>& enough) {
    std::string text;
    std::vector<char> buffer(65536);
    while (!enough(text)) {
        const ssize_t n = recv(fd, buffer.data(), buffer.size(), 0);
        if (n <= 0) break;
        text.append(buffer.data(), static_cast<std::size_t>(n));
    }
    return text;
}

std::string pattern(std::size_t size) {
    std::string text(size, '\0');
    std::uint32_t state = 1;
    for (char& c : text) {
        state = state * 1664525 + 1013904223;
        c = static_cast<char>(state >> 24);
    }
    return text;
}

}  // namespace tandem::tests

// The guest's end of virtio sockets. Usage: sockets echo PORT (serves connections one after another) | sockets send PORT
// BYTES (to the host: so many bytes, then prints what comes back) | sockets hold PORT (connects, then says when it is reset)
#include <sys/socket.h>

#include <linux/vm_sockets.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

[[noreturn]] void die(const char* what) {
    std::printf("sockets: %s: %s\n", what, std::strerror(errno));
    std::exit(1);
}

sockaddr_vm address(unsigned cid, unsigned port) {
    sockaddr_vm a{};
    a.svm_family = AF_VSOCK;
    a.svm_cid = cid;
    a.svm_port = port;
    return a;
}

int connect_to_host(unsigned port) {
    const int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
    const sockaddr_vm a = address(VMADDR_CID_HOST, port);
    if (fd < 0 || connect(fd, reinterpret_cast<const sockaddr*>(&a), sizeof a) != 0) die("connect");
    return fd;
}

void write_all(int fd, const char* from, std::size_t size) {
    for (std::size_t done = 0; done < size;) {
        const ssize_t n = write(fd, from + done, size - done);
        if (n <= 0) die("write");
        done += static_cast<std::size_t>(n);
    }
}

void echo(unsigned port) {
    const int server = socket(AF_VSOCK, SOCK_STREAM, 0);
    const sockaddr_vm a = address(VMADDR_CID_ANY, port);
    if (server < 0 || bind(server, reinterpret_cast<const sockaddr*>(&a), sizeof a) != 0 || listen(server, 8) != 0)
        die("listen");
    std::printf("sockets: listening\n");
    std::fflush(stdout);
    std::vector<char> buffer(65536);
    for (;;) {
        const int fd = accept(server, nullptr, nullptr);
        if (fd < 0) die("accept");
        for (ssize_t n = 0; (n = read(fd, buffer.data(), buffer.size())) > 0;)
            write_all(fd, buffer.data(), static_cast<std::size_t>(n));
        close(fd);
    }
}

void send(unsigned port, std::size_t size) {
    const int fd = connect_to_host(port);
    std::string data(size, '\0');
    std::uint32_t state = 1;
    for (char& c : data) {
        state = state * 1664525 + 1013904223;
        c = static_cast<char>(state >> 24);
    }
    write_all(fd, data.data(), data.size());
    shutdown(fd, SHUT_WR);
    char answer[256];
    ssize_t n = 0;
    while ((n = read(fd, answer, sizeof answer)) > 0) std::printf("sockets: answer %.*s\n", static_cast<int>(n), answer);
    close(fd);
}

void hold(unsigned port) {
    const int fd = connect_to_host(port);
    std::printf("sockets: held\n");
    std::fflush(stdout);
    char c = 0;
    const ssize_t n = read(fd, &c, 1);
    std::printf("sockets: ended with %s\n", n < 0 ? std::strerror(errno) : n == 0 ? "end" : "data");
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) return 2;
    const std::string what = argv[1];
    const auto port = static_cast<unsigned>(std::strtoul(argv[2], nullptr, 0));
    if (what == "echo") echo(port);
    if (what == "send" && argc == 4) send(port, std::strtoul(argv[3], nullptr, 0));
    if (what == "hold") hold(port);
    return 0;
}

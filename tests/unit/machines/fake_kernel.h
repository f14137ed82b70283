// Files for machines of tests: the smallest thing that passes for a Linux kernel, and a disk.
#pragma once

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "machines/machine.h"

namespace tandem::tests {

class Kernel {
public:
    Kernel() {
        char name[] = "/tmp/tandem-machine-XXXXXX";
        REQUIRE(::mkdtemp(name) != nullptr);
        dir_ = name;
        std::vector<u8> k(1024 + 4096, 0x90);
        const auto put = [&](std::size_t at, auto value) { std::memcpy(k.data() + at, &value, sizeof value); };
        put(0x1f1, u8{1});
        put(0x1f4, u32{4096 / 16});
        put(0x1fe, u16{0xaa55});
        put(0x200, u16{0x6aeb});
        put(0x202, u32{0x53726448});
        put(0x206, u16{0x20f});
        put(0x211, u8{1});
        put(0x22c, u32{0x7fffffff});
        put(0x236, u16{1});
        put(0x238, u32{255});
        put(0x258, u64{0x1000000});
        put(0x260, u32{0x100000});
        std::ofstream(dir_ / "kernel", std::ios::binary)
            .write(reinterpret_cast<const char*>(k.data()), static_cast<std::streamsize>(k.size()));
        std::ofstream(dir_ / "disk", std::ios::binary).write(reinterpret_cast<const char*>(k.data()), 4096);
    }
    ~Kernel() { std::filesystem::remove_all(dir_); }
    std::string path(const char* name) const { return (dir_ / name).string(); }
    machines::MachineConfig config() const {
        machines::MachineConfig c;
        c.ram_bytes = 64ull << 20;
        c.kernel = path("kernel");
        return c;
    }

private:
    std::filesystem::path dir_;
};

}  // namespace tandem::tests

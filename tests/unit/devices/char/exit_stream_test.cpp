#include <catch2/catch.hpp>

#include <vector>

#include "devices/char/exit_stream.h"

using namespace tandem;
using namespace tandem::devices;

TEST_CASE("exit stream: a number and q end the program, other packets do nothing") {
    std::vector<u32> seen;
    ExitStream stream([&seen](u32 status) { seen.push_back(status); });
    const auto write = [&stream](std::string_view text) {
        stream.write({reinterpret_cast<const u8*>(text.data()), text.size()});
    };
    write("q");
    write("1");
    write("2q");
    write("7x\n3q");
    CHECK(seen == std::vector<u32>{1, 25, 7});
    ExitStream nobody({});
    nobody.write(std::vector<u8>{'1', 'q'});
}

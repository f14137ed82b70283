// Debian's installer on the serial console.
#include <catch2/catch.hpp>

#include "tests/guest/session.h"

using namespace tandem::tests;
using namespace std::chrono_literals;

TEST_CASE("Debian's installer reaches its first screen and takes an answer") {
    // With less memory the installer asks first whether it may save some.
    Session s({tandem_program(), "-nographic", "-m", "1024", "-kernel", image("installer/linux"), "-initrd",
               image("installer/initrd.gz"), "-append", "console=ttyS0 quiet"});
    REQUIRE(s.wait_for("Select a language", 300s));
    REQUIRE(s.wait_for("English"));
    s.type("\r");
    REQUIRE(s.wait_for("Select your location", 120s));
    s.type("\x01x");
    CHECK(s.wait_exit() == 0);
}

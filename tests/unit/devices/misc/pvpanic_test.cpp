#include <catch2/catch.hpp>

#include "devices/misc/pvpanic.h"

using namespace tandem;
using namespace tandem::devices;

TEST_CASE("pvpanic: says what it takes and passes it on once") {
    unsigned panics = 0, loads = 0;
    PanicPort port([&](bool loaded) { ++(loaded ? loads : panics); });
    CHECK(port.io_read(0, 1) == 3);
    CHECK(port.io_read(1, 1) == 0);
    port.io_write(0, 1, 1);
    CHECK(panics == 1);
    port.io_write(0, 2, 1);
    CHECK(loads == 1);
    port.io_write(0, 3, 1);
    CHECK(panics == 2);
    port.io_write(0, 0xfc, 1);
    port.io_write(1, 1, 1);
    CHECK(panics == 2);
    CHECK(loads == 1);
}

TEST_CASE("pvpanic: as a PCI function it keeps its place over save and restore") {
    PanicFunction a({}), b({});
    const DeviceState saved = a.save();
    REQUIRE(b.restore(saved).ok());
    CHECK(b.save().fields == saved.fields);
}

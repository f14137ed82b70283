// Random accesses to a device's registers, then a save and restore into a second one.
#pragma once

#include <catch2/catch.hpp>
#include <functional>
#include <random>
#include <vector>

#include "devices/fabric/address_space.h"
#include "devices/fabric/device.h"
#include "devices/fabric/fake_clock.h"

namespace tandem::devices::test {

struct FuzzTarget {
    IoHandler* handler;
    u64 size;
    unsigned max_access = 4;
};

// `step`: anything else to shake between accesses (lines, host input), given a random number.
inline void fuzz_accesses(const std::vector<FuzzTarget>& targets, FakeClock& clock, u32 seed, unsigned rounds,
                          const std::function<void(u32)>& step = {}) {
    std::mt19937 engine(seed);
    const auto random = [&] { return static_cast<u32>(engine()); };
    for (unsigned i = 0; i < rounds; ++i) {
        const FuzzTarget& t = targets[random() % targets.size()];
        unsigned size = 1u << (random() % 4);
        if (size > t.max_access) size = 1;
        u64 offset = random() % t.size;
        if (random() % 4 != 0) offset &= ~u64{size - 1};
        if (offset + size > t.size) offset = t.size - size <= t.size ? t.size - size : 0;
        const u64 value = random() % 3 == 0 ? random() % 256 : u64{random()} << 32 | random();
        if (random() % 2 != 0) {
            t.handler->io_write(offset, value, size);
        } else {
            (void)t.handler->io_read(offset, size);
        }
        if (step) step(random());
        if (random() % 8 == 0) clock.advance(random() % 3'000'000);
    }
}

// `from` in whatever state it is; `to` a fresh device on the same clock.
inline void check_round_trip(const Device& from, Device& to) {
    const DeviceState saved = from.save();
    const auto restored = to.restore(saved);
    INFO((restored.ok() ? "" : restored.error().message));
    REQUIRE(restored.ok());
    const DeviceState again = to.save();
    CHECK(again.version == saved.version);
    CHECK(again.fields == saved.fields);
}

}  // namespace tandem::devices::test

// The terminal that the other tests of this folder type at.
#include "tests/guest/session.h"

#include <catch2/catch.hpp>

using namespace tandem::tests;
using namespace std::chrono_literals;

// A guest's shell asks for the cursor with ESC [ 6 n, a byte at a time, and the monitor's prompt may come after any of them.
TEST_CASE("what is written in one piece is found in the middle of another writer's control sequence") {
    for (const std::string sequence : {"\\033%s[6n", "\\033[%s6n", "\\033[6%sn"}) {
        CAPTURE(sequence);
        Session s({"printf", "before " + sequence + " after\\n", "(tandem) "});
        CHECK(s.wait_for("(tandem) "));
        CHECK(s.wait_for("after"));
        CHECK(s.wait_exit() == 0);
    }
}

TEST_CASE("control sequences in the middle of a word do not hide it, and what was found is not found again") {
    Session s({"printf", "se\\033[2Kcond\\r\\033[1;1H line se\\033[Kcond, \\033[2Jend\\n"});
    CHECK(s.wait_for("second"));
    CHECK(s.wait_for("second"));
    CHECK_FALSE(s.wait_for("second", 1s));
    CHECK(s.wait_for("end"));
    CHECK(s.wait_exit() == 0);
}

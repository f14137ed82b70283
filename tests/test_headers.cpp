// Owns the precompiled headers of the test programs.
#include <catch2/catch.hpp>

// docs/differences.md lists exactly what comparisons with hardware leave out.
#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>

#include "accel/diff/compare.h"
#include "accel/diff/vendor.h"
#include "accel/lockstep/latitude.h"

namespace tandem::accel::diff {

TEST_CASE("The catalogue of differences is what comparisons leave out", "[diff][T2]") {
    std::ifstream in(TANDEM_DOCUMENTS "/differences.md");
    REQUIRE(in.good());
    std::vector<std::string> listed;
    bool hardware = false;
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("##")) hardware = line.starts_with("## Against hardware");
        const bool title = line.starts_with("| instructions") || line.starts_with("|---") || line.starts_with("| SHL");
        if (hardware && !title && (line.starts_with("| ") || line.starts_with("- "))) listed.push_back(line);
    }
    std::vector<std::string> wanted = catalogue();
    std::sort(listed.begin(), listed.end());
    std::sort(wanted.begin(), wanted.end());
    CHECK(listed == wanted);
}

TEST_CASE("The catalogue of differences is what comparisons with an AMD host leave out", "[diff]") {
    std::ifstream in(TANDEM_DOCUMENTS "/differences.md");
    REQUIRE(in.good());
    std::vector<std::string> listed;
    bool mine = false;
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("#")) mine = line.starts_with("### On an AMD host");
        if (mine && line.starts_with("- ")) listed.push_back(line);
    }
    CHECK(listed == vendor_catalogue());
}

TEST_CASE("The catalogue of differences is what lockstep with KVM leaves out", "[lockstep][T2]") {
    std::ifstream in(TANDEM_DOCUMENTS "/differences.md");
    REQUIRE(in.good());
    std::vector<std::string> listed;
    bool mine = false;
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("#")) mine = line.starts_with("### Lockstep with KVM");
        if (line.starts_with("Beyond")) mine = false;
        if (mine && line.starts_with("- ")) listed.push_back(line);
    }
    CHECK(listed == lockstep::catalogue());
}

}  // namespace tandem::accel::diff

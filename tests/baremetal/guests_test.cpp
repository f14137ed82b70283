// Every tests/baremetal/*.asm and arm64/*.s on every tier. A guest prints "ok NAME" or "FAIL NAME: ..." per check (A64: one
// "ok" for all) and leaves with status 0.
#include <catch2/catch.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <sstream>
#include <string_view>

#include "accel/kvm/kvm_accelerator.h"
#include "tests/baremetal/arm64_board.h"
#include "tests/baremetal/board.h"
#include "tests/log_capture.h"

using namespace tandem;
using namespace tandem::tests;

namespace {

struct TierCase {
    const char* name;
    jit::Options options;
};

std::vector<TierCase> tiers() {
    std::vector<TierCase> cases;
    const auto add = [&](const char* name, jit::Tier tier, unsigned block, u32 baseline, u32 llvm) {
        jit::Options o;
        o.tier = tier;
        o.max_block_insns = block;
        o.baseline_threshold = baseline;
        o.llvm_threshold = llvm;
        o.verify_ir = true;
        cases.push_back({name, o});
    };
    add("interp", jit::Tier::Interp, 64, 0, 0);
    add("interp, one-instruction blocks", jit::Tier::Interp, 1, 0, 0);
    add("baseline", jit::Tier::Baseline, 64, 0, 0);
    add("baseline, one-instruction blocks", jit::Tier::Baseline, 1, 0, 0);
    add("llvm", jit::Tier::Llvm, 64, 0, 1);
    add("auto", jit::Tier::Auto, 64, 2, 16);
    return cases;
}

// Where the build put them, or where the environment says they are.
std::vector<std::string> guests(const std::string& variable, const std::string& built) {
    const char* elsewhere = std::getenv(variable.c_str());
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(elsewhere != nullptr ? elsewhere : built)) {
        if (entry.path().extension() == ".bin") found.push_back(entry.path().string());
    }
    std::sort(found.begin(), found.end());
    REQUIRE(!found.empty());
    return found;
}

std::vector<std::string> guests() { return guests("TANDEM_BAREMETAL_DIR", TANDEM_BAREMETAL_DIR); }

Result<std::unique_ptr<accel::Accelerator>> on_kvm(const cpu::x86::CpuModel& model) {
    TANDEM_TRY_ASSIGN(const cpu::x86::CpuModel narrowed, accel::narrow_to_kvm(model));
    return accel::create_kvm_accelerator(narrowed);
}

// What the processor that KVM runs on is known for: lines "GUEST | beginning of a check's name | reason" of the file that
// the environment names.
struct KnownFault {
    std::string guest, row, reason;
};
std::vector<KnownFault> known_faults() {
    std::vector<KnownFault> known;
    const char* file = std::getenv("TANDEM_BAREMETAL_KNOWN");
    if (file == nullptr) return known;
    std::ifstream lines(file);
    REQUIRE(lines.good());
    for (std::string line; std::getline(lines, line);) {
        constexpr std::string_view kBetween = " | ";
        const auto row = line.find(kBetween), reason = line.rfind(kBetween);
        if (row == reason) continue;  // of another kind
        const auto row_start = row + kBetween.size();
        known.push_back(
            {line.substr(0, row), line.substr(row_start, reason - row_start), line.substr(reason + kBetween.size())});
    }
    return known;
}

}  // namespace

TEST_CASE("bare-metal guests pass on every tier", "[X1][X2][X3][R5][R6]") {
    for (const auto& guest : guests()) {
        for (const auto& tier : tiers()) {
            const GuestRun run = run_guest(guest, tier.options);
            INFO(std::filesystem::path(guest).stem().string() << " on " << tier.name << ": " << run.ending << "\n"
                                                              << run.output);
            CHECK(run.status == 0);
            CHECK(run.output.find("ok ") != std::string::npos);
            CHECK(run.output.find("FAIL") == std::string::npos);
            CHECK(run.output.find("skipped") == std::string::npos);  // the translator has it all
            if (tier.options.tier == jit::Tier::Llvm) CHECK(run.regions_compiled > 0);
        }
    }
}

TEST_CASE("A64 bare-metal guests pass on every tier", "[I2][I3]") {
    if (std::string(TANDEM_BAREMETAL_ARM64_DIR).empty()) {
        std::printf("skipped: A64 bare-metal guests: llvm-mc was missing when this was built\n");
        return;
    }
    const LogCapture log(0);  // errors are always logged: IR that does not verify
    for (const auto& guest : guests("TANDEM_BAREMETAL_ARM64_DIR", TANDEM_BAREMETAL_ARM64_DIR)) {
        for (const auto& tier : tiers()) {
            const GuestRun run = run_arm64_guest(guest, tier.options);
            INFO(std::filesystem::path(guest).stem().string() << " on " << tier.name << ": " << run.ending << "\n"
                                                              << run.output);
            CHECK(run.status == 0);
            CHECK(run.output.find("FAIL") == std::string::npos);
        }
    }
    const auto lines = log.lines();
    CAPTURE(lines);
    CHECK(lines.empty());
}

TEST_CASE("an A64 processor in WFE leaves the host's processor to others") {
    const std::filesystem::path guest = std::filesystem::path(TANDEM_BAREMETAL_ARM64_DIR) / "waiting.bin";
    if (!std::filesystem::exists(guest)) {
        std::printf("skipped: WFE: llvm-mc was missing when this was built\n");
        return;
    }
    const std::clock_t before = std::clock();
    const GuestRun run = run_arm64_guest(guest.string(), tiers().front().options);
    INFO(run.ending << "\n" << run.output);
    CHECK(run.status == 0);
    CHECK(std::clock() - before < CLOCKS_PER_SEC / 4);  // of processor time, while half a second goes by
}

TEST_CASE("a guest's hypervisor leaves KVM's lines of nested virtualization", "[T3]") {
    const LogCapture log(log::Exits);
    for (const char* guest : {"svm", "svm_events"}) {
        REQUIRE(run_guest(std::string(TANDEM_BAREMETAL_DIR) + "/" + guest + ".bin", tiers().front().options).status == 0);
    }
    const auto lines = log.lines();
    const auto has = [&](const std::string& pattern) {
        const std::regex form(pattern);
        return std::ranges::any_of(lines, [&](const std::string& line) { return std::regex_match(line, form); });
    };
    const std::string address = "0x[0-9a-f]{16}", word = "0x[0-9a-f]{8}";
    const std::string event = " ext_int: " + word + " ext_int_err: " + word;
    CHECK(has("kvm_nested_vmrun: rip: " + address + " vmcb: 0x0000000000800000 nrip: " + address + " int_ctl: " + word +
              " event_inj: " + word + " npt: off"));
    CHECK(has("kvm_nested_vmrun: .* event_inj: 0x80000041 npt: on"));
    CHECK(
        has("kvm_nested_vmexit: rip: " + address + " reason: cpuid ext_inf1: " + address + " ext_inf2: " + address + event));
    CHECK(has("kvm_nested_vmexit_inject: reason: io ext_inf1: 0x0000000012340221 ext_inf2: " + address + event));
    CHECK(has("kvm_nested_vmexit: .* reason: npf ext_inf1: 0x0000000100000006 ext_inf2: 0x0000000000a00123" + event));
    CHECK(has("kvm_nested_vmexit: .* reason: npf .* ext_int: 0x80000041 ext_int_err: 0x00000000"));
    CHECK(has("kvm_nested_vmexit: .* reason: read_cr4 .*"));
    CHECK(has("kvm_nested_vmexit: .* reason: excp13 .*"));
    CHECK(has("kvm_nested_intr_vmexit: rip: " + address));
    CHECK(has("kvm_invlpga: rip: " + address + " asid: 5 address: 0x0000000000600000"));
    CHECK(has("kvm_skinit: rip: " + address + " slb: 0x00000000"));
}

// Hidden: KVM backed by an implementation without hardware virtualization lacks much of what these guests do.
TEST_CASE("bare-metal guests on KVM", "[.][kvm]") {
    const std::vector<KnownFault> all = known_faults();
    for (const auto& guest : guests()) {
        const std::string name = std::filesystem::path(guest).stem().string();
        std::vector<KnownFault> known;
        std::copy_if(all.begin(), all.end(), std::back_inserter(known), [&](const auto& k) { return k.guest == name; });
        std::vector<std::string> left_out;
        for (const KnownFault& k : known) left_out.push_back(k.row);
        const GuestRun run = run_guest(guest, on_kvm, left_out, 60);
        std::string unknown;
        std::istringstream lines(run.output);
        for (std::string line; std::getline(lines, line);) {
            constexpr std::string_view kFail = "FAIL ", kLeftOut = "left out? ", kSkipped = "ok skipped";
            if (line.starts_with(kSkipped)) std::printf("skipped: %s%s\n", name.c_str(), line.c_str() + kSkipped.size());
            const bool left = line.starts_with(kLeftOut);
            if (!left && !line.starts_with(kFail)) continue;
            const std::string row = line.substr(left ? kLeftOut.size() : kFail.size());
            const auto found =
                std::find_if(known.begin(), known.end(), [&](const auto& k) { return row.starts_with(k.row); });
            if (found != known.end()) {
                std::printf("skipped: %s: %s (%s)\n", name.c_str(), row.c_str(), found->reason.c_str());
            } else if (!left) {
                unknown += line + "\n";
            }
        }
        INFO(name << " on KVM: " << run.ending << "\n" << run.output);
        CHECK(run.status == 0);
        CHECK(run.output.find("ok ") != std::string::npos);
        CHECK(unknown.empty());
    }
}

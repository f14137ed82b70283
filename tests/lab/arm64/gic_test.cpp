// Interrupt controllers under KVM: the machine's model and KVM's own, with the generic timer (contracts I1, I5, I6).
#include <catch2/catch.hpp>

#include "tests/lab/arm64/board.h"

namespace tandem::tests {
namespace {

TANDEM_GUEST(gicv2)
TANDEM_GUEST(gicv3)
TANDEM_GUEST(spin)

using Part = accel::KernelGicRegister::Part;
constexpr unsigned kInput = 40, kAsks = 1, kHandled = 0x1000;
// An SGI, the input that was asked for, three of the timer.
const std::vector<u64> kReports{kHandled + 5, kAsks, kHandled + kInput, kHandled + 27, kHandled + 27, kHandled + 27};

accel::KernelGicConfig config(unsigned version, unsigned cpus = 1) { return {version, cpus, 32, kGicd, kGicc, kGicr}; }

// False, with the reason printed: this host's KVM has not got it.
bool has_gic(Board& board, unsigned version) {
    const auto made = board.engine().create_gic(config(version));
    if (made) return true;
    INFO(made.error().message);
    CHECK(made.error().code == Errc::Unsupported);
    std::printf("skipped: %s\n", made.error().message.c_str());
    return false;
}

void serves_kernel_gic(unsigned version, std::span<const u8> guest) {
    Board board(guest);
    if (!has_gic(board, version)) return;
    CHECK(board.engine().capabilities().in_kernel_irqchip);
    board.start();
    board.on_report = [&](u64 value) {
        if (value == kAsks) CHECK(board.engine().set_gic_input(0, kInput, true).ok());
        if (value == kHandled + kInput) CHECK(board.engine().set_gic_input(0, kInput, false).ok());
    };
    const accel::Exit exit = board.run();
    CHECK(std::holds_alternative<accel::SystemEventExit>(exit));
    CHECK(board.reports() == kReports);
    // The guest's settings can be read and put back.
    const accel::KernelGicRegister enables{Part::Distributor, 0, 0x104};
    const auto enabled = board.engine().gic_register(enables);
    REQUIRE(enabled.ok());
    CHECK(*enabled == 0x100);
    CHECK(board.engine().set_gic_register(enables, 0x300).ok());
    CHECK(board.engine().gic_register(enables).value() == 0x300);
    CHECK(board.engine().gic_register({Part::Distributor, 7, 0x104}).error().code == Errc::NotFound);
    CHECK(board.engine().gic_register({Part::Distributor, 0, 0x2}).error().code == Errc::NotFound);
    CHECK(board.engine().set_gic_input(0, 3, true).error().code == Errc::NotFound);
}

}  // namespace

TEST_CASE("the machine's GICv2 with KVM's timer", "[I2][I6]") {
    Board board(gicv2_guest());
    board.add_gicv2_model();
    board.start();
    const devices::IrqLine line = board.model()->spi(kInput - 32);
    board.on_report = [&](u64 value) {
        if (value == kAsks) (void)line.set(true);
        if (value == kHandled + kInput) (void)line.set(false);
    };
    const accel::Exit exit = board.run();
    CHECK(std::holds_alternative<accel::SystemEventExit>(exit));
    CHECK(board.reports() == kReports);
}

TEST_CASE("KVM's GICv2", "[I1][I6]") { serves_kernel_gic(2, gicv2_guest()); }

TEST_CASE("KVM's GICv3", "[I1][I6]") {
    serves_kernel_gic(3, gicv3_guest());
    Board board(spin_guest(), 2);
    if (!board.engine().create_gic(config(3, 2))) return;
    board.start();
    CHECK(board.engine().gic_register({Part::System, 1, 0xc230}).ok());  // ICC_PMR_EL1
    const auto mine = board.engine().gic_register({Part::Redistributor, 1, 0xc});
    REQUIRE(mine.ok());
    CHECK(*mine == 1);  // GICR_TYPER's affinity
    CHECK(board.engine().gic_register({Part::CpuInterface, 0, 0}).error().code == Errc::NotFound);
}

TEST_CASE("controllers are made once, before the processors; without one there is an error", "[I5]") {
    Board board(spin_guest());
    CHECK(board.engine().set_gic_input(0, kInput, true).error().code == Errc::NotFound);
    CHECK(board.engine().gic_register({}).error().code == Errc::NotFound);
    CHECK(board.engine().create_gic(config(4)).error().code == Errc::InvalidArgument);
    auto odd = config(3);
    odd.spis = 33;
    CHECK(board.engine().create_gic(odd).error().code == Errc::InvalidArgument);
    for (const unsigned version : {2u, 3u}) {
        if (!board.engine().create_gic(config(version))) continue;
        CHECK(board.engine().create_gic(config(version)).error().code == Errc::Busy);
        break;
    }
    Board late(spin_guest());
    late.start();
    CHECK(late.engine().create_gic(config(3)).error().code == Errc::Busy);
}

}  // namespace tandem::tests

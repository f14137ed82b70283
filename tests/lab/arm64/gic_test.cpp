// Interrupt controllers under KVM: the machine's model and KVM's own, with the generic timer (contracts I1, I5, I6).
#include <catch2/catch.hpp>

#include "devices/irq/gicv3.h"
#include "tests/lab/arm64/board.h"

namespace tandem::tests {
namespace {

TANDEM_GUEST(gicv2)
TANDEM_GUEST(gicv3)
TANDEM_GUEST(spin)

using Part = devices::HostGicRegister::Part;
constexpr unsigned kInput = 40, kAsks = 1, kHandled = 0x1000;
// An SGI, the input that was asked for, three of the timer.
const std::vector<u64> kReports{kHandled + 5, kAsks, kHandled + kInput, kHandled + 27, kHandled + 27, kHandled + 27};

devices::HostGicConfig config(unsigned version, unsigned cpus = 1) { return {version, cpus, 32, kGicd, kGicc, kGicr}; }

// Null, with the reason printed, which makes the whole test one that was skipped: this host's KVM has not got it.
devices::HostGic* create_gic(Board& board, unsigned version, unsigned cpus = 1) {
    const auto made = board.create_gic(config(version, cpus));
    if (made && *made != nullptr) return *made;
    if (!made) CHECK(made.error().code == Errc::Unsupported);
    std::printf("skipped: this host's KVM has no GICv%u\n", version);
    return nullptr;
}

void serves_kernel_gic(unsigned version, std::span<const u8> guest) {
    Board board(guest);
    devices::HostGic* gic = create_gic(board, version);
    if (gic == nullptr) return;
    CHECK(board.engine().capabilities().in_kernel_irqchip);
    board.start();
    board.on_report = [&](u64 value) {
        if (value == kAsks) CHECK(gic->set_input(0, kInput, true).ok());
        if (value == kHandled + kInput) CHECK(gic->set_input(0, kInput, false).ok());
    };
    const accel::Exit exit = board.run();
    CHECK(std::holds_alternative<accel::SystemEventExit>(exit));
    CHECK(board.reports() == kReports);
    // The guest's settings can be read and put back.
    const devices::HostGicRegister enables{Part::Distributor, 0, 0x104};
    const auto enabled = gic->read(enables);
    REQUIRE(enabled.ok());
    CHECK(*enabled == 0x100);
    CHECK(gic->write(enables, 0x300).ok());
    CHECK(gic->read(enables).value() == 0x300);
    CHECK(gic->read({Part::Distributor, 7, 0x104}).error().code == Errc::NotFound);
    CHECK(gic->read({Part::Distributor, 0, 0x2}).error().code == Errc::NotFound);
    CHECK(gic->set_input(0, 3, true).error().code == Errc::NotFound);
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
    devices::HostGic* gic = create_gic(board, 3, 2);
    if (gic == nullptr) return;
    board.start();
    CHECK(gic->read({Part::System, 1, 0xc230}).ok());  // ICC_PMR_EL1
    const auto mine = gic->read({Part::Redistributor, 1, 0xc});
    REQUIRE(mine.ok());
    CHECK(*mine == 1);  // GICR_TYPER's affinity
    CHECK(gic->read({Part::CpuInterface, 0, 0}).error().code == Errc::NotFound);
}

TEST_CASE("controllers are made once, before the processors", "[I5]") {
    Board board(spin_guest());
    CHECK(board.create_gic(config(4)).error().code == Errc::InvalidArgument);
    auto odd = config(3);
    odd.spis = 33;
    CHECK(board.create_gic(odd).error().code == Errc::InvalidArgument);
    for (const unsigned version : {2u, 3u}) {
        const auto made = board.create_gic(config(version));
        if (!made || *made == nullptr) continue;
        CHECK(board.create_gic(config(version)).error().code == Errc::Busy);
        break;
    }
    Board late(spin_guest());
    late.start();
    CHECK(late.create_gic(config(3)).error().code == Errc::Busy);
}

namespace {

struct Setting {
    unsigned cpu;
    u64 address;
    u32 value;
};
// Groups of interrupts 40 to 43 and of an SGI, priorities, edges, what is enabled, pending and active.
constexpr u64 kLocal3 = kGicr + 0x10000, kSecond3 = kGicr + 0x30000;
constexpr Setting kShared[] = {{0, kGicd + 0x084, 0x200}, {0, kGicd + 0x428, 0x98a8b8c8}, {0, kGicd + 0xc08, 0x00020000},
                               {0, kGicd + 0x104, 0xf00}, {0, kGicd + 0x204, 0x500},      {0, kGicd + 0x304, 0x800},
                               {0, kGicd + 0x000, 1}};
constexpr Setting kVersion2[] = {{0, kGicd + 0x828, 0x01020301},
                                 {1, kGicd + 0x400, 0x80908070},
                                 {1, kGicd + 0x100, 1u << 27},
                                 {0, kGicd + 0xf00, 0x00020003},
                                 {0, kGicc + 0x0, 1},
                                 {0, kGicc + 0x4, 0xf0},
                                 {0, kGicc + 0x8, 3},
                                 {1, kGicc + 0x4, 0x80},
                                 {1, kGicc + 0xd0, 0x10}};
constexpr Setting kVersion3[] = {{0, kGicd + 0x6000 + 8 * 41, 1},   {0, kLocal3 + 0x80, 0xffffffff},
                                 {1, kSecond3 + 0x400, 0x80908070}, {1, kSecond3 + 0x100, 1u << 27 | 8},
                                 {1, kSecond3 + 0x200, 8},          {0, kGicd, 2}};

// The model's state is the same after a stay in KVM's controller, while the model has forgotten it.
template <class Model>
void moves_to_kernel_and_back(Model& model, devices::HostGic& gic, std::span<const Setting> settings) {
    const auto set = [&](const Setting& s) { CHECK(model.mmio_write(s.cpu, s.address, s.value, 4)); };
    for (const Setting& s : kShared) set(s);
    for (const Setting& s : settings) set(s);
    (void)model.spi(kInput + 3 - 32).set(true);
    const auto before = model.save().fields;
    const auto given = model.give(gic);
    INFO((given ? "" : given.error().message));
    REQUIRE(given.ok());
    model.reset();
    CHECK(model.save().fields != before);
    const auto taken = model.take();
    INFO((taken ? "" : taken.error().message));
    REQUIRE(taken.ok());
    CHECK(nlohmann::json::diff(before, model.save().fields).dump() == "[]");
}

}  // namespace

TEST_CASE("the state of the model of GICv2 moves to KVM's controller and back", "[I6]") {
    Board board(spin_guest(), 2);
    if (devices::HostGic* gic = create_gic(board, 2, 2)) {
        board.start();
        devices::Gicv2 model({2, 32, kGicd, kGicc, false, 0, 0, 25});
        moves_to_kernel_and_back(model, *gic, kVersion2);
    }
}

TEST_CASE("the state of the model of GICv3 moves to KVM's controller and back", "[I6]") {
    Board board(spin_guest(), 2);
    if (devices::HostGic* gic = create_gic(board, 3, 2)) {
        board.start();
        devices::GuestMemory none;
        devices::Gicv3 model({{0, 1}, 32, kGicd, kGicr, false, false, 25}, none);
        moves_to_kernel_and_back(model, *gic, kVersion3);
    }
}

}  // namespace tandem::tests

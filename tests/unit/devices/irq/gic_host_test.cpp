// A GIC model that gives its state to a controller elsewhere and takes it back; here that is another model.
#include <catch2/catch.hpp>
#include <random>

#include "devices/fabric/system_register.h"
#include "devices/irq/gicv2.h"
#include "devices/irq/gicv3.h"

namespace tandem::devices::test {
namespace {

constexpr u64 kD = 0x08000000, kC = 0x08010000, kR = 0x080a0000, kStride = 0x20000;
constexpr unsigned kCpus = 2, kSpis = 64;

class OtherGic final : public HostGic {
public:
    OtherGic(Gic& gic, unsigned version) : gic_(gic), config_{version, kCpus, kSpis, kD, kC, kR} {}
    [[nodiscard]] const HostGicConfig& config() const override { return config_; }
    Result<void> set_input(unsigned cpu, unsigned number, bool level) override {
        (void)(number < Gic::kFirstSpi ? gic_.ppi(cpu, number) : gic_.spi(number - Gic::kFirstSpi)).set(level);
        return {};
    }
    Result<u64> read(const HostGicRegister& r) override {
        u64 value = 0;
        if (fail) return Error{Errc::Io, "it broke"};
        if (r.part == HostGicRegister::Part::System) {
            GicRegisterAccess a{static_cast<u16>(r.at), 1};
            CHECK(gic_.system_register(r.cpu, a) == GicRegisterAnswer::Done);
            return a.data;
        }
        CHECK(gic_.mmio_read(r.cpu, address(r), 4, value));
        return is_mask(r) ? value >> 3 : value;
    }
    Result<void> write(const HostGicRegister& r, u64 value) override {
        if (r.part == HostGicRegister::Part::System) {
            GicRegisterAccess a{static_cast<u16>(r.at), 1, true};
            a.data = value;
            CHECK(gic_.system_register(r.cpu, a) == GicRegisterAnswer::Done);
            return {};
        }
        CHECK(gic_.mmio_write(r.cpu, address(r), is_mask(r) ? value << 3 : value, 4));
        return {};
    }
    bool fail = false;

private:
    static bool is_mask(const HostGicRegister& r) { return r.part == HostGicRegister::Part::CpuInterface && r.at == 4; }
    static u64 address(const HostGicRegister& r) {
        switch (r.part) {
            case HostGicRegister::Part::Distributor: return kD + r.at;
            case HostGicRegister::Part::CpuInterface: return kC + r.at;
            default: return kR + kStride * r.cpu + r.at;
        }
    }
    Gic& gic_;
    const HostGicConfig config_;
};

class NoSignals final : public CpuSignals {
public:
    void set_line(CpuLine, bool level) override { ups += level ? 1 : 0; }
    unsigned ups = 0;
};

// Whatever software may have written.
void scramble(Gic& gic, std::mt19937& random, std::span<const u64> bases) {
    constexpr std::pair<u32, u32> kRegisters[] = {{0x080, 12}, {0x100, 12}, {0x200, 12},
                                                  {0x300, 12}, {0x400, 96}, {0xc00, 24}};
    for (unsigned cpu = 0; cpu < kCpus; ++cpu) {
        for (const u64 base : bases) {
            for (const auto& [first, bytes] : kRegisters) {
                for (u32 at = first; at < first + bytes; at += 4) CHECK(gic.mmio_write(cpu, base + at, random(), 4));
            }
        }
    }
}

nlohmann::json difference(const nlohmann::json& a, const nlohmann::json& b) { return nlohmann::json::diff(a, b); }

template <class Model>
void moves_and_returns(Model& model, Model& other, unsigned version) {
    OtherGic host(other, version);
    NoSignals signals;
    model.connect(0, signals);
    // Level-sensitive inputs that software has not made pending: what is pending then tells of one cause.
    CHECK(model.mmio_write(0, kD + 0xc08, 0, 4));
    CHECK(model.mmio_write(0, kD + 0x284, 1u << 7 | 1u << 9, 4));
    (void)model.spi(7).set(true);
    const auto before = model.save().fields;
    REQUIRE(model.give(host).ok());
    CHECK(difference(before, other.save().fields).dump() == "[]");
    // Inputs go there, and the model keeps their level.
    signals.ups = 0;
    (void)model.spi(9).set(true);
    (void)model.spi(7).set(false);
    CHECK(signals.ups == 0);
    const auto meanwhile = other.save().fields;
    model.reset();
    REQUIRE(model.take().ok());
    CHECK(difference(meanwhile, model.save().fields).dump() == "[]");
    REQUIRE(model.take().ok());  // it has it already
    REQUIRE(model.give(host).ok());
    host.fail = true;
    CHECK(model.take().error().code == Errc::Io);
}

}  // namespace

// The timers' private interrupts, 27 and 30, are pending by the timers beside the controller alone; a GICv2 elsewhere has
// one register for the active priorities of both groups.
TEST_CASE("a GICv2's state moves to another controller and back", "[gic][I6]") {
    std::mt19937 random(1);
    for (int round = 0; round < 20; ++round) {
        const Gicv2Config config{kCpus, kSpis, kD, kC, false, 0, 0, 25};
        Gicv2 model(config), other(config);
        scramble(model, random, std::array{kD});
        for (unsigned cpu = 0; cpu < kCpus; ++cpu) {
            for (u32 at = 0x820; at < 0x860; at += 4) CHECK(model.mmio_write(cpu, kD + at, random(), 4));
            for (u32 at = 0xf20; at < 0xf30; at += 4) CHECK(model.mmio_write(cpu, kD + at, random(), 4));
            for (const u32 at : {0x0u, 0x4u, 0x8u, 0x1cu, 0xd0u}) CHECK(model.mmio_write(cpu, kC + at, random(), 4));
            CHECK(model.mmio_write(cpu, kD + 0x280, 1u << 27 | 1u << 30, 4));
        }
        CHECK(model.mmio_write(0, kD, random(), 4));
        moves_and_returns(model, other, 2);
    }
}

TEST_CASE("a GICv3's state moves to another controller and back", "[gic][I6]") {
    std::mt19937 random(2);
    GuestMemory none;
    for (int round = 0; round < 20; ++round) {
        const Gicv3Config config{{0, 1}, kSpis, kD, kR, false, false, 25};
        Gicv3 model(config, none), other(config, none);
        scramble(model, random, std::array{kD, kR + 0x10000, kR + kStride + 0x10000});
        for (unsigned cpu = 0; cpu < kCpus; ++cpu) {
            CHECK(model.mmio_write(cpu, kR + kStride * cpu + 0x10280, 1u << 27 | 1u << 30, 4));
            for (const auto& [crn, crm, op2] : {std::array{4u, 6u, 0u},
                                                {12u, 12u, 4u},
                                                {12u, 8u, 3u},
                                                {12u, 12u, 3u},
                                                {12u, 8u, 4u},
                                                {12u, 9u, 0u},
                                                {12u, 12u, 6u},
                                                {12u, 12u, 7u}}) {
                GicRegisterAccess a{system_register(3, 0, crn, crm, op2), 1, true};
                a.data = random();
                if (crm == 12 && op2 == 4) a.data &= 2;  // with CBPR a binary point cannot be read
                CHECK(model.system_register(cpu, a) == GicRegisterAnswer::Done);
            }
        }
        for (unsigned i = 32; i < 32 + kSpis; ++i) CHECK(model.mmio_write(0, kD + 0x6000 + 8 * i, random() & 1, 4));
        CHECK(model.mmio_write(0, kD, random(), 4));
        moves_and_returns(model, other, 3);
    }
}

}  // namespace tandem::devices::test

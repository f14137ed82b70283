// KVM's paravirtual end of interrupt (Linux Documentation/virt/kvm/x86/msr.rst, MSR_KVM_EOI_EN): the guest ends an interrupt
// by clearing a bit in its memory, which it was offered when the interrupt was acknowledged.
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <thread>

#include "tests/unit/devices/irq/apic_fixture.h"

using namespace tandem;
using namespace tandem::devices;
using namespace tandem::devices::test;

namespace {

constexpr u32 kMsr = 0x4b564d04;
constexpr u64 kPlace = 0x1004;

struct EoiFixture : ApicFixture {
    EoiFixture() {
        REQUIRE(memory.add("ram", 0, 0x10000).ok());
        apic().connect_eoi(memory);
        enable_all();
        REQUIRE(apic().msr_write(kMsr, kPlace | 1));
    }
    u32 word() {
        u32 value = 0;
        REQUIRE(memory.read(kPlace, &value, sizeof value));
        return value;
    }
    // What a guest does: test and clear.
    bool guest_ends() {
        const u32 before = word(), after = before & ~1u;
        REQUIRE(memory.write(kPlace, &after, sizeof after));
        return (before & 1) != 0;
    }
    void interrupt(u8 vector, bool level = false) {
        apic().accept(DeliveryMode::Fixed, vector, level);
        REQUIRE(apic().acknowledge() == vector);
    }

    GuestMemory memory;
};

}  // namespace

TEST_CASE("lapic EOI bit: the register") {
    ApicFixture without;
    u64 value = 0;
    CHECK_FALSE(without.apic().msr_read(kMsr, value));
    CHECK_FALSE(without.apic().msr_write(kMsr, 0));
    EoiFixture f;
    CHECK(f.msr(kMsr) == (kPlace | 1));
    CHECK_FALSE(f.apic().msr_write(kMsr, kPlace | 3));   // bit 1 is reserved
    CHECK_FALSE(f.apic().msr_write(kMsr, 0x20000 | 1));  // no memory
    CHECK(f.msr(kMsr) == (kPlace | 1));
    CHECK(f.apic().msr_write(kMsr, 0));
    f.interrupt(0x41);
    CHECK_FALSE(f.apic().offer_eoi());
    CHECK(f.word() == 0);
}

TEST_CASE("lapic EOI bit: the guest takes the offer, or does not") {
    EoiFixture f;
    CHECK_FALSE(f.apic().offer_eoi());  // nothing is in service
    f.interrupt(0x41);
    REQUIRE(f.apic().offer_eoi());
    CHECK(f.word() == 1);
    CHECK(f.guest_ends());
    CHECK(f.in_isr(0x41));  // nobody has looked yet
    f.apic().take_eoi();
    CHECK_FALSE(f.in_isr(0x41));
    // Back in between: the guest has to write EOI from now on.
    f.interrupt(0x42);
    REQUIRE(f.apic().offer_eoi());
    f.apic().take_eoi();
    CHECK(f.in_isr(0x42));
    CHECK_FALSE(f.guest_ends());
    f.write(0xb0, 0);
    CHECK_FALSE(f.in_isr(0x42));
}

TEST_CASE("lapic EOI bit: not where others wait for the end") {
    EoiFixture f;
    f.interrupt(0x41, true);  // a level: the I/O APIC is told of its end
    CHECK_FALSE(f.apic().offer_eoi());
    f.write(0xb0, 0);
    f.apic().accept(DeliveryMode::Fixed, 0x41, false);
    f.apic().accept(DeliveryMode::Fixed, 0x31, false);  // comes as soon as the first has ended
    REQUIRE(f.apic().acknowledge() == 0x41);
    CHECK_FALSE(f.apic().offer_eoi());
    CHECK(f.word() == 0);
    CHECK_FALSE(f.cpu().intr);
    f.write(0xb0, 0);
    CHECK(f.cpu().intr);
}

TEST_CASE("lapic EOI bit: what comes meanwhile brings the processor back", "[I8]") {
    EoiFixture f;
    f.interrupt(0x41);
    REQUIRE(f.apic().offer_eoi());
    CHECK_FALSE(f.cpu().intr);
    f.apic().accept(DeliveryMode::Fixed, 0x42, false);  // of the same class
    CHECK(f.cpu().intr);
    SECTION("behind the end it is taken") {
        CHECK(f.guest_ends());
        f.apic().take_eoi();
        CHECK(f.cpu().intr);
        CHECK(f.apic().acknowledge() == 0x42);
    }
    SECTION("before it it waits") {
        f.apic().take_eoi();
        CHECK_FALSE(f.cpu().intr);
        CHECK(f.apic().acknowledge() == -1);
        f.write(0xb0, 0);
        CHECK(f.apic().acknowledge() == 0x42);
    }
}

TEST_CASE("lapic EOI bit: is saved, restored and reset") {
    EoiFixture f;
    auto saved = f.apic().save_typed();
    CHECK(saved.eoi_msr == (kPlace | 1));
    f.apic().reset();
    CHECK(f.msr(kMsr) == 0);
    REQUIRE(f.apic().restore_typed(saved).ok());
    CHECK(f.msr(kMsr) == (kPlace | 1));
    f.interrupt(0x41);
    CHECK(f.apic().offer_eoi());
    saved.eoi_msr = kPlace | 2;
    CHECK_FALSE(f.apic().restore_typed(saved).ok());
    ApicFixture without;
    saved.eoi_msr = kPlace | 1;
    CHECK_FALSE(without.apic().restore_typed(saved).ok());
}

TEST_CASE("lapic EOI bit: an INIT meanwhile ends the offer") {
    EoiFixture f;
    f.interrupt(0x41);
    REQUIRE(f.apic().offer_eoi());
    f.apic().accept(DeliveryMode::Init, 0, true);
    u32 first = 0x1234567;
    REQUIRE(f.memory.write(0, &first, sizeof first));
    f.apic().take_eoi();
    REQUIRE(f.memory.read(0, &first, sizeof first));
    CHECK(first == 0x1234567);
    CHECK_FALSE(f.in_isr(0x41));
    CHECK_FALSE(f.cpu().intr);
}

// One thread is the processor, the other sends.
TEST_CASE("lapic EOI bit: none is lost that comes while one is offered", "[I8]") {
    EoiFixture f;
    std::atomic<u32> sent{0};
    std::atomic<bool> ended{false};
    std::thread sender([&] {
        for (u32 i = 0; i < 200'000; ++i) {
            if (f.apic().accept(DeliveryMode::Fixed, static_cast<u8>(0x31 + i % 3), false) == Delivery::Delivered) ++sent;
        }
        ended = true;
    });
    u32 taken = 0;
    const auto start = std::chrono::steady_clock::now();
    while (!ended || (taken < sent && std::chrono::steady_clock::now() - start < std::chrono::minutes(1))) {
        if (!f.cpu().intr.load() || f.apic().acknowledge() < 0) continue;
        ++taken;
        const bool offered = f.apic().offer_eoi();
        if (!offered || !f.guest_ends()) f.write(0xb0, 0);
        if (offered) f.apic().take_eoi();
    }
    sender.join();
    CHECK(taken == sent);
    CHECK_FALSE(f.cpu().intr);
}

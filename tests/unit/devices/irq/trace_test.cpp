#include <catch2/catch.hpp>

#include "devices/irq/ioapic.h"
#include "tests/log_capture.h"
#include "tests/unit/devices/irq/apic_fixture.h"

using namespace tandem;
using namespace tandem::devices;
using namespace tandem::devices::test;

namespace {

constexpr u32 kEoi = 0xb0, kIcrLow = 0x300, kIcrHigh = 0x310;

}  // namespace

TEST_CASE("interrupt controllers trace what they accept, in the form of KVM's tracepoints", "[T1]") {
    ApicFixture f(2);
    Ioapic ioapic(f.bus);
    f.enable_all();
    const auto redirect = [&](u8 index, u32 value) {
        ioapic.io_write(0, index, 4);
        ioapic.io_write(0x10, value, 4);
    };
    redirect(0x10 + 2 * 4, 0x23);           // pin 4: vector 35, edge
    redirect(0x10 + 2 * 9, 0x8000 | 0x31);  // pin 9: vector 49, level
    redirect(0x11 + 2 * 9, 1u << 24);       // to APIC 1
    const tests::LogCapture log(log::Exits);
    ioapic.set_pin(4, true);
    ioapic.set_pin(4, false);
    ioapic.set_pin(4, true);
    ioapic.set_pin(9, true);
    f.apic(0).acknowledge();
    f.write(kEoi, 0);
    f.bus.deliver_msi(0xfee01000, 0x0041);
    f.write(kIcrHigh, 1u << 24);
    f.write(kIcrLow, 0x4500);  // INIT to APIC 1
    CHECK(log.lines() == std::vector<std::string>{
                             "kvm_apic_accept_irq: apicid 0 vec 35 (Fixed|edge)",
                             "kvm_ioapic_set_irq: pin 4 dst 0 vec 35 (Fixed|physical|edge)",
                             "kvm_apic_accept_irq: apicid 0 vec 35 (Fixed|edge) (coalesced)",
                             "kvm_ioapic_set_irq: pin 4 dst 0 vec 35 (Fixed|physical|edge) (coalesced)",
                             "kvm_apic_accept_irq: apicid 1 vec 49 (Fixed|level)",
                             "kvm_ioapic_set_irq: pin 9 dst 1 vec 49 (Fixed|physical|level)",
                             "kvm_eoi: apicid 0 vector 35",
                             "kvm_msi_set_irq: dst 1 vec 65 (Fixed|physical|edge)",
                             "kvm_apic_accept_irq: apicid 1 vec 65 (Fixed|edge)",
                             "kvm_apic_accept_irq: apicid 1 vec 0 (INIT|edge)",
                         });
}

// KVM's own interrupt controllers and their exchange of state with the machine's models (contract I6).
#include <catch2/catch.hpp>

#include <algorithm>
#include <cstdio>
#include <thread>

#include "accel/kvm/irqchip_state.h"
#include "tests/conformance/bench.h"

using namespace tandem;
using namespace tandem::tests;
using devices::ControllerState;
using Irqchip = accel::KvmOptions::Irqchip;

namespace {

// A machine's controllers in the middle of things.
ControllerState busy_state() {
    ControllerState s;
    devices::LapicState& apic = s.lapics.emplace_back();
    apic.base = 0xfee00900;
    apic.tpr = 0x20;
    apic.ldr = 0x01000000;
    apic.dfr = 0xffffffff;
    apic.svr = 0x1ff;
    apic.divide = 0xb;
    apic.lvt = {0x20030, 0x10000, 0x10000, 0x10700, 0x400, 0x100fe};
    apic.initial = 1'000'000'000;
    apic.isr[1] = 1u << 5;
    apic.irr[2] = 1u << 9;
    apic.tmr[2] = 1u << 9;
    apic.timer_running = true;
    apic.timer_count = 900'000'000;
    apic.timer_elapsed_ns = 100'000'000;
    s.ioapic.id = 0x02000000;
    s.ioapic.select = 0x12;
    s.ioapic.entries.fill(0x10000);
    s.ioapic.entries[4] = 0x34;
    s.ioapic.entries[16] = 0x0000'0000'0001'8049;  // level, masked
    s.pic.chip[0].vector_base = 0x30;
    s.pic.chip[0].imr = 0xfb;
    s.pic.chip[0].lowest = 2;
    s.pic.chip[1].vector_base = 0x38;
    s.pic.chip[1].imr = 0xff;
    s.pic.chip[1].elcr = 0x0c;
    s.pit.channel[0].control = 0x34;
    s.pit.channel[0].reload = s.pit.channel[0].period = 0x4000;
    s.pit.channel[0].programmed = s.pit.channel[0].running = true;
    s.pit.channel[2].control = 0x30;
    s.pit.channel[2].gate = false;
    return s;
}

Result<std::unique_ptr<accel::Accelerator>> kvm_with(Irqchip irqchip) {
    TANDEM_TRY_ASSIGN(auto model, cpu::x86::CpuModel::create("max"));
    TANDEM_TRY_ASSIGN(model, accel::narrow_to_kvm(model));
    accel::KvmOptions options;
    options.irqchip = irqchip;
    return accel::create_kvm_accelerator(model, options);
}

// The choices that this host has; what is missing is said once.
std::vector<Irqchip> irqchips() {
    static const std::vector<Irqchip> found = [] {
        std::vector<Irqchip> all;
        for (const Irqchip i : {Irqchip::Split, Irqchip::Kernel}) {
            auto made = kvm_with(i);
            if (made) {
                all.push_back(i);
            } else {
                std::printf("skipped: KVM's interrupt controllers: %s\n", made.error().message.c_str());
            }
        }
        return all;
    }();
    return found;
}

}  // namespace

TEST_CASE("the models' state survives KVM's structures", "[I6]") {
    const ControllerState before = busy_state();
    ControllerState after = before;
    kvm_lapic_state page{};
    accel::kvm::to_kvm(before.lapics[0], page);
    accel::kvm::from_kvm(page, after.lapics[0]);
    CHECK(after.lapics[0].isr == before.lapics[0].isr);
    CHECK(after.lapics[0].irr == before.lapics[0].irr);
    CHECK(after.lapics[0].tmr == before.lapics[0].tmr);
    CHECK(after.lapics[0].lvt == before.lapics[0].lvt);
    CHECK(after.lapics[0].svr == before.lapics[0].svr);
    CHECK(after.lapics[0].timer_running);
    CHECK(after.lapics[0].timer_count == 800'000'000);
    CHECK(after.lapics[0].timer_elapsed_ns == 0);
    for (unsigned chip = 0; chip < 2; ++chip) {
        for (u8 step = 0; step <= 4; ++step) {
            if (step == 1) continue;
            devices::PicChipState p = before.pic.chip[chip], q;
            p.init_step = step;
            p.special_mask = step % 2 != 0;
            p.lines = p.irr = 0x81;
            kvm_pic_state k{};
            accel::kvm::to_kvm(p, k);
            CHECK(k.last_irr == 0x81);
            accel::kvm::from_kvm(k, q);
            CHECK(q.init_step == step);
            CHECK(q.lowest == p.lowest);
            CHECK(q.vector_base == p.vector_base);
            CHECK(q.imr == p.imr);
            CHECK(q.irr == p.irr);
            CHECK(q.elcr == p.elcr);
            CHECK(q.special_mask == p.special_mask);
        }
    }
    kvm_pit_state2 pit{};
    accel::kvm::to_kvm(before.pit, pit);
    pit.channels[0].count_load_time = 1'000'000'000;
    accel::kvm::from_kvm(pit, 1'000'000'000 + 10'000'000, after.pit);
    CHECK(after.pit.channel[0].control == 0x34);
    CHECK(after.pit.channel[0].reload == 0x4000);
    CHECK(after.pit.channel[0].start_tick == -11931);  // 10 ms of 1193182 Hz
    CHECK_FALSE(after.pit.channel[2].programmed);
    CHECK_FALSE(after.pit.channel[2].gate);
}

TEST_CASE("KVM's controllers take a state and give it back", "[I5][I6]") {
    const auto all = irqchips();
    if (all.empty()) return;
    const Irqchip irqchip = GENERATE_COPY(from_range(all));
    CAPTURE(static_cast<int>(irqchip));
    Bench b(kvm_with(irqchip), {0xf4});
    devices::HostControllers* host = b.accelerator->host_controllers();
    REQUIRE(host != nullptr);
    CHECK(host->all() == (irqchip == Irqchip::Kernel));
    const ControllerState before = busy_state();
    ControllerState after = before;
    auto stored = host->store(before);
    INFO((stored ? "" : stored.error().message));
    REQUIRE(stored.ok());
    REQUIRE(host->fetch(after).ok());
    const auto& apic = after.lapics[0];
    CHECK(apic.base == before.lapics[0].base);
    CHECK(apic.tpr == before.lapics[0].tpr);
    CHECK(apic.svr == before.lapics[0].svr);
    CHECK(apic.isr == before.lapics[0].isr);
    CHECK(apic.irr == before.lapics[0].irr);
    CHECK(apic.lvt == before.lapics[0].lvt);
    CHECK(apic.timer_running);
    CHECK(apic.timer_count <= 800'000'000);
    if (irqchip != Irqchip::Kernel) return;
    CHECK(after.ioapic.entries == before.ioapic.entries);
    CHECK(after.ioapic.id == before.ioapic.id);
    CHECK(after.pic.chip[0].vector_base == 0x30);
    CHECK(after.pic.chip[0].imr == 0xfb);
    CHECK(after.pic.chip[0].lowest == 2);
    CHECK(after.pic.chip[1].elcr == 0x0c);
    CHECK(after.pit.channel[0].control == 0x34);
    CHECK(after.pit.channel[0].reload == 0x4000);
}

TEST_CASE("messages that nobody asks about arrive before the state is looked at", "[I6][T4]") {
    const auto all = irqchips();
    if (all.empty()) return;
    const Irqchip irqchip = GENERATE_COPY(from_range(all));
    CAPTURE(static_cast<int>(irqchip));
    Bench b(kvm_with(irqchip), {0xf4});
    devices::HostControllers* host = b.accelerator->host_controllers();
    REQUIRE(host != nullptr);
    ControllerState state;
    state.lapics.emplace_back();
    state.lapics[0].base = 0xfee00900;
    state.lapics[0].svr = 0x1ff;
    state.ioapic.entries.fill(0x10000);
    state.ioapic.entries[5] = 0x0000'0000'0000'8055;  // level: KVM is told of it in its routes
    constexpr u64 kTo = 0xfee00000, kNobody = 0xfee37000;
    for (int round = 0; round < 3; ++round) {
        REQUIRE(host->store(state).ok());
        host->post_message(kTo, 0x41);
        host->post_message(kTo, 0x41);
        state.ioapic.entries[6] ^= 0x8000;
        if (irqchip == Irqchip::Split) host->set_ioapic_entries(state.ioapic.entries);
        host->post_message(kTo, 0x62);
        host->post_message(kNobody, 0x63);
        ControllerState after = state;
        REQUIRE(host->fetch(after).ok());
        CHECK(after.lapics[0].irr == std::array<u32, 8>{0, 0, 1u << 1, 1u << 2, 0, 0, 0, 0});
    }
    // More than have events.
    REQUIRE(host->store(state).ok());
    for (u32 data = 0x20; data < 0x100; ++data) {
        for (u64 hint = 0; hint < 2; ++hint) host->post_message(kTo | hint << 3, data);
    }
    ControllerState after = state;
    REQUIRE(host->fetch(after).ok());
    CHECK(after.lapics[0].irr == std::array<u32, 8>{0, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u});
}

// A request to leave comes between the acknowledgement and the entry.
TEST_CASE("a vector of the 8259s that KVM holds is in the state of a processor that stopped", "[U5][I6]") {
    const auto all = irqchips();
    if (std::ranges::find(all, Irqchip::Split) == all.end()) return;
    Bench b(kvm_with(Irqchip::Split), {0xfb, 0xeb, 0xfe});  // sti; jmp .
    ControllerState state;
    state.lapics.emplace_back();
    state.lapics[0].base = 0xfee00900;
    state.lapics[0].svr = 0x1ff;
    state.lapics[0].lvt = {0x10000, 0x10000, 0x10000, 0x700, 0x10000, 0x10000};  // LINT0: ExtINT
    state.ioapic.entries.fill(0x10000);
    REQUIRE(b.accelerator->host_controllers()->store(state).ok());
    for (int round = 0; round < 1000 && (b.state().rflags & 0x200) == 0; ++round) {
        std::thread other([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
            b.vcpu->request_exit();
        });
        CHECK(std::holds_alternative<accel::RequestedExit>(b.vcpu->run()));
        other.join();
    }
    b.handler.vector = [&] {
        b.vcpu->request_exit();
        return 0x41;
    };
    for (int round = 0; round < 1000 && b.handler.vector; ++round) {
        CHECK(std::holds_alternative<accel::RequestedExit>(b.vcpu->run()));
    }
    const cpu::x86::State stopped = b.state();
    CHECK(stopped.rip == kCode + 1);
    CHECK(stopped.pending.valid);
    CHECK(stopped.pending.vector == 0x41);
}

TEST_CASE("a halt inside KVM ends with a request, with the processor still halted", "[U2]") {
    const auto all = irqchips();
    if (all.empty()) return;
    const Irqchip irqchip = GENERATE_COPY(from_range(all));
    CAPTURE(static_cast<int>(irqchip));
    Bench b(kvm_with(irqchip), {0xf4, 0xeb, 0xfe});  // hlt; jmp .
    const auto run_shortly = [&] {
        std::thread other([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
            b.vcpu->request_exit();
        });
        const accel::Exit exit = b.vcpu->run();
        other.join();
        CHECK(std::holds_alternative<accel::RequestedExit>(exit));
        return b.state().activity == cpu::x86::Activity::Halted;
    };
    int rounds = 0;  // a busy host may take its time to the first instruction
    while (!run_shortly() && ++rounds < 1000) {
    }
    for (int round = 0; round < 3; ++round) {
        CHECK(run_shortly());
        CHECK(b.state().rip == kCode + 1);
    }
}

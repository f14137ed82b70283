// A vCPU of one engine and a handler for its exits, for conformance tests: the smallest machine that runs code.
#pragma once

#include <catch2/catch.hpp>

#include <atomic>
#include <cstdio>
#include <functional>
#include <initializer_list>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "accel/jit/x86_jit.h"
#include "accel/kvm/kvm_accelerator.h"
#include "accel/run_loop.h"
#include "tests/flat_state.h"

namespace tandem::tests {

constexpr u64 kCode = 0x1000;

// Answers reads of every port with 0x5a; calls `on_port` first, or after `on_write`. Keeps the last hypercall, whose result
// is its number.
class Handler final : public accel::ExitHandler, devices::CpuInterruptController {
public:
    std::function<void(accel::Vcpu&)> on_port;
    std::function<void(const accel::PortExit&)> on_write;
    std::function<void(accel::Vcpu&, accel::MmioExit&)> on_mmio;
    std::function<void(accel::MsrExit&)> on_msr;
    std::function<int()> vector;      // as an 8259 that has one; null: nothing is pending
    std::function<bool()> pending;    // null: whether `vector` is set
    std::function<u64()> clock;       // none: time stands still
    std::function<u64()> sleep;       // answers how long a sleep may last, in nanoseconds; null: for ever
    std::function<void()> awake;      // the sleep is over
    std::function<bool()> offer_end;  // whether the guest may end the interrupt by its memory; null: it may not
    std::function<void()> take_end;
    std::atomic<u64> tsc_offset = 0;  // as a vCPU has told
    accel::HypercallExit hypercall;

    void handle(accel::Vcpu& vcpu, accel::Exit& exit) override {
        if (auto* call = std::get_if<accel::HypercallExit>(&exit)) {
            call->result = call->number;
            hypercall = *call;
        }
        if (auto* mmio = std::get_if<accel::MmioExit>(&exit); mmio != nullptr && on_mmio) on_mmio(vcpu, *mmio);
        if (auto* msr = std::get_if<accel::MsrExit>(&exit); msr != nullptr && on_msr) on_msr(*msr);
        auto* port = std::get_if<accel::PortExit>(&exit);
        if (port == nullptr) return;
        if (port->write && on_write) on_write(*port);
        if (on_port) on_port(vcpu);
        if (!port->write) port->data = 0x5a;
    }
    devices::CpuInterruptController& interrupt_controller(unsigned) override { return *this; }
    u64 tsc(unsigned) override { return clock ? clock() : 0; }
    void tsc_offset_changed(unsigned, u64 offset) override { tsc_offset = offset; }
    [[nodiscard]] bool interrupt_pending() const override { return pending ? pending() : vector != nullptr; }
    int acknowledge() override { return vector ? std::exchange(vector, nullptr)() : -1; }
    [[nodiscard]] u8 cr8() const override { return 0; }
    void set_cr8(u8) override {}
    u64 begin_sleep() override { return sleep ? sleep() : ~u64{0}; }
    void end_sleep() override {
        if (awake) awake();
    }
    bool offer_eoi() override { return offer_end && offer_end(); }
    void take_eoi() override { take_end(); }
};

enum class Engine { Interp, Baseline, Kvm };

inline Result<std::unique_ptr<accel::Accelerator>> create_engine(Engine engine) {
    auto model = cpu::x86::CpuModel::create("max");
    if (!model) return std::move(model).error();
    // Where engines change, the guest is to see one processor.
    if (auto narrowed = accel::narrow_to_kvm(*model)) model = std::move(narrowed);
    if (engine == Engine::Kvm) return accel::create_kvm_accelerator(*model);
    jit::Options options;
    options.tier = engine == Engine::Interp ? jit::Tier::Interp : jit::Tier::Baseline;
    return accel::create_jit_accelerator(*model, options);
}

// The engines that this host has. What is missing is said once.
inline std::vector<Engine> engines() {
    static const bool kvm = [] {
        auto made = create_engine(Engine::Kvm);
        if (!made) std::printf("skipped: rows on KVM: %s\n", made.error().message.c_str());
        return made.ok();
    }();
    std::vector<Engine> all{Engine::Interp, Engine::Baseline};
    if (kvm) all.push_back(Engine::Kvm);
    return all;
}

// A vCPU in real mode at kCode with interrupts off.
struct Bench {
    devices::GuestMemory memory;
    Handler handler;
    std::unique_ptr<accel::Accelerator> accelerator;
    std::unique_ptr<accel::Vcpu> vcpu;

    Bench(Engine engine, std::initializer_list<u8> code) : Bench(create_engine(engine), code) {}
    Bench(Result<std::unique_ptr<accel::Accelerator>> made, std::initializer_list<u8> code, u64 ram = 1 << 20) {
        REQUIRE(memory.add("ram", 0, ram).ok());
        REQUIRE(memory.write(kCode, std::data(code), code.size()));
        INFO((made ? "" : made.error().message));
        REQUIRE(made.ok());
        accelerator = std::move(made).value();
        REQUIRE(accelerator->map_memory(memory).ok());
        auto created = accelerator->create_vcpu(0, handler);
        REQUIRE(created.ok());
        vcpu = std::move(created).value();
        REQUIRE(vcpu->import_state(real_state(kCode)).ok());
    }
    [[nodiscard]] cpu::x86::State state() const {
        cpu::ArchState out;
        REQUIRE(vcpu->export_state(out).ok());
        return std::get<cpu::x86::State>(out);
    }
};

}  // namespace tandem::tests

#include "tests/lab/arm64/board.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <condition_variable>
#include <cstring>

#include "accel/run_loop.h"

namespace tandem::tests {

Board::Board(std::span<const u8> guest, unsigned cpus) : cpus_(cpus) {
    auto engine = accel::create_arm64_kvm_accelerator();
    if (!engine) FAIL(engine.error().message);
    engine_ = std::move(engine).value();
    REQUIRE(memory_.add("RAM", kRam, kRamBytes).ok());
    REQUIRE(memory_.write(kRam, guest.data(), guest.size()));
    REQUIRE(engine_->map_memory(memory_).ok());
}

void Board::add_gicv2_model() {
    gic_ = std::make_unique<devices::Gicv2>(devices::Gicv2Config{cpus_, 32, kGicd, kGicc, false, 0, 0, 25});
}

void Board::start() {
    for (unsigned i = 0; i < cpus_; ++i) {
        auto vcpu = engine_->create_vcpu(i, *this);
        if (!vcpu) FAIL(vcpu.error().message);
        vcpus_.push_back(std::move(vcpu).value());
        if (gic_) gic_->connect(i, *vcpus_.back());
    }
    cpu::arm64::State s;
    cpu::arm64::reset(s, 1);
    s.pc = kRam;
    auto set = vcpu().import_state(s);
    if (!set) FAIL(set.error().message);
}

cpu::arm64::State Board::state(unsigned index) {
    cpu::ArchState s;
    auto got = vcpus_[index]->export_state(s);
    if (!got) FAIL(got.error().message);
    return std::get<cpu::arm64::State>(s);
}

accel::Exit Board::run(unsigned seconds) {
    std::atomic<bool> over{false};
    std::vector<std::thread> others;
    for (unsigned i = 1; i < cpus_; ++i) {
        others.emplace_back([&, i] {
            while (!over) accel::run_until_event(*vcpus_[i], *this);
        });
    }
    std::mutex lock;
    std::condition_variable done;
    std::thread watchdog([&] {
        std::unique_lock guard(lock);
        done.wait_for(guard, std::chrono::seconds(seconds), [&] { return over.load(); });
        if (!over) vcpu().request_exit();
    });
    accel::Exit exit = accel::run_until_event(vcpu(), *this);
    {
        std::lock_guard guard(lock);
        over = true;
    }
    done.notify_all();
    watchdog.join();
    for (unsigned i = 1; i < cpus_; ++i) vcpus_[i]->request_exit();
    for (auto& thread : others) thread.join();
    return exit;
}

std::vector<u64> Board::reports() {
    std::lock_guard guard(lock_);
    return reports_;
}

void Board::handle(accel::Vcpu& vcpu, accel::Exit& exit) {
    auto* mmio = std::get_if<accel::MmioExit>(&exit);
    if (mmio == nullptr) return;
    if (gic_ && (mmio->write ? gic_->mmio_write(vcpu.index(), mmio->address, mmio->data, mmio->size)
                             : gic_->mmio_read(vcpu.index(), mmio->address, mmio->size, mmio->data))) {
        return;
    }
    if (!mmio->write) {
        mmio->data = kPattern;
        return;
    }
    {
        std::lock_guard guard(lock_);
        reports_.push_back(mmio->data);
    }
    if (on_report) on_report(mmio->data);
}

devices::CpuInterruptController& Board::interrupt_controller(unsigned) {
    class None final : public devices::CpuInterruptController {
        [[nodiscard]] bool interrupt_pending() const override { return false; }
        int acknowledge() override { return -1; }
        [[nodiscard]] u8 cr8() const override { return 0; }
        void set_cr8(u8) override {}
    };
    static None none;
    return none;
}

void Board::timer_output(unsigned vcpu, devices::ArmTimer timer, bool level) {
    constexpr unsigned kVirtual = 27, kPhysical = 30;
    if (gic_) (void)gic_->ppi(vcpu, timer == devices::ArmTimer::Virtual ? kVirtual : kPhysical).set(level);
}

}  // namespace tandem::tests

// The exclusive monitors of two AArch64 processors whose states are read and replaced between Load-Exclusive and
// Store-Exclusive. Both are stepped from here, so everything happens in a fixed order.
#include <catch2/catch.hpp>

#include "accel/jit/arm64_jit.h"
#include "cpu/arm64/state.h"

using namespace tandem;

namespace {

constexpr u64 kRam = 0x40000000, kCode = kRam, kWord = kRam + 0x1000;
constexpr u64 kLoaded = 7, kOther = 9;
enum Instruction : u64 { LdxrX1 = 0, StxrX1 = 4, SwpX1 = 8, LdxrX2 = 12 };
constexpr u32 kWords[] = {0xc85f7c23, 0xc8057c23, 0xf8238024, 0xc85f7c43};  // x3; w5 the status; x4 what was there

class NoController final : public devices::CpuInterruptController {
public:
    [[nodiscard]] bool interrupt_pending() const override { return false; }
    int acknowledge() override { return -1; }
    [[nodiscard]] u8 cr8() const override { return 0; }
    void set_cr8(u8) override {}
};

class TwoProcessors final : public accel::ExitHandler {
public:
    TwoProcessors() {
        REQUIRE(memory_.add("ram", kRam, 1 << 20).ok());
        memory_.write(kCode, kWords, sizeof kWords);
        memory_.write(kWord, &kLoaded, sizeof kLoaded);
        auto model = cpu::arm64::CpuModel::named("max");
        REQUIRE(model.ok());
        auto engine = accel::create_jit_accelerator(*model, jit::Options{});
        REQUIRE(engine.ok());
        engine_ = std::move(*engine);
        REQUIRE(engine_->map_memory(memory_).ok());
        for (unsigned i = 0; i < 2; ++i) {
            auto vcpu = engine_->create_vcpu(i, *this);
            REQUIRE(vcpu.ok());
            vcpus_[i] = std::move(*vcpu);
            cpu::arm64::State s;
            cpu::arm64::reset(s, 1);
            s.x[1] = kWord;
            s.x[2] = kWord + 8;
            set(i, s);
        }
    }

    cpu::arm64::State get(unsigned cpu) {
        cpu::ArchState state;
        REQUIRE(vcpus_[cpu]->export_state(state).ok());
        return std::get<cpu::arm64::State>(state);
    }
    void set(unsigned cpu, const cpu::arm64::State& state) { REQUIRE(vcpus_[cpu]->import_state(state).ok()); }

    // Executes one instruction with `operand` in x3. The monitor stays what it is, and so does all else.
    void execute(unsigned cpu, Instruction what, u64 operand = kLoaded) {
        cpu::arm64::State s = get(cpu);
        const bool marked = s.exclusive.address != ~u64{0};
        if (!marked) {
            s.x[3] = operand;
            s.pc = kCode + what;
            set(cpu, s);
        }
        REQUIRE(get(cpu).pc == kCode + what);
        (void)vcpus_[cpu]->step();
        REQUIRE(get(cpu).pc == kCode + what + 4);
    }
    [[nodiscard]] u64 status(unsigned cpu) { return get(cpu).x[5]; }

    void handle(accel::Vcpu&, accel::Exit&) override {}
    devices::CpuInterruptController& interrupt_controller(unsigned) override { return controller_; }
    u64 tsc(unsigned) override { return 0; }
    u64 tsc_hz() override { return 1'000'000'000; }
    unsigned cpu_count() override { return 2; }

private:
    NoController controller_;
    devices::GuestMemory memory_;
    std::unique_ptr<accel::Accelerator> engine_;
    std::unique_ptr<accel::Vcpu> vcpus_[2];
};

}  // namespace

TEST_CASE("an exclusive store that nobody disturbs succeeds, and again at once") {
    TwoProcessors m;
    for (int i = 0; i < 3; ++i) {
        m.execute(0, LdxrX1);
        m.execute(0, StxrX1);
        CHECK(m.status(0) == 0);
    }
    m.execute(1, LdxrX1);
    m.execute(0, LdxrX1);
    m.execute(1, StxrX1);
    CHECK(m.status(1) == 0);
    m.execute(0, StxrX1);
    CHECK(m.status(0) == 1);
}

TEST_CASE("another processor's stores end exclusivity though they put the value back") {
    TwoProcessors m;
    m.execute(0, LdxrX1);
    m.execute(1, SwpX1, kOther);
    m.execute(1, SwpX1, kLoaded);
    m.execute(0, StxrX1);
    CHECK(m.status(0) == 1);
}

TEST_CASE("a processor whose state is replaced has marked nothing") {
    TwoProcessors m;
    m.execute(0, LdxrX1);
    const cpu::arm64::State marked = m.get(0);
    m.execute(1, SwpX1, kOther);
    m.execute(1, SwpX1, kLoaded);
    m.execute(0, StxrX1);
    REQUIRE(m.status(0) == 1);
    m.execute(0, LdxrX2);  // marks the same line
    m.set(0, marked);
    m.execute(0, StxrX1);
    CHECK(m.status(0) == 1);
    m.execute(0, LdxrX1);
    m.execute(0, StxrX1);
    CHECK(m.status(0) == 0);
}

// Contracts U1 to U6 (leaving the guest) on every engine: the same bodies on the translator's tiers and on KVM where the
// host has it.
#include <catch2/catch.hpp>

#include <sys/time.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "accel/trace.h"
#include "tests/conformance/subjects.h"
#include "tests/patience.h"

using namespace tandem;
using namespace tandem::tests;
using namespace std::chrono_literals;

namespace {

bool requested(const accel::Exit& e) { return std::holds_alternative<accel::RequestedExit>(e); }
bool halted(const accel::Exit& e) { return std::holds_alternative<accel::HaltExit>(e); }

#define FOR_EACH_ENGINE const Engine engine = GENERATE(from_range(engines()))

}  // namespace

TEST_CASE("a request before the first run ends that run at once, and only that one", "[U1][U2]") {
    FOR_EACH_ENGINE;
    CAPTURE(static_cast<int>(engine));
    Bench b(engine, {0xf4});  // hlt
    b.vcpu->request_exit();
    b.vcpu->request_exit();
    CHECK(requested(b.vcpu->run()));
    CHECK(b.state().rip == kCode);
    CHECK(halted(b.vcpu->run()));
}

TEST_CASE("a request from another thread stops an endless loop", "[U1][U2]") {
    FOR_EACH_ENGINE;
    CAPTURE(static_cast<int>(engine));
    Bench b(engine, {0xeb, 0xfe});  // jmp .
    for (int round = 0; round < 5; ++round) {
        std::thread other([&] {
            std::this_thread::sleep_for(2ms);
            b.vcpu->request_exit();
        });
        const accel::Exit exit = b.vcpu->run();
        other.join();
        CHECK(requested(exit));
        CHECK(b.state().rip == kCode);
    }
}

// REP LODSB without a segment's limit: behind RAM each element is an access to a device.
TEST_CASE("a request stops a repeated instruction of billions of elements between two of them", "[U1][U2]") {
    constexpr u64 kElements = 0xffff'ffff;
    for (const Subject& subject : subjects()) {
        INFO(subject.name);
        Bench b(subject.create(), {0x67, 0xf3, 0xac, 0xf4});  // rep lodsb (32-bit addresses); hlt
        cpu::x86::State s = b.state();
        s.seg[cpu::x86::DS].limit = 0xffff'ffff;
        s.gpr[cpu::x86::RCX] = kElements;
        REQUIRE(b.vcpu->import_state(s).ok());
        std::thread other([&] {
            std::this_thread::sleep_for(50ms);
            b.vcpu->request_exit();
        });
        const auto start = std::chrono::steady_clock::now();
        const accel::Exit exit = accel::run_until_event(*b.vcpu, b.handler);
        other.join();
        CHECK(requested(exit));
        CHECK(std::chrono::steady_clock::now() - start < tests::kAtOnce);
        const cpu::x86::State now = b.state();
        CHECK(now.rip == kCode);
        CHECK(now.gpr[cpu::x86::RCX] < kElements);
        CHECK(now.gpr[cpu::x86::RCX] + now.gpr[cpu::x86::RSI] == kElements);
    }
}

TEST_CASE("a vCPU that was leaving for another reason keeps it, and the request is spent", "[U3]") {
    FOR_EACH_ENGINE;
    CAPTURE(static_cast<int>(engine));
    Bench b(engine, {0xe4, 0x10, 0xf4, 0xeb, 0xfb});  // in al, 0x10; hlt; jmp start
    // The request comes while the vCPU is on its way to HLT.
    b.handler.on_port = [](accel::Vcpu& v) { v.request_exit(); };
    const accel::Exit first = b.vcpu->run();
    REQUIRE((halted(first) || requested(first)));
    // A run loop must not go to sleep on the request.
    if (halted(first)) CHECK(std::get<accel::HaltExit>(first).requested);
    b.handler.on_port = nullptr;
    // Either way it is answered now: the next exit is the guest's own.
    CHECK(halted(b.vcpu->run()));
}

TEST_CASE("a run loop returns for a request that comes on the way to a halt, and does not sleep on it", "[U2][U3]") {
    FOR_EACH_ENGINE;
    CAPTURE(static_cast<int>(engine));
    Bench b(engine, {0xe4, 0x10, 0xf4, 0xeb, 0xfb});
    b.handler.on_port = [](accel::Vcpu& v) { v.request_exit(); };
    for (int round = 0; round < 3; ++round) {
        CHECK(requested(accel::run_until_event(*b.vcpu, b.handler)));
        cpu::x86::State s = b.state();
        s.activity = cpu::x86::Activity::Running;
        s.rip = kCode;  // an engine may answer the request before the halt
        REQUIRE(b.vcpu->import_state(s).ok());
    }
}

TEST_CASE("a storm of requests is neither lost nor counted twice", "[U4]") {
    FOR_EACH_ENGINE;
    CAPTURE(static_cast<int>(engine));
    Bench b(engine, {0xe4, 0x10, 0xf4, 0xeb, 0xfb});
    constexpr unsigned kThreads = 4;
    constexpr unsigned kEach = 2000;
    std::atomic<unsigned> running{kThreads};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < kThreads; ++t) {
        threads.emplace_back([&] {
            for (unsigned i = 0; i < kEach; ++i) {
                b.vcpu->request_exit();
                if (i % 16 == 0) std::this_thread::yield();
            }
            --running;
        });
    }
    unsigned answered = 0;
    unsigned own = 0;
    unsigned others = 0;
    while (running != 0) {
        const accel::Exit exit = b.vcpu->run();
        if (requested(exit)) {
            ++answered;
        } else if (halted(exit)) {
            ++own;
            if (std::get<accel::HaltExit>(exit).requested) ++answered;
        } else {
            ++others;
        }
    }
    for (auto& t : threads) t.join();
    CHECK(others == 0);
    // At most one request is left over, and it is answered once.
    const bool left = requested(b.vcpu->run());
    CHECK(halted(b.vcpu->run()));
    CHECK((answered >= 1 || left));
    CHECK(answered <= kThreads * kEach);
    INFO("left over: " << left << ", own exits: " << own);
    b.vcpu->request_exit();
    CHECK(requested(b.vcpu->run()));
    CHECK(halted(b.vcpu->run()));
}

TEST_CASE("an interrupt waits one instruction behind STI", "[U1]") {
    FOR_EACH_ENGINE;
    CAPTURE(static_cast<int>(engine));
    constexpr u8 kVector = 0x40, kHalt[] = {0xf4};
    constexpr u16 kHandler = 0x2000;
    Bench b(engine, {0x40, 0x40, 0x40, 0xeb, 0xfe});  // inc ax, three times; jmp .
    b.memory.write(kHandler, kHalt, sizeof kHalt);
    b.memory.write(kVector * 4, &kHandler, sizeof kHandler);
    cpu::x86::State s = b.state();
    s.rflags |= 0x200;
    s.sti_shadow = true;
    s.gpr[cpu::x86::RAX] = 0;
    REQUIRE(b.vcpu->import_state(s).ok());
    b.handler.vector = [] { return int{kVector}; };
    b.vcpu->set_line(devices::CpuLine::Interrupt, true);
    CHECK(halted(b.vcpu->run()));
    const u64 executed = b.state().gpr[cpu::x86::RAX];
    CHECK(executed >= 1);
    if (engine != Engine::Kvm) CHECK(executed == 1);  // KVM that interprets its guest comes back later
}

// KVM forgets a vector that it is given while the access that it came back for ends in an exception.
TEST_CASE("an interrupt that comes with a fault of the access that it came during is not lost", "[U5]") {
    FOR_EACH_ENGINE;
    CAPTURE(static_cast<int>(engine));
    // sti; nop; mov ecx, 0x11; rdmsr; nop; hlt; jmp to it
    Bench b(engine, {0xfb, 0x90, 0x66, 0xb9, 0x11, 0, 0, 0, 0x0f, 0x32, 0x90, 0xf4, 0xeb, 0xfd});
    constexpr u64 kCounts = 0x3000;
    constexpr u16 kOnFault = 0x2000, kOnInterrupt = 0x2100;
    constexpr int kVector = 0x40, kProtection = 13;
    // inc byte [0x3000]; mov bp, sp; add word [bp], 2; iret. inc byte [0x3001]; iret
    const u8 on_fault[] = {0xfe, 0x06, 0x00, 0x30, 0x89, 0xe5, 0x83, 0x46, 0x00, 0x02, 0xcf};
    const u8 on_interrupt[] = {0xfe, 0x06, 0x01, 0x30, 0xcf};
    const u32 fault_gate = kOnFault, interrupt_gate = kOnInterrupt;
    REQUIRE(b.memory.write(kOnFault, on_fault, sizeof on_fault));
    REQUIRE(b.memory.write(kOnInterrupt, on_interrupt, sizeof on_interrupt));
    REQUIRE(b.memory.write(kProtection * 4, &fault_gate, 4));
    REQUIRE(b.memory.write(kVector * 4, &interrupt_gate, 4));
    unsigned asked = 0;
    b.handler.on_msr = [&](accel::MsrExit& msr) {
        ++asked;
        msr.fault = true;
        b.handler.vector = [&] {
            b.vcpu->set_line(devices::CpuLine::Interrupt, false);
            return kVector;
        };
        b.vcpu->set_line(devices::CpuLine::Interrupt, true);
    };
    std::array<u8, 2> counts{};
    for (int i = 0; i < 3 && counts[1] == 0; ++i) {  // KVM that interprets its guest may see the HLT first
        CHECK(halted(b.vcpu->run()));
        REQUIRE(b.memory.read(kCounts, counts.data(), counts.size()));
    }
    CHECK(asked == 1);
    CHECK(counts == std::array<u8, 2>{1, 1});
}

TEST_CASE("an end of interrupt that a guest may leave in its memory is taken before anything else is asked", "[I8]") {
    FOR_EACH_ENGINE;
    CAPTURE(static_cast<int>(engine));
    constexpr int kVector = 0x40;
    constexpr u64 kHandler = 0x2000;
    Bench b(engine, {0xfb, 0x90, 0xe4, 0x10, 0xeb, 0xfc});  // sti; nop; in al, 0x10; jmp to it
    const u8 on_interrupt[] = {0xe4, 0x11, 0xcf};           // in al, 0x11; iret
    const u32 gate = kHandler;
    REQUIRE(b.memory.write(kHandler, on_interrupt, sizeof on_interrupt));
    REQUIRE(b.memory.write(kVector * 4, &gate, sizeof gate));
    unsigned interrupts = 0, offers = 0, early = 0;
    bool offered = false;
    b.handler.offer_end = [&] {
        ++offers;
        return offered = offers % 4 != 0;
    };
    b.handler.take_end = [&] { early += !std::exchange(offered, false); };
    const auto raise = [&] {
        b.handler.vector = [&] {
            early += offered;
            ++interrupts;
            b.vcpu->set_line(devices::CpuLine::Interrupt, false);
            return kVector;
        };
        b.vcpu->set_line(devices::CpuLine::Interrupt, true);
    };
    b.handler.on_port = [&](accel::Vcpu& v) {
        early += offered;
        if (interrupts >= 100) {
            v.request_exit();
        } else if (b.handler.vector == nullptr) {
            raise();
        }
    };
    CHECK(requested(b.vcpu->run()));
    CHECK_FALSE(offered);
    CHECK(early == 0);
    CHECK(interrupts == 100);
    CHECK(offers == (engine == Engine::Kvm ? interrupts : 0));
}

// KVM_RUN would not be interrupted for it: the kick is for a vCPU that is inside.
TEST_CASE("an interrupt or NMI that comes on the way into KVM_RUN does not wait for the guest's next exit", "[U1][U3]") {
    FOR_EACH_ENGINE;
    if (engine != Engine::Kvm) return;
    constexpr u8 kVector = 0x40;
    const bool nmi = GENERATE(false, true);
    const int when = GENERATE(1, 2);  // the engine asks before its first entry, and before the one behind OUT
    CAPTURE(nmi, when);
    Bench b(engine, {0xfb, 0x90, 0xe6, 0x10, 0xeb, 0xfe});  // sti; nop; out 0x10, al; jmp .
    constexpr u8 kHalt[] = {0xf4};
    constexpr u16 kHandler = 0x2000;
    b.memory.write(kHandler, kHalt, sizeof kHalt);
    for (const unsigned vector : {2u, unsigned{kVector}}) b.memory.write(vector * 4, &kHandler, sizeof kHandler);
    bool waits = false;
    int asked = 0;
    b.handler.pending = [&] {
        const bool answer = waits;
        if (++asked == when && nmi) b.vcpu->raise_nmi();
        if (asked == when && !nmi) {
            waits = true;
            b.vcpu->set_line(devices::CpuLine::Interrupt, true);
        }
        return answer;
    };
    b.handler.vector = [&]() -> int {
        waits = false;
        b.vcpu->set_line(devices::CpuLine::Interrupt, false);
        return kVector;
    };
    std::atomic<bool> over{false};
    std::thread watchdog([&] {
        for (int i = 0; i < 12'000 && !over; ++i) std::this_thread::sleep_for(10ms);
        if (!over) b.vcpu->request_exit();
    });
    CHECK(halted(b.vcpu->run()));
    over = true;
    watchdog.join();
}

TEST_CASE("state is complete after an exit: a port read has reached its register", "[U5]") {
    FOR_EACH_ENGINE;
    CAPTURE(static_cast<int>(engine));
    Bench b(engine, {0xe4, 0x10, 0xf4});  // in al, 0x10; hlt
    CHECK(halted(b.vcpu->run()));
    CHECK((b.state().gpr[cpu::x86::RAX] & 0xff) == 0x5a);
    CHECK(b.state().rip == kCode + 3);
    // A request in the middle of the access is answered after it.
    Bench c(engine, {0xe4, 0x10, 0xeb, 0xfc});  // in al, 0x10; jmp start
    c.handler.on_port = [](accel::Vcpu& v) { v.request_exit(); };
    CHECK(requested(c.vcpu->run()));
    CHECK((c.state().gpr[cpu::x86::RAX] & 0xff) == 0x5a);
}

TEST_CASE("a processor that waits for SIPI sleeps through an NMI and starts where the SIPI says", "[U2]") {
    FOR_EACH_ENGINE;
    CAPTURE(static_cast<int>(engine));
    Bench b(engine, {0xe4, 0x10, 0xf4});  // in al, 0x10; hlt
    cpu::x86::State s = b.state();
    s.activity = cpu::x86::Activity::WaitForSipi;
    REQUIRE(b.vcpu->import_state(s).ok());
    b.vcpu->raise_nmi();
    CHECK(halted(b.vcpu->run()));
    std::atomic<bool> awake{false};
    std::thread sleeper([&] {
        b.vcpu->wait_for_event();
        awake = true;
    });
    std::this_thread::sleep_for(20ms);
    CHECK_FALSE(awake);
    b.vcpu->raise_sipi(kCode >> 12);
    sleeper.join();
    CHECK(awake);
    s = b.state();
    CHECK(s.activity == cpu::x86::Activity::Running);
    CHECK(s.seg[cpu::x86::CS].base == kCode);
    CHECK(s.rip == 0);
}

TEST_CASE("a sleep ends when the controller's timer is due, or a signal comes before", "[U2]") {
    FOR_EACH_ENGINE;
    CAPTURE(static_cast<int>(engine));
    Bench b(engine, {0xfb, 0xf4});  // sti; hlt
    REQUIRE(halted(b.vcpu->run()));
    unsigned ends = 0;
    auto limit = std::chrono::nanoseconds(5ms);
    b.handler.sleep = [&] { return static_cast<u64>(limit.count()); };
    b.handler.awake = [&] { ++ends; };
    auto start = std::chrono::steady_clock::now();
    b.vcpu->wait_for_event();
    CHECK(std::chrono::steady_clock::now() - start >= 5ms);
    CHECK(ends == 1);
    CHECK(halted(b.vcpu->run()));  // nothing had come: it still sleeps
    limit = 1h;
    start = std::chrono::steady_clock::now();
    std::thread caller([&] {
        std::this_thread::sleep_for(10ms);
        b.vcpu->raise_nmi();
    });
    b.vcpu->wait_for_event();
    CHECK(std::chrono::steady_clock::now() - start < 10min);
    CHECK(ends == 2);
    caller.join();
}

TEST_CASE("signals, masks and timers of the embedding process are left alone", "[U6]") {
    struct Snapshot {
        std::array<struct sigaction, 64> actions{};
        sigset_t mask{};
        itimerval timer{};
        Snapshot() {
            for (int n = 1; n < 64; ++n) sigaction(n, nullptr, &actions[static_cast<std::size_t>(n)]);
            pthread_sigmask(SIG_SETMASK, nullptr, &mask);
            getitimer(ITIMER_REAL, &timer);
        }
    };
    FOR_EACH_ENGINE;
    const bool blocked = GENERATE(false, true);  // the engine's own signal, by the process
    CAPTURE(static_cast<int>(engine), blocked);
    sigset_t kick, outside;
    sigemptyset(&kick);
    sigaddset(&kick, SIGUSR1);
    pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &kick, &outside);
    const Snapshot before;
    {
        Bench b(engine, {0xe4, 0x10, 0xf4, 0xeb, 0xfb});
        std::thread other([&] { b.vcpu->request_exit(); });
        for (int i = 0; i < 100; ++i) (void)b.vcpu->run();
        other.join();
        b.vcpu->request_exit();
        CHECK(requested(accel::run_until_event(*b.vcpu, b.handler)));
        std::thread late([&] {
            std::this_thread::sleep_for(10ms);
            b.vcpu->request_exit();
        });
        CHECK(requested(accel::run_until_event(*b.vcpu, b.handler)));
        late.join();
        const Snapshot meanwhile;
        for (std::size_t n = 1; n < 64; ++n) {
            CAPTURE(n);
            if (n != SIGUSR1) CHECK(before.actions[n].sa_handler == meanwhile.actions[n].sa_handler);
        }
        for (int n = 1; n < 64; ++n) CHECK(sigismember(&before.mask, n) == sigismember(&meanwhile.mask, n));
    }
    const Snapshot after;
    for (std::size_t n = 1; n < 64; ++n) {
        CAPTURE(n);
        CHECK(before.actions[n].sa_handler == after.actions[n].sa_handler);
        CHECK(before.actions[n].sa_flags == after.actions[n].sa_flags);
    }
    for (int n = 1; n < 64; ++n) CHECK(sigismember(&before.mask, n) == sigismember(&after.mask, n));
    CHECK(before.timer.it_value.tv_sec == after.timer.it_value.tv_sec);
    CHECK(before.timer.it_value.tv_usec == after.timer.it_value.tv_usec);
    pthread_sigmask(SIG_SETMASK, &outside, nullptr);
}

TEST_CASE("a vCPU is created once", "[I5]") {
    Bench b(Engine::Interp, {0xf4});
    auto again = b.accelerator->create_vcpu(0, b.handler);
    REQUIRE_FALSE(again.ok());
    CHECK(again.error().code == Errc::Busy);
    CHECK(again.error().message.find("exists already") != std::string::npos);
}

TEST_CASE("exit traces have KVM's form and the hardware's exit qualification", "[T1]") {
    // Intel SDM vol. 3, table 28-5; the example of the contract: REP INSW from port 0x1f0.
    accel::PortExit insw;
    insw.port = 0x1f0;
    insw.size = 2;
    insw.string = insw.rep = true;
    CHECK(accel::io_qualification(insw) == 0x1f00039);
}

// The AArch64 KVM engine: exits, requests to leave, registers, debugging, PSCI.
#include <atomic>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstring>
#include <thread>

#include "accel/native.h"
#include "tests/lab/arm64/board.h"

namespace tandem::tests {
namespace {

TANDEM_GUEST(mmio)
TANDEM_GUEST(spin)
TANDEM_GUEST(busy)
TANDEM_GUEST(steps)
TANDEM_GUEST(pair)
TANDEM_GUEST(dirty)
TANDEM_GUEST(psci)

using accel::DebugExit;
using accel::RequestedExit;
using accel::SystemEventExit;
using cpu::arm64::State;
using Kind = SystemEventExit::Kind;

template <class T>
bool is(const accel::Exit& exit) {
    return std::holds_alternative<T>(exit);
}
bool is(const accel::Exit& exit, Kind kind) {
    const auto* event = std::get_if<SystemEventExit>(&exit);
    return event != nullptr && event->kind == kind;
}
bool is(const accel::Exit& exit, DebugExit::Reason reason) {
    const auto* debug = std::get_if<DebugExit>(&exit);
    return debug != nullptr && debug->reason == reason;
}

constexpr u64 kMidr = 0x6030000000000000 | 0x130000 | 0xc000;  // ids as in api.rst 4.68
constexpr u64 kX0 = 0x6030000000100000;

}  // namespace

TEST_CASE("device accesses of every width, and the end by PSCI") {
    Board board(mmio_guest());
    board.start();
    CHECK(is(board.run(), Kind::PowerOff));
    const std::vector<u64> want{kPattern, kPattern & 0xffffffff, kPattern & 0xffff, 0x88, 0x34, 0x1234, 0x1234};
    CHECK(board.reports() == want);
}

TEST_CASE("a state that is read after an exit is complete", "[U5]") {
    Board board(mmio_guest());
    board.start();
    board.on_report = [&](u64) { board.vcpu().request_exit(); };
    CHECK(is<RequestedExit>(board.run()));
    const State s = board.state();
    CHECK(s.x[0] == kPattern);
    CHECK(s.pc == kRam + 12);  // behind the first store
    board.on_report = {};
    CHECK(is(board.run(), Kind::PowerOff));
    CHECK(board.reports().size() == 7);
}

TEST_CASE("requests to leave: before, during and between runs", "[U1][U2][U3]") {
    Board board(spin_guest());
    board.start();
    board.vcpu().request_exit();
    CHECK(is<RequestedExit>(board.vcpu().run()));
    CHECK(board.state().pc == kRam);
    for (int i = 0; i < 20; ++i) {
        std::atomic<bool> running{false};
        std::thread other([&] {
            while (!running) std::this_thread::yield();
            board.vcpu().request_exit();
        });
        running = true;
        CHECK(is<RequestedExit>(board.vcpu().run()));
        other.join();
    }
}

TEST_CASE("a storm of requests against a guest that leaves on its own", "[U4]") {
    Board board(busy_guest());
    board.start();
    constexpr int kEach = 50;
    std::atomic<int> sent{0}, threads{3};
    std::vector<std::thread> senders;
    for (int t = 0; t < 3; ++t) {
        senders.emplace_back([&] {
            for (int i = 0; i < kEach; ++i) {
                ++sent;
                board.vcpu().request_exit();
                std::this_thread::sleep_for(std::chrono::milliseconds(2));
            }
            --threads;
            board.vcpu().request_exit();
        });
    }
    int taken = 0;
    while (threads > 0) {
        REQUIRE(is<RequestedExit>(board.vcpu().run()));
        ++taken;
    }
    for (auto& s : senders) s.join();
    CHECK(taken <= sent + 3);
    CHECK(taken > 1);
}

TEST_CASE("the thread's signal mask is as before", "[U6]") {
    Board board(spin_guest());
    board.start();
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, nullptr, &before);
    board.vcpu().request_exit();
    (void)board.vcpu().run();
    pthread_sigmask(SIG_SETMASK, nullptr, &after);
    for (int s = 1; s < SIGRTMAX; ++s) CHECK(sigismember(&before, s) == sigismember(&after, s));
}

TEST_CASE("a state goes in and comes out whole", "[R1]") {
    Board board(spin_guest(), 2);
    board.start();
    State s;
    cpu::arm64::reset(s, 1);
    for (std::size_t i = 0; i < s.x.size(); ++i) s.x[i] = 0x1111111111111111 * (i + 1);
    for (std::size_t i = 0; i < s.v.size(); ++i) s.v[i].lane = {i * 3 + 1, ~u64{i}};
    s.sp = {0x1000, 0x2000, 0};
    s.pc = kRam + 4;
    s.pstate = cpu::arm64::pstate::kNzcv | cpu::arm64::pstate::kI | 5;
    s.fpcr = 3 << 22;
    s.fpsr = 0x8000001f;
    s.sys.vbar_el1 = 0xffff000000010000;
    s.sys.ttbr0_el1 = 0x40100000;
    s.sys.ttbr1_el1 = 0x40200000;
    s.sys.tcr_el1 = 0x3500100010;
    s.sys.mair_el1 = 0x4400ff;
    s.sys.esr_el1 = 0x56000001;
    s.sys.far_el1 = 0x123456789;
    s.sys.elr_el1 = 0x40001230;
    s.sys.spsr_el1 = 0x3c5;
    s.sys.tpidr_el0 = 1, s.sys.tpidr_el1 = 2, s.sys.tpidrro_el0 = 3, s.sys.contextidr_el1 = 4;
    s.sys.cntv_cval_el0 = 0x7fffffffffffffff;
    s.sys.dbgbvr_el1[0] = 0x40001000, s.sys.dbgwvr_el1[1] = 0x40002000;
    REQUIRE(board.vcpu().import_state(s).ok());
    const State out = board.state();
    CHECK(out.x == s.x);
    CHECK(out.v == s.v);
    CHECK(out.sp == s.sp);
    CHECK(out.pc == s.pc);
    CHECK(out.pstate == s.pstate);
    CHECK(out.fpcr == s.fpcr);
    CHECK(out.fpsr == s.fpsr);
    for (const auto field :
         {&cpu::arm64::Sysregs::vbar_el1, &cpu::arm64::Sysregs::ttbr0_el1, &cpu::arm64::Sysregs::ttbr1_el1,
          &cpu::arm64::Sysregs::tcr_el1, &cpu::arm64::Sysregs::mair_el1, &cpu::arm64::Sysregs::esr_el1,
          &cpu::arm64::Sysregs::far_el1, &cpu::arm64::Sysregs::elr_el1, &cpu::arm64::Sysregs::spsr_el1,
          &cpu::arm64::Sysregs::tpidr_el0, &cpu::arm64::Sysregs::tpidr_el1, &cpu::arm64::Sysregs::tpidrro_el0,
          &cpu::arm64::Sysregs::contextidr_el1, &cpu::arm64::Sysregs::cntv_cval_el0}) {
        CHECK(out.sys.*field == s.sys.*field);
    }
    CHECK(out.sys.dbgbvr_el1[0] == s.sys.dbgbvr_el1[0]);
    CHECK(out.sys.dbgwvr_el1[1] == s.sys.dbgwvr_el1[1]);
    CHECK(out.activity == cpu::arm64::Activity::Running);
    CHECK(board.state(1).activity == cpu::arm64::Activity::PoweredOff);
    cpu::arm64::reset(s, 2);
    const auto refused = board.vcpu().import_state(s);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().code == Errc::Unsupported);
}

TEST_CASE("registers by number: three errors, and what never changes", "[R1][R2]") {
    Board board(spin_guest());
    board.start();
    auto all = board.registers().registers();
    REQUIRE(all.ok());
    CHECK(all->size() > 100);
    u64 value = 77, back = 0;
    const auto bytes = [](u64& v) { return std::span(reinterpret_cast<u8*>(&v), sizeof v); };
    CHECK(board.registers().write_register(kX0, bytes(value)).ok());
    CHECK(board.registers().read_register(kX0, bytes(back)).ok());
    CHECK(back == 77);
    const auto unknown = board.registers().read_register(0x603000000013ffff, bytes(back));
    REQUIRE_FALSE(unknown.ok());
    CHECK(unknown.error().code == Errc::NotFound);
    u32 small = 0;
    const auto size = board.registers().read_register(kX0, std::span(reinterpret_cast<u8*>(&small), sizeof small));
    REQUIRE_FALSE(size.ok());
    CHECK(size.error().code == Errc::InvalidArgument);
    constexpr u64 kLastBreakpoint = 0x603000000013807c;  // DBGBVR15_EL1: few processors have sixteen
    const auto absent = board.registers().read_register(kLastBreakpoint, bytes(back));
    if (!absent) CHECK(absent.error().code == Errc::Unsupported);
    CHECK(board.registers().read_register(kMidr, bytes(back)).ok());
    CHECK(board.registers().write_register(kMidr, bytes(back)).ok());
    value = back ^ 1;
    const auto other = board.registers().write_register(kMidr, bytes(value));
    REQUIRE_FALSE(other.ok());
    CHECK(other.error().code == Errc::Invariant);
    CHECK(other.error().message.find(fmt::format("{:#x}", back)) != std::string::npos);
    back = 0;
    CHECK(board.registers().read_register(kMidr, bytes(back)).ok());
    CHECK(back == (value ^ 1));
}

TEST_CASE("a step is one instruction, also with an interrupt pending", "[D1][D3]") {
    Board board(steps_guest());
    board.add_gicv2_model();
    board.start();
    const u64 sums[] = {1, 3, 6, 6, 10};
    const u64 places[] = {4, 8, 12, 20, 24};
    State s = board.state();
    s.pstate &= ~cpu::arm64::pstate::kI;
    REQUIRE(board.vcpu().import_state(s).ok());
    for (const u64 on : {u64{kGicd}, u64{kGicc}}) REQUIRE(board.model()->mmio_write(0, on, 1, 4));
    REQUIRE(board.model()->mmio_write(0, kGicc + 4, 0xf0, 4));
    REQUIRE(board.model()->mmio_write(0, kGicd + 0xf00, 2 << 24 | 3, 4));  // an SGI to itself
    for (std::size_t i = 0; i < std::size(sums); ++i) {
        const accel::Exit exit = board.vcpu().step();
        REQUIRE(is(exit, DebugExit::Reason::SingleStep));
        const State now = board.state();
        CHECK(now.x[0] == sums[i]);
        CHECK(now.pc == kRam + places[i]);
        CHECK(std::get<DebugExit>(exit).pc == now.pc);
    }
}

TEST_CASE("breakpoints stop before their instruction", "[D3]") {
    Board board(steps_guest());
    board.start();
    auto& native = dynamic_cast<accel::NativeVcpu&>(board.vcpu());
    const u64 at[] = {kRam + 8, kRam + 20};
    REQUIRE(native.set_breakpoints(at).ok());
    accel::Exit exit = board.run();
    CHECK(is(exit, DebugExit::Reason::Breakpoint));
    CHECK(board.state().pc == kRam + 8);
    CHECK(board.state().x[0] == 3);
    CHECK(is(board.vcpu().step(), DebugExit::Reason::SingleStep));
    exit = board.run();
    CHECK(is(exit, DebugExit::Reason::Breakpoint));
    CHECK(board.state().pc == kRam + 20);
    REQUIRE(native.set_breakpoints({}).ok());
}

TEST_CASE("an access that KVM cannot emulate is an emulation failure that names it") {
    Board board(pair_guest());
    board.start();
    const accel::Exit exit = board.run();
    const auto* failure = std::get_if<accel::EmulationFailureExit>(&exit);
    REQUIRE(failure != nullptr);
    CHECK(failure->pc == kRam + 4);
    CHECK(failure->why.find("0x9000000") != std::string::npos);
}

TEST_CASE("pages that the guest has written") {
    Board board(dirty_guest());
    board.start();
    auto& native = dynamic_cast<accel::NativeVcpu&>(board.vcpu());
    std::vector<u64> pages;
    REQUIRE(native.take_written(pages).ok());
    CHECK(is(board.run(), Kind::PowerOff));
    pages.clear();
    REQUIRE(native.take_written(pages).ok());
    CHECK(pages == std::vector<u64>{0x40200000, 0x40205000, 0x40400000});
    pages.clear();
    REQUIRE(native.take_written(pages).ok());
    CHECK(pages.empty());
}

TEST_CASE("PSCI: version, CPU_ON, AFFINITY_INFO, CPU_OFF, SYSTEM_RESET") {
    Board board(psci_guest(), 2);
    board.start();
    CHECK(is(board.run(), Kind::Reset));
    const auto reports = board.reports();
    REQUIRE(reports.size() == 5);
    CHECK(reports[0] >= 0x10000);  // 1.0 or later
    // The second processor's context comes at any time before it is off.
    CHECK(std::count(reports.begin(), reports.end(), 0x5a5a) == 1);
    CHECK(std::count(reports.begin(), reports.end(), 0) == 1);
    CHECK(reports[3] == 1);
    CHECK(reports[4] == 0xfffffffe);  // INVALID_PARAMETERS
}

TEST_CASE("vCPUs are made once, and power on from outside too", "[I5]") {
    Board board(mmio_guest(), 1);
    board.start();
    const auto again = board.engine().create_vcpu(0, board);
    REQUIRE_FALSE(again.ok());
    CHECK(again.error().code == Errc::Busy);
    State s = board.state();
    s.activity = cpu::arm64::Activity::PoweredOff;
    REQUIRE(board.vcpu().import_state(s).ok());
    board.vcpu().power_on(kRam + 4, 0x99);  // skips the first instruction: X1 is 0, a translation fault follows at once
    board.vcpu().request_exit();
    CHECK(is<RequestedExit>(board.vcpu().run()));
    s = board.state();
    CHECK(s.pc == kRam + 4);
    CHECK(s.x[0] == 0x99);
    CHECK(s.activity == cpu::arm64::Activity::Running);
}

}  // namespace tandem::tests

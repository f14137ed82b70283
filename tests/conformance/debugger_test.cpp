// A debugger's breakpoints and the guest's own debug registers, on every engine (contracts D2 and D3; SDM volume
// 3, 17.2, 17.3).
#include <catch2/catch.hpp>

#include "accel/debugger.h"
#include "accel/switch/switch_accelerator.h"
#include "tests/conformance/bench.h"

using namespace tandem;
using namespace tandem::tests;
using accel::Breakpoint;
using accel::DebugExit;
using Kind = Breakpoint::Kind;

namespace {

constexpr u64 kHandler = 0x2000, kStack = 0x8000;
constexpr u16 kOwn = 0x11;  // port where the guest shows DR6 in its #DB handler

// The bench with a handler for #DB in real mode, which shows DR6, clears it and returns.
struct Guest : Bench {
    std::vector<u32> shown;  // by the guest's handler
    accel::DebuggedVcpu* debugger;

    Guest(Engine engine, std::initializer_list<u8> code) : Bench(engine, code) { prepare(); }
    Guest(Result<std::unique_ptr<accel::Accelerator>> made, std::initializer_list<u8> code) : Bench(std::move(made), code) {
        prepare();
    }
    void prepare() {
        const u16 gate[2] = {kHandler, 0};
        REQUIRE(memory.write(4 * 1, gate, sizeof gate));
        // push eax; mov eax, dr6; out kOwn, eax; xor eax, eax; mov dr6, eax; pop eax; then the resume flag in the image,
        // which an interpreting KVM does not set, by IRETD: push bp; mov bp, sp; pop of the 16-bit frame as a 32-bit one
        // with RF
        const u8 code[] = {0x66, 0x50, 0x0f, 0x21, 0xf0, 0x66, 0xe7, kOwn, 0x66, 0x31, 0xc0, 0x0f, 0x23, 0xf0,
                           // mov bp, sp; movzx eax, word [bp+8]; or eax, 0x10000; (frame of 3 dwords:)
                           0x89, 0xe5, 0x66, 0x0f, 0xb7, 0x46, 0x08, 0x66, 0x0d, 0, 0, 1, 0, 0x66, 0x50,
                           // movzx eax, word [bp+6]; push eax; movzx eax, word [bp+4]; push eax; mov eax, [bp]; iretd
                           0x66, 0x0f, 0xb7, 0x46, 0x06, 0x66, 0x50, 0x66, 0x0f, 0xb7, 0x46, 0x04, 0x66, 0x50, 0x66, 0x8b,
                           0x46, 0, 0x66, 0xcf};
        REQUIRE(memory.write(kHandler, code, sizeof code));
        handler_of_ports();
        debugger = dynamic_cast<accel::DebuggedVcpu*>(vcpu.get());
        REQUIRE(debugger != nullptr);
        change([](cpu::x86::State& s) { s.gpr[cpu::x86::RSP] = kStack; });
    }
    void handler_of_ports() {
        handler.on_write = [this](const accel::PortExit& port) {
            if (port.port == kOwn) shown.push_back(port.data & 0xe00f);
        };
    }
    template <class F>
    void change(F f) {
        cpu::x86::State s = state();
        f(s);
        REQUIRE(vcpu->import_state(s).ok());
    }
    void set(std::initializer_list<Breakpoint> breakpoints) {
        const auto done = debugger->set_debugger(std::span(breakpoints.begin(), breakpoints.size()));
        INFO((done ? "" : done.error().message));
        REQUIRE(done.ok());
    }
};

bool halted(const accel::Exit& e) { return std::holds_alternative<accel::HaltExit>(e); }
DebugExit debug(const accel::Exit& e) {
    REQUIRE(std::holds_alternative<DebugExit>(e));
    return std::get<DebugExit>(e);
}
bool is(const DebugExit& e, DebugExit::Reason reason, u64 pc, u64 address = 0) {
    CAPTURE(static_cast<int>(e.reason), e.pc, e.address);
    CHECK(e.reason == reason);
    CHECK(e.pc == pc);
    CHECK(e.address == address);
    return e.reason == reason && e.pc == pc && e.address == address;
}
constexpr auto kBreakpoint = DebugExit::Reason::Breakpoint;
constexpr auto kWatchpoint = DebugExit::Reason::Watchpoint;

// Engines whose processor has data breakpoints. KVM that interprets its guest has none (docs/differences.md).
std::vector<Engine> with_data_breakpoints() {
    std::vector<Engine> all = engines();
    std::erase(all, Engine::Kvm);
    return all;
}

#define FOR_EACH_ENGINE(list)                           \
    const Engine engine = GENERATE(from_range(list())); \
    CAPTURE(static_cast<int>(engine))

}  // namespace

TEST_CASE("a debugger's breakpoint stops before its instruction, each time, and run() goes on with it", "[D2][D3]") {
    FOR_EACH_ENGINE(engines);
    Guest g(engine,
            {0x40, 0x43, 0x43, 0x83, 0xf8, 3, 0x75, 0xf8, 0xf4});  // loop: inc ax; inc bx; inc bx; cmp ax, 3; jne; hlt
    g.set({{kCode + 1}});
    for (u64 round = 1; round <= 3; ++round) {
        is(debug(g.vcpu->run()), kBreakpoint, kCode + 1);
        const auto s = g.state();
        CHECK((s.gpr[cpu::x86::RAX] & 0xffff) == round);
        CHECK((s.gpr[cpu::x86::RBX] & 0xffff) == 2 * (round - 1));
        CHECK(s.rip == kCode + 1);
        CHECK(s.dr7 == 0x400);
        CHECK((s.dr6 & 0xf) == 0);
    }
    CHECK(halted(g.vcpu->run()));
    g.change([](auto& s) { s.rip = kCode, s.gpr[cpu::x86::RAX] = 2, s.activity = cpu::x86::Activity::Running; });
    is(debug(g.vcpu->run()), kBreakpoint, kCode + 1);
    // A step from there is one instruction.
    is(debug(g.vcpu->step()), DebugExit::Reason::SingleStep, kCode + 2);
    g.set({});
    CHECK(halted(g.vcpu->run()));
    CHECK(g.shown.empty());
}

TEST_CASE("a breakpoint at a repeated instruction stops before its first element only", "[D2]") {
    FOR_EACH_ENGINE(engines);
    Guest g(engine, {0xf3, 0xaa, 0xf4});  // rep stosb; hlt
    g.set({{kCode}});
    g.change([](auto& s) { s.gpr[cpu::x86::RCX] = 100, s.gpr[cpu::x86::RDI] = 0x3000; });
    is(debug(g.vcpu->run()), kBreakpoint, kCode);
    CHECK((g.state().gpr[cpu::x86::RCX] & 0xffff) == 100);
    accel::Exit exit = g.vcpu->run();
    // KVM's own interpreter stops once more, behind the last element (docs/differences.md).
    if (engine == Engine::Kvm && std::holds_alternative<DebugExit>(exit)) exit = g.vcpu->run();
    CHECK(halted(exit));
    CHECK((g.state().gpr[cpu::x86::RCX] & 0xffff) == 0);
}

TEST_CASE("the guest's own breakpoint at a repeated instruction comes before its first element only", "[D2]") {
    FOR_EACH_ENGINE(engines);
    Guest g(engine, {0xf3, 0xaa, 0xf4});  // rep stosb; hlt
    g.change([](auto& s) {
        s.gpr[cpu::x86::RCX] = 100, s.gpr[cpu::x86::RDI] = 0x3000;
        s.dr[0] = kCode, s.dr7 = 0x402;
    });
    CHECK(halted(g.vcpu->run()));
    CHECK(g.shown == std::vector<u32>{1});
    CHECK((g.state().gpr[cpu::x86::RCX] & 0xffff) == 0);
}

// An instruction that begins twice, as a translator's store into code it has translated does, is met once.
TEST_CASE("breakpoints at an instruction that writes its own page come once", "[D2]") {
    FOR_EACH_ENGINE(engines);
    Guest g(engine, {0xa2, 0x10, 0x10, 0xf4});  // mov [kCode + 16], al; hlt
    g.change([](auto& s) {
        s.gpr[cpu::x86::RAX] = 0x5a;
        s.dr[0] = kCode, s.dr7 = 0x402;
    });
    if (engine != Engine::Kvm) {
        g.set({{kCode}});
        is(debug(g.vcpu->run()), kBreakpoint, kCode);
    }
    CHECK(halted(g.vcpu->run()));
    CHECK(g.shown == std::vector<u32>{1});
    u8 written = 0;
    CHECK(g.memory.read(kCode + 16, &written, 1));
    CHECK(written == 0x5a);
}

TEST_CASE("the guest's own instruction breakpoint reaches the guest beside the debugger's", "[D2]") {
    FOR_EACH_ENGINE(engines);
    Guest g(engine, {0x40, 0x40, 0x40, 0x40, 0xf4});  // inc ax, four times; hlt
    g.change([](auto& s) {
        s.dr[2] = kCode + 2;
        s.dr7 = 0x400 | 1u << 4;
    });
    g.set({{kCode + 1}, {kCode + 3}});
    is(debug(g.vcpu->run()), kBreakpoint, kCode + 1);
    CHECK(g.shown.empty());
    is(debug(g.vcpu->run()), kBreakpoint, kCode + 3);
    CHECK(g.shown == std::vector<u32>{1u << 2});  // DR6.B2, by its own register's number
    const auto s = g.state();
    CHECK((s.gpr[cpu::x86::RAX] & 0xffff) == 3);
    CHECK(s.dr == std::array<u64, 4>{0, 0, kCode + 2, 0});
    CHECK((s.dr7 & 0xff) == 1u << 4);
    CHECK(halted(g.vcpu->run()));
    CHECK(g.shown.size() == 1);
}

TEST_CASE("where both have a breakpoint, the debugger is told first and the guest gets its exception", "[D2]") {
    FOR_EACH_ENGINE(engines);
    Guest g(engine, {0x40, 0x40, 0xf4});
    g.change([](auto& s) {
        s.dr[0] = kCode + 1;
        s.dr7 = 0x400 | 2;
    });
    g.set({{kCode + 1}});
    is(debug(g.vcpu->run()), kBreakpoint, kCode + 1);
    CHECK(g.shown.empty());
    // The handler comes back to the same instruction.
    accel::Exit exit = g.vcpu->run();
    if (std::holds_alternative<DebugExit>(exit)) exit = g.vcpu->run();
    CHECK(halted(exit));
    CHECK(g.shown == std::vector<u32>{1});
    CHECK((g.state().gpr[cpu::x86::RAX] & 0xffff) == 2);
}

TEST_CASE("the guest reads and writes its own debug registers while the debugger has breakpoints", "[D2]") {
    FOR_EACH_ENGINE(engines);
    // mov eax, 0x1234; mov dr1, eax; mov ebx, dr1; mov ecx, dr0; mov edx, dr7; nop; hlt
    Guest g(engine, {0x66, 0xb8, 0x34, 0x12, 0,    0,    0x0f, 0x23, 0xc8, 0x0f,
                     0x21, 0xcb, 0x0f, 0x21, 0xc1, 0x0f, 0x21, 0xfa, 0x90, 0xf4});
    g.set({{kCode + 18}, {kCode + 0x100}});
    is(debug(g.vcpu->run()), kBreakpoint, kCode + 18);
    const auto s = g.state();
    CHECK((s.gpr[cpu::x86::RBX] & 0xffffffff) == 0x1234);
    CHECK((s.gpr[cpu::x86::RCX] & 0xffffffff) == 0);
    CHECK((s.gpr[cpu::x86::RDX] & 0xffffffff) == 0x400);
    CHECK(s.dr == std::array<u64, 4>{0, 0x1234, 0, 0});
    CHECK(halted(g.vcpu->run()));
}

TEST_CASE("a debugger's data breakpoint stops behind the access, with its address", "[D2][D3]") {
    FOR_EACH_ENGINE(with_data_breakpoints);
    // mov ax, [0x6002]; mov [0x6000], ax; mov [0x6002], ax; mov ax, [0x6000]; inc bx; hlt
    Guest g(engine, {0xa1, 2, 0x60, 0xa3, 0, 0x60, 0xa3, 2, 0x60, 0xa1, 0, 0x60, 0x43, 0xf4});
    g.set({{0x6002, 2, Kind::Write}, {0x6000, 1, Kind::Access}});
    is(debug(g.vcpu->run()), kWatchpoint, kCode + 6, 0x6000);
    is(debug(g.vcpu->run()), kWatchpoint, kCode + 9, 0x6002);
    is(debug(g.vcpu->step()), kWatchpoint, kCode + 12, 0x6000);
    is(debug(g.vcpu->step()), DebugExit::Reason::SingleStep, kCode + 13);
    CHECK((g.state().debug_trap) == 0);
    CHECK(halted(g.vcpu->run()));
    CHECK(g.shown.empty());
    CHECK((g.state().dr6 & 0xf) == 0);
}

TEST_CASE("a data breakpoint of both stops the debugger, and the guest gets its trap", "[D2]") {
    FOR_EACH_ENGINE(with_data_breakpoints);
    Guest g(engine, {0xa3, 0, 0x60, 0x43, 0xf4});  // mov [0x6000], ax; inc bx; hlt
    g.change([](auto& s) {
        s.dr[3] = 0x6000;
        s.dr7 = 0x400 | 2u << 6 | 1u << 28;  // a byte, writes
    });
    g.set({{0x6000, 2, Kind::Write}});
    is(debug(g.vcpu->run()), kWatchpoint, kCode + 3, 0x6000);
    CHECK(g.shown.empty());
    CHECK(halted(g.vcpu->run()));
    CHECK(g.shown == std::vector<u32>{1u << 3});
    CHECK((g.state().gpr[cpu::x86::RBX] & 0xffff) == 1);
}

TEST_CASE("an interrupt does not come between an access and the debugger's stop", "[D1][D2]") {
    FOR_EACH_ENGINE(with_data_breakpoints);
    Guest g(engine, {0xfb, 0x90, 0xa3, 0, 0x60, 0x43, 0xf4});  // sti; nop; mov [0x6000], ax; inc bx; hlt
    const u16 gate[2] = {0x3000, 0};
    const u8 back[] = {0xcf};  // iret
    REQUIRE(g.memory.write(4 * 0x41, gate, sizeof gate));
    REQUIRE(g.memory.write(0x3000, back, sizeof back));
    g.set({{0x6000, 2, Kind::Write}, {kCode + 2}});
    is(debug(g.vcpu->run()), kBreakpoint, kCode + 2);
    g.handler.vector = [] { return 0x41; };
    g.vcpu->set_line(devices::CpuLine::Interrupt, true);
    is(debug(g.vcpu->step()), kWatchpoint, kCode + 5, 0x6000);
    CHECK(g.handler.vector != nullptr);
    CHECK(halted(g.vcpu->run()));
}

TEST_CASE("breakpoints that no processor has are refused, and the old ones stay", "[D2]") {
    FOR_EACH_ENGINE(engines);
    Guest g(engine, {0x40, 0x40, 0xf4});
    g.set({{kCode + 1}});
    for (const Breakpoint& bad :
         {Breakpoint{kCode, 3}, Breakpoint{kCode + 1, 2, Kind::Write}, Breakpoint{kCode, 2, Kind::Execute}}) {
        const auto refused = g.debugger->set_debugger(std::span(&bad, 1));
        REQUIRE_FALSE(refused.ok());
        CHECK(refused.error().code == Errc::InvalidArgument);
    }
    const std::vector<Breakpoint> many(5, Breakpoint{kCode});
    CHECK_FALSE(g.debugger->set_debugger(many).ok());
    is(debug(g.vcpu->run()), kBreakpoint, kCode + 1);
}

TEST_CASE("a debugger's breakpoints go with a machine that changes engines", "[D2]") {
    std::vector<std::pair<Engine, Engine>> pairs{{Engine::Interp, Engine::Baseline}};
    for (const Engine e : engines()) {
        if (e == Engine::Kvm) pairs.emplace_back(Engine::Kvm, Engine::Baseline);
    }
    const auto [first, second] = GENERATE_COPY(from_range(pairs));
    const auto choice = [](const char* name, Engine e) {
        return accel::EngineChoice{name, [e] { return create_engine(e); }};
    };
    Guest g(accel::create_switch_accelerator({choice("first", first), choice("second", second)}, {}),
            {0x40, 0x40, 0x40, 0xeb, 0xfb});  // loop: inc ax, three times; jmp loop
    g.set({{kCode + 1}});
    for (int round = 0; round < 3; ++round) {
        is(debug(g.vcpu->run()), kBreakpoint, kCode + 1);
        REQUIRE(g.accelerator->change_engine(round % 2 == 0 ? "second" : "first").ok());
        g.change([](auto& s) { s.rip = kCode + 2; });
    }
}

namespace {

// As in the program, where KVM has the translator: what the engine's own step would show, another one does.
Result<std::unique_ptr<accel::Accelerator>> with_helper(Engine engine) {
    const auto choice = [](Engine e) { return accel::EngineChoice{"", [e] { return create_engine(e); }}; };
    return accel::create_switch_accelerator({choice(engine), choice(Engine::Interp)}, {1});
}
constexpr u16 kTrapFlag = 0x100;

}  // namespace

TEST_CASE("a step into a handler is one instruction, and the guest sees nothing of it", "[D1]") {
    FOR_EACH_ENGINE(engines);
    Guest g(with_helper(engine),
            {0xcd, 0x41, 0x31, 0xc9, 0xf7, 0xf1, 0x9c, 0xf4});  // int 0x41; xor cx, cx; div cx; pushf; hlt
    constexpr u64 kInterrupt = 0x3000, kDivide = 0x3100;
    const u16 gates[2][2] = {{kInterrupt, 0}, {kDivide, 0}};
    const u8 back[] = {0x90, 0xcf}, past[] = {0x55, 0x89, 0xe5, 0x83, 0x46, 2, 2, 0x5d, 0xcf};  // nop; iret
    REQUIRE(g.memory.write(4 * 0x41, gates[0], sizeof gates[0]));
    REQUIRE(g.memory.write(0, gates[1], sizeof gates[1]));
    REQUIRE(g.memory.write(kInterrupt, back, sizeof back));
    // push bp; mov bp, sp; add word [bp + 2], 2; pop bp; iret
    REQUIRE(g.memory.write(kDivide, past, sizeof past));
    const auto pushed_flags = [&](u64 at) {
        u16 flags = 0;
        REQUIRE(g.memory.read(at, &flags, sizeof flags));
        return flags;
    };
    constexpr auto kStep = DebugExit::Reason::SingleStep;
    is(debug(g.vcpu->step()), kStep, kInterrupt);
    CHECK((pushed_flags(kStack - 2) & kTrapFlag) == 0);
    is(debug(g.vcpu->step()), kStep, kInterrupt + 1);
    is(debug(g.vcpu->step()), kStep, kCode + 2);
    is(debug(g.vcpu->step()), kStep, kCode + 4);
    is(debug(g.vcpu->step()), kStep, kDivide);
    CHECK((pushed_flags(kStack - 2) & kTrapFlag) == 0);
    for (const u64 next : {1u, 3u, 7u, 8u}) is(debug(g.vcpu->step()), kStep, kDivide + next);
    is(debug(g.vcpu->step()), kStep, kCode + 6);
    is(debug(g.vcpu->step()), kStep, kCode + 7);
    CHECK((pushed_flags(kStack - 2) & kTrapFlag) == 0);
    CHECK((g.state().rflags & kTrapFlag) == 0);
    CHECK(g.shown.empty());
}

TEST_CASE("going on from a breakpoint shows the guest no step", "[D1][D2]") {
    FOR_EACH_ENGINE(engines);
    Guest g(with_helper(engine), {0xcd, 0x41, 0xf4});  // int 0x41; hlt
    const u16 gate[2] = {0x3000, 0};
    const u8 halt[] = {0xf4};
    REQUIRE(g.memory.write(4 * 0x41, gate, sizeof gate));
    REQUIRE(g.memory.write(0x3000, halt, sizeof halt));
    g.set({{kCode}});
    is(debug(g.vcpu->run()), kBreakpoint, kCode);
    CHECK(halted(g.vcpu->run()));
    u16 flags = 0;
    REQUIRE(g.memory.read(kStack - 2, &flags, sizeof flags));
    CHECK((flags & kTrapFlag) == 0);
    CHECK((g.state().rip & 0xffff) == 0x3001);
    CHECK(g.shown.empty());
}

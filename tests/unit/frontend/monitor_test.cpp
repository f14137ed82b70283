// The monitor's words: expressions, line editing, and commands on a machine that a thread runs.
#include <catch2/catch.hpp>
#include <sstream>
#include <thread>

#include "accel/jit/x86_jit.h"
#include "devices/char/backends.h"
#include "frontend/monitor/console.h"
#include "frontend/monitor/expression.h"
#include "tests/unit/machines/fake_kernel.h"

using namespace tandem;
using namespace tandem::frontend;

namespace {

std::optional<u64> registers(std::string_view name) {
    if (name == "rsp") return 0x1000;
    return {};
}

u64 value(std::string_view text) {
    auto result = evaluate(text, registers);
    INFO(text);
    if (!result.ok()) FAIL(result.error().message);
    return *result;
}

std::string type(LineEditor& editor, std::string_view keys, std::string& shown) {
    std::string line, last;
    for (const char c : keys) {
        if (editor.take(c, line, shown)) last = line;
    }
    return last;
}

// A machine that spins in its kernel's NOPs, paused from the start, on a thread of its own.
class Rig {
public:
    Rig() {
        machines::MachineConfig config = files_.config();
        config.ram_bytes = 24ull << 20;
        config.cpus = 2;
        config.start_paused = true;
        config.devices.push_back({"virtio-balloon-pci", {{"id", "a b"}}});
        auto model = cpu::x86::CpuModel::create("max");
        REQUIRE(model.ok());
        config.cpu = *model;
        jit::Options options;
        options.tier = jit::Tier::Interp;
        auto engine = accel::create_jit_accelerator(*model, options);
        REQUIRE(engine.ok());
        auto created = machines::create_machine(std::move(config), std::move(engine).value());
        REQUIRE(created.ok());
        machine = std::move(created).value();
        thread_ = std::thread([this] { machine->run(); });
        monitor = std::make_unique<Monitor>(
            MonitorContext{*machine, "box", "", files_.path(""), {}, {"serial0: null"}, {"nic: user"}, 0});
    }
    ~Rig() {
        machine->request_quit();
        thread_.join();
    }
    std::string operator()(std::string_view line) const { return monitor->execute(line); }
    [[nodiscard]] bool says(std::string_view line, std::string_view part) const {
        const std::string answer = monitor->execute(line);
        INFO(line << " -> " << answer);
        CHECK(answer.find(part) != std::string::npos);
        return answer.find(part) != std::string::npos;
    }
    std::string path(const char* name) const { return files_.path(name); }

    std::unique_ptr<machines::Machine> machine;
    std::unique_ptr<Monitor> monitor;

private:
    tests::Kernel files_;
    std::thread thread_;
};

}  // namespace

TEST_CASE("monitor: expressions") {
    CHECK(value("1 + 2 * 3") == 7);
    CHECK(value("(1 + 2) * 3") == 9);
    CHECK(value("0x10-1") == 15);
    CHECK(value("$rsp + 8") == 0x1008);
    CHECK(value("-1") == ~u64{0});
    CHECK(value("~0 & 0xff") == 0xff);
    CHECK(value("017") == 15);
    CHECK(value("'A'") == 65);
    CHECK(value("7 % 4 | 8") == 11);
    for (const char* bad : {"", "1 +", "(1", "$nope", "5 / 0", "12x", "0xfffffffffffffffff", "1 2"}) {
        INFO(bad);
        CHECK(!evaluate(bad, registers).ok());
    }
    CHECK(!evaluate(std::string(100000, '('), registers).ok());
    CHECK(expression_length("0x10 4 file") == 4);
    CHECK(expression_length("0x10 + 4 file") == 8);
    CHECK(expression_length("(1 2) 3") == 5);
}

TEST_CASE("monitor: line editing") {
    LineEditor editor(true);
    std::string shown;
    CHECK(type(editor, "stpo\x7f\x7fop\r", shown) == "stop");
    CHECK(type(editor, "cont\r\n", shown) == "cont");
    CHECK(type(editor, "\x1b[A\x1b[A\r", shown) == "stop");
    CHECK(type(editor, "garbage\x15quit\r", shown) == "quit");
    CHECK(type(editor,
               "info mem\x17"
               "tlb\r",
               shown) == "info tlb");
    CHECK(type(editor, "system_p\t\r", shown) == "system_powerdown ");
    LineEditor silent(false);
    shown.clear();
    CHECK(type(silent, "help\n", shown) == "help");
    CHECK(shown.empty());
}

TEST_CASE("monitor: commands") {
    const Rig m;
    CHECK(m.says("info status", "prelaunch"));
    CHECK(m.says("frobnicate", "Error: unknown command 'frobnicate'"));
    CHECK(m.says("info nonsense", "Error: unknown subject"));
    CHECK(m.says("stop now", "Error: 'stop' has too many arguments (usage: stop)"));
    CHECK(m.says("cpu 7", "Error: there is no processor 7"));
    CHECK(m("cpu 1").empty());
    CHECK(m.says("info cpus", "* CPU #1"));
    CHECK(m("cpu 0").empty());
    CHECK(m.says("help", "savevm NAME"));
    CHECK(m.says("help info", "info registers"));
    CHECK(m.says("info registers", "RIP="));
    CHECK(m.says("info registers -a", "CPU#1"));
    CHECK(m.says("info qtree", "lapic1"));
    CHECK(m.says("info mtree", "RAM"));
    CHECK(m.says("info mtree", "00000000fee00000-00000000fee00fff local APIC of CPU #1"));
    CHECK(m.says("info network", "nic: user"));
    CHECK(m.says("info device virtio-balloon-pci 'a b'@01.0", "device.queues[0].size"));
    CHECK(m.says("info device nothing here", "Error: there is no device 'nothing here'"));
    CHECK(m.says("info balloon", "balloon: actual=24 wanted=24"));
    CHECK(m("balloon 16").empty());
    CHECK(m.says("info balloon", "balloon: actual=24 wanted=16"));
    for (const char* wrong : {"balloon", "balloon 0", "balloon 25", "balloon x", "balloon 1 2"})
        CHECK(m.says(wrong, "Error"));
    CHECK(m.says("info lapic", "lapic0"));
    CHECK(m.says("info pic", "pic"));
    CHECK(m.says("info irq", "ioapic"));
    CHECK(m.says("info jit", "blocks lifted"));
    CHECK(m.says("info exits", "port"));
    CHECK(m.says("info chardev", "serial0"));
    CHECK(m.says("info name", "box"));
    CHECK(m.says("info version", "tandem"));
    CHECK(m.says("info mem", "0000000000000000-"));
    CHECK(m.says("info tlb", "0000000000000000: 0000000000000000"));
    CHECK(m.says("print 0x10 * 2", "0x20"));
    CHECK(m.says("print/d -1", "-1"));
    CHECK(m.says("p $rip & 0", "0x0"));
    CHECK(m.says("p $nothing", "Error: unknown register"));
    CHECK(m.says("xp/4xb 0x1000000", "0x90 0x90 0x90 0x90"));
    CHECK(m.says("x /2i 0x1000000", "nop"));
    CHECK(m.says("x/99999999x 0", "Error: format"));
    CHECK(m.says("xp/w 0xffffffffffff0000", "cannot read memory"));
    CHECK(m.says("xp/1xw 0xfec00000", "0x00000000"));  // the I/O APIC's index
    CHECK(m.says("x/1xw 0xfec00000", "cannot read memory"));
    CHECK(m.says("gva2gpa 0x100000", "gpa: 0x100000"));
    CHECK(m("o/b 0x3ff 0x5a").empty());
    CHECK(m.says("i 0x70", "portb[0x0070]"));
    CHECK(m("log none").empty());
    CHECK(m.says("log everything", "Error"));
    CHECK(m.says("trace dreams on", "Error: unknown trace"));
    CHECK(m.says("log help", "guest_errors"));
    CHECK(m.says("screendump /tmp/screen.ppm", "Error: there is no screen"));
}

TEST_CASE("monitor: each command and subject is explained, and what is shown has no tabs") {
    const Rig m;
    std::istringstream lines(m("help"));
    for (std::string line; std::getline(lines, line);) {
        const std::string name = line.substr(0, line.find_first_of("| "));
        INFO(name);
        CHECK(m("help " + name).find(name) == 0);
    }
    for (const char* subject :
         {"balloon", "block",   "chardev", "cpus",  "exits",     "ioapic",    "irq",    "jit", "lapic", "mem",    "mtree",
          "name",    "network", "pic",     "qtree", "registers", "snapshots", "status", "tlb", "uuid",  "version"}) {
        const std::string answer = m(std::string("info ") + subject);
        INFO(subject << ": " << answer);
        CHECK(answer.find("Error") != 0);
        CHECK(answer.find('\t') == std::string::npos);
        CHECK(answer.find("info") == std::string::npos);
    }
}

TEST_CASE("monitor: what it shows of interrupt controllers, registers and mappings is what the guest made") {
    const Rig m;
    // 8259: vectors from 20H on, IRQ 4 open; IRQ 1 is asked for by nobody.
    for (const char* line : {"o/b 0x20 0x11", "o/b 0x21 0x20", "o/b 0x21 4", "o/b 0x21 1", "o/b 0x21 0xef"})
        CHECK(m(line).empty());
    CHECK(m.says("info pic", "chip[0].vector_base = 0x20"));
    CHECK(m.says("info pic", "chip[0].imr = 0xef"));
    const auto parts = m.machine->parts();
    REQUIRE(m.machine
                ->while_stopped([&]() -> Result<void> {
                    // I/O APIC input 9: vector 55H, level triggered, masked. Local APIC 0 is left to itself.
                    parts.mmio.write(0xfec00000, 0x10 + 2 * 9, 4);
                    parts.mmio.write(0xfec00010, 0x18055, 4);
                    // Virtual 400000H is physical 200000H, in a page of 2 MiB that user code may write.
                    const u64 tables[] = {0x3003 | 4, 0x4003 | 4, 0x2000e7};
                    (void)parts.memory.write(0x2000, &tables[0], 8);
                    (void)parts.memory.write(0x3000, &tables[1], 8);
                    (void)parts.memory.write(0x4010, &tables[2], 8);
                    const u8 code[] = {0x0f, 0xa2, 0x48, 0x89, 0xd8, 0xf4};  // CPUID; MOV RAX, RBX; HLT
                    (void)parts.memory.write(0x200010, code, sizeof code);
                    cpu::ArchState state;
                    TANDEM_TRY(parts.vcpus[0]->export_state(state));
                    auto& s = std::get<cpu::x86::State>(state);
                    s.cr3 = 0x2000;
                    s.gpr[cpu::x86::RBX] = 0x1234abcd5678;
                    return parts.vcpus[0]->import_state(state);
                })
                .ok());
    CHECK(m.says("info ioapic", "0x18055"));
    CHECK(m.says("info irq", "0x18055"));
    CHECK(m.says("info registers", "00001234abcd5678"));
    CHECK(m.says("p $rbx", "0x1234abcd5678"));
    CHECK(m.says("info tlb", "0000000000400000: 0000000000200000"));
    CHECK(m.says("info mem", "0000000000400000-0000000000600000 0000000000200000 urw"));
    CHECK(m.says("gva2gpa 0x412345", "gpa: 0x212345"));
    CHECK(m.says("gva2gpa 0x800000", "Error"));
    CHECK(m.says("x 0x800000", "cannot read memory"));
    CHECK(m.says("x/3i 0x400010", "cpuid"));
    CHECK(m.says("x/3i 0x400010", "mov rax, rbx"));
    CHECK(m.says("x/3i 0x400010", "hlt"));
    CHECK(m.says("x/1xw 0x400010", "0x8948a20f"));
    CHECK(m.says("xp/1xg 0x2000", "0x0000000000003007"));
    CHECK(m.says("info mtree", "00000000fec00000"));
}

TEST_CASE("monitor: a register by its name", "[R1][R2]") {
    const Rig m;
    CHECK(m("register RBX 0x1234 + 1") == "RBX = 0x1235\n");
    CHECK(m("register rbx") == "RBX = 0x1235\n");
    CHECK(m.says("info registers", "RBX=0000000000001235"));
    CHECK(m("register rcx $rbx * 2") == "RCX = 0x246a\n");
    CHECK(m("register LSTAR 0xffffffff81000000") == "LSTAR = 0xffffffff81000000\n");
    CHECK(m("register XMM3 0x112233445566778899aabbccddeeff00") == "XMM3 = 0x112233445566778899aabbccddeeff00\n");
    CHECK(m("register KVM_SYSTEM_TIME_NEW 0x123001") == "KVM_SYSTEM_TIME_NEW = 0x123001\n");
    CHECK(m("register CR8 5") == "CR8 = 0x5\n");
    CHECK(m.says("info lapic", "tpr = 0x50"));
    CHECK(m("cpu 1").empty());
    CHECK(m.says("register rbx", "RBX = 0x0"));
    CHECK(m("cpu 0").empty());
    const std::pair<const char*, const char*> refused[] = {
        {"register RXX", "Error: there is no register 'RXX'"},
        {"register RXX 1", "Error: there is no register 'RXX'"},
        {"register ZMM1", "Error: ZMM1: the features of processor 'max' lack it"},
        {"register CS 0x10000", "Error: CS has 2 bytes: 0x10000 does not fit"},
        {"register XMM1 0x1112233445566778899aabbccddeeff00", "Error: XMM1 has 16 bytes:"},
        {"register XMM1 0x112233445566778899aabbccddeeff0g", "is no hexadecimal number"},
        {"register rbx $nothing", "Error: unknown register"},
        {"register CR4 0xffffffff", "Error: CR4 cannot be 0xffffffff"},
        {"register MTRRCAP 1", "Error: MTRRCAP stays 0x508: 0x1 is another processor's (-cpu chooses it"},
    };
    for (const auto& [line, error] : refused) CHECK(m.says(line, error));
    CHECK(m("register MTRRCAP 0x508") == "MTRRCAP = 0x508\n");
    CHECK(m.says("register", "0x2030000100000003     8  general   RBX"));
    CHECK(m.says("register", "0x20300006000000fe     8  system    MTRRCAP (invariant)"));
    CHECK(m.says("help register", "register [NAME [VALUE]]"));
    CHECK(m("cont").empty());
    for (int i = 0; i < 120'000 && m.machine->state() != machines::RunState::Running; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    CHECK(m.says("register MTRRCAP 1", "(after the first run nothing changes it)"));
    CHECK(m("register r12 7") == "R12 = 0x7\n");
}

TEST_CASE("monitor: stop, cont and snapshots of a running machine") {
    const Rig m;
    CHECK(m("cont").empty());
    for (int i = 0; i < 120'000 && m.machine->state() != machines::RunState::Running; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    CHECK(m("stop").empty());
    CHECK(m.says("info status", "paused"));
    const u64 then = m.machine->parts().clock.now_ns();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CHECK(m.machine->parts().clock.now_ns() == then);
    CHECK(m("savevm one").empty());
    CHECK(m.says("info snapshots", "one"));
    CHECK(m("cont").empty());
    for (int i = 0; i < 10; ++i) {
        CHECK(m("savevm two").empty());
        CHECK(m("loadvm two").empty());
        CHECK(m("loadvm one").empty());
    }
    CHECK(m("stop").empty());
    CHECK(m("loadvm one").empty());
    CHECK(m.machine->parts().clock.now_ns() == then);
    CHECK(m("savevm " + m.path("elsewhere")).empty());  // a path, not a format
    CHECK(m("loadvm " + m.path("elsewhere")).empty());
    CHECK(m("loadvm one").empty());
    CHECK(m("delvm two").empty());
    CHECK(m.says("delvm two", "Error: cannot open"));
    CHECK(m.says("loadvm three", "Error: cannot open"));
    CHECK(m.says("savevm ../x/y", "Error"));
    CHECK(m.says("migrate tcp:1.2.3.4:5", "Error: cannot migrate"));
    CHECK(m.says("migrate file:" + m.path("moved"), "saved and paused"));
    CHECK(std::filesystem::exists(m.path("moved")));
}

// The monitor's words: expressions, line editing, and commands on a machine that a thread runs.
#include <catch2/catch.hpp>
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
        monitor = std::make_unique<Monitor>(MonitorContext{*machine, "box", "", files_.path(""), {}, {"serial0: null"}, 0});
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
    CHECK(m.says("stop now", "Error: 'stop' has too many arguments"));
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
    CHECK(m.says("gva2gpa 0x100000", "gpa: 0x100000"));
    CHECK(m("o/b 0x3ff 0x5a").empty());
    CHECK(m.says("i 0x70", "portb[0x0070]"));
    CHECK(m("log none").empty());
    CHECK(m.says("log everything", "Error"));
    CHECK(m.says("trace dreams on", "Error: unknown trace"));
}

TEST_CASE("monitor: stop, cont and snapshots of a running machine") {
    const Rig m;
    CHECK(m("cont").empty());
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
    CHECK(m("delvm two").empty());
    CHECK(m.says("delvm two", "Error: cannot open"));
    CHECK(m.says("loadvm three", "Error: cannot open"));
    CHECK(m.says("savevm ../x/y", "Error"));
    CHECK(m.says("migrate tcp:1.2.3.4:5", "Error: cannot migrate"));
    CHECK(m.says("migrate file:" + m.path("moved"), "saved and paused"));
    CHECK(std::filesystem::exists(m.path("moved")));
}

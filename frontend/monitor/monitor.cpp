#include "frontend/monitor/monitor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "frontend/monitor/expression.h"
#include "frontend/monitor/monitor_internal.h"
#include "frontend/monitor/registers.h"

namespace tandem::frontend {

namespace {

constexpr unsigned kAny = ~0u;

unsigned count_words(std::string_view text) {
    unsigned n = 0;
    for (text = trimmed(text); !text.empty(); text = trimmed(text.substr(std::min(text.find(' '), text.size())))) ++n;
    return n;
}

}  // namespace

std::string_view Monitor::Arguments::word() {
    rest = trimmed(rest);
    const auto end = std::min(rest.find(' '), rest.size());
    const auto result = rest.substr(0, end);
    rest.remove_prefix(end);
    return result;
}

std::string_view Monitor::Arguments::expression() {
    rest = trimmed(rest);
    const auto end = expression_length(rest);
    const auto result = rest.substr(0, end);
    rest.remove_prefix(end);
    return result;
}

std::span<const Monitor::Command> Monitor::commands() {
    using M = Monitor;
    static constexpr std::array kCommands{
        Command{"help", "?", "[COMMAND]", "Lists the commands, or explains one.", &M::help, 2},
        Command{"info", "", "SUBJECT", "Shows something about the machine; 'help info' lists the subjects.", &M::info, kAny},
        Command{"quit", "q", "", "Ends the program.", &M::quit},
        Command{"stop", "s", "", "Pauses the machine: processors and its clock stand still.", &M::stop},
        Command{"cont", "c", "", "Lets a paused machine go on.", &M::cont},
        Command{"system_reset", "", "", "Resets the machine.", &M::system_reset},
        Command{"system_powerdown", "", "", "Presses the power button.", &M::system_powerdown},
        Command{"nmi", "", "", "Sends a non-maskable interrupt to the chosen processor.", &M::nmi},
        Command{"balloon", "", "MIB", "Asks the guest to make do with so much memory (virtio-balloon).", &M::set_balloon, 1},
        Command{"cpu", "", "N", "Chooses the processor that other commands mean.", &M::choose_cpu, 1},
        Command{"accel", "", "[NAME]", "Moves the machine to another engine (jit, kvm), or says which one it is on.",
                &M::change_engine, 1},
        Command{"x", "", "[/FORMAT] ADDRESS", "Shows virtual memory: /COUNT, x d u o c or i, and b h w or g.", &M::examine,
                kAny, true},
        Command{"xp", "", "[/FORMAT] ADDRESS", "Shows physical memory and devices' registers, in the same formats.",
                &M::examine_physical, kAny, true},
        Command{"print", "p", "[/FORMAT] EXPRESSION", "Shows a value: numbers, $registers and operators.", &M::print, kAny,
                true},
        Command{"register", "", "[NAME [VALUE]]",
                "Shows or sets a register of the chosen processor; without a name lists their numbers.", &M::access_register,
                kAny},
        Command{"i", "", "[/FORMAT] PORT", "Reads an I/O port (/b, /h or /w).", &M::port_in, kAny, true},
        Command{"o", "", "[/FORMAT] PORT VALUE", "Writes an I/O port (/b, /h or /w).", &M::port_out, kAny, true},
        Command{"gva2gpa", "", "ADDRESS", "Translates a virtual address to a physical one.", &M::gva2gpa, kAny},
        Command{"memsave", "", "ADDRESS SIZE FILE", "Writes virtual memory to a file.", &M::memsave, kAny},
        Command{"pmemsave", "", "ADDRESS SIZE FILE", "Writes physical memory to a file.", &M::pmemsave, kAny},
        Command{"savevm", "", "NAME", "Saves the machine in the -snapshots directory, or in a file when NAME has a slash.",
                &M::savevm, 1},
        Command{"loadvm", "", "NAME", "Goes back to a saved machine.", &M::loadvm, 1},
        Command{"delvm", "", "NAME", "Deletes a saved machine.", &M::delvm, 1},
        Command{"migrate", "", "file:PATH", "Pauses and saves a machine that is to go on elsewhere (-loadvm PATH).",
                &M::migrate, 2},
        Command{"screendump", "", "FILE", "Writes what the screen shows to a file.", &M::screendump, kAny},
        Command{"log", "", "CATEGORY[,...]|none|help", "Logs what is named, as -d does.", &M::set_log, 1},
        Command{"trace", "trace-event", "exits on|off", "Turns a trace on or off.", &M::set_trace, 2},
    };
    return kCommands;
}

std::span<const Monitor::Command> Monitor::info_commands() {
    using M = Monitor;
    static constexpr std::array kSubjects{
        Command{"balloon", "", "", "Memory that the guest keeps, and what it says of it.", &M::info_balloon},
        Command{"block", "", "", "Drives and what a snapshot keeps of them.", &M::info_block},
        Command{"chardev", "", "", "Character streams.", &M::info_chardev},
        Command{"cpus", "", "", "Processors and what they are doing.", &M::info_cpus},
        Command{"device", "", "NAME", "All state of a device, as it would be saved.", &M::info_device, kAny},
        Command{"exits", "", "", "How often the engine came to the machine, by reason.", &M::info_exits},
        Command{"ioapic", "", "", "I/O APIC.", &M::info_ioapic},
        Command{"irq", "", "", "Levels and requests at all interrupt controllers.", &M::info_irq},
        Command{"jit", "", "", "Statistics of the engine.", &M::info_jit},
        Command{"lapic", "", "", "Local APIC of the chosen processor.", &M::info_lapic},
        Command{"mem", "", "", "Mapped virtual memory of the chosen processor, as ranges.", &M::info_mem},
        Command{"mtree", "", "", "Who answers which address and port.", &M::info_mtree},
        Command{"name", "", "", "The machine's name.", &M::info_name},
        Command{"network", "", "", "Network devices.", &M::info_network},
        Command{"pic", "", "", "8259 interrupt controllers, or the GIC.", &M::info_pic},
        Command{"qtree", "", "", "All devices.", &M::info_qtree},
        Command{"registers", "", "[-a]", "Registers of the chosen processor, or of all.", &M::info_registers, 1},
        Command{"snapshots", "", "", "Saved machines in the -snapshots directory.", &M::info_snapshots},
        Command{"status", "", "", "Whether the machine runs.", &M::info_status},
        Command{"tlb", "", "", "Mapped virtual memory of the chosen processor, page by page.", &M::info_tlb},
        Command{"uuid", "", "", "The machine's UUID.", &M::info_uuid},
        Command{"version", "", "", "The program's version.", &M::info_version},
    };
    return kSubjects;
}

std::string Monitor::execute(std::string_view line) {
    Answer answer = run(trimmed(line));
    if (!answer.ok()) return fmt::format("Error: {}\n", answer.error().message);
    std::string text = std::move(answer).value();
    if (!text.empty() && text.back() != '\n') text += '\n';
    return text;
}

Monitor::Answer Monitor::run(std::string_view line) {
    if (line.empty() || line.front() == '#') return std::string{};
    Arguments arguments{line, {}};
    std::string_view name = arguments.word();
    const auto slash = name.find('/');
    if (slash != std::string_view::npos) {
        arguments.format = name.substr(slash + 1);
        name = name.substr(0, slash);
    }
    for (const auto& command : commands()) {
        if (name != command.name && (command.alias.empty() || name != command.alias)) continue;
        if (!arguments.format.empty() && !command.takes_format) {
            return invalid(fmt::format("'{}' takes no format", command.name));
        }
        // Where there is no format a slash begins a path.
        if (command.takes_format && arguments.rest.starts_with(" /")) arguments.format = arguments.word().substr(1);
        if (count_words(arguments.rest) > command.most_arguments) {
            return invalid(fmt::format("'{}' has too many arguments (usage: {}{}{})", command.name, command.name,
                                       command.arguments.empty() ? "" : " ", command.arguments));
        }
        return (this->*command.run)(arguments);
    }
    return invalid(fmt::format("unknown command '{}' ('help' lists them)", name));
}

namespace {

template <class Row>
std::string describe(const Row& row, std::string_view prefix) {
    std::string left = fmt::format("{}{}", prefix, row.name);
    if (!row.alias.empty()) left += fmt::format("|{}", row.alias);
    if (!row.arguments.empty()) left += fmt::format(" {}", row.arguments);
    return fmt::format("{:<34} {}\n", left, row.help);
}

}  // namespace

Monitor::Answer Monitor::help(Arguments& arguments) {
    const auto name = arguments.word();
    std::string text;
    if (name == "info") {
        for (const auto& row : info_commands()) text += describe(row, "info ");
        return text;
    }
    for (const auto& row : commands()) {
        if (name.empty() || name == row.name || (!row.alias.empty() && name == row.alias)) text += describe(row, "");
    }
    if (text.empty()) return invalid(fmt::format("unknown command '{}'", name));
    return text;
}

Monitor::Answer Monitor::info(Arguments& arguments) {
    const auto subject = arguments.word();
    if (subject.empty()) {
        arguments.rest = "info";
        return help(arguments);
    }
    for (const auto& row : info_commands()) {
        if (subject != row.name) continue;
        if (count_words(arguments.rest) > row.most_arguments) {
            return invalid(fmt::format("'info {}' has too many arguments", subject));
        }
        return (this->*row.run)(arguments);
    }
    return invalid(fmt::format("unknown subject '{}' ('help info' lists them)", subject));
}

std::vector<std::string> Monitor::complete(std::string_view prefix) {
    std::vector<std::string> names;
    for (const auto& row : commands()) {
        if (row.name.starts_with(prefix)) names.emplace_back(row.name);
    }
    for (const auto& row : info_commands()) {
        const std::string name = fmt::format("info {}", row.name);
        if (prefix.starts_with("info ") && name.starts_with(prefix)) names.push_back(name);
    }
    return names;
}

Monitor::Answer Monitor::inspect(const std::function<Answer(const machines::MachineParts&)>& look) {
    Answer answer = std::string{};
    TANDEM_TRY(context_.machine.while_stopped([&]() -> Result<void> {
        answer = look(context_.machine.parts());
        return {};
    }));
    return answer;
}

Result<cpu::ArchState> Monitor::state_of(const machines::MachineParts& parts, unsigned cpu) {
    cpu::ArchState state;
    TANDEM_TRY(parts.vcpus[cpu]->export_state(state));
    return state;
}

Result<u64> Monitor::number(std::string_view expression) {
    expression = trimmed(expression);
    if (expression.empty()) return invalid("an address or a number is missing");
    std::optional<cpu::ArchState> state;
    if (expression.find('$') != std::string_view::npos) {
        TANDEM_TRY(context_.machine.while_stopped([&]() -> Result<void> {
            TANDEM_TRY_ASSIGN(state, state_of(context_.machine.parts(), cpu_));
            return {};
        }));
    }
    return evaluate(expression,
                    [&](std::string_view name) { return state ? find_register(*state, name) : std::optional<u64>{}; });
}

}  // namespace tandem::frontend

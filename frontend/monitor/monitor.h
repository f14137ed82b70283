// The monitor: commands that look at a machine and steer it, spelled as QEMU's.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "machines/machine.h"

namespace tandem::frontend {

// What the front end knows and the machine does not.
struct MonitorContext {
    machines::Machine& machine;
    std::string name;                 // -name
    std::string uuid;                 // -uuid
    std::string snapshots;            // -snapshots; empty: not given
    std::vector<std::string> drives;  // one line for each
    std::vector<std::string> chardevs;
    std::vector<std::string> networks;
    u32 log_categories = 0;
};

class Monitor {
public:
    explicit Monitor(MonitorContext context) : context_(std::move(context)) {}

    // Performs one line and returns what it has to say, whole lines; errors are one line that begins with "Error: ". Blocks
    // while the machine stops for it. One thread at a time, which is not the machine's main thread nor a device's.
    std::string execute(std::string_view line);
    // Names of all commands that begin with `prefix`, for completion.
    [[nodiscard]] static std::vector<std::string> complete(std::string_view prefix);

private:
    struct Command;
    struct Arguments;
    using Answer = Result<std::string>;

    static std::span<const Command> commands();
    static std::span<const Command> info_commands();
    Answer run(std::string_view line);
    Answer help(Arguments& arguments);
    Answer info(Arguments& arguments);

    // Calls `look` while the machine is stopped.
    Answer inspect(const std::function<Answer(const machines::MachineParts&)>& look);
    // The state of the chosen processor.
    static Result<cpu::ArchState> state_of(const machines::MachineParts& parts, unsigned cpu);
    Result<u64> number(std::string_view expression);

    // monitor_control.cpp
    Answer stop(Arguments&);
    Answer cont(Arguments&);
    Answer quit(Arguments&);
    Answer system_reset(Arguments&);
    Answer system_powerdown(Arguments&);
    Answer nmi(Arguments&);
    Answer set_balloon(Arguments& arguments);
    Answer choose_cpu(Arguments& arguments);
    Answer change_engine(Arguments& arguments);
    Answer screendump(Arguments& arguments);
    Answer set_log(Arguments& arguments);
    Answer set_trace(Arguments& arguments);
    Answer savevm(Arguments& arguments);
    Answer loadvm(Arguments& arguments);
    Answer delvm(Arguments& arguments);
    Answer migrate(Arguments& arguments);
    Answer info_snapshots(Arguments&);
    Answer info_status(Arguments&);
    Answer info_name(Arguments&);
    Answer info_uuid(Arguments&);
    Answer info_version(Arguments&);
    Answer info_block(Arguments&);
    Answer info_chardev(Arguments&);
    Answer info_jit(Arguments&);

    // monitor_memory.cpp
    Answer examine(Arguments& arguments);
    Answer examine_physical(Arguments& arguments);
    Answer print(Arguments& arguments);
    Answer port_in(Arguments& arguments);
    Answer port_out(Arguments& arguments);
    Answer gva2gpa(Arguments& arguments);
    Answer memsave(Arguments& arguments);
    Answer pmemsave(Arguments& arguments);
    Answer info_mem(Arguments&);
    Answer info_tlb(Arguments&);

    // monitor_machine.cpp
    Answer info_registers(Arguments& arguments);
    Answer access_register(Arguments& arguments);
    Answer info_cpus(Arguments&);
    Answer info_mtree(Arguments&);
    Answer info_qtree(Arguments&);
    Answer info_device(Arguments& arguments);
    Answer info_network(Arguments&);
    Answer device_states(std::span<const std::string_view> prefixes);
    Answer info_balloon(Arguments&);
    Answer info_pic(Arguments&);
    Answer info_lapic(Arguments&);
    Answer info_ioapic(Arguments&);
    Answer info_irq(Arguments&);
    Answer info_exits(Arguments&);

    MonitorContext context_;
    unsigned cpu_ = 0;
};

// "name" of a snapshot to its file: in the directory, or, with a slash in it, as it is. Errors: an unusable name; no
// directory.
Result<std::string> snapshot_path(std::string_view name, const std::string& directory);

}  // namespace tandem::frontend

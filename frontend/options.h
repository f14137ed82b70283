// The command line as data: one row per option, spelled as QEMU's where the meaning is the same.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "cpu/x86/topology.h"
#include "devices/fabric/backends.h"
#include "machines/machine.h"

namespace tandem::frontend {

// "first,key=value,flag": how QEMU-style option arguments are written. ",," is a comma inside a value.
struct PropertyList {
    std::string head;                                        // the part before the first comma when it has no '='
    std::vector<std::pair<std::string, std::string>> items;  // a bare "flag" becomes {"flag", "on"}

    // Removes and returns a property; `fallback` when absent.
    std::string take(std::string_view key, std::string fallback = {});
    // Removes an on/off property (on, off, yes, no, true, false). Errors name key and value.
    Result<bool> take_bool(std::string_view key, bool fallback);
    // Removes a number with optional K, M, G suffix.
    Result<u64> take_number(std::string_view key, u64 fallback);
    // An error that names the first property nobody took and lists `known`. `what` has them, where that is not the option
    // itself, which whoever reads options names.
    [[nodiscard]] Result<void> finish(std::string_view known, std::string_view what = {}) const;
};
// `implied_head`: whether a first part without '=' is the head rather than a flag.
PropertyList parse_properties(std::string_view text, bool implied_head);

// A number with an optional K, M, G or T suffix (powers of 1024), before which it may have up to six decimals (1.5G);
// hexadecimal with 0x.
Result<u64> parse_size(std::string_view text);

struct DriveSpec {
    std::string id, interface = "virtio";
    bool cdrom = false;  // -boot d means it
    devices::DriveOptions options;
};
// The argument of -drive. Errors name the property.
Result<DriveSpec> parse_drive(PropertyList properties);

struct Options {
    enum class Action : u8 {
        Run,
        Help,
        Version,
        ListMachines,
        ListProperties,
        ListDevices,
        ListCpus,
        ListLog,
        Explain
    } action = Action::Run;
    std::string explained;     // Explain: the option whose argument was "help"
    std::string device_query;  // ListDevices: only this one; empty: all
    std::string machine = "pc";
    std::vector<std::pair<std::string, std::string>> machine_properties;  // what -machine says beside type and accel
    std::vector<PropertyList> accel;                                      // in order of preference; empty: jit
    std::string cpu = "max";
    unsigned cpus = 1;
    cpu::x86::Topology topology;  // of so many processors
    u64 ram_bytes = 128ull << 20;
    std::string kernel, initrd, append;
    std::string firmware;
    std::vector<std::string> firmware_directories;
    std::string debug_console;
    std::vector<DriveSpec> drives;
    std::vector<PropertyList> devices;
    std::vector<PropertyList> chardevs, netdevs, nics;
    std::vector<PropertyList> nets;     // -net's halves, until they are joined to one of nics
    std::vector<PropertyList> objects;  // each with an id
    std::vector<std::string> fw_cfg;    // arguments of -fw_cfg
    std::vector<std::string> serial;
    bool nographic = false;
    bool no_defaults = false;  // no serial port that was not asked for
    bool no_reboot = false;
    bool no_shutdown = false;
    bool start_paused = false;
    bool snapshot = false;
    std::vector<std::string> monitors;  // where each leads; "chardev:ID" or as -serial
    std::string snapshots;              // directory for savevm
    std::string loadvm;
    std::string name = "tandem", uuid;
    std::string pidfile;
    bool daemonize = false;
    struct Global {
        std::string driver, property, value;
    };
    std::vector<Global> globals;
    devices::RtcOptions rtc;
    machines::BootConfig boot;
    machines::OnPanic on_panic = machines::OnPanic::End;
    std::vector<machines::SmbiosField> smbios;
    u32 log_categories = 0;
    std::string log_file;
    u64 filter_low = 0, filter_high = ~u64{0};
};

// Errors name the option and what is wrong with it. Opens no files but those of @FILE and -readconfig.
Result<Options> parse_command_line(int argc, const char* const* argv);
std::string help_text();

}  // namespace tandem::frontend

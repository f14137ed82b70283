// A board: memory, devices, vCPUs on an engine. The front end builds one from a configuration and runs it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "accel/accelerator.h"
#include "base/result.h"
#include "devices/fabric/backends.h"

namespace tandem::machines {

struct DeviceConfig {
    std::string driver;  // "virtio-blk-pci"
    std::vector<std::pair<std::string, std::string>> properties;
};

struct MachineConfig {
    std::string type = "pc";
    u64 ram_bytes = 128ull << 20;
    unsigned cpus = 1;
    std::string kernel, initrd, append;
    // Firmware file, by path or by name in these directories and Debian's. Empty with a kernel: none; otherwise the default.
    std::string firmware;
    std::vector<std::string> firmware_directories;
    bool reboot = true;  // false: a guest reset ends the run (-no-reboot)
    bool trace_exits = false;
    // Drives by id, opened by the front end; a device refers to one by its "drive" property.
    std::vector<std::pair<std::string, std::unique_ptr<devices::BlockBackend>>> drives;
    // Character streams by id; a device refers to one by its "chardev" property.
    std::vector<std::pair<std::string, std::unique_ptr<devices::CharBackend>>> chardevs;
    // Networks by id; a device refers to one by its "netdev" property.
    std::vector<std::pair<std::string, std::unique_ptr<devices::NetBackend>>> networks;
    // Flash chips below 4 GiB, from the top down; the first holds the firmware. Empty: see `firmware`.
    std::vector<std::unique_ptr<devices::BlockBackend>> pflash;
    std::vector<DeviceConfig> devices;
    std::vector<std::unique_ptr<devices::CharBackend>> serial;  // ttyS0 ... ttyS3
    std::unique_ptr<devices::CharBackend> debug_console;        // ports 0x402 and 0xe9; may be null
};

// Take a back end out of the configuration: it serves one device. NotFound lists the ids there are, Busy: taken already.
Result<std::unique_ptr<devices::BlockBackend>> take_drive(MachineConfig& config, std::string_view id);
Result<std::unique_ptr<devices::CharBackend>> take_chardev(MachineConfig& config, std::string_view id);
Result<std::unique_ptr<devices::NetBackend>> take_network(MachineConfig& config, std::string_view id);

// How a run ended; the front end turns it into an exit status and a sentence.
struct Outcome {
    enum class Kind : u8 { PowerOff, Reset, Quit, Shutdown, InternalError, GuestExit } kind = Kind::PowerOff;
    std::string detail;  // where and why, for Shutdown and InternalError
    u32 status = 0;      // GuestExit: what the guest told isa-debug-exit
};

class Machine {
public:
    virtual ~Machine() = default;
    // Starts all vCPUs and blocks until the run ends.
    virtual Outcome run() = 0;
    // Ends run() with Quit. Any thread; async-signal-safe.
    virtual void request_quit() = 0;
    // ACPI power button.
    virtual void request_powerdown() = 0;
};

// Errors name the option: unknown type, device, property; missing or foreign kernel; RAM size out of range.
Result<std::unique_ptr<Machine>> create_machine(MachineConfig config, std::unique_ptr<accel::Accelerator> accelerator);
// For -machine help and -device help.
std::string machine_help();
std::string device_help();

}  // namespace tandem::machines

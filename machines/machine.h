// A board: memory, devices, vCPUs on an engine. The front end builds one from a configuration and runs it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "accel/accelerator.h"
#include "base/result.h"
#include "cpu/arch_model.h"
#include "devices/fabric/address_space.h"
#include "devices/fabric/backends.h"
#include "devices/fabric/clock.h"
#include "devices/fabric/device.h"
#include "devices/timer/rtc.h"

namespace tandem::devices::virtio {
class Balloon;
}

namespace tandem::machines {

struct DeviceConfig {
    std::string driver;  // "virtio-blk-pci"
    std::vector<std::pair<std::string, std::string>> properties;
};

// A guest reset or triple fault starts the machine over, or ends the run (-no-reboot).
enum class OnGuestReset : u8 { Reset, End };

// A guest's kernel that says it has panicked (pvpanic) is reported; then it goes on, is paused, or the run ends with status
// 0 or 1.
enum class OnPanic : u8 { Report, Pause, End, Fail };

// A string of the firmware's description of the machine (SMBIOS): structure type, field, value.
struct SmbiosField {
    unsigned type = 0;
    std::string key, value;
};

struct BootConfig {
    std::string order;    // letters, first to last: c disk, d CD-ROM, n network, a diskette; empty: cd
    bool menu = false;    // firmware offers a choice
    bool strict = false;  // nothing that has no bootindex is tried
};

struct MachineConfig {
    std::string type = "pc";
    std::vector<std::pair<std::string, std::string>> properties;  // of -machine
    u64 ram_bytes = 128ull << 20;
    unsigned cpus = 1;
    std::string kernel, initrd, append;
    OnGuestReset on_reset = OnGuestReset::Reset;
    bool pause_at_shutdown = false;  // -no-shutdown
    bool start_paused = false;       // -S
    // The processors' model, which a saved machine states (contract R4); without one saving is refused.
    std::optional<cpu::ArchModel> cpu;
    // Firmware file, by path or by name in these directories and Debian's. Empty with a kernel: none; otherwise the default.
    std::string firmware;
    std::vector<std::string> firmware_directories;
    bool trace_exits = false;
    bool hpet = true;
    devices::RtcOptions rtc;
    BootConfig boot;
    OnPanic on_panic = OnPanic::End;
    std::string uuid;  // 8-4-4-4-12 hexadecimal digits; empty: all zero
    std::vector<SmbiosField> smbios;
    // Further files of the firmware configuration device, by name.
    std::vector<std::pair<std::string, std::vector<u8>>> fw_cfg;
    // Sources of random numbers by id, which a device's "rng" property may refer to; they are all the host's.
    std::vector<std::string> random_sources;
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

// Take a back end out of the configuration: it serves one device, but for shared character streams. NotFound lists the ids
// there are, Busy: taken already.
Result<std::unique_ptr<devices::BlockBackend>> take_drive(MachineConfig& config, std::string_view id);
Result<std::unique_ptr<devices::CharBackend>> take_chardev(MachineConfig& config, std::string_view id);
Result<std::unique_ptr<devices::NetBackend>> take_network(MachineConfig& config, std::string_view id);

// How a run ended; the front end turns it into an exit status and a sentence.
struct Outcome {
    enum class Kind : u8 { PowerOff, Reset, Quit, Shutdown, InternalError, GuestExit, Panic } kind = Kind::PowerOff;
    std::string detail;  // where and why, for Shutdown and InternalError
    u32 status = 0;      // GuestExit: what the guest told isa-debug-exit or a testdev stream; Panic: 0 or 1, see OnPanic
};

// What a machine is doing. Prelaunch: run() has not been called, or the machine was started paused and not yet continued.
enum class RunState : u8 { Prelaunch, Running, Paused, Ended };
const char* run_state_name(RunState state);

struct NamedDevice {
    std::string name;  // unique on the machine, and the same whenever it is built from the same configuration
    devices::Device* device = nullptr;
};
struct NamedDrive {
    std::string name;
    devices::BlockBackend* backend = nullptr;
};

// The machine's parts, for those who look at it, save it or restore it: inside while_stopped() or, by the main thread,
// before run(). The references live as long as the machine.
struct MachineParts {
    const std::string& type;
    const std::optional<cpu::ArchModel>& cpu;
    accel::Accelerator& accelerator;
    std::span<const std::unique_ptr<accel::Vcpu>> vcpus;
    devices::GuestMemory& memory;
    devices::AddressSpace& mmio;
    devices::AddressSpace& io;
    devices::RealClock& clock;
    std::span<const NamedDevice> devices;  // in the order of restore
    std::span<const NamedDrive> drives;
    devices::virtio::Balloon* balloon;  // null: the machine has none
};

class Machine {
public:
    virtual ~Machine() = default;
    // Starts all vCPUs and blocks until the run ends. The calling thread is the machine's main thread.
    virtual Outcome run() = 0;
    // What follows may be called from any thread, before, during and after run(); requests take effect on the main thread.
    // Ends run() with Quit. Async-signal-safe.
    virtual void request_quit() = 0;
    // ACPI power button.
    virtual void request_powerdown() = 0;
    virtual void request_reset() = 0;
    // Ends run() with GuestExit and this status.
    virtual void request_exit(u32 status) = 0;
    // Parks all vCPUs and stops the machine's clock; resume() lets time go on where it stood. Async-signal-safe.
    virtual void pause() = 0;
    virtual void resume() = 0;
    [[nodiscard]] virtual RunState state() const = 0;
    // Has the main thread call `action` while all vCPUs are parked, the clock stands and devices are quiet, and waits for
    // its answer; a running machine then goes on. Before run() it waits for that. Busy when the run ends before. Never from
    // a vCPU's or device's thread, which it would wait for, nor from inside an action.
    virtual Result<void> while_stopped(const std::function<Result<void>()>& action) = 0;
    [[nodiscard]] virtual MachineParts parts() = 0;
    // How often an engine came to the machine, by reason, "name value" per line. In while_stopped().
    [[nodiscard]] virtual std::string exit_counts() const = 0;
    // Ends run() with InternalError: what a half-done restore is followed by. Any thread.
    virtual void fail(std::string why) = 0;
};

enum class Architecture : u8 { X86_64, Aarch64 };
// Of the processors of a machine type. InvalidArgument: unknown, with the names there are.
Result<Architecture> machine_architecture(std::string_view type);

// Errors name the option: unknown type, device, property; missing or foreign kernel; RAM size out of range.
Result<std::unique_ptr<Machine>> create_machine(MachineConfig config, std::unique_ptr<accel::Accelerator> accelerator);
// For -machine help, -machine TYPE,help (empty: no such type) and -device help.
std::string machine_help();
std::string machine_property_help(std::string_view machine_type);
std::string device_help(std::string_view machine_type);

}  // namespace tandem::machines

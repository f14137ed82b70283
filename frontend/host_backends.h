// From the command line's words to open host ends: character devices, drives and networks.
#pragma once

#include "devices/char/backends.h"
#include "frontend/options.h"
#include "machines/machine.h"

namespace tandem::frontend {

// "-chardev KIND,id=ID,...": the kind and its properties. Errors name the property.
struct NamedCharSpec {
    std::string id;
    devices::CharSpec spec;
};
Result<NamedCharSpec> parse_chardev(PropertyList properties);
// The kinds of -chardev with their properties.
std::string chardev_help();

// Opens every -chardev of `options` into `config`. Errors name the option and the device.
Result<void> open_chardevs(const Options& options, machines::MachineConfig& config, const devices::ConsoleEvents& events);
// Opens what -serial says; "chardev:ID" takes that device out of `config`.
Result<std::unique_ptr<devices::CharBackend>> open_serial(std::string_view description, machines::MachineConfig& config,
                                                          const devices::ConsoleEvents& events);

// Opens every -drive of `options` into `config`, and adds the devices of those with if=virtio. Errors name the option.
Result<void> open_drives(const Options& options, machines::MachineConfig& config);

// Reads what every -fw_cfg of `options` names into `config`. Errors name the file.
Result<void> open_fw_cfg(const Options& options, machines::MachineConfig& config);

// Opens every -netdev and -nic of `options` into `config`, and adds the cards that -nic asks for.
Result<void> open_networks(const Options& options, machines::MachineConfig& config);
// The kinds of network with their properties.
std::string network_help();

}  // namespace tandem::frontend

// Host networks for network devices, spelled as QEMU's -netdev.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "devices/fabric/backends.h"

namespace tandem::devices {

// User-mode networking by libslirp: a private network with a DHCP server, a name server that forwards to the host's, and
// connections that the host makes in the guest's name. Addresses are text; an empty one means the usual place in `net`.
struct UserNetOptions {
    std::string net = "10.0.2.0/24";  // ADDRESS[/PREFIX or /MASK]
    std::string host;                 // the host as the guest sees it (default: second address)
    std::string dns;                  // the name server (default: third)
    std::string dhcp_start;           // first of the addresses given out (default: fifteenth)
    std::string hostname;             // what DHCP tells the guest it is called
    std::string domain;
    std::vector<std::string> dns_search;
    std::string tftp, boot_file;        // directory served by TFTP, file that DHCP names
    std::vector<std::string> forwards;  // "tcp|udp:[HOST]:PORT-[GUEST]:PORT"
    bool restricted = false;            // the guest reaches nothing but this network and its forwards
    bool ipv4 = true, ipv6 = true;
};
// Errors name the property: InvalidArgument for what is malformed or outside the network, Io for a port that is in use.
Result<std::unique_ptr<NetBackend>> create_user_network(const UserNetOptions& options);

// A TAP device of the host (Linux, Documentation/networking/tuntap). It must exist, or the caller may create it.
struct TapOptions {
    std::string interface;
    // Programs that are run with the device's name when it is there, and before it is given up; empty: none. The first one's
    // failure is an error, the second's a warning.
    std::string script, down_script;
};
Result<std::unique_ptr<NetBackend>> create_tap(const TapOptions& options);

}  // namespace tandem::devices

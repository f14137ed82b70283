// Disks of an NBD server (the NBD protocol, doc/proto.md of its project), by libnbd.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "devices/fabric/backends.h"

namespace tandem::devices::block {

// Where a server is.
struct NbdAddress {
    std::string uri;          // complete, when given as one; else:
    std::string unix_path;    // a socket in the file system, or
    std::string host, port;   // TCP
    std::string export_name;  // empty: the server's default
};

// What DriveOptions::file says of an NBD server; nothing when it means a file. InvalidArgument for what looks like an
// address and is none.
Result<std::optional<NbdAddress>> parse_nbd_address(std::string_view file);

// Connects. A server that allows several connections gets some, which work in parallel; `keep` lives as long as they do.
// Errors name `label`: no server, another protocol, no such export, a size that is not a multiple of 512. A connection that
// breaks later makes every request fail.
Result<std::unique_ptr<BlockBackend>> open_nbd(const NbdAddress& address, const std::string& label, bool readonly,
                                               std::shared_ptr<void> keep = nullptr);

}  // namespace tandem::devices::block

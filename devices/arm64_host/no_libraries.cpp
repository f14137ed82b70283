// What libnbd and libslirp do, in a build without them.
#include <fmt/format.h>

#include "devices/block/nbd.h"
#include "devices/net/backends.h"

namespace tandem::devices {

Result<std::optional<block::NbdAddress>> block::parse_nbd_address(std::string_view file) {
    if (!file.starts_with("nbd:") && !file.starts_with("nbd://")) return std::optional<NbdAddress>{};
    NbdAddress address;
    address.uri = file;
    return std::optional(address);
}

Result<std::unique_ptr<BlockBackend>> block::open_nbd(const NbdAddress&, const std::string& label, bool,
                                                      std::shared_ptr<void>) {
    return Error{Errc::Unsupported, fmt::format("{}: this build is without libnbd", label)};
}

Result<std::unique_ptr<NetBackend>> create_user_network(const UserNetOptions&) {
    return Error{Errc::Unsupported, "user networking: this build is without libslirp; there is -netdev tap"};
}

}  // namespace tandem::devices

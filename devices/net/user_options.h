// The words of user-mode networking as addresses.
#pragma once

#include <netinet/in.h>

#include <string_view>

#include "base/result.h"
#include "base/types.h"
#include "devices/net/backends.h"

namespace tandem::devices::user_net {

struct Addresses {
    in_addr network{}, mask{}, host{}, dns{}, dhcp_start{};
};
// All of them inside the network, host and name server different from each other; errors name the property.
Result<Addresses> parse_addresses(const UserNetOptions& options);

struct Forward {
    bool udp = false;
    in_addr host{};  // 0.0.0.0: every address of the host
    u16 host_port = 0;
    in_addr guest{};  // 0.0.0.0: the first that DHCP gives out
    u16 guest_port = 0;
};
Result<Forward> parse_forward(std::string_view text);

}  // namespace tandem::devices::user_net

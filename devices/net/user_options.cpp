#include "devices/net/user_options.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace tandem::devices::user_net {
namespace {

bool parse_address(std::string_view text, in_addr& out) { return inet_pton(AF_INET, std::string(text).c_str(), &out) == 1; }

bool parse_integer(std::string_view text, unsigned highest, unsigned& out) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    return error == std::errc{} && end == text.data() + text.size() && out <= highest;
}

Result<void> parse_network(std::string_view text, Addresses& a) {
    const auto bad = [&] { return invalid(fmt::format("net='{}' is not ADDRESS[/PREFIX] with a prefix of 8 to 28", text)); };
    const auto slash = text.find('/');
    if (!parse_address(text.substr(0, slash), a.network)) return bad();
    u32 mask = 0xffffff00;
    if (slash != std::string_view::npos) {
        const std::string_view size = text.substr(slash + 1);
        unsigned prefix = 0;
        in_addr dotted{};
        if (parse_integer(size, 32, prefix) && prefix > 0) {
            mask = ~u32{0} << (32 - prefix);
        } else if (parse_address(size, dotted)) {
            mask = ntohl(dotted.s_addr);
        } else {
            return bad();
        }
    }
    const u32 hosts = ~mask;
    if ((hosts & (hosts + 1)) != 0 || hosts < 0xf || hosts > 0xffffff) return bad();
    a.mask.s_addr = htonl(mask);
    a.network.s_addr &= a.mask.s_addr;
    return {};
}

// "[ADDRESS]:PORT"
bool parse_end(std::string_view text, in_addr& address, u16& port) {
    const auto colon = text.find(':');
    unsigned number = 0;
    if (colon == std::string_view::npos || !parse_integer(text.substr(colon + 1), 0xffff, number)) return false;
    port = static_cast<u16>(number);
    return colon == 0 || parse_address(text.substr(0, colon), address);
}

}  // namespace

Result<Addresses> parse_addresses(const UserNetOptions& o) {
    Addresses a;
    TANDEM_TRY(parse_network(o.net, a));
    const u32 first = ntohl(a.network.s_addr);
    const u32 hosts = ~ntohl(a.mask.s_addr);
    struct Row {
        const char* property;
        const std::string& text;
        in_addr Addresses::* field;
        u32 number;  // default, within the network
    };
    const Row rows[] = {{"host", o.host, &Addresses::host, 2},
                        {"dns", o.dns, &Addresses::dns, 3},
                        {"dhcpstart", o.dhcp_start, &Addresses::dhcp_start, std::min(15u, hosts - 1)}};
    for (const Row& row : rows) {
        in_addr& address = a.*row.field;
        address.s_addr = htonl(first + row.number);
        if (row.text.empty()) continue;
        if (!parse_address(row.text, address)) {
            return invalid(fmt::format("{}='{}' is not an IPv4 address", row.property, row.text));
        }
        const u32 number = ntohl(address.s_addr) - first;
        if (number == 0 || number >= hosts) {
            return invalid(fmt::format("{}='{}' is not an address of the network {}", row.property, row.text, o.net));
        }
    }
    if (a.host.s_addr == a.dns.s_addr) return invalid("host and dns are the same address");
    return a;
}

Result<Forward> parse_forward(std::string_view text) {
    const auto bad = [&] { return invalid(fmt::format("hostfwd='{}' is not tcp|udp:[HOST]:PORT-[GUEST]:PORT", text)); };
    Forward f;
    const auto kind = text.substr(0, text.find(':'));
    if (kind.size() == text.size() || (kind != "tcp" && kind != "udp" && !kind.empty())) return bad();
    f.udp = kind == "udp";
    const std::string_view ends = text.substr(kind.size() + 1);
    const auto dash = ends.find('-');
    if (dash == std::string_view::npos) return bad();
    if (!parse_end(ends.substr(0, dash), f.host, f.host_port)) return bad();
    if (!parse_end(ends.substr(dash + 1), f.guest, f.guest_port) || f.guest_port == 0) return bad();
    return f;
}

}  // namespace tandem::devices::user_net

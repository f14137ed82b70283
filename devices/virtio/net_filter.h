// Which received frames the driver wants (virtio 1.2, 5.1.6.5.1 to 5.1.6.5.3). Not synchronised.
#pragma once

#include <array>
#include <bitset>
#include <span>
#include <vector>

#include "base/types.h"

namespace tandem::devices::virtio {

class NetFilter {
public:
    using Mac = std::array<u8, 6>;
    static constexpr std::size_t kMaxAddresses = 1024;  // of each table; more of them mean all of that kind

    explicit NetFilter(const Mac& permanent) : permanent_(permanent) { reset(); }
    void reset();

    [[nodiscard]] const Mac& mac() const { return mac_; }
    void set_mac(const Mac& mac) { mac_ = mac; }
    // `filter_vlans`: whether VIRTIO_NET_F_CTRL_VLAN was negotiated and tags are looked at.
    [[nodiscard]] bool accepts(std::span<const u8> frame, bool filter_vlans) const;

    // One command of class VIRTIO_NET_CTRL_RX (0), _MAC (1) or _VLAN (2); false when it is malformed or unknown.
    bool command(u8 group, u8 command, std::span<const u8> data);

    [[nodiscard]] std::vector<u8> save() const;
    // False, and unchanged, when the bytes are not from save().
    bool restore(std::span<const u8> bytes);

private:
    enum Mode : u8 { Promiscuous, AllMulticast, AllUnicast, NoMulticast, NoUnicast, NoBroadcast, kModes };
    struct Table {
        std::vector<Mac> addresses;
        bool overflow = false;
    };
    bool set_tables(std::span<const u8> data);
    static bool parse_table(std::span<const u8>& data, Table& table);
    [[nodiscard]] bool accepts_address(std::span<const u8> destination) const;

    Mac permanent_;
    Mac mac_{};
    std::array<bool, kModes> modes_{};
    Table unicast_, multicast_;
    std::bitset<4096> vlans_;
};

}  // namespace tandem::devices::virtio

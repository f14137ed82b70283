#include "devices/virtio/net_filter.h"

#include <algorithm>
#include <cstring>

namespace tandem::devices::virtio {
namespace {

enum Group : u8 { Receive = 0, Address = 1, Vlan = 2 };
enum AddressCommand : u8 { SetTables = 0, SetMac = 1 };
enum VlanCommand : u8 { AddVlan = 0, RemoveVlan = 1 };

constexpr u16 kVlanTag = 0x8100;
constexpr std::size_t kMacBytes = 6, kTypeAt = 12, kTagAt = 14;

u16 big_endian(std::span<const u8> frame, std::size_t at) { return static_cast<u16>(frame[at] << 8 | frame[at + 1]); }
bool is_group(std::span<const u8> destination) { return (destination[0] & 1) != 0; }
bool is_broadcast(std::span<const u8> destination) {
    return std::ranges::all_of(destination.first(kMacBytes), [](u8 b) { return b == 0xff; });
}

// Fields of the saved form, one after the other.
class Reader {
public:
    explicit Reader(std::span<const u8> bytes) : bytes_(bytes) {}
    bool take(std::span<u8> out) {
        if (bytes_.size() < out.size()) return false;
        std::ranges::copy(bytes_.first(out.size()), out.begin());
        bytes_ = bytes_.subspan(out.size());
        return true;
    }
    bool flag(bool& out) {
        std::array<u8, 1> byte{};
        if (!take(byte) || byte[0] > 1) return false;
        out = byte[0] != 0;
        return true;
    }
    bool count(std::size_t& out) {
        std::array<u8, 2> bytes{};
        if (!take(bytes)) return false;
        out = static_cast<std::size_t>(bytes[0] | bytes[1] << 8);
        return true;
    }
    [[nodiscard]] bool at_end() const { return bytes_.empty(); }

private:
    std::span<const u8> bytes_;
};

}  // namespace

void NetFilter::reset() {
    mac_ = permanent_;
    modes_ = {};
    modes_[Promiscuous] = true;  // until the driver says otherwise: a driver without the control queue wants everything
    unicast_ = multicast_ = {};
    vlans_.reset();
}

bool NetFilter::accepts_address(std::span<const u8> destination) const {
    if (modes_[Promiscuous]) return true;
    const auto listed = [&](const Table& table) {
        return std::ranges::any_of(table.addresses, [&](const Mac& m) { return std::ranges::equal(m, destination); });
    };
    if (is_broadcast(destination)) return !modes_[NoBroadcast];
    if (is_group(destination)) {
        return !modes_[NoMulticast] && (modes_[AllMulticast] || multicast_.overflow || listed(multicast_));
    }
    if (modes_[NoUnicast]) return false;
    return modes_[AllUnicast] || unicast_.overflow || std::ranges::equal(mac_, destination) || listed(unicast_);
}

bool NetFilter::accepts(std::span<const u8> frame, bool filter_vlans) const {
    if (frame.size() < kTagAt) return false;
    if (filter_vlans && frame.size() >= kTagAt + 2 && big_endian(frame, kTypeAt) == kVlanTag &&
        !vlans_[big_endian(frame, kTagAt) & 0xfff]) {
        return false;
    }
    return accepts_address(frame.first(kMacBytes));
}

bool NetFilter::parse_table(std::span<const u8>& data, Table& table) {
    u32 entries = 0;
    if (data.size() < sizeof entries) return false;
    std::memcpy(&entries, data.data(), sizeof entries);
    data = data.subspan(sizeof entries);
    if (entries > data.size() / kMacBytes) return false;
    table.overflow = entries > kMaxAddresses;
    if (!table.overflow) {
        table.addresses.resize(entries);
        for (u32 i = 0; i < entries; ++i)
            std::ranges::copy(data.subspan(i * kMacBytes, kMacBytes), table.addresses[i].begin());
    }
    data = data.subspan(entries * kMacBytes);
    return true;
}

bool NetFilter::set_tables(std::span<const u8> data) {
    Table unicast, multicast;
    if (!parse_table(data, unicast) || !parse_table(data, multicast) || !data.empty()) return false;
    unicast_ = std::move(unicast);
    multicast_ = std::move(multicast);
    return true;
}

bool NetFilter::command(u8 group, u8 command, std::span<const u8> data) {
    switch (group) {
        case Receive:
            if (command >= kModes || data.size() != 1) return false;
            modes_[command] = data[0] != 0;
            return true;
        case Address:
            if (command == SetTables) return set_tables(data);
            if (command != SetMac || data.size() != kMacBytes) return false;
            std::ranges::copy(data, mac_.begin());
            return true;
        case Vlan: {
            if (command > RemoveVlan || data.size() != 2) return false;
            const auto id = static_cast<u16>(data[0] | data[1] << 8);
            if (id >= vlans_.size()) return false;
            vlans_[id] = command == AddVlan;
            return true;
        }
        default: return false;
    }
}

std::vector<u8> NetFilter::save() const {
    std::vector<u8> out(mac_.begin(), mac_.end());
    const auto count = [&](std::size_t n) {
        out.push_back(static_cast<u8>(n));
        out.push_back(static_cast<u8>(n >> 8));
    };
    for (const bool mode : modes_) out.push_back(mode ? 1 : 0);
    for (const Table* table : {&unicast_, &multicast_}) {
        out.push_back(table->overflow ? 1 : 0);
        count(table->addresses.size());
        for (const Mac& mac : table->addresses) out.insert(out.end(), mac.begin(), mac.end());
    }
    count(vlans_.count());
    for (std::size_t i = 0; i < vlans_.size(); ++i) {
        if (vlans_[i]) count(i);
    }
    return out;
}

bool NetFilter::restore(std::span<const u8> bytes) {
    NetFilter saved(permanent_);
    Reader in(bytes);
    std::size_t entries = 0;
    if (!in.take(saved.mac_)) return false;
    for (bool& mode : saved.modes_) {
        if (!in.flag(mode)) return false;
    }
    for (Table* table : {&saved.unicast_, &saved.multicast_}) {
        if (!in.flag(table->overflow) || !in.count(entries) || entries > kMaxAddresses) return false;
        table->addresses.resize(entries);
        for (Mac& mac : table->addresses) {
            if (!in.take(mac)) return false;
        }
    }
    if (!in.count(entries) || entries > vlans_.size()) return false;
    for (std::size_t i = 0; i < entries; ++i) {
        std::size_t id = 0;
        if (!in.count(id) || id >= saved.vlans_.size()) return false;
        saved.vlans_[id] = true;
    }
    if (!in.at_end()) return false;
    *this = saved;
    return true;
}

}  // namespace tandem::devices::virtio

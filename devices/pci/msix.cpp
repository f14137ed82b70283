#include "devices/pci/msix.h"

#include <algorithm>
#include <bit>

#include "base/bits.h"

namespace tandem::devices::pci {

u64 MsixTable::bar_size() const { return std::max<u64>(4096, std::bit_ceil(pba_offset() + pending_.size() * 8)); }

void MsixTable::connect(MsiSink* sink, u16 requester) {
    std::lock_guard guard(lock_);
    sink_ = sink;
    requester_ = requester;
}

void MsixTable::set_control(bool enabled, bool function_mask, bool bus_master) {
    std::lock_guard guard(lock_);
    enabled_ = enabled;
    function_mask_ = function_mask;
    bus_master_ = bus_master;
    if (enabled_) flush_all();
}

bool MsixTable::enabled() const {
    std::lock_guard guard(lock_);
    return enabled_;
}

bool MsixTable::notify(unsigned index) {
    std::lock_guard guard(lock_);
    if (!enabled_ || index >= entries_.size()) return false;
    pending_[index / 64] |= u64{1} << (index % 64);
    flush(index);
    return true;
}

void MsixTable::reset() {
    std::lock_guard guard(lock_);
    std::fill(entries_.begin(), entries_.end(), Entry{});
    std::fill(pending_.begin(), pending_.end(), u64{0});
    enabled_ = function_mask_ = bus_master_ = false;
}

void MsixTable::flush(unsigned index) {
    u64& word = pending_[index / 64];
    const u64 bit_mask = u64{1} << (index % 64);
    if ((word & bit_mask) == 0 || !deliverable(index)) return;
    word &= ~bit_mask;
    if (sink_ != nullptr) sink_->send_msi(entries_[index].address, entries_[index].data, requester_);
}

void MsixTable::flush_all() {
    for (unsigned i = 0; i < entries_.size(); ++i) flush(i);
}

u32 MsixTable::read_dword(u64 offset) const {
    if (offset < pba_offset()) {
        const Entry& e = entries_[offset / kEntrySize];
        switch (offset % kEntrySize) {
            case 0: return static_cast<u32>(e.address);
            case 4: return static_cast<u32>(e.address >> 32);
            case 8: return e.data;
            default: return e.control;
        }
    }
    const u64 index = (offset - pba_offset()) / 4;
    if (index / 2 >= pending_.size()) return 0;
    return static_cast<u32>(pending_[index / 2] >> (32 * (index % 2)));
}

void MsixTable::write_dword(u64 offset, u32 value) {
    if (offset >= pba_offset()) return;  // pending bits are read-only
    const auto index = static_cast<unsigned>(offset / kEntrySize);
    Entry& e = entries_[index];
    switch (offset % kEntrySize) {
        case 0: e.address = with_bits(e.address, 31, 0, value & ~3u); break;
        case 4: e.address = with_bits(e.address, 63, 32, value); break;
        case 8: e.data = value; break;
        default:
            e.control = value & 1;
            if (enabled_) flush(index);
            break;
    }
}

// Table accesses are dwords or qwords; narrower ones are undefined (6.8.2) and read as part of their dword, writes ignored.
u64 MsixTable::io_read(u64 offset, unsigned size) {
    std::lock_guard guard(lock_);
    if (size == 8) return read_dword(offset & ~u64{3}) | static_cast<u64>(read_dword((offset & ~u64{3}) + 4)) << 32;
    return bits(read_dword(offset & ~u64{3}), 31, static_cast<unsigned>(offset & 3) * 8) & mask(size * 8);
}

void MsixTable::io_write(u64 offset, u64 value, unsigned size) {
    if (size < 4 || offset % 4 != 0) return;
    std::lock_guard guard(lock_);
    write_dword(offset, static_cast<u32>(value));
    if (size == 8) write_dword(offset + 4, static_cast<u32>(value >> 32));
}

MsixState MsixTable::capture() const {
    std::lock_guard guard(lock_);
    MsixState state;
    for (const auto& e : entries_) {
        state.address.push_back(e.address);
        state.data.push_back(e.data);
        state.control.push_back(e.control);
    }
    state.pending = pending_;
    return state;
}

bool MsixTable::fits(const MsixState& state) const {
    return state.address.size() == entries_.size() && state.data.size() == entries_.size() &&
           state.control.size() == entries_.size() && state.pending.size() == pending_.size();
}

void MsixTable::apply(const MsixState& state) {
    std::lock_guard guard(lock_);
    for (std::size_t i = 0; i < entries_.size(); ++i) {
        entries_[i] = {state.address[i] & ~u64{3}, state.data[i], state.control[i] & 1};
    }
    pending_ = state.pending;
}

}  // namespace tandem::devices::pci

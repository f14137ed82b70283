#include "devices/misc/fw_cfg.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/bits.h"

namespace tandem::devices {
namespace {

constexpr u16 kKeyMask = 0xbfff;                        // bit 14 asks for writing
constexpr u32 kFeatures = 3;                            // traditional interface and DMA
constexpr u64 kDmaSignature = 0x51454d5520434647;       // "QEMU CFG", read from the DMA register
constexpr std::size_t kNameSize = 56, kEntrySize = 64;  // of a directory entry

constexpr u64 kMemorySelector = 8, kMemoryDma = 16;

enum DmaControl : u32 { kError = 1, kRead = 2, kSkip = 4, kSelect = 8, kWrite = 16 };

template <class T>
T big_endian(T value) {
    if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
    if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
    if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
}

template <class T>
void append_big_endian(std::vector<u8>& to, T value) {
    for (unsigned i = sizeof(T); i-- > 0;) to.push_back(static_cast<u8>(value >> (8 * i)));
}

struct Descriptor {
    u32 control = 0, length = 0;
    u64 address = 0;
};

}  // namespace

FwCfg::FwCfg(GuestMemory& memory) : memory_(memory) {
    set(kSignature, {'Q', 'E', 'M', 'U'});
    set_number(kId, kFeatures, 4);
    rebuild_directory();
}

void FwCfg::set(u16 key, std::vector<u8> bytes) { items_[key] = std::move(bytes); }

void FwCfg::set_number(u16 key, u64 value, unsigned bytes) {
    std::vector<u8> out(bytes);
    for (unsigned i = 0; i < bytes; ++i) out[i] = static_cast<u8>(value >> (8 * i));
    set(key, std::move(out));
}

Result<void> FwCfg::set_file(const std::string& name, std::vector<u8> bytes) {
    if (name.empty() || name.size() >= kNameSize) {
        return invalid(fmt::format("fw_cfg file name '{}' must have 1 to {} characters", name, kNameSize - 1));
    }
    auto at = files_.find(name);
    if (at == files_.end()) {
        if (files_.size() == kMaxFiles) return Error{Errc::Busy, "fw_cfg holds no more files"};
        at = files_.emplace(name, static_cast<u16>(kFirstFile + files_.size())).first;
    }
    set(at->second, std::move(bytes));
    rebuild_directory();
    return {};
}

Result<void> FwCfg::set_files(const std::vector<std::pair<std::string, std::vector<u8>>>& files) {
    for (const auto& [name, bytes] : files) TANDEM_TRY(set_file(name, bytes));
    return {};
}

// A count, then entries of size, selector, reserved and name, in order of names.
void FwCfg::rebuild_directory() {
    std::vector<u8> directory;
    append_big_endian(directory, static_cast<u32>(files_.size()));
    for (const auto& [name, key] : files_) {
        append_big_endian(directory, static_cast<u32>(items_[key].size()));
        append_big_endian(directory, key);
        append_big_endian(directory, u16{0});
        directory.insert(directory.end(), name.begin(), name.end());
        directory.resize(directory.size() + kNameSize - name.size());
    }
    static_assert(kEntrySize == 8 + kNameSize);
    set(kFileDirectory, std::move(directory));
}

void FwCfg::reset() {
    std::lock_guard guard(lock_);
    s_ = {};
}

void FwCfg::select(u16 key) {
    s_.selector = key;
    s_.offset = 0;
}

// Past the end and for items that do not exist: zeros.
u8 FwCfg::next_byte() {
    const auto item = items_.find(s_.selector & kKeyMask);
    if (item == items_.end() || s_.offset >= item->second.size()) return 0;
    return item->second[s_.offset++];
}

u64 FwCfg::Ports::io_read(u64 offset, unsigned size) {
    if (offset != 1 || size != 1) return 0;
    std::lock_guard guard(owner.lock_);
    return owner.next_byte();
}

void FwCfg::Ports::io_write(u64 offset, u64 value, unsigned size) {
    if (offset != 0 || size != 2) return;
    std::lock_guard guard(owner.lock_);
    owner.select(static_cast<u16>(value));
}

u64 FwCfg::DmaPorts::io_read(u64 offset, unsigned size) {
    return big_endian(kDmaSignature) >> (8 * offset) & mask(size * 8);
}

// The low half, or all of it, starts the transfer.
void FwCfg::DmaPorts::io_write(u64 offset, u64 value, unsigned size) {
    std::lock_guard guard(owner.lock_);
    u64& address = owner.s_.dma_address;
    if (size == 8 && offset == 0) {
        address = big_endian(value);
    } else if (size == 4 && offset == 0) {
        address = u64{big_endian(static_cast<u32>(value))} << 32;
        return;
    } else if (size == 4 && offset == 4) {
        address |= big_endian(static_cast<u32>(value));
    } else {
        return;
    }
    owner.run_dma(std::exchange(address, 0));
}

// The data register keeps the order of bytes whatever the size.
u64 FwCfg::MemoryRegisters::io_read(u64 offset, unsigned size) {
    if (offset >= kMemoryDma) return owner.dma_ports_.io_read(offset - kMemoryDma, size);
    if (offset >= kMemorySelector) return 0;
    std::lock_guard guard(owner.lock_);
    u64 value = 0;
    for (unsigned i = 0; i < size; ++i) value |= u64{owner.next_byte()} << (8 * i);
    return value;
}

void FwCfg::MemoryRegisters::io_write(u64 offset, u64 value, unsigned size) {
    if (offset >= kMemoryDma) return owner.dma_ports_.io_write(offset - kMemoryDma, value, size);
    if (offset != kMemorySelector || size != 2) return;
    std::lock_guard guard(owner.lock_);
    owner.select(big_endian(static_cast<u16>(value)));
}

bool FwCfg::dma_read(u64 address, u64 length) {
    const auto item = items_.find(s_.selector & kKeyMask);
    const u64 size = item == items_.end() ? 0 : item->second.size();
    const u64 have = s_.offset < size ? std::min(length, size - s_.offset) : 0;
    if (have != 0 && !memory_.write(address, item->second.data() + s_.offset, have)) return false;
    s_.offset += static_cast<u32>(have);
    static constexpr std::array<u8, 4096> kZeros{};
    for (u64 done = have; done < length; done += kZeros.size()) {
        if (!memory_.write(address + done, kZeros.data(), std::min<u64>(length - done, kZeros.size()))) return false;
    }
    return true;
}

void FwCfg::run_dma(u64 at) {
    Descriptor d;
    if (!memory_.read(at, &d, sizeof d)) return;
    const u32 control = big_endian(d.control), length = big_endian(d.length);
    if ((control & kSelect) != 0) select(static_cast<u16>(control >> 16));
    bool good = true;
    if ((control & kRead) != 0) {
        good = dma_read(big_endian(d.address), length);
    } else if ((control & kWrite) != 0) {
        good = length == 0;
    } else if ((control & kSkip) != 0) {
        const u64 target = u64{s_.offset} + length;
        s_.offset = static_cast<u32>(std::min<u64>(target, ~u32{0}));
    }
    // Zero when done, which is what the guest waits for.
    const u32 answer = good ? 0 : big_endian(static_cast<u32>(kError));
    memory_.write(at, &answer, sizeof answer);
}

FwCfgState FwCfg::capture() const {
    std::lock_guard guard(lock_);
    return s_;
}

Result<void> FwCfg::apply(const FwCfgState& state) {
    std::lock_guard guard(lock_);
    s_ = state;
    return {};
}

}  // namespace tandem::devices

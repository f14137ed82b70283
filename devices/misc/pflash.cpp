#include "devices/misc/pflash.h"

#include <algorithm>
#include <array>

#include "base/bits.h"
#include "base/log.h"

namespace tandem::devices {
namespace {

constexpr u64 kSector = 512;

enum Command : u8 {
    kProgram = 0x10,
    kErase = 0x20,
    kProgramAlternative = 0x40,
    kClearStatus = 0x50,
    kLock = 0x60,
    kReadStatus = 0x70,
    kReadId = 0x90,
    kQuery = 0x98,
    kConfirm = 0xd0,
    kBufferedWrite = 0xe8,
    kReadArray = 0xff
};
constexpr u8 kReady = 0x80, kEraseError = 0x20, kProgramError = 0x10, kProtected = 0x02;
constexpr u8 kManufacturer = 0x89, kDeviceId = 0x18;  // Intel
constexpr u32 kBufferSize = 256;

// Query table (JESD68.01, 2.5), from address 10H on.
std::array<u8, 0x31> query_table(u64 size) {
    const u64 blocks = size / Pflash::kBlock;
    u8 log_size = 0;
    while ((u64{1} << log_size) < size) ++log_size;
    std::array<u8, 0x31> t{};
    constexpr std::array<u8, 23> kHead{'Q',  'R', 'Y', 0x01, 0x00, 0x31, 0x00, 0, 0, 0, 0, 0x45,
                                       0x55, 0,   0,   7,    7,    10,   0,    4, 4, 4, 0};
    std::copy(kHead.begin(), kHead.end(), t.begin() + 0x10);
    t[0x27] = log_size;
    t[0x2a] = 8;  // log2 of the write buffer
    t[0x2c] = 1;  // one region of equal blocks
    t[0x2d] = static_cast<u8>(blocks - 1);
    t[0x2e] = static_cast<u8>((blocks - 1) >> 8);
    t[0x2f] = static_cast<u8>(Pflash::kBlock / 256);
    t[0x30] = static_cast<u8>(Pflash::kBlock / 256 >> 8);
    return t;
}

}  // namespace

Result<std::unique_ptr<Pflash>> Pflash::create(std::string name, std::unique_ptr<BlockBackend> backend) {
    if (backend->size_bytes() == 0 || backend->size_bytes() % kBlock != 0) {
        return invalid(fmt::format("{}: {} bytes are not a multiple of 4 KiB", name, backend->size_bytes()));
    }
    std::unique_ptr<Pflash> flash(new Pflash(std::move(name), std::move(backend)));
    flash->array_.resize(flash->backend_->size_bytes());
    TANDEM_TRY(flash->backend_->read(0, flash->array_));
    return flash;
}

Pflash::~Pflash() { flush(); }

void Pflash::reset() {
    std::lock_guard guard(lock_);
    flush();
    s_ = {};
}

void Pflash::machine_stopped() {
    std::lock_guard guard(lock_);
    flush();
}

u64 Pflash::io_read(u64 offset, unsigned size) {
    std::lock_guard guard(lock_);
    u64 value = 0;
    const auto table = s_.mode == kQuery ? query_table(array_.size()) : std::array<u8, 0x31>{};
    for (unsigned i = 0; i < size; ++i) {
        const u64 at = offset + i;
        u8 byte = 0;
        switch (s_.mode) {
            case kReadArray: byte = array_[at]; break;
            case kReadId: byte = (at & 0xff) == 0 ? kManufacturer : (at & 0xff) == 1 ? kDeviceId : u8{0}; break;
            case kQuery: byte = (at & 0xff) < table.size() ? table[at & 0xff] : u8{0}; break;
            default: byte = s_.status; break;
        }
        value |= u64{byte} << (8 * i);
    }
    return value;
}

void Pflash::io_write(u64 offset, u64 value, unsigned size) {
    std::lock_guard guard(lock_);
    // Commands are one byte; data of a wider write are programmed byte by byte.
    const bool data = s_.armed && (s_.mode == kProgram || (s_.mode == kBufferedWrite && s_.buffer_left > 1));
    const unsigned count = data ? size : 1;
    for (unsigned i = 0; i < count; ++i) write_byte(offset + i, static_cast<u8>(value >> (8 * i)));
    if (data && s_.mode == kProgram) s_.armed = false;
}

void Pflash::write_byte(u64 offset, u8 value) {
    if (s_.armed) {
        second_cycle(offset, value);
    } else {
        first_cycle(value);
    }
}

void Pflash::first_cycle(u8 command) {
    switch (command) {
        case kProgram:
        case kProgramAlternative:
            s_.mode = kProgram;
            s_.armed = true;
            break;
        case kErase:
        case kLock:
        case kBufferedWrite:
            s_.mode = command;
            s_.status |= kReady;
            s_.buffer_left = 0;
            s_.armed = true;
            break;
        case kClearStatus:
            // Firmware knows a flash chip by a status that reads as zero after this.
            s_.status = 0;
            s_.mode = kReadArray;
            break;
        case kReadStatus:
        case kReadId:
        case kQuery: s_.mode = command; break;
        default:
            s_.mode = kReadArray;
            flush();
            break;
    }
}

void Pflash::second_cycle(u64 offset, u8 value) {
    switch (s_.mode) {
        case kProgram: program(offset, value); break;  // io_write() ends it: the data may be wider
        case kErase:
            s_.armed = false;
            if (value == kConfirm) {
                erase(offset);
            } else {
                s_.status |= kEraseError | kProgramError | kReady;
            }
            s_.mode = kReadStatus;
            break;
        case kBufferedWrite:
            if (s_.buffer_left == 0) {
                s_.buffer_left = u32{value} + 1 + 1;  // a count of bytes less one; the last to come is the confirmation
            } else if (--s_.buffer_left == 0) {
                s_.armed = false;
                s_.mode = kReadStatus;
                if (value != kConfirm) s_.status |= kProgramError;
            } else {
                program(offset, value);
            }
            break;
        default:  // block locks are not kept
            s_.armed = false;
            s_.mode = kReadStatus;
            break;
    }
}

// Programming clears bits.
void Pflash::program(u64 offset, u8 value) {
    s_.status |= kReady;
    if (backend_->readonly()) {
        s_.status |= kProgramError | kProtected;
        return;
    }
    if (offset >= array_.size()) return;
    array_[offset] &= value;
    dirty_from_ = std::min(dirty_from_, offset);
    dirty_to_ = std::max(dirty_to_, offset + 1);
}

void Pflash::erase(u64 offset) {
    s_.status |= kReady;
    if (backend_->readonly()) {
        s_.status |= kEraseError | kProtected;
        return;
    }
    const u64 block = align_down(offset, kBlock);
    std::fill_n(array_.begin() + static_cast<std::ptrdiff_t>(block), kBlock, u8{0xff});
    dirty_from_ = std::min(dirty_from_, block);
    dirty_to_ = std::max(dirty_to_, block + kBlock);
    flush();
}

void Pflash::flush() {
    if (dirty_from_ >= dirty_to_) return;
    const u64 from = align_down(dirty_from_, kSector), to = std::min<u64>(align_up(dirty_to_, kSector), array_.size());
    const auto written = backend_->write(from, std::span<const u8>(array_).subspan(from, to - from));
    if (!written.ok()) {
        log::error("{}: {}", name_, written.error().message);
        s_.status |= kProgramError;
    }
    dirty_from_ = ~u64{0};
    dirty_to_ = 0;
}

PflashState Pflash::capture() const {
    std::lock_guard guard(lock_);
    return s_;
}

Result<void> Pflash::apply(const PflashState& state) {
    if (state.buffer_left > kBufferSize + 1) return corrupt("too large a buffered write");
    std::vector<u8> array(backend_->size_bytes());
    TANDEM_TRY(backend_->read(0, array));
    std::lock_guard guard(lock_);
    array_ = std::move(array);
    dirty_from_ = ~u64{0};
    dirty_to_ = 0;
    s_ = state;
    return {};
}

}  // namespace tandem::devices

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

// Query table of each chip (JESD68.01, 2.5), from address 10H on.
std::array<u8, 0x31> query_table(u64 size, const PflashShape& shape) {
    const u64 chips = shape.width == 1 ? 1 : 2, blocks = size / shape.block, in_chip = shape.block / chips;
    u8 log_size = 0;
    while ((u64{1} << log_size) < size / chips) ++log_size;
    std::array<u8, 0x31> t{};
    constexpr std::array<u8, 23> kHead{'Q',  'R', 'Y', 0x01, 0x00, 0x31, 0x00, 0, 0, 0, 0, 0x45,
                                       0x55, 0,   0,   7,    7,    10,   0,    4, 4, 4, 0};
    std::copy(kHead.begin(), kHead.end(), t.begin() + 0x10);
    t[0x27] = log_size;
    t[0x28] = shape.width == 1 ? 0 : 1;  // x8, or x16
    t[0x2a] = 8;                         // log2 of the write buffer
    t[0x2c] = 1;                         // one region of equal blocks
    t[0x2d] = static_cast<u8>(blocks - 1);
    t[0x2e] = static_cast<u8>((blocks - 1) >> 8);
    t[0x2f] = static_cast<u8>(in_chip / 256);
    t[0x30] = static_cast<u8>(in_chip / 256 >> 8);
    return t;
}

}  // namespace

Result<std::unique_ptr<Pflash>> Pflash::create(std::string name, std::unique_ptr<BlockBackend> backend,
                                               const PflashShape& shape) {
    if (backend->size_bytes() == 0 || backend->size_bytes() % shape.block != 0) {
        return invalid(
            fmt::format("{}: {} bytes are not a multiple of {} KiB", name, backend->size_bytes(), shape.block / 1024));
    }
    std::unique_ptr<Pflash> flash(new Pflash(std::move(name), std::move(backend), shape));
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

u8 Pflash::chip_answer(u64 address) const {
    const u64 at = address & 0xff;
    switch (s_.mode) {
        case kReadId: return at == 0 ? kManufacturer : at == 1 ? kDeviceId : u8{0};
        case kQuery: {
            const auto table = query_table(array_.size(), shape_);
            return at < table.size() ? table[at] : u8{0};
        }
        default: return s_.status;
    }
}

u64 Pflash::io_read(u64 offset, unsigned size) {
    std::lock_guard guard(lock_);
    u64 value = 0;
    for (unsigned i = 0; i < size; ++i) {
        const u64 at = offset + i;
        u8 byte = 0;
        if (s_.mode == kReadArray) {
            byte = array_[at];
        } else if (shape_.width == 1 || at % 2 == 0) {  // a chip of 16 bits answers in the lower half of its lanes
            byte = chip_answer(at / shape_.width);
        }
        value |= u64{byte} << (8 * i);
    }
    return value;
}

// A command is the same for every chip: the low byte has it. Data of an access that is wider than the bus take several
// cycles of a buffered write, and are programmed at once by a single one.
void Pflash::io_write(u64 offset, u64 value, unsigned size) {
    std::lock_guard guard(lock_);
    const bool data = s_.armed && (s_.mode == kProgram || (s_.mode == kBufferedWrite && s_.buffer_left > 1));
    if (!data) {
        if (s_.armed) {
            second_cycle(offset, value & 0xff, 1);
        } else {
            first_cycle(static_cast<u8>(value));
        }
    } else if (s_.mode == kProgram) {
        second_cycle(offset, value, size);
    } else {
        for (unsigned i = 0; i < size; i += shape_.width) {
            second_cycle(offset + i, value >> 8 * i, std::min(size, shape_.width));
        }
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

void Pflash::second_cycle(u64 offset, u64 value, unsigned size) {
    switch (s_.mode) {
        case kProgram:
            program(offset, value, size);
            s_.armed = false;
            break;
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
                s_.buffer_left = (static_cast<u32>(value) & 0xff) + 1 + 1;  // a count less one; then the confirmation
            } else if (--s_.buffer_left == 0) {
                s_.armed = false;
                s_.mode = kReadStatus;
                if (value != kConfirm) s_.status |= kProgramError;
            } else {
                program(offset, value, size);
            }
            break;
        default:  // block locks are not kept
            s_.armed = false;
            s_.mode = kReadStatus;
            break;
    }
}

// Programming clears bits.
void Pflash::program(u64 offset, u64 value, unsigned size) {
    s_.status |= kReady;
    if (backend_->readonly()) {
        s_.status |= kProgramError | kProtected;
        return;
    }
    if (offset >= array_.size()) return;
    const u64 end = std::min<u64>(offset + size, array_.size());
    for (u64 at = offset; at < end; ++at) array_[at] &= static_cast<u8>(value >> 8 * (at - offset));
    dirty_from_ = std::min(dirty_from_, offset);
    dirty_to_ = std::max(dirty_to_, end);
}

void Pflash::erase(u64 offset) {
    s_.status |= kReady;
    if (backend_->readonly()) {
        s_.status |= kEraseError | kProtected;
        return;
    }
    const u64 block = align_down(offset, shape_.block);
    std::fill_n(array_.begin() + static_cast<std::ptrdiff_t>(block), shape_.block, u8{0xff});
    dirty_from_ = std::min(dirty_from_, block);
    dirty_to_ = std::max(dirty_to_, block + shape_.block);
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

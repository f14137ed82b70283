#include "devices/irq/gic_transfer.h"

namespace tandem::devices::gic {
namespace {

// Offsets in GICD and in GICR's SGI frame (IHI 0069H, 12.8).
constexpr u32 kGroup = 0x080, kSetEnable = 0x100, kClearEnable = 0x180, kSetPending = 0x200, kClearPending = 0x280,
              kSetActive = 0x300, kClearActive = 0x380, kPriority = 0x400, kConfig = 0xc00;
constexpr unsigned kPriorityWords = 8, kConfigWords = 2;
// Of the private bank: driven by the timers beside the controller (Arm Base System Architecture 1.0, appendix).
constexpr u32 kTimers = 1u << 27 | 1u << 30;

// Registers that set and clear one bit for each interrupt.
Result<void> replace(const HostFrame& frame, u32 clear, u32 set, u32 value, u32 which = ~0u) {
    TANDEM_TRY(frame.write(clear, ~value & which));
    return frame.write(set, value & which);
}

Result<void> store_words(const HostFrame& frame, const Bank& bank, u32 base, unsigned words, BankRegister kind) {
    const BankRow row{"", 0, 4, kind};
    for (unsigned i = 0; i < words; ++i) TANDEM_TRY(frame.write(base + 4 * i, read_bank(bank, {&row, 0, i})));
    return {};
}

Result<void> fetch_words(const HostFrame& frame, Bank& bank, u32 base, unsigned words, BankRegister kind) {
    const BankRow row{"", 0, 4, kind};
    for (unsigned i = 0; i < words; ++i) {
        TANDEM_TRY_ASSIGN(const u32 value, frame.read(base + 4 * i));
        write_bank(bank, {}, {&row, 0, i}, value, ~0u);
    }
    return {};
}

}  // namespace

// How an interrupt is triggered cannot change while it is enabled, and what latches follows from it.
Result<void> store_bank(const HostFrame& frame, unsigned index, const Bank& bank, bool sgi_sources) {
    const u32 at = 4 * index;
    TANDEM_TRY(frame.write(kClearEnable + at, ~0u));
    TANDEM_TRY(frame.write(kGroup + at, bank.group1));
    TANDEM_TRY(store_words(frame, bank, kConfig + 8 * index, kConfigWords, BankRegister::Config));
    TANDEM_TRY(store_words(frame, bank, kPriority + 32 * index, kPriorityWords, BankRegister::Priority));
    const u32 elsewhere = index == 0 ? (sgi_sources ? kSgiMask : 0) | kTimers : 0;
    TANDEM_TRY(replace(frame, kClearPending + at, kSetPending + at, bank.latched, ~elsewhere));
    TANDEM_TRY(replace(frame, kClearActive + at, kSetActive + at, bank.active));
    return frame.write(kSetEnable + at, bank.enabled);
}

Result<void> fetch_bank(const HostFrame& frame, unsigned index, Bank& bank) {
    const u32 at = 4 * index;
    TANDEM_TRY_ASSIGN(bank.group1, frame.read(kGroup + at));
    TANDEM_TRY_ASSIGN(bank.enabled, frame.read(kSetEnable + at));
    TANDEM_TRY_ASSIGN(bank.active, frame.read(kSetActive + at));
    TANDEM_TRY(fetch_words(frame, bank, kConfig + 8 * index, kConfigWords, BankRegister::Config));
    TANDEM_TRY(fetch_words(frame, bank, kPriority + 32 * index, kPriorityWords, BankRegister::Priority));
    TANDEM_TRY_ASSIGN(const u32 pending, frame.read(kSetPending + at));
    bank.latched = pending & (bank.edge | ~bank.line) & ~(index == 0 ? kTimers : 0);
    return {};
}

}  // namespace tandem::devices::gic

#include "devices/misc/acpi_pm.h"

namespace tandem::devices {
namespace {

constexpr u64 kSecond = 1'000'000'000;

enum Index : std::size_t { kStatus, kEnable, kControl, kTimerRow, kGpeStatus, kGpeEnable };

constexpr u16 kTmr = 1u << 0, kGlobal = 1u << 5, kPowerButton = 1u << 8, kSleepButton = 1u << 9, kRtc = 1u << 10;
constexpr u16 kPcieWakeDisable = 1u << 14;
constexpr u16 kBusMaster = 1u << 4, kWake = 1u << 15;
constexpr u16 kSciEnable = 1, kBusMasterReload = 2, kSleepType = 7u << 10, kSleepEnable = 1u << 13;

// Reads as set up: there is no system management mode that firmware would have to install.
constexpr u32 kApmcEnable = 1u << 5;

constexpr u16 kEvents = kTmr | kGlobal | kPowerButton | kSleepButton | kRtc;

}  // namespace

std::span<const AcpiPm::Row> AcpiPm::rows() {
    static constexpr Row kRows[] = {
        {"PM1_STS", kPm1Event, 2, 0, 0, kEvents | kBusMaster | kWake, nullptr, nullptr},
        {"PM1_EN", kPm1Event + 2, 2, 0, kEvents | kPcieWakeDisable, 0, nullptr, nullptr},
        {"PM1_CNT", kPm1Control, 2, kSciEnable, kBusMasterReload | kSleepType, 0, nullptr, &AcpiPm::control_written},
        {"PM_TMR", kTimer, 4, 0, 0, 0, &AcpiPm::read_timer, nullptr},
        {"GPE0_STS", kGpe0, 4, 0, 0, ~u32{0}, nullptr, nullptr},
        {"GPE0_EN", kGpe0 + 4, 4, 0, ~u32{0}, 0, nullptr, nullptr},
        {"SMI_EN", kSmiEnable, 4, kApmcEnable, 0, 0, nullptr, nullptr},
    };
    return kRows;
}

AcpiPm::AcpiPm(Clock& clock, IrqLine sci, std::function<void(unsigned)> sleep)
    : clock_(clock), sci_(std::move(sci)), sleep_(std::move(sleep)), regs_(rows()) {
    timer_ = clock.create_timer([this] {
        std::lock_guard guard(lock_);
        account_timer();
        update();
    });
    reset();
}

void AcpiPm::reset() {
    std::lock_guard guard(lock_);
    regs_.reset();
    tick_offset_ = 0;
    carries_ = ticks() >> 23;
    update();
}

u64 AcpiPm::ticks() const { return mul_div(clock_.now_ns(), kTimerHz, kSecond) + tick_offset_; }

u64 AcpiPm::read_timer(const Row&, u64) { return ticks() & mask(24); }

void AcpiPm::control_written(const Row&, u64, u64 written) {
    if ((written & kSleepEnable) != 0) sleep_request_ = static_cast<int>(bits(written, 12, 10));
}

// TMR_STS is set whenever the timer's most significant bit changes (ACPI 4.8.3.1).
void AcpiPm::account_timer() {
    const u64 now = ticks() >> 23;
    if (now != carries_) regs_.set(kStatus, regs_.get(kStatus) | kTmr);
    carries_ = now;
}

void AcpiPm::update() {
    const bool pm1 = (regs_.get(kStatus) & regs_.get(kEnable) & kEvents) != 0;
    const bool gpe = (regs_.get(kGpeStatus) & regs_.get(kGpeEnable)) != 0;
    sci_.set(pm1 || gpe);
    u64 deadline = Timer::kNever;
    if ((regs_.get(kEnable) & ~regs_.get(kStatus) & kTmr) != 0) {
        deadline = mul_div(((carries_ + 1) << 23) - tick_offset_, kSecond, kTimerHz) + 1;
    }
    timer_->arm(deadline);
}

void AcpiPm::press_power_button() {
    std::lock_guard guard(lock_);
    regs_.set(kStatus, regs_.get(kStatus) | kPowerButton);
    update();
}

void AcpiPm::raise_gpe(unsigned event) {
    if (event > 31) return;
    std::lock_guard guard(lock_);
    regs_.set(kGpeStatus, regs_.get(kGpeStatus) | u64{1} << event);
    update();
}

u64 AcpiPm::io_read(u64 offset, unsigned size) {
    std::lock_guard guard(lock_);
    account_timer();
    update();
    return regs_.read(*this, offset, size);
}

void AcpiPm::io_write(u64 offset, u64 value, unsigned size) {
    int sleep = -1;
    {
        std::lock_guard guard(lock_);
        account_timer();
        regs_.write(*this, offset, value, size);
        update();
        std::swap(sleep, sleep_request_);
    }
    if (sleep >= 0 && sleep_) sleep_(static_cast<unsigned>(sleep));
}

AcpiPmState AcpiPm::capture() const {
    std::lock_guard guard(lock_);
    AcpiPmState s;
    const bool carried = ticks() >> 23 != carries_;
    s.pm1_status = static_cast<u16>(regs_.get(kStatus) | (carried ? kTmr : 0));
    s.pm1_enable = static_cast<u16>(regs_.get(kEnable));
    s.pm1_control = static_cast<u16>(regs_.get(kControl));
    s.gpe_status = static_cast<u32>(regs_.get(kGpeStatus));
    s.gpe_enable = static_cast<u32>(regs_.get(kGpeEnable));
    s.timer_ticks = ticks();
    return s;
}

Result<void> AcpiPm::apply(const AcpiPmState& s) {
    if ((s.pm1_control & kSciEnable) == 0) return corrupt("not in ACPI mode");
    std::lock_guard guard(lock_);
    regs_.set(kStatus, s.pm1_status);
    regs_.set(kEnable, s.pm1_enable);
    regs_.set(kControl, s.pm1_control);
    regs_.set(kGpeStatus, s.gpe_status);
    regs_.set(kGpeEnable, s.gpe_enable);
    tick_offset_ += s.timer_ticks - ticks();
    carries_ = ticks() >> 23;
    update();
    return {};
}

}  // namespace tandem::devices

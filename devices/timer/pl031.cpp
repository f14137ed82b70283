#include "devices/timer/pl031.h"

#include "devices/fabric/primecell.h"

namespace tandem::devices {
namespace {

constexpr u64 kSecond = 1'000'000'000;

}  // namespace

// Table 3-1. The clock cannot be stopped (RTCCR reads as 1).
std::span<const Register<Pl031>> Pl031::rows() {
    using P = Pl031;
    static constexpr Reg kOwn[] = {
        {"RTCDR", 0x00, 4, 0, 0, 0, &P::read_data},
        {"RTCMR", 0x04, 4, 0, 0xffffffff, 0, nullptr, &P::write_match},
        {"RTCLR", 0x08, 4, 0, 0xffffffff, 0, nullptr, &P::write_load},
        {"RTCCR", 0x0c, 4, 1},
        {"RTCIMSC", 0x10, 4, 0, 1},
        {"RTCRIS", 0x14, 4, 0, 0, 0, &P::read_raw},
        {"RTCMIS", 0x18, 4, 0, 0, 0, &P::read_masked},
        {"RTCICR", 0x1c, 4, 0, 0, 0, nullptr, &P::clear},
    };
    static constexpr auto kRows = with_primecell_ids(kOwn, 0x00041031);
    return kRows;
}

Pl031::Pl031(Clock& clock, IrqLine irq)
    : clock_(clock), irq_(std::move(irq)), registers_(rows()), timer_(clock.create_timer([this] { on_timer(); })) {}

void Pl031::reset() {
    std::lock_guard guard(lock_);
    registers_.reset();
    raised_ = false;
    timer_->arm(Timer::kNever);
    update();
}

u32 Pl031::seconds() const { return static_cast<u32>(clock_.wall_ns() / kSecond) + offset_; }

// The next time the counter has the match register's value; it wraps after 136 years.
void Pl031::arm() {
    const auto wait = static_cast<u32>(registers_.get(kMatch)) - seconds();
    timer_->arm(clock_.now_ns() + (wait == 0 ? 0 : u64{wait} * kSecond - clock_.wall_ns() % kSecond));
}

void Pl031::on_timer() {
    std::lock_guard guard(lock_);
    raised_ = true;
    update();
}

void Pl031::update() { irq_.set(raised_ && (registers_.get(kMask) & 1) != 0); }

u64 Pl031::io_read(u64 offset, unsigned size) {
    std::lock_guard guard(lock_);
    return registers_.read(*this, offset, size);
}

void Pl031::io_write(u64 offset, u64 value, unsigned size) {
    std::lock_guard guard(lock_);
    registers_.write(*this, offset, value, size);
    update();
}

u64 Pl031::read_data(const Reg&, u64) { return seconds(); }
void Pl031::write_load(const Reg&, u64, u64) {
    offset_ += static_cast<u32>(registers_.get(kLoad)) - seconds();
    arm();
}
void Pl031::write_match(const Reg&, u64, u64) { arm(); }
u64 Pl031::read_raw(const Reg&, u64) { return raised_ ? 1 : 0; }
u64 Pl031::read_masked(const Reg&, u64) { return raised_ ? registers_.get(kMask) & 1 : 0; }
void Pl031::clear(const Reg&, u64, u64 written) { raised_ = raised_ && (written & 1) == 0; }

Pl031State Pl031::capture() const {
    std::lock_guard guard(lock_);
    return {registers_.values(), offset_, raised_};
}

Result<void> Pl031::apply(const Pl031State& s) {
    if (s.registers.size() != rows().size()) return corrupt("wrong number of registers");
    std::lock_guard guard(lock_);
    for (std::size_t i = 0; i < s.registers.size(); ++i) registers_.set(i, s.registers[i]);
    offset_ = s.offset;
    raised_ = s.raised;
    arm();
    update();
    return {};
}

}  // namespace tandem::devices

#include "devices/misc/pl061.h"

#include "base/bits.h"
#include "devices/fabric/primecell.h"

namespace tandem::devices {
namespace {

constexpr u64 kDataEnd = 0x400;  // GPIODATA: address bits 9:2 choose the pins
constexpr u64 kPressNs = 100'000'000;

}  // namespace

// Table 3-1
std::span<const Register<Pl061>> Pl061::rows() {
    using P = Pl061;
    static constexpr Reg kOwn[] = {
        {"GPIODIR", 0x400, 4, 0, 0xff},
        {"GPIOIS", 0x404, 4, 0, 0xff},
        {"GPIOIBE", 0x408, 4, 0, 0xff},
        {"GPIOIEV", 0x40c, 4, 0, 0xff},
        {"GPIOIE", 0x410, 4, 0, 0xff},
        {"GPIORIS", 0x414, 4, 0, 0, 0, &P::read_raw},
        {"GPIOMIS", 0x418, 4, 0, 0, 0, &P::read_masked},
        {"GPIOIC", 0x41c, 4, 0, 0, 0, nullptr, &P::clear},
        {"GPIOAFSEL", 0x420, 4, 0, 0xff},
    };
    static constexpr auto kRows = with_primecell_ids(kOwn, 0x00041061);
    return kRows;
}

Pl061::Pl061(Clock& clock, IrqLine irq)
    : clock_(clock), irq_(std::move(irq)), registers_(rows()), release_(clock.create_timer([this] {
          std::lock_guard guard(lock_);
          set_input(static_cast<u8>(input_ & ~(1u << kPowerKey)));
      })) {}

void Pl061::press_power_key() {
    std::lock_guard guard(lock_);
    set_input(static_cast<u8>(input_ | 1u << kPowerKey));
    release_->arm(clock_.now_ns() + kPressNs);
}

void Pl061::reset() {
    std::lock_guard guard(lock_);
    registers_.reset();
    output_ = input_ = raised_ = 0;
    release_->arm(Timer::kNever);
    update();
}

u8 Pl061::pins() const {
    const u64 out = registers_.get(kDirection);
    return static_cast<u8>((output_ & out) | (input_ & ~out));
}

u8 Pl061::levels() const { return static_cast<u8>(~(pins() ^ registers_.get(kEvent)) & registers_.get(kSense)); }

// Edges as 3.3.4 to 3.3.6 choose them.
void Pl061::set_input(u8 input) {
    const u8 before = pins();
    input_ = input;
    const auto changed = static_cast<u64>(before ^ pins());
    const u64 wanted = registers_.get(kBothEdges) | ~(pins() ^ registers_.get(kEvent));
    raised_ = static_cast<u8>(raised_ | (changed & wanted & ~registers_.get(kSense)));
    update();
}

void Pl061::update() { irq_.set(((raised_ | levels()) & registers_.get(kEnable)) != 0); }

u64 Pl061::io_read(u64 offset, unsigned size) {
    std::lock_guard guard(lock_);
    if (offset < kDataEnd) return pins() & bits(offset, 9, 2);
    return registers_.read(*this, offset, size);
}

void Pl061::io_write(u64 offset, u64 value, unsigned size) {
    std::lock_guard guard(lock_);
    if (offset < kDataEnd) {
        const u64 chosen = bits(offset, 9, 2) & registers_.get(kDirection);
        output_ = static_cast<u8>((output_ & ~chosen) | (value & chosen));
    } else {
        registers_.write(*this, offset, value, size);
    }
    update();
}

u64 Pl061::read_raw(const Reg&, u64) { return static_cast<u8>(raised_ | levels()); }
u64 Pl061::read_masked(const Reg&, u64) { return (raised_ | levels()) & registers_.get(kEnable); }
void Pl061::clear(const Reg&, u64, u64 written) { raised_ = static_cast<u8>(raised_ & ~written); }

Pl061State Pl061::capture() const {
    std::lock_guard guard(lock_);
    return {registers_.values(), output_, input_, raised_};
}

// A key that was down comes up.
Result<void> Pl061::apply(const Pl061State& s) {
    if (s.registers.size() != rows().size()) return corrupt("wrong number of registers");
    std::lock_guard guard(lock_);
    for (std::size_t i = 0; i < s.registers.size(); ++i) registers_.set(i, s.registers[i]);
    output_ = s.output;
    input_ = s.input;
    raised_ = s.raised;
    release_->arm((input_ & 1u << kPowerKey) != 0 ? clock_.now_ns() + kPressNs : Timer::kNever);
    update();
    return {};
}

}  // namespace tandem::devices

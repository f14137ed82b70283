#include "devices/char/uart16550.h"

#include "base/bits.h"

namespace tandem::devices {
namespace {

enum Port : unsigned { kData = 0, kIer = 1, kIirFcr = 2, kLcr = 3, kMcr = 4, kLsr = 5, kMsr = 6, kScr = 7 };

constexpr u8 kIerReceive = 1, kIerThre = 2, kIerLine = 4, kIerModem = 8;
constexpr u8 kIirNone = 1, kIirModem = 0, kIirThre = 2, kIirReceive = 4, kIirLine = 6, kIirTimeout = 0xc;
constexpr u8 kFcrEnable = 1, kFcrClearReceive = 2, kFcrClearTransmit = 4;
constexpr u8 kLcrBreak = 0x40, kLcrDlab = 0x80;
constexpr u8 kMcrDtr = 1, kMcrOut2 = 8, kMcrLoop = 0x10;
constexpr u8 kLsrReady = 1, kLsrOverrun = 2, kLsrErrors = 0x1e, kLsrBreak = 0x10, kLsrThre = 0x20, kLsrTemt = 0x40;
constexpr u8 kMsrCts = 0x10, kMsrDsr = 0x20, kMsrRi = 0x40, kMsrDcd = 0x80;
constexpr u8 kNullModem = kMsrCts | kMsrDsr | kMsrDcd;
constexpr u64 kCrystalHz = 1'843'200;

}  // namespace

Uart16550::Uart16550(CharBackend* backend, Clock& clock, IrqLine irq, std::string name)
    : name_(std::move(name)),
      backend_(backend),
      clock_(clock),
      irq_(std::move(irq)),
      timer_(clock.create_timer([this] { on_timeout(); })) {
    reset();
    if (backend_ == nullptr) return;
    backend_->set_receiver([this](std::span<const u8> bytes) { return receive(bytes); });
    backend_->set_break([this] { receive_break(); });
}

Uart16550::~Uart16550() {
    if (backend_ == nullptr) return;
    backend_->set_receiver({});
    backend_->set_break({});
}

void Uart16550::reset() {
    std::lock_guard guard(lock_);
    s_ = {};
    s_.lsr = kLsrThre | kLsrTemt;
    s_.msr = kNullModem;
    status_read_ = polled_ = false;
    timeout_at_ns_ = Timer::kNever;
    timer_->arm(Timer::kNever);
    update();
}

bool Uart16550::fifo_enabled() const { return (s_.fcr & kFcrEnable) != 0; }
unsigned Uart16550::capacity() const { return fifo_enabled() ? 16 : 1; }
unsigned Uart16550::trigger() const {
    constexpr std::array<u8, 4> kLevels{1, 4, 8, 14};
    return fifo_enabled() ? kLevels[s_.fcr >> 6] : 1;
}

u64 Uart16550::character_ns() const {
    // Start bit, data bits, parity, stop bits, in half bits.
    const unsigned data = 5 + (s_.lcr & 3u);
    const unsigned stop = (s_.lcr & 4) == 0 ? 2 : data == 5 ? 3 : 4;
    const unsigned half_bits = 2 + 2 * data + ((s_.lcr & 8) != 0 ? 2 : 0) + stop;
    const u64 divisor = s_.divisor == 0 ? 0x10000 : s_.divisor;
    return half_bits * divisor * 16 * 1'000'000'000 / (2 * kCrystalHz);
}

u8 Uart16550::line_status() const {
    u8 value = s_.lsr;
    if (s_.fifo_count != 0) value = static_cast<u8>(value | kLsrReady | s_.flags[s_.fifo_head]);
    // Bit 7: an error anywhere in the FIFO.
    for (unsigned i = 0; fifo_enabled() && i < s_.fifo_count; ++i) {
        if (s_.flags[(s_.fifo_head + i) & 15] != 0) value |= 0x80;
    }
    return value;
}

// Priorities from the data sheet's table 3.
u8 Uart16550::interrupt_id() const {
    if ((s_.ier & kIerLine) != 0 && (line_status() & kLsrErrors) != 0) return kIirLine;
    if ((s_.ier & kIerReceive) != 0 && s_.fifo_count >= trigger()) return kIirReceive;
    if ((s_.ier & kIerReceive) != 0 && s_.timeout_pending) return kIirTimeout;
    if ((s_.ier & kIerThre) != 0 && s_.thre_pending) return kIirThre;
    if ((s_.ier & kIerModem) != 0 && (s_.msr & 0xf) != 0) return kIirModem;
    return kIirNone;
}

void Uart16550::update() {
    // On a PC OUT2 gates the interrupt; loopback disconnects the pin.
    irq_.set(interrupt_id() != kIirNone && (s_.mcr & (kMcrOut2 | kMcrLoop)) == kMcrOut2);
}

void Uart16550::finish(const Actions& actions) {
    if (backend_ == nullptr) return;
    if (actions.output_count != 0) backend_->write(std::span(actions.output).first(actions.output_count));
    if (actions.resume) backend_->resume_input();
}

// The character timeout: four character times without a read or an arrival while the FIFO is not empty.
void Uart16550::restart_timeout() {
    s_.timeout_pending = false;
    timeout_at_ns_ = fifo_enabled() && s_.fifo_count != 0 ? clock_.now_ns() + 4 * character_ns() : Timer::kNever;
    timer_->arm(timeout_at_ns_);
}

void Uart16550::on_timeout() {
    std::lock_guard guard(lock_);
    if (timeout_at_ns_ == Timer::kNever || clock_.now_ns() < timeout_at_ns_) return;
    timeout_at_ns_ = Timer::kNever;
    s_.timeout_pending = s_.fifo_count != 0;
    update();
}

void Uart16550::push(u8 byte, u8 flags) {
    if (s_.fifo_count >= capacity()) {
        // Overrun: without FIFO the new character replaces the old one, with FIFO it is lost.
        s_.lsr |= kLsrOverrun;
        if (fifo_enabled()) return;
        s_.fifo_count = 0;
    }
    const unsigned at = (s_.fifo_head + s_.fifo_count) & 15;
    s_.fifo[at] = byte;
    s_.flags[at] = flags;
    ++s_.fifo_count;
    restart_timeout();
}

void Uart16550::clear_receiver() {
    s_.fifo_count = 0;
    s_.lsr &= static_cast<u8>(~kLsrErrors);
    restart_timeout();
}

// Whether somebody takes characters: the terminal at the other end holds them back until DTR is up, as modems do, so that
// what is typed before the guest's driver clears the port is not lost. A guest that reads the line status twice without
// sending in between, or wants receive interrupts, listens too, DTR or not.
bool Uart16550::listening() const { return (s_.mcr & kMcrDtr) != 0 || (s_.ier & kIerReceive) != 0 || polled_; }

// What arrives while the machine rests waits at the back end: a restore in between would put other state over it.
void Uart16550::machine_stopped() {
    std::lock_guard guard(lock_);
    resting_ = true;
}

void Uart16550::machine_continues() {
    {
        std::lock_guard guard(lock_);
        resting_ = false;
    }
    if (backend_ != nullptr) backend_->resume_input();
}

std::size_t Uart16550::receive(std::span<const u8> bytes) {
    std::lock_guard guard(lock_);
    if (resting_ || (s_.mcr & kMcrLoop) != 0 || !listening()) return 0;
    std::size_t taken = 0;
    while (taken < bytes.size() && s_.fifo_count < capacity()) push(bytes[taken++], 0);
    update();
    return taken;
}

void Uart16550::receive_break() {
    std::lock_guard guard(lock_);
    if (resting_ || (s_.mcr & kMcrLoop) != 0) return;
    push(0, kLsrBreak);
    update();
}

u8 Uart16550::read_data(Actions& actions) {
    if (s_.fifo_count == 0) return s_.fifo[(s_.fifo_head + 15) & 15];  // the last character again
    const u8 value = s_.fifo[s_.fifo_head];
    s_.flags[s_.fifo_head] = 0;
    s_.fifo_head = (s_.fifo_head + 1) & 15;
    --s_.fifo_count;
    restart_timeout();
    actions.resume = s_.fifo_count == 0;
    return value;
}

void Uart16550::write_data(u8 value, Actions& actions) {
    // Filling the holding register ends its interrupt, and it is empty again at once: the line falls and rises, which is
    // what edge-triggered controllers wait for.
    status_read_ = false;
    s_.thre_pending = false;
    update();
    s_.thre_pending = true;
    if ((s_.mcr & kMcrLoop) != 0) {
        push(value & static_cast<u8>(mask(5 + (s_.lcr & 3u))), 0);
    } else if ((s_.lcr & kLcrBreak) == 0) {
        actions.output[actions.output_count++] = value;
    }
}

void Uart16550::write_fcr(u8 value, Actions& actions) {
    if (((value ^ s_.fcr) & kFcrEnable) != 0) value |= kFcrClearReceive | kFcrClearTransmit;
    // Without the enable bit the others are not programmed.
    s_.fcr = (value & kFcrEnable) != 0 ? value & 0xc9 : 0;
    if ((value & kFcrClearReceive) != 0) {
        clear_receiver();
        actions.resume = true;
    }
    if ((value & kFcrClearTransmit) != 0) s_.thre_pending = true;
}

void Uart16550::set_modem_inputs(u8 inputs) {
    const u8 changed = static_cast<u8>((s_.msr ^ inputs) & 0xf0);
    u8 deltas = static_cast<u8>((changed & (kMsrCts | kMsrDsr | kMsrDcd)) >> 4);
    // The ring indicator counts its trailing edge only.
    if ((changed & kMsrRi) != 0 && (inputs & kMsrRi) == 0) deltas |= kMsrRi >> 4;
    s_.msr = static_cast<u8>(inputs | (s_.msr & 0xf) | deltas);
}

void Uart16550::write_mcr(u8 value, Actions& actions) {
    s_.mcr = value & 0x1f;
    u8 inputs = kNullModem;
    if ((s_.mcr & kMcrLoop) != 0) {
        // DTR, RTS, OUT1 and OUT2 come back as DSR, CTS, RI and DCD.
        inputs = static_cast<u8>((bit(value, 0) ? kMsrDsr : 0) | (bit(value, 1) ? kMsrCts : 0) |
                                 (bit(value, 2) ? kMsrRi : 0) | (bit(value, 3) ? kMsrDcd : 0));
    }
    set_modem_inputs(inputs);
    actions.resume = (s_.mcr & kMcrLoop) == 0;
}

u8 Uart16550::read_register(unsigned port, Actions& actions) {
    switch (port) {
        case kData: return (s_.lcr & kLcrDlab) != 0 ? static_cast<u8>(s_.divisor) : read_data(actions);
        case kIer: return (s_.lcr & kLcrDlab) != 0 ? static_cast<u8>(s_.divisor >> 8) : s_.ier;
        case kIirFcr: {
            const u8 id = interrupt_id();
            if (id == kIirThre) s_.thre_pending = false;
            return static_cast<u8>(id | (fifo_enabled() ? 0xc0 : 0));
        }
        case kLcr: return s_.lcr;
        case kMcr: return s_.mcr;
        case kLsr: {
            const u8 value = line_status();
            if (status_read_ && !polled_) polled_ = actions.resume = true;
            status_read_ = true;
            s_.lsr &= static_cast<u8>(~kLsrErrors);
            if (s_.fifo_count != 0) s_.flags[s_.fifo_head] = 0;
            return value;
        }
        case kMsr: {
            const u8 value = s_.msr;
            s_.msr &= 0xf0;
            return value;
        }
        default: return s_.scr;
    }
}

void Uart16550::write_register(unsigned port, u8 value, Actions& actions) {
    switch (port) {
        case kData:
            if ((s_.lcr & kLcrDlab) == 0) return write_data(value, actions);
            s_.divisor = static_cast<u16>((s_.divisor & 0xff00) | value);
            break;
        case kIer:
            if ((s_.lcr & kLcrDlab) != 0) {
                s_.divisor = static_cast<u16>((s_.divisor & 0xff) | value << 8);
                break;
            }
            // Enabling the interrupt while the holding register is empty raises it (drivers probe for that).
            if ((value & kIerThre) != 0 && (s_.ier & kIerThre) == 0) s_.thre_pending = true;
            s_.ier = value & 0xf;
            actions.resume = (s_.ier & kIerReceive) != 0;
            break;
        case kIirFcr: return write_fcr(value, actions);
        case kLcr:
            // A break in loopback arrives at the receiver.
            if ((s_.mcr & kMcrLoop) != 0 && (value & kLcrBreak) != 0 && (s_.lcr & kLcrBreak) == 0) push(0, kLsrBreak);
            s_.lcr = value;
            break;
        case kMcr: return write_mcr(value, actions);
        case kScr: s_.scr = value; break;
        default: break;  // LSR and MSR are for the factory's tests
    }
}

u64 Uart16550::io_read(u64 offset, unsigned size) {
    Actions actions;
    u64 value = 0;
    {
        std::lock_guard guard(lock_);
        for (unsigned i = 0; i < size; ++i) {
            value |= u64{read_register(static_cast<unsigned>(offset + i) & 7, actions)} << (8 * i);
        }
        update();
    }
    finish(actions);
    return value;
}

void Uart16550::io_write(u64 offset, u64 value, unsigned size) {
    Actions actions;
    {
        std::lock_guard guard(lock_);
        for (unsigned i = 0; i < size; ++i) {
            write_register(static_cast<unsigned>(offset + i) & 7, static_cast<u8>(value >> (8 * i)), actions);
        }
        update();
    }
    finish(actions);
}

UartState Uart16550::capture() const {
    std::lock_guard guard(lock_);
    UartState s = s_;
    const u64 now = clock_.now_ns();
    s.timeout_left_ns = timeout_at_ns_ == Timer::kNever ? 0 : timeout_at_ns_ > now ? timeout_at_ns_ - now : 1;
    return s;
}

Result<void> Uart16550::apply(const UartState& state) {
    if (state.fifo_head > 15 || state.fifo_count > 16) return corrupt("FIFO indexes out of range");
    {
        std::lock_guard guard(lock_);
        s_ = state;
        s_.timeout_left_ns = 0;
        timeout_at_ns_ = state.timeout_left_ns == 0 ? Timer::kNever : clock_.now_ns() + state.timeout_left_ns;
        timer_->arm(timeout_at_ns_);
        update();
    }
    // What the back end holds may fit now.
    Actions actions;
    actions.resume = true;
    finish(actions);
    return {};
}

}  // namespace tandem::devices

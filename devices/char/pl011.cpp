#include "devices/char/pl011.h"

#include <algorithm>
#include <utility>

#include "base/bits.h"
#include "devices/fabric/primecell.h"

namespace tandem::devices {
namespace {

// Offsets (table 3-1)
enum Offset : u32 {
    kDr = 0x00,
    kRsr = 0x04,
    kFr = 0x18,
    kLcr = 0x2c,
    kCr = 0x30,
    kIfls = 0x34,
    kImsc = 0x38,
    kRis = 0x3c,
    kMis = 0x40,
    kIcr = 0x44
};

constexpr u32 kFlagCts = 1, kFlagDsr = 2, kFlagDcd = 4, kFlagRxEmpty = 0x10, kFlagRxFull = 0x40, kFlagTxEmpty = 0x80;
constexpr u64 kFifoEnable = 0x10;
constexpr u64 kUartEnable = 1, kLoopback = 0x80, kReceiveEnable = 0x200;
constexpr u32 kReceive = 0x10, kTransmit = 0x20, kTimeout = 0x40, kBreak = 0x200, kOverrun = 0x400, kAll = 0x7ff;
constexpr u16 kBreakCharacter = 0x400;  // UARTDR.BE

}  // namespace

std::span<const Register<Pl011>> Pl011::rows() {
    using P = Pl011;
    static constexpr Reg kOwn[] = {
        {"UARTDR", kDr, 4, 0, 0, 0, &P::read_data, &P::write_data},
        {"UARTRSR", kRsr, 4, 0, 0, 0, &P::read_status, &P::clear_status},
        {"UARTFR", kFr, 4, 0, 0, 0, &P::read_flags},
        {"UARTILPR", 0x20, 4, 0, 0xff},
        {"UARTIBRD", 0x24, 4, 0, 0xffff},
        {"UARTFBRD", 0x28, 4, 0, 0x3f},
        {"UARTLCR_H", kLcr, 4, 0, 0xff, 0, nullptr, &P::write_line_control},
        {"UARTCR", kCr, 4, 0x300, 0xff87},
        {"UARTIFLS", kIfls, 4, 0x12, 0x3f},
        {"UARTIMSC", kImsc, 4, 0, kAll},
        {"UARTRIS", kRis, 4, 0, 0, 0, &P::read_raw},
        {"UARTMIS", kMis, 4, 0, 0, 0, &P::read_masked},
        {"UARTICR", kIcr, 4, 0, 0, 0, nullptr, &P::clear_interrupts},
        {"UARTDMACR", 0x48, 4, 0, 0x7},
    };
    static constexpr auto kRows = with_primecell_ids(kOwn, 0x00341011);  // r1p5: FIFOs of 32
    return kRows;
}

Pl011::Pl011(CharBackend* backend, IrqLine irq, std::string name)
    : name_(std::move(name)), backend_(backend), irq_(std::move(irq)), registers_(rows()) {
    if (backend_ == nullptr) return;
    backend_->set_receiver([this](std::span<const u8> bytes) { return receive(bytes); });
    backend_->set_break([this] { receive_break(); });
}

Pl011::~Pl011() {
    if (backend_ == nullptr) return;
    backend_->set_receiver({});
    backend_->set_break({});
}

void Pl011::reset() {
    std::lock_guard guard(lock_);
    registers_.reset();
    s_ = {};
    update();
}

u64 Pl011::get(u32 offset) const {
    const auto all = rows();
    const auto at = std::ranges::find(all, offset, &Reg::offset);
    return registers_.get(static_cast<std::size_t>(at - all.begin()));
}

unsigned Pl011::capacity() const { return (get(kLcr) & kFifoEnable) != 0 ? static_cast<unsigned>(s_.fifo.size()) : 1; }

// How full the receive FIFO is when it asks to be read (UARTIFLS.RXIFLSEL, table 3-13).
unsigned Pl011::trigger() const {
    static constexpr std::array<u8, 8> kLevels{4, 8, 16, 24, 28, 28, 28, 28};
    return (get(kLcr) & kFifoEnable) != 0 ? kLevels[bits(get(kIfls), 5, 3)] : 1;
}

bool Pl011::receiving() const { return (get(kCr) & (kUartEnable | kReceiveEnable)) == (kUartEnable | kReceiveEnable); }

void Pl011::push(u16 character) {
    if (s_.fifo_count >= capacity()) {
        s_.raw_interrupts |= kOverrun;
        s_.status |= 8;
        return;
    }
    s_.fifo[(s_.fifo_head + s_.fifo_count++) % s_.fifo.size()] = character;
    if (s_.fifo_count >= trigger()) s_.raw_interrupts |= kReceive;
    // What stays below the trigger level is announced after 32 bit periods without more; they pass at once here.
    s_.raw_interrupts |= kTimeout;
}

// What arrives while the machine rests waits at the back end: a restore in between would put other state over it.
void Pl011::machine_stopped() {
    std::lock_guard guard(lock_);
    resting_ = true;
}

void Pl011::machine_continues() {
    {
        std::lock_guard guard(lock_);
        resting_ = false;
    }
    if (backend_ != nullptr) backend_->resume_input();
}

std::size_t Pl011::receive(std::span<const u8> bytes) {
    std::lock_guard guard(lock_);
    if (resting_ || !receiving() || (get(kCr) & kLoopback) != 0) return 0;
    std::size_t taken = 0;
    while (taken < bytes.size() && s_.fifo_count < capacity()) push(bytes[taken++]);
    update();
    return taken;
}

void Pl011::receive_break() {
    std::lock_guard guard(lock_);
    if (resting_ || !receiving() || (get(kCr) & kLoopback) != 0) return;
    push(kBreakCharacter);
    s_.raw_interrupts |= kBreak;
    update();
}

void Pl011::update() { irq_.set((s_.raw_interrupts & get(kImsc)) != 0); }

u64 Pl011::io_read(u64 offset, unsigned size) {
    Actions actions;
    u64 value = 0;
    {
        std::lock_guard guard(lock_);
        value = registers_.read(*this, offset, size);
        update();
        actions = std::exchange(actions_, {});
    }
    if (actions.resume && backend_ != nullptr) backend_->resume_input();
    return value;
}

void Pl011::io_write(u64 offset, u64 value, unsigned size) {
    Actions actions;
    {
        std::lock_guard guard(lock_);
        const bool before = receiving();
        registers_.write(*this, offset, value, size);
        update();
        actions = std::exchange(actions_, {});
        actions.resume = actions.resume || (!before && receiving());
    }
    if (backend_ == nullptr) return;
    if (actions.send) backend_->write(std::span(&actions.byte, 1));
    if (actions.resume) backend_->resume_input();
}

u64 Pl011::read_data(const Reg&, u64) {
    if (s_.fifo_count == 0) return 0;
    const u16 character = s_.fifo[s_.fifo_head];
    s_.fifo_head = static_cast<u8>((s_.fifo_head + 1) % s_.fifo.size());
    --s_.fifo_count;
    s_.status = (s_.status & 8) | static_cast<u32>(bits(character, 10, 8));
    if (s_.fifo_count < trigger()) s_.raw_interrupts &= ~kReceive;
    if (s_.fifo_count == 0) s_.raw_interrupts &= ~kTimeout;
    actions_.resume = true;
    return character;
}

// The transmitter is empty again at once, which is an event (2.8.3). Software that never enables the UART is heard too.
void Pl011::write_data(const Reg&, u64, u64 written) {
    const auto byte = static_cast<u8>(written);
    s_.raw_interrupts |= kTransmit;
    if ((get(kCr) & kLoopback) != 0) return push(byte);
    actions_.send = true;
    actions_.byte = byte;
}

u64 Pl011::read_status(const Reg&, u64) { return s_.status; }
void Pl011::clear_status(const Reg&, u64, u64) { s_.status = 0; }

u64 Pl011::read_flags(const Reg&, u64) {
    u32 flags = kFlagCts | kFlagDsr | kFlagDcd | kFlagTxEmpty;
    if (s_.fifo_count == 0) flags |= kFlagRxEmpty;
    if (s_.fifo_count >= capacity()) flags |= kFlagRxFull;
    return flags;
}

// Switching the FIFOs on or off empties them (3.3.7).
void Pl011::write_line_control(const Reg&, u64 old, u64) {
    if (((old ^ get(kLcr)) & kFifoEnable) == 0) return;
    s_.fifo_head = s_.fifo_count = 0;
    s_.raw_interrupts &= ~(kReceive | kTimeout);
    actions_.resume = true;
}

u64 Pl011::read_raw(const Reg&, u64) { return s_.raw_interrupts; }
u64 Pl011::read_masked(const Reg&, u64) { return s_.raw_interrupts & get(kImsc); }
void Pl011::clear_interrupts(const Reg&, u64, u64 written) { s_.raw_interrupts &= ~static_cast<u32>(written & kAll); }

Pl011State Pl011::capture() const {
    std::lock_guard guard(lock_);
    Pl011State s = s_;
    s.registers = registers_.values();
    return s;
}

Result<void> Pl011::apply(const Pl011State& s) {
    if (s.registers.size() != rows().size()) return corrupt("wrong number of registers");
    if (s.fifo_head >= s.fifo.size() || s.fifo_count > s.fifo.size()) return corrupt("FIFO positions out of range");
    std::lock_guard guard(lock_);
    s_ = s;
    s_.raw_interrupts &= kAll;
    s_.registers.clear();
    for (std::size_t i = 0; i < s.registers.size(); ++i) registers_.set(i, s.registers[i]);
    update();
    return {};
}

}  // namespace tandem::devices

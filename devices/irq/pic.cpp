#include "devices/irq/pic.h"

#include "base/bits.h"

namespace tandem::devices {
namespace {

constexpr unsigned kMaster = 0, kSlave = 1, kCascade = 2;
// Inputs that the chip set keeps edge triggered: timer, keyboard, cascade; RTC and coprocessor.
constexpr std::array<u8, 2> kElcrMask{0xf8, 0xde};

u8 flag(unsigned index) { return static_cast<u8>(1u << (index & 7)); }

bool is_level(const PicChipState& c, unsigned ir) { return c.level_mode || (c.elcr & flag(ir)) != 0; }

// Steps from the highest priority (0) to the first of `set`; 8 when it is empty.
unsigned first_step(const PicChipState& c, u8 set) {
    for (unsigned step = 0; step < 8; ++step) {
        if ((set & flag(c.lowest + 1 + step)) != 0) return step;
    }
    return 8;
}

unsigned ir_at(const PicChipState& c, unsigned step) { return (c.lowest + 1 + step) & 7; }

}  // namespace

PicPair::PicPair(IrqLine output) : output_(std::move(output)) { reset(); }

void PicPair::reset() {
    std::lock_guard guard(lock_);
    for (auto& c : s_.chip) {
        const u8 lines = c.lines;
        c = {};
        c.lines = lines;
    }
    update();
}

Delivery PicPair::set_line(unsigned irq, bool level) {
    if (irq > 15 || irq == kCascade) return Delivery::Ignored;
    std::lock_guard guard(lock_);
    PicChipState& c = s_.chip[irq / 8];
    const u8 bit_of = flag(irq);
    const bool rising = level && (c.lines & bit_of) == 0;
    const bool latched = (c.irr & bit_of) != 0;
    c.lines = static_cast<u8>(level ? c.lines | bit_of : c.lines & ~bit_of);
    if (host_ != nullptr) return host_->set_pic_line(irq, level);
    Delivery result = Delivery::Ignored;
    if (is_level(c, irq & 7)) {
        c.irr = static_cast<u8>(level ? c.irr | bit_of : c.irr & ~bit_of);
        if (rising) result = Delivery::Delivered;
    } else if (rising) {
        c.irr |= bit_of;
        result = latched ? Delivery::Coalesced : Delivery::Delivered;
    }
    if ((c.imr & bit_of) != 0) result = Delivery::Ignored;
    update();
    return result;
}

void PicPair::set_host(HostControllers* host) {
    std::lock_guard guard(lock_);
    host_ = host;
}

// The request that goes out: its IR, or -1.
int PicPair::pending(unsigned chip) const {
    const PicChipState& c = s_.chip[chip];
    const unsigned request = first_step(c, static_cast<u8>(c.irr & ~c.imr));
    if (request == 8) return -1;
    u8 in_service = c.isr;
    // Special mask mode: a masked level does not hold back lower ones. Special fully nested mode: the slave may interrupt
    // its own service (8259A data sheet).
    if (c.special_mask) in_service &= static_cast<u8>(~c.imr);
    if (c.fully_nested_special && chip == kMaster) in_service &= static_cast<u8>(~flag(kCascade));
    return request < first_step(c, in_service) ? static_cast<int>(ir_at(c, request)) : -1;
}

void PicPair::update() {
    PicChipState& m = s_.chip[kMaster];
    const bool slave_out = pending(kSlave) >= 0;
    m.irr = static_cast<u8>(slave_out ? m.irr | flag(kCascade) : m.irr & ~flag(kCascade));
    const bool out = pending(kMaster) >= 0;
    if (out == out_) return;
    out_ = out;
    output_.set(out);
}

// INTA for one chip: its IR (7 when spurious).
int PicPair::acknowledge_chip(unsigned chip) {
    const int ir = pending(chip);
    if (ir < 0) return 7;
    PicChipState& c = s_.chip[chip];
    const u8 bit_of = flag(static_cast<unsigned>(ir));
    if (!is_level(c, static_cast<unsigned>(ir))) c.irr &= static_cast<u8>(~bit_of);
    if (!c.auto_eoi) {
        c.isr |= bit_of;
    } else if (c.rotate_on_auto_eoi) {
        c.lowest = static_cast<u8>(ir);
    }
    return ir;
}

int PicPair::acknowledge() {
    std::lock_guard guard(lock_);
    const bool cascade = pending(kMaster) == static_cast<int>(kCascade);
    const int ir = acknowledge_chip(kMaster);
    int vector = s_.chip[kMaster].vector_base + ir;
    if (cascade) vector = s_.chip[kSlave].vector_base + acknowledge_chip(kSlave);
    update();
    return vector;
}

bool PicPair::output() const {
    std::lock_guard guard(lock_);
    return out_;
}

u8 PicPair::read_port(unsigned chip, unsigned port) {
    std::lock_guard guard(lock_);
    PicChipState& c = s_.chip[chip];
    if (c.poll) {
        // Poll command: the next read is the acknowledge (8259A data sheet).
        c.poll = false;
        if (pending(chip) < 0) return 0;
        const int ir = acknowledge_chip(chip);
        update();
        return static_cast<u8>(0x80 | ir);
    }
    if (port == 1) return c.imr;
    return c.read_isr ? c.isr : c.irr;
}

void PicPair::write_port(unsigned chip, unsigned port, u8 value) {
    std::lock_guard guard(lock_);
    if (port == 0) {
        write_command(chip, value);
    } else {
        write_data(chip, value);
    }
    update();
}

void PicPair::initialise(unsigned chip, u8 icw1) {
    PicChipState& c = s_.chip[chip];
    PicChipState fresh;
    fresh.lines = c.lines;
    fresh.elcr = c.elcr;
    fresh.vector_base = c.vector_base;
    fresh.init_step = 2;
    fresh.needs_icw4 = bit(icw1, 0);
    fresh.single = bit(icw1, 1);
    fresh.level_mode = bit(icw1, 3);
    c = fresh;
    // Edges must be seen anew; levels are still there.
    for (unsigned ir = 0; ir < 8; ++ir) {
        if (is_level(c, ir)) c.irr |= static_cast<u8>(c.lines & flag(ir));
    }
}

void PicPair::write_command(unsigned chip, u8 value) {
    if (bit(value, 4)) return initialise(chip, value);
    if (!bit(value, 3)) return write_ocw2(chip, value);
    PicChipState& c = s_.chip[chip];
    if (bit(value, 2)) c.poll = true;
    if (bit(value, 1)) c.read_isr = bit(value, 0);
    if (bit(value, 6)) c.special_mask = bit(value, 5);
}

void PicPair::write_ocw2(unsigned chip, u8 value) {
    PicChipState& c = s_.chip[chip];
    const bool rotate = bit(value, 7), specific = bit(value, 6), eoi = bit(value, 5);
    unsigned ir = value & 7;
    if (eoi && !specific) {
        // Non-specific: the highest in service, leaving out what special mask mode hides.
        const u8 in_service = static_cast<u8>(c.special_mask ? c.isr & ~c.imr : c.isr);
        const unsigned step = first_step(c, in_service);
        if (step == 8) return;
        ir = ir_at(c, step);
    }
    if (eoi) c.isr &= static_cast<u8>(~flag(ir));
    if (eoi || specific) {
        if (rotate) c.lowest = static_cast<u8>(ir);
    } else {
        c.rotate_on_auto_eoi = rotate;
    }
}

void PicPair::write_data(unsigned chip, u8 value) {
    PicChipState& c = s_.chip[chip];
    switch (c.init_step) {
        case 2:
            c.vector_base = value & 0xf8;
            c.init_step = !c.single ? 3 : c.needs_icw4 ? 4 : 0;
            break;
        case 3:  // ICW3: the cascade is wired, not programmed
            c.init_step = c.needs_icw4 ? 4 : 0;
            break;
        case 4:
            c.auto_eoi = bit(value, 1);
            c.fully_nested_special = bit(value, 4);
            c.init_step = 0;
            break;
        default: c.imr = value; break;
    }
}

u64 PicPair::Ports::io_read(u64 offset, unsigned size) {
    u64 value = 0;
    for (unsigned i = 0; i < size && offset + i < kPorts; ++i) {
        value |= u64{pic.read_port(chip, static_cast<unsigned>(offset + i))} << (8 * i);
    }
    return value;
}

void PicPair::Ports::io_write(u64 offset, u64 value, unsigned size) {
    for (unsigned i = 0; i < size && offset + i < kPorts; ++i) {
        pic.write_port(chip, static_cast<unsigned>(offset + i), static_cast<u8>(value >> (8 * i)));
    }
}

u64 PicPair::ElcrPorts::io_read(u64 offset, unsigned size) {
    std::lock_guard guard(pic.lock_);
    u64 value = 0;
    for (unsigned i = 0; i < size && offset + i < kPorts; ++i) value |= u64{pic.s_.chip[offset + i].elcr} << (8 * i);
    return value;
}

void PicPair::ElcrPorts::io_write(u64 offset, u64 value, unsigned size) {
    std::lock_guard guard(pic.lock_);
    for (unsigned i = 0; i < size && offset + i < kPorts; ++i) {
        PicChipState& c = pic.s_.chip[offset + i];
        c.elcr = static_cast<u8>(value >> (8 * i)) & kElcrMask[offset + i];
        for (unsigned ir = 0; ir < 8; ++ir) {
            if ((c.elcr & flag(ir)) != 0) c.irr = static_cast<u8>((c.irr & ~flag(ir)) | (c.lines & flag(ir)));
        }
    }
    pic.update();
}

PicState PicPair::capture() const {
    std::lock_guard guard(lock_);
    return s_;
}

Result<void> PicPair::apply(const PicState& state) {
    for (const auto& c : state.chip) {
        if (c.lowest > 7 || c.init_step > 4 || (c.vector_base & 7) != 0) return corrupt("invalid chip state");
    }
    std::lock_guard guard(lock_);
    s_ = state;
    // The level follows the state; whoever listens to it restores its own view.
    out_ = pending(kMaster) >= 0;
    return {};
}

}  // namespace tandem::devices

#include "accel/kvm/irqchip_state.h"

#include <algorithm>
#include <cstring>

#include "base/bits.h"
#include "devices/fabric/clock.h"

namespace tandem::accel::kvm {
namespace {

using namespace devices;

// Offsets in the register page (SDM volume 3, table 10-1).
struct LapicRow {
    u32 offset;
    u32 LapicState::* member;
};
constexpr LapicRow kLapicRows[] = {
    {0x80, &LapicState::tpr},       {0xd0, &LapicState::ldr},      {0xe0, &LapicState::dfr},
    {0xf0, &LapicState::svr},       {0x280, &LapicState::esr},     {0x300, &LapicState::icr_low},
    {0x310, &LapicState::icr_high}, {0x380, &LapicState::initial}, {0x3e0, &LapicState::divide},
};
constexpr u32 kLvt = 0x320, kIsr = 0x100, kTmr = 0x180, kIrr = 0x200, kCurrent = 0x390, kId = 0x20, kStep = 0x10;
constexpr u64 kX2apic = u64{1} << 10;

u32 get(const kvm_lapic_state& page, u32 offset) {
    u32 value = 0;
    std::memcpy(&value, page.regs + offset, sizeof value);
    return value;
}
void put(kvm_lapic_state& page, u32 offset, u32 value) { std::memcpy(page.regs + offset, &value, sizeof value); }

template <std::size_t N>
void get_all(const kvm_lapic_state& page, u32 offset, std::array<u32, N>& values) {
    for (u32 i = 0; i < N; ++i) values[i] = get(page, offset + i * kStep);
}
template <std::size_t N>
void put_all(kvm_lapic_state& page, u32 offset, const std::array<u32, N>& values) {
    for (u32 i = 0; i < N; ++i) put(page, offset + i * kStep, values[i]);
}

// Ticks of the APIC timer that are left; both sides count nanoseconds before the divider.
u32 ticks_left(const LapicState& s) {
    if (!s.timer_running) return 0;
    const u32 code = (s.divide & 3) | (s.divide >> 1 & 4);
    const u64 elapsed = s.timer_elapsed_ns >> ((code + 1) & 7);
    return elapsed < s.timer_count ? static_cast<u32>(s.timer_count - elapsed) : 1;
}

}  // namespace

void to_kvm(const LapicState& s, kvm_lapic_state& page) {
    // KVM's page has ids as in xAPIC mode (KVM_CAP_X2APIC_API is not enabled).
    put(page, kId, s.id << 24);
    for (const LapicRow& row : kLapicRows) put(page, row.offset, s.*row.member);
    if ((s.base & kX2apic) != 0) put(page, 0xd0, (s.id >> 4) << 16 | 1u << (s.id & 15));
    put_all(page, kLvt, s.lvt);
    put_all(page, kIsr, s.isr);
    put_all(page, kTmr, s.tmr);
    put_all(page, kIrr, s.irr);
    put(page, kCurrent, ticks_left(s));
}

void from_kvm(const kvm_lapic_state& page, LapicState& s) {
    const u32 ldr = s.ldr;
    for (const LapicRow& row : kLapicRows) s.*row.member = get(page, row.offset);
    if ((s.base & kX2apic) != 0) s.ldr = ldr;  // the model derives it
    get_all(page, kLvt, s.lvt);
    get_all(page, kIsr, s.isr);
    get_all(page, kTmr, s.tmr);
    get_all(page, kIrr, s.irr);
    s.errors = 0;
    s.ext_int_latched = false;
    s.timer_count = get(page, kCurrent);
    s.timer_running = s.timer_count != 0;
    s.timer_elapsed_ns = 0;
}

void to_kvm(const IoapicState& s, kvm_ioapic_state& k) {
    constexpr u64 kLevel = u64{1} << 15;
    k.ioregsel = s.select;
    k.id = s.id >> 24;
    k.irr = 0;
    for (std::size_t i = 0; i < s.entries.size(); ++i) {
        k.redirtbl[i].bits = s.entries[i];
        if ((s.entries[i] & kLevel) != 0 && bit(s.levels, static_cast<unsigned>(i))) k.irr |= 1u << i;
    }
}

void from_kvm(const kvm_ioapic_state& k, IoapicState& s) {
    constexpr u64 kDeliveryStatus = u64{1} << 12;
    s.select = static_cast<u8>(k.ioregsel);
    s.id = k.id << 24 & 0x0f00'0000;
    for (std::size_t i = 0; i < s.entries.size(); ++i) s.entries[i] = k.redirtbl[i].bits & ~kDeliveryStatus;
}

void to_kvm(const PicChipState& s, kvm_pic_state& k) {
    k.last_irr = s.lines;
    k.irr = s.irr;
    k.imr = s.imr;
    k.isr = s.isr;
    k.priority_add = static_cast<u8>((s.lowest + 1) & 7);
    k.irq_base = s.vector_base;
    k.read_reg_select = s.read_isr;
    k.poll = s.poll;
    k.special_mask = s.special_mask;
    k.init_state = s.init_step == 0 ? 0 : static_cast<u8>(s.init_step - 1);
    k.auto_eoi = s.auto_eoi;
    k.rotate_on_auto_eoi = s.rotate_on_auto_eoi;
    k.special_fully_nested_mode = s.fully_nested_special;
    k.init4 = s.needs_icw4;
    k.elcr = s.elcr;
}

void from_kvm(const kvm_pic_state& k, PicChipState& s) {
    s.irr = k.irr;
    s.imr = k.imr;
    s.isr = k.isr;
    s.lowest = static_cast<u8>((k.priority_add - 1) & 7);
    s.vector_base = k.irq_base & 0xf8;
    s.read_isr = k.read_reg_select != 0;
    s.poll = k.poll != 0;
    s.special_mask = k.special_mask != 0;
    s.init_step = k.init_state == 0 ? 0 : static_cast<u8>((k.init_state & 3) + 1);
    s.auto_eoi = k.auto_eoi != 0;
    s.rotate_on_auto_eoi = k.rotate_on_auto_eoi != 0;
    s.fully_nested_special = k.special_fully_nested_mode != 0;
    s.needs_icw4 = k.init4 != 0;
    s.elcr = k.elcr;
}

namespace {

// Ways to access a count: low byte, high byte, both in turn; KVM's read and write states name the byte that is next, and 4
// the high byte of a word whose low byte has been there.
constexpr u8 kLowByte = 1, kWord = 3, kWordHigh = 4;
constexpr u8 kNoMode = 0xff;  // of a channel without a control word

u8 access_state(u8 format, bool high_next) { return format == kWord && high_next ? kWordHigh : format; }

}  // namespace

void to_kvm(const PitState& s, kvm_pit_state2& k) {
    for (std::size_t i = 0; i < s.channel.size(); ++i) {
        const PitChannelState& c = s.channel[i];
        kvm_pit_channel_state& to = k.channels[i];
        to = {};
        const auto format = static_cast<u8>(bits(c.control, 5, 4));
        to.rw_mode = format;
        to.mode = static_cast<u8>(bits(c.control, 3, 1));
        if (to.mode > 5) to.mode &= 3;
        if (!c.programmed) to.mode = kNoMode;
        to.bcd = c.control & 1;
        to.gate = c.gate;
        to.count = c.reload;
        to.latched_count = c.latched_count;
        to.count_latched = c.latched_bytes == 0 ? u8{0} : access_state(format, c.latched_bytes == 1);
        to.status_latched = c.status_latched;
        to.status = c.latched_status;
        to.read_state = access_state(format, c.read_high_next);
        to.write_state = access_state(format, c.write_high_next);
        to.write_latch = c.write_low;
    }
    k.flags = KVM_PIT_FLAGS_SPEAKER_DATA_ON & ((s.port61 & 2) != 0 ? ~0u : 0u);
}

void from_kvm(const kvm_pit_state2& k, u64 now_ns, PitState& s) {
    constexpr u64 kSecond = 1'000'000'000;
    for (std::size_t i = 0; i < s.channel.size(); ++i) {
        const kvm_pit_channel_state& from = k.channels[i];
        PitChannelState& c = s.channel[i];
        c = {};
        c.gate = from.gate != 0;
        if (from.mode > 5) continue;
        const u8 format = from.rw_mode == 0 ? kLowByte : from.rw_mode;
        c.control = static_cast<u8>((from.bcd & 1) | from.mode << 1 | format << 4) & 0x3f;
        c.programmed = true;
        c.running = true;
        c.reload = from.count == 0 || from.count > 0x10000 ? 0x10000 : from.count;
        c.period = c.reload;
        const u64 loaded = static_cast<u64>(from.count_load_time);
        const u64 age = now_ns > loaded ? now_ns - loaded : 0;
        // Whole periods leave no trace; a single shot that is over stays over.
        const u64 ticks = mul_div(age, kPitHz, kSecond);
        const bool periodic = from.mode == 2 || from.mode == 3;
        c.start_tick = -static_cast<i64>(periodic ? ticks % c.period : std::min(ticks, u64{1} << 40));
        if (!c.gate && (from.mode == 0 || from.mode == 4)) c.start_tick = 0;
        c.latched_count = static_cast<u16>(from.latched_count);
        c.latched_bytes = from.count_latched == 0 ? 0 : from.count_latched == kWord ? 2 : 1;
        c.status_latched = from.status_latched != 0;
        c.latched_status = from.status;
        c.read_high_next = from.read_state == kWordHigh;
        c.write_high_next = from.write_state == kWordHigh;
        c.write_low = from.write_latch;
    }
    const bool speaker = (k.flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON) != 0;
    s.port61 = static_cast<u8>((s.channel[2].gate ? 1 : 0) | (speaker ? 2 : 0));
    s.backlog = 0;
}

}  // namespace tandem::accel::kvm

#include "devices/misc/kvmclock.h"

#include <atomic>
#include <cstring>

#include "base/bits.h"

namespace tandem::devices {
namespace {

constexpr u64 kSecond = 1'000'000'000;
constexpr u8 kTscStable = 1;

// struct pvclock_vcpu_time_info
struct TimeInfo {
    u32 version = 0;
    u32 pad0 = 0;
    u64 tsc_timestamp = 0;
    u64 system_time = 0;
    u32 tsc_to_system_mul = 0;
    i8 tsc_shift = 0;
    u8 flags = 0;
    u8 pad[2] = {};
};
static_assert(sizeof(TimeInfo) == 32);

// struct pvclock_wall_clock
struct WallClock {
    u32 version = 0;
    u32 sec = 0;
    u32 nsec = 0;
};
static_assert(sizeof(WallClock) == 12);

// Writes a structure that begins with a version: odd while it changes.
template <class T>
void publish(GuestMemory& memory, u64 gpa, T value) {
    u32 version = 0;
    if (memory.span(gpa, sizeof value).size() != sizeof value || !memory.read(gpa, &version, sizeof version)) return;
    version = (version | 1) + (version & 1) * 2;
    memory.write(gpa, &version, sizeof version);
    std::atomic_thread_fence(std::memory_order_release);
    value.version = version;
    memory.write(gpa, &value, sizeof value);
    std::atomic_thread_fence(std::memory_order_release);
    ++version;
    memory.write(gpa, &version, sizeof version);
}

}  // namespace

PvclockScale pvclock_scale(u64 tsc_hz) {
    // A shift that brings the rate into (1 GHz, 2 GHz] makes the best use of the multiplier's 32 bits.
    PvclockScale s;
    u64 rate = tsc_hz;
    for (; rate > 2 * kSecond; rate >>= 1) --s.shift;
    for (; rate <= kSecond && rate != 0; rate <<= 1) ++s.shift;
    const u128 numerator = static_cast<u128>(kSecond) << (32 - s.shift);
    s.mul = tsc_hz == 0 ? 0 : static_cast<u32>(std::min<u128>(numerator / tsc_hz, ~u32{0}));
    return s;
}

KvmClock::KvmClock(Clock& clock, GuestMemory& memory, unsigned vcpus)
    : clock_(clock), memory_(memory), scale_(pvclock_scale(clock.tsc_hz())), system_time_msr_(vcpus), tsc_offset_(vcpus) {
    reference_tsc_ = clock_.tsc();
}

// What a guest computes from the structure.
u64 KvmClock::time_at(u64 tsc) const {
    const u64 delta = tsc - reference_tsc_;
    const u64 shifted = scale_.shift < 0 ? delta >> -scale_.shift : delta << scale_.shift;
    return reference_ns_ + static_cast<u64>(static_cast<u128>(shifted) * scale_.mul >> 32);
}

u64 KvmClock::time_ns() const {
    std::lock_guard guard(lock_);
    return time_at(clock_.tsc());
}

void KvmClock::reset() {
    std::lock_guard guard(lock_);
    wall_clock_msr_ = 0;
    for (auto& msr : system_time_msr_) msr = 0;
}

bool KvmClock::msr_read(unsigned vcpu, u32 index, u64& value) const {
    if (!owns_msr(index) || vcpu >= system_time_msr_.size()) return false;
    std::lock_guard guard(lock_);
    value = index == kMsrWallClock || index == kMsrWallClockNew ? wall_clock_msr_ : system_time_msr_[vcpu];
    return true;
}

bool KvmClock::msr_write(unsigned vcpu, u32 index, u64 value) {
    if (!owns_msr(index) || vcpu >= system_time_msr_.size()) return false;
    std::lock_guard guard(lock_);
    if (index == kMsrWallClock || index == kMsrWallClockNew) {
        wall_clock_msr_ = value;
        write_wall_clock();
    } else {
        system_time_msr_[vcpu] = value;
        write_system_time(vcpu);
    }
    return true;
}

void KvmClock::set_tsc_offset(unsigned vcpu, u64 offset) {
    std::lock_guard guard(lock_);
    if (vcpu >= tsc_offset_.size() || tsc_offset_[vcpu] == offset) return;
    tsc_offset_[vcpu] = offset;
    write_system_time(vcpu);
}

void KvmClock::write_system_time(unsigned vcpu) {
    const u64 msr = system_time_msr_[vcpu];
    if (!bit(msr, 0)) return;
    TimeInfo info;
    info.tsc_timestamp = reference_tsc_ + tsc_offset_[vcpu];
    info.system_time = reference_ns_;
    info.tsc_to_system_mul = scale_.mul;
    info.tsc_shift = scale_.shift;
    info.flags = kTscStable;
    publish(memory_, msr & ~u64{1}, info);
}

// Wall-clock time at guest time zero; the guest adds its system time.
void KvmClock::write_wall_clock() {
    if (wall_clock_msr_ == 0) return;
    const u64 boot = clock_.wall_ns() - time_at(clock_.tsc());
    publish(memory_, wall_clock_msr_, WallClock{0, static_cast<u32>(boot / kSecond), static_cast<u32>(boot % kSecond)});
}

KvmClockState KvmClock::capture() const {
    std::lock_guard guard(lock_);
    return {time_at(clock_.tsc()), wall_clock_msr_, system_time_msr_, tsc_offset_};
}

Result<void> KvmClock::apply(const KvmClockState& state) {
    if (state.system_time_msr.size() != system_time_msr_.size() || state.tsc_offset.size() != tsc_offset_.size()) {
        return corrupt(fmt::format("state of {} vCPUs for {}", state.system_time_msr.size(), system_time_msr_.size()));
    }
    std::lock_guard guard(lock_);
    scale_ = pvclock_scale(clock_.tsc_hz());
    reference_tsc_ = clock_.tsc();
    reference_ns_ = state.time_ns;
    wall_clock_msr_ = state.wall_clock_msr;
    system_time_msr_ = state.system_time_msr;
    tsc_offset_ = state.tsc_offset;
    for (unsigned i = 0; i < system_time_msr_.size(); ++i) write_system_time(i);
    return {};
}

}  // namespace tandem::devices

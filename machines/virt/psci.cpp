#include "machines/virt/psci.h"

#include <array>

namespace tandem::machines::virt {
namespace {

constexpr u32 kConvention64 = 0x40000000;
constexpr u64 kAffinityBits = 0xff00ffffff;
constexpr i64 kVersion11 = 0x10001;
constexpr i64 kNoTrustedOs = 2;   // MIGRATE_INFO_TYPE: nothing that would have to be migrated
constexpr u64 kOn = 0, kOff = 1;  // AFFINITY_INFO

}  // namespace

std::span<const Psci::Row> Psci::rows() {
    using P = Psci;
    static constexpr std::array<Row, 12> kRows{{
        {0x84000000, false, &P::version},
        {0x84000001, true, &P::suspend},
        {0x84000002, false, &P::turn_off},
        {0x84000003, true, &P::turn_on},
        {0x84000004, true, &P::affinity_info},
        {0x84000006, false, &P::migrate_info},
        {0x84000008, false, &P::system_off},
        {0x84000009, false, &P::system_reset},
        {0x8400000a, false, &P::features},
        {0x84000012, true, &P::system_reset2},
        {0x80000000, false, &P::smccc_version},
        {0x80000001, false, &P::smccc_features},
    }};
    return kRows;
}

const Psci::Row* Psci::find(u32 number) {
    for (const Row& row : rows()) {
        if (number == row.number || (row.both && number == (row.number | kConvention64))) return &row;
    }
    return nullptr;
}

Psci::Psci(std::vector<u64> affinities, Call::Conduit conduit, Requests requests)
    : affinities_(std::move(affinities)), conduit_(conduit), requests_(std::move(requests)), on_(affinities_.size()) {
    reset();
}

void Psci::reset() {
    std::lock_guard guard(lock_);
    for (std::size_t i = 0; i < on_.size(); ++i) on_[i] = i == 0 ? 1 : 0;
}

void Psci::set_on(unsigned cpu, bool on) {
    std::lock_guard guard(lock_);
    on_[cpu] = on ? 1 : 0;
}

// Arguments of the 32-bit convention are 32 bits wide, and so is the result (DEN 0028C, 2.7).
void Psci::call(unsigned cpu, Call& call) {
    if (call.conduit != conduit_) {
        call.then = Call::Then::Undefined;
        call.result = static_cast<u64>(i64{kNotSupported});
        return;
    }
    const auto number = static_cast<u32>(call.number);
    const Row* row = call.immediate == 0 ? find(number) : nullptr;
    if ((number & kConvention64) == 0) {
        for (u64& argument : call.args) argument = static_cast<u32>(argument);
    }
    const i64 result = row == nullptr ? i64{kNotSupported} : (this->*row->perform)(cpu, call);
    // An unknown function answers with all ones in the register's whole width.
    call.result =
        row != nullptr && (number & kConvention64) == 0 ? static_cast<u64>(result) & 0xffffffff : static_cast<u64>(result);
}

int Psci::processor(u64 affinity) const {
    for (std::size_t i = 0; i < affinities_.size(); ++i) {
        if (affinities_[i] == (affinity & kAffinityBits)) return static_cast<int>(i);
    }
    return -1;
}

i64 Psci::version(unsigned, Call&) { return kVersion11; }

// Every state is a standby state: the processor keeps what it holds and goes on behind the call (5.4.1).
i64 Psci::suspend(unsigned, Call& call) {
    call.then = Call::Then::WaitForInterrupt;
    return kSuccess;
}

i64 Psci::turn_off(unsigned cpu, Call& call) {
    std::lock_guard guard(lock_);
    on_[cpu] = 0;
    call.then = Call::Then::PowerOff;
    return kSuccess;
}

i64 Psci::turn_on(unsigned, Call& call) {
    const int target = processor(call.args[0]);
    if (target < 0 || (call.args[0] & ~kAffinityBits) != 0) return kInvalidParameters;
    const auto index = static_cast<std::size_t>(target);
    if ((call.args[1] & 3) != 0) return kInvalidAddress;
    {
        std::lock_guard guard(lock_);
        if (on_[index] != 0) return kAlreadyOn;
        on_[index] = 1;
    }
    requests_.power_on(static_cast<unsigned>(target), call.args[1], call.args[2]);
    return kSuccess;
}

i64 Psci::affinity_info(unsigned, Call& call) {
    const int target = processor(call.args[0]);
    if (target < 0 || call.args[1] != 0) return kInvalidParameters;
    std::lock_guard guard(lock_);
    return static_cast<i64>(on_[static_cast<std::size_t>(target)] != 0 ? kOn : kOff);
}

i64 Psci::migrate_info(unsigned, Call&) { return kNoTrustedOs; }

i64 Psci::system_off(unsigned, Call& call) {
    requests_.power_off();
    call.then = Call::Then::PowerOff;
    return kSuccess;
}

i64 Psci::system_reset(unsigned, Call& call) {
    requests_.reset();
    call.then = Call::Then::PowerOff;
    return kSuccess;
}

// Type 0 is a warm reset of the whole system; types from 80000000H on are the vendor's.
i64 Psci::system_reset2(unsigned cpu, Call& call) {
    return call.args[0] == 0 ? system_reset(cpu, call) : i64{kInvalidParameters};
}

i64 Psci::features(unsigned, Call& call) {
    const auto number = static_cast<u32>(call.args[0]);
    return find(number) != nullptr && number != 0x80000001 ? i64{kSuccess} : i64{kNotSupported};
}

i64 Psci::smccc_version(unsigned, Call&) { return kVersion11; }
i64 Psci::smccc_features(unsigned, Call& call) {
    const auto number = static_cast<u32>(call.args[0]);
    return number == 0x80000000 || number == 0x80000001 ? i64{kSuccess} : i64{kNotSupported};
}

PsciState Psci::capture() const {
    std::lock_guard guard(lock_);
    return {on_};
}

Result<void> Psci::apply(const PsciState& s) {
    if (s.on.size() != on_.size()) return corrupt(fmt::format("state of {} processors for {}", s.on.size(), on_.size()));
    std::lock_guard guard(lock_);
    on_ = s.on;
    return {};
}

}  // namespace tandem::machines::virt

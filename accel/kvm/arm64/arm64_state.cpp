// A vCPU's registers, as a whole and one by one.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "accel/kvm/arm64/arm64_vcpu.h"

namespace tandem::accel::kvm {

using cpu::arm64::Activity;
using cpu::arm64::State;

namespace {

constexpr u64 kTimerEnableAndMask = 3;  // the rest of CNTx_CTL says how things stand
constexpr std::size_t kLargest = 16;    // bytes of the registers known here; SVE's are not offered

std::string in_hex(std::span<const u8> bytes) {
    u64 low = 0;
    std::memcpy(&low, bytes.data(), std::min(bytes.size(), sizeof low));
    return fmt::format("{:#x}", low);
}

}  // namespace

u64 Arm64KvmVcpu::exit_pc() const {
    static const u64 id = [] {
        const auto rows = state_registers();
        const auto at = std::ranges::find(rows, offsetof(State, pc), &StateRegister::offset);
        return at->id;
    }();
    u64 pc = 0;
    return get_register(fd_, id, &pc) ? pc : 0;
}

Result<void> Arm64KvmVcpu::complete() {
    if (!access_open_) return {};
    const int error = Gate::complete(fd_, page_);
    access_open_ = false;
    if (error == 0 || error == EINTR) return {};
    errno = error;
    return io_error("KVM_RUN, to complete an access");
}

Result<void> Arm64KvmVcpu::export_state(cpu::ArchState& out) {
    TANDEM_TRY(take_events());
    return fetch_state(out);
}

Result<void> Arm64KvmVcpu::import_state(const cpu::ArchState& in) {
    TANDEM_TRY(store_state(in));
    (void)signals().take(SignalWord::PowerOn);
    return {};
}

Result<void> Arm64KvmVcpu::fetch_state(cpu::ArchState& out) {
    TANDEM_TRY(complete());
    State s;
    for (const StateRegister& r : own_) TANDEM_TRY(get_register(fd_, r.id, reinterpret_cast<u8*>(&s) + r.offset));
    s.sys.cntv_ctl_el0 &= kTimerEnableAndMask;
    s.sys.cntp_ctl_el0 &= kTimerEnableAndMask;
    {
        const std::lock_guard guard(shared_.counter.lock);
        s.sys.cntvoff_el2 = shared_.counter.offset;
    }
    kvm_mp_state power{};
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int a, TANDEM_KVM(fd_, KVM_GET_MP_STATE, &power));
    s.activity = power.mp_state == KVM_MP_STATE_STOPPED ? Activity::PoweredOff : Activity::Running;
    kvm_vcpu_events events{};
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int b, TANDEM_KVM(fd_, KVM_GET_VCPU_EVENTS, &events));
    s.serror_pending = events.exception.serror_pending != 0;
    out = s;
    return {};
}

// A processor that waits for an interrupt looks for it anew.
Result<void> Arm64KvmVcpu::store_state(const cpu::ArchState& in) {
    const auto* s = std::get_if<State>(&in);
    if (s == nullptr) return invalid("state of another architecture");
    if (s->el() > 1) return Error{Errc::Unsupported, "a guest on KVM has no EL2 (virtualization=on needs -accel jit)"};
    TANDEM_TRY(complete());
    for (const StateRegister& r : own_) TANDEM_TRY(set_register(fd_, r.id, reinterpret_cast<const u8*>(s) + r.offset));
    {
        const std::lock_guard guard(shared_.counter.lock);
        if (shared_.counter.offset != s->sys.cntvoff_el2) shared_.counter.gap.reset();
        shared_.counter.offset = s->sys.cntvoff_el2;
    }
    kvm_mp_state power{};
    power.mp_state = s->activity == Activity::PoweredOff ? KVM_MP_STATE_STOPPED : KVM_MP_STATE_RUNNABLE;
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int a, TANDEM_KVM(fd_, KVM_SET_MP_STATE, &power));
    if (s->serror_pending) {
        kvm_vcpu_events events{};
        events.exception.serror_pending = 1;
        TANDEM_TRY_ASSIGN([[maybe_unused]] const int b, TANDEM_KVM(fd_, KVM_SET_VCPU_EVENTS, &events));
    }
    return {};
}

// --- One by one (contracts R1 and R2)

Result<std::vector<RegisterInfo>> Arm64KvmVcpu::registers() {
    std::vector<RegisterInfo> all;
    for (const u64 id : ids_) all.push_back({id, size_of(id), class_of(id), name_of(id)});
    return all;
}

Result<void> Arm64KvmVcpu::check(u64 id, std::size_t size) const {
    if (!std::ranges::binary_search(ids_, id)) {
        const auto known = state_registers();
        if (std::ranges::find(known, id, &StateRegister::id) != known.end()) {
            return Error{Errc::Unsupported, fmt::format("this processor has no {}", name_of(id))};
        }
        return Error{Errc::NotFound, fmt::format("there is no register with the id {:#x}", id)};
    }
    if (size == size_of(id) && size <= kLargest) return {};
    return invalid(fmt::format("{} has {} bytes, not {}", name_of(id), size_of(id), size));
}

Result<void> Arm64KvmVcpu::read_register(u64 id, std::span<u8> value) {
    TANDEM_TRY(check(id, value.size()));
    TANDEM_TRY(complete());
    return get_register(fd_, id, value.data());
}

Result<void> Arm64KvmVcpu::write_register(u64 id, std::span<const u8> value) {
    TANDEM_TRY(check(id, value.size()));
    TANDEM_TRY(complete());
    if (class_of(id) != RegisterClass::Invariant) return set_register(fd_, id, value.data());
    std::array<u8, kLargest> actual{};
    TANDEM_TRY(get_register(fd_, id, actual.data()));
    const std::span<const u8> is(actual.data(), value.size());
    if (std::ranges::equal(is, value)) return {};
    return Error{Errc::Invariant,
                 fmt::format("{} stays {}: {} is another processor's", name_of(id), in_hex(is), in_hex(value))};
}

}  // namespace tandem::accel::kvm

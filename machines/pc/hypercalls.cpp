#include "machines/pc/hypercalls.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>

#include "base/bits.h"

namespace tandem::machines::pc {
namespace {

using cpu::x86::Feature;

constexpr u64 as_result(GuestError error) { return static_cast<u64>(static_cast<i64>(error)); }

int schedule_this_thread(std::optional<int> priority) {
    sched_param parameters{};
    parameters.sched_priority = priority.value_or(0);
    return ::pthread_setschedparam(::pthread_self(), priority ? SCHED_FIFO : SCHED_OTHER, &parameters);
}

// One entry for 32-bit and 64-bit code, with registers as for VMCALL. Interrupts stay out between the arguments and the
// result, and callers outside CPL 0 are refused before anything else. The bytes 41 E2 are INC ECX; LOOP in 32-bit code and a
// LOOP with a prefix that does nothing in 64-bit code: it is taken there only.
constexpr u8 kStub[] = {
    0x9c,                                // pushf
    0x50, 0x8c, 0xc8, 0xa8, 0x03, 0x58,  // push rax; mov eax, cs; test al, 3; pop rax
    0x75, 0x43,                          // jnz refuse
    0xfa, 0xfc,                          // cli; cld
    0x57, 0x56, 0x52, 0x51, 0x53, 0x50,  // push rdi, rsi, rdx, rcx, rbx, rax
    0x31, 0xc9, 0x41, 0xe2, 0x16,        // xor ecx, ecx; loop wide
    0x89, 0xe6,                          // mov esi, esp
    0xb9, 5,    0,    0,    0,           // mov ecx, 5
    0xba, 0x80, 0x0b, 0,    0,           // mov edx, kPort32
    0xfc, 0xf3, 0x36, 0x6f,              // cld; rep outsd from the stack
    0xed, 0x89, 0x04, 0x24,              // in eax, dx; mov [esp], eax
    0xeb, 0x18,                          // jmp done
    0x48, 0x89, 0xe6,                    // wide: mov rsi, rsp
    0xb9, 10,   0,    0,    0,           // mov ecx, 10
    0xba, 0x84, 0x0b, 0,    0,           // mov edx, kPort64
    0xf3, 0x6f,                          // rep outsd
    0xed, 0x89, 0x04, 0x24,              // in eax, dx; mov [rsp], eax
    0xed, 0x89, 0x44, 0x24, 0x04,        // in eax, dx; mov [rsp + 4], eax
    0x58, 0x5b, 0x59, 0x5a, 0x5e, 0x5f,  // done: pop rax, rbx, rcx, rdx, rsi, rdi
    0x9d, 0xc3,                          // popf; ret
    0x48, 0x83, 0xc8, 0xff, 0x9d, 0xc3,  // refuse: or rax, -1 (-KVM_EPERM); popf; ret
};
static_assert(Hypercalls::kPort32 == 0xb80 && Hypercalls::kPort64 == 0xb84);
constexpr u64 kPageBytes = 4096, kPages = 1;
constexpr u8 kBreakpoint = 0xcc;

}  // namespace

struct Hypercalls::Row {
    u64 number;
    std::optional<Feature> feature;  // that offers it; none: always there
    u64 (Hypercalls::*perform)(unsigned vcpu, const accel::HypercallExit& call);
};

std::span<const Hypercalls::Row> Hypercalls::rows() {
    static constexpr Row kRows[] = {
        {1, {}, &Hypercalls::poll},                             // KVM_HC_VAPIC_POLL_IRQ
        {5, Feature::KVM_PV_UNHALT, &Hypercalls::kick},         // KVM_HC_KICK_CPU
        {9, {}, &Hypercalls::pair_clocks},                      // KVM_HC_CLOCK_PAIRING
        {10, Feature::KVM_PV_IPI, &Hypercalls::send_ipi},       // KVM_HC_SEND_IPI
        {11, Feature::KVM_PV_SCHED_YIELD, &Hypercalls::yield},  // KVM_HC_SCHED_YIELD
    };
    return kRows;
}

Hypercalls::Hypercalls(const HypercallOptions& options, const cpu::x86::CpuModel& model, devices::ApicBus& bus,
                       devices::GuestMemory& memory, devices::Clock& clock, Scheduler scheduler)
    : options_(options),
      model_(model),
      bus_(bus),
      memory_(memory),
      clock_(clock),
      scheduler_(scheduler ? std::move(scheduler) : schedule_this_thread),
      ports_(options.cpus),
      tsc_offsets_(options.cpus),
      processors_(options.cpus) {}

const Hypercalls::Row* Hypercalls::find_offered(u64 number) const {
    const auto row = std::ranges::find(rows(), number, &Row::number);
    return row != rows().end() && (!row->feature || model_.has(*row->feature)) ? &*row : nullptr;
}

void Hypercalls::connect(unsigned vcpu, u32 apic_id, accel::UnhaltVcpu& processor) {
    processors_[vcpu] = {apic_id, &processor};
}

void Hypercalls::call(unsigned vcpu, accel::HypercallExit& call) {
    if (const Row* row = find_offered(call.number); row != nullptr) {
        call.result = (this->*row->perform)(vcpu, call);
    } else if (call.number == options_.realtime_number) {
        call.result = set_realtime(call);
    } else {
        call.result = as_result(GuestError::Enosys);
    }
    if (!call.long_mode) call.result &= 0xffffffff;
}

// Only asks for an exit, at which interrupts are looked at.
u64 Hypercalls::poll(unsigned, const accel::HypercallExit&) { return 0; }

// The second argument is the APIC id; flags, the first, have no meaning yet.
u64 Hypercalls::kick(unsigned, const accel::HypercallExit& call) {
    for (const Processor& p : processors_) {
        if (p.vcpu != nullptr && p.apic_id == call.args[1]) p.vcpu->raise_unhalt();
    }
    return 0;
}

// Host and guest time of one moment (struct kvm_clock_pairing).
u64 Hypercalls::pair_clocks(unsigned vcpu, const accel::HypercallExit& call) {
    constexpr u64 kWallClock = 0, kNanoseconds = 1'000'000'000;
    struct Pairing {
        i64 seconds;
        i64 nanoseconds;
        u64 tsc;
        u32 flags;
        u32 padding[9];
    };
    static_assert(sizeof(Pairing) == 64);
    if (call.args[1] != kWallClock) return as_result(GuestError::Eopnotsupp);
    const u64 wall = clock_.wall_ns();
    const u64 tsc = clock_.tsc() + tsc_offsets_[vcpu].load(std::memory_order_relaxed);
    const Pairing pairing{static_cast<i64>(wall / kNanoseconds), static_cast<i64>(wall % kNanoseconds), tsc, 0, {}};
    return memory_.write(call.args[0], &pairing, sizeof pairing) ? 0 : as_result(GuestError::Efault);
}

// Arguments: 128 (32-bit code: 64) processors from the lowest APIC id in the third on, and an interrupt command, whose
// destination they replace.
u64 Hypercalls::send_ipi(unsigned, const accel::HypercallExit& call) {
    using devices::ApicMessage;
    using devices::DeliveryMode;
    constexpr u64 kOtherDestination = 1u << 11 | 3u << 18;  // logical, or a shorthand
    const u64 command = call.args[3];
    const auto mode = static_cast<DeliveryMode>(bits(command, 10, 8));
    if (mode != DeliveryMode::Fixed && mode != DeliveryMode::Nmi) return as_result(GuestError::Einval);
    if ((command & kOtherDestination) != 0) return as_result(GuestError::Einval);
    const unsigned width = call.long_mode ? 64 : 32;
    u64 reached = 0;
    for (unsigned i = 0; i < 2 * width && call.args[2] < ApicMessage::kBroadcast - i; ++i) {
        if (!bit(call.args[i / width], i % width)) continue;
        ApicMessage message;
        message.destination = static_cast<u32>(call.args[2]) + i;
        message.mode = mode;
        message.vector = static_cast<u8>(command);
        if (bus_.send(message) != devices::Delivery::Ignored) ++reached;
    }
    return reached;
}

u64 Hypercalls::yield(unsigned, const accel::HypercallExit&) {
    ::sched_yield();
    return 0;
}

u64 Hypercalls::set_realtime(const accel::HypercallExit& call) {
    if (!options_.realtime_priority) return as_result(GuestError::Perm);
    const int error = scheduler_(bit(call.args[0], 0) ? options_.realtime_priority : std::nullopt);
    if (error == 0) return 0;
    return as_result(error == EPERM ? GuestError::Perm : GuestError::Einval);
}

bool Hypercalls::msr_write(u64 value) {
    if (value % kPageBytes >= kPages) return false;
    std::array<u8, kPageBytes> page;
    page.fill(kBreakpoint);
    std::ranges::copy(kStub, page.begin());
    if (!memory_.write(value, page.data(), page.size())) return false;
    page_.store(value, std::memory_order_relaxed);
    return true;
}

void Hypercalls::port(unsigned vcpu, accel::PortExit& access, const Perform& perform) {
    HypercallPortState& p = ports_[vcpu];
    if (!access.write) {
        access.data = static_cast<u32>(p.result >> (p.high_next ? 32 : 0));
        p.high_next = access.port == kPort64 && !p.high_next;
        return;
    }
    const bool wide = access.port == kPort64;
    const u8 words = wide ? 10 : 5;
    if (p.count >= words) p.count = 0;
    p.words[p.count++] = access.data;
    if (p.count < words) return;
    const auto argument = [&](unsigned i) { return wide ? u64{p.words[2 * i + 1]} << 32 | p.words[2 * i] : p.words[i]; };
    accel::HypercallExit call{argument(0), {argument(1), argument(2), argument(3), argument(4)}, 0, wide};
    p.count = 0;
    p.high_next = false;
    perform(call);
    p.result = call.result;
}

void Hypercalls::reset() {
    page_ = 0;
    std::ranges::fill(ports_, HypercallPortState{});
}

HypercallState Hypercalls::capture() const {
    HypercallState state{page_, ports_, std::vector<u8>(processors_.size())};
    std::ranges::transform(processors_, state.kicked.begin(),
                           [](const Processor& p) { return static_cast<u8>(p.vcpu != nullptr && p.vcpu->unhalt_waits()); });
    return state;
}

Result<void> Hypercalls::apply(const HypercallState& state) {
    if (state.ports.size() != ports_.size()) return corrupt("calls of another number of processors");
    if (std::ranges::any_of(state.ports, [](const auto& p) { return p.count > p.words.size(); })) {
        return corrupt("more arguments than a call has");
    }
    if (state.kicked.size() != processors_.size()) return corrupt("kicks of another number of processors");
    page_ = state.page;
    ports_ = state.ports;
    for (std::size_t i = 0; i < processors_.size(); ++i) {
        if (state.kicked[i] != 0 && processors_[i].vcpu != nullptr) processors_[i].vcpu->raise_unhalt();
    }
    return {};
}

}  // namespace tandem::machines::pc

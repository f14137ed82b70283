#include "accel/kvm/gate.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cstring>
#include <mutex>
#include <new>

#include "accel/run_loop.h"

namespace tandem::accel::kvm {
namespace {

constexpr int kKickSignal = SIGUSR1;

sigset_t kick_set() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, kKickSignal);
    return set;
}

}  // namespace

RunPage::~RunPage() {
    if (run_ != nullptr) ::munmap(run_, size_);
}

Result<void> RunPage::map(const Fd& vcpu, int size) {
    size_ = static_cast<std::size_t>(size);
    void* page = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu.get(), 0);
    if (page == MAP_FAILED) return io_error("cannot map the vCPU's run page");
    run_ = static_cast<kvm_run*>(page);
    return {};
}

namespace {

// A signal's disposition belongs to the process, and so do the accelerators that share it.
struct Disposition {
    std::mutex lock;
    unsigned users = 0;
    struct sigaction before{};
};

Disposition& disposition() {
    static Disposition it;
    return it;
}

void nothing(int) {}

}  // namespace

KickHandler::KickHandler() {
    Disposition& d = disposition();
    const std::lock_guard guard(d.lock);
    if (d.users++ != 0) return;
    struct sigaction ours{};
    ours.sa_handler = nothing;
    ours.sa_flags = SA_RESTART;
    ::sigaction(kKickSignal, &ours, &d.before);
}

KickHandler::~KickHandler() {
    Disposition& d = disposition();
    const std::lock_guard guard(d.lock);
    if (--d.users == 0) ::sigaction(kKickSignal, &d.before, nullptr);
}

KickOpen::KickOpen() {
    const sigset_t kick = kick_set();
    ::pthread_sigmask(SIG_UNBLOCK, &kick, &outside_);
}

KickOpen::~KickOpen() {
    if (sigismember(&outside_, kKickSignal) == 1) ::pthread_sigmask(SIG_SETMASK, &outside_, nullptr);
}

void Gate::begin(const RunPage& page) {
    static thread_local const auto kThread = static_cast<int>(::syscall(SYS_gettid));
    own_thread_ = kThread;
    immediate_exit_ = &page->immediate_exit;
}

void Gate::await_knock() {
    while (state_.load() != kKnocked) ::sched_yield();
    ::sched_yield();  // a signal that has been sent is delivered by the end of a system call
    state_.store(kOutside);
}

bool Gate::knock() {
    int thread = state_.load();
    if (thread <= 0 || !state_.compare_exchange_strong(thread, kKnocking)) return false;
    leave_at_once(true);
    ::syscall(SYS_tgkill, ::getpid(), thread, kKickSignal);
    state_.store(kKnocked);
    return true;
}

namespace {

// KVM_RUN then lets the kick signal through though the thread blocks it, without delivering it.
Result<void> let_kicks_in(const Fd& vcpu, const sigset_t& outside) {
    constexpr u32 kKernelSetBytes = 8;  // shorter than the C library's
    sigset_t inside = outside;
    sigdelset(&inside, kKickSignal);
    alignas(kvm_signal_mask) char raw[sizeof(kvm_signal_mask) + kKernelSetBytes];
    auto* mask = new (raw) kvm_signal_mask{};
    mask->len = kKernelSetBytes;
    std::memcpy(raw + sizeof(kvm_signal_mask), &inside, kKernelSetBytes);
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(vcpu, KVM_SET_SIGNAL_MASK, mask));
    return {};
}

}  // namespace

Result<int> Gate::settle(const Fd& vcpu) {
    const sigset_t kick = kick_set();
    sigset_t outside;
    ::pthread_sigmask(SIG_BLOCK, &kick, &outside);
    auto open = let_kicks_in(vcpu, outside);
    int error = 0;
    if (open) {
        ::syscall(SYS_tgkill, ::getpid(), ::syscall(SYS_gettid), kKickSignal);
        error = run(vcpu);
        while (::sigwaitinfo(&kick, nullptr) < 0 && errno == EINTR) {
        }
        (void)TANDEM_KVM(vcpu, KVM_SET_SIGNAL_MASK, nullptr);
    }
    ::pthread_sigmask(SIG_SETMASK, &outside, nullptr);
    if (!open) return std::move(open).error();
    return error;
}

int Gate::complete(const Fd& vcpu, const RunPage& page) {
    page->immediate_exit = 1;
    const int error = run(vcpu);
    page->immediate_exit = 0;
    return error;
}

void answer_mmio(const RunPage& page, Vcpu& vcpu, ExitHandler& handler) {
    auto& m = page->mmio;
    Exit exit = MmioExit{m.phys_addr, static_cast<u8>(m.len), m.is_write != 0, 0};
    auto& access = std::get<MmioExit>(exit);
    if (access.write) std::memcpy(&access.data, m.data, m.len);
    dispatch(vcpu, handler, exit);
    if (!access.write) std::memcpy(m.data, &access.data, m.len);
}

}  // namespace tandem::accel::kvm

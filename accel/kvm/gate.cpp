#include "accel/kvm/gate.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <cstring>
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

KickBlocked::KickBlocked() {
    const sigset_t kick = kick_set();
    ::pthread_sigmask(SIG_BLOCK, &kick, &outside_);
}

KickBlocked::~KickBlocked() { ::pthread_sigmask(SIG_SETMASK, &outside_, nullptr); }

Result<void> Gate::begin(const Fd& vcpu, const sigset_t& outside) {
    own_thread_ = static_cast<int>(::syscall(SYS_gettid));
    if (mask_set_) return {};
    constexpr u32 kKernelSetBytes = 8;  // shorter than the C library's
    sigset_t inside = outside;
    sigdelset(&inside, kKickSignal);
    alignas(kvm_signal_mask) char raw[sizeof(kvm_signal_mask) + kKernelSetBytes];
    auto* mask = new (raw) kvm_signal_mask{};
    mask->len = kKernelSetBytes;
    std::memcpy(raw + sizeof(kvm_signal_mask), &inside, kKernelSetBytes);
    TANDEM_TRY_ASSIGN([[maybe_unused]] const int done, TANDEM_KVM(vcpu, KVM_SET_SIGNAL_MASK, mask));
    mask_set_ = true;
    return {};
}

namespace {

void await_kick() {
    const sigset_t kick = kick_set();
    while (::sigwaitinfo(&kick, nullptr) < 0 && errno == EINTR) {
    }
}

}  // namespace

// Who turns thread_ negative sends the signal, and the vCPU then waits for it: none is lost, none arrives late.
void Gate::close() {
    if (thread_.exchange(0) < 0) await_kick();
}

bool Gate::knock() {
    int thread = thread_.load();
    if (thread <= 0 || !thread_.compare_exchange_strong(thread, -thread)) return false;
    ::syscall(SYS_tgkill, ::getpid(), thread, kKickSignal);
    return true;
}

int Gate::run(const Fd& vcpu) { return ::ioctl(vcpu.get(), KVM_RUN, 0) < 0 ? errno : 0; }

int Gate::settle(const Fd& vcpu) {
    const KickBlocked blocked;
    ::syscall(SYS_tgkill, ::getpid(), ::syscall(SYS_gettid), kKickSignal);
    const int error = run(vcpu);
    await_kick();
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

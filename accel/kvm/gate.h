// How a vCPU's thread enters KVM_RUN, and how other threads make it come back (contracts U1 to U6).
#pragma once

#include <sys/ioctl.h>

#include <atomic>
#include <cerrno>
#include <csignal>

#include "accel/accelerator.h"
#include "accel/kvm/device.h"

namespace tandem::accel::kvm {

// The kvm_run page that the kernel shares with the vCPU's thread.
class RunPage {
public:
    RunPage() = default;
    ~RunPage();
    RunPage(const RunPage&) = delete;
    RunPage& operator=(const RunPage&) = delete;
    Result<void> map(const Fd& vcpu, int size);
    kvm_run* operator->() const { return run_; }
    [[nodiscard]] u8* at(u64 offset) const { return reinterpret_cast<u8*>(run_) + offset; }

private:
    kvm_run* run_ = nullptr;
    std::size_t size_ = 0;
};

// The kick signal, SIGUSR1, has a handler that does nothing as long as one of these exists, and what it had before
// afterwards. Any thread; a lock inside, below all others.
class KickHandler {
public:
    KickHandler();
    ~KickHandler();
    KickHandler(const KickHandler&) = delete;
    KickHandler& operator=(const KickHandler&) = delete;
};

// While one exists the kick signal reaches this thread.
class KickOpen {
public:
    KickOpen();
    ~KickOpen();
    KickOpen(const KickOpen&) = delete;
    KickOpen& operator=(const KickOpen&) = delete;

private:
    sigset_t outside_;
};

class Gate {
public:
    // Before the first enter() of every run: this is the vCPU's thread now. vCPU thread.
    void begin(const RunPage& page);
    // KVM_RUN; at once, completing only what is open, when leave() says so after others can knock(). Answers 0 or errno,
    // EINTR where a signal or leave() was the reason. vCPU thread, where the kick signal is open.
    template <class Leave>
    int enter(const Fd& vcpu, Leave leave) {
        state_.store(own_thread_);
        if (leave()) leave_at_once(true);
        const int error = run(vcpu);
        close();
        return error;
    }
    // KVM_RUN that does nothing but finish an access. vCPU thread, or while nobody runs it.
    static int complete(const Fd& vcpu, const RunPage& page);
    // KVM_RUN with a signal that waits already, so that the guest executes nothing: an access is finished, and events are
    // moved into the processor as far as it takes them. vCPU thread, or while nobody runs it.
    static Result<int> settle(const Fd& vcpu);
    // Makes enter() return. True when a signal was sent. Any thread, async-signal-safe.
    bool knock();

private:
    // Who knocks first asks for an immediate exit, for a vCPU that is on its way in, and then signals, for one that is
    // inside. The vCPU waits for that: none is lost, and none arrives when it has gone on to other work.
    void close() {
        int was = own_thread_;
        if (!state_.compare_exchange_strong(was, kOutside)) await_knock();
        if (std::atomic_ref(*immediate_exit_).load(std::memory_order_relaxed) != 0) leave_at_once(false);
    }
    void await_knock();
    // The kernel looks at it when KVM_RUN begins, and at signals from then on.
    void leave_at_once(bool leave) { std::atomic_ref(*immediate_exit_).store(leave); }
    static int run(const Fd& vcpu) { return ::ioctl(vcpu.get(), KVM_RUN, 0) < 0 ? errno : 0; }

    static constexpr int kOutside = 0, kKnocking = -1, kKnocked = -2;
    u8* immediate_exit_ = nullptr;
    int own_thread_ = 0;                // of the run that began last
    std::atomic<int> state_{kOutside};  // the vCPU's thread while KVM_RUN may be entered, or one of the above
};

// Has the machine perform the access that KVM_RUN came back for with KVM_EXIT_MMIO. The next KVM_RUN completes it. vCPU
// thread.
void answer_mmio(const RunPage& page, Vcpu& vcpu, ExitHandler& handler);

}  // namespace tandem::accel::kvm

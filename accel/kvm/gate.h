// How a vCPU's thread enters KVM_RUN, and how other threads make it come back (contracts U1 to U6).
#pragma once

#include <atomic>
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

// While one exists the kick signal is blocked in this thread, except inside KVM_RUN, which it interrupts without being
// delivered.
class KickBlocked {
public:
    KickBlocked();
    ~KickBlocked();
    KickBlocked(const KickBlocked&) = delete;
    KickBlocked& operator=(const KickBlocked&) = delete;
    [[nodiscard]] const sigset_t& outside() const { return outside_; }

private:
    sigset_t outside_;
};

class Gate {
public:
    // Before the first enter() of every run: this is the vCPU's thread now, and KVM_RUN lets the kick signal through
    // (`outside`: the mask that the thread has otherwise). vCPU thread.
    Result<void> begin(const Fd& vcpu, const sigset_t& outside);
    // KVM_RUN; at once, completing only what is open, when leave() says so after others can knock(). Answers 0 or errno,
    // EINTR where a signal or leave() was the reason. vCPU thread, the kick signal blocked.
    template <class Leave>
    int enter(const Fd& vcpu, const RunPage& page, Leave leave) {
        open();
        page->immediate_exit = leave();
        const int error = run(vcpu);
        close();
        page->immediate_exit = 0;
        return error;
    }
    // KVM_RUN that does nothing but finish an access. vCPU thread, or while nobody runs it.
    static int complete(const Fd& vcpu, const RunPage& page);
    // KVM_RUN with a signal that waits already, so that the guest executes nothing: an access is finished, and events are
    // moved into the processor as far as it takes them. After a begin(); vCPU thread, or while nobody runs it.
    static int settle(const Fd& vcpu);
    // Makes enter() return. True when a signal was sent. Any thread, async-signal-safe.
    bool knock();

private:
    void open() { thread_.store(own_thread_); }
    void close();
    static int run(const Fd& vcpu);

    bool mask_set_ = false;
    int own_thread_ = 0;          // of the run that began last
    std::atomic<int> thread_{0};  // of the vCPU, while KVM_RUN may be entered; negative: the signal is on its way; else 0
};

// Has the machine perform the access that KVM_RUN came back for with KVM_EXIT_MMIO. The next KVM_RUN completes it. vCPU
// thread.
void answer_mmio(const RunPage& page, Vcpu& vcpu, ExitHandler& handler);

}  // namespace tandem::accel::kvm

// The kernel's side: file descriptors and ioctls with errors that name them.
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <span>
#include <utility>
#include <vector>

#include "accel/kvm/kvm_types.h"
#include "base/result.h"

namespace tandem::accel::kvm {

class Fd {
public:
    Fd() = default;
    explicit Fd(int fd) : fd_(fd) {}
    ~Fd() {
        if (fd_ >= 0) ::close(fd_);
    }
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    [[nodiscard]] int get() const { return fd_; }

    // The ioctl's answer, or an error that names it. Argument: a pointer or an integer.
    template <class Arg = int>
    Result<int> call(const char* name, unsigned long request, Arg arg = {}) const {
        int answer = 0;
        do {
            answer = ::ioctl(fd_, request, arg);
        } while (answer < 0 && errno == EINTR);
        if (answer < 0) return io_error(name);
        return answer;
    }

private:
    int fd_ = -1;
};

#define TANDEM_KVM(fd, request, ...) (fd).call(#request, request __VA_OPT__(, ) __VA_ARGS__)

// What this host's KVM is and can do, asked once.
struct System {
    Fd fd;
    int vcpu_map_size = 0;
    bool sync_regs = false;
    bool sregs2 = false;
    bool exception_payload = false;
    bool tsc_offset = false;              // KVM_VCPU_TSC_CTRL
    bool tsc_fixed = false;               // guests read the host's counter, whatever offset was set
    bool step_blocks_interrupts = false;  // KVM_GUESTDBG_BLOCKIRQ
    bool exits_on_failure = false;        // KVM_CAP_EXIT_ON_EMULATION_FAILURE
    int xsave_size = 0;
    std::vector<u32> msrs;  // that KVM saves and restores
    std::vector<kvm_cpuid_entry2> cpuid;
};

// What VMX keeps a task-state segment of its own in (api.rst 4.26): below the firmware, where no board has memory.
constexpr unsigned long kTssArea = 0xfeffd000;

// Asks a guest of its own what /dev/kvm does not tell: features that KVM lists and refuses to have switched on, which leave
// `system`; and whether a guest's TSC moves by the offset that KVM_VCPU_TSC_CTRL sets, where an implementation without
// virtualization hardware may take the offset and let RDTSC read the host's counter.
Result<void> probe(System& system);

// Gives a vCPU its CPUID.
Result<void> set_cpuid(const Fd& vcpu, std::span<const kvm_cpuid_entry2> entries);

// Opens /dev/kvm, checks that everything the engine needs is there, and probes it.
Result<System> open_system();

}  // namespace tandem::accel::kvm

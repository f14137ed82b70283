// The kernel's side: file descriptors and ioctls with errors that name them.
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <span>
#include <utility>

#include "accel/kvm/kvm_types.h"
#include "base/result.h"

namespace tandem::accel::kvm {

// Error from errno of an ioctl. NotFound: the kernel does not recognise the request, or knows no such attribute of the
// device (ENOTTY, ENXIO: api.rst 4.80); Io: any other (contract R7).
Error kvm_error(const char* name);

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
        if (answer < 0) return kvm_error(name);
        return answer;
    }

private:
    int fd_ = -1;
};

#define TANDEM_KVM(fd, request, ...) (fd).call(#request, request __VA_OPT__(, ) __VA_ARGS__)

struct Needed {
    int capability;
    const char* name;
};
// Opens /dev/kvm. Unsupported: there is none, or it lacks one of `needed`; one line that says what to do.
Result<Fd> open_device(std::span<const Needed> needed);
// KVM_CHECK_EXTENSION; 0 where KVM does not know it. `fd`: the system's or a machine's.
int extension(const Fd& fd, int capability);

}  // namespace tandem::accel::kvm

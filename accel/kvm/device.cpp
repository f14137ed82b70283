#include "accel/kvm/device.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <string>

namespace tandem::accel::kvm {
namespace {

constexpr int kApiVersion = 12;  // api.rst 4.1: the only stable one

Error cannot_open() {
    switch (errno) {
        case ENOENT:
            return {Errc::Unsupported, "this host has no /dev/kvm: load the module kvm_intel or kvm_amd, or use -accel jit"};
        case EACCES:
        case EPERM:
            return {Errc::Unsupported, "no permission for /dev/kvm: join its group (usually kvm), or use -accel jit"};
        case ENODEV:
        case ENXIO:
            return {Errc::Unsupported,
                    "/dev/kvm has no driver behind it: load kvm_intel or kvm_amd and enable virtualization in the firmware, "
                    "or use -accel jit"};
        default: return io_error("cannot open /dev/kvm");
    }
}

}  // namespace

Error kvm_error(const char* name) {
    const bool unrecognised = errno == ENOTTY || errno == ENXIO;
    Error error = io_error(name);
    if (!unrecognised) return error;
    return {Errc::NotFound, std::string(name) + ": the kernel does not recognise this request"};
}

Result<Fd> open_device(std::span<const Needed> needed) {
    Fd fd(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
    if (fd.get() < 0) return cannot_open();
    TANDEM_TRY_ASSIGN(const int version, TANDEM_KVM(fd, KVM_GET_API_VERSION));
    if (version != kApiVersion) {
        return Error{Errc::Unsupported, fmt::format("KVM's API has version {}, {} is needed", version, kApiVersion)};
    }
    std::string lacking;
    for (const Needed& n : needed) {
        if (extension(fd, n.capability) <= 0) lacking += fmt::format("{}{}", lacking.empty() ? "" : ", ", n.name);
    }
    if (!lacking.empty()) {
        return Error{Errc::Unsupported, fmt::format("this host's KVM is too old: it lacks {}; use -accel jit", lacking)};
    }
    return fd;
}

int extension(const Fd& fd, int capability) { return ::ioctl(fd.get(), KVM_CHECK_EXTENSION, capability); }

}  // namespace tandem::accel::kvm

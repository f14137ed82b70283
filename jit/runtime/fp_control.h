// The host's SSE control register, which holds the guest's value while a vCPU runs (FrameHeader::guest_mxcsr).
#pragma once

#include "jit/guest/frame.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace tandem::jit {

#if defined(__x86_64__)
inline u32 host_fp_control() { return _mm_getcsr(); }
inline void set_host_fp_control(u32 value) { _mm_setcsr(value); }
#else
inline u32 host_fp_control() { return 0; }
inline void set_host_fp_control(u32) {}
#endif

// Guest code runs within its lifetime.
class GuestFpScope {
public:
    explicit GuestFpScope(FrameHeader& header) : header_(header) {
        header.host_mxcsr = host_fp_control();
        set_host_fp_control(header.guest_mxcsr);
    }
    ~GuestFpScope() {
        header_.guest_mxcsr = host_fp_control();
        set_host_fp_control(header_.host_mxcsr);
    }
    GuestFpScope(const GuestFpScope&) = delete;
    GuestFpScope& operator=(const GuestFpScope&) = delete;

private:
    FrameHeader& header_;
};

// The embedding program is called within its lifetime.
class HostFpScope {
public:
    explicit HostFpScope(const FrameHeader& header) : guest_(host_fp_control()) { set_host_fp_control(header.host_mxcsr); }
    ~HostFpScope() { set_host_fp_control(guest_); }
    HostFpScope(const HostFpScope&) = delete;
    HostFpScope& operator=(const HostFpScope&) = delete;

private:
    u32 guest_;
};

}  // namespace tandem::jit

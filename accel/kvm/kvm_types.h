// The kernel's structures, and the project's integer types.
#pragma once

// The kernel's flexible arrays carry an empty struct, which has no size in C and one byte in C++; that would change the
// size of structures, and with it ioctl numbers. Later kernel headers say the same for C++.
#include <linux/stddef.h>
#undef __DECLARE_FLEX_ARRAY
#define __DECLARE_FLEX_ARRAY(TYPE, NAME) TYPE NAME[]

#include <linux/kvm.h>

#include "base/types.h"

static_assert(sizeof(kvm_signal_mask) == 4);
#if defined(__x86_64__)
static_assert(sizeof(kvm_msr_list) == 4 && sizeof(kvm_msrs) == 8 && sizeof(kvm_cpuid2) == 8);
#endif

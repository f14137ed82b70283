// Where RDRAND and RDSEED take their values from when it is not the host: a Platform may be one too.
#pragma once

#include "base/types.h"

namespace tandem::cpu::x86 {

class RandomSource {
public:
    virtual ~RandomSource() = default;
    // False: the host's own. vCPU thread.
    virtual bool random(u64& value) = 0;
};

}  // namespace tandem::cpu::x86

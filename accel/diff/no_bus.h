// Addresses without a device behind them: reads give ones, writes go nowhere.
#pragma once

#include "jit/runtime/translator.h"

namespace tandem::accel::diff {

class NoBus final : public jit::Bus {
public:
    bool mmio_read(void*, u64, unsigned, u64& value) override {
        value = ~u64{0};
        return true;
    }
    bool mmio_write(void*, u64, u64, unsigned) override { return true; }
};

}  // namespace tandem::accel::diff

// Executes one instruction natively, on a given register state, for comparison. x86-64 hosts only.
#pragma once

#include <array>
#include <span>

#include "base/types.h"

namespace tandem::test {

struct NativeState {
    alignas(64) std::array<u8, 512> fx{};  // FXSAVE64 image: x87, MXCSR, XMM
    std::array<u64, 16> gpr{};             // RSP and R15 are not used
    u64 flags = 0x202;
    u32 default_mxcsr = 0x1f80;
    u32 trapped = 0;  // the instruction raised #XM; everything but MXCSR is as before it
};

class Native {
public:
    Native();
    ~Native();
    Native(const Native&) = delete;
    Native& operator=(const Native&) = delete;

    // At most 15 bytes, no control transfer, no use of RSP and R15.
    void run(std::span<const u8> instruction, NativeState& state);

private:
    u8* page_;
};

}  // namespace tandem::test
